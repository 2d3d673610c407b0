"""The last residue of a chain, turned to where both of its oxygens have room."""

import math

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import has_next, place_terminal_oxygen
from openmm_backmap.geometry.vectors import normalize, turn_about
from openmm_backmap.packing import constants
from openmm_backmap.packing.tables import PackingTables

__all__ = ["turn_carboxylates"]

N_TURNS: int = 12
N_NEAR: int = 24
LIMIT: float = 0.008
TURN_COST: float = 0.02


def turn_often(points: Tensor, origin: Tensor, end: Tensor, angle: Tensor) -> Tensor:
    """Turn points about the bond from `origin` to `end` by several angles.

    Parameters
    ----------
    points : torch.Tensor, shape (N, P, 3)
        In nm.
    origin, end : torch.Tensor, shape (N, 3)
        In nm.
    angle : torch.Tensor, shape (T,)
        In radians, right-handed.

    Returns
    -------
    torch.Tensor, shape (N, T, P, 3)
        In nm.
    """
    turn = angle.view(1, -1, 1, 1)
    return turn_about(
        points.unsqueeze(1),
        origin.view(-1, 1, 1, 3),
        normalize(end - origin).view(-1, 1, 1, 3),
        torch.sin(turn),
        torch.cos(turn),
    )


def sum_overlaps(
    points: Tensor,
    radius: Tensor,
    polarity: Tensor,
    around: Tensor,
    around_radius: Tensor,
    around_polarity: Tensor,
    polar_extra: float = constants.POLAR_EXTRA,
) -> Tensor:
    """Sum overlaps beyond the tolerance, shape (N, T), in nm.

    Parameters
    ----------
    points : torch.Tensor, shape (N, T, P, 3)
        In nm.
    radius, polarity : torch.Tensor, shape (N, P)
        Of the points, as in `PackingTables`; a large negative radius for none.
    around : torch.Tensor, shape (N, M, 3)
        What they overlap with, in nm.
    around_radius, around_polarity : torch.Tensor, shape (N, M)
        The same of these.
    polar_extra : float
        Overlap in nm that is allowed between N, O and S besides.

    Returns
    -------
    torch.Tensor, shape (N, T)
        In nm.
    """
    contact = radius.unsqueeze(2) + around_radius.unsqueeze(1)
    polar = polarity.unsqueeze(2) * around_polarity.unsqueeze(1)
    contact = contact - polar_extra * polar
    there = around.unsqueeze(1).unsqueeze(1)
    square = torch.zeros(1, dtype=points.dtype, device=points.device)
    for axis in range(3):
        gap = points[..., axis].unsqueeze(3) - there[..., axis]
        square = square + gap * gap
    distance = torch.sqrt(square.clamp(min=1e-8))
    return (contact.unsqueeze(1) - distance).clamp(min=0.0).sum(-1).sum(-1)


