"""Contacts of candidate atoms as codes: what is near, how far, on which side."""

from typing import NamedTuple

import torch

from openmm_backmap.packing import constants
from openmm_backmap.packing.atoms import BlockedPoints, CandidateAtoms
from openmm_backmap.packing.close_points import find_point_pairs
from openmm_backmap.packing.contacts import Surroundings, list_both_directions
from openmm_backmap.packing.interactions import find_allowed_backbone_pairs
from openmm_backmap.packing.tables import PackingTables

__all__ = [
    "N_CONTACT_CODES",
    "ContactPairs",
    "compute_backbone_directions",
    "compute_bond_directions",
    "compute_plane_normals",
    "find_contact_pairs",
]

N_CONTACT_CODES = 26 * 12 * 6 * 18
"""Types of the other atom x sides of the candidate's atom x sides of the other
atom x distances. A side is the angle with the atom's bond, in six equal steps of the
cosine; for the candidate's atom also whether the contact is out of its plane."""


class ContactPairs(NamedTuple):
    """E contacts of candidate atoms with the atoms around them."""

    atom: torch.Tensor  # (E,) int64: the candidate atom
    code: torch.Tensor  # (E,) int64, 0 to N_CONTACT_CODES - 1
    weight: torch.Tensor  # (E,) probability that the other atom is there


def _normalize(vector: torch.Tensor) -> torch.Tensor:
    length = (vector * vector).sum(2, keepdim=True).sqrt()
    return vector / length.clamp(min=1e-6)


def compute_bond_directions(
    positions: torch.Tensor, residue_type: torch.Tensor, parent: torch.Tensor
) -> torch.Tensor:
    """Compute the direction in which each side-chain atom leaves its bond.

    Parameters
    ----------
    positions : torch.Tensor, shape (P, 14, 3)
        Atoms in nm.
    residue_type : torch.Tensor, shape (P,), int64
        0 to 19.
    parent : torch.Tensor, shape (20, 14, 3), int64
        As `builder.tables` has it; the last one is bonded.

    Returns
    -------
    torch.Tensor, shape (P, 14, 3)
        Unit vectors from the bonded atom nearer to CA.
    """
    before = parent.select(2, 2).index_select(0, residue_type).clamp(min=0)
    vector = positions - positions.gather(1, before.unsqueeze(2).expand(-1, -1, 3))
    return _normalize(vector)


def compute_plane_normals(
    positions: torch.Tensor, residue_type: torch.Tensor, parent: torch.Tensor
) -> torch.Tensor:
    """Compute the normal of each side-chain atom and the two bonds before it.

    Parameters
    ----------
    positions, residue_type, parent : torch.Tensor
        As in `compute_bond_directions`.

    Returns
    -------
    torch.Tensor, shape (P, 14, 3)
        Unit vectors; the plane of an amide, a carboxylate or a ring where the atom
        is part of one. Zero where the bonds lie on a line.
    """
    slots = parent.index_select(0, residue_type).clamp(min=0)
    middle = positions.gather(1, slots[:, :, 2:].expand(-1, -1, 3))
    far = positions.gather(1, slots[:, :, 1:2].expand(-1, -1, 3))
    return _normalize(torch.linalg.cross(positions - middle, middle - far, dim=2))


def compute_backbone_directions(
    backbone: torch.Tensor, follows: torch.Tensor
) -> torch.Tensor:
    """Compute the direction in which each backbone atom is open.

    Parameters
    ----------
    backbone : torch.Tensor, shape (G, 5, 3)
        N, CA, C, O and CB in nm.
    follows : torch.Tensor, shape (G,), bool
        Bonded to the residue before it.

    Returns
    -------
    torch.Tensor, shape (G, 5, 3)
        Unit vectors: of N where its hydrogen is, of O and CB along the bond.
    """
    n, ca, c = backbone[:, 0], backbone[:, 1], backbone[:, 2]
    middle = 0.5 * (ca + torch.roll(c, 1, 0))
    vector = torch.stack(
        [
            n - torch.where(follows.unsqueeze(1), middle, ca),
            ca - 0.5 * (n + c),
            c - ca,
            backbone[:, 3] - c,
            backbone[:, 4] - ca,
        ],
        1,
    )
    return _normalize(vector)


