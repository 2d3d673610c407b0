"""The choice among candidates, and its confidence."""

import math

import pytest
import torch

from openmm_backmap.packing.decide import choose_central, find_unsure, sum_agreeing


def place(points: list[float]) -> torch.Tensor:
    built = torch.zeros(len(points), 14, 3)
    built[:, 6, 0] = torch.tensor(points)
    return built


def sure(n: int) -> torch.Tensor:
    return torch.zeros(n, dtype=torch.bool)


def test_shared_rotamer_beats_the_likeliest_candidate() -> None:
    # two candidates of one rotamer together outweigh a single likelier one
    marginal = torch.tensor([[0.4, 0.3, 0.3], [1.0, 0.0, 0.0]])
    built = place([1.0, 0.1, 0.0, 0.5])
    index = torch.tensor([0, 1, 2, 3])
    assert choose_central(marginal, built, index, 0.05, sure(2)).tolist() == [1, 0]


@pytest.mark.parametrize("power", [1, 3])
def test_least_risk_equals_the_written_out_sum(power: int) -> None:
    generator = torch.Generator().manual_seed(2)
    marginal = torch.rand(5, 4, generator=generator)
    marginal[2, 3] = marginal[4, 1] = 0.0
    index = torch.nonzero(marginal.reshape(-1) > 0).flatten()
    built = torch.zeros(len(index), 14, 3)
    built[:, 5:] = torch.randn(len(index), 9, 3, generator=generator)
    unsure = torch.full((5,), power == 3)
    choice = choose_central(marginal, built, index, 0.0, unsure)
    place_of = {int(k): row for row, k in enumerate(index)}
    for g in range(5):
        risks = {}
        for c in range(4):
            if 4 * g + c in place_of:
                x = built[place_of[4 * g + c], 5:]
                risks[c] = sum(
                    float(marginal[g, d])
                    * float(torch.linalg.norm(x - built[place_of[4 * g + d], 5:]))
                    ** power
                    for d in range(4)
                    if 4 * g + d in place_of
                )
        assert int(choice[g]) == min(risks, key=risks.__getitem__)


def test_improbable_and_missing_candidates_are_not_chosen() -> None:
    # the middle one has the least risk, but hardly any probability
    marginal = torch.tensor([[0.50, 0.02, 0.48]])
    built = place([0.0, 0.5, 1.0])
    index = torch.arange(3)
    assert choose_central(marginal, built, index, 0.05, sure(1)).tolist() == [0]
    none = torch.zeros(1, 3)
    assert choose_central(none, built, index, 0.05, sure(1)).tolist() == [0]


def test_stretches_are_unsure_frame_by_frame() -> None:
    # two frames of 40 residues, of which every fourth has no side chain
    likeliest = torch.full((2, 40), 0.9)
    likeliest[0, 20:] = 0.3
    likeliest[:, ::4] = 0.0
    marginal = torch.stack((likeliest, 0.1 * likeliest), -1).view(80, 2)
    follows = torch.arange(80) % 40 != 0
    unsure = find_unsure(marginal, follows, 0.6, 8).view(2, 40)
    assert not unsure[0, :18].any() and unsure[0, 22:].all()
    assert not unsure[1].any()
    assert not find_unsure(marginal, follows, 0.0, 8).any()
    # what is sure on the other side of a chain end does not count
    follows[20] = False
    cut = find_unsure(marginal, follows, 0.6, 8).view(2, 40)
    assert not cut[0, :20].any() and cut[0, 20:].all() and not cut[1].any()


def test_confidence_adds_up_what_agrees_in_chi1_and_chi2() -> None:
    marginal = torch.tensor([[0.5, 0.3, 0.2], [0.0, 0.0, 0.0]])
    chi = torch.zeros(2, 3, 4)
    # pi-periodic chi2: pi - 0.1 agrees; chi3 does not count; chi1 = 1 differs
    chi[0, 1] = torch.tensor([0.2, math.pi - 0.1, 2.0, 0.0])
    chi[0, 2, 0] = 1.0
    period = torch.full((2, 4), 2.0 * math.pi)
    period[:, 1] = math.pi
    total = sum_agreeing(marginal, chi, torch.zeros(2, dtype=torch.long), period, 0.7)
    torch.testing.assert_close(total, torch.tensor([0.8, 1.0]))
