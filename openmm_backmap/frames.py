"""One moment of a run: coarse-grained and all-atom frames."""

from dataclasses import dataclass

import numpy as np

from openmm_backmap.units import strip_lengths

__all__ = ["AtomFrame", "CGFrame"]


@dataclass(frozen=True, eq=False)
class CGFrame:
    """Bead positions at one moment.

    Parameters
    ----------
    positions : numpy.ndarray, shape (B, 3), float32
        Bead positions in nm, as they came (wrapped or not).
    box : numpy.ndarray or None, shape (3, 3), float32
        Periodic box vectors as rows in nm. If None, there is no box.
    step : int
        Simulation step.
    time : float
        Simulation time in ps.
    """

    positions: np.ndarray
    box: np.ndarray | None = None
    step: int = 0
    time: float = 0.0

    def __post_init__(self) -> None:
        """Take the units off what OpenMM hands out."""
        _strip(self)


@dataclass(frozen=True, eq=False)
class AtomFrame:
    """All-atom positions rebuilt from one `CGFrame`.

    Parameters
    ----------
    positions : numpy.ndarray, shape (N, 3), float32
        Atom positions in nm, in the order of the `AtomTopology`.
    box : numpy.ndarray or None, shape (3, 3), float32
        Periodic box vectors as rows in nm. If None, there is no box.
    step : int
        Simulation step of the coarse-grained frame.
    time : float
        Simulation time in ps.
    confidence : numpy.ndarray or None, shape (R,), float32
        The model's confidence in each residue, 0 to 1. If None, unknown.
    stage : str
        "model" or "minimized".
    sample : int
        Number of the structure drawn for this frame, from 0.
    """

    positions: np.ndarray
    box: np.ndarray | None = None
    step: int = 0
    time: float = 0.0
    confidence: np.ndarray | None = None
    stage: str = "model"
    sample: int = 0

    def __post_init__(self) -> None:
        """Take the units off what OpenMM hands out."""
        _strip(self)


def _strip(frame: CGFrame | AtomFrame) -> None:
    """Positions and box of a new frame as plain arrays in nm."""
    for name in ("positions", "box"):
        value = getattr(frame, name)
        if value is not None and not isinstance(value, np.ndarray):
            object.__setattr__(frame, name, strip_lengths(value))