def _flatten(points: BlockedPoints) -> torch.Tensor:
    """Coordinates by index, shape (3, N)."""
    return torch.stack([points.x.t(), points.y.t(), points.z.t()]).reshape(3, -1)


def _encode(
    source: torch.Tensor,
    source_direction: torch.Tensor,
    source_normal: torch.Tensor,
    target: torch.Tensor,
    target_direction: torch.Tensor,
    kind: torch.Tensor,
    shift: torch.Tensor,
    distance: torch.Tensor,
) -> torch.Tensor:
    """Codes of pairs, from coordinates, directions (3, E) and the other's type."""
    vector = (target + shift - source) / distance.clamp(min=1e-4)
    here = (vector * source_direction).sum(0)
    off = (vector * source_normal).sum(0).abs() > 0.5
    there = -(vector * target_direction).sum(0)
    side = torch.floor(3.0 * here + 3.0).to(torch.int64).clamp(min=0, max=5)
    side = 2 * side + off.to(torch.int64)
    other = torch.floor(3.0 * there + 3.0).to(torch.int64).clamp(min=0, max=5)
    width = (constants.CONTACT_CUTOFF - constants.CONTACT_FIRST_EDGE) / 17.0
    place = (distance - constants.CONTACT_FIRST_EDGE) / width + 1.0
    place = torch.floor(place).to(torch.int64).clamp(min=0, max=17)
    return ((kind * 12 + side) * 6 + other) * 18 + place


def find_contact_pairs(
    open_atoms: CandidateAtoms,
    open_directions: torch.Tensor,
    open_normals: torch.Tensor,
    atoms: CandidateAtoms,
    directions: torch.Tensor,
    occupancy: torch.Tensor,
    backbone: torch.Tensor,
    backbone_points: BlockedPoints,
    near: Surroundings,
    tables: PackingTables,
) -> ContactPairs:
    """Find all that is near the atoms of some candidates.

    Parameters
    ----------
    open_atoms : CandidateAtoms
        Atoms of the candidates that are looked at.
    open_directions, open_normals : torch.Tensor, shape (3, M)
        `compute_bond_directions` and `compute_plane_normals` of these atoms.
    atoms : CandidateAtoms
        Atoms that may be around them.
    directions : torch.Tensor, shape (3, N)
        Bond directions of `atoms`.
    occupancy : torch.Tensor, shape (N,)
        Probability of each of `atoms`.
    backbone : torch.Tensor, shape (G, 5, 3)
        N, CA, C, O and CB in nm.
    backbone_points : BlockedPoints
        The same as points.
    near : Surroundings
        Residue pairs.
    tables : PackingTables
        Constants.

    Returns
    -------
    ContactPairs
        In no particular order.
    """
    cutoff = constants.CONTACT_CUTOFF
    here = _flatten(open_atoms.points)
    a, b, distance, image = find_allowed_backbone_pairs(
        open_atoms, backbone_points, near, tables, cutoff
    )
    residue = torch.div(b, 14, rounding_mode="floor")
    slot = b - 14 * residue
    row = residue * 5 + slot
    open_sides = compute_backbone_directions(backbone, near.follows)
    code = _encode(
        here.index_select(1, a),
        open_directions.index_select(1, a),
        open_normals.index_select(1, a),
        backbone.reshape(-1, 3).t().contiguous().index_select(1, row),
        open_sides.reshape(-1, 3).t().contiguous().index_select(1, row),
        slot,
        image,
        distance,
    )
    first, second, shift = list_both_directions(near)
    a2, b2, distance2, pair = find_point_pairs(
        open_atoms.points,
        atoms.points,
        first,
        second,
        shift,
        cutoff,
        near.n_residues,
        4096,
    )
    kind = tables.atom_type.reshape(-1).index_select(0, atoms.code.index_select(0, b2))
    code2 = _encode(
        here.index_select(1, a2),
        open_directions.index_select(1, a2),
        open_normals.index_select(1, a2),
        _flatten(atoms.points).index_select(1, b2),
        directions.index_select(1, b2),
        kind,
        shift.index_select(1, pair),
        distance2,
    )
    return ContactPairs(
        atom=torch.cat([a, a2]),
        code=torch.cat([code, code2]),
        weight=torch.cat([torch.ones_like(distance), occupancy.index_select(0, b2)]),
    )
