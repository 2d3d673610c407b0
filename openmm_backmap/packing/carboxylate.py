"""The last residue of a chain, turned to where both of its oxygens have room."""

import math
from typing import NamedTuple

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


class Around(NamedTuple):
    """M atoms near each of N residues."""

    points: Tensor  # (N, M, 3) nm
    radius: Tensor  # (N, M) nm, large and negative for none
    polarity: Tensor  # (N, M)


def _list_around(
    positions: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    neighbor_index: Tensor,
    image: Tensor,
    tables: PackingTables,
    frame: Tensor,
    row: Tensor,
) -> Around:
    """Atoms of the neighbours of some residues, but the C that is bonded."""
    near = neighbor_index[frame, row]
    there = near.clamp(min=0)
    points = positions[frame.unsqueeze(1), there] + image[frame, row].unsqueeze(2)
    kind = residue_type[there]
    exists = tables.atom_mask[kind] & (near >= 0).unsqueeze(-1)
    bonded = (near == row.unsqueeze(1) - 1) & (
        chain_index[there] == chain_index[row].unsqueeze(1)
    )
    exists[:, :, 2] = exists[:, :, 2] & ~bonded
    radius = torch.where(exists, tables.atom_radius[kind], -9.0).flatten(1)
    return Around(points.flatten(1, 2), radius, tables.atom_polarity[kind].flatten(1))


def _turn_best(
    here: Tensor,
    other: Tensor,
    own: Tensor,
    is_held: Tensor,
    around: Around,
    tables: PackingTables,
    n_turns: int,
    turn_cost: float,
) -> Tensor:
    """Residues (N, 14, 3) of types (N,), turned to where their oxygens overlap least.

    `other` (N, 3) are their OXT, `is_held` (N,) tells those that cannot turn about
    N-CA; the arguments are else those of `turn_carboxylates`.
    """
    n = own.shape[0]
    step = torch.arange(n_turns, device=own.device).to(here.dtype)
    angle = step * (2.0 * math.pi / n_turns)
    price = turn_cost * 0.5 * (1.0 - torch.cos(angle))
    carried = torch.cat((here, other.unsqueeze(1)), 1)
    carried = turn_often(carried, here[:, 0], here[:, 1], angle)
    moves = tables.atom_mask[own].clone()
    moves[:, :2] = False
    moves[:, 3] = False
    radius = torch.where(moves, tables.atom_radius[own], -9.0)
    polarity = tables.atom_polarity[own]
    cost = sum_overlaps(
        carried[:, :, :14], radius, polarity,
        around.points, around.radius, around.polarity,
    )  # fmt: skip
    # and about CA-C in each of these; the residue's own side chain counts, too
    flat = carried.reshape(n * n_turns, 15, 3)
    oxygens = torch.stack((flat[:, 3], flat[:, 14]), 1)
    ends = turn_often(oxygens, flat[:, 1], flat[:, 2], angle)
    two = torch.ones_like(ends[:, 0, :, 0])
    points = around.points.repeat_interleave(n_turns, 0)
    all_radius = torch.cat((around.radius, radius[:, 5:]), 1)
    all_polarity = torch.cat((around.polarity, polarity[:, 5:]), 1)
    oxygen_cost = sum_overlaps(
        ends, two * tables.atom_radius[0, 3], two,
        torch.cat((points, flat[:, 5:14]), 1),
        all_radius.repeat_interleave(n_turns, 0),
        all_polarity.repeat_interleave(n_turns, 0),
    )  # fmt: skip
    total = (cost + price).unsqueeze(2) + oxygen_cost.view(n, n_turns, n_turns)
    total = total + price
    away = is_held.unsqueeze(1) & (step > 0.5)
    total = total.masked_fill(away.unsqueeze(2), float("inf"))
    best = total.flatten(1).argmin(1)
    first = torch.div(best, n_turns, rounding_mode="floor")
    count = torch.arange(n, device=own.device)
    fresh = carried[count, first, :14]
    chosen = ends.view(n, n_turns, n_turns, 2, 3)
    fresh[:, :2] = here[:, :2]
    fresh[:, 3] = chosen[count, first, best - first * n_turns, 0]
    return torch.where(tables.atom_mask[own].unsqueeze(-1), fresh, here)


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
    """Turn last residues about N-CA (prolines not) and CA-C where O or OXT overlap.

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
    last = torch.nonzero(~has_next(chain_index)).squeeze(-1)
    other = place_terminal_oxygen(positions, chain_index).reshape(-1, 3)
    frame = torch.arange(positions.shape[0], device=last.device)
    frame = frame.repeat_interleave(last.shape[0])
    row = last.repeat(positions.shape[0])
    k = min(neighbor_index.shape[2], n_near)
    around = _list_around(
        positions,
        residue_type,
        chain_index,
        neighbor_index[:, :, :k],
        image[:, :, :k],
        tables,
        frame,
        row,
    )
    here = positions[frame, row]
    oxygens = torch.stack((here[:, 3], other), 1)
    two = torch.ones_like(oxygens[:, :, 0])
    now = sum_overlaps(
        oxygens.unsqueeze(1), two * tables.atom_radius[0, 3], two,
        around.points, around.radius, around.polarity,
    ).squeeze(1)  # fmt: skip
    tight = torch.nonzero(now > limit).squeeze(-1)
    if tight.numel() == 0:
        return positions
    frame, row = frame[tight], row[tight]
    # the ring of a proline is bonded to N, and N to the residue before
    before = (row - 1).clamp(min=0)
    has_ring = (row > 0) & (chain_index[before] == chain_index[row])
    fresh = _turn_best(
        here[tight],
        other[tight],
        residue_type[row],
        has_ring & tables.is_proline[residue_type[row]],
        Around(around.points[tight], around.radius[tight], around.polarity[tight]),
        tables,
        n_turns,
        turn_cost,
    )
    place = frame * positions.shape[1] + row
    turned = positions.reshape(-1, 14, 3).index_copy(0, place, fresh)
    return turned.view_as(positions)
