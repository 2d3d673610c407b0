"""Units at the boundary: quantities are stripped here and nowhere else.

Inside the package everything is nm, ps, kJ/mol, radians and float32.
"""

from typing import Any

import numpy as np

__all__ = [
    "ANGSTROM",
    "DEGREE",
    "strip_lengths",
    "strip_unit",
    "to_angstrom",
    "to_nanometer",
]

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


def strip_lengths(value: Any) -> np.ndarray | None:  # noqa: ANN401
    """Return lengths as an array in nm.

    Parameters
    ----------
    value : openmm.unit.Quantity, sequence of Quantity, array or None
        Positions or box vectors as OpenMM hands them out, or plain ones in nm.

    Returns
    -------
    numpy.ndarray or None
        None for None; an array comes back as it is.
    """
    if value is None or isinstance(value, np.ndarray):
        return value
    if hasattr(value, "value_in_unit"):
        from openmm import unit

        return np.asarray(value.value_in_unit(unit.nanometer), np.float64)
    if len(value) and hasattr(value[0], "value_in_unit"):
        return np.stack([strip_lengths(row) for row in value])
    return np.asarray(value)


def to_angstrom(length: Any) -> Any:  # noqa: ANN401
    """Convert a length in nm to angstrom."""
    return length / ANGSTROM


def to_nanometer(length: Any) -> Any:  # noqa: ANN401
    """Convert a length in angstrom to nm."""
    return length * ANGSTROM
