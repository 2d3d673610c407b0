"""`vae`: network, encoder and loss."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from e3nn import o3

from openmm_backmap.builder.extract import torsions_from_atoms
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.nn.vae_encoder import VAEEncoder
from openmm_backmap.nn.vae_loss import TERM_NAMES, VAELoss
from openmm_backmap.nn.vae_network import VAENetwork

N = 40


def make_network(n_latent: int = 6) -> VAENetwork:
    """A small network that listens to its latents."""
    torch.manual_seed(1)
    network = VAENetwork(32, 2, 4, 16, 0.0, n_latent, 8, 4, 2)
    torch.nn.init.normal_(network.fusion.out.weight, std=0.3)
    if n_latent:
        network.encoder = VAEEncoder(32, n_latent, 16, 16)
        torch.nn.init.normal_(network.encoder.out.weight, std=0.3)
    return network


@pytest.fixture
def batch(protein: SimpleNamespace) -> SimpleNamespace:
    """Forty residues in two segments, with their torsions."""
    kind = torch.from_numpy(protein.residue_type[:N])
    atoms = torch.from_numpy(protein.positions[:1, :N])
    segment = (torch.arange(N) >= N // 2).long()
    found = torsions_from_atoms(
        atoms, torch.from_numpy(protein.mask[:N]), kind, segment
    )
    unit = found.unit_mask[..., None]
    parts = (found.alpha[..., None], found.twist[..., None], found.end_torsion)
    ca = atoms[:, :, 1]
    return SimpleNamespace(
        ca=ca,
        kind=kind,
        segment=segment,
        near=torch.from_numpy(find_neighbors(ca.numpy(), 8, 2.0)),
        sigma=torch.zeros(1, N),
        target=torch.nan_to_num(torch.cat((*parts, found.chi), -1)),
        known=torch.cat((unit, unit, found.end_mask, found.chi_mask), -1),
        is_cis=found.is_cis,
    )


def score(
    network: VAENetwork, batch: SimpleNamespace, *, training: bool, progress: float
) -> tuple[torch.Tensor, dict[str, float]]:
    """Loss and the values of the terms."""
    loss = VAELoss(geometry_share=1.0).train(training)
    torch.manual_seed(2)
    value, total, count, _ = loss(
        network.train(training),
        *(batch.ca, batch.kind, batch.segment, batch.near, batch.sigma),
        *(batch.target, batch.known, batch.is_cis),
        torch.tensor(progress),
    )
    means = (total / count.clamp(min=1.0))[10:].tolist()
    return value, dict(zip(TERM_NAMES, means, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("sampled", [False, True])
def test_features_do_not_change_when_the_trace_moves(
    batch: SimpleNamespace, sampled: bool
) -> None:
    network = make_network().eval()
    rest = (batch.kind, batch.segment, batch.near, None, batch.sigma)
    noise = torch.randn(1, N, 6) if sampled else None
    h = network(batch.ca, *rest, noise)
    for _ in range(4):
        moved = batch.ca @ o3.rand_matrix().T + torch.randn(3)
        assert float((network(moved, *rest, noise) - h).abs().max()) < 1e-3


@torch.no_grad()
def test_features_know_the_hand_of_a_helix(batch: SimpleNamespace) -> None:
    network = make_network().eval()
    rest = (batch.kind, batch.segment, batch.near, None, batch.sigma)
    mirrored = batch.ca * torch.tensor([-1.0, 1.0, 1.0])
    difference = network(mirrored, *rest) - network(batch.ca, *rest)
    assert float(difference.abs().mean()) > 0.01


@torch.no_grad()
def test_latents_of_neighbours_are_heard(batch: SimpleNamespace) -> None:
    network = make_network().eval()
    rest = (batch.kind, batch.segment, batch.near, None, batch.sigma)
    noise = torch.zeros(1, N, 6)
    plain = network(batch.ca, *rest, noise)
    assert torch.allclose(plain, network(batch.ca, *rest))
    noise[0, 10] = 2.0
    changed = (network(batch.ca, *rest, noise) - plain).abs().amax(-1)[0] > 1e-6
    heard = (batch.near[0] == 10).any(-1)
    heard[10] = True
    assert torch.equal(changed, heard)


@torch.no_grad()
def test_the_posterior_starts_at_the_prior_and_reads_the_atoms(
    batch: SimpleNamespace,
) -> None:
    network = make_network().eval()
    h, graph = network.trunk(
        batch.ca, batch.kind, batch.segment, batch.near, None, batch.sigma
    )
    mean, spread = network.compute_prior(h)
    has_atom = torch.ones(N, 14, dtype=torch.bool)
    offset = 0.2 * torch.randn(N, 14, 3)

    def encode(turn: torch.Tensor, atoms: torch.Tensor) -> torch.Tensor:
        h, graph = network.trunk(
            batch.ca @ turn.T, batch.kind, batch.segment, batch.near, None, batch.sigma
        )
        return network.encoder(
            h, graph, mean, spread, batch.kind, atoms @ turn.T, has_atom,
            batch.target[0], batch.known[0],
        )[0]  # fmt: skip

    plain = encode(torch.eye(3), offset)
    assert float((encode(o3.rand_matrix(), offset) - plain).abs().max()) < 1e-3
    assert float((encode(torch.eye(3), offset * 1.5) - plain).abs().mean()) > 0.01
    torch.nn.init.zeros_(network.encoder.out.weight)
    assert torch.allclose(encode(torch.eye(3), offset), mean)


@torch.no_grad()
def test_what_is_unknown_does_not_reach_the_encoder(batch: SimpleNamespace) -> None:
    network = make_network()
    batch.known[0, 12] = False
    _, terms = score(network, batch, training=True, progress=1.0)
    batch.target[0, 12] = 1.0
    _, again = score(network, batch, training=True, progress=1.0)
    for name in ("kl", "posterior_nll"):
        assert terms[name] == pytest.approx(again[name], rel=1e-5)


def test_every_weight_learns(batch: SimpleNamespace) -> None:
    network = make_network()
    loss, terms = score(network, batch, training=True, progress=1.0)
    loss.backward()
    silent = [k for k, p in network.named_parameters() if p.grad is None]
    assert not silent
    assert all(bool(torch.isfinite(p.grad).all()) for p in network.parameters())
    assert all(np.isfinite(v) and v > 0.0 for v in terms.values())


@torch.no_grad()
def test_terms_come_in_on_schedule(batch: SimpleNamespace) -> None:
    network = make_network()
    values = [
        float(score(network, batch, training=True, progress=p)[0])
        for p in (0.0, 0.02, 0.29, 0.5, 1.0)
    ]
    assert values[0] == pytest.approx(values[1])
    assert values[1] < values[2] < values[3] == pytest.approx(values[4])


@torch.no_grad()
def test_without_latents_there_is_no_encoder_to_call(batch: SimpleNamespace) -> None:
    network = make_network(0)
    assert network.encoder is None
    value, terms = score(network, batch, training=True, progress=1.0)
    assert np.isfinite(float(value)) and terms["kl"] == 0.0
    assert not any(p.requires_grad for p in network.prior.parameters())


@torch.no_grad()
def test_evaluation_scores_the_prior_alone(batch: SimpleNamespace) -> None:
    network = make_network()
    value, terms = score(network, batch, training=False, progress=1.0)
    torch.nn.init.normal_(network.encoder.out.weight, std=3.0)
    again, other = score(network, batch, training=False, progress=1.0)
    assert float(value) == float(again)
    assert terms["kl"] != other["kl"]
