"""Open a writer for all-atom frames by the name of its file."""

from pathlib import Path
from typing import Any

from openmm_backmap.errors import InputError
from openmm_backmap.trajectory.base import FrameWriter
from openmm_backmap.trajectory.dcd import DCDWriter
from openmm_backmap.trajectory.text import MMCIFWriter, PDBWriter
from openmm_backmap.trajectory.xtc import XTCWriter

__all__ = ["WRITERS", "open_writer"]

WRITERS: dict[str, type[FrameWriter]] = {
    ".dcd": DCDWriter,
    ".xtc": XTCWriter,
    ".pdb": PDBWriter,
    ".ent": PDBWriter,
    ".cif": MMCIFWriter,
    ".mmcif": MMCIFWriter,
    ".pdbx": MMCIFWriter,
}
"""Writer of each file name ending."""


def open_writer(
    path: str | Path,
    atom_topology: Any,  # noqa: ANN401
    *,
    append: bool = False,
    overwrite: bool = False,
) -> FrameWriter:
    """Open a file for all-atom frames; the ending of its name is its format.

    Parameters
    ----------
    path : str or Path
        Output file: .pdb, .cif, .dcd or .xtc.
    atom_topology : AtomTopology or openmm.app.Topology
        What the frames are frames of.
    append : bool
        Whether to go on after the last whole frame of an existing file. A file
        that does not exist is begun.
    overwrite : bool
        Whether to replace an existing file.

    Returns
    -------
    FrameWriter
        A context manager with `write`, `flush`, `close`, `n_frames` and
        `last_step`.

    Raises
    ------
    InputError
        If the format is not known, cannot hold the system, or the
        folder does not exist.
    OutputExistsError
        If the file exists and neither `append` nor `overwrite` is set.
    TrajectoryError
        If a file to append to has another number of atoms or is damaged.
    """
    path = Path(path)
    kind = WRITERS.get(path.suffix.lower())
    if kind is None:
        raise InputError(
            f"cannot write {path}: the ending {path.suffix!r} is not one of "
            f"{', '.join(sorted(WRITERS))}"
        )
    topology = getattr(atom_topology, "topology", atom_topology)
    return kind(path, topology, append=append, overwrite=overwrite)
