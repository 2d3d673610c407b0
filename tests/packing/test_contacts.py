"""Ragged searches against brute force."""

import itertools

import numpy as np
import pytest
import torch

from openmm_backmap.packing.atoms import block_points
from openmm_backmap.packing.close_points import expand_rows, find_point_pairs
from openmm_backmap.packing.contacts import (
    compute_image_shift,
    find_surroundings,
    keep_touching,
    list_both_directions,
)


def test_expanded_rows_repeat_each_index() -> None:
    count = torch.tensor([0, 3, 0, 0, 2, 1, 0])
    row, offset = expand_rows(count)
    assert row.tolist() == [1, 1, 1, 4, 4, 5]
    assert offset.tolist() == [0, 1, 2, 0, 1, 0]
    row, offset = expand_rows(torch.zeros(0, dtype=torch.int64))
    assert row.numel() == offset.numel() == 0


@pytest.mark.parametrize("skew", [0.0, 0.3])
def test_image_shift_gives_the_nearest_image(
    rng: np.random.Generator, skew: float
) -> None:
    box = np.diag([3.0, 3.5, 4.0])
    box[1, 0], box[2, 0], box[2, 1] = skew * 3, skew * 3, skew * 3.5
    # contacts: short vectors, then moved by whole cells
    near = rng.uniform(-0.5, 0.5, size=(200, 3))
    cells = rng.integers(-3, 4, size=(200, 3)) @ box
    vector = torch.tensor((near + cells).astype(np.float32))
    boxes = torch.tensor(box.astype(np.float32)).expand(200, 3, 3)
    found = (vector + compute_image_shift(vector, boxes)).numpy()
    np.testing.assert_allclose(found, near, atol=1e-5)


def test_without_a_box_nothing_is_shifted() -> None:
    vector = torch.tensor([[50.0, -3.0, 2.0]])
    assert compute_image_shift(vector, torch.zeros(1, 3, 3)).abs().max() == 0


def make_groups(points: torch.Tensor, group: torch.Tensor, n: int) -> tuple:
    """Blocks of four; the place of each point."""
    count = torch.bincount(group, minlength=n)
    n_blocks = (count + 3) // 4
    start = n_blocks.cumsum(0) - n_blocks
    rank = torch.arange(len(group)) - (count.cumsum(0) - count)[group]
    place = start[group] * 4 + rank
    return block_points(points, place, n_blocks, 4), place


@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_point_pairs_are_those_of_brute_force(
    rng: np.random.Generator, chunk: int
) -> None:
    points = torch.tensor(rng.uniform(0, 1.2, size=(80, 3)).astype(np.float32))
    group = torch.tensor(np.sort(rng.choice([0, 1, 3, 4, 5], size=80)))
    groups, place = make_groups(points, group, 6)
    pairs = torch.tensor(list(itertools.combinations(range(6), 2)))
    shift = torch.tensor(rng.uniform(-0.2, 0.2, size=(len(pairs), 3)))
    shift = shift.float().t().contiguous()
    a, b, distance, pair = find_point_pairs(
        groups, groups, pairs[:, 0], pairs[:, 1], shift, 0.4, 6, chunk
    )
    expected = {}
    for row, (i, j) in enumerate(pairs.tolist()):
        for p in torch.nonzero(group == i).flatten().tolist():
            for q in torch.nonzero(group == j).flatten().tolist():
                d = float((points[q] + shift[:, row] - points[p]).norm())
                if d < 0.4:
                    expected[int(place[p]), int(place[q])] = (d, row)
    found = dict(
        zip(
            zip(a.tolist(), b.tolist(), strict=True),
            zip(distance.tolist(), pair.tolist(), strict=True),
            strict=True,
        )
    )
    assert set(found) == set(expected)
    for key, (d, row) in expected.items():
        assert found[key][1] == row
        assert found[key][0] == pytest.approx(d, abs=1e-5)


def test_each_residue_pair_is_listed_once() -> None:
    # a line of residues, each lists the one after it, and one the one before
    n = 5
    neighbor_index = torch.full((2, n, 2), -1)
    neighbor_index[:, :-1, 0] = torch.arange(1, n)
    neighbor_index[:, 2, 1] = 1
    ca = torch.zeros(2, n, 3)
    ca[:, :, 0] = 0.38 * torch.arange(n)
    near = find_surroundings(
        neighbor_index,
        ca,
        torch.zeros(2, 3, 3),
        torch.zeros(n, dtype=torch.int64),
        torch.tensor([0, 0, 1, 1, 1]),
        torch.full((2 * n,), 0.25),
        0.3,
    )
    found = set(zip(near.first.tolist(), near.second.tolist(), strict=True))
    expected = {(f * n + i, f * n + i + 1) for f in range(2) for i in range(n - 1)}
    assert found == expected
    assert near.first.numel() == len(found)
    first, second, _ = list_both_directions(near)
    both = set(zip(first.tolist(), second.tolist(), strict=True))
    assert both == expected | {(j, i) for i, j in expected}
    assert near.follows.tolist() == [False, True, False, True, True] * 2
    chosen = torch.zeros(2 * n, dtype=torch.bool)
    chosen[[1, n + 4]] = True
    touching = keep_touching(near, chosen)
    kept = set(zip(touching.first.tolist(), touching.second.tolist(), strict=True))
    assert kept == {(0, 1), (1, 2), (n + 3, n + 4)}
    assert touching.shift.shape == (3, 3)
