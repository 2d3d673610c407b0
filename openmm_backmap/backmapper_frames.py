"""Bead frames that come into the Backmapper, checked."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.errors import GeometryError, InputError
from openmm_backmap.frames import CGFrame
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.trajectory import read_topology
from openmm_backmap.units import strip_lengths

__all__ = [
    "check_frame",
    "check_frames",
    "first_frames",
    "frames_from_positions",
    "stack_frames",
]


_STEP_LIMITS = (0.1, 2.5)
"""Median distance of bonded beads in nm, for any CG model; another unit is beyond."""

_FEWEST_STEPS = 4
"""Bonds that are enough to tell; a box may cut one of fewer."""


def check_frames(frames: Sequence[CGFrame]) -> None:
    """Refuse what is not a sequence of frames.

    Parameters
    ----------
    frames : sequence of CGFrame
        What came from the user.

    Raises
    ------
    InputError
        If it is one frame, an array, a generator or a list of something else.
    """
    came = type(frames).__name__
    if isinstance(frames, Sequence):
        others = {type(f).__name__ for f in frames if not isinstance(f, CGFrame)}
        if not others:
            return
        came = f"{came} of {', '.join(sorted(others))}"
    raise InputError(
        f"frames: {came} came, wanted a list of CGFrame; write [frame] for one, or "
        "give arrays of positions in nm to backmap_positions"
    )


def check_frame(frame: CGFrame, topology: CGTopology) -> None:
    """Refuse a frame whose beads do not fit the topology or are not finite.

    Parameters
    ----------
    frame : CGFrame
        The frame.
    topology : CGTopology
        What is wanted; beads that it leaves out are not looked at.

    Raises
    ------
    InputError
        If the number of beads differs.
    GeometryError
        If a bead or the box is not finite, if two residues that are bonded lie
        at one point, or if bonded residues are as far apart as in another unit.
    """
    positions = np.asarray(frame.positions)
    n_beads = topology.n_beads
    if positions.shape != (n_beads, 3):
        raise InputError(
            f"frame at step {frame.step}: positions of shape {positions.shape} came, "
            f"wanted ({n_beads}, 3); is this the trajectory of that topology?"
        )
    used = topology.bead_index
    bad = ~np.isfinite(positions).all(axis=-1)
    if bad.any():
        rows = np.flatnonzero((bad[used] & (used >= 0)).any(axis=-1))
        if len(rows):
            row = rows[0]
            raise GeometryError(
                f"frame at step {frame.step}: bead of residue "
                f"{topology.residue_name[row]} {topology.residue_id[row]} is not "
                f"finite ({len(rows)} residues in all); did the simulation blow up?"
            )
    _check_apart(frame, topology)
    if frame.box is None:
        return
    if np.shape(frame.box) != (3, 3):
        raise InputError(
            f"frame at step {frame.step}: a box of shape {np.shape(frame.box)} came, "
            "wanted vectors in rows, (3, 3)"
        )
    if not np.isfinite(frame.box).all():
        raise GeometryError(f"frame at step {frame.step}: the box is not finite")
    if np.any(frame.box) and abs(np.linalg.det(frame.box)) < 1e-9:
        raise GeometryError(f"frame at step {frame.step}: the box has no volume")


def _check_apart(frame: CGFrame, topology: CGTopology) -> None:
    """Refuse bonded residues at one point or, most of them, far from a bond."""
    rows = np.arange(topology.n_residues)
    anchor = topology.bead_index[rows, topology.anchor_slot]
    steps = np.diff(np.asarray(frame.positions)[anchor], axis=0)
    is_bonded = np.diff(topology.chain_index) == 0
    same = (np.abs(steps) < 1e-6).all(axis=1) & is_bonded
    if same.any():
        row = int(np.flatnonzero(same)[0])
        names = [
            f"{topology.residue_name[k]} {topology.residue_id[k]}"
            for k in (row, row + 1)
        ]
        raise GeometryError(
            f"frame at step {frame.step}: beads of {names[0]} and {names[1]} lie at "
            f"one point ({int(same.sum())} such pairs); were the positions ever set?"
        )
    if is_bonded.sum() < _FEWEST_STEPS:
        return
    # a box may cut some of the bonds, but not most of them
    median = float(np.median(np.linalg.norm(steps[is_bonded], axis=1)))
    if not _STEP_LIMITS[0] < median < _STEP_LIMITS[1]:
        raise GeometryError(
            f"frame at step {frame.step}: beads of bonded residues are {median:.3g} nm "
            "apart (median), wanted about 0.38: is the unit right (angstrom in PDB and "
            "mmCIF files, nm in NPY files and Python)?"
        )


def frames_from_positions(
    positions: np.ndarray, box: np.ndarray | None
) -> list[CGFrame]:
    """Make frames of bead positions.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, B, 3)
        Beads in nm.
    box : numpy.ndarray or None, shape (3, 3) or (F, 3, 3)
        Box vectors in nm.

    Returns
    -------
    list of CGFrame
        Their steps count from 0.

    Raises
    ------
    InputError
        If there is no frame axis.
    """
    positions = np.asarray(strip_lengths(positions), np.float32)
    if positions.ndim != 3 or positions.shape[-1] != 3:
        raise InputError(
            f"positions: shape {positions.shape} came, wanted (F, B, 3); "
            "add a frame axis in front with positions[None]"
        )
    if box is None:
        return [CGFrame(positions=x, step=k) for k, x in enumerate(positions)]
    box = np.asarray(strip_lengths(box), np.float32)
    if box.shape not in ((3, 3), (len(positions), 3, 3)):
        raise InputError(
            f"box: shape {box.shape} came, wanted vectors in rows, (3, 3) or "
            f"({len(positions)}, 3, 3)"
        )
    boxes = np.broadcast_to(box, (len(positions), 3, 3))
    return [CGFrame(positions=x, box=boxes[k], step=k) for k, x in enumerate(positions)]


def first_frames(
    topology: Any,
    disulfides: str,
    frames: np.ndarray | Sequence[CGFrame] | None,
    positions: Any,
    box: Any,
) -> list[CGFrame]:
    """Frames that tell disulfides.

    Parameters
    ----------
    topology, frames, positions, box
        See `Backmapper.from_topology`.
    disulfides : str
        What the user said.

    Returns
    -------
    list of CGFrame
        At least one.

    Raises
    ------
    InputError
        If another word than "auto" came, or there are no positions.
    """
    if disulfides != "auto":
        raise InputError(f"disulfides: {disulfides!r} came, wanted pairs or 'auto'")
    if frames is not None and len(frames):
        if all(isinstance(frame, CGFrame) for frame in frames):
            return list(frames)
        return frames_from_positions(frames, box)
    if positions is None and isinstance(topology, str | Path) and "." in str(topology):
        found, positions = read_topology(topology)
        vectors = found.getPeriodicBoxVectors()
        box = None if vectors is None else strip_lengths(vectors)
    if positions is None:
        raise InputError(
            "disulfides='auto': there are no positions to tell them by; give frames= "
            "or positions=, or list the pairs"
        )
    return frames_from_positions(np.asarray(strip_lengths(positions))[None], box)


def stack_frames(
    frames: np.ndarray | Sequence[CGFrame], box: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Put frames together.

    Parameters
    ----------
    frames : numpy.ndarray, shape (F, B, 3), or sequence of CGFrame
        In nm.
    box : numpy.ndarray or None, shape (3, 3)
        Box vectors in nm where a frame has none.

    Returns
    -------
    positions : numpy.ndarray, shape (F, B, 3)
        In nm.
    box : numpy.ndarray or None, shape (3, 3) or (F, 3, 3)
        In nm.
    """
    if not all(isinstance(frame, CGFrame) for frame in frames):
        return np.asarray(strip_lengths(frames)), box
    positions = np.stack([frame.positions for frame in frames])
    if box is None and all(frame.box is None for frame in frames):
        return positions, None
    other = np.zeros((3, 3)) if box is None else box
    boxes = [other if frame.box is None else frame.box for frame in frames]
    return positions, np.stack(boxes)
