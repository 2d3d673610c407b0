"""Side-chain atoms of all candidates as one flat list, shared ones kept once.

Candidates of a residue that agree in chi1 share the atoms chi1 places, and so
on along the chain: the position of an atom is stored once for the first
candidate that has it. Energies are computed between these atoms, and carried
to candidates through `CandidateAtoms.cell_candidate` and `cell_atom`.
"""

from typing import NamedTuple

import torch

from openmm_backmap.packing.tables import PackingTables

__all__ = [
    "CandidateAtoms",
    "PointGroups",
    "compute_reach",
    "list_backbone",
    "list_candidate_atoms",
    "list_side_chains",
]


class PointGroups(NamedTuple):
    """Points in groups of consecutive indices, each group inside a sphere.

    G groups (one a residue of each frame), N points, all in nm.
    """

    x: torch.Tensor  # (N,)
    y: torch.Tensor  # (N,)
    z: torch.Tensor  # (N,)
    first: torch.Tensor  # (G,) int64
    count: torch.Tensor  # (G,) int64
    center: torch.Tensor  # (3, G)
    reach: torch.Tensor  # (G,)


class CandidateAtoms(NamedTuple):
    """The distinct side-chain atoms of all candidates, sorted by residue.

    N atoms, M cells: one (candidate, atom) incidence each.
    """

    points: PointGroups
    residue: torch.Tensor  # (N,) int64 index into frames x residues
    slot: torch.Tensor  # (N,) int64
    residue_type: torch.Tensor  # (N,) int64
    cell_candidate: torch.Tensor  # (M,) int64 index into frames x residues x candidates
    cell_atom: torch.Tensor  # (M,) int64


