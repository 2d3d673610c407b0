"""A small training set in the training form, made of one real protein."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.read_config import config_from_dict
from openmm_backmap.training.shards import ShardEntry, write_shard


def cut_entry(
    protein: SimpleNamespace, first: int, last: int, name: str, cluster: int = 1
) -> ShardEntry:
    """Residues first to last of a protein as an entry."""
    rows = slice(first, last)
    n = last - first
    return ShardEntry(
        entry_id=name,
        method="X-RAY",
        resolution=2.0,
        residue_type=protein.residue_type[rows],
        chain=np.zeros(n, np.int64),
        cluster=np.array([cluster]),
        positions=protein.positions[:, rows],
        mask=protein.mask[rows],
        bfactor=np.where(protein.mask[rows], 20.0, 0.0).astype(np.float32),
    )


@pytest.fixture
def make_entry(protein: SimpleNamespace) -> Callable[..., ShardEntry]:
    """Give a function that cuts an entry out of the real protein."""

    def make(first: int, last: int, name: str, cluster: int = 1) -> ShardEntry:
        return cut_entry(protein, first, last, name, cluster)

    return make


@pytest.fixture
def data_folder(tmp_path: Path, protein: SimpleNamespace) -> Path:
    """Folder with a train and a val shard."""
    folder = tmp_path / "data"
    train = [cut_entry(protein, k, k + 40, f"piece{k}", k) for k in (0, 20, 40)]
    write_shard(folder / "train_0.npz", train, "train")
    write_shard(folder / "val.npz", [cut_entry(protein, 50, 97, "last")], "val")
    return folder


@pytest.fixture
def make_config(data_folder: Path) -> Callable[..., TrainingConfig]:
    """Give a function that makes a tiny configuration."""

    def make(**optimizer: float) -> TrainingConfig:
        return config_from_dict(
            {
                "data": {
                    "folder": str(data_folder),
                    "prepared": str(data_folder.parent / "prepared"),
                    "n_residues": 96,
                    "n_neighbors": 8,
                },
                "model": {"width": 32, "n_layers": 1, "n_heads": 4, "edge_width": 16},
                "optimizer": {"warmup_steps": 2, "total_steps": 8, **optimizer},
                "log": {"log_steps": 2, "tensorboard": False},
            }
        )

    return make
