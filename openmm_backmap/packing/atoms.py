"""Side-chain atoms of all candidates as one flat list, shared ones kept once.

Candidates of a residue that agree in chi1 share the atoms chi1 places, and so
on along the chain: the position of an atom is stored once for the first
candidate that has it. Energies are computed between these atoms, and carried
to candidates through `CandidateAtoms.cell_candidate` and `cell_atom`.

The atoms of a residue fill blocks of equal width, so that distances between two
blocks are one dense operation; places left over hold points far away.
"""

import math
from typing import NamedTuple

import torch

from openmm_backmap.geometry.vectors import normalize, perpendicular_part
from openmm_backmap.packing.tables import PackingTables

__all__ = [
    "BlockedPoints",
    "CandidateAtoms",
    "block_points",
    "compute_reach",
    "list_backbone",
    "list_candidate_atoms",
    "list_side_chains",
    "read_atoms",
]


class BlockedPoints(NamedTuple):
    """Points in blocks of equal width, consecutive blocks in groups.

    L blocks of width W, G groups (one a residue of each frame); lengths in nm.
    Point w of block l has the index l W + w. Blocks lie along the last axis, so
    that arithmetic on many blocks runs over long rows.
    """

    x: torch.Tensor  # (W, L), far away in empty places
    y: torch.Tensor  # (W, L)
    z: torch.Tensor  # (W, L)
    center: torch.Tensor  # (3, L)
    reach: torch.Tensor  # (L,)
    first_block: torch.Tensor  # (G,) int64
    n_blocks: torch.Tensor  # (G,) int64
    group_center: torch.Tensor  # (3, G)
    group_reach: torch.Tensor  # (G,)


class CandidateAtoms(NamedTuple):
    """The distinct side-chain atoms of all candidates, sorted by residue.

    N places for atoms (L W of `points`), M cells: one (candidate, atom)
    incidence each.
    """

    points: BlockedPoints
    residue: torch.Tensor  # (N,) int64 index into frames x residues
    code: torch.Tensor  # (N,) int64, 14 x residue type + slot
    source: torch.Tensor  # (N,) int64, 14 x row of what was listed + slot
    cell_candidate: torch.Tensor  # (M,) int64 index into frames x residues x candidates
    cell_atom: torch.Tensor  # (M,) int64


def block_points(
    points: torch.Tensor, place: torch.Tensor, n_blocks: torch.Tensor, width: int
) -> BlockedPoints:
    """Put points into blocks and bound blocks and groups by spheres.

    Parameters
    ----------
    points : torch.Tensor, shape (N, 3)
        In nm.
    place : torch.Tensor, shape (N,), int64
        Where each point goes among the L x width places.
    n_blocks : torch.Tensor, shape (G,), int64
        Blocks of each group.
    width : int
        Places in a block.

    Returns
    -------
    BlockedPoints
        With group spheres around the mean of the block centres.
    """
    total = int(n_blocks.sum()) * width
    device, n_groups = points.device, n_blocks.numel()
    # empty places lie apart from everything and from one another
    away = 1.0e4 + 10.0 * torch.arange(total, dtype=points.dtype, device=device)
    blocked = away.expand(3, -1).index_copy(1, place, points.t())
    used = torch.zeros(total, dtype=points.dtype, device=device)
    used = used.index_fill(0, place, 1.0).view(-1, width)
    blocked = blocked.view(3, -1, width)
    count = used.sum(1)
    center = (blocked * used).sum(2) / count.clamp(min=1.0)
    offset = (blocked - center.unsqueeze(2)) * used
    reach = (offset * offset).sum(0).amax(1).sqrt()
    number = torch.arange(n_groups, device=device)
    group = torch.repeat_interleave(number, n_blocks, output_size=count.numel())
    zero = torch.zeros(3, n_groups, dtype=points.dtype, device=device)
    index = group.unsqueeze(0).expand(3, -1)
    share = 1.0 / n_blocks.clamp(min=1).to(points.dtype)
    group_center = zero.scatter_add(1, index, center) * share
    offset = center - group_center.index_select(1, group)
    outer = (offset * offset).sum(0).sqrt() + reach
    group_reach = zero[0].scatter_reduce(0, group, outer, "amax", include_self=True)
    return BlockedPoints(
        x=blocked[0].t().contiguous(),
        y=blocked[1].t().contiguous(),
        z=blocked[2].t().contiguous(),
        center=center,
        reach=reach,
        first_block=n_blocks.cumsum(0) - n_blocks,
        n_blocks=n_blocks,
        group_center=group_center,
        group_reach=group_reach,
    )


