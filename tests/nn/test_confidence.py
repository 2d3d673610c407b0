"""The map from the packing's confidence to the one that is shown."""

import numpy as np
import pytest
import torch

from openmm_backmap.nn.confidence import N_TERMS, ConfidenceMap
from openmm_backmap.training.fit_confidence import fit_terms

N = 60


@pytest.fixture
def fitted() -> ConfidenceMap:
    """A map like the shipped one."""
    found = ConfidenceMap()
    found.table = found.table**1.3
    found.weight = torch.tensor(
        [-0.6, 0.9, 0.5, -0.2, 0.0, -0.1, -0.3, -0.3, 0.2, -1.0, -0.3, 0.0]
    )
    return found


@pytest.fixture
def inputs(rng: np.random.Generator) -> list[torch.Tensor]:
    """Confidences of two frames of two chains, none of whose CAs were moved."""
    return [
        torch.from_numpy(rng.uniform(0.1, 1.0, (2, N)).astype(np.float32)),
        torch.from_numpy(rng.integers(0, 20, N)),
        torch.arange(N) // 25,
        torch.zeros(2, N),
        torch.zeros(2, N) > 0,
    ]


def test_a_map_as_made_changes_nothing(inputs: list[torch.Tensor]) -> None:
    assert torch.allclose(ConfidenceMap()(*inputs), inputs[0], atol=2e-4)


def test_scripted_equals_eager(
    fitted: ConfidenceMap, inputs: list[torch.Tensor]
) -> None:
    scripted = torch.jit.script(fitted)
    assert torch.allclose(scripted(*inputs), fitted(*inputs), atol=1e-6)


def test_a_stretch_is_the_mean_of_side_chains_around(
    fitted: ConfidenceMap, inputs: list[torch.Tensor]
) -> None:
    confidence, kind, segment, *_ = inputs
    terms = fitted.compute_terms(*inputs)
    assert terms.shape == (2, N, N_TERMS)
    turns = ~np.isin(kind.numpy(), (0, 7, 14))  # ALA, GLY, PRO
    grid = np.linspace(0.0, 1.0, 21)
    sure = np.interp(confidence.numpy(), grid, fitted.table.numpy())
    for frame in range(2):
        for i in range(N):
            near = [
                j
                for j in range(max(i - 15, 0), min(i + 16, N))
                if segment[j] == segment[i] and turns[j]
            ]
            mean = sure[frame, near].mean()
            assert terms[frame, i, 2] == pytest.approx(
                np.log(mean / (1.0 - mean)), abs=1e-4
            )
    assert not terms[..., 3:].any()


def test_no_residue_sees_another_chain(
    fitted: ConfidenceMap, inputs: list[torch.Tensor]
) -> None:
    before = fitted(*inputs)
    inputs[0] = inputs[0].clone()
    inputs[0][0, 25:] = 0.2
    after = fitted(*inputs)
    assert torch.allclose(before[0, :25], after[0, :25], atol=1e-6)
    assert torch.equal(before[1], after[1])
    assert (before[0, 25:] - after[0, 25:]).abs().max() > 0.1


def test_moved_traces_are_less_sure(
    fitted: ConfidenceMap, inputs: list[torch.Tensor]
) -> None:
    found = [fitted(*inputs)]
    for shift in (0.005, 0.02, 0.05, 0.5):
        inputs[3] = torch.full((2, N), shift)
        found.append(fitted(*inputs))
    means = [float(f.mean()) for f in found]
    assert means[0] > means[1] > means[2] > means[3]
    # the fit has seen no larger ones
    assert torch.equal(found[3], found[4])


def test_centers_of_mass_have_terms_of_their_own(
    fitted: ConfidenceMap, inputs: list[torch.Tensor]
) -> None:
    plain = fitted(*inputs)
    inputs[4] = torch.arange(N).expand(2, -1) % 3 == 0
    told = fitted(*inputs)
    assert (told[:, ::3] < plain[:, ::3]).all()
    assert torch.equal(told[:, 1::3], plain[:, 1::3])
    # the shift is that of a trace that was guessed: it tells nothing
    inputs[3] = torch.full((2, N), 0.04)
    assert torch.equal(fitted(*inputs)[:, ::3], told[:, ::3])


def test_the_regression_finds_what_made_the_outcomes(
    rng: np.random.Generator,
) -> None:
    truth = np.array([-0.5, 0.8, 0.4, -0.3, 0.0, 0.1, -0.2, -0.3, 0.2, 0.5, -0.1, 0.0])
    terms = rng.normal(size=(200_000, N_TERMS))
    odds = terms @ truth
    is_right = (rng.random(len(odds)) < 1.0 / (1.0 + np.exp(-odds))).astype(float)
    found = fit_terms(terms, is_right, np.ones(len(odds)))
    # standard errors of about 0.006
    assert np.abs(found - truth).max() < 0.03
    # a row of weight three counts as three rows
    few = slice(0, 500)
    weights = rng.integers(1, 4, 500)
    once = fit_terms(terms[few], is_right[few], weights.astype(float))
    often = fit_terms(
        np.repeat(terms[few], weights, 0),
        np.repeat(is_right[few], weights),
        np.ones(weights.sum()),
    )
    assert np.abs(once - often).max() < 1e-3
