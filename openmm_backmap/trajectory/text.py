"""PDB and mmCIF files with one model a frame, confidence in the B-factors."""

import mmap
import re
from abc import abstractmethod
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.errors import InputError, TrajectoryError
from openmm_backmap.frames import AtomFrame
from openmm_backmap.geometry.periodic import compute_lengths_and_angles
from openmm_backmap.mapping.atom_topology import split_residue_id
from openmm_backmap.residues.names import PHOSPHORYLATED
from openmm_backmap.trajectory.base import FrameWriter
from openmm_backmap.trajectory.structure import CELL_REMARK
from openmm_backmap.units import to_angstrom

__all__ = [
    "FILE_MARKS",
    "FRAME_ENDS",
    "MMCIFWriter",
    "PDBWriter",
    "check_holds",
    "choose_topology_suffix",
    "explain_no_pdb",
]

FILE_MARKS = (b"CREATED WITH OPENMM-BACKMAP", b"_software.name openmm-backmap")
"""One of them stands in the first lines of each file."""

FRAME_ENDS = (b"ENDMDL\n", b"# end of model\n")
"""Where a frame ends, in PDB and in mmCIF."""

MAX_PDB_ATOMS = 99_999
MAX_PDB_COORDINATE = 9_999.0
"""Angstrom; the columns hold eight characters."""


def explain_no_pdb(topology: Any) -> str | None:  # noqa: ANN401
    """Say why a topology does not fit into a PDB file.

    Parameters
    ----------
    topology : openmm.app.Topology
        All-atom topology.

    Returns
    -------
    str or None
        The reason (too many atoms, chain ids of two letters, residue numbers of
        five digits); None if PDB holds it.
    """
    n_atoms = topology.getNumAtoms()
    if n_atoms > MAX_PDB_ATOMS:
        return f"{n_atoms} atoms, PDB holds {MAX_PDB_ATOMS}"
    for chain in topology.chains():
        if len(str(chain.id)) > 1:
            return (
                f"{topology.getNumChains()} chains with ids such as {chain.id!r}, PDB "
                "holds one letter"
            )
    for residue in topology.residues():
        if len(_split_number(residue)[0]) > 4:
            return f"residue number {residue.id}, PDB holds four digits"
    return None


def check_holds(path: Path, topology: Any) -> None:  # noqa: ANN401
    """Refuse a PDB file for a system that does not fit into it.

    Parameters
    ----------
    path : Path
        File to be written, of any format.
    topology : openmm.app.Topology
        All-atom topology.

    Raises
    ------
    InputError
        With the reason, and what to write instead.
    """
    reason = explain_no_pdb(topology) if path.suffix.lower() == ".pdb" else None
    if reason is not None:
        raise InputError(
            f"{path} cannot hold this system: {reason}; write mmCIF instead "
            f"({path.with_suffix('.cif').name})"
        )


def choose_topology_suffix(atom_topology: Any) -> str:  # noqa: ANN401
    """Choose the file format for the topology beside a trajectory.

    Parameters
    ----------
    atom_topology : AtomTopology or openmm.app.Topology
        All-atom topology.

    Returns
    -------
    str
        ".pdb", or ".cif" where PDB cannot hold it.
    """
    topology = getattr(atom_topology, "topology", atom_topology)
    return ".pdb" if explain_no_pdb(topology) is None else ".cif"


def _atom_confidence(frame: AtomFrame, topology: Any, owner: np.ndarray) -> np.ndarray:  # noqa: ANN401
    """Return the confidence of each atom; zeros where the frame has none."""
    if frame.confidence is None:
        return np.zeros(len(owner))
    confidence = np.asarray(frame.confidence, np.float64)
    if len(confidence) == len(owner) != topology.getNumResidues():
        return confidence
    if len(confidence) != topology.getNumResidues():
        raise TrajectoryError(
            f"the frame has the confidence of {len(confidence)} residues, the topology "
            f"{topology.getNumResidues()}"
        )
    return confidence[owner]


def _split_number(residue: Any) -> tuple[str, str]:  # noqa: ANN401
    """Return the number of a residue and its insertion code, which may be in it."""
    number, code = str(residue.id).strip(), residue.insertionCode.strip()
    return (number, code) if code else split_residue_id(number)


def _fit_coordinate(value: float) -> str:
    """Write a coordinate with as many decimals as eight characters hold."""
    text = f"{value:.3f}"
    return text if len(text) <= 8 else f"{value:.2f}"


def _list_links(topology: Any) -> list[tuple]:  # noqa: ANN401
    """List the bonds that readers do not know by residue names.

    Those between sulphurs, and all of phosphorylated residues.
    """
    return [
        (first, second)
        for first, second in topology.bonds()
        if first.name == second.name == "SG"
        or first.residue.name in PHOSPHORYLATED
        or second.residue.name in PHOSPHORYLATED
    ]


