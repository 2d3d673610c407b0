"""Entries for the fits: sharp ones first, of many clusters, and never none."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from openmm_backmap.errors import DataError
from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.export_ca import export_ca
from openmm_backmap.training.fit_packing import choose_entries
from openmm_backmap.training.loop import Trainer
from openmm_backmap.training.shards import ShardEntry, write_shard

NAN = float("nan")


@pytest.fixture
def write(tmp_path: Path, make_entry: Callable[..., ShardEntry]) -> Callable:
    """Give a function that writes entries of 70 residues and some resolutions."""

    def write(*resolutions: float) -> Path:
        entries = [
            dataclasses.replace(make_entry(k, k + 70, f"e{k}", k), resolution=value)
            for k, value in enumerate(resolutions)
        ]
        return write_shard(tmp_path / "own" / "train.npz", entries, "train")

    return write


def names(entries: list[ShardEntry]) -> list[str]:
    return [entry.entry_id for entry in entries]


def test_unknown_resolutions_come_after_known_ones(write: Callable) -> None:
    shard = write(NAN, 2.0, NAN, 1.5, 3.0)
    chosen = names(choose_entries([shard], 10, seed=0))
    assert set(chosen[:2]) == {"e1", "e3"}
    assert set(chosen[2:]) == {"e0", "e2"}  # 3.0 A is known to be too little
    assert set(names(choose_entries([shard], 2, seed=0))) == {"e1", "e3"}
    assert len(choose_entries([write(NAN, NAN)], 10, seed=0, max_resolution=9.0)) == 2


def test_unknown_resolutions_are_left_out_where_there_are_enough(
    write: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openmm_backmap.training.fit_packing.FEW_ENTRIES", 2)
    chosen = choose_entries([write(NAN, 2.0, 2.0, NAN)], 10, seed=0)
    assert set(names(chosen)) == {"e1", "e2"}


def test_no_entry_at_all_is_an_error(write: Callable) -> None:
    with pytest.raises(DataError, match=r"60 to 400 residues.*up to 2.2 A or unknown"):
        choose_entries([write(2.5, 2.9)], 10, seed=0)


def test_an_export_without_entries_fails_before_the_fits(
    write: Callable, make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    Trainer(make_config(total_steps=1), tmp_path / "run").run()
    shard = write(2.0)
    told: list[str] = []
    with pytest.raises(DataError, match="no shard of split 'val'"):
        export_ca(
            tmp_path / "run", tmp_path / "a.pt", data=shard.parent, report=told.append
        )
    # pieces of 40 residues alone
    with pytest.raises(DataError, match="nothing can be fitted"):
        export_ca(tmp_path / "run", tmp_path / "a.pt", report=told.append)
    assert not any("fitting" in line for line in told)
