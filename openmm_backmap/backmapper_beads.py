"""CA or centre of mass: a trajectory knows better than what it started from."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from openmm_backmap.errors import BackmapWarning
from openmm_backmap.frames import CGFrame
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.trajectory import read_cg_frames

__all__ = ["LOOKED_AT", "look_at_trajectory"]

LOOKED_AT = 10
"""Frames of a trajectory that tell what its beads are."""


def look_at_trajectory(
    current: CGTopology,
    read: Callable[[Sequence[CGFrame]], CGTopology],
    path: Any,
    top: Any,
    *,
    warns: bool = True,
) -> CGTopology | None:
    """Tell centres of mass from CA by the first frames of a trajectory.

    Parameters
    ----------
    current : CGTopology
        As one structure tells it. A structure that a run started from need not
        lie like the run: loops built as centres of mass relax to bonds of CA.
    read : callable
        Makes the topology anew from frames.
    path, top
        See `read_cg_frames`.
    warns : bool
        Whether another answer is told.

    Returns
    -------
    CGTopology or None
        `current` where the trajectory says the same; None if it has no frames, or
        none of these beads. Where it has other chain ends, which would change the
        atoms, that is told, and those of `current` stay.
    """
    first = next(iter(read_cg_frames(path, top, stop=LOOKED_AT, chunk=LOOKED_AT)), ())
    if not first or any(len(frame.positions) != current.n_beads for frame in first):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BackmapWarning)
        found = read(first)
    if not np.array_equal(found.chain_index, current.chain_index):
        warnings.warn(
            f"{len(current.chain_id)} chains by the topology, "
            f"{len(found.chain_id)} by those of the trajectory {path}: they stay as "
            "the topology has them. Give frames= to from_topology to have them as the "
            "trajectory has them",
            BackmapWarning,
            stacklevel=4,
        )
        if found.mapping.name not in ("ca", "com", "mixed"):
            return current
        found = current.with_com_residues(_is_com(found))
    same = np.array_equal(found.bead_index, current.bead_index)
    if same and found.mapping == current.mapping:
        return current
    if warns:
        warnings.warn(
            f"{_count(found)} of {found.n_residues} residues: in the trajectory their "
            "beads lie like centres of mass, not like CA; by the topology's positions "
            f"it was {_count(current)}. The trajectory is believed. Say which they "
            "are by mapping, or mapping='mixed', to go without this warning",
            BackmapWarning,
            stacklevel=4,
        )
    return found


def _is_com(topology: CGTopology) -> np.ndarray:
    """Residues (R,) whose bead is a centre of mass."""
    if topology.mapping.name == "mixed":
        return topology.anchor_slot > 0
    return np.full(topology.n_residues, topology.mapping.name == "com")


def _count(topology: CGTopology) -> int:
    """Number of residues whose bead is a centre of mass."""
    return int(_is_com(topology).sum())
