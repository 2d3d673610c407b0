"""Fixtures that every test may use: shared data, randomness, a real protein."""

import os

# Before numpy and torch start their thread pools: the suite runs beside others.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS
from openmm_backmap.residues.names import residue_type_of

REPOSITORY = Path(__file__).resolve().parents[1]


def read_slots(path: Path | str) -> SimpleNamespace:
    """Read the heavy atoms of a PDB file (all models) into the 14 slots.

    Returns
    -------
    SimpleNamespace
        positions (F, R, 14, 3) float32 nm (zeros where absent), mask (R, 14)
        bool, residue_type (R,) int64, chain_index (R,) int64, n_residues.
    """
    import mdtraj

    trajectory = mdtraj.load(str(path))
    residues = list(trajectory.topology.residues)
    n_residues = len(residues)
    positions = np.zeros((trajectory.n_frames, n_residues, N_SLOTS, 3), np.float32)
    mask = np.zeros((n_residues, N_SLOTS), bool)
    residue_type = np.array([residue_type_of(r.name) for r in residues], np.int64)
    for i, residue in enumerate(residues):
        slots = ATOM_SLOT[residue_type[i]]
        for atom in residue.atoms:
            if atom.name in slots:
                positions[:, i, slots[atom.name]] = trajectory.xyz[:, atom.index]
                mask[i, slots[atom.name]] = True
    return SimpleNamespace(
        positions=positions,
        mask=mask,
        residue_type=residue_type,
        chain_index=np.array([r.chain.index for r in residues], np.int64),
        n_residues=n_residues,
    )


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of data too large for the repository, beside it; or skip."""
    for folder in (REPOSITORY.parent / "shared", REPOSITORY / "shared"):
        if (folder / "data").is_dir():
            return folder
    pytest.skip("no shared/ folder beside the repository")


@pytest.fixture
def rng() -> np.random.Generator:
    """Numpy generator with a fixed seed, new for each test."""
    return np.random.default_rng(2718)


@pytest.fixture(scope="session")
def protein_path() -> Path:
    """PDB file of a small real protein (1RIS, 97 residues, heavy atoms)."""
    return REPOSITORY / "openmm_backmap" / "data" / "1ris.pdb"


@pytest.fixture(scope="session")
def read_protein() -> Callable[[Path | str], SimpleNamespace]:
    """Give the function that reads a PDB file into slots; see `read_slots`."""
    return read_slots


@pytest.fixture
def protein(protein_path: Path) -> SimpleNamespace:
    """Give the small real protein in slots; see `read_slots`."""
    return read_slots(protein_path)


@pytest.fixture
def hairpin() -> np.ndarray:
    """CA in nm of residues 15 to 27 of crambin, VCRLPGTPEALCA (PDB 1EJG, CC0).

    Residues 16 and 26 are bonded.
    """
    return np.array(
        [
            [-0.102, -0.709, 0.218], [-0.198, -0.344, 0.157], [0.102, -0.314, -0.076],
            [0.012, -0.619, -0.291], [-0.217, -0.427, -0.532], [0.039, -0.144, -0.548],
            [-0.117, 0.097, -0.298], [0.121, 0.382, -0.212], [0.328, 0.339, 0.099],
            [0.179, 0.659, 0.245], [-0.178, 0.521, 0.226], [-0.069, 0.185, 0.363],
            [0.102, 0.375, 0.649],
        ],
        np.float32,
    )  # fmt: skip
