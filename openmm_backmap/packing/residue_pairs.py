"""Which residues have atoms that touch, or may come to."""

from typing import NamedTuple

import torch
from torch import Tensor

from openmm_backmap.packing.contacts import is_listed

__all__ = ["ResiduePairs", "compute_room", "keep_pairs", "list_near_residues"]


class ResiduePairs(NamedTuple):
    """Residues whose atoms may come near, ``first <= second``."""

    frame: Tensor  # (P,) int64
    first: Tensor  # (P,) int64
    second: Tensor  # (P,) int64
    shift: Tensor  # (P, 3) nm, added to the second it gives its image


def keep_pairs(pairs: ResiduePairs, wanted: Tensor) -> ResiduePairs:
    """Keep the pairs that are wanted (P,)."""
    kept = torch.nonzero(wanted).squeeze(-1)
    return ResiduePairs(
        pairs.frame[kept], pairs.first[kept], pairs.second[kept], pairs.shift[kept]
    )


def bound_residues(positions: Tensor, exists: Tensor) -> tuple[Tensor, Tensor]:
    """Bound the atoms of each residue: centres (3, F R) and radii (F R,) in nm."""
    weight = exists.to(positions.dtype).unsqueeze(2)
    center = (positions * weight).sum(2) / weight.sum(1)
    away = (positions - center.unsqueeze(2)) * weight
    reach = torch.sqrt(away.square().sum(-1).amax(2))
    return center.reshape(-1, 3).t().contiguous(), reach.reshape(-1)


def list_near_residues(
    positions: Tensor,
    exists: Tensor,
    neighbor_index: Tensor,
    image: Tensor,
    reach: float,
) -> ResiduePairs:
    """Residue pairs whose atoms may come near, each with itself too.

    Parameters
    ----------
    positions : torch.Tensor, shape (F, R, 14, 3)
        Heavy atoms in nm.
    exists : torch.Tensor, shape (R, 14), bool
        Atoms that each residue has.
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        Nearest residues, -1 padded.
    image : torch.Tensor, shape (F, R, K, 3)
        Vectors to their nearest periodic image in nm.
    reach : float
        How near in nm.

    Returns
    -------
    ResiduePairs
        Each pair once.
    """
    residues, k = neighbor_index.shape[1], neighbor_index.shape[2]
    center, radius = bound_residues(positions, exists)
    row = torch.arange(radius.shape[0], device=positions.device)
    start = row - torch.remainder(row, residues)
    other = neighbor_index.reshape(-1, k)
    flat = (other.clamp(min=0) + start.unsqueeze(1)).reshape(-1)
    gap = center.index_select(1, flat).view(3, -1, k) - center.unsqueeze(2)
    gap += image.view(-1, k, 3).permute(2, 0, 1)
    limit = radius.index_select(0, flat).view(-1, k) + radius.unsqueeze(1)
    limit += reach
    near = (other >= 0) & (gap.square().sum(0) < limit * limit)
    place = torch.nonzero(near.reshape(-1)).squeeze(-1)
    row_i = torch.div(place, k, rounding_mode="floor")
    row_j = flat.index_select(0, place)
    # the nearest are not mutual: the later residue tells of the earlier one
    # only where that does not list it
    back = torch.nonzero(row_i > row_j).squeeze(-1)
    alone = ~is_listed(other, row_j[back], torch.remainder(row_i[back], residues))
    kept = torch.cat((torch.nonzero(row_i < row_j).squeeze(-1), back[alone]))
    row_i, row_j = row_i[kept], row_j[kept]
    moved = image.reshape(-1, 3).index_select(0, place[kept])
    moved = torch.where((row_i < row_j).unsqueeze(1), moved, -moved)
    first = torch.cat((row, torch.minimum(row_i, row_j)))
    second = torch.cat((row, torch.maximum(row_i, row_j)))
    return ResiduePairs(
        torch.div(first, residues, rounding_mode="floor"),
        torch.remainder(first, residues),
        torch.remainder(second, residues),
        torch.cat((moved.new_zeros(row.shape[0], 3), moved)),
    )


def compute_room(positions: Tensor, exists: Tensor, pairs: ResiduePairs) -> Tensor:
    """Least distance that atoms of two residues can have.

    Parameters
    ----------
    positions, exists : torch.Tensor
        As in `list_near_residues`.
    pairs : ResiduePairs
        The residues.

    Returns
    -------
    torch.Tensor, shape (P,)
        In nm; negative where they may overlap.
    """
    center, radius = bound_residues(positions, exists)
    base = pairs.frame * positions.shape[1]
    one, two = base + pairs.first, base + pairs.second
    gap = center.index_select(1, two) - center.index_select(1, one)
    gap += pairs.shift.t()
    room = torch.sqrt(gap.square().sum(0)) - radius.index_select(0, one)
    return room - radius.index_select(0, two)
