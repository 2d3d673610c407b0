"""The flagship's network: invariant, local, scriptable, exportable."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_features import (
    compute_local_frames,
    compute_offset_index,
    extend_trace,
)
from openmm_backmap.nn.ca_network import CANetwork

K = 8


@pytest.fixture(scope="module")
def network() -> CANetwork:
    """Small network with random weights."""
    torch.manual_seed(5)
    return CANetwork(width=32, n_layers=2, n_heads=4, edge_width=16).eval()


def make_inputs(protein: SimpleNamespace, n: int = 40, n_frames: int = 1) -> dict:
    """Arguments of the network for the first n residues, in two segments."""
    ca = protein.positions[:, :n, 1]
    ca = np.repeat(ca, n_frames, 0)
    ca = ca + np.random.default_rng(1).normal(0, 0.002, ca.shape).astype(np.float32)
    near = find_neighbors(ca, K, 2.0)
    return {
        "ca": torch.from_numpy(ca),
        "residue_type": torch.from_numpy(protein.residue_type[:n]),
        "chain_index": (torch.arange(n) >= n // 2).long(),
        "neighbor_index": torch.from_numpy(near),
        "shift": None,
        "sigma": torch.zeros(ca.shape[:2]),
    }


class Everything(nn.Module):
    """All the flagship predicts, as a model file would call it."""

    def __init__(self, network: CANetwork) -> None:
        super().__init__()
        self.decoder = CADecoder(network)

    def forward(
        self,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        shift: Tensor | None,
        sigma: Tensor,
        uniform: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Backbone torsions and chi candidates."""
        d = self.decoder
        h = d.network(ca, residue_type, chain_index, neighbor_index, shift, sigma)
        is_cis = torch.zeros_like(h[..., 0], dtype=torch.bool)
        alpha, twist, end = d.decode_backbone(h, chain_index, is_cis, uniform)
        backbone = d.encode_backbone(alpha, twist, is_cis, chain_index)
        chi, log_p = d.decode_chi(h, backbone, residue_type)
        return alpha, twist, end, chi, log_p


def test_features_do_not_change_when_the_molecule_moves(
    network: CANetwork, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein)
    rng = np.random.default_rng(2)
    with torch.no_grad():
        h = network(**inputs)
        for _ in range(5):
            rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
            rotation *= np.sign(np.linalg.det(rotation))
            turned = torch.from_numpy(rotation.astype(np.float32))
            shift = torch.from_numpy(rng.normal(size=3).astype(np.float32))
            moved = network(**{**inputs, "ca": inputs["ca"] @ turned.T + shift})
            assert torch.allclose(moved, h, atol=2e-3)


def test_a_mirrored_trace_looks_different(
    network: CANetwork, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein)
    mirror = torch.tensor([1.0, 1.0, -1.0])
    with torch.no_grad():
        h = network(**inputs)
        mirrored = network(**{**inputs, "ca": inputs["ca"] * mirror})
    assert float((h - mirrored).abs().max()) > 0.1


def test_frames_of_a_batch_do_not_mix(
    network: CANetwork, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein, n_frames=3)
    with torch.no_grad():
        together = network(**inputs)
        alone = network(
            **{
                **inputs,
                "ca": inputs["ca"][1:2],
                "neighbor_index": inputs["neighbor_index"][1:2],
                "sigma": inputs["sigma"][1:2],
            }
        )
    assert torch.allclose(together[1:2], alone, atol=1e-5)


@pytest.mark.parametrize("n", [16, 32, 70])
def test_messages_by_rows_are_those_of_training(
    network: CANetwork, protein: SimpleNamespace, n: int
) -> None:
    # with gradients all rows go at once, without a few at a time and in place
    inputs = make_inputs(protein, n, 2)
    whole = network(**inputs)
    assert whole.requires_grad
    with torch.no_grad():
        by_rows = network(**inputs)
    torch.testing.assert_close(by_rows, whole.detach(), rtol=1e-5, atol=1e-5)


def test_messages_by_rows_follow_autocast_as_training_does(
    network: CANetwork, protein: SimpleNamespace
) -> None:
    """Teachers of `training.distill` run so."""
    inputs = make_inputs(protein, 90)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        trained = network(**inputs).detach()
        with torch.no_grad():
            by_rows = network(**inputs)
    assert by_rows.dtype == trained.dtype
    # three digits, and terms are summed in another order
    assert torch.allclose(by_rows.float(), trained.float(), atol=0.06)


