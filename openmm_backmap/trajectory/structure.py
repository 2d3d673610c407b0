"""Topologies from structure files, and the frames that such files hold."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from openmm_backmap.errors import InputError, TopologyError, TrajectoryError
from openmm_backmap.frames import CGFrame
from openmm_backmap.geometry.periodic import box_from_lengths_and_angles
from openmm_backmap.trajectory.histidines import (
    keep_histidines,
    list_mmcif_residues,
    list_pdb_residues,
)
from openmm_backmap.units import to_nanometer

__all__ = [
    "CELL_REMARK",
    "STRUCTURE_SUFFIXES",
    "GROSource",
    "MMCIFSource",
    "PDBSource",
    "check_file",
    "full_suffix",
    "read_topology",
]

PDB_SUFFIXES = (".pdb", ".ent")
MMCIF_SUFFIXES = (".cif", ".mmcif", ".pdbx")
STRUCTURE_SUFFIXES = (*PDB_SUFFIXES, *MMCIF_SUFFIXES, ".gro", ".psf")
"""Endings of files that hold a topology (".gz" may follow for PDB, mmCIF)."""

CELL_REMARK = "REMARK 250 CELL"
"""Begins a box that differs from the first one, with the columns of CRYST1."""

FASTA_SUFFIXES = (".fasta", ".fa", ".faa", ".seq")


def full_suffix(path: Path) -> str:
    """Return the ending of a file name in small letters, without ".gz"."""
    name = path.name.lower().removesuffix(".gz")
    return Path(name).suffix


def check_file(path: str | Path) -> Path:
    """Check that an input file exists, is not empty and not wrongly compressed.

    Parameters
    ----------
    path : str or Path
        An input file.

    Returns
    -------
    Path
        The same file.

    Raises
    ------
    InputError
        If there is no such file, or if it is compressed and neither PDB nor mmCIF.
    TrajectoryError
        If it is empty.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist: check the name of the file")
    if path.stat().st_size == 0:
        raise TrajectoryError(
            f"{path} is empty: was the run that wrote it stopped at its start?"
        )
    is_text = full_suffix(path) in (*PDB_SUFFIXES, *MMCIF_SUFFIXES)
    if path.suffix.lower() == ".gz" and not is_text:
        raise InputError(
            f"{path} is compressed, and only PDB and mmCIF files are read so: unpack "
            "it (gunzip)"
        )
    return path


def _open_text(path: Path) -> TextIO:
    if path.suffix.lower() == ".gz":
        return gzip.open(path, "rt", errors="replace")
    return open(path, errors="replace")


def read_topology(path: str | Path) -> tuple[Any, np.ndarray | None]:
    """Read a topology and, where the file has them, positions.

    Parameters
    ----------
    path : str or Path
        PDB, mmCIF, GRO or PSF file. Only the first model is looked at.

    Returns
    -------
    topology : openmm.app.Topology
        With the box of the file, if it has one.
    positions : numpy.ndarray or None, shape (B, 3), float32
        In nm; None for PSF.

    Raises
    ------
    InputError
        If the file does not exist or its ending is not known.
    TopologyError
        If the file cannot be read as what its ending says.
    """
    path = check_file(path)
    suffix = full_suffix(path)
    if suffix in FASTA_SUFFIXES:
        raise InputError(
            f"{path} is a sequence, not a topology: give it as sequence= or "
            "--sequence, or make the topology by CGTopology.from_sequence"
        )
    if suffix not in STRUCTURE_SUFFIXES:
        raise InputError(
            f"cannot read a topology from {path}: the ending {suffix!r} is not one of "
            f"{', '.join(STRUCTURE_SUFFIXES)}"
        )
    try:
        if suffix in PDB_SUFFIXES:
            topology, positions = _read_pdb(path)
        elif suffix in MMCIF_SUFFIXES:
            topology, positions = _read_mmcif(path)
        else:
            topology, positions = _read_gromacs_or_psf(path, suffix)
    except Exception as error:  # whatever a library raises on a bad file
        raise TopologyError(
            f"cannot read {path} as {suffix[1:].upper()}: {error or type(error)}"
        ) from error
    if topology.getNumAtoms() == 0:
        raise TopologyError(f"{path} has no atoms: is it a {suffix[1:].upper()} file?")
    return topology, positions


