"""Gaps cut into chains at random: ends whose torsions are known.

Only 2 % of the residues of real structures are chain ends, and a network that
sees no others learns them by heart. A gap makes two more, inside a structure.
"""

import numpy as np

__all__ = ["MIN_SEGMENT", "draw_gaps", "hide_gaps", "number_segments"]

MIN_SEGMENT = 3
"""Residues of the shortest piece that a gap may leave."""
MEAN_GAP = 6.0
RESIDUES_A_GAP = 80


def draw_gaps(
    rng: np.random.Generator, sizes: list[int], share: float
) -> list[tuple[int, int]]:
    """Draw where to cut.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of chance.
    sizes : list of int
        Residues of each piece of a batch, one after the other.
    share : float
        Probability that a piece is cut.

    Returns
    -------
    list of tuple of int
        First row and length of each gap; about one for every 80 residues of a
        piece that is cut.
    """
    gaps: list[tuple[int, int]] = []
    at = 0
    for size in sizes:
        if rng.random() < share:
            for _ in range(1 + rng.poisson(size / RESIDUES_A_GAP)):
                length = int(rng.geometric(1.0 / MEAN_GAP))
                start = int(rng.integers(1 - length, size))
                end = min(start + length, size)
                gaps.append((at + max(start, 0), end - max(start, 0)))
        at += size
    return gaps


def number_segments(chain: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Number the bonded segments that are left.

    Parameters
    ----------
    chain : numpy.ndarray, shape (R,), int64
        Segments before.
    hidden : numpy.ndarray, shape (R,), bool
        Residues that are taken out; each is a segment of its own.

    Returns
    -------
    numpy.ndarray, shape (R,), int64
        From 0.
    """
    broken = (chain[1:] != chain[:-1]) | hidden[1:] | hidden[:-1]
    return np.concatenate(([0], np.cumsum(broken))).astype(np.int64)


def hide_gaps(chain: np.ndarray, gaps: list[tuple[int, int]]) -> np.ndarray:
    """Find the residues to take out.

    Parameters
    ----------
    chain : numpy.ndarray, shape (R,), int64
        Bonded segments.
    gaps : list of tuple of int
        First row and length of each.

    Returns
    -------
    numpy.ndarray, shape (R,), bool
        The gaps, and what they leave of a segment where that is shorter than
        `MIN_SEGMENT`.
    """
    hidden = np.zeros(len(chain), bool)
    for start, length in gaps:
        hidden[start : start + length] = True
    before = number_segments(chain, np.zeros_like(hidden))
    after = number_segments(chain, hidden)
    left = np.bincount(after)[after]
    shorter = left < np.bincount(before)[before]
    return hidden | (shorter & (left < MIN_SEGMENT))