def test_missing_neighbors_have_no_weight(
    network: CANetwork, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein)
    padded = torch.nn.functional.pad(inputs["neighbor_index"], (0, 4), value=-1)
    with torch.no_grad():
        h = network(**inputs)
        again = network(**{**inputs, "neighbor_index": padded})
    assert torch.allclose(h, again, atol=1e-5)


def test_a_periodic_image_counts_like_a_shifted_copy(
    network: CANetwork, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein)
    box = torch.tensor([3.0, 0.0, 0.0])
    second = (inputs["chain_index"] == 1).view(1, -1, 1)
    moved = inputs["ca"] + second * box
    near, chain = inputs["neighbor_index"], inputs["chain_index"]
    hop = (chain[None, :, None] - chain[near.clamp(min=0)]).float()
    shift = hop.unsqueeze(-1) * box
    with torch.no_grad():
        h = network(**inputs)
        again = network(**{**inputs, "ca": moved, "shift": shift})
    assert torch.allclose(h, again, atol=1e-4)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_the_shortest_segments_give_finite_features(
    network: CANetwork, protein: SimpleNamespace, n: int
) -> None:
    inputs = make_inputs(protein, 4)
    short = {
        "ca": inputs["ca"][:, :n],
        "residue_type": inputs["residue_type"][:n],
        "chain_index": torch.zeros(n, dtype=torch.long),
        "neighbor_index": torch.full((1, n, K), -1),
        "shift": None,
        "sigma": inputs["sigma"][:, :n],
    }
    with torch.no_grad():
        assert bool(torch.isfinite(network(**short)).all())


def test_local_frames_are_right_handed_rotations(protein: SimpleNamespace) -> None:
    inputs = make_inputs(protein)
    before, after = extend_trace(inputs["ca"], inputs["chain_index"])
    frames = compute_local_frames(before, inputs["ca"], after)
    identity = torch.eye(3).expand_as(frames)
    assert torch.allclose(frames @ frames.transpose(-1, -2), identity, atol=1e-5)
    assert torch.allclose(torch.det(frames), torch.ones(frames.shape[:2]), atol=1e-5)


def test_offsets_are_clipped_and_other_segments_have_their_own_row() -> None:
    chain = torch.tensor([0] * 50 + [1])
    near = torch.full((1, 51, 1), -1)
    near[0, 0, 0], near[0, 3, 0], near[0, 49, 0] = 49, 1, 50
    rows = compute_offset_index(chain, near)
    assert rows[0, 0, 0] == 64  # 49 residues on, clipped to 32
    assert rows[0, 3, 0] == 30  # two before
    assert rows[0, 49, 0] == 65  # another segment


@pytest.mark.parametrize("sampled", [False, True])
def test_torchscript_gives_what_eager_gives(
    network: CANetwork, protein: SimpleNamespace, sampled: bool
) -> None:
    model = Everything(network).eval()
    scripted = torch.jit.script(model)
    for n, n_frames in ((40, 1), (17, 3)):
        inputs = make_inputs(protein, n, n_frames)
        uniform = torch.rand(n_frames, n, 5) if sampled else None
        with torch.no_grad():
            eager = model(**inputs, uniform=uniform)
            again = scripted(**inputs, uniform=uniform)
        for a, b in zip(eager, again, strict=True):
            assert torch.allclose(a, b, atol=1e-5, equal_nan=True)


def test_the_network_exports_for_any_length(
    network: CANetwork, protein: SimpleNamespace
) -> None:
    inputs = make_inputs(protein, 40, 2)
    residues = torch.export.Dim("residues", min=8, max=20000)
    frames = torch.export.Dim("frames", min=2, max=1000)
    shapes = {
        "ca": {0: frames, 1: residues},
        "residue_type": {0: residues},
        "chain_index": {0: residues},
        "neighbor_index": {0: frames, 1: residues},
        "shift": None,
        "sigma": {0: frames, 1: residues},
    }
    exported = torch.export.export(
        network, (), kwargs=inputs, dynamic_shapes=shapes, strict=False
    ).module()
    for n, n_frames in ((40, 2), (17, 4), (60, 2)):
        other = make_inputs(protein, n, n_frames)
        with torch.no_grad():
            assert torch.allclose(exported(**other), network(**other), atol=1e-5)