def _read_pdb(path: Path) -> tuple[Any, np.ndarray]:
    from openmm import app

    # only the first model: OpenMM keeps all of them in memory
    lines, is_multi = [], False
    with _open_text(path) as file:
        for line in file:
            if line.startswith("ENDMDL"):
                is_multi = True
                break
            lines.append(line)
    if is_multi:
        lines.append("ENDMDL\n")
    if not any(line.startswith(("ATOM", "HETATM")) for line in lines):
        raise TopologyError("it has no atoms")
    pdb = app.PDBFile(io.StringIO("".join(lines)))
    keep_histidines(pdb.topology, list_pdb_residues(lines))
    return pdb.topology, _plain(pdb.getPositions(asNumpy=True))


def _read_mmcif(path: Path) -> tuple[Any, np.ndarray]:
    from openmm import app

    with _open_text(path) as file:
        text = file.read()
    cif = app.PDBxFile(io.StringIO(text))
    keep_histidines(cif.topology, list_mmcif_residues(text.splitlines()))
    return cif.topology, _plain(cif.getPositions(asNumpy=True))


def _read_gromacs_or_psf(path: Path, suffix: str) -> tuple[Any, np.ndarray | None]:
    import mdtraj
    from openmm import unit

    if suffix == ".psf":
        return mdtraj.formats.psf.load_psf(str(path)).to_openmm(), None
    with mdtraj.formats.GroTrajectoryFile(str(path)) as file:
        topology = file.topology.to_openmm()
    frame = next(GROSource(path).iterate(range(1)))
    if frame.box is not None:
        topology.setPeriodicBoxVectors(frame.box * unit.nanometer)
    return topology, frame.positions


def _plain(positions: Any) -> np.ndarray:  # noqa: ANN401
    from openmm import unit

    return np.asarray(positions.value_in_unit(unit.nanometer), np.float32)


