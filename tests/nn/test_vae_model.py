"""`vae` as a model: equivariance, hand, samples, TorchScript and torch.export."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from e3nn import o3
from torch import Tensor

from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.vae_model import VAEModel
from openmm_backmap.nn.vae_network import VAENetwork
from openmm_backmap.packing.pack import Packer

N = 30


@pytest.fixture(scope="module")
def model() -> VAEModel:
    """Model of a small random network that listens to its latents."""
    torch.manual_seed(3)
    network = VAENetwork(32, 2, 4, 16, 0.0, 6, 8, 4, 2)
    torch.nn.init.normal_(network.fusion.out.weight, std=0.3)
    flat = torch.zeros(4, 36, 36)
    return VAEModel(CADecoder(network), Packer(), flat, 8).eval()


def make_inputs(protein: SimpleNamespace) -> list[Tensor]:
    """Contract arguments for the first residues in two segments."""
    beads = protein.positions[:, :N, 1:2].astype(np.float32)
    return [
        torch.from_numpy(beads),
        torch.from_numpy(protein.residue_type[:N]),
        (torch.arange(N) >= N // 2).long(),
        torch.from_numpy(find_neighbors(beads[:, :, 0], 16, 1.6)),
        torch.zeros(1, 3, 3),
    ]


@torch.no_grad()
@pytest.mark.parametrize("sampled", [False, True])
def test_a_moved_trace_gives_the_moved_proposal(
    model: VAEModel, protein: SimpleNamespace, sampled: bool
) -> None:
    inputs = make_inputs(protein)
    noise = torch.randn(1, N, model.noise_width) if sampled else None
    backbone, chi, _ = model.propose(*inputs, noise)
    turn, shift = o3.rand_matrix(), torch.tensor([1.0, -2.0, 0.5])
    moved, chi2, _ = model.propose(inputs[0] @ turn.T + shift, *inputs[1:], noise)
    assert float((moved - (backbone @ turn.T + shift)).abs().max()) < 1e-4
    assert float(torch.sin(0.5 * (chi2 - chi)).abs().quantile(0.98)) < 1e-3


@torch.no_grad()
def test_a_mirrored_trace_still_gives_l_residues(
    model: VAEModel, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein)
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    for beads in (inputs[0], inputs[0] * mirror):
        atoms, _ = model(beads, *inputs[1:])
        n, ca, c, cb = (atoms[:, :, k] for k in (0, 1, 2, 4))
        volume = (torch.linalg.cross(n - ca, c - ca, dim=-1) * (cb - ca)).sum(-1)
        assert bool((volume[:, inputs[1] != 7] > 0).all())


@torch.no_grad()
def test_samples_differ_by_their_latents_too(
    model: VAEModel, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein)
    noise = torch.randn(1, N, model.noise_width)
    other = noise.clone()
    other[..., 20:] = torch.randn(1, N, 6)
    first, _ = model(*inputs, noise)
    again, _ = model(*inputs, noise)
    third, _ = model(*inputs, other)
    assert torch.equal(first, again)
    assert float((first - third).norm(dim=-1).mean()) > 0.01


@torch.no_grad()
def test_torchscript_and_export_give_what_eager_gives(
    model: VAEModel, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein)
    scripted = torch.jit.script(model)
    for noise in (None, torch.randn(1, N, model.noise_width)):
        eager, _ = model(*inputs, noise)
        # the profiling executor specialises for minutes
        with torch.jit.optimized_execution(False):
            again, _ = scripted(*inputs, noise)
        assert torch.allclose(eager, again, atol=1e-5)
    network, latent = model.decoder.network, torch.randn(1, N, 6)
    beads = inputs[0][:, :, 0]
    sigma = torch.zeros(1, N)
    arguments = (beads, *inputs[1:3], inputs[3][..., :8], None, sigma, latent)
    exported = torch.export.export(network, arguments).module()
    assert torch.allclose(exported(*arguments), network(*arguments), atol=1e-5)
