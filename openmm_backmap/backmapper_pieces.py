"""Cutting a frame of very many residues into pieces that a model takes in turn.

A piece holds whole chains that lie together, its core, and around them every
residue that the core has for a neighbour, with some more along their chains so
that their backbone comes out right, too.  Only the core's atoms are kept, so
each residue is kept once, and sees all of its neighbours.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from openmm_backmap.geometry.periodic import wrap_positions

__all__ = ["Piece", "cut_frame"]

_MARGIN = 3
"""Residues along the chain on either side of a neighbour of the core."""
_N_TOUCHING = 10
"""Nearest residues, whose side chains decide those of the core."""


@dataclass(frozen=True, eq=False)
class Piece:
    """Residues of one pass, in the order of the frame.

    Attributes
    ----------
    residues : numpy.ndarray, shape (n,), int64
        Which residues of the frame, rising.
    is_core : numpy.ndarray, shape (n,), bool
        Whose atoms are kept.
    chain_index : numpy.ndarray, shape (n,), int64
        Segment of each; a part of a chain is a segment of its own.
    neighbor_index : numpy.ndarray, shape (n, K), int64
        Neighbours as indices into the piece, by distance, -1 padded: all of
        them for the core, those that are in the piece for the others.
    """

    residues: np.ndarray
    is_core: np.ndarray
    chain_index: np.ndarray
    neighbor_index: np.ndarray


def cut_frame(
    anchor: np.ndarray,
    chain_index: np.ndarray,
    neighbor_index: np.ndarray,
    box: np.ndarray | None,
    n_core: int,
) -> Iterator[Piece]:
    """Cut a frame into pieces of whole chains that lie together.

    Parameters
    ----------
    anchor : numpy.ndarray, shape (R, 3)
        One point a residue in nm, each chain whole.
    chain_index : numpy.ndarray, shape (R,), int64
        Segment of each residue, never decreasing.
    neighbor_index : numpy.ndarray, shape (R, K), int64
        Nearest residues, by distance, -1 padded.
    box : numpy.ndarray or None, shape (3, 3)
        Box vectors as rows in nm; None or zeros for no box.
    n_core : int
        Residues of a core at most, but for a longer chain, which is not cut.

    Yields
    ------
    Piece
        Every residue is in the core of exactly one.
    """
    starts = np.flatnonzero(np.diff(chain_index, prepend=chain_index[0] - 1))
    lengths = np.diff(starts, append=len(chain_index))
    centre = np.add.reduceat(np.asarray(anchor, np.float64), starts, axis=0)
    centre /= lengths[:, None]
    if box is not None and np.any(box):
        centre = wrap_positions(centre, box)
    segment = np.repeat(np.arange(len(starts)), lengths)
    place = np.full(len(chain_index) + 1, -1, np.int64)
    for group in _group_chains(centre, lengths, n_core):
        core = np.concatenate(
            [np.arange(starts[k], starts[k] + lengths[k]) for k in np.sort(group)]
        )
        yield _make_piece(core, segment, neighbor_index, place)


def _group_chains(
    centre: np.ndarray, lengths: np.ndarray, n_core: int
) -> Iterator[np.ndarray]:
    """Halve the chains along their longest extent until each part is small."""
    waiting = [np.arange(len(lengths))]
    while waiting:
        group = waiting.pop()
        total = lengths[group].sum()
        if total <= n_core or len(group) == 1:
            yield group
            continue
        axis = np.ptp(centre[group], axis=0).argmax()
        group = group[np.argsort(centre[group, axis], kind="stable")]
        # parts of whole multiples, so that the last ones are as full as the first
        n_parts = -(-total // n_core)
        share = total * (n_parts // 2) / n_parts
        cut = int(np.searchsorted(np.cumsum(lengths[group]), share, "right"))
        cut = min(max(cut, 1), len(group) - 1)
        waiting += [group[cut:], group[:cut]]


def _make_piece(
    core: np.ndarray, segment: np.ndarray, neighbor_index: np.ndarray, place: np.ndarray
) -> Piece:
    """Add its neighbours to a core and number all anew.

    `place` (R + 1,) holds -1 everywhere, before and after.
    """
    # what touches the core has its own surroundings whole
    touching = np.unique(neighbor_index[core, :_N_TOUCHING])
    touching = np.union1d(core, touching[touching >= 0])
    near = np.unique(neighbor_index[touching])
    near = near[near >= 0]
    along = near[:, None] + np.arange(-_MARGIN, _MARGIN + 1)
    inside = np.clip(along, 0, len(segment) - 1)
    is_same = (inside == along) & (segment[inside] == segment[near][:, None])
    residues = np.union1d(core, along[is_same])
    place[core] = 0
    is_core = place[residues] == 0
    place[residues] = np.arange(len(residues))
    local = place[neighbor_index[residues]]  # -1 finds the last entry, -1
    place[residues] = -1
    is_first = np.ones(len(residues), bool)
    is_first[1:] = (np.diff(residues) != 1) | (np.diff(segment[residues]) != 0)
    absent = local < 0
    order = np.argsort(absent, axis=1, kind="stable")
    local = np.take_along_axis(local, order, axis=1)
    return Piece(residues, is_core, np.cumsum(is_first) - 1, local)
