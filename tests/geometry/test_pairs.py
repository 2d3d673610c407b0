"""Pairs closer than a cutoff, against all pairs by hand."""

import itertools

import numpy as np
import pytest

from openmm_backmap.geometry.pairs import (
    compute_pair_distances,
    find_close_pairs,
    find_pairs_between,
)

BOXES = {
    "none": None,
    "zeros": np.zeros((3, 3)),
    "orthorhombic": np.diag([2.0, 2.5, 3.0]),
    "triclinic": np.array([[2.5, 0, 0], [0.6, 2.4, 0], [-0.5, 0.7, 2.3]]),
}


def slow_distance(a, b, box):
    """Nearest of the 125 images around."""
    if box is None or not np.any(box):
        return np.linalg.norm(a - b)
    shifts = np.array(list(itertools.product(range(-2, 3), repeat=3))) @ box
    return np.linalg.norm(a - b + shifts, axis=1).min()


@pytest.mark.parametrize("name", BOXES)
def test_pairs_equal_all_pairs_by_hand(name, rng):
    box, cutoff = BOXES[name], 0.6
    # some points outside of the box, as engines write them
    points = rng.uniform(-1.0, 3.5, (60, 3)) % 2.2 + rng.integers(-1, 2, (60, 1))
    if box is None or not np.any(box):
        points %= 2.2
    wanted = {
        (i, j)
        for i, j in itertools.combinations(range(60), 2)
        if slow_distance(points[i], points[j], box) < cutoff
    }
    found = find_close_pairs(points, cutoff, box)
    assert {tuple(sorted(pair)) for pair in found.tolist()} == wanted
    assert len(found) == len(wanted) > 10
    distance = compute_pair_distances(points, found, box)
    slow = [slow_distance(points[i], points[j], box) for i, j in found]
    np.testing.assert_allclose(distance, slow, atol=1e-9)

    between = find_pairs_between(points[:20], points[20:], cutoff, box)
    crossing = {(i, j - 20) for i, j in wanted if i < 20 <= j}
    assert {tuple(pair) for pair in between.tolist()} == crossing
    assert len(between) == len(crossing) > 3


def test_no_points_give_no_pairs():
    none = np.zeros((0, 3))
    assert find_close_pairs(none, 1.0).shape == (0, 2)
    assert find_pairs_between(none, np.ones((2, 3)), 1.0).shape == (0, 2)
