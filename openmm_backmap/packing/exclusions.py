"""Which atom pairs are never overlaps: the ones within three bonds."""

from openmm_backmap.packing.constants import N_BACKBONE
from openmm_backmap.residues.atoms import ATOM_SLOT, BONDS, N_SLOTS
from openmm_backmap.residues.names import N_TYPES, RESIDUE_NAMES

__all__ = [
    "MAX_EXCLUDED_BONDS",
    "compute_bond_distances",
    "compute_excluded_before",
    "compute_excluded_inside",
]

MAX_EXCLUDED_BONDS = 3
"""Pairs at most this many bonds apart are left out of the overlap energy."""

_FAR = 99


def compute_bond_distances(residue_type: int) -> list[list[int]]:
    """Count the bonds between any two heavy atoms of a residue.

    Parameters
    ----------
    residue_type : int
        0 to 19.

    Returns
    -------
    list of list of int, shape (14, 14)
        Bonds on the shortest path; 99 where a slot is empty.
    """
    distance = [[_FAR] * N_SLOTS for _ in range(N_SLOTS)]
    slots = ATOM_SLOT[residue_type]
    for slot in slots.values():
        distance[slot][slot] = 0
    for first, second in BONDS[residue_type]:
        distance[slots[first]][slots[second]] = 1
        distance[slots[second]][slots[first]] = 1
    # Floyd and Warshall; 14 atoms, done once
    for via in range(N_SLOTS):
        for a in range(N_SLOTS):
            for b in range(N_SLOTS):
                path = distance[a][via] + distance[via][b]
                distance[a][b] = min(distance[a][b], path)
    return [[min(d, _FAR) for d in row] for row in distance]


def compute_excluded_inside() -> list[list[list[bool]]]:
    """Mark pairs of one residue that are within three bonds.

    Returns
    -------
    list, shape (20, 14, 14)
        True where the pair is left out; True for empty slots too.
    """
    excluded = []
    for residue_type in range(N_TYPES):
        distance = compute_bond_distances(residue_type)
        excluded.append(
            [
                [d <= MAX_EXCLUDED_BONDS or d == _FAR for d in distance[a]]
                for a in range(N_SLOTS)
            ]
        )
    return excluded


def compute_excluded_before() -> list[list[list[bool]]]:
    """Mark pairs with the backbone of the residue before within three bonds.

    Only proline has any beyond CB: CD with CA, C and O, and CG with C, because
    its ring closes on its own N.

    Returns
    -------
    list, shape (20, 14, 5)
        True where (slot of this residue, backbone slot of the one before) is
        left out.
    """
    before = compute_bond_distances(RESIDUE_NAMES.index("ALA"))
    carbon, nitrogen = 2, 0
    excluded = []
    for residue_type in range(N_TYPES):
        distance = compute_bond_distances(residue_type)
        excluded.append(
            [
                [
                    distance[a][nitrogen] + 1 + before[carbon][b] <= MAX_EXCLUDED_BONDS
                    for b in range(N_BACKBONE)
                ]
                for a in range(N_SLOTS)
            ]
        )
    return excluded
