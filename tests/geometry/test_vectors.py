"""Angles, dihedrals, placement and superposition against mdtraj and numpy."""

import mdtraj
import numpy as np
import torch

from openmm_backmap.geometry.frames import frame_from_axes, to_global, to_local
from openmm_backmap.geometry.internal import place_atom
from openmm_backmap.geometry.superpose import superpose
from openmm_backmap.geometry.vectors import (
    compute_angle,
    compute_dihedral,
    compute_dihedrals_between,
    compute_distance,
    normalize,
    turn_about,
    wrap_angle,
)


def random_points(rng: np.random.Generator, *shape: int) -> torch.Tensor:
    return torch.from_numpy(rng.normal(size=(*shape, 3)))


def test_dihedrals_and_angles_are_those_of_mdtraj(protein_path) -> None:
    trajectory = mdtraj.load(str(protein_path))
    quadruples = np.array([[i, i + 1, i + 2, i + 3] for i in range(0, 700, 3)])
    points = torch.from_numpy(trajectory.xyz)[:, quadruples]
    ours = compute_dihedral(*[points[:, :, k] for k in range(4)])
    theirs = mdtraj.compute_dihedrals(trajectory, quadruples)
    difference = wrap_angle(ours - torch.from_numpy(theirs))
    assert difference.abs().max() < 2e-3  # mdtraj's float32 SIMD loses digits
    ours = compute_angle(*[points[:, :, k] for k in range(3)])
    theirs = mdtraj.compute_angles(trajectory, quadruples[:, :3])
    assert np.abs(ours.numpy() - theirs).max() < 2e-3


def test_a_placed_atom_has_the_asked_for_internal_coordinates(rng) -> None:
    a, b, c = (random_points(rng, 50) for _ in range(3))
    length = torch.from_numpy(rng.uniform(0.1, 0.2, 50))
    angle = torch.from_numpy(rng.uniform(0.5, 2.8, 50))
    torsion = torch.from_numpy(rng.uniform(-np.pi, np.pi, 50))
    d = place_atom(a, b, c, length, angle, torsion)
    assert torch.allclose(compute_distance(c, d), length, atol=1e-9)
    assert torch.allclose(compute_angle(b, c, d), angle, atol=1e-9)
    assert wrap_angle(compute_dihedral(a, b, c, d) - torsion).abs().max() < 1e-9


def test_placing_is_differentiable_everywhere_it_is_used(rng) -> None:
    a, b, c = (random_points(rng, 4).requires_grad_() for _ in range(3))
    one = torch.ones(4, dtype=torch.float64)
    place_atom(a, b, c, one * 0.15, one * 1.9, one * 0.3).sum().backward()
    assert all(torch.isfinite(x.grad).all() for x in (a, b, c))


def test_frames_are_right_handed_and_invertible(rng) -> None:
    frame = frame_from_axes(random_points(rng, 20), random_points(rng, 20))
    assert torch.allclose(torch.linalg.det(frame), torch.ones(20, dtype=torch.float64))
    vector = random_points(rng, 20)
    assert torch.allclose(to_global(frame, to_local(frame, vector)), vector)


def test_superposition_finds_the_rotation_that_was_applied(rng) -> None:
    mobile = random_points(rng, 3, 12)
    quaternion = rng.normal(size=4)
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    rotation = torch.tensor(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ],
        dtype=torch.float64,
    )
    target = mobile @ rotation.T + torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    found, shift = superpose(mobile, target, torch.ones(3, 12, dtype=torch.float64))
    moved = mobile @ found.transpose(1, 2) + shift.unsqueeze(1)
    assert torch.allclose(moved, target, atol=1e-9)
    assert torch.allclose(torch.linalg.det(found), torch.ones(3, dtype=torch.float64))


def test_a_mirror_image_is_not_superposed_by_a_reflection(rng) -> None:
    mobile = random_points(rng, 1, 10)
    target = mobile * torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    found, _ = superpose(mobile, target, torch.ones(1, 10, dtype=torch.float64))
    assert torch.linalg.det(found).item() > 0.99


def test_a_turn_about_an_axis_adds_to_the_dihedral(rng: np.random.Generator) -> None:
    a, b, c, d = torch.from_numpy(rng.normal(size=(4, 30, 3))).unbind(0)
    angle = torch.from_numpy(rng.uniform(-3.0, 3.0, (30, 1)))
    axis = normalize(c - b)
    turned = turn_about(d, b, axis, torch.sin(angle), torch.cos(angle))
    more = compute_dihedral(a, b, c, turned) - compute_dihedral(a, b, c, d)
    off = wrap_angle(more - angle.squeeze(1))
    assert off.abs().max() < 1e-6
    # distances to the axis' points stay, and points of the axis too
    for end in (b, c):
        was = (d - end).norm(dim=-1)
        torch.testing.assert_close((turned - end).norm(dim=-1), was)
    fixed = turn_about(c, b, axis, torch.sin(angle), torch.cos(angle))
    torch.testing.assert_close(fixed, c)


def test_dihedrals_of_all_pairs_are_those_of_each(rng) -> None:
    a, b, c = (random_points(rng, 6, 4) for _ in range(3))
    d = random_points(rng, 6, 5)
    for middle in (c, c[:, :1]):
        ours = compute_dihedrals_between(a, b, middle, d)
        each = compute_dihedral(
            *(x.expand(6, 4, 3)[:, :, None].expand(6, 4, 5, 3) for x in (a, b, middle)),
            d[:, None].expand(6, 4, 5, 3),
        )
        assert ours.shape == (6, 4, 5)
        assert wrap_angle(ours - each).abs().max() < 1e-6
