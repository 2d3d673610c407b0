"""Units at the boundary: quantities are stripped here and nowhere else.

Inside the package everything is nm, ps, kJ/mol, radians and float32.
"""

from typing import Any

import numpy as np

__all__ = ["ANGSTROM", "DEGREE", "strip_unit", "to_angstrom", "to_nanometer"]

ANGSTROM = 0.1
"""One angstrom in nm."""

DEGREE = float(np.pi / 180.0)
"""One degree in radians."""


def strip_unit(value: Any, unit: Any) -> Any:  # noqa: ANN401
    """Return a plain number or array in the unit asked for.

    Parameters
    ----------
    value : openmm.unit.Quantity or number or array
        A quantity, or a plain value that is already in `unit`.
    unit : openmm.unit.Unit
        The unit of the result.

    Returns
    -------
    number or array
        `value` without its unit.
    """
    if hasattr(value, "value_in_unit"):
        return value.value_in_unit(unit)
    return value


def to_angstrom(length: Any) -> Any:  # noqa: ANN401
    """Convert a length in nm to angstrom."""
    return length / ANGSTROM


def to_nanometer(length: Any) -> Any:  # noqa: ANN401
    """Convert a length in angstrom to nm."""
    return length * ANGSTROM
