"""Other backmapping tools on the same CA positions, each in its own process.

The tools are installed with ``pip install openmm-backmap[benchmark]`` or stand
anywhere on the PATH. Their CPU time includes starting the program, which is how
they are used: one structure a process.
"""

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openmm_backmap.benchmark.evaluate_entries import EvaluationEntry
from openmm_backmap.benchmark.evaluate_predict import Prediction
from openmm_backmap.errors import BackmapError, InputError
from openmm_backmap.mapping.chains import chain_name
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS
from openmm_backmap.residues.names import RESIDUE_NAMES
from openmm_backmap.units import ANGSTROM

__all__ = ["PEERS", "PeerPredictor", "find_peer", "read_slots", "write_ca_pdb"]

_MAX_CHAINS = 62


@dataclass(frozen=True)
class Peer:
    """How a tool is called.

    Parameters
    ----------
    package : str
        Its distribution on PyPI, and its program.
    make_command : callable
        Program, input and output file -> words of the command line.
    one_segment : bool
        Whether each bonded segment needs a process of its own, because the
        tool joins chains.
    """

    package: str
    make_command: Callable[[str, str, str], list[str]]
    one_segment: bool


PEERS = {
    "pulchra": Peer(
        "pulchra",
        lambda program, source, target: [program, source, "-O", target],
        one_segment=True,
    ),
    "cgback": Peer(
        "cgback",
        lambda program, source, target: [
            program, source, "-o", target, "--skip-add-hydrogen", "-s", "1",
        ],
        one_segment=False,
    ),
}  # fmt: skip
"""Rotkiewicz and Skolnick, J. Comput. Chem. 29, 1460 (2008) as ported to
Python; and the diffusion model CGBack."""


