"""Batches: the same for the same step, whole, and with targets that fit."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from openmm_backmap.builder.backbone import build_backbone
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.training.batch import Batch, turn_azimuth
from openmm_backmap.training.batches import BatchSampler, entry_batches
from openmm_backmap.training.prefetch import prefetch
from openmm_backmap.training.prepared import PreparedSet, prepare_split
from openmm_backmap.training.shards import (
    ShardEntry,
    find_shards,
    read_shard,
    write_shard,
)

SIZES = {"n_residues": 96, "n_neighbors": 8}


@pytest.fixture
def data(data_folder: Path) -> PreparedSet:
    """Prepared train split."""
    return prepare_split(
        find_shards(data_folder, "train"), data_folder.parent / "prepared"
    )


def assert_same(first: Batch, second: Batch) -> None:
    """All tensors are equal."""
    for name, value in vars(first).items():
        assert torch.equal(value, getattr(second, name)), name


def test_a_batch_depends_on_seed_rank_and_step_alone(data: PreparedSet) -> None:
    sampler = BatchSampler(data, seed=3, **SIZES)
    late = sampler.batch(17)
    sampler.batch(2)
    assert_same(BatchSampler(data, seed=3, **SIZES).batch(17), late)
    for other in (
        BatchSampler(data, seed=4, **SIZES).batch(17),
        BatchSampler(data, seed=3, rank=1, **SIZES).batch(17),
        sampler.batch(18),
    ):
        assert not torch.equal(other.ca, late.ca)


def test_processes_that_prepare_at_once_make_one_set(
    data_folder: Path, tmp_path: Path
) -> None:
    shards = find_shards(data_folder, "train")
    for turn in range(5):
        with ThreadPoolExecutor(4) as pool:
            jobs = [
                pool.submit(prepare_split, shards, tmp_path / str(turn))
                for _ in range(4)
            ]
            made = [job.result() for job in jobs]
        for other in made[1:]:
            assert np.array_equal(other.ca, made[0].ca)


def test_what_is_prepared_is_read_from_a_folder_that_cannot_be_written(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = find_shards(data_folder, "train")
    first = prepare_split(shards, tmp_path / "p")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "mkdir", refuse)
    monkeypatch.setattr("openmm_backmap.training.prepared.wait_for_lock", refuse)
    again = prepare_split(shards, tmp_path / "p")
    assert np.array_equal(again.ca, first.ca)


def test_entries_are_drawn_as_often_as_their_weights_say(
    tmp_path: Path, make_entry: Callable[..., ShardEntry]
) -> None:
    """Of 20 and of 90 residues in batches of 128: long ones were left out."""
    short = [make_entry(k, k + 20, f"short{k}", k) for k in (0, 20, 40)]
    long = [make_entry(k, k + 90, f"long{k}", k + 9) for k in (0, 5)]
    shard = write_shard(tmp_path / "train.npz", [*short, *long], "train")
    data = prepare_split([shard], tmp_path / "prepared")
    sampler = BatchSampler(data, n_residues=128, n_neighbors=8)
    steps = range(640)
    pieces = [p for step in steps for p in sampler._draw_rows(step)]
    of_long = sum(n for row, n, _ in pieces if row >= data.first[3])
    total = sum(n for _, n, _ in pieces)
    wanted = data.weight * data.n_residues
    share = wanted[3:].sum() / wanted.sum()
    assert of_long / total == pytest.approx(share, rel=0.03)
    assert total / (128 * len(steps)) > 0.95
    # in batches of many entries nearly all are whole
    wide = BatchSampler(data, n_residues=512, n_neighbors=8)
    sizes = [n for step in steps for _, n, _ in wide._draw_rows(step)]
    assert np.isin(sizes, (20, 90)).mean() > 0.98
    for step in steps:
        assert sum(n for _, n, _ in wide._draw_rows(step)) <= 512


def test_prefetching_gives_the_batches_in_order(data: PreparedSet) -> None:
    sampler = BatchSampler(data, **SIZES)
    ahead = prefetch(sampler, 5)
    for step in (5, 6, 7):
        assert_same(next(ahead), sampler.batch(step))
    ahead.close()


def test_prefetching_leaves_no_thread_behind(data: PreparedSet) -> None:
    ahead = prefetch(BatchSampler(data, **SIZES), 0, depth=2)
    next(ahead)
    assert "batches" in [thread.name for thread in threading.enumerate()]
    ahead.close()
    assert "batches" not in [thread.name for thread in threading.enumerate()]


def test_an_error_while_prefetching_reaches_the_loop(data: PreparedSet) -> None:
    sampler = BatchSampler(data, **SIZES)
    sampler.noise_share = "often"  # breaks the comparison in the thread
    with pytest.raises(TypeError):
        next(prefetch(sampler, 0))


def test_neighbors_stay_within_their_entry(data: PreparedSet) -> None:
    batch = BatchSampler(data, noise_share=0.0, **SIZES).batch(0)
    near = batch.neighbor_index[0]
    for i in range(96):
        for j in near[i][near[i] >= 0].tolist():
            # the pieces hold one segment each
            assert batch.chain_index[i] == batch.chain_index[j]
            assert float((batch.ca[0, i] - batch.ca[0, j]).norm()) < 2.0


def test_sigma_tells_which_residues_were_moved(data: PreparedSet) -> None:
    sampler = BatchSampler(data, noise_share=0.5, **SIZES)
    batches = [sampler.batch(k) for k in range(8)]
    levels = torch.cat([b.sigma[b.known.any(-1)] for b in batches])
    assert bool((levels == 0).any()) and bool((levels > 0).any())
    assert float(levels.max()) <= 0.03


def test_targets_rebuild_the_structure(data: PreparedSet, data_folder: Path) -> None:
    """Azimuth targets, built, give back the N and C they were measured on."""
    batch = next(entry_batches(data, **SIZES))
    entry = next(read_shard(data_folder / "train_0.npz"))
    goal = batch.target
    built = build_backbone(
        batch.ca, goal[..., 0], goal[..., 1], batch.is_cis, goal[..., 2:5],
        batch.residue_type, batch.chain_index, load_builder_tables(),
    )  # fmt: skip
    n = len(entry.residue_type)
    truth = torch.from_numpy(entry.positions[0])
    moved = (batch.ca[0, :n] - truth[:, 1]).norm(dim=-1)
    assert float(moved.max()) < 0.02  # projection of a real structure is small
    for slot in (0, 2, 3):
        error = (built[0, :n, slot] - truth[:, slot]).norm(dim=-1)
        # ideal lengths and angles on an old structure; a wrong azimuth
        # convention costs 0.5 A and more
        assert float(error.square().mean().sqrt()) < 0.012


def test_azimuths_keep_their_direction_in_space() -> None:
    rng = np.random.default_rng(0)
    steps = torch.from_numpy(rng.normal(size=(1, 12, 3))).double()
    clean = torch.cumsum(0.38 * steps / steps.norm(dim=-1, keepdim=True), 1)
    alpha = torch.from_numpy(rng.uniform(-3, 3, size=(1, 12)))
    chain = torch.zeros(12, dtype=torch.long)
    rotation, _ = torch.linalg.qr(torch.from_numpy(rng.normal(size=(3, 3))))
    rotation = rotation * torch.sign(torch.det(rotation))
    same = turn_azimuth(alpha, clean, clean, chain)
    assert torch.allclose(same, alpha, atol=1e-9)
    # moving one CA along the axis of the unit after it turns nothing there
    along = clean[:, 5] - clean[:, 6]
    moved = clean.clone()
    moved[:, 5] += 0.1 * along
    turned = turn_azimuth(alpha, clean, moved, chain)
    assert torch.allclose(turned[:, 5], alpha[:, 5], atol=1e-9)
    assert torch.allclose(turned[:, 8:10], alpha[:, 8:10], atol=1e-9)


def test_validation_sees_every_entry_once(data: PreparedSet) -> None:
    batches = list(entry_batches(data, **SIZES))
    n = sum(int((b.chain_index < 100000).sum()) for b in batches)
    assert n == int(data.n_residues.sum())
