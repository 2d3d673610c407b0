"""Pairs of residues and of atoms that come close, found ragged and in chunks."""

from typing import NamedTuple

import torch

from openmm_backmap.packing.atoms import BlockedPoints

__all__ = [
    "Surroundings",
    "compute_image_shift",
    "expand_rows",
    "find_point_pairs",
    "find_surroundings",
    "list_both_directions",
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
    """What is near what: G = frames x residues, P residue pairs.

    Each pair is listed once, in either direction, and frame after frame.
    """

    residue_type: torch.Tensor  # (G,) int64, 0 to 19
    follows: torch.Tensor  # (G,) bool: bonded to the residue before it
    first: torch.Tensor  # (P,) int64 into G
    second: torch.Tensor  # (P,) int64
    shift: torch.Tensor  # (3, P) nm, added to the second residue
    n_residues: int


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
        Each pair once, no residue with itself.
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
    # the K nearest are not mutual: keep j < i only where j does not list i
    listed = neighbor_index.reshape(-1, n_neighbors).index_select(0, second)
    local = torch.remainder(first, n_residues).unsqueeze(1)
    alone = ~(listed == local).any(1)
    kept = torch.nonzero((first < second) | alone).flatten()
    bonded = torch.zeros_like(residue_type, dtype=torch.bool)
    bonded[1:] = chain_index[1:] == chain_index[:-1]
    return Surroundings(
        residue_type=residue_type.repeat(n_frames),
        follows=bonded.repeat(n_frames),
        first=first.index_select(0, kept),
        second=second.index_select(0, kept),
        shift=shift.index_select(0, kept).t().contiguous(),
        n_residues=n_residues,
    )


def list_both_directions(
    near: Surroundings,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """List each residue pair as (i, j) and as (j, i).

    Parameters
    ----------
    near : Surroundings
        Each pair once.

    Returns
    -------
    first, second : torch.Tensor, shape (2 P,), int64
        The pairs, then the pairs reversed.
    shift : torch.Tensor, shape (3, 2 P)
        Added to the second residue, in nm.
    """
    return (
        torch.cat([near.first, near.second]),
        torch.cat([near.second, near.first]),
        torch.cat([near.shift, -near.shift], 1),
    )


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
    n_wide, n_high = source.x.size(0), target.x.size(0)
    n_frames = max(source.n_blocks.numel() // max(n_residues, 1), 1)
    block_a, block_b, pair = find_block_pairs(
        source, target, first, second, shift, cutoff
    )
    frame = torch.div(first.index_select(0, pair), n_residues, rounding_mode="floor")
    count: list[int] = torch.bincount(frame, minlength=n_frames).tolist()
    move = shift.index_select(1, pair)
    xa = source.x.index_select(1, block_a) - move[0]
    ya = source.y.index_select(1, block_a) - move[1]
    za = source.z.index_select(1, block_a) - move[2]
    a_parts = [block_a[:0]]
    b_parts = [block_a[:0]]
    square_parts = [move[0, :0]]
    pair_parts = [block_a[:0]]
    begin = 0
    for end in compute_chunk_ends(count, chunk):
        a, b = block_a[begin:end], block_b[begin:end]
        gap = xa[:, begin:end].unsqueeze(1) - target.x.index_select(1, b).unsqueeze(0)
        square = gap * gap
        gap = ya[:, begin:end].unsqueeze(1) - target.y.index_select(1, b).unsqueeze(0)
        square = torch.addcmul(square, gap, gap)
        gap = za[:, begin:end].unsqueeze(1) - target.z.index_select(1, b).unsqueeze(0)
        square = torch.addcmul(square, gap, gap).reshape(-1)
        kept = torch.nonzero(square < cutoff * cutoff).flatten()
        rows = end - begin
        places = torch.div(kept, rows, rounding_mode="floor")
        block = kept - places * rows
        row = torch.div(places, n_high, rounding_mode="floor")
        column = places - row * n_high
        a_parts.append(a.index_select(0, block) * n_wide + row)
        b_parts.append(b.index_select(0, block) * n_high + column)
        square_parts.append(square.index_select(0, kept))
        pair_parts.append(pair[begin:end].index_select(0, block))
        begin = end
    distance = torch.cat(square_parts).sqrt()
    return torch.cat(a_parts), torch.cat(b_parts), distance, torch.cat(pair_parts)
