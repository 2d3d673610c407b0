"""Clashes and ring penetrations against slow twins and built cases."""

import itertools

import numpy as np
import pytest

from openmm_backmap.metrics import (
    HeavyAtomLayout,
    compute_clashes_per_1000,
    compute_overlaps_per_1000,
    compute_ring_penetrations,
    find_overlaps,
)
from openmm_backmap.residues.atoms import RINGS, SLOT_NAMES
from openmm_backmap.residues.names import CODES

RADIUS = {"C": 0.170, "N": 0.155, "O": 0.152, "S": 0.180}


def make_layout(protein):
    return HeavyAtomLayout.from_residues(
        protein.residue_type, protein.chain_index, protein.mask
    )


def slow_overlaps(atoms, layout, overlap):
    """All pairs in a loop, bonds walked by hand."""
    neighbors = {int(a): set() for a in layout.atoms}
    for a, b in layout.all_bonds.tolist():
        neighbors[a].add(b)
        neighbors[b].add(a)
    found = set()
    for a in neighbors:
        near, edge = {a}, {a}
        for _ in range(3):
            edge = {c for b in edge for c in neighbors[b]}
            near |= edge
        for b in neighbors:
            if b > a and b not in near:
                names = [
                    SLOT_NAMES[layout.residue_type[x // 14]][x % 14] for x in (a, b)
                ]
                limit = RADIUS[names[0][0]] + RADIUS[names[1][0]] - overlap
                if np.linalg.norm(atoms[a] - atoms[b]) < limit:
                    found.add((a, b))
    return found


def test_overlaps_equal_a_slow_twin(protein, rng):
    keep = slice(0, 40)
    layout = HeavyAtomLayout.from_residues(
        protein.residue_type[keep], None, protein.mask[keep]
    )
    frames = protein.positions[:, keep].astype(np.float64)
    frames = frames + rng.normal(0.0, 0.08, frames.shape)
    for overlap in (0.04, 0.09):
        found = find_overlaps(frames, layout, overlap)[0]
        wanted = slow_overlaps(frames[0].reshape(-1, 3), layout, overlap)
        assert {tuple(pair) for pair in found.tolist()} == wanted
        assert len(found) == len(wanted) > 5


def test_crystal_structure_has_no_severe_clash(protein):
    layout = make_layout(protein)
    assert compute_clashes_per_1000(protein.positions, layout)[0] == 0.0
    assert compute_overlaps_per_1000(protein.positions, layout)[0] < 10.0
    assert compute_ring_penetrations(protein.positions, layout)[0] == 0


def test_shrunken_structure_clashes(protein):
    layout = make_layout(protein)
    assert compute_clashes_per_1000(protein.positions * 0.6, layout)[0] > 500.0


def test_disulfide_is_no_clash():
    """Two cysteines 2.05 A apart at SG: neighbours across it are near, too."""
    residue_type = np.array([4, 7, 7, 7, 4])
    layout = HeavyAtomLayout.from_residues(residue_type, np.array([0, 1, 2, 3, 4]))
    positions = np.full((1, 5, 14, 3), 50.0)
    positions[0, 1:4] = np.arange(42).reshape(3, 14, 1) * 3.0 + 100.0
    first = np.array(
        [[0.9, 1.4, 0], [0, 1.4, 0.3], [0, 2.6, 1.2], [0, 3.6, 0.6], [-0.8, 0.2, 0],
         [-1.0, -1.0, 1.3]]
    )  # N CA C O CB SG in angstrom, a rough cysteine  # fmt: skip
    # the second one by inversion through the middle of the S-S bond
    middle = first[5] + np.array([0.3, -0.9, 0.4]) * 1.025 / np.sqrt(1.06)
    second = 2 * middle - first
    positions[0, 0, :6], positions[0, 4, :6] = first * 0.1, second * 0.1
    distance = np.linalg.norm(positions[0, 0, 5] - positions[0, 4, 5])
    assert 0.19 < distance < 0.22
    bonded = find_overlaps(positions, layout, 0.09)[0]
    sulfurs = {(5, 4 * 14 + 5)}
    assert not sulfurs & {tuple(p) for p in bonded.tolist()}
    # the same two atoms as oxygens of serine are a clash
    layout = HeavyAtomLayout.from_residues(np.array([15, 7, 7, 7, 15]), np.arange(5))
    clashing = find_overlaps(positions, layout, 0.09)[0]
    assert sulfurs <= {tuple(p) for p in clashing.tolist()}


def test_a_sulphur_has_one_bridge_of_a_bonds_length():
    """Four SG on a line; all other atoms lie far off."""
    layout = HeavyAtomLayout.from_residues(np.full(4, 4), np.arange(4))
    positions = 30.0 + 5.0 * np.arange(4 * 14 * 3).reshape(1, 4, 14, 3) ** 1.1

    def find(*places):
        positions[0, :, 5] = [[x, 0.0, 0.0] for x in places]
        found = find_overlaps(positions, layout, 0.09)[0]
        return {tuple(pair) for pair in (found // 14).tolist()}

    assert find(0.0, 0.205, 1.0, 1.249) == set()
    # far shorter than any bond
    assert find(0.0, 0.17, 1.0, 1.03) == {(0, 1), (2, 3)}
    # the middle one is bonded to the nearer of two
    assert find(0.0, 0.21, 0.41, 9.0) == {(0, 1)}
    # nearest first: 1-2, then neither 0 nor 3 has a partner left
    assert find(0.0, 0.24, 0.44, 0.68) == {(0, 1), (2, 3)}


def test_clash_through_the_box_wall_is_seen(protein):
    """A copy moved by a box vector sits on the molecule itself."""
    n = protein.n_residues
    layout = HeavyAtomLayout.from_residues(
        np.tile(protein.residue_type, 2),
        np.repeat([0, 1], n),
        np.tile(protein.mask, (2, 1)),
    )
    box = np.array([[9.0, 0, 0], [2.0, 8.0, 0], [1.0, -2.0, 8.5]])
    for vectors in (np.diag(np.diagonal(box)), box):
        copy = protein.positions + (vectors[0] + vectors[2] + 0.05).astype(np.float32)
        pair = np.concatenate([protein.positions, copy], axis=1)
        assert compute_clashes_per_1000(pair, layout)[0] == 0.0
        inside = compute_clashes_per_1000(pair, layout, vectors)[0]
        near = np.concatenate([protein.positions, protein.positions + 0.05], axis=1)
        np.testing.assert_allclose(
            inside, compute_clashes_per_1000(near, layout)[0], rtol=0.01
        )
        assert inside > 100.0
        assert (
            compute_ring_penetrations(pair, layout, vectors)[0]
            == compute_ring_penetrations(near, layout)[0]
            > 0
        )


def slow_penetrations(atoms, layout):
    """Triangle fan of each ring, each triangle by Moller and Trumbore (1997)."""
    first, last = atoms[layout.all_bonds.T]
    count = 0
    for residue, kind in enumerate(layout.residue_type):
        for names in RINGS[kind]:
            ring = [residue * 14 + SLOT_NAMES[kind].index(name) for name in names]
            center = atoms[ring].mean(axis=0)
            hit = np.zeros(len(first), bool)
            for p, q in zip(ring, [*ring[1:], ring[0]], strict=True):
                e1, e2 = atoms[p] - center, atoms[q] - center
                d, s = last - first, first - center
                h, c = np.cross(d, e2), np.cross(s, e1)
                det = h @ e1
                det[det == 0.0] = np.nan  # parallel to the triangle
                u, v, t = (s * h).sum(1) / det, (d * c).sum(1) / det, c @ e2 / det
                hit |= (u >= 0) & (v >= 0) & (u + v <= 1) & (0 < t) & (t < 1)
            shared = np.isin(layout.all_bonds, ring).any(axis=1)
            count += int((hit & ~shared).sum())
    return count


def test_ring_penetrations_equal_a_slow_twin(protein):
    """The second half of the chain pushed into the first half, in many ways."""
    layout = make_layout(protein)
    shifts = np.linspace(0.0, 0.6, 13)
    frames = np.repeat(protein.positions.astype(np.float64), 13, axis=0)
    center = frames[0, :48, 1].mean(axis=0) - frames[0, 48:, 1].mean(axis=0)
    frames[:, 48:] += center + shifts[:, None, None, None]
    wanted = [slow_penetrations(f.reshape(-1, 3), layout) for f in frames]
    found = compute_ring_penetrations(frames, layout)
    assert sum(wanted) > 8
    # proline rings pucker by 0.5 A, so plane and triangles may differ there
    assert np.abs(found - wanted).sum() <= 1


def test_bond_through_a_phenyl_ring_is_one_penetration():
    residue_type = np.array([CODES.index("F"), CODES.index("K")])
    layout = HeavyAtomLayout.from_residues(residue_type, np.array([0, 1]))
    positions = 30.0 + 5.0 * np.arange(2 * 14 * 3).reshape(1, 2, 14, 3) ** 1.1
    angles = np.radians([0, 60, -60, 120, -120, 180])  # CG CD1 CD2 CE1 CE2 CZ
    positions[0, 0, 5:11] = 0.139 * np.stack(
        [np.cos(angles), np.sin(angles), 0 * angles], axis=1
    )
    positions[0, 1, 7], positions[0, 1, 8] = [0.02, 0, 0.075], [0, 0.03, -0.075]
    assert compute_ring_penetrations(positions, layout)[0] == 1
    positions[0, 1, 7:9, 0] += 0.2  # beside the ring
    assert compute_ring_penetrations(positions, layout)[0] == 0


def test_atoms_that_are_not_finite_are_left_out(protein):
    layout = make_layout(protein)
    frames = protein.positions.copy()
    frames[0, 3] = np.nan
    assert compute_clashes_per_1000(frames, layout)[0] == 0.0
    assert compute_ring_penetrations(frames, layout)[0] == 0


def test_what_lies_behind_a_masked_atom_is_bonded_all_the_same(protein):
    """CB of valine is not known: CA and CG1 are two bonds apart as before."""
    whole = make_layout(protein)
    overlaps = {tuple(p) for p in find_overlaps(protein.positions, whole, 0.04)[0]}
    mask = protein.mask.copy()
    mask[np.isin(protein.residue_type, [CODES.index(k) for k in "VILTNDFK"]), 4] = False
    mask[10, [0, 2]] = False
    holed = whole.restrict(mask)
    present = mask.reshape(-1)
    kept = {(a, b) for a, b in overlaps if present[a] and present[b]}
    found = {tuple(p) for p in find_overlaps(protein.positions, holed, 0.04)[0]}
    assert found == kept
    first, second = np.divmod(holed.near_pairs, 14 * protein.n_residues)
    assert present[first].all() and present[second].all()


@pytest.mark.parametrize("kinds", list(itertools.combinations("GAP", 2)))
def test_pairs_within_three_bonds_are_excluded(kinds):
    """Distances in the graph of a dipeptide, by breadth-first search."""
    layout = HeavyAtomLayout.from_residues(np.array([CODES.index(k) for k in kinds]))
    n = 28
    codes = set(layout.near_pairs.tolist())
    graph = np.full((n, n), 99)
    for a, b in layout.all_bonds:
        graph[a, b] = graph[b, a] = 1
    for k in range(n):  # Floyd and Warshall
        graph = np.minimum(graph, graph[:, k, None] + graph[None, k])
    i, j = np.nonzero(np.triu(graph <= 3, 1))
    assert codes == set((i * n + j).tolist())