def sort_by_azimuth(
    positions: torch.Tensor, residue: torch.Tensor, where: torch.Tensor
) -> torch.Tensor:
    """Sort the atoms of each residue by their azimuth about the CA-CB bond.

    Rotamers of chi1 then lie in different blocks, which are half as large.

    Parameters
    ----------
    positions : torch.Tensor, shape (P, 14, 3)
        Atoms of each candidate in nm, in slot order.
    residue : torch.Tensor, shape (P,), int64
        Residue of each candidate, ascending.
    where : torch.Tensor, shape (N,), int64
        Atoms: 9 x candidate + slot - 5.

    Returns
    -------
    torch.Tensor, shape (N,), int64
        The same, sorted by residue, then azimuth from N on.
    """
    row = torch.div(where, 9, rounding_mode="floor")
    alpha = positions[:, 1]
    axis = normalize(positions[:, 4] - alpha)
    start = normalize(perpendicular_part(positions[:, 0] - alpha, axis))
    beside = torch.linalg.cross(axis, start, dim=-1)
    side = positions.reshape(-1, 3).index_select(0, where + 5 * (row + 1))
    side = side - alpha.index_select(0, row)
    along = (side * start.index_select(0, row)).sum(1)
    across = (side * beside.index_select(0, row)).sum(1)
    # atoms that are nowhere must not leave their residue
    turn = torch.atan2(across, along).nan_to_num(0.0)
    turn = torch.remainder(turn * (512.0 / math.pi), 1024.0).to(torch.int64)
    key = residue.index_select(0, row) * 1024 + turn.clamp(0, 1023)
    return where.index_select(0, torch.argsort(key, stable=True))


