"""Side chains from chi angles with ideal geometry."""

from typing import NamedTuple

import torch
from torch import Tensor

from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.geometry.internal import place_atom
from openmm_backmap.geometry.vectors import normalize, perpendicular_part
from openmm_backmap.residues.ideal import PROLINE_N_CD, SIDE_CHAIN_GEOMETRY
from openmm_backmap.units import ANGSTROM

__all__ = [
    "SideChainPlan",
    "build_side_chain_rows",
    "build_side_chains",
    "fill_side_chains",
    "plan_side_chains",
]


class SideChainPlan(NamedTuple):
    """How the atoms of L side chains are placed, one after another.

    N atoms, those of lower slots first; atoms index L x 14.
    """

    residue_type: Tensor  # (L,) int64
    n_atoms: list[int]  # of slots 5 to 13
    atom: Tensor  # (N,) int64
    parent: Tensor  # (3, N) int64
    length: Tensor  # (N,) nm
    angle: Tensor  # (N,) radians
    offset: Tensor  # (N,) radians, added to the chi
    chi: Tensor  # (N,) int64 into L x 5, of which the last is zero
    proline: Tensor  # (P,) int64, rows that are prolines
    exists: Tensor  # (L, 14, 1) bool


def plan_side_chains(residue_type: Tensor, tables: BuilderTables) -> SideChainPlan:
    """List what `fill_side_chains` does for a list of residues.

    Parameters
    ----------
    residue_type : torch.Tensor, shape (L,), int64
        0 to 19.
    tables : BuilderTables
        Ideal geometry.

    Returns
    -------
    SideChainPlan
        It serves any backbones and chi of these residues.
    """
    exists = tables.exists[residue_type]
    # slot after slot: an atom's parents come before it
    where = torch.nonzero(exists[:, 5:].t())
    slot, row = where[:, 0] + 5, where[:, 1]
    n_atoms: list[int] = exists[:, 5:].sum(0).tolist()
    place = residue_type[row] * 14 + slot
    parent = tables.parent.reshape(-1, 3).index_select(0, place)
    return SideChainPlan(
        residue_type=residue_type,
        n_atoms=n_atoms,
        atom=row * 14 + slot,
        parent=(row.unsqueeze(1) * 14 + parent).t().contiguous(),
        length=tables.length.reshape(-1).index_select(0, place),
        angle=tables.angle.reshape(-1).index_select(0, place),
        offset=tables.offset.reshape(-1).index_select(0, place),
        chi=row * 5 + tables.chi_index.reshape(-1).index_select(0, place),
        proline=torch.nonzero(residue_type == 14).squeeze(-1),
        exists=exists.unsqueeze(-1),
    )


def _close_proline(
    nitrogen: Tensor,
    gamma: Tensor,
    delta: Tensor,
    n_cd: float = PROLINE_N_CD * ANGSTROM,
    cg_cd: float = SIDE_CHAIN_GEOMETRY["PRO"][1][1] * ANGSTROM,
) -> Tensor:
    """Move CD onto the circle that has both ring bonds right.

    The circle is where the spheres about N (N-CD) and CG (CG-CD) meet; the
    nearest point of it replaces the CD placed by chi2.
    """
    axis = gamma - nitrogen
    distance = torch.sqrt((axis * axis).sum(-1).clamp(min=1e-8))
    x = normalize(axis)
    along = 0.5 * (distance + (n_cd**2 - cg_cd**2) / distance)
    radius = torch.sqrt((n_cd**2 - along * along).clamp(min=1e-8))
    side = normalize(perpendicular_part(delta - nitrogen, x))
    return nitrogen + along.unsqueeze(-1) * x + radius.unsqueeze(-1) * side


def fill_side_chains(backbone: Tensor, chi: Tensor, plan: SideChainPlan) -> Tensor:
    """Build planned side chains.

    Parameters
    ----------
    backbone : torch.Tensor, shape (L, 5, 3)
        N, CA, C, O, CB in nm.
    chi : torch.Tensor, shape (L, 4)
        Radians, -pi to pi; those a residue lacks are not read. Those of proline
        are held to what a ring can have.
    plan : SideChainPlan
        From `plan_side_chains`.

    Returns
    -------
    torch.Tensor, shape (L, 14, 3)
        Heavy atoms in nm, zeros in absent slots. Proline rings are closed.
    """
    rows = chi.shape[0]
    atoms = torch.zeros(rows, 14, 3, dtype=backbone.dtype, device=backbone.device)
    atoms[:, :5] = backbone
    atoms = atoms.view(-1, 3)
    proline = plan.proline
    # beyond these no proline ring closes; real ones stay within 0.7 and 0.8
    ring = chi.index_select(0, proline)
    ring = torch.cat(
        (ring[:, :1].clamp(-0.75, 0.75), ring[:, 1:].clamp(-0.85, 0.85)), 1
    )
    chi = chi.index_copy(0, proline, ring)
    padded = torch.cat((chi, torch.zeros_like(chi[:, :1])), dim=1).reshape(-1)
    torsion = plan.offset + padded.index_select(0, plan.chi)
    last = 0
    for count in plan.n_atoms:
        first, last = last, last + count
        if count == 0:
            continue
        placed = place_atom(
            atoms.index_select(0, plan.parent[0, first:last]),
            atoms.index_select(0, plan.parent[1, first:last]),
            atoms.index_select(0, plan.parent[2, first:last]),
            plan.length[first:last],
            plan.angle[first:last],
            torsion[first:last],
        )
        atoms.index_copy_(0, plan.atom[first:last], placed)
    if proline.numel() > 0:
        closed = _close_proline(
            atoms.index_select(0, proline * 14),
            atoms.index_select(0, proline * 14 + 5),
            atoms.index_select(0, proline * 14 + 6),
        )
        atoms.index_copy_(0, proline * 14 + 6, closed)
    return atoms.view(rows, 14, 3) * plan.exists


def build_side_chain_rows(
    backbone: Tensor, residue_type: Tensor, chi: Tensor, tables: BuilderTables
) -> Tensor:
    """Side chains of a flat list of residues (or of rotamer candidates).

    Parameters
    ----------
    backbone : torch.Tensor, shape (L, 5, 3)
        N, CA, C, O, CB in nm.
    residue_type : torch.Tensor, shape (L,), int64
        0 to 19.
    chi : torch.Tensor, shape (L, 4)
        See `fill_side_chains`.
    tables : BuilderTables
        Ideal geometry.

    Returns
    -------
    torch.Tensor, shape (L, 14, 3)
        Heavy atoms in nm, zeros in absent slots.
    """
    return fill_side_chains(backbone, chi, plan_side_chains(residue_type, tables))


def build_side_chains(
    backbone: Tensor, residue_type: Tensor, chi: Tensor, tables: BuilderTables
) -> Tensor:
    """All heavy atoms from the backbone and chi.

    Parameters
    ----------
    backbone : torch.Tensor, shape (F, R, 5, 3)
        N, CA, C, O, CB in nm.
    residue_type : torch.Tensor, shape (R,), int64
        0 to 19.
    chi : torch.Tensor, shape (F, R, 4)
        Radians.
    tables : BuilderTables
        Ideal geometry.

    Returns
    -------
    torch.Tensor, shape (F, R, 14, 3)
        Heavy atoms in nm, zeros in absent slots.
    """
    frames, residues = chi.shape[0], chi.shape[1]
    atoms = build_side_chain_rows(
        backbone.reshape(frames * residues, 5, 3),
        residue_type.repeat(frames),
        chi.reshape(frames * residues, 4),
        tables,
    )
    return atoms.reshape(frames, residues, 14, 3)
