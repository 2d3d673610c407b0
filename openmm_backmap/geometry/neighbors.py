"""Nearest residues in space, by a k-d tree, in any periodic box."""

import itertools

import numpy as np
from scipy.spatial import cKDTree

from openmm_backmap.errors import GeometryError
from openmm_backmap.geometry.periodic import is_orthorhombic, wrap_positions

__all__ = ["find_neighbors"]

_ROWS = 16384
"""Residues asked about at once, which bounds what is held beside the result."""


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
            neighbors[f] = _find_among_images(frame, k, cutoff, box[f])
    return neighbors


def _find_in_tree(
    points: np.ndarray, k: int, cutoff: float, lengths: np.ndarray | None
) -> np.ndarray:
    """Find neighbours without a box, or in an orthorhombic one; (R, K)."""
    tree = cKDTree(points, boxsize=lengths)
    found = np.empty((len(points), k), np.int64)
    for start in range(0, len(points), _ROWS):
        rows = slice(start, start + _ROWS)
        _, index = tree.query(points[rows], k=k + 1, distance_upper_bound=cutoff)
        found[rows] = _without_self(index, k, len(points), start)
    return found


def _without_self(
    index: np.ndarray, k: int, n_residues: int, start: int = 0
) -> np.ndarray:
    """Remove each residue from its own list; R stands for no neighbour."""
    is_self = index == np.arange(start, start + len(index))[:, None]
    # itself to the end, the others stay in order of distance
    order = np.argsort(is_self, axis=1, kind="stable")[:, :k]
    index = np.take_along_axis(index, order, axis=1)
    index[index == n_residues] = -1
    return index


def _find_among_images(
    points: np.ndarray, k: int, cutoff: float, box: np.ndarray
) -> np.ndarray:
    """Find neighbours in a triclinic box; (R, K)."""
    box = np.asarray(box, np.float64)
    inverse = np.linalg.inv(box)
    # distance of opposite faces: one over the length of a reciprocal vector
    margin = cutoff * np.linalg.norm(inverse, axis=0)
    fraction = wrap_positions(points, box) @ inverse
    if np.any(margin > 0.5):
        return _find_in_small_box(fraction, k, cutoff, box, margin)
    images, owners = [fraction], [np.arange(len(points))]
    for shift in itertools.product((-1.0, 0.0, 1.0), repeat=3):
        if not any(shift):
            continue
        moved = fraction + shift
        is_near = np.all((moved > -margin) & (moved < 1.0 + margin), axis=1)
        images.append(moved[is_near])
        owners.append(np.flatnonzero(is_near))
    owner = np.concatenate(owners)
    tree = cKDTree(np.concatenate(images) @ box)
    _, index = tree.query(fraction @ box, k=k + 1, distance_upper_bound=cutoff)
    return _without_self(np.append(owner, len(points))[index], k, len(points))


def _find_in_small_box(
    fraction: np.ndarray, k: int, cutoff: float, box: np.ndarray, margin: np.ndarray
) -> np.ndarray:
    """Find neighbours where several images of one residue may be near; (R, K)."""
    n_residues = len(fraction)
    reach = [np.arange(-n, n + 1) for n in np.ceil(margin + 0.5).astype(int)]
    index = np.full((n_residues, k), -1, np.int64)
    for start in range(0, n_residues, 256):
        rows = np.arange(start, min(start + 256, n_residues))
        nearest = np.full((len(rows), n_residues), np.inf)
        difference = fraction[None] - fraction[rows, None]
        for shift in itertools.product(*reach):
            vector = (difference + shift) @ box
            np.minimum(nearest, np.sum(vector**2, axis=-1), out=nearest)
        nearest[np.arange(len(rows)), rows] = np.inf
        order = np.argsort(nearest, axis=1, kind="stable")[:, :k]
        found = np.take_along_axis(nearest, order, axis=1)
        index[rows, : order.shape[1]] = np.where(found < cutoff**2, order, -1)
    return index
