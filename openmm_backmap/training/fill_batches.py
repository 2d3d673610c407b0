"""Entries into batches of one size, whole, and as often as they are drawn.

A batch alone can hold what is drawn for it only by leaving out or cutting what
does not fit, which makes long entries rare. Many batches filled together have room.
"""

from collections.abc import Iterable

import numpy as np

__all__ = ["fill_batches"]

FULL = 0.98
"""Share of the room that is drawn for: with more, more entries would be cut."""

MIN_PIECE = 16
"""Residues of the smallest piece that an entry is cut into."""


def fill_batches(
    pieces: Iterable[tuple[int, int, int]], n_batches: int, n_residues: int
) -> list[list[tuple[int, int, int]]]:
    """Divide pieces among batches: each into the first one that has room.

    The few that fit nowhere are cut to the room that is left, so residues come in
    the shares in which they are drawn.

    Parameters
    ----------
    pieces : iterable of tuple of int
        First row, number of rows (at most R) and offset in the frame; as many are
        taken as fill 98 % of all batches.
    n_batches : int
        Batches.
    n_residues : int
        Residues of a batch R.

    Returns
    -------
    list of list of tuple of int
        Pieces of each batch.
    """
    batches: list[list[tuple[int, int, int]]] = [[] for _ in range(n_batches)]
    room = np.full(n_batches, n_residues)

    def put(batch: int, row: int, n: int, offset: int) -> None:
        batches[batch].append((row, n, offset))
        room[batch] -= n

    left, waiting = int(FULL * n_batches * n_residues), []
    for row, n, offset in pieces:
        first = int(np.argmax(room >= n))
        if room[first] >= n:
            put(first, row, n, offset)
        else:
            waiting.append((row, n, offset))
        left -= n
        if left <= 0:
            break
    for row, n, offset in waiting:
        done = 0
        while n - done >= MIN_PIECE:
            largest = int(np.argmax(room))
            size = min(int(room[largest]), n - done)
            if size < MIN_PIECE:
                return batches
            put(largest, row + done, size, offset + done)
            done += size
    return batches