class _TextWriter(FrameWriter):
    """Write the atoms of a frame by one long format string.

    Each frame starts and ends with a line of its own (`_start`, `_end`), by
    which whole frames are found again.
    """

    _start: re.Pattern
    _end: bytes
    _row: bytes

    def _create(self) -> None:
        self._prepare()
        self._file = open(self.path, "wb+")  # noqa: SIM115

    def _resume(self) -> None:
        self._prepare()
        self._file = open(self.path, "rb+")  # noqa: SIM115
        with mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            cut = text.rfind(self._end)
            self._whole = 0 if cut < 0 else cut + len(self._end)
            for found in self._start.finditer(text):
                if found.start() >= self._whole:
                    break
                self.n_frames += 1
                self.last_step = int(found.group(1))
                if self.n_frames == 1:
                    first = text[found.end() - 1 : text.find(self._end, found.end())]
                    self._check_atoms(first.count(self._row))
        self._cut()

    def _prepare(self) -> None:
        atoms = list(self.topology.atoms())
        self._owner = np.array([atom.residue.index for atom in atoms], np.int64)
        self._format = self._make_format(atoms)
        self._whole = 0

    def _values(self, frame: AtomFrame) -> tuple[float, ...]:
        values = np.empty((self.n_atoms, 4))
        values[:, :3] = to_angstrom(np.asarray(frame.positions, np.float64))
        values[:, 3] = _atom_confidence(frame, self.topology, self._owner)
        return tuple(values.ravel().tolist())

    def _put(self, text: str) -> None:
        self._file.seek(self._whole)
        self._file.write(text.encode("ascii", "replace"))
        self._file.flush()
        self._whole = self._file.tell()

    def _cut(self) -> None:
        self._file.seek(self._whole)
        self._file.truncate()

    def truncate(self, n_frames: int, last_step: int | None) -> None:
        """Refuse: text files are cut back to whole frames only."""
        raise InputError(f"cannot cut frames off {self.path}: write DCD or XTC")

    @abstractmethod
    def _make_format(self, atoms: list) -> str:
        """Return the format of a frame, filled by `_values`."""


class PDBWriter(_TextWriter):
    """Write a PDB file with one MODEL a frame.

    Step and time stand in a REMARK of each model, the first box in CRYST1. Readers
    take the last one of a file for all models, so later ones are remarks, too.
    """

    _start = re.compile(rb"^REMARK 250 STEP (-?\d+) .*\n", re.MULTILINE)
    _end = FRAME_ENDS[0]
    _row = b"\nATOM  "

    def _prepare(self) -> None:
        check_holds(self.path, self.topology)
        super()._prepare()
        self._box: np.ndarray | None = None

    def _make_format(self, atoms: list) -> str:
        lines, serial = [], 0
        self._serial = []
        for chain, mine in groupby(atoms, key=lambda a: a.residue.chain):
            for atom in mine:
                serial += 1
                self._serial.append(serial)
                residue = atom.residue
                symbol = atom.element.symbol if atom.element is not None else ""
                name = atom.name
                if len(name) < 4 and len(symbol) < 2:
                    name = " " + name
                number, code = _split_number(residue)
                tag = f"{residue.name[:3]:>3s} {chain.id or ' ':1s}{number:>4s}"
                head = (
                    f"ATOM  {serial % 100000:5d} {name[:4]:<4s} {tag}{code or ' '}   "
                )
                tail = f"          {symbol:>2s}  \n"
                lines.append(
                    head.replace("%", "%%") + "%8.3f%8.3f%8.3f  1.00%6.2f" + tail
                )
            serial += 1
            lines.append(f"TER   {serial % 100000:5d}      {tag}{code or ' '}\n")
        return "".join(lines)

    def _write_frame(self, frame: AtomFrame) -> None:
        if to_angstrom(np.abs(frame.positions).max(initial=0.0)) > MAX_PDB_COORDINATE:
            raise TrajectoryError(
                f"{self.path}: the frame of step {frame.step} has coordinates that do "
                "not fit into PDB columns; write mmCIF instead"
            )
        text = ""
        if not self.n_frames:
            text += "REMARK   1 CREATED WITH OPENMM-BACKMAP, B-FACTOR = CONFIDENCE\n"
        if frame.box is not None and (
            self._box is None or not np.allclose(frame.box, self._box, atol=5e-5)
        ):
            lengths, angles = compute_lengths_and_angles(frame.box)
            a, b, c = to_angstrom(lengths)
            alpha, beta, gamma = np.degrees(angles)
            cell = f"{a:9.3f}{b:9.3f}{c:9.3f}{alpha:7.2f}{beta:7.2f}{gamma:7.2f}"
            if self.n_frames:
                text += f"{CELL_REMARK}{cell}\n"
            else:
                text += f"CRYST1{cell} P 1           1 \n"
        text += f"MODEL     {(self.n_frames + 1) % 10000:4d}\n"
        text += f"REMARK 250 STEP {frame.step} TIME {frame.time:.9g} PS"
        text += f" SAMPLE {frame.sample} STAGE {frame.stage.upper()}\n"
        self._put(text + self._fill(frame) + "ENDMDL\n")
        self._box = None if frame.box is None else np.array(frame.box)

    def _fill(self, frame: AtomFrame) -> str:
        """Rows of a frame; below -999.999 A with the decimals there is room for."""
        values = self._values(frame)
        if to_angstrom(np.min(frame.positions, initial=0.0)) > -999.999:
            return self._format % values
        cells = [
            value if k % 4 == 3 else _fit_coordinate(value)
            for k, value in enumerate(values)
        ]
        return self._format.replace("%8.3f", "%8s") % tuple(cells)

    def _close(self) -> None:
        try:
            text = ""
            for first, second in _list_links(self.topology):
                i, j = self._serial[first.index], self._serial[second.index]
                text += f"CONECT{i:5d}{j:5d}\nCONECT{j:5d}{i:5d}\n"
            self._put(text + "END\n")
        finally:
            self._file.close()