def turn_carboxylates(
    positions: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    neighbor_index: Tensor,
    image: Tensor,
    tables: PackingTables,
    n_turns: int = N_TURNS,
    n_near: int = N_NEAR,
    limit: float = LIMIT,
    turn_cost: float = TURN_COST,
) -> Tensor:
    """Turn last residues about N-CA and CA-C where O or OXT overlap.

    Nothing that is built before knows of OXT, which has no place among the 14
    atoms of a residue; it will be put opposite O.

    Parameters
    ----------
    positions : torch.Tensor, shape (F, R, 14, 3)
        Heavy atoms in nm.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment.
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        Nearest residues, -1 padded.
    image : torch.Tensor, shape (F, R, K, 3)
        Vectors to their nearest periodic image in nm.
    tables : PackingTables
        Constants.
    n_turns : int
        Positions tried about either bond.
    n_near : int
        Neighbours looked at.
    limit : float
        Sum of overlaps beyond the tolerance, in nm, that is left alone.
    turn_cost : float
        Overlap in nm that a turn by half a circle must save.

    Returns
    -------
    torch.Tensor, shape (F, R, 14, 3)
        With some last residues turned; their N and CA stay.
    """
    residues = positions.shape[1]
    last = torch.nonzero(~has_next(chain_index)).squeeze(-1)
    other = place_terminal_oxygen(positions, chain_index).reshape(-1, 3)
    frame = torch.arange(positions.shape[0], device=last.device)
    frame = frame.repeat_interleave(last.shape[0])
    row = last.repeat(positions.shape[0])
    # what is around: the neighbours but the C that is bonded
    k = min(neighbor_index.shape[2], n_near)
    near = neighbor_index[frame, row, :k]
    there = near.clamp(min=0)
    around = positions[frame.unsqueeze(1), there] + image[frame, row, :k].unsqueeze(2)
    kind = residue_type[there]
    exists = tables.atom_mask[kind] & (near >= 0).unsqueeze(-1)
    bonded = (near == row.unsqueeze(1) - 1) & (
        chain_index[there] == chain_index[row].unsqueeze(1)
    )
    exists[:, :, 2] = exists[:, :, 2] & ~bonded
    radius = torch.where(exists, tables.atom_radius[kind], -9.0).flatten(1)
    polarity = tables.atom_polarity[kind].flatten(1)
    around = around.flatten(1, 2)
    own = residue_type[row]
    here = positions[frame, row]
    oxygens = torch.stack((here[:, 3], other), 1)
    two = torch.ones_like(oxygens[:, :, 0])
    o_radius = two * tables.atom_radius[0, 3]
    now = sum_overlaps(
        oxygens.unsqueeze(1), o_radius, two, around, radius, polarity
    ).squeeze(1)  # fmt: skip
    tight = torch.nonzero(now > limit).squeeze(-1)
    if tight.numel() == 0:
        return positions
    here, own, around = here[tight], own[tight], around[tight]
    radius, polarity = radius[tight], polarity[tight]
    step = torch.arange(n_turns, device=last.device).to(here.dtype)
    angle = step * (2.0 * math.pi / n_turns)
    price = turn_cost * 0.5 * (1.0 - torch.cos(angle))
    carried = torch.cat((here, other[tight].unsqueeze(1)), 1)
    carried = turn_often(carried, here[:, 0], here[:, 1], angle)
    moves = tables.atom_mask[own].clone()
    moves[:, :2] = False
    moves[:, 3] = False
    own_radius = torch.where(moves, tables.atom_radius[own], -9.0)
    cost = sum_overlaps(
        carried[:, :, :14], own_radius, tables.atom_polarity[own], around, radius,
        polarity,
    )  # fmt: skip
    # and about CA-C in each of these; the residue's own side chain counts, too
    n_tight, n_all = tight.shape[0], tight.shape[0] * n_turns
    flat = carried.reshape(n_all, 15, 3)
    oxygens = torch.stack((flat[:, 3], flat[:, 14]), 1)
    ends = turn_often(oxygens, flat[:, 1], flat[:, 2], angle)
    side = flat[:, 5:14]
    side_radius = own_radius[:, 5:].repeat_interleave(n_turns, 0)
    side_polarity = tables.atom_polarity[own][:, 5:].repeat_interleave(n_turns, 0)
    two = torch.ones_like(ends[:, 0, :, 0])
    o_radius = two * tables.atom_radius[0, 3]
    oxygen_cost = sum_overlaps(
        ends, o_radius, two,
        torch.cat((around.repeat_interleave(n_turns, 0), side), 1),
        torch.cat((radius.repeat_interleave(n_turns, 0), side_radius), 1),
        torch.cat((polarity.repeat_interleave(n_turns, 0), side_polarity), 1),
    )  # fmt: skip
    total = (cost + price).unsqueeze(2) + oxygen_cost.view(n_tight, n_turns, n_turns)
    total = total + price
    best = total.flatten(1).argmin(1)
    first = torch.div(best, n_turns, rounding_mode="floor")
    count = torch.arange(n_tight, device=last.device)
    fresh = carried[count, first, :14]
    chosen = ends.view(n_tight, n_turns, n_turns, 2, 3)
    fresh[:, :2] = here[:, :2]
    fresh[:, 3] = chosen[count, first, best - first * n_turns, 0]
    fresh = torch.where(tables.atom_mask[own].unsqueeze(-1), fresh, here)
    place = frame[tight] * residues + row[tight]
    turned = positions.reshape(-1, 14, 3).index_copy(0, place, fresh)
    return turned.view_as(positions)
