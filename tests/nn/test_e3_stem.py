"""e3nn layers in front of the flagship's."""

import torch

from openmm_backmap.nn.ca_network import CANetwork


def trace(n: int = 20) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    step = torch.randn(1, n, 3, generator=generator)
    ca = (0.38 * step / step.norm(dim=-1, keepdim=True)).cumsum(1)
    near = torch.cdist(ca, ca).argsort(-1)[..., 1:9]
    types = torch.randint(0, 20, (n,), generator=generator)
    return ca, types, torch.zeros(n, dtype=torch.long), near


def make(n_e3_layers: int) -> CANetwork:
    torch.manual_seed(0)
    return CANetwork(32, 2, 4, 16, 0.0, n_e3_layers).eval()


def test_features_do_not_turn_with_the_trace_and_know_its_hand() -> None:
    network = make(2)
    ca, types, chain, near = trace()
    sigma = torch.zeros(ca.shape[:2])
    turn, _ = torch.linalg.qr(torch.randn(3, 3))
    turn = turn * torch.sign(torch.linalg.det(turn))
    with torch.no_grad():
        h = network(ca, types, chain, near, None, sigma)
        moved = network(ca @ turn.t() + 1.0, types, chain, near, None, sigma)
        mirrored = network(-ca, types, chain, near, None, sigma)
    torch.testing.assert_close(moved, h, atol=1e-4, rtol=1e-4)
    assert (mirrored - h).abs().max() > 1e-2


def test_stem_changes_features_and_scripts_to_the_same() -> None:
    ca, types, chain, near = trace()
    sigma = torch.zeros(ca.shape[:2])
    network = make(1)
    assert make(0).trunk.stem is None
    with torch.no_grad():
        eager = network(ca, types, chain, near, None, sigma)
        scripted = torch.jit.script(network)(ca, types, chain, near, None, sigma)
        for weight in network.trunk.stem.parameters():
            weight.mul_(1.5)
        changed = network(ca, types, chain, near, None, sigma)
    torch.testing.assert_close(scripted, eager, atol=1e-5, rtol=1e-5)
    assert (changed - eager).abs().max() > 1e-3


def test_stem_gets_gradients() -> None:
    network = make(2).train()
    ca, types, chain, near = trace()
    network(ca, types, chain, near, None, torch.zeros(ca.shape[:2])).sum().backward()
    for name, weight in network.trunk.stem.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all()
