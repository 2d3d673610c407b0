"""A further set is drawn at its share, and only in training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from openmm_backmap.errors import DataError
from openmm_backmap.training.batches import BatchSampler
from openmm_backmap.training.extra_data import prepare_data, prepare_with_extra
from openmm_backmap.training.loop import Trainer
from openmm_backmap.training.prepared import prepare_split
from openmm_backmap.training.read_config import config_from_dict, load_config
from openmm_backmap.training.shards import find_shards, write_shard


@pytest.fixture
def extra_folder(tmp_path, make_entry):
    folder = tmp_path / "extra"
    pieces = [make_entry(k, k + 8, f"peptide{k}", 5) for k in range(0, 40, 8)]
    # one too short to be prepared
    write_shard(folder / "train_more.npz", [*pieces, make_entry(0, 2, "two")], "train")
    return folder


def measure_share(sampler: BatchSampler) -> float:
    """Share of the residues of 320 batches that comes from the further set."""
    data = sampler.data
    first = data.first[data.n_entries - data.n_extra]
    drawn = [p for k in range(320) for p in sampler._draw_rows(k)]
    extra = sum(n for row, n, _ in drawn if row >= first)
    return extra / sum(n for _, n, _ in drawn)


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_batches_hold_the_share_of_the_further_set(
    share, data_folder, extra_folder, tmp_path
):
    shards = find_shards(data_folder, "train")
    data = prepare_with_extra(shards, [extra_folder], share, tmp_path / "p", 96)
    assert data.entry_id[:3] == ("piece0", "piece20", "piece40")
    assert data.entry_id[3:] == tuple(f"peptide{k}" for k in range(0, 40, 8))
    residues = data.weight * data.n_residues
    assert residues[3:].sum() / residues.sum() == pytest.approx(share)
    # and the sampler agrees
    sampler = BatchSampler(data, n_residues=512)
    assert measure_share(sampler) == pytest.approx(share, rel=0.04)
    # without ensembles the further set keeps its share, and its ensembles
    methods = ("X-RAY", "NMR", "X-RAY", *["MD-GEN"] * 5)
    mixed = replace(data, method=methods)
    sampler = BatchSampler(mixed, n_residues=512, ensembles=False)
    assert measure_share(sampler) == pytest.approx(share, rel=0.04)
    rows = [row for k in range(320) for row, _, _ in sampler._draw_rows(k)]
    assert not [row for row in rows if data.first[1] <= row < data.first[2]]


def test_a_configured_set_is_trained_on_and_not_validated_on(
    make_config, extra_folder, tmp_path
):
    values = make_config().to_dict()
    values["data"]["extra"] = [str(extra_folder)]
    config = config_from_dict(values)
    assert config_from_dict(config.to_dict()) == config
    trainer = Trainer(config, tmp_path / "run")
    assert trainer.train_data.n_entries == 8
    assert trainer.val_data.n_entries == 1
    losses = trainer.run(max_steps=3)
    assert np.isfinite(losses).all()
    # the arrays of the main set alone are left as they are
    assert prepare_data(make_config(), "train").n_entries == 3
    assert prepare_data(config, "train").n_entries == 8


def test_folders_are_relative_to_the_configuration(tmp_path: Path):
    path = tmp_path / "c.toml"
    path.write_text(
        '[data]\nextra = ["generated", "../other"]\nextra_share = 0.25\n'
        "[optimizer]\ntotal_steps = 1\n"
    )
    data = load_config(path).data
    assert data.extra == (
        str(tmp_path / "generated"),
        str(tmp_path.parent / "other"),
    )
    assert data.extra_share == 0.25


@pytest.mark.parametrize("extra", ["generated", [1]])
def test_extra_must_be_a_list_of_folders(extra):
    with pytest.raises(DataError, match="extra = .*not a list of strings"):
        config_from_dict({"data": {"extra": extra}, "optimizer": {"total_steps": 1}})


def test_an_empty_folder_and_a_senseless_share_are_refused(
    data_folder, extra_folder, tmp_path
):
    shards = find_shards(data_folder, "train")
    with pytest.raises(DataError, match="no shard of split 'train'"):
        prepare_with_extra(shards, [tmp_path / "none"], 0.1, tmp_path / "p")
    with pytest.raises(DataError, match="extra_share = 1.0"):
        prepare_with_extra(shards, [extra_folder], 1.0, tmp_path / "p")


def test_clusters_of_one_set_say_nothing_of_another(data_folder, make_entry, tmp_path):
    shards = find_shards(data_folder, "train")
    alone = prepare_split(shards, tmp_path / "alone").weight
    folder = tmp_path / "extra"
    # the numbers of the main set's clusters
    pieces = [make_entry(k, k + 20, f"e{k}", k) for k in (0, 20, 40)]
    write_shard(folder / "train_more.npz", pieces, "train")
    both = prepare_with_extra(shards, [folder], 0.3, tmp_path / "p", 96).weight
    np.testing.assert_allclose(both[:3], alone)


def test_a_run_keeps_its_data_when_others_are_prepared(
    data_folder, extra_folder, tmp_path
):
    data = prepare_split(find_shards(data_folder, "train"), tmp_path / "p")
    before = np.array(data.ca)
    other = prepare_split(find_shards(extra_folder, "train"), tmp_path / "p")
    assert other.data_hash != data.data_hash
    np.testing.assert_array_equal(data.ca, before)
    assert len(other.ca) != len(before)
