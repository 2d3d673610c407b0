"""A wide network that starts as a narrow one."""

import dataclasses
from pathlib import Path

import pytest
import torch

from openmm_backmap.errors import DataError
from openmm_backmap.training.checkpoint import save_checkpoint
from openmm_backmap.training.config import ModelConfig
from openmm_backmap.training.step import build_network
from openmm_backmap.training.widen import load_start, widen_state

OLD = ModelConfig(width=32, n_layers=2, n_heads=4, edge_width=16, dropout=0.0)


def outputs(network: torch.nn.Module) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    n, k = 12, 4
    ca = torch.randn(1, n, 3, generator=generator).cumsum(1) * 0.3
    types = torch.randint(0, 20, (n,), generator=generator)
    near = torch.randint(0, n, (1, n, k), generator=generator)
    chain = torch.zeros(n, dtype=torch.int64)
    network.eval()
    with torch.no_grad():
        h = network(ca, types, chain, near, None, torch.zeros(1, n))
        angle = torch.linspace(-3, 3, n)[None]
        known = torch.ones(1, n, dtype=torch.bool)
        backbone = network.backbone_condition(angle, known, angle, known)
        chi = angle[..., None].expand(-1, -1, 4)
        return [
            network.cis_logit(h),
            network.end_logits(h, angle),
            network.twist_logits(h, ~known, angle),
            *(network.chi_logits(h, backbone, chi, i) for i in range(4)),
        ]


def test_doubled_network_gives_the_same_outputs() -> None:
    new = dataclasses.replace(OLD, width=64)
    narrow, wide = build_network(OLD), build_network(new)
    for value in narrow.parameters():
        torch.nn.init.normal_(value, std=0.3)
    wide.load_state_dict(widen_state(narrow.state_dict(), OLD, new, noise=0.0))
    for a, b in zip(outputs(narrow), outputs(wide), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_half_wider_network_is_close_and_noise_moves_it() -> None:
    new = dataclasses.replace(OLD, width=48)
    narrow, wide = build_network(OLD), build_network(new)
    state = narrow.state_dict()
    wide.load_state_dict(widen_state(state, OLD, new, noise=0.0))
    still = outputs(wide)
    wide.load_state_dict(widen_state(state, OLD, new, noise=0.1))
    for a, b, c in zip(outputs(narrow), still, outputs(wide), strict=True):
        assert torch.corrcoef(torch.stack((a.flatten(), b.flatten())))[0, 1] > 0.9
        assert not torch.equal(b, c)


@pytest.mark.parametrize("change", [{"n_layers": 3}, {"width": 16}, {"edge_width": 8}])
def test_other_shapes_are_refused(change: dict) -> None:
    new = dataclasses.replace(OLD, **change)
    with pytest.raises(DataError, match="cannot be widened"):
        widen_state(build_network(OLD).state_dict(), OLD, new)


def test_a_run_starts_from_the_mean_of_several(tmp_path: Path) -> None:
    networks = [build_network(OLD) for _ in range(2)]
    config = {"optimizer": {"total_steps": 1}, "model": dataclasses.asdict(OLD)}
    for name, network in zip("ab", networks, strict=True):
        (tmp_path / name).mkdir()
        weights = network.state_dict()
        state = {"config": config, "network": weights, "average": {"shadow": {}}}
        save_checkpoint(tmp_path / name, state)
    runs = (str(tmp_path / "a"), str(tmp_path / "b"))
    fresh = build_network(OLD)
    load_start(fresh, dataclasses.replace(OLD, start=runs))
    first, second = (network.state_dict() for network in networks)
    for name, value in fresh.state_dict().items():
        torch.testing.assert_close(value, 0.5 * (first[name] + second[name]))
