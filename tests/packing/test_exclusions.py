"""Excluded pairs against a search on the bond graph of a dipeptide."""

import pytest

from openmm_backmap.packing.exclusions import (
    compute_excluded_before,
    compute_excluded_inside,
)
from openmm_backmap.packing.tables import ATOM_TYPES, atom_type_of, make_packing_tables
from openmm_backmap.residues.atoms import ATOM_SLOT, BONDS, SLOT_NAMES
from openmm_backmap.residues.names import RESIDUE_NAMES
from openmm_backmap.residues.torsions import CHI_ATOMS


def within_three_bonds(first: int, second: int) -> set[frozenset]:
    """Walk the bonds of the dipeptide of two residue types."""
    links: dict[tuple, set] = {}
    edges = [((0, a), (0, b)) for a, b in BONDS[first]]
    edges += [((1, a), (1, b)) for a, b in BONDS[second]]
    edges.append(((0, "C"), (1, "N")))
    for a, b in edges:
        links.setdefault(a, set()).add(b)
        links.setdefault(b, set()).add(a)
    found = set()
    for start in links:
        seen, front = {start}, {start}
        for _ in range(3):
            front = {b for a in front for b in links[a]} - seen
            seen |= front
        found |= {frozenset((start, other)) for other in seen}
    return found


@pytest.mark.parametrize("name", RESIDUE_NAMES)
def test_excluded_pairs_are_those_within_three_bonds(name: str) -> None:
    kind = RESIDUE_NAMES.index(name)
    near = within_three_bonds(RESIDUE_NAMES.index("ALA"), kind)
    inside, before = compute_excluded_inside()[kind], compute_excluded_before()[kind]
    atoms = SLOT_NAMES[kind]
    for a in atoms:
        for b in atoms:
            expected = frozenset(((1, a), (1, b))) in near
            assert inside[ATOM_SLOT[kind][a]][ATOM_SLOT[kind][b]] == expected, (a, b)
        for k, b in enumerate(("N", "CA", "C", "O", "CB")):
            expected = frozenset(((1, a), (0, b))) in near
            assert before[ATOM_SLOT[kind][a]][k] == expected, (a, b)


def test_proline_ring_is_not_an_overlap_with_the_residue_before() -> None:
    before = compute_excluded_before()[RESIDUE_NAMES.index("PRO")]
    slots = ATOM_SLOT[RESIDUE_NAMES.index("PRO")]
    assert before[slots["CD"]] == [False, True, True, True, False]
    assert before[slots["CG"]] == [False, False, True, False, False]


def test_chi_turn_the_atoms_of_their_far_side() -> None:
    tables = make_packing_tables()
    for kind, chis in enumerate(CHI_ATOMS):
        slots = ATOM_SLOT[kind]
        for k, (_, near, far, last) in enumerate(chis):
            assert tables.chi_moves[kind, k, slots[last]] == 1
            assert tables.chi_axis[kind, k].tolist() == [slots[near], slots[far]]
            assert tables.chi_moves[kind, k, slots[far]] == 0
    isoleucine = RESIDUE_NAMES.index("ILE")
    slots = ATOM_SLOT[isoleucine]
    assert tables.chi_moves[isoleucine, 1].nonzero().flatten().tolist() == [
        slots["CD1"]
    ]
    assert tables.chi_depth[isoleucine, slots["CG2"]] == 1


def test_atom_types_cover_all_atoms_and_are_all_used() -> None:
    used = {
        atom_type_of(RESIDUE_NAMES[kind], atom)
        for kind, names in enumerate(SLOT_NAMES)
        for atom in names
    }
    assert used == set(range(len(ATOM_TYPES)))