class PDBSource:
    """Frames of a PDB file: its models, read one at a time.

    Parameters
    ----------
    path : Path
        A PDB file, also compressed. Frames have the number of their model as
        step.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.n_atoms = read_topology(path)[0].getNumAtoms()
        with _open_text(path) as file:
            n_ends = sum(line.startswith("ENDMDL") for line in file)
        self.n_frames = max(n_ends, 1)

    def iterate(self, frames: range) -> Iterator[CGFrame]:
        """Read frames one after the other.

        Parameters
        ----------
        frames : range
            Model numbers from 0, increasing.

        Yields
        ------
        CGFrame
            Positions in nm and box.
        """
        number, box, rows, seen = 0, None, [], set()
        is_wanted = number in frames
        with _open_text(self.path) as file:
            for line in file:
                record = line[:6]
                if record in ("ATOM  ", "HETATM"):
                    # the first of alternate locations, as in the topology
                    key = line[12:16] + line[17:27] if line[16:17] != " " else None
                    if is_wanted and (key is None or key not in seen):
                        rows.append(line)
                        seen.add(key)
                elif record == "CRYST1":
                    box = self._read_box(line)
                elif line.startswith(CELL_REMARK):
                    box = self._read_box("CRYST1" + line[len(CELL_REMARK) :])
                elif record == "ENDMDL":
                    if is_wanted:
                        yield self._make_frame(rows, number, box)
                    number, rows, seen = number + 1, [], set()
                    is_wanted = number in frames
                    if not len(frames) or number > frames[-1]:
                        return
        if is_wanted and rows and number < self.n_frames:
            yield self._make_frame(rows, number, box)

    def _make_frame(
        self, rows: list[str], number: int, box: np.ndarray | None
    ) -> CGFrame:
        if len(rows) != self.n_atoms:
            raise TrajectoryError(
                f"{self.path}: model {number + 1} has {len(rows)} atoms, the first "
                f"{self.n_atoms}: all models must be the same system"
            )
        try:
            positions = np.array(
                [[float(row[k : k + 8]) for k in (30, 38, 46)] for row in rows]
            )
        except ValueError as error:
            raise TrajectoryError(
                f"{self.path}: model {number + 1} has a coordinate that is no number "
                f"({error})"
            ) from error
        return CGFrame(to_nanometer(positions).astype(np.float32), box, number, 0.0)

    @staticmethod
    def _read_box(line: str) -> np.ndarray | None:
        try:
            lengths = [float(line[k : k + 9]) for k in (6, 15, 24)]
            angles = [float(line[k : k + 7]) for k in (33, 40, 47)]
        except ValueError:
            return None
        # structures without a crystal have a cell of 1 A
        if max(lengths) <= 1.0:
            return None
        return box_from_lengths_and_angles(
            to_nanometer(np.array(lengths)), np.radians(angles)
        )


class MMCIFSource:
    """Frames of an mmCIF file: its models.

    Parameters
    ----------
    path : Path
        An mmCIF file, also compressed. All of it is kept in memory.
    """

    def __init__(self, path: Path) -> None:
        from openmm import app, unit

        self.path = path
        topology, _ = read_topology(path)
        with _open_text(path) as file:
            self._cif = app.PDBxFile(file)
        self.n_atoms = topology.getNumAtoms()
        self.n_frames = self._cif.getNumFrames()
        vectors = topology.getPeriodicBoxVectors()
        self._box = None
        if vectors is not None:
            self._box = np.array(vectors.value_in_unit(unit.nanometer), np.float32)

    def iterate(self, frames: range) -> Iterator[CGFrame]:
        """Read frames one after the other; see `PDBSource.iterate`."""
        for number in frames:
            positions = _plain(self._cif.getPositions(asNumpy=True, frame=number))
            if len(positions) != self.n_atoms:
                raise TrajectoryError(
                    f"{self.path}: model {number + 1} has {len(positions)} atoms, the "
                    f"first {self.n_atoms}: all models must be the same system"
                )
            yield CGFrame(positions, self._box, number, 0.0)


class GROSource:
    """Frames of a GROMACS GRO file, read one at a time.

    Parameters
    ----------
    path : Path
        A GRO file with one or several frames; positions in nm.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with open(path, errors="replace") as file:
            n_lines = sum(1 for line in file if line.strip())
        with open(path, errors="replace") as file:
            file.readline()
            text = file.readline()
        if not text.strip().isdigit():
            raise TrajectoryError(
                f"{path}: the second line is {text.strip()!r}, want the number of atoms"
            )
        self.n_atoms = int(text)
        self.n_frames = max(n_lines // (self.n_atoms + 3), 1)

    def iterate(self, frames: range) -> Iterator[CGFrame]:
        """Read frames one after the other; see `PDBSource.iterate`."""
        with open(self.path, errors="replace") as file:
            number = 0
            while len(frames) and number <= frames[-1]:
                title, count = file.readline(), file.readline()
                rows = [file.readline() for _ in range(self.n_atoms)]
                cell = file.readline()
                if not cell or count.strip() != str(self.n_atoms):
                    raise TrajectoryError(
                        f"{self.path}: frame {number} is cut off or has another "
                        "number of atoms"
                    )
                if number in frames:
                    yield self._make_frame(title, rows, cell, number)
                number += 1

    def _make_frame(
        self, title: str, rows: list[str], cell: str, number: int
    ) -> CGFrame:
        # the columns are as wide as the distance between decimal points
        points = [k for k, c in enumerate(rows[0]) if c == "." and k >= 20]
        width = points[1] - points[0] if len(points) > 1 else 8
        edges = [20 + k * width for k in range(3)]
        try:
            positions = np.array(
                [[float(row[k : k + width]) for k in edges] for row in rows],
                np.float32,
            )
            values = [float(word) for word in cell.split()]
            time = _number_after(title, "t=", 0.0)
            step = int(_number_after(title, "step=", number))
        except ValueError as error:
            raise TrajectoryError(f"{self.path}: frame {number}: {error}") from error
        return CGFrame(positions, _gro_box(values), step, time)


def _number_after(text: str, mark: str, default: float) -> float:
    """Return the number behind a mark in a GRO title."""
    words = text.partition(mark)[2].split()
    try:
        return float(words[0]) if words else default
    except ValueError:
        return default


def _gro_box(values: list[float]) -> np.ndarray | None:
    """Return box vectors from the last line of a GRO frame."""
    if len(values) not in (3, 9) or not any(values[:3]):
        return None
    box = np.zeros((3, 3), np.float32)
    box[0, 0], box[1, 1], box[2, 2] = values[:3]
    if len(values) == 9:
        box[0, 1], box[0, 2], box[1, 0], box[1, 2], box[2, 0], box[2, 1] = values[3:]
    return box
