"""Equivalent atoms are named by their torsions."""

from types import SimpleNamespace

import numpy as np
import pytest

from openmm_backmap import Backmapper, CGFrame
from openmm_backmap.builder.equivalent_atoms import name_equivalent_atoms
from openmm_backmap.residues.atoms import ATOM_SLOT
from openmm_backmap.residues.names import CODES, RESIDUE_NAMES

TORSIONS = {
    "ARG": ("CD", "NE", "CZ", "NH1"),
    "ASP": ("CA", "CB", "CG", "OD1"),
    "GLU": ("CB", "CG", "CD", "OE1"),
    "PHE": ("CA", "CB", "CG", "CD1"),
    "TYR": ("CA", "CB", "CG", "CD1"),
}


def torsion(points: np.ndarray) -> np.ndarray:
    """Torsion in degrees of points (..., 4, 3)."""
    b = np.diff(points.astype(float), axis=-2)
    n1, n2 = np.cross(b[..., 0, :], b[..., 1, :]), np.cross(b[..., 1, :], b[..., 2, :])
    axis = b[..., 1, :] / np.linalg.norm(b[..., 1, :], axis=-1, keepdims=True)
    return np.degrees(np.arctan2((np.cross(n1, n2) * axis).sum(-1), (n1 * n2).sum(-1)))


def collect_torsions(heavy: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    found = []
    for name, atoms in TORSIONS.items():
        kind = RESIDUE_NAMES.index(name)
        slots = [ATOM_SLOT[kind][a] for a in atoms]
        found.append(torsion(heavy[:, kinds == kind][:, :, slots]))
    return np.concatenate(found, axis=1)


def test_flipped_groups_are_named_back(protein: SimpleNamespace) -> None:
    kinds = protein.residue_type
    heavy = np.repeat(protein.positions[:1], 2, axis=0)
    name_equivalent_atoms(heavy, kinds)
    named = heavy.copy()
    assert np.abs(collect_torsions(heavy, kinds)).max() <= 90.5
    # a flip of every other ring, with both of its pairs, is undone
    for name, pairs in {"PHE": (6, 8), "TYR": (6, 8), "ASP": (6,), "GLU": (7,)}.items():
        rows = np.flatnonzero(kinds == RESIDUE_NAMES.index(name))[::2]
        assert len(rows)
        for slot in pairs:
            heavy[1, rows, slot : slot + 2] = heavy[1, rows, slot : slot + 2][:, ::-1]
    assert np.abs(collect_torsions(heavy[1:], kinds)).max() > 90.0
    name_equivalent_atoms(heavy, kinds)
    assert np.array_equal(heavy, named)


@pytest.mark.parametrize("model", ["ca", "table"])
def test_backmapped_structures_follow_the_convention(
    model: str, protein: SimpleNamespace
) -> None:
    sequence = "".join(CODES[k] for k in protein.residue_type)
    backmapper = Backmapper.from_topology(sequence, model, threads=1)
    ca = protein.positions[0, :, 1]
    noise = np.random.default_rng(5).normal(0.0, 0.02, (3, *ca.shape))
    frames = [CGFrame(ca + shift.astype(np.float32)) for shift in noise]
    heavy = backmapper.backmap_batch(frames).heavy
    found = collect_torsions(heavy, backmapper.cg_topology.residue_type)
    # strained groups are a little off their planes
    assert np.abs(found).max() < 92.0
