"""Projection brings odd CA traces into range and leaves good ones alone."""

import numpy as np
import pytest
import torch

from openmm_backmap.builder.conditioning import find_cis, project_ca
from openmm_backmap.geometry.vectors import compute_angle, compute_distance
from openmm_backmap.residues.names import CODES


def trace(protein, frames=1):
    ca = torch.from_numpy(protein.positions[:, :, 1]).expand(frames, -1, -1)
    return (
        ca,
        torch.from_numpy(protein.residue_type),
        torch.from_numpy(protein.chain_index),
    )


def test_a_real_trace_is_returned_untouched(protein) -> None:
    ca, kind, segment = trace(protein)
    assert torch.equal(project_ca(ca, kind, segment), ca)


def test_noisy_traces_come_back_into_range(protein, rng) -> None:
    ca, kind, segment = trace(protein, 16)
    noisy = ca + torch.from_numpy(rng.normal(size=ca.shape) * 0.03).float()
    fixed = project_ca(noisy, kind, segment)
    bond = compute_distance(fixed[:, :-1], fixed[:, 1:]) * 10
    before = compute_distance(noisy[:, :-1], noisy[:, 1:]) * 10
    assert (before - 3.805).abs().max() > 1.0
    assert ((bond > 3.55) & (bond < 4.05)).float().mean() > 0.999
    angle = torch.rad2deg(compute_angle(fixed[:, :-2], fixed[:, 1:-1], fixed[:, 2:]))
    # 150 degrees is where the 1-3 limit of 7.35 A stands
    assert ((angle > 70) & (angle < 154)).float().mean() > 0.999
    error = ((fixed - ca) ** 2).sum(-1).mean().sqrt()
    assert error < ((noisy - ca) ** 2).sum(-1).mean().sqrt()


def test_projection_is_local(protein, rng) -> None:
    ca, kind, segment = trace(protein)
    broken = ca.clone()
    broken[:, 50] += torch.tensor([0.08, 0.0, 0.05])
    fixed = project_ca(broken, kind, segment)
    assert torch.equal(fixed[:, :15], ca[:, :15])
    assert torch.equal(fixed[:, 85:], ca[:, 85:])
    assert (fixed[:, 50] - broken[:, 50]).norm() > 0.01


def test_a_short_bond_is_cis_only_before_proline_and_among_quiet_bonds() -> None:
    kind = torch.full((8,), CODES.index("A"))
    kind[4] = CODES.index("P")
    ca = torch.zeros(1, 8, 3)
    ca[0, :, 0] = torch.tensor([0, 0.38, 0.76, 1.14, 1.435, 1.815, 2.195, 2.575])
    segment = torch.zeros(8, dtype=torch.long)
    assert find_cis(ca, kind, segment).nonzero().tolist() == [[0, 3]]
    kind[4] = CODES.index("A")
    assert not find_cis(ca, kind, segment).any()
    kind[4] = CODES.index("P")
    ca[0, 6:, 0] += 0.06  # the next bond is stretched: a trace that fluctuates
    assert not find_cis(ca, kind, segment).any()


def test_segments_are_projected_apart(rng) -> None:
    kind = torch.zeros(12, dtype=torch.long)
    segment = torch.tensor([0] * 6 + [1] * 6)
    ca = torch.zeros(1, 12, 3)
    ca[0, :, 0] = torch.arange(12) * 0.33
    ca[0, :, 1] = (torch.arange(12) % 2) * 0.19
    ca[0, 6:, 2] += 3.0
    fixed = project_ca(ca, kind, segment)
    assert (fixed[0, 5] - fixed[0, 6]).norm() > 2.5
    assert np.isfinite(fixed.numpy()).all()


def test_the_straight_angles_of_a_random_chain_are_bent(rng) -> None:
    # a chain without an angle term, as many force fields have: soft bonds
    n = 400
    step = torch.zeros(n, 3)
    step[0, 0] = 1.0
    for k in range(1, n):
        side = torch.from_numpy(rng.normal(size=3)).float()
        side = torch.linalg.cross(step[k - 1], side)
        side = side / side.norm()
        bend = float(rng.uniform(0.0, np.radians(90.0)))
        step[k] = np.cos(bend) * step[k - 1] + np.sin(bend) * side
    bond = 0.38 + 0.012 * torch.from_numpy(rng.normal(size=(n, 1))).float()
    ca = (bond * step).cumsum(0)[None]
    kind, segment = torch.zeros(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)

    def across(trace: torch.Tensor) -> torch.Tensor:
        return compute_distance(trace[:, :-2], trace[:, 2:])

    assert (across(ca) > 0.735).float().mean() > 0.2
    fixed = project_ca(ca, kind, segment)
    bond = compute_distance(fixed[:, :-1], fixed[:, 1:])
    assert (across(fixed) > 0.738).float().mean() < 0.02
    assert bond.min() > 0.365
    assert bond.max() < 0.395


def test_the_cis_units_of_a_segment_are_its_own_affair() -> None:
    # the first and the last unit of the second of two segments
    kind = torch.full((13,), CODES.index("A"))
    kind[[8, 12]] = CODES.index("P")
    segment = torch.tensor([0] * 7 + [1] * 6)
    bond = torch.full((13,), 0.38)
    bond[[8, 12]] = 0.295
    ca = torch.zeros(1, 13, 3)
    ca[0, :, 0] = bond.cumsum(0)
    ca[0, 7:, 1] = 3.0
    assert find_cis(ca, kind, segment).nonzero().tolist() == [[0, 7], [0, 11]]
    # a stretched bond two units away, in the first segment or round the circle
    for end, step in ((6, 0.05), (0, -0.05)):
        moved = ca.clone()
        moved[0, end, 0] += step
        assert find_cis(moved, kind, segment).nonzero().tolist() == [[0, 7], [0, 11]]
    # and one in its own
    ca[0, 10:, 0] += 0.05
    assert not find_cis(ca, kind, segment).any()


@pytest.mark.parametrize("direction", [(1.0, 0, 0), (0, 0, 1.0), (1.0, 1, 1)])
def test_a_trace_on_a_line_leaves_it(direction: tuple[float, float, float]) -> None:
    axis = torch.tensor(direction) / torch.tensor(direction).norm()
    ca = (torch.arange(30).view(1, -1, 1) * 0.38) * axis
    ca[0, 15:] += 5.0
    kind = torch.zeros(30, dtype=torch.long)
    segment = torch.tensor([0] * 15 + [1] * 15)
    fixed = project_ca(ca, kind, segment)
    for part in (fixed[:, :15], fixed[:, 15:]):
        angle = torch.rad2deg(compute_angle(part[:, :-2], part[:, 1:-1], part[:, 2:]))
        bond = compute_distance(part[:, 1:], part[:, :-1])
        # 1-3 distances of 7.35 A are 151 degrees
        assert bool((angle < 155.0).all())
        assert bool(((bond > 0.36) & (bond < 0.40)).all())