def compute_spheres(
    x: torch.Tensor, y: torch.Tensor, z: torch.Tensor, group: torch.Tensor, n: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Bound groups of points by spheres around their centroids.

    Parameters
    ----------
    x, y, z : torch.Tensor, shape (N,)
        Points in nm.
    group : torch.Tensor, shape (N,), int64
        Group of each point.
    n : int
        Number of groups G.

    Returns
    -------
    count : torch.Tensor, shape (G,), int64
        Points in each group.
    center : torch.Tensor, shape (3, G)
        Centroids in nm; zero for an empty group.
    reach : torch.Tensor, shape (G,)
        Radii in nm; zero for an empty group.
    """
    count = torch.zeros(n, dtype=torch.int64, device=x.device)
    count = count.scatter_add(0, group, torch.ones_like(group))
    weight = 1.0 / count.clamp(min=1).to(x.dtype)
    zero = torch.zeros(n, dtype=x.dtype, device=x.device)
    cx = zero.scatter_add(0, group, x) * weight
    cy = zero.scatter_add(0, group, y) * weight
    cz = zero.scatter_add(0, group, z) * weight
    dx = x - cx.index_select(0, group)
    dy = y - cy.index_select(0, group)
    dz = z - cz.index_select(0, group)
    square = dx * dx + dy * dy + dz * dz
    reach = zero.scatter_reduce(0, group, square, "amax", include_self=True)
    return count, torch.stack([cx, cy, cz]), reach.sqrt()


def list_candidate_atoms(
    positions: torch.Tensor,
    candidate: torch.Tensor,
    residue: torch.Tensor,
    residue_type: torch.Tensor,
    same_as: torch.Tensor,
    n_groups: int,
    tables: PackingTables,
) -> CandidateAtoms:
    """Flatten built candidates to distinct side-chain atoms.

    Parameters
    ----------
    positions : torch.Tensor, shape (P, 14, 3)
        Atoms of each candidate in nm, in slot order.
    candidate : torch.Tensor, shape (P,), int64
        Index into frames x residues x candidates, ascending.
    residue : torch.Tensor, shape (P,), int64
        Index into frames x residues.
    residue_type : torch.Tensor, shape (P,), int64
        0 to 19.
    same_as : torch.Tensor, shape (P, 4), int64
        First candidate in the list that agrees up to chi 1, 2, 3, 4.
    n_groups : int
        Frames x residues.
    tables : PackingTables
        Constants.

    Returns
    -------
    CandidateAtoms
        Sorted by residue, then candidate, then slot.
    """
    n_backbone = 5
    n_side = positions.size(1) - n_backbone
    n_candidates = positions.size(0)
    device = positions.device
    mask = tables.atom_mask.index_select(0, residue_type)[:, n_backbone:]
    depth = tables.chi_depth.index_select(0, residue_type)[:, n_backbone:]
    owner = same_as.gather(1, depth - 1)  # (P, 9)
    own = torch.arange(n_candidates, device=device).unsqueeze(1)
    is_first = mask & (owner == own)
    atom_of_cell = is_first.flatten().cumsum(0) - 1  # valid where is_first
    where = torch.nonzero(is_first.flatten()).flatten()
    row = torch.div(where, n_side, rounding_mode="floor")
    slot = where - row * n_side + n_backbone
    flat = positions[:, n_backbone:].reshape(-1, 3)
    x = flat[:, 0].contiguous().index_select(0, where)
    y = flat[:, 1].contiguous().index_select(0, where)
    z = flat[:, 2].contiguous().index_select(0, where)
    atom_residue = residue.index_select(0, row)
    count, center, reach = compute_spheres(x, y, z, atom_residue, n_groups)

    cell = torch.nonzero(mask.flatten()).flatten()
    cell_row = torch.div(cell, n_side, rounding_mode="floor")
    cell_slot = cell - cell_row * n_side
    cell_owner = owner.flatten().index_select(0, cell)
    cell_atom = atom_of_cell.index_select(0, cell_owner * n_side + cell_slot)
    points = PointGroups(
        x=x,
        y=y,
        z=z,
        first=count.cumsum(0) - count,
        count=count,
        center=center,
        reach=reach,
    )
    return CandidateAtoms(
        points=points,
        residue=atom_residue,
        slot=slot,
        residue_type=residue_type.index_select(0, row),
        cell_candidate=candidate.index_select(0, cell_row),
        cell_atom=cell_atom,
    )


def list_side_chains(
    positions: torch.Tensor, residue_type: torch.Tensor, tables: PackingTables
) -> CandidateAtoms:
    """List the side-chain atoms of built residues, one candidate each.

    Parameters
    ----------
    positions : torch.Tensor, shape (G, 14, 3)
        Heavy atoms in nm.
    residue_type : torch.Tensor, shape (G,), int64
        0 to 19.
    tables : PackingTables
        Constants.

    Returns
    -------
    CandidateAtoms
        Candidate g is residue g.
    """
    rows = torch.arange(positions.size(0), device=positions.device)
    alone = rows.unsqueeze(1).expand(-1, 4)
    return list_candidate_atoms(
        positions, rows, rows, residue_type, alone, positions.size(0), tables
    )


def list_backbone(backbone: torch.Tensor, has_beta: torch.Tensor) -> PointGroups:
    """List the backbone atoms N, CA, C, O and CB as point groups.

    Parameters
    ----------
    backbone : torch.Tensor, shape (F, R, 5, 3)
        Positions in nm.
    has_beta : torch.Tensor, shape (R,), bool
        False for glycine, whose CB is left out.

    Returns
    -------
    PointGroups
        Five points a group (the last one unused for glycine), around CA.
    """
    n_frames, n_residues = backbone.size(0), backbone.size(1)
    n_groups = n_frames * n_residues
    points = backbone.reshape(n_groups, 5, 3)
    center = points[:, 1]
    offset = points - center.unsqueeze(1)
    square = offset[:, :, 0] ** 2 + offset[:, :, 1] ** 2 + offset[:, :, 2] ** 2
    beta = has_beta.unsqueeze(0).expand(n_frames, n_residues).reshape(-1)
    reach = square[:, :4].amax(1)
    reach = torch.where(beta, torch.maximum(reach, square[:, 4]), reach).sqrt()
    flat = points.reshape(-1, 3)
    return PointGroups(
        x=flat[:, 0].contiguous(),
        y=flat[:, 1].contiguous(),
        z=flat[:, 2].contiguous(),
        first=torch.arange(n_groups, device=backbone.device) * 5,
        count=4 + beta.to(torch.int64),
        center=center.t().contiguous(),
        reach=reach,
    )


def compute_reach(side_chains: PointGroups, backbone: PointGroups) -> torch.Tensor:
    """Bound all atoms of residues by spheres around CA.

    Parameters
    ----------
    side_chains : PointGroups
        Side-chain atoms of G residues.
    backbone : PointGroups
        Backbone atoms, centred on CA.

    Returns
    -------
    torch.Tensor, shape (G,)
        Radii in nm.
    """
    offset = side_chains.center - backbone.center
    outer = offset.square().sum(0).sqrt() + side_chains.reach
    outer = outer * (side_chains.count > 0).to(outer.dtype)
    return torch.maximum(outer, backbone.reach)