def find_peer(name: str) -> str | None:
    """Find the program of a peer.

    Parameters
    ----------
    name : str
        One of `PEERS`.

    Returns
    -------
    str or None
        Its path; None if it is not installed.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    if name not in PEERS:
        raise InputError(f"peer {name!r} is unknown: use {', '.join(PEERS)}")
    here = str(Path(sys.executable).parent)
    package = PEERS[name].package
    return shutil.which(package) or shutil.which(package, path=here)


def write_ca_pdb(
    path: Path | str, ca: np.ndarray, residue_type: np.ndarray, segment: np.ndarray
) -> None:
    """Write CA atoms, each segment a chain that is numbered from 1.

    Parameters
    ----------
    path : pathlib.Path or str
        The file.
    ca : numpy.ndarray, shape (R, 3)
        In nm.
    residue_type, segment : numpy.ndarray, shape (R,)
        Types 0 to 19, and segments in order.
    """
    start = np.flatnonzero(np.diff(segment, prepend=segment[0] - 1))
    number = np.arange(len(segment)) - start[np.searchsorted(start, np.arange(
        len(segment)), "right") - 1] + 1  # fmt: skip
    lines = []
    for r, (x, y, z) in enumerate(np.asarray(ca, float) / ANGSTROM):
        chain = chain_name(int(segment[r] - segment[0]))
        lines.append(
            f"ATOM  {r + 1:5d}  CA  {RESIDUE_NAMES[residue_type[r]]} {chain}"
            f"{number[r]:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C"
        )
        if r + 1 == len(segment) or segment[r + 1] != segment[r]:
            lines.append("TER")
    Path(path).write_text("\n".join([*lines, "END", ""]))


def read_slots(path: Path | str, residue_type: np.ndarray) -> np.ndarray:
    """Read heavy atoms in the order of residues that is known.

    Parameters
    ----------
    path : pathlib.Path or str
        PDB file with the residues in order; numbers and chains do not matter.
    residue_type : numpy.ndarray, shape (R,)
        What the residues must be.

    Returns
    -------
    numpy.ndarray, shape (R, 14, 3)
        In nm; nan where an atom is not in the file.

    Raises
    ------
    BackmapError
        If the residues are others.
    """
    found: list[tuple[str, dict[str, list[float]]]] = []
    last = None
    for line in Path(path).read_text(errors="replace").splitlines():
        if line.startswith("ENDMDL"):
            break
        if not line.startswith("ATOM"):
            continue
        key = (line[17:20], line[21:27])
        if key != last:
            found.append((key[0].strip(), {}))
            last = key
        place = [float(line[k : k + 8]) for k in (30, 38, 46)]
        found[-1][1].setdefault(line[12:16].strip(), place)
    wanted = [RESIDUE_NAMES[k] for k in residue_type]
    if [name for name, _ in found] != wanted:
        raise BackmapError(
            f"{Path(path).name}: {len(found)} residues came back, wanted the "
            f"{len(wanted)} of the input in their order"
        )
    positions = np.full((len(wanted), N_SLOTS, 3), np.nan, np.float32)
    for r, (_, atoms) in enumerate(found):
        for name, slot in ATOM_SLOT[residue_type[r]].items():
            if name in atoms:
                positions[r, slot] = np.array(atoms[name]) * ANGSTROM
    return positions


class PeerPredictor:
    """Another tool, run through its command line; see `Predictor`.

    Parameters
    ----------
    name : str
        One of `PEERS`.
    timeout : float
        Longest run of one process in seconds.

    Raises
    ------
    InputError
        If the tool is unknown or not installed.
    """

    can_sample = False

    def __init__(self, name: str, timeout: float = 900.0) -> None:
        program = find_peer(name)
        if program is None:
            raise InputError(
                f"peer {name} is not installed: pip install openmm-backmap[benchmark], "
                "or put its program on the PATH"
            )
        self.name = name
        self.timeout = timeout
        self._peer = PEERS[name]
        self._program = program

    def predict(
        self, entry: EvaluationEntry, ca: np.ndarray, sample: int | None
    ) -> Prediction:
        """Backmap frame after frame; see `Predictor.predict`."""
        segment = entry.bead_segment
        if self._peer.one_segment:
            parts = [np.flatnonzero(segment == k) for k in range(segment[-1] + 1)]
        else:
            parts = [np.arange(len(segment))]
        if segment[-1] >= _MAX_CHAINS and not self._peer.one_segment:
            raise BackmapError(f"{self.name}: more than {_MAX_CHAINS} segments")
        wall, cpu = time.perf_counter(), _children_seconds()
        positions = np.stack(
            [
                np.concatenate([self._run(entry, frame, rows) for rows in parts])
                for frame in ca
            ]
        )
        cpu, wall = _children_seconds() - cpu, time.perf_counter() - wall
        return Prediction(positions, None, cpu, wall)

    def _run(
        self, entry: EvaluationEntry, ca: np.ndarray, rows: np.ndarray
    ) -> np.ndarray:
        """Run the tool once; (len(rows), 14, 3)."""
        residue_type = entry.residue_type[rows]
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "in.pdb", Path(folder) / "out.pdb"
            write_ca_pdb(source, ca[rows], residue_type, entry.bead_segment[rows])
            command = self._peer.make_command(self._program, source.name, target.name)
            self._call(command, folder)
            if not target.exists():
                raise BackmapError(f"{self.name} wrote no structure for this input")
            return read_slots(target, residue_type)

    def _call(self, command: Sequence[str], folder: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        try:
            subprocess.run(
                command,
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=True,
                timeout=self.timeout,
            )
        except subprocess.TimeoutExpired as error:
            raise BackmapError(
                f"{self.name} was not done after {self.timeout:.0f} s"
            ) from error
        except subprocess.CalledProcessError as error:
            said = (error.stderr or error.stdout or "").strip().splitlines()
            raise BackmapError(
                f"{self.name} failed: {said[-1] if said else error}"
            ) from error


def _children_seconds() -> float:
    """CPU time of all child processes that ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
