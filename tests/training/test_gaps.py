"""Gaps: what is left is whole, and the new ends' targets rebuild the structure."""

from pathlib import Path

import numpy as np
import torch

from openmm_backmap.builder.backbone import build_backbone
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.nn.ca_loss import CALoss
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.training.batch import PADDING, collate
from openmm_backmap.training.batches import BatchSampler
from openmm_backmap.training.gaps import draw_gaps, hide_gaps, number_segments
from openmm_backmap.training.prepared import prepare_split
from openmm_backmap.training.shards import find_shards, read_shard
from openmm_backmap.training.step import batch_arguments

N = 40  # residues of the first entry


def test_gaps_lie_within_their_piece() -> None:
    generators = [np.random.default_rng(k) for k in range(200)]
    gaps = [gap for rng in generators for gap in draw_gaps(rng, [30, 10, 200], 0.5)]
    for start, length in gaps:
        assert length > 0
        piece = np.searchsorted([30, 40, 240], start, "right")
        assert start + length <= [30, 40, 240][piece]
    # 0.5 x (3 + 240 / 80) a draw, and no draw without chance
    assert 500 < len(gaps) < 700
    assert not draw_gaps(np.random.default_rng(0), [30], 0.0)


def test_no_gap_leaves_a_crumb() -> None:
    chain = np.repeat([4, 7, 9], [10, 2, 8])
    hidden = hide_gaps(chain, [(2, 3), (14, 1)])
    # two before the gap and two before the other are hidden too, but not the
    # segment that was as short before
    assert np.flatnonzero(hidden).tolist() == [0, 1, 2, 3, 4, 12, 13, 14]
    left = number_segments(chain, hidden)
    assert np.bincount(left[~hidden])[np.unique(left[~hidden])].tolist() == [5, 2, 5]


def test_targets_at_gaps_rebuild_the_structure(data_folder: Path) -> None:
    shards = find_shards(data_folder, "train")
    data = prepare_split(shards, data_folder.parent / "prepared")
    entry = next(read_shard(data_folder / "train_0.npz"))
    truth = torch.from_numpy(entry.positions[0])
    noise = np.zeros((64, 3), np.float32)
    pieces = [(int(data.first[0]), N, 0)]
    batch = collate(data, pieces, [0.0], noise, 64, 8, [(9, 3), (25, 1)])
    gone = torch.zeros(64, dtype=torch.bool)
    gone[[9, 10, 11, 25]] = True
    gone[N:] = True
    assert torch.equal(batch.chain_index >= PADDING, gone)
    assert not batch.known[0, gone].any()
    near = batch.neighbor_index[0]
    assert bool((near[gone] < 0).all()) and not bool(gone[near[near >= 0]].any())
    # psi at three first residues, phi and O at three last ones
    assert batch.known[0, :, 2:5].sum(0).tolist() == [3, 3, 3]
    assert torch.nonzero(batch.known[0, :, 2]).flatten().tolist() == [0, 12, 26]
    built = build_backbone(
        batch.ca, batch.target[..., 0], batch.target[..., 1], batch.is_cis,
        batch.target[..., 2:5], batch.residue_type, batch.chain_index,
        load_builder_tables(),
    )  # fmt: skip
    kept = torch.nonzero(~gone).flatten()
    for slot in (0, 2, 3):
        error = (built[0, kept, slot] - truth[kept, slot]).norm(dim=-1)
        assert float(error.square().mean().sqrt()) < 0.012
        ends = [8, 12, 24, 26]
        # a wrong torsion or frame at an end costs 1 A and more
        assert (
            float((built[0, ends, slot] - truth[ends, slot]).norm(dim=-1).max()) < 0.04
        )


def test_a_sampler_without_gaps_is_as_before(data_folder: Path) -> None:
    shards = find_shards(data_folder, "train")
    data = prepare_split(shards, data_folder.parent / "prepared")
    sizes = {"n_residues": 96, "n_neighbors": 8}
    plain = BatchSampler(data, **sizes).batch(3)
    cut = BatchSampler(data, gap_share=1.0, **sizes).batch(3)
    assert int((cut.chain_index < PADDING).sum()) < int(
        (plain.chain_index < PADDING).sum()
    )
    kept = cut.known[0].any(-1)
    # the same entries under the same noise
    assert torch.equal(cut.residue_type, plain.residue_type)
    assert torch.allclose(cut.ca[0, kept], plain.ca[0, kept], atol=0.05)


def test_a_hidden_type_asks_for_no_chi(data_folder: Path) -> None:
    shards = find_shards(data_folder, "train")
    data = prepare_split(shards, data_folder.parent / "prepared")
    arguments = batch_arguments(
        BatchSampler(data, n_residues=96, n_neighbors=8).batch(0)
    )
    network = CANetwork(width=32, n_layers=1, n_heads=4, edge_width=16)
    torch.manual_seed(0)
    plain, half = CALoss(), CALoss(type_dropout=0.5)
    counts = [loss(network, *arguments)[2] for loss in (plain, half)]
    assert torch.equal(counts[0][:5], counts[1][:5])
    assert 0.2 < float(counts[1][5] / counts[0][5]) < 0.8
    half.eval()
    assert torch.equal(half(network, *arguments)[2], counts[0])
