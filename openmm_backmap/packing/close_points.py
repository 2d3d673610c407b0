"""Atom pairs within a cut-off, found through blocks of atoms."""

from typing import NamedTuple

import torch

from openmm_backmap.packing.atoms import BlockedPoints

__all__ = [
    "ClosePoints",
    "chunk_size",
    "compute_chunk_ends",
    "cut_rows",
    "expand_rows",
    "find_block_pairs",
    "find_close_points",
    "find_point_pairs",
    "make_space",
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


def keep_near(
    source: torch.Tensor,
    target: torch.Tensor,
    column: torch.Tensor,
    limit: torch.Tensor,
) -> torch.Tensor:
    """Find the rows where a point is nearer to its partner than a limit.

    Parameters
    ----------
    source : torch.Tensor, shape (3, P)
        Points in nm.
    target : torch.Tensor, shape (3, M)
        Possible partners in nm.
    column : torch.Tensor, shape (P,), int64
        The partner of each point.
    limit : torch.Tensor, shape (P,)
        In nm.

    Returns
    -------
    torch.Tensor, shape (P',), int64
        Rows that are near.
    """
    dx = source[0] - target[0].index_select(0, column)
    dy = source[1] - target[1].index_select(0, column)
    dz = source[2] - target[2].index_select(0, column)
    return torch.nonzero(dx * dx + dy * dy + dz * dz < limit * limit).flatten()


def find_block_pairs(
    source: BlockedPoints,
    target: BlockedPoints,
    first: torch.Tensor,
    second: torch.Tensor,
    shift: torch.Tensor,
    cutoff: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find the pairs of blocks whose spheres come within a cut-off.

    Parameters
    ----------
    source, target : BlockedPoints
        Where the blocks of the first and of the second groups are.
    first, second : torch.Tensor, shape (P,), int64
        Group pairs: first indexes `source`, second `target`.
    shift : torch.Tensor, shape (3, P)
        Translation of the second group in nm.
    cutoff : float
        Distance in nm.

    Returns
    -------
    a, b : torch.Tensor, shape (N,), int64
        Blocks of `source` and of `target`.
    pair : torch.Tensor, shape (N,), int64
        The group pair (0 to P - 1) of each.
    """
    # group and group
    origin = source.group_center.index_select(1, first) - shift
    limit = source.group_reach.index_select(0, first) + cutoff
    limit = limit + target.group_reach.index_select(0, second)
    pair = keep_near(origin, target.group_center, second, limit)
    first, second = first.index_select(0, pair), second.index_select(0, pair)
    # block and group
    row, offset = expand_rows(source.n_blocks.index_select(0, first))
    a = source.first_block.index_select(0, first).index_select(0, row) + offset
    pair, second = pair.index_select(0, row), second.index_select(0, row)
    origin = source.center.index_select(1, a) - shift.index_select(1, pair)
    limit = source.reach.index_select(0, a) + cutoff
    bound = limit + target.group_reach.index_select(0, second)
    kept = keep_near(origin, target.group_center, second, bound)
    a, pair = a.index_select(0, kept), pair.index_select(0, kept)
    second, origin = second.index_select(0, kept), origin.index_select(1, kept)
    limit = limit.index_select(0, kept)
    # block and block
    row, offset = expand_rows(target.n_blocks.index_select(0, second))
    b = target.first_block.index_select(0, second).index_select(0, row) + offset
    limit = limit.index_select(0, row) + target.reach.index_select(0, b)
    kept = keep_near(origin.index_select(1, row), target.center, b, limit)
    row = row.index_select(0, kept)
    return a.index_select(0, row), b.index_select(0, kept), pair.index_select(0, row)


def compute_chunk_ends(count: list[int], chunk: int) -> list[int]:
    """Cut the rows of all frames so that no chunk spans two frames.

    The rows of a frame then come in the same order whatever the other frames
    are, and so do floating-point sums over them.

    Parameters
    ----------
    count : list of int
        Rows of each frame.
    chunk : int
        Most rows of a chunk.

    Returns
    -------
    list of int
        End of each chunk.
    """
    ends: list[int] = []
    end = 0
    for n in count:
        left = n
        while left > 0:
            step = min(left, chunk)
            end += step
            left -= step
            ends.append(end)
    return ends


class ClosePoints(NamedTuple):
    """Points of two lots of blocks that are near each other."""

    a: torch.Tensor  # (N,) int64, point of the first lot
    b: torch.Tensor  # (N,) int64, point of the second
    square: torch.Tensor  # (N,) squared distance in square nm
    row: torch.Tensor  # (N,) int64, block pair


def find_close_points(
    source: BlockedPoints,
    target: BlockedPoints,
    block_a: torch.Tensor,
    block_b: torch.Tensor,
    move: torch.Tensor,
    cutoff: float,
    space: torch.Tensor,
) -> ClosePoints:
    """Compute all distances of some block pairs and keep the short ones.

    Parameters
    ----------
    source, target : BlockedPoints
        Where the blocks are.
    block_a, block_b : torch.Tensor, shape (P,), int64
        Block pairs.
    move : torch.Tensor, shape (3, P)
        Translation of the second block in nm.
    cutoff : float
        Distance in nm.
    space : torch.Tensor, shape (2, at least W W' P)
        Working space that stays in the processor's cache.

    Returns
    -------
    ClosePoints
        Sorted by place in the first block, in the second, and block pair.
    """
    n_wide, n_high = source.x.size(0), target.x.size(0)
    rows = block_a.numel()
    size = n_wide * n_high * rows
    gap = space[0, :size].view(n_wide, n_high, rows)
    square = space[1, :size].view(n_wide, n_high, rows)
    here = (source.x.index_select(1, block_a) - move[0]).unsqueeze(1)
    torch.sub(here, target.x.index_select(1, block_b).unsqueeze(0), out=gap)
    torch.mul(gap, gap, out=square)
    here = (source.y.index_select(1, block_a) - move[1]).unsqueeze(1)
    torch.sub(here, target.y.index_select(1, block_b).unsqueeze(0), out=gap)
    square.addcmul_(gap, gap)
    here = (source.z.index_select(1, block_a) - move[2]).unsqueeze(1)
    torch.sub(here, target.z.index_select(1, block_b).unsqueeze(0), out=gap)
    square.addcmul_(gap, gap)
    flat = square.view(-1)
    kept = torch.nonzero(flat < cutoff * cutoff).flatten()
    places = torch.div(kept, rows, rounding_mode="floor")
    row = kept - places * rows
    wide = torch.div(places, n_high, rounding_mode="floor")
    high = places - wide * n_high
    return ClosePoints(
        a=block_a.index_select(0, row) * n_wide + wide,
        b=block_b.index_select(0, row) * n_high + high,
        square=flat.index_select(0, kept),
        row=row,
    )


def make_space(
    source: BlockedPoints, target: BlockedPoints, chunk: int
) -> torch.Tensor:
    """Reserve the working space of `find_close_points`.

    Parameters
    ----------
    source, target : BlockedPoints
        Where the blocks are.
    chunk : int
        Most block pairs at once.

    Returns
    -------
    torch.Tensor, shape (2, W W' chunk)
        Uninitialised.
    """
    size = source.x.size(0) * target.x.size(0) * chunk
    return torch.empty(2, size, dtype=source.x.dtype, device=source.x.device)


def chunk_size(ends: list[int]) -> int:
    """Rows of the largest chunk.

    Parameters
    ----------
    ends : list of int
        End of each chunk.

    Returns
    -------
    int
        0 without chunks.
    """
    largest, begin = 0, 0
    for end in ends:
        largest = max(largest, end - begin)
        begin = end
    return largest


def cut_rows(
    group: torch.Tensor, source: BlockedPoints, n_residues: int, chunk: int
) -> list[int]:
    """Cut block pairs into chunks; see `compute_chunk_ends`.

    Parameters
    ----------
    group : torch.Tensor, shape (P,), int64
        Index into frames x residues of each block pair, frame after frame.
    source : BlockedPoints
        Gives the number of groups.
    n_residues : int
        Groups of a frame.
    chunk : int
        Most rows of a chunk on a CPU.

    Returns
    -------
    list of int
        End of each chunk.
    """
    if group.is_cuda:
        # no caches to fill, and sums are not in order there anyway
        return compute_chunk_ends([group.numel()], 64 * chunk)
    n_frames = max(source.n_blocks.numel() // max(n_residues, 1), 1)
    frame = torch.div(group, n_residues, rounding_mode="floor")
    count: list[int] = torch.bincount(frame, minlength=n_frames).tolist()
    return compute_chunk_ends(count, chunk)


def find_point_pairs(
    source: BlockedPoints,
    target: BlockedPoints,
    first: torch.Tensor,
    second: torch.Tensor,
    shift: torch.Tensor,
    cutoff: float,
    n_residues: int,
    chunk: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find the point pairs of given group pairs that lie within a cut-off.

    Spheres around groups and blocks are tested first, then all distances of two
    blocks are computed at once.

    Parameters
    ----------
    source, target : BlockedPoints
        Where the points of the first and of the second groups are.
    first, second : torch.Tensor, shape (P,), int64
        Group pairs, frame after frame: first indexes `source`, second `target`.
    shift : torch.Tensor, shape (3, P)
        Translation of the second group in nm.
    cutoff : float
        Distance in nm.
    n_residues : int
        Groups of a frame.
    chunk : int
        Block pairs handled at once, of one frame: bounds the memory.

    Returns
    -------
    a, b : torch.Tensor, shape (N,), int64
        Points of `source` and of `target`.
    distance : torch.Tensor, shape (N,)
        In nm.
    pair : torch.Tensor, shape (N,), int64
        The group pair (0 to P - 1) of each.
    """
    block_a, block_b, pair = find_block_pairs(
        source, target, first, second, shift, cutoff
    )
    move = shift.index_select(1, pair)
    ends = cut_rows(first.index_select(0, pair), source, n_residues, chunk)
    space = make_space(source, target, chunk_size(ends))
    a_parts = [pair[:0]]
    b_parts = [pair[:0]]
    square_parts = [move[0, :0]]
    pair_parts = [pair[:0]]
    begin = 0
    for end in ends:
        found = find_close_points(
            source,
            target,
            block_a[begin:end],
            block_b[begin:end],
            move[:, begin:end],
            cutoff,
            space,
        )
        a_parts.append(found.a)
        b_parts.append(found.b)
        square_parts.append(found.square)
        pair_parts.append(pair[begin:end].index_select(0, found.row))
        begin = end
    distance = torch.cat(square_parts).sqrt()
    return torch.cat(a_parts), torch.cat(b_parts), distance, torch.cat(pair_parts)
