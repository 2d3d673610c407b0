"""The e3nn layers: harmonics, equivariance, handedness."""

import pytest
import torch
from e3nn import get_optimization_defaults, o3

from openmm_backmap.nn.e3_layers import (
    E3Layer,
    E3Sizes,
    compute_harmonics,
    compute_invariants,
)

N, K = 12, 5


@pytest.fixture
def inputs() -> dict[str, torch.Tensor]:
    """A random graph of 12 nodes with a missing neighbour."""
    torch.manual_seed(4)
    frames = o3.rand_matrix(N)
    bias = torch.zeros(N, K, 1)
    bias[3, 2:] = -1e4
    return {
        "h": torch.randn(N, 16),
        "x": torch.randn(N, 3 * 4 + 5 * 2),
        "edge": torch.randn(N, K, 8),
        "direction": torch.nn.functional.normalize(torch.randn(N * K, 3), dim=-1),
        "flat": torch.randint(0, N, (N * K,)),
        "bias": bias,
        "frames": frames,
    }


def run(layer: E3Layer, inputs: dict, turn: torch.Tensor) -> list[torch.Tensor]:
    """Outputs for inputs turned by an orthogonal matrix, x turned back."""
    # features carry even irreps: a mirror acts on directions alone
    wigner = o3.Irreps("4x1e+2x2e").D_from_matrix(turn * torch.det(turn))
    h, x = layer(
        inputs["h"],
        inputs["x"] @ wigner.T,
        inputs["edge"],
        compute_harmonics(inputs["direction"] @ turn.T),
        inputs["flat"],
        inputs["bias"],
        inputs["frames"] @ turn.T,
    )
    return [h, x @ wigner]


def test_harmonics_are_those_of_e3nn() -> None:
    offset = torch.nn.functional.normalize(torch.randn(50, 3), dim=-1)
    expected = o3.spherical_harmonics([0, 1, 2], offset, True, "component")
    assert torch.allclose(compute_harmonics(offset), expected, atol=1e-5)


@torch.no_grad()
def test_a_layer_turns_with_its_input(inputs: dict) -> None:
    layer = E3Layer(16, E3Sizes(6, 4, 2), 8, 4, 0.0).eval()
    plain = run(layer, inputs, torch.eye(3))
    for _ in range(5):
        turned = run(layer, inputs, o3.rand_matrix())
        for a, b in zip(plain, turned, strict=True):
            assert float((a - b).abs().max()) < 1e-4


@torch.no_grad()
def test_a_layer_tells_a_mirrored_trace_apart(inputs: dict) -> None:
    layer = E3Layer(16, E3Sizes(6, 4, 2), 8, 4, 0.0).eval()
    plain = run(layer, inputs, torch.eye(3))
    mirrored = run(layer, inputs, torch.diag(torch.tensor([-1.0, 1.0, 1.0])))
    assert float((plain[0] - mirrored[0]).abs().mean()) > 1e-3


@torch.no_grad()
def test_what_is_no_neighbour_is_not_heard(inputs: dict) -> None:
    layer = E3Layer(16, E3Sizes(6, 4, 2), 8, 4, 0.0).eval()
    plain = run(layer, inputs, torch.eye(3))
    changed = dict(inputs, edge=inputs["edge"].clone())
    changed["edge"][3, 2:] = 7.0
    again = run(layer, changed, torch.eye(3))
    for a, b in zip(plain, again, strict=True):
        assert torch.equal(a, b)


def test_invariants_are_components_and_norms() -> None:
    frames = o3.rand_matrix(1)
    x = torch.randn(1, 2 + 3 + 5)
    found = compute_invariants(x, frames, 2, 1, 1)[0]
    vector = x[0, 2:5]
    assert torch.allclose(found[:2], x[0, :2])
    assert torch.allclose(found[2:5], frames[0] @ vector, atol=1e-5)
    assert float(found[5]) == pytest.approx(float(vector.norm()), abs=1e-3)
    assert float(found[6]) == pytest.approx(float(x[0, 5:].norm()), abs=1e-3)


def test_e3nn_is_left_as_it_was() -> None:
    before = get_optimization_defaults()["jit_mode"]
    E3Layer(8, E3Sizes(2, 2, 0), 4, 2, 0.0)
    assert get_optimization_defaults()["jit_mode"] == before
