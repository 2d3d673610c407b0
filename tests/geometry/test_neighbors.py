"""Neighbours: the same as a slow search over every image."""

import itertools

import numpy as np
import pytest

from openmm_backmap.errors import GeometryError
from openmm_backmap.geometry.neighbors import find_neighbors

BOXES = {
    "none": None,
    "orthorhombic": np.diag([2.0, 2.4, 3.0]),
    "small triclinic": np.array([[1.5, 0, 0], [0.6, 1.4, 0], [-0.5, 0.8, 1.6]]),
    "large triclinic": np.array([[2.4, 0, 0], [0.6, 2.4, 0], [-0.5, 0.8, 2.6]]),
    "triclinic": np.array([[2.4, 0.0, 0.0], [0.6, 2.2, 0.0], [-0.5, 0.8, 2.1]]),
}


def _slow_distances(points: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """Distance of every pair, over 125 images; (R, R)."""
    difference = points[None] - points[:, None]
    if box is None:
        return np.linalg.norm(difference, axis=-1)
    images = np.array(list(itertools.product(range(-2, 3), repeat=3))) @ box
    return np.linalg.norm(difference[..., None, :] + images, axis=-1).min(-1)


@pytest.mark.parametrize("name", BOXES)
def test_neighbors_are_the_nearest_in_order(name: str) -> None:
    rng = np.random.default_rng(4)
    box, k, cutoff = BOXES[name], 12, 0.9
    points = rng.uniform(0.0, 2.0, size=(2, 70, 3))
    moved = points
    if box is not None:
        moved = points + rng.integers(-1, 2, size=points.shape) @ box
    found = find_neighbors(moved.astype(np.float32), k, cutoff, box)
    assert found.shape == (2, 70, k)
    assert found.dtype == np.int64
    for f in range(2):
        slow = _slow_distances(points[f], box)
        np.fill_diagonal(slow, np.inf)
        for i in range(70):
            wanted = np.sort(slow[i])[:k]
            wanted = wanted[wanted < cutoff]
            mine = found[f, i][found[f, i] >= 0]
            assert len(set(mine)) == len(mine) == len(wanted)
            assert i not in mine
            # float32 input moved by a box vector: rounding of 1e-6
            assert np.allclose(slow[i][mine], wanted, atol=3e-6)
            assert np.all(found[f, i][len(mine) :] == -1)


def test_a_box_smaller_than_the_cutoff_lists_each_residue_once() -> None:
    rng = np.random.default_rng(5)
    points = rng.uniform(0.0, 1.0, size=(1, 6, 3)).astype(np.float32)
    for box in (np.eye(3), np.array([[1.0, 0, 0], [0.3, 1.0, 0], [0, 0.2, 1.0]])):
        found = find_neighbors(points, 8, 2.0, box)
        assert np.all(
            np.sort(found[0, :, :5])
            == np.sort([[j for j in range(6) if j != i] for i in range(6)])
        )
        assert np.all(found[0, :, 5:] == -1)


def test_residues_on_one_point_do_not_hide_each_other() -> None:
    found = find_neighbors(np.zeros((1, 5, 3), np.float32), 3, 1.0)
    for i in range(5):
        assert i not in found[0, i]
        assert len(set(found[0, i])) == 3


def test_one_residue_alone_has_no_neighbors() -> None:
    assert np.all(find_neighbors(np.zeros((2, 1, 3)), 4, 1.0) == -1)


def test_a_position_that_is_not_finite_is_named() -> None:
    positions = np.zeros((2, 3, 3))
    positions[1, 2, 0] = np.nan
    with pytest.raises(GeometryError, match="residue 2 in frame 1"):
        find_neighbors(positions, 4, 1.0)
