"""The all-atom topology file beside a trajectory."""

import mmap
from dataclasses import replace
from pathlib import Path

import numpy as np

from openmm_backmap.frames import AtomFrame
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.trajectory import (
    FILE_MARKS,
    FRAME_ENDS,
    choose_topology_suffix,
    open_writer,
)

__all__ = ["choose_topology_path", "is_own_topology", "write_topology"]

_HOLD_NONE = (".dcd", ".xtc")
_MAX_TOPOLOGY_NM = 99.0


def choose_topology_path(path: Path, atom_topology: AtomTopology) -> Path | None:
    """Return where the topology of a trajectory goes unless the user says.

    Parameters
    ----------
    path : Path
        The trajectory.
    atom_topology : AtomTopology
        Its topology.

    Returns
    -------
    Path or None
        The same name with .pdb, or .cif where PDB cannot hold it; None where
        the trajectory holds the topology itself.
    """
    if path.suffix.lower() not in _HOLD_NONE:
        return None
    return path.with_suffix(choose_topology_suffix(atom_topology.topology))


def is_own_topology(path: Path) -> bool:
    """Whether a file is a topology that this package has written.

    Parameters
    ----------
    path : Path
        The file; there may be none.

    Returns
    -------
    bool
        False for other files, and for trajectories of several frames.
    """
    if not path.exists() or path.stat().st_size == 0:
        return False
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
    ):
        is_own = any(text.find(mark, 0, 400) >= 0 for mark in FILE_MARKS)
        ends = [text.find(end) for end in FRAME_ENDS]
        is_one = all(
            text.find(end, at + 1) < 0
            for end, at in zip(FRAME_ENDS, ends, strict=True)
            if at >= 0
        )
    return is_own and is_one


def write_topology(path: Path, atom_topology: AtomTopology, frame: AtomFrame) -> None:
    """Write the all-atom topology with the positions of one frame.

    Parameters
    ----------
    path : Path
        PDB or mmCIF file; replaced where it stands already.
    atom_topology : AtomTopology
        What to write.
    frame : AtomFrame
        The positions; moved to the origin where columns would not hold them.
    """
    if np.abs(frame.positions).max(initial=0.0) > _MAX_TOPOLOGY_NM:
        frame = replace(frame, positions=frame.positions - frame.positions.min(0))
    with open_writer(path, atom_topology.with_box(frame.box), overwrite=True) as writer:
        writer.write(frame)
