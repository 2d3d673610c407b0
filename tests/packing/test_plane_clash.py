"""Overlaps of far planes against the sum over all pairs, written out."""

import numpy as np
import pytest
import torch
from torch import Tensor

from openmm_backmap.builder.backbone import build_units, has_next, place_carbonyl_oxygen
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.packing.plane_clash import compute_far_energy

N_PLANES = 3
SLOPE, CEILING = 320.0, 40.0
CONTACT = {  # nm: Bondi radii less 0.6 (polar pairs) or 0.5 A
    "OO": 0.244, "NO": 0.247, "ON": 0.247, "NN": 0.250,
    "CO": 0.272, "OC": 0.272, "CN": 0.275, "NC": 0.275,
}  # fmt: skip


def crowd(rng: np.random.Generator, frames: int, edge: float):
    """Two zigzags across one another, in a box or in none (edge 0)."""
    step = np.arange(9) * 0.33
    zigzag = (np.arange(9) % 2) * 0.19
    flat = np.zeros_like(step)
    one = np.stack((step, zigzag, flat), -1)
    two = np.stack((flat + 1.2, zigzag + 0.05, step - 1.3), -1)
    ca = np.concatenate((one, two)) + rng.normal(size=(frames, 18, 3)) * 0.01
    ca = torch.from_numpy(ca).float()
    box = torch.eye(3).repeat(frames, 1, 1) * edge
    segment = torch.tensor([0] * 9 + [1] * 9)
    kind = torch.from_numpy(rng.integers(0, 20, 18))
    turn = torch.from_numpy(rng.uniform(-3, 3, (N_PLANES, frames, 18))).float()
    units = [
        build_units(
            ca, alpha, torch.zeros_like(alpha), torch.zeros(frames, 18).bool(),
            kind, segment, load_builder_tables(),
        )
        for alpha in turn
    ]  # fmt: skip
    carbon = torch.stack([unit[0] for unit in units], 2)
    nitrogen = torch.stack([unit[1] for unit in units], 2)
    oxygen = place_carbonyl_oxygen(ca.unsqueeze(2), carbon, nitrogen)
    near = find_neighbors(ca.numpy(), 17, 2.5, box.numpy() if edge else None)
    return ca, carbon, oxygen, nitrogen, segment, torch.from_numpy(near), box


def write_out(
    ca: Tensor, atoms: dict, chosen: Tensor, segment: Tensor, edge: float
) -> np.ndarray:
    frames, n = chosen.shape
    unit = has_next(segment)
    total = np.zeros((frames, n, N_PLANES))
    for f in range(frames):
        for i in range(n):
            for j in range(n):
                close = abs(i - j) < 2 and segment[i] == segment[j]
                if close or not (unit[i] and unit[j]):
                    continue
                shift = np.zeros(3)
                if edge:
                    gap = (ca[f, j] - ca[f, i]).numpy()
                    shift = -edge * np.round(gap / edge)
                for p in range(N_PLANES):
                    for pair, contact in CONTACT.items():
                        here = atoms[pair[0]][f, i, p].numpy()
                        there = atoms[pair[1]][f, j, int(chosen[f, j])].numpy() + shift
                        overlap = contact - np.linalg.norm(here - there)
                        total[f, i, p] += np.clip(SLOPE * overlap, 0.0, CEILING)
    return total


@pytest.mark.parametrize("edge", [0.0, 3.1])
def test_far_overlaps_are_those_of_all_pairs(rng, edge: float) -> None:
    ca, carbon, oxygen, nitrogen, segment, near, box = crowd(rng, 2, edge)
    chosen = torch.from_numpy(rng.integers(0, N_PLANES, (2, 18)))
    energy = compute_far_energy(
        carbon, oxygen, nitrogen, chosen, ca, has_next(segment), segment, near, box,
        SLOPE, CEILING,
    )  # fmt: skip
    atoms = {"C": carbon, "O": oxygen, "N": nitrogen}
    expected = write_out(ca, atoms, chosen, segment, edge)
    assert (expected > 1.0).sum() > 10
    np.testing.assert_allclose(energy.numpy(), expected, atol=2e-3)


def test_chains_out_of_reach_cost_nothing(rng) -> None:
    ca, carbon, oxygen, nitrogen, segment, near, box = crowd(rng, 1, 0.0)
    away = torch.where(segment == 1, 5.0, 0.0).view(1, -1, 1)
    far = away.unsqueeze(2)
    chosen = torch.zeros(1, 18, dtype=torch.long)
    energy = compute_far_energy(
        carbon + far, oxygen + far, nitrogen + far, chosen, ca + away,
        has_next(segment), segment, near, box, SLOPE, CEILING,
    )  # fmt: skip
    alone = near.clone()
    alone[segment[near.clamp(min=0)] != segment.view(1, -1, 1)] = -1
    same = compute_far_energy(
        carbon, oxygen, nitrogen, chosen, ca, has_next(segment), segment, alone, box,
        SLOPE, CEILING,
    )  # fmt: skip
    torch.testing.assert_close(energy, same, atol=2e-3, rtol=0.0)
