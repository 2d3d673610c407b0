"""Pairs of candidates' atoms with the backbones and side chains that are there."""

import torch
from torch import Tensor

from openmm_backmap.packing.atoms import BlockedPoints, CandidateAtoms
from openmm_backmap.packing.close_points import find_point_pairs
from openmm_backmap.packing.contacts import Surroundings
from openmm_backmap.packing.interactions import find_allowed_backbone_pairs
from openmm_backmap.packing.tables import PackingTables

__all__ = ["find_present_pairs"]


def find_present_pairs(
    atoms: CandidateAtoms,
    present: CandidateAtoms,
    backbone_points: BlockedPoints,
    near: Surroundings,
    tables: PackingTables,
    cutoff: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Find the pairs of candidates' atoms with atoms that stay.

    Parameters
    ----------
    atoms : CandidateAtoms
        Of the candidates.
    present : CandidateAtoms
        The side chains that are there, see `list_side_chains`.
    backbone_points : BlockedPoints
        The backbones that are there.
    near : Surroundings
        Residue pairs.
    tables : PackingTables
        Constants.
    cutoff : float
        In nm.

    Returns
    -------
    atom : torch.Tensor, shape (P,), int64
        Atom of `atoms`.
    code : torch.Tensor, shape (P,), int64
        What the other is: 14 times its residue type, plus its slot.
    distance : torch.Tensor, shape (P,)
        In nm.
    """
    a, b, distance, _ = find_allowed_backbone_pairs(
        atoms, backbone_points, near, tables, cutoff
    )
    residue = torch.div(b, 14, rounding_mode="floor")
    code = near.residue_type.index_select(0, residue) * 14 + b - residue * 14
    # residue pairs are listed once, and either residue may have candidates
    a2, b2, distance2, _ = find_point_pairs(
        atoms.points,
        present.points,
        near.first,
        near.second,
        near.shift,
        cutoff,
        near.n_residues,
        4096,
    )
    a3, b3, distance3, _ = find_point_pairs(
        atoms.points,
        present.points,
        near.second,
        near.first,
        -near.shift,
        cutoff,
        near.n_residues,
        4096,
    )
    code2 = present.code.index_select(0, torch.cat([b2, b3]))
    return (
        torch.cat([a, a2, a3]),
        torch.cat([code, code2]),
        torch.cat([distance, distance2, distance3]),
    )
