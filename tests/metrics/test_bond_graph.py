"""Bond graph, pairs too close, and cis units that should not be."""

from itertools import combinations

import numpy as np
import pytest

from openmm_backmap.metrics import HeavyAtomLayout
from openmm_backmap.metrics.bond_graph import (
    compute_bond_graph_difference,
    compute_close_share,
)
from openmm_backmap.metrics.cis import compute_false_cis

RADIUS = {"C": 0.068, "N": 0.068, "O": 0.068, "S": 0.102}


@pytest.fixture
def layout(protein):
    return HeavyAtomLayout.from_residues(
        protein.residue_type, protein.chain_index, protein.mask
    )


def slow_graph(atoms, layout):
    return {
        (i, j)
        for i, j in combinations(layout.atoms[:150].tolist(), 2)
        if np.linalg.norm(atoms[i] - atoms[j])
        < 1.3 * (RADIUS[layout.elements[i]] + RADIUS[layout.elements[j]])
    }


def test_the_graph_of_a_real_structure_is_its_bonds(protein, layout):
    atoms = protein.positions[0].reshape(-1, 3)
    known = {tuple(sorted(bond)) for bond in layout.all_bonds.tolist()}
    limit = layout.atoms[149]
    assert slow_graph(atoms, layout) == {b for b in known if max(b) <= limit}
    assert compute_bond_graph_difference(
        protein.positions, protein.positions, layout
    ).tolist() == [0.0]


def test_missing_and_spurious_bonds_are_both_counted(protein, layout):
    moved = np.repeat(protein.positions, 2, axis=0)
    # residue 5 loses its carbonyl oxygen, and gets it back on residue 40
    moved[1, 5, 3] = moved[1, 40, 1] + np.array([0.0, 0.0, 0.14])
    found = compute_bond_graph_difference(moved, protein.positions, layout)
    assert found[0] == 0.0
    assert found[1] * len(layout.all_bonds) >= 2.0


def test_close_share_equals_a_slow_twin(protein, layout, rng):
    moved = protein.positions + rng.normal(0, 0.05, protein.positions.shape).astype(
        np.float32
    )
    small = HeavyAtomLayout.from_residues(
        layout.residue_type, layout.chain_index,
        layout.mask & (np.arange(layout.n_residues) < 20)[:, None],
    )  # fmt: skip
    bonded = {tuple(sorted(bond)) for bond in small.all_bonds.tolist()}
    atoms = moved[0].reshape(-1, 3)
    near = close = 0
    for i, j in combinations(small.atoms.tolist(), 2):
        distance = np.linalg.norm(atoms[i] - atoms[j])
        if (i, j) not in bonded and distance <= 0.5:
            near += 1
            close += distance < 0.12
    assert close > 0
    assert abs(compute_close_share(moved, small)[0] - close / near) < 1e-6
    assert compute_close_share(protein.positions, layout)[0] == 0.0


def test_cis_counts_only_where_the_reference_is_trans(protein, layout):
    turned = np.repeat(protein.positions, 2, axis=0)
    # swap the sides of C and N of unit 12: omega becomes 0 when CA-CA stays
    ca, following = turned[1, 12, 1], turned[1, 13, 1]
    axis = (following - ca) / np.linalg.norm(following - ca)
    nitrogen = turned[1, 13, 0] - ca
    along = (nitrogen @ axis) * axis
    turned[1, 13, 0] = ca + 2 * along - nitrogen
    false_cis = compute_false_cis(turned, protein.positions, layout)
    assert false_cis.tolist() == [0, 1]
    assert compute_false_cis(turned, turned, layout).tolist() == [0, 0]
