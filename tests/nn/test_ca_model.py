"""The flagship as a model file: contract, equivariance, chirality, samples."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.geometry.vectors import compute_distance
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_model import CA_NOISE_WIDTH, CAModel
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.nn.ca_noise import compute_shift, estimate_noise
from openmm_backmap.packing.contact_network import ContactNetwork
from openmm_backmap.packing.pack import Packer


@pytest.fixture(scope="module")
def model() -> CAModel:
    """Model of a small random network."""
    torch.manual_seed(3)
    network = CANetwork(width=32, n_layers=1, n_heads=4, edge_width=16)
    flat = torch.zeros(4, 36, 36)
    return CAModel(CADecoder(network), Packer(), flat, n_neighbors=12).eval()


def make_inputs(protein: SimpleNamespace, n: int = 40, n_frames: int = 1) -> list:
    """Contract arguments for the first n residues in two segments."""
    beads = np.repeat(protein.positions[:, :n, 1:2], n_frames, 0)
    noise = np.random.default_rng(0).normal(0, 1e-3, beads.shape)
    beads = (beads + noise).astype(np.float32)
    return [
        torch.from_numpy(beads),
        torch.from_numpy(protein.residue_type[:n]),
        (torch.arange(n) >= n // 2).long(),
        torch.from_numpy(find_neighbors(beads[:, :, 0], 24, 1.6)),
        torch.zeros(n_frames, 3, 3),
    ]


def compute_hand(positions: Tensor, residue_type: Tensor) -> Tensor:
    """Signed volume at CA of all residues but glycine; positive is L."""
    n, ca, c, cb = (positions[:, :, k] for k in (0, 1, 2, 4))
    volume = (torch.linalg.cross(n - ca, c - ca, dim=-1) * (cb - ca)).sum(-1)
    return volume[:, residue_type != 7]


@torch.no_grad()
@pytest.mark.parametrize("sampled", [False, True])
def test_a_moved_trace_gives_the_moved_atoms(
    model: CAModel, protein: SimpleNamespace, sampled: bool
) -> None:
    inputs = make_inputs(protein)
    noise = torch.randn(1, 40, CA_NOISE_WIDTH) if sampled else None
    positions, _ = model(*inputs, noise)
    rng = np.random.default_rng(1)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.sign(np.linalg.det(rotation))
    turn = torch.from_numpy(rotation.astype(np.float32))
    moved, _ = model(inputs[0] @ turn.T, *inputs[1:], noise)
    error = (moved - positions @ turn.T).norm(dim=-1)[positions.abs().sum(-1) > 0]
    # rounding may tip single choices between equal rotamers
    assert float(error.quantile(0.9)) < 1e-4


@torch.no_grad()
def test_a_mirrored_trace_still_gives_l_residues(
    model: CAModel, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein)
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    for beads in (inputs[0], inputs[0] * mirror):
        positions, _ = model(beads, *inputs[1:])
        assert bool((compute_hand(positions, inputs[1]) > 0).all())


@torch.no_grad()
def test_torchscript_gives_what_eager_gives(
    model: CAModel, protein: SimpleNamespace
) -> None:
    scripted = torch.jit.script(model)
    for n, n_frames, sampled in ((40, 2, False), (25, 3, True)):
        inputs = make_inputs(protein, n, n_frames)
        noise = torch.randn(n_frames, n, CA_NOISE_WIDTH) if sampled else None
        eager, confidence = model(*inputs, noise)
        again, sure = scripted(*inputs, noise)
        assert torch.allclose(eager, again, atol=1e-4)
        assert torch.allclose(confidence, sure, atol=1e-3)


@torch.no_grad()
def test_samples_differ_and_the_same_noise_gives_the_same_atoms(
    model: CAModel, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein)
    noise = torch.randn(2, 1, 40, CA_NOISE_WIDTH)
    first, _ = model(*inputs, noise[0])
    again, _ = model(*inputs, noise[0])
    other, _ = model(*inputs, noise[1])
    assert torch.equal(first, again)
    assert float((first - other).norm(dim=-1).mean()) > 0.02


def small_groups(model: CAModel) -> CAModel:
    """The same model, one frame of 30 residues at a time."""
    return CAModel(
        model.decoder,
        model.packer,
        model.ramachandran,
        12,
        residues_at_once=30,
    ).eval()


@torch.no_grad()
def test_a_frame_does_not_depend_on_its_batch(
    model: CAModel, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein, 30, 3)
    together, _ = small_groups(model)(*inputs)
    beads, kind, chain, near, box = inputs
    alone, _ = model(beads[1:2], kind, chain, near[1:2], box[1:2])
    assert torch.allclose(together[1:2], alone, atol=1e-4)


@torch.no_grad()
def test_a_neighbor_through_the_box_is_a_neighbor(
    model: CAModel, protein: SimpleNamespace
) -> None:
    """The second segment one box further on changes nothing but its place."""
    beads, kind, chain, near, _ = make_inputs(protein)
    box = torch.diag(torch.tensor([5.0, 5.0, 5.0]))[None]
    hop = (chain == 1).view(1, -1, 1, 1) * box[:, 2].view(1, 1, 1, 3)
    sigma = torch.zeros(1, 40)
    here = model.compute_features(beads[:, :, 0], kind, chain, near, box, sigma)
    there = model.compute_features(
        (beads + hop)[:, :, 0], kind, chain, near, box, sigma
    )
    assert torch.allclose(here, there, atol=1e-3)


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.02])
def test_noise_is_estimated_from_bonds(protein: SimpleNamespace, sigma: float) -> None:
    rng = np.random.default_rng(2)
    ca = protein.positions[:, :, 1]
    ca = ca + rng.normal(0, sigma, (20, *ca.shape[1:]))
    chain = torch.from_numpy(protein.chain_index)
    cis = torch.zeros(20, ca.shape[1], dtype=torch.bool)
    found = estimate_noise(torch.from_numpy(ca), cis, chain)[:, 0]
    assert float(found.mean()) == pytest.approx(sigma, abs=0.003)


def test_noise_of_a_chain_is_its_own(protein: SimpleNamespace) -> None:
    rng = np.random.default_rng(3)
    ca = torch.from_numpy(protein.positions[:1, :, 1])
    n = ca.shape[1]
    shaken = ca + torch.from_numpy(rng.normal(0, 0.02, ca.shape)).float()
    both = torch.cat((ca, shaken + 5.0, ca[:, :3]), 1)
    chain = torch.cat((torch.zeros(n), torch.ones(n), torch.full((3,), 2.0))).long()
    cis = torch.zeros(both.shape[:2], dtype=torch.bool)
    found = estimate_noise(both, cis, chain)[0]
    alone = estimate_noise(ca, cis[:, :n], chain[:n])[0]
    assert torch.equal(found[:n], alone)
    assert float(found[n]) == pytest.approx(0.02, abs=0.004)
    assert float(found[-1]) < 0.003


@torch.no_grad()
def test_bonds_are_whole_even_on_a_noisy_trace(
    model: CAModel, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein)
    noise = np.random.default_rng(3).normal(0, 0.03, inputs[0].shape)
    inputs[0] = inputs[0] + torch.from_numpy(noise.astype(np.float32))
    positions, _ = model(*inputs)
    peptide = compute_distance(positions[:, :-1, 2], positions[:, 1:, 0])
    peptide = peptide[:, inputs[2][:-1] == inputs[2][1:]]
    assert float((peptide - 0.133).abs().max()) < 0.0133


def test_the_shift_of_a_trace_is_taken_a_segment() -> None:
    ca = torch.zeros(2, 5, 3)
    moved = ca.clone()
    moved[0, :2, 0] = torch.tensor([0.03, 0.04])
    moved[1, 4, 2] = -0.01
    shift = compute_shift(moved, ca, torch.tensor([0, 0, 1, 1, 1]))
    first = (0.5 * (0.03**2 + 0.04**2)) ** 0.5
    wanted = [[first, first, 0.0, 0.0, 0.0], [0.0, 0.0, *[0.01 / 3**0.5] * 3]]
    torch.testing.assert_close(shift, torch.tensor(wanted))


@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.03])
def test_contacts_are_read_however_noisy_the_trace(
    model: CAModel, protein: SimpleNamespace, sigma: float
) -> None:
    inputs = make_inputs(protein)
    push = np.random.default_rng(7).normal(0, sigma, inputs[0].shape)
    inputs[0] = inputs[0] + torch.from_numpy(push.astype(np.float32))
    torch.manual_seed(3)
    network = ContactNetwork().eval()
    torch.nn.init.normal_(network.candidate[-1].weight, std=3.0)
    try:
        with torch.no_grad():
            plain = model(*inputs)[0]
            model.packer.contacts = network
            rated = model(*inputs)[0]
    finally:
        model.packer.contacts = None
    moved = compute_shift(plain[:, :, 1], inputs[0][:, :, 0], inputs[2]).max()
    assert (moved > 0.008) == (sigma > 0.0)
    assert torch.equal(plain[:, :, :4], rated[:, :, :4])
    assert (plain - rated).abs().amax((0, 2, 3)).gt(0.05).sum() > 3
