"""Pairs of residues and of atoms that come close, found ragged and in chunks."""

import torch

from openmm_backmap.packing.atoms import PointGroups

__all__ = [
    "compute_image_shift",
    "expand_rows",
    "find_point_pairs",
    "find_residue_pairs",
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


def find_residue_pairs(
    neighbor_index: torch.Tensor, ca: torch.Tensor, box: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """List the neighbours of all residues of all frames with their image shift.

    Parameters
    ----------
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        Residues near each residue, -1 padded.
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    box : torch.Tensor, shape (F, 3, 3)
        Box vectors in nm, zeros for none.

    Returns
    -------
    first, second : torch.Tensor, shape (P,), int64
        Indices into frames x residues; every listed direction once.
    shift : torch.Tensor, shape (3, P)
        Added to the second residue it gives the image nearest to the first.
    """
    n_frames, n_residues, n_neighbors = neighbor_index.shape
    flat = neighbor_index.reshape(-1)
    where = torch.nonzero(flat >= 0).flatten()
    first = torch.div(where, n_neighbors, rounding_mode="floor")
    frame = torch.div(first, n_residues, rounding_mode="floor")
    second = flat.index_select(0, where) + frame * n_residues
    shift = torch.zeros(3, where.numel(), dtype=ca.dtype, device=ca.device)
    if bool((box != 0).any()):
        points = ca.reshape(-1, 3)
        vector = points[second] - points[first]
        shift = compute_image_shift(vector, box[frame]).t().contiguous()
    return first, second, shift


def keep_one_direction(
    first: torch.Tensor,
    second: torch.Tensor,
    neighbor_index: torch.Tensor,
) -> torch.Tensor:
    """Choose one of (i, j) and (j, i) where both directions are listed.

    Parameters
    ----------
    first, second : torch.Tensor, shape (P,), int64
        Indices into frames x residues.
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        The list the pairs came from.

    Returns
    -------
    torch.Tensor, shape (P',), int64
        Rows to keep: i < j, and i > j where j does not list i.
    """
    n_residues, n_neighbors = neighbor_index.size(1), neighbor_index.size(2)
    forward = torch.nonzero(first < second).flatten()
    backward = torch.nonzero(first > second).flatten()
    i, j = first[backward], second[backward]
    listed = neighbor_index.reshape(-1, n_neighbors).index_select(0, j)
    local = torch.remainder(i, n_residues).unsqueeze(1)
    alone = backward[~(listed == local).any(1)]
    return torch.cat([forward, alone]).sort()[0]


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
