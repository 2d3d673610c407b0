"""Configurations are read strictly."""

from pathlib import Path

import pytest

from openmm_backmap.errors import DataError
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.training.checkpoint import save_checkpoint
from openmm_backmap.training.config import ModelConfig
from openmm_backmap.training.read_config import config_from_dict, load_config
from openmm_backmap.training.widen import load_start

MINIMAL = {"optimizer": {"total_steps": 10}}


def test_defaults_fill_what_is_not_given() -> None:
    config = config_from_dict(MINIMAL)
    assert config.optimizer.total_steps == 10
    assert config.data.n_residues == 1024


def test_integers_are_taken_for_floats() -> None:
    config = config_from_dict({"optimizer": {"total_seconds": 60}})
    assert isinstance(config.optimizer.total_seconds, float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**MINIMAL, "sead": 1}, "unknown key 'sead'; known are seed"),
        ({**MINIMAL, "model": {"depth": 3}}, r"\[model\]: unknown key 'depth'"),
        ({**MINIMAL, "seed": "one"}, "seed = 'one' is not a int"),
        ({**MINIMAL, "seed": True}, "seed = True is not a int"),
        ({**MINIMAL, "model": 3}, "model is a section"),
        ({}, "one of total_steps and total_seconds"),
        ({**MINIMAL, "model": {"width": 30, "n_heads": 4}}, "n_heads must divide"),
        ({**MINIMAL, "model": {"name": "xyz"}}, "name = 'xyz'"),
        ({"optimizer": {"total_steps": 1, "precision": "half"}}, "precision"),
        ({**MINIMAL, "data": {"gap_share": 2.0}}, r"gap_share = 2.0: wanted 0 to 1"),
        ({**MINIMAL, "model": {"type_dropout": -0.1}}, "type_dropout = -0.1"),
        ({**MINIMAL, "seed": -1}, "seed = -1, wanted 0 to"),
        ({**MINIMAL, "seed": 10**23}, "seed = 1000"),
        ({**MINIMAL, "data": {"n_neighbors": 32}}, "n_neighbors = 32, wanted 1 to 24"),
        ({**MINIMAL, "data": {"n_neighbors": 0}}, "n_neighbors = 0"),
        ({**MINIMAL, "data": {"n_residues": 0}}, "n_residues = 0, wanted 16 on"),
        ({**MINIMAL, "data": {"noise_max": -0.1}}, "noise_max = -0.1"),
        ({**MINIMAL, "model": {"n_heads": 0}}, "n_heads = 0"),
        ({**MINIMAL, "model": {"width": 0}}, "width = 0"),
        ({**MINIMAL, "model": {"n_layers": 0}}, "n_layers = 0"),
        ({**MINIMAL, "model": {"dropout": 1.0}}, "dropout = 1.0 drops all"),
        ({**MINIMAL, "log": {"log_steps": 0}}, r"\[log\]: log_steps = 0, wanted 1 on"),
        ({**MINIMAL, "log": {"validation_batches": -2}}, "validation_batches = -2"),
        ({"optimizer": {"total_steps": 1, "learning_rate": -1}}, "learning_rate = -1"),
        (
            {"optimizer": {"total_steps": 1, "learning_rate": float("nan")}},
            r"c \[optimizer\]: learning_rate = nan",
        ),
        ({"optimizer": {"total_steps": 1, "ema_decay": 2.0}}, "ema_decay = 2.0"),
        ({"optimizer": {"total_steps": 1, "clip": 0.0}}, "clip = 0.0"),
        ({"optimizer": {"total_steps": -3, "total_seconds": 1}}, "total_steps = -3"),
    ],
)
def test_wrong_values_are_refused_by_name(values: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        config_from_dict(values, "c")


def test_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[data]\nfolder = "shards"\n[optimizer]\ntotal_steps = 5\n')
    assert load_config(path).data.folder == str((tmp_path / "shards").resolve())


@pytest.mark.parametrize("text", [None, "seed = = 1", b"\xff\xfe"])
def test_an_unreadable_file_is_named(tmp_path: Path, text: str | bytes | None) -> None:
    path = tmp_path / "run.toml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match="run.toml cannot be read"):
        load_config(path)


def test_a_run_of_another_kind_is_no_start(tmp_path: Path) -> None:
    config = config_from_dict({**MINIMAL, "model": {"name": "vae"}})
    state = {"config": config.to_dict(), "network": {}, "average": {"shadow": {}}}
    save_checkpoint(tmp_path, state)
    model = ModelConfig(start=(str(tmp_path),))
    with pytest.raises(DataError, match="is a run of 'vae', wanted one of 'ca'"):
        load_start(CANetwork(width=8, n_layers=1, n_heads=2, edge_width=8), model)
