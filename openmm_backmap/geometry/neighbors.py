"""Nearest residues in space: a k-d tree, or cell lists in triclinic boxes."""

import numpy as np
from scipy.spatial import cKDTree

from openmm_backmap.errors import GeometryError
from openmm_backmap.geometry.periodic import is_orthorhombic, wrap_positions

__all__ = ["find_neighbors"]


def find_neighbors(
    positions: np.ndarray, k: int, cutoff: float, box: np.ndarray | None = None
) -> np.ndarray:
    """Find the nearest other residues of each residue, in any chain.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 3), float32
        One point a residue (its CA) in nm.
    k : int
        Number of neighbours wanted, K.
    cutoff : float
        Farthest neighbour in nm.
    box : numpy.ndarray or None, shape (F, 3, 3) or (3, 3)
        Box vectors as rows in nm; a frame of zeros has no box. If None, no
        frame has one. With a box, the nearest image of a residue counts.

    Returns
    -------
    numpy.ndarray, shape (F, R, K), int64
        Residue indices sorted by distance, padded with -1.

    Raises
    ------
    GeometryError
        If a position is not finite.
    """
    positions = np.asarray(positions)
    if not np.all(np.isfinite(positions)):
        frame, residue = np.argwhere(~np.isfinite(positions))[0][:2]
        raise GeometryError(
            f"position of residue {residue} in frame {frame} is not finite: "
            "look at the coarse-grained run before this frame"
        )
    n_frames, n_residues = positions.shape[:2]
    neighbors = np.full((n_frames, n_residues, k), -1, np.int64)
    if k == 0:
        return neighbors
    if box is not None:
        box = np.broadcast_to(np.asarray(box), (n_frames, 3, 3))
    for f, frame in enumerate(positions):
        if box is None or not np.any(box[f]):
            neighbors[f] = _find_in_tree(frame, k, cutoff, None)
        elif is_orthorhombic(box[f]):
            # wrapped in float64: a tree refuses points at or beyond its box
            wrapped = wrap_positions(frame, box[f])
            lengths = np.diagonal(box[f]).astype(np.float64)
            wrapped[wrapped >= lengths] = 0.0
            neighbors[f] = _find_in_tree(wrapped, k, cutoff, lengths)
        else:
            neighbors[f] = _find_in_cells(frame, k, cutoff, box[f])
    return neighbors


def _find_in_tree(
    points: np.ndarray, k: int, cutoff: float, lengths: np.ndarray | None
) -> np.ndarray:
    """Find neighbours without a box, or in an orthorhombic one; (R, K)."""
    tree = cKDTree(points, boxsize=lengths)
    _, index = tree.query(points, k=k + 1, distance_upper_bound=cutoff)
    is_self = index == np.arange(len(points))[:, None]
    # itself to the end, the others stay in order of distance
    order = np.argsort(is_self, axis=1, kind="stable")[:, :k]
    index = np.take_along_axis(index, order, axis=1)
    index[index == len(points)] = -1
    return index


def _find_in_cells(
    points: np.ndarray, k: int, cutoff: float, box: np.ndarray
) -> np.ndarray:
    """Find neighbours in a triclinic box; (R, K)."""
    # imported here: only triclinic boxes need it
    from vesin import NeighborList

    index = np.full((len(points), k), -1, np.int64)
    calculator = NeighborList(cutoff=float(cutoff), full_list=True)
    first, second, distance = calculator.compute(
        points=wrap_positions(points, box),
        box=np.asarray(box, np.float64),
        periodic=True,
        quantities="ijd",
    )
    first, second = first.astype(np.int64), second.astype(np.int64)
    keep = first != second
    first, second, distance = first[keep], second[keep], distance[keep]
    # nearest image of a pair only
    order = np.lexsort((distance, second, first))
    pair = first[order] * len(points) + second[order]
    order = order[np.diff(pair, prepend=-1) != 0]
    first, second, distance = first[order], second[order], distance[order]
    order = np.lexsort((distance, first))
    first, second = first[order], second[order]
    rank = np.arange(len(first)) - np.searchsorted(first, first)
    keep = rank < k
    index[first[keep], rank[keep]] = second[keep]
    return index
