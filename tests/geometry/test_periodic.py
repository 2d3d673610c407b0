"""Periodic boxes: images, whole chains, lengths and angles."""

import mdtraj
import numpy as np
import openmm
import pytest

from openmm_backmap.geometry.periodic import (
    box_from_lengths_and_angles,
    compute_lengths_and_angles,
    is_orthorhombic,
    minimum_image,
    unwrap_chains,
    wrap_positions,
)

ORTHORHOMBIC = np.diag([3.0, 4.0, 5.0])
TRICLINIC = np.array([[5.0, 0.0, 0.0], [1.3, 4.6, 0.0], [-1.1, 1.7, 4.2]])


def _rotation(rng: np.random.Generator) -> np.ndarray:
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    return turn * np.linalg.det(turn)


@pytest.mark.parametrize("box", [ORTHORHOMBIC, TRICLINIC])
@pytest.mark.parametrize("is_turned", [False, True])
def test_minimum_image_is_the_shortest_of_all_images(
    box: np.ndarray, is_turned: bool
) -> None:
    rng = np.random.default_rng(1)
    if is_turned:
        box = box @ _rotation(rng)
    short = rng.normal(size=(200, 3))
    short *= rng.uniform(0.1, 1.4, size=(200, 1)) / np.linalg.norm(
        short, axis=1, keepdims=True
    )
    shifted = short + rng.integers(-3, 4, size=(200, 3)) @ box
    assert np.allclose(minimum_image(shifted, box), short, atol=1e-10)


@pytest.mark.parametrize("box", [ORTHORHOMBIC, TRICLINIC])
def test_a_wrapped_chain_becomes_whole_again(box: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    bonds = rng.normal(size=(3, 60, 3))
    bonds *= 0.38 / np.linalg.norm(bonds, axis=-1, keepdims=True)
    chain_index = np.repeat([0, 1, 2], 20)
    whole = np.cumsum(bonds, axis=1) + 0.5
    wrapped = wrap_positions(whole, box).astype(np.float32)
    unwrapped = unwrap_chains(wrapped, chain_index, np.stack([box] * 3))
    assert unwrapped.dtype == np.float32
    for chain in range(3):
        mine = chain_index == chain
        moved = unwrapped[:, mine] - unwrapped[:, mine][:, :1]
        meant = whole[:, mine] - whole[:, mine][:, :1]
        assert np.allclose(moved, meant, atol=2e-6)
    # the first residue of each segment stays
    assert np.array_equal(unwrapped[:, ::20], wrapped[:, ::20])


def test_frames_without_a_box_stay_as_they_are() -> None:
    positions = np.random.default_rng(3).normal(size=(2, 9, 3)) * 9.0
    boxes = np.stack([np.zeros((3, 3)), ORTHORHOMBIC])
    unwrapped = unwrap_chains(positions, np.zeros(9, int), boxes)
    assert np.array_equal(unwrapped[0], positions[0])
    assert not np.allclose(unwrapped[1], positions[1])
    assert unwrap_chains(positions, np.zeros(9, int), None) is positions


def test_box_vectors_agree_with_mdtraj() -> None:
    lengths, angles = np.array([5.0, 6.0, 7.0]), np.array([80.0, 95.0, 65.0])
    box = box_from_lengths_and_angles(lengths, np.radians(angles))
    golden = mdtraj.utils.lengths_and_angles_to_box_vectors(*lengths, *angles)
    assert box is not None
    assert np.allclose(box, np.stack(golden), atol=1e-5)
    back = compute_lengths_and_angles(box)
    assert np.allclose(back[0], lengths, atol=1e-5)
    assert np.allclose(np.degrees(back[1]), angles, atol=1e-4)
    # OpenMM accepts what comes out of a reduced cell
    openmm.System().setDefaultPeriodicBoxVectors(*np.diag([3.0, 4.0, 5.0]))


def test_a_cell_of_zeros_is_no_box() -> None:
    right = np.full(3, np.pi / 2)
    assert box_from_lengths_and_angles(np.zeros(3), right) is None
    assert box_from_lengths_and_angles(np.array([1, np.nan, 1]), right) is None
    box = box_from_lengths_and_angles(np.ones(3), right)
    assert box is not None
    assert is_orthorhombic(box)
    assert not is_orthorhombic(TRICLINIC)