_ATOM_SITE = (
    "group_PDB id type_symbol label_atom_id label_alt_id label_comp_id label_asym_id "
    "label_entity_id label_seq_id pdbx_PDB_ins_code Cartn_x Cartn_y Cartn_z occupancy "
    "B_iso_or_equiv auth_seq_id auth_comp_id auth_asym_id auth_atom_id "
    "pdbx_PDB_model_num"
).split()


class MMCIFWriter(_TextWriter):
    """Write an mmCIF file with one model a frame; any number of atoms and chains.

    Step, time and box of each frame stand in a comment before its atoms; the
    box of the first frame is the file's cell.
    """

    _start = re.compile(rb"^# model \d+ step (-?\d+) .*\n", re.MULTILINE)
    _end = FRAME_ENDS[1]
    _row = b"\nATOM "

    def _make_format(self, atoms: list) -> str:
        lines = []
        entity: dict[tuple, int] = {}
        for chain, mine in groupby(atoms, key=lambda a: a.residue.chain):
            residues = list(chain.residues())
            kind = tuple(residue.name for residue in residues)
            number = entity.setdefault(kind, len(entity) + 1)
            chain_id = chain.id or "A"
            for atom in mine:
                residue = atom.residue
                symbol = atom.element.symbol if atom.element is not None else "?"
                name = f'"{atom.name}"' if "'" in atom.name else atom.name
                residue_id, code = _split_number(residue)
                label = residue.index - residues[0].index + 1
                head = (
                    f"ATOM {atom.index + 1} {symbol} {name} . {residue.name} "
                    f"{chain_id} {number} {label} {code or '?'} "
                ).replace("%", "%%")
                tail = f" {residue_id} {residue.name} {chain_id} {name} \0\n"
                lines.append(head + "%.3f %.3f %.3f 1.00 %.2f" + tail)
        return "".join(lines)

    def _write_frame(self, frame: AtomFrame) -> None:
        number = self.n_frames + 1
        text = "" if self.n_frames else self._header(frame)
        text += f"# model {number} step {frame.step} time {frame.time:.9g} ps"
        text += f" sample {frame.sample} stage {frame.stage}"
        if frame.box is not None:
            text += " box nm " + " ".join(f"{x:.6g}" for x in np.ravel(frame.box))
        rows = self._format.replace("\0", str(number)) % self._values(frame)
        self._put(text + "\n" + rows + "# end of model\n")

    def _header(self, frame: AtomFrame) -> str:
        lines = ["data_backmap", "_entry.id backmap", "_software.name openmm-backmap"]
        if frame.box is not None:
            lengths, angles = compute_lengths_and_angles(frame.box)
            for name, value in zip("abc", to_angstrom(lengths), strict=True):
                lines.append(f"_cell.length_{name} {value:.4f}")
            for name, value in zip(
                ("alpha", "beta", "gamma"), np.degrees(angles), strict=True
            ):
                lines.append(f"_cell.angle_{name} {value:.4f}")
        bonds = _list_links(self.topology)
        if bonds:
            lines += ["#", "loop_", "_struct_conn.id", "_struct_conn.conn_type_id"]
            for partner in ("ptnr1", "ptnr2"):
                for field in ("asym_id", "comp_id", "seq_id", "atom_id"):
                    lines.append(f"_struct_conn.{partner}_label_{field}")
                for field in ("asym_id", "comp_id", "seq_id"):
                    lines.append(f"_struct_conn.{partner}_auth_{field}")
                lines.append(f"_struct_conn.pdbx_{partner}_PDB_ins_code")
        for number, pair in enumerate(bonds):
            kind = "disulf" if pair[0].name == pair[1].name == "SG" else "covale"
            row = [f"{kind}{number + 1}", kind]
            for atom in pair:
                residue, chain_id = atom.residue, atom.residue.chain.id or "A"
                first = next(residue.chain.residues()).index
                label = str(residue.index - first + 1)
                row += [chain_id, residue.name, label, atom.name]
                residue_id, code = _split_number(residue)
                row += [chain_id, residue.name, residue_id, code or "?"]
            lines.append(" ".join(row))
        lines += ["#", "loop_", *(f"_atom_site.{name}" for name in _ATOM_SITE), ""]
        return "\n".join(lines)

    def _close(self) -> None:
        self._file.close()
