"""Pairs of points closer than a cutoff, with or without a periodic box."""

import itertools

import numpy as np
from scipy.spatial import cKDTree

from openmm_backmap.geometry.periodic import (
    is_orthorhombic,
    minimum_image,
    wrap_positions,
)

__all__ = ["compute_pair_distances", "find_close_pairs", "find_pairs_between"]


def _has_box(box: np.ndarray | None) -> bool:
    return box is not None and bool(np.any(box))


def _tree(points: np.ndarray, box: np.ndarray | None) -> cKDTree:
    """Build a k-d tree, periodic in an orthorhombic box."""
    if not _has_box(box):
        return cKDTree(points)
    lengths = np.diagonal(box).astype(np.float64)
    wrapped = wrap_positions(points, box)
    wrapped[wrapped >= lengths] = 0.0
    return cKDTree(wrapped, boxsize=lengths)


def _pairs_among_images(
    first: np.ndarray, second: np.ndarray, cutoff: float, box: np.ndarray
) -> np.ndarray:
    """Find pairs of two sets in a triclinic box, by images near its faces; (P, 2)."""
    box = np.asarray(box, np.float64)
    inverse = np.linalg.inv(box)
    # distance of opposite faces: one over the length of a reciprocal vector
    margin = cutoff * np.linalg.norm(inverse, axis=0)
    fraction = wrap_positions(second, box) @ inverse
    images, owners = [], []
    for shift in itertools.product((-1.0, 0.0, 1.0), repeat=3):
        moved = fraction + shift
        is_near = np.all((moved > -margin) & (moved < 1.0 + margin), axis=1)
        images.append(moved[is_near])
        owners.append(np.flatnonzero(is_near))
    found = cKDTree(wrap_positions(first, box)).sparse_distance_matrix(
        cKDTree(np.concatenate(images) @ box), cutoff, output_type="ndarray"
    )
    pairs = np.stack([found["i"], np.concatenate(owners)[found["j"]]], axis=1)
    return np.unique(pairs.astype(np.int64), axis=0)


def find_close_pairs(
    points: np.ndarray, cutoff: float, box: np.ndarray | None = None
) -> np.ndarray:
    """Find all pairs of points that are closer than a cutoff.

    Parameters
    ----------
    points : numpy.ndarray, shape (N, 3)
        Finite points in nm.
    cutoff : float
        Largest distance in nm; less than half of the box's smallest width.
    box : numpy.ndarray or None, shape (3, 3)
        Box vectors as rows in nm. If None or all zeros, there is no box.

    Returns
    -------
    numpy.ndarray, shape (P, 2), int64
        Indices i < j, each pair once, in no order.
    """
    points = np.asarray(points, np.float64)
    if len(points) < 2:
        return np.zeros((0, 2), np.int64)
    if _has_box(box) and not is_orthorhombic(box):
        pairs = _pairs_among_images(points, points, cutoff, box)
        return pairs[pairs[:, 0] < pairs[:, 1]]
    pairs = _tree(points, box).query_pairs(cutoff, output_type="ndarray")
    return pairs.astype(np.int64)


def find_pairs_between(
    first: np.ndarray,
    second: np.ndarray,
    cutoff: float,
    box: np.ndarray | None = None,
) -> np.ndarray:
    """Find all pairs of a point of one set and a point of another.

    Parameters
    ----------
    first : numpy.ndarray, shape (N, 3)
        Finite points in nm.
    second : numpy.ndarray, shape (M, 3)
        Finite points in nm.
    cutoff : float
        Largest distance in nm; less than half of the box's smallest width.
    box : numpy.ndarray or None, shape (3, 3)
        Box vectors as rows in nm. If None or all zeros, there is no box.

    Returns
    -------
    numpy.ndarray, shape (P, 2), int64
        Index into `first` and index into `second`, each pair once.
    """
    first = np.asarray(first, np.float64)
    second = np.asarray(second, np.float64)
    if len(first) == 0 or len(second) == 0:
        return np.zeros((0, 2), np.int64)
    if _has_box(box) and not is_orthorhombic(box):
        return _pairs_among_images(first, second, cutoff, box)
    found = _tree(first, box).sparse_distance_matrix(
        _tree(second, box), cutoff, output_type="ndarray"
    )
    return np.stack([found["i"], found["j"]], axis=1).astype(np.int64)


def compute_pair_distances(
    points: np.ndarray, pairs: np.ndarray, box: np.ndarray | None = None
) -> np.ndarray:
    """Distances of pairs of points, to the nearest image in a box.

    Parameters
    ----------
    points : numpy.ndarray, shape (N, 3)
        Points in nm.
    pairs : numpy.ndarray, shape (P, 2)
        Indices of points.
    box : numpy.ndarray or None, shape (3, 3)
        Box vectors as rows in nm. If None or all zeros, there is no box.

    Returns
    -------
    numpy.ndarray, shape (P,)
        Distances in nm.
    """
    difference = points[pairs[:, 1]] - points[pairs[:, 0]]
    if _has_box(box):
        difference = minimum_image(difference, box)
    return np.sqrt((difference * difference).sum(-1))
