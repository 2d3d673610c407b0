"""Pairs of residues and of atoms that come close, found ragged and in chunks."""

from typing import NamedTuple

import torch

from openmm_backmap.packing.atoms import PointGroups

__all__ = [
    "Surroundings",
    "compute_image_shift",
    "expand_rows",
    "find_point_pairs",
    "find_surroundings",
    "keep_one_direction",
]


def expand_rows(count: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Repeat each row index as often as its count says.

    Parameters
    ----------
    count : torch.Tensor, shape (N,), int64
        Repeats of each row, zero allowed.

    Returns
    -------
    row : torch.Tensor, shape (sum,), int64
        0 0 0 1 1 3 ... for counts 3, 2, 0, 1.
    offset : torch.Tensor, shape (sum,), int64
        0 1 2 0 1 0 ...: the running number inside each row.
    """
    end = count.cumsum(0)
    total = 0
    if count.numel() > 0:
        total = int(end[-1])
    start = end - count
    # a mark where each row starts, summed up: three times faster than
    # repeat_interleave on a CPU
    mark = torch.zeros(total + 1, dtype=torch.int64, device=count.device)
    mark.scatter_add_(0, start, torch.ones_like(start))
    row = mark[:total].cumsum(0) - 1
    offset = torch.arange(total, device=count.device) - start.index_select(0, row)
    return row, offset


def compute_image_shift(vector: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """Translate vectors to their minimum image.

    Parameters
    ----------
    vector : torch.Tensor, shape (N, 3)
        Differences j - i in nm.
    box : torch.Tensor, shape (N, 3, 3)
        Reduced periodic box vectors in nm as rows (a along x, b in the xy
        plane, as OpenMM has them); zeros where there is no box.

    Returns
    -------
    torch.Tensor, shape (N, 3)
        What must be added to j, in nm.
    """
    shift = torch.zeros_like(vector)
    for axis in (2, 1, 0):
        edge = box[:, axis, axis]
        has_box = edge > 0
        length = torch.where(has_box, edge, torch.ones_like(edge))
        turns = torch.round((vector[:, axis] + shift[:, axis]) / length)
        turns = torch.where(has_box, turns, torch.zeros_like(turns))
        shift = shift - turns.unsqueeze(1) * box[:, axis]
    return shift


class Surroundings(NamedTuple):
    """What is near what: G = frames x residues, P residue pairs."""

    residue_type: torch.Tensor  # (G,) int64, 0 to 19
    follows: torch.Tensor  # (G,) bool: bonded to the residue before it
    first: torch.Tensor  # (P,) int64 into G; both directions are listed
    second: torch.Tensor  # (P,) int64
    shift: torch.Tensor  # (3, P) nm, added to the second residue


def find_surroundings(
    neighbor_index: torch.Tensor,
    ca: torch.Tensor,
    box: torch.Tensor,
    residue_type: torch.Tensor,
    chain_index: torch.Tensor,
    reach: torch.Tensor,
    cutoff: float,
) -> Surroundings:
    """List the residue pairs of all frames whose atoms may come near.

    Parameters
    ----------
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        Residues near each residue, -1 padded; one direction is enough.
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    box : torch.Tensor, shape (F, 3, 3)
        Box vectors in nm, zeros for none.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and bonded segment.
    reach : torch.Tensor, shape (F x R,)
        Radius around CA in nm that holds all atoms of a residue.
    cutoff : float
        Distance of atoms in nm.

    Returns
    -------
    Surroundings
        Both directions of each pair, no residue with itself.
    """
    n_frames, n_residues, n_neighbors = neighbor_index.shape
    flat = neighbor_index.reshape(-1)
    where = torch.nonzero(flat >= 0).flatten()
    first = torch.div(where, n_neighbors, rounding_mode="floor")
    frame = torch.div(first, n_residues, rounding_mode="floor")
    second = flat.index_select(0, where) + frame * n_residues
    points = ca.reshape(-1, 3)
    vector = points.index_select(0, second) - points.index_select(0, first)
    shift = torch.zeros_like(vector)
    if bool((box != 0).any()):
        shift = compute_image_shift(vector, box.index_select(0, frame))
        vector = vector + shift
    limit = reach.index_select(0, first) + reach.index_select(0, second) + cutoff
    near = (vector * vector).sum(1) < limit * limit
    kept = torch.nonzero(near & (first != second)).flatten()
    first, second = first.index_select(0, kept), second.index_select(0, kept)
    shift = shift.index_select(0, kept)
    # the K nearest are not mutual: add the direction that is missing
    listed = neighbor_index.reshape(-1, n_neighbors).index_select(0, second)
    local = torch.remainder(first, n_residues).unsqueeze(1)
    alone = torch.nonzero(~(listed == local).any(1)).flatten()
    back_first, back_second = (
        second.index_select(0, alone),
        first.index_select(0, alone),
    )
    back_shift = -shift.index_select(0, alone)
    first, second = torch.cat([first, back_first]), torch.cat([second, back_second])
    shift = torch.cat([shift, back_shift]).t().contiguous()
    bonded = torch.zeros_like(residue_type, dtype=torch.bool)
    bonded[1:] = chain_index[1:] == chain_index[:-1]
    return Surroundings(
        residue_type=residue_type.repeat(n_frames),
        follows=bonded.repeat(n_frames),
        first=first,
        second=second,
        shift=shift,
    )


def keep_one_direction(near: Surroundings) -> Surroundings:
    """Keep of each residue pair only the direction i < j.

    Parameters
    ----------
    near : Surroundings
        Both directions.

    Returns
    -------
    Surroundings
        One direction.
    """
    kept = torch.nonzero(near.first < near.second).flatten()
    return Surroundings(
        residue_type=near.residue_type,
        follows=near.follows,
        first=near.first.index_select(0, kept),
        second=near.second.index_select(0, kept),
        shift=near.shift.index_select(1, kept),
    )


def find_point_pairs(
    source: PointGroups,
    target: PointGroups,
    first: torch.Tensor,
    second: torch.Tensor,
    shift: torch.Tensor,
    cutoff: float,
    chunk: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find the point pairs of given group pairs that lie within a cut-off.

    Two sphere tests (group to group, point to group) come before the distance.

    Parameters
    ----------
    source, target : PointGroups
        Where the points of the first and of the second groups are.
    first, second : torch.Tensor, shape (P,), int64
        Group pairs: first indexes `source`, second `target`.
    shift : torch.Tensor, shape (3, P)
        Translation of the second group in nm.
    cutoff : float
        Distance in nm.
    chunk : int
        Group pairs handled at once: bounds the memory, does not change results.

    Returns
    -------
    a, b : torch.Tensor, shape (N,), int64
        Points of `source` and of `target`.
    distance : torch.Tensor, shape (N,)
        In nm.
    pair : torch.Tensor, shape (N,), int64
        The group pair (0 to P - 1) of each.
    """
    dx = target.center[0].index_select(0, second) + shift[0]
    dy = target.center[1].index_select(0, second) + shift[1]
    dz = target.center[2].index_select(0, second) + shift[2]
    dx = dx - source.center[0].index_select(0, first)
    dy = dy - source.center[1].index_select(0, first)
    dz = dz - source.center[2].index_select(0, first)
    limit = source.reach.index_select(0, first) + target.reach.index_select(0, second)
    limit = limit + cutoff
    occupied = source.count.index_select(0, first) > 0
    occupied = occupied & (target.count.index_select(0, second) > 0)
    near = occupied & (dx * dx + dy * dy + dz * dz < limit * limit)
    kept = torch.nonzero(near).flatten()
    a_parts: list[torch.Tensor] = []
    b_parts: list[torch.Tensor] = []
    square_parts: list[torch.Tensor] = []
    pair_parts: list[torch.Tensor] = []
    n_pairs = kept.numel()
    for begin in range(0, max(n_pairs, 1), chunk):
        pairs = kept[begin : begin + chunk]
        i, j = first.index_select(0, pairs), second.index_select(0, pairs)
        # points of the first group against the sphere of the second
        row, offset = expand_rows(source.count.index_select(0, i))
        point = source.first.index_select(0, i).index_select(0, row) + offset
        sx = shift[0].index_select(0, pairs)
        sy = shift[1].index_select(0, pairs)
        sz = shift[2].index_select(0, pairs)
        px = source.x.index_select(0, point) - sx.index_select(0, row)
        py = source.y.index_select(0, point) - sy.index_select(0, row)
        pz = source.z.index_select(0, point) - sz.index_select(0, row)
        cx = target.center[0].index_select(0, j).index_select(0, row)
        cy = target.center[1].index_select(0, j).index_select(0, row)
        cz = target.center[2].index_select(0, j).index_select(0, row)
        bound = target.reach.index_select(0, j) + cutoff
        bound = (bound * bound).index_select(0, row)
        dx, dy, dz = px - cx, py - cy, pz - cz
        inside = torch.nonzero(dx * dx + dy * dy + dz * dz < bound).flatten()
        point = point.index_select(0, inside)
        row = row.index_select(0, inside)
        j = j.index_select(0, row)
        pair = pairs.index_select(0, row)
        px = px.index_select(0, inside)
        py = py.index_select(0, inside)
        pz = pz.index_select(0, inside)
        # and against its points
        row, offset = expand_rows(target.count.index_select(0, j))
        other = target.first.index_select(0, j).index_select(0, row) + offset
        dx = target.x.index_select(0, other) - px.index_select(0, row)
        dy = target.y.index_select(0, other) - py.index_select(0, row)
        dz = target.z.index_select(0, other) - pz.index_select(0, row)
        square = dx * dx + dy * dy + dz * dz
        inside = torch.nonzero(square < cutoff * cutoff).flatten()
        row = row.index_select(0, inside)
        a_parts.append(point.index_select(0, row))
        pair_parts.append(pair.index_select(0, row))
        b_parts.append(other.index_select(0, inside))
        square_parts.append(square.index_select(0, inside))
    distance = torch.cat(square_parts).sqrt()
    return torch.cat(a_parts), torch.cat(b_parts), distance, torch.cat(pair_parts)
