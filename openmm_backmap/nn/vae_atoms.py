"""Atoms of a batch's torsions, and which of them the structure knows."""

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import build_backbone, has_next
from openmm_backmap.builder.side_chain import build_side_chains
from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.packing.tables import PackingTables

__all__ = ["build_atoms", "find_known_atoms"]


def build_atoms(
    ca: Tensor,
    torsion: Tensor,
    is_cis: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    tables: BuilderTables,
) -> Tensor:
    """Build all heavy atoms; differentiable in the torsions.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    torsion : torch.Tensor, shape (F, R, 9)
        C azimuth, twist, three end torsions, four chi in radians.
    is_cis : torch.Tensor, shape (F, R), bool
        Cis units.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.
    tables : BuilderTables
        Ideal geometry.

    Returns
    -------
    torch.Tensor, shape (F, R, 14, 3)
        Heavy atoms in nm, zeros in absent slots.
    """
    backbone = build_backbone(
        ca,
        torsion[..., 0],
        torsion[..., 1],
        is_cis,
        torsion[..., 2:5],
        residue_type,
        chain_index,
        tables,
    )
    return build_side_chains(backbone, residue_type, torsion[..., 5:], tables)


def find_known_atoms(
    known: Tensor, residue_type: Tensor, chain_index: Tensor, tables: PackingTables
) -> Tensor:
    """Atoms whose every torsion is known.

    Parameters
    ----------
    known : torch.Tensor, shape (F, R, 9), bool
        Known torsions, in the order of `build_atoms`.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.
    tables : PackingTables
        Say which chi move which atom.

    Returns
    -------
    torch.Tensor, shape (F, R, 14), bool
        Existing atoms that `build_atoms` puts where the structure has them.
    """
    joined = has_next(chain_index).unsqueeze(0)
    joined_before = torch.roll(joined, 1, 1)
    unit = known[..., 0] & joined
    unit_before = torch.roll(unit, 1, 1)
    nitrogen = torch.where(joined_before, unit_before, known[..., 2] & unit)
    carbon = torch.where(joined, unit, known[..., 3] & nitrogen)
    oxygen = torch.where(joined, unit, known[..., 4] & carbon)
    whole = nitrogen & carbon
    backbone = torch.stack(
        (nitrogen, torch.ones_like(unit), carbon, oxygen, whole), dim=-1
    )
    # known up to each chi
    upto = torch.cumprod(known[..., 5:].long(), dim=-1).bool()
    depth = (tables.chi_depth[residue_type][:, 5:] - 1).unsqueeze(0)
    side = torch.gather(upto, 2, depth.expand(known.shape[0], -1, -1))
    side = side & whole.unsqueeze(-1)
    return torch.cat((backbone, side), dim=-1) & tables.atom_mask[residue_type]