def list_candidate_atoms(
    positions: torch.Tensor,
    candidate: torch.Tensor,
    residue: torch.Tensor,
    residue_type: torch.Tensor,
    same_as: torch.Tensor,
    n_groups: int,
    width: int,
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
    width : int
        Atoms in a block: 8 suits many candidates, 4 a single one.
    tables : PackingTables
        Constants.

    Returns
    -------
    CandidateAtoms
        Sorted by residue; in blocks of 4 then by candidate and slot, in larger ones
        by azimuth.
    """
    n_side = 9  # slots beyond N, CA, C, O and CB
    device = positions.device
    mask = tables.atom_mask.index_select(0, residue_type)[:, 5:]
    depth = tables.chi_depth.index_select(0, residue_type)[:, 5:]
    owner = same_as.gather(1, depth - 1)  # (P, 9)
    own = torch.arange(positions.size(0), device=device).unsqueeze(1)
    where = torch.nonzero((mask & (owner == own)).flatten()).flatten()
    if width > 4:
        where = sort_by_azimuth(positions, residue, where)
    row = torch.div(where, n_side, rounding_mode="floor")
    slot = where - row * n_side + 5
    atom_residue = residue.index_select(0, row)
    count = torch.zeros(n_groups, dtype=torch.int64, device=device)
    count = count.scatter_add(0, atom_residue, torch.ones_like(row))
    n_blocks = torch.div(count + width - 1, width, rounding_mode="floor")
    # atoms move up by the places left empty before their residue
    padding = (n_blocks * width).cumsum(0) - n_blocks * width - count.cumsum(0) + count
    place = torch.arange(row.numel(), device=device)
    place = place + padding.index_select(0, atom_residue)
    flat = positions[:, 5:].reshape(-1, 3)
    xyz = torch.stack(
        [
            flat[:, 0].index_select(0, where),
            flat[:, 1].index_select(0, where),
            flat[:, 2].index_select(0, where),
        ],
        1,
    )
    points = block_points(xyz, place, n_blocks, width)
    blank = torch.zeros(points.x.numel(), dtype=torch.int64, device=device)
    code = residue_type.index_select(0, row) * 14 + slot

    atom_of_cell = torch.zeros(mask.numel(), dtype=torch.int64, device=device)
    atom_of_cell = atom_of_cell.index_copy(0, where, place)
    cell = torch.nonzero(mask.flatten()).flatten()
    cell_row = torch.div(cell, n_side, rounding_mode="floor")
    first = owner.flatten().index_select(0, cell) * n_side + cell - cell_row * n_side
    return CandidateAtoms(
        points=points,
        residue=blank.index_copy(0, place, atom_residue),
        code=blank.index_copy(0, place, code),
        source=blank.index_copy(0, place, where + 5 * (row + 1)),
        cell_candidate=candidate.index_select(0, cell_row),
        cell_atom=atom_of_cell.index_select(0, first),
    )


def read_atoms(values: torch.Tensor, atoms: CandidateAtoms) -> torch.Tensor:
    """Read vectors of the listed atoms.

    Parameters
    ----------
    values : torch.Tensor, shape (P, 14, 3)
        Of the candidates that were listed.
    atoms : CandidateAtoms
        The list.

    Returns
    -------
    torch.Tensor, shape (3, N)
        Those of an arbitrary atom in empty places.
    """
    return values.reshape(-1, 3).index_select(0, atoms.source).t().contiguous()


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
        positions, rows, rows, residue_type, alone, positions.size(0), 4, tables
    )


def list_backbone(backbone: torch.Tensor, has_beta: torch.Tensor) -> BlockedPoints:
    """List the backbone atoms N, CA, C, O and CB as one block a residue.

    Parameters
    ----------
    backbone : torch.Tensor, shape (F, R, 5, 3)
        Positions in nm.
    has_beta : torch.Tensor, shape (R,), bool
        False for glycine, whose CB is left out.

    Returns
    -------
    BlockedPoints
        Blocks of width 5 around CA.
    """
    n_frames, n_residues = backbone.size(0), backbone.size(1)
    n_groups = n_frames * n_residues
    points = backbone.reshape(n_groups, 5, 3)
    beta = has_beta.unsqueeze(0).expand(n_frames, n_residues).reshape(-1)
    offset = points - points[:, 1:2]
    square = (offset * offset).sum(2)
    reach = square[:, :4].amax(1)
    reach = torch.where(beta, torch.maximum(reach, square[:, 4]), reach).sqrt()
    number = torch.arange(n_groups, device=backbone.device)
    center = points[:, 1].t().contiguous()
    blocked = points.permute(2, 0, 1).contiguous()
    blocked[:, :, 4] = torch.where(beta, blocked[:, :, 4], -1.0e4)
    return BlockedPoints(
        x=blocked[0].t().contiguous(),
        y=blocked[1].t().contiguous(),
        z=blocked[2].t().contiguous(),
        center=center,
        reach=reach,
        first_block=number,
        n_blocks=torch.ones_like(number),
        group_center=center,
        group_reach=reach,
    )


def compute_reach(side_chains: BlockedPoints, backbone: BlockedPoints) -> torch.Tensor:
    """Bound all atoms of residues by spheres around CA.

    Parameters
    ----------
    side_chains : BlockedPoints
        Side-chain atoms of G residues.
    backbone : BlockedPoints
        Backbone atoms, centred on CA.

    Returns
    -------
    torch.Tensor, shape (G,)
        Radii in nm.
    """
    offset = side_chains.group_center - backbone.group_center
    outer = (offset * offset).sum(0).sqrt() + side_chains.group_reach
    outer = outer * (side_chains.n_blocks > 0).to(outer.dtype)
    return torch.maximum(outer, backbone.group_reach)
