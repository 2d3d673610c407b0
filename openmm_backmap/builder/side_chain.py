"""Side chains from chi angles with ideal geometry."""

import torch
from torch import Tensor

from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.geometry.internal import place_atom
from openmm_backmap.geometry.vectors import normalize, perpendicular_part
from openmm_backmap.residues.ideal import PROLINE_N_CD, SIDE_CHAIN_GEOMETRY
from openmm_backmap.units import ANGSTROM

__all__ = ["build_side_chain_rows", "build_side_chains"]


def _close_proline(
    atoms: Tensor,
    is_proline: Tensor,
    n_cd: float = PROLINE_N_CD * ANGSTROM,
    cg_cd: float = SIDE_CHAIN_GEOMETRY["PRO"][1][1] * ANGSTROM,
) -> Tensor:
    """Move CD onto the circle that has both ring bonds right.

    The circle is where the spheres about N (N-CD) and CG (CG-CD) meet; the
    nearest point of it replaces the CD placed by chi2.
    """
    nitrogen, gamma, delta = atoms[:, 0], atoms[:, 5], atoms[:, 6]
    axis = gamma - nitrogen
    distance = torch.sqrt((axis * axis).sum(-1).clamp(min=1e-8))
    x = normalize(axis)
    along = 0.5 * (distance + (n_cd**2 - cg_cd**2) / distance)
    radius = torch.sqrt((n_cd**2 - along * along).clamp(min=1e-8))
    side = normalize(perpendicular_part(delta - nitrogen, x))
    closed = nitrogen + along.unsqueeze(-1) * x + radius.unsqueeze(-1) * side
    result = atoms.clone()
    result[:, 6] = torch.where(is_proline.unsqueeze(-1), closed, delta)
    return result


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
        Radians, -pi to pi; those a residue lacks are not read. Those of proline
        are held to what a ring can have.
    tables : BuilderTables
        Ideal geometry.

    Returns
    -------
    torch.Tensor, shape (L, 14, 3)
        Heavy atoms in nm, zeros in absent slots. Proline rings are closed.
    """
    rows = residue_type.shape[0]
    atoms = torch.zeros(rows, 14, 3, dtype=backbone.dtype, device=backbone.device)
    atoms[:, :5] = backbone
    parent = tables.parent[residue_type]
    length = tables.length[residue_type]
    angle = tables.angle[residue_type]
    is_proline = residue_type == 14
    # beyond these no proline ring closes; real ones stay within 0.7 and 0.8
    closable = torch.cat(
        (chi[:, :1].clamp(-0.75, 0.75), chi[:, 1:].clamp(-0.85, 0.85)), dim=1
    )
    chi = torch.where(is_proline.unsqueeze(1), closable, chi)
    padded = torch.cat((chi, torch.zeros_like(chi[:, :1])), dim=1)
    torsion = tables.offset[residue_type] + torch.gather(
        padded, 1, tables.chi_index[residue_type]
    )
    exists = tables.exists[residue_type]
    for slot in range(5, 14):
        row = torch.nonzero(exists[:, slot]).squeeze(-1)
        if row.numel() > 0:
            index = parent[row, slot]
            placed = place_atom(
                atoms[row, index[:, 0]],
                atoms[row, index[:, 1]],
                atoms[row, index[:, 2]],
                length[row, slot],
                angle[row, slot],
                torsion[row, slot],
            )
            column = torch.full_like(row, slot)
            atoms = atoms.index_put((row, column), placed)
    atoms = _close_proline(atoms, is_proline)
    return atoms * exists.unsqueeze(-1)


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
