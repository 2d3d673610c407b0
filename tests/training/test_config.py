"""Configurations are read strictly."""

from pathlib import Path

import pytest

from openmm_backmap.errors import DataError
from openmm_backmap.training.read_config import config_from_dict, load_config

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
    ],
)
def test_wrong_values_are_refused_by_name(values: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        config_from_dict(values)


def test_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[data]\nfolder = "shards"\n[optimizer]\ntotal_steps = 5\n')
    assert load_config(path).data.folder == str((tmp_path / "shards").resolve())


@pytest.mark.parametrize("text", [None, "seed = = 1"])
def test_an_unreadable_file_is_named(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "run.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(DataError, match="run.toml cannot be read"):
        load_config(path)
