"""A training run leaves its process as it was, and says at once what is missing."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from openmm_backmap.cli.main import main
from openmm_backmap.errors import ModelError
from openmm_backmap.training.checkpoint import load_checkpoint
from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.logs import read_log
from openmm_backmap.training.loop import Trainer, train
from openmm_backmap.training.read_config import config_from_dict


@pytest.mark.parametrize("was_flushing", [False, True])
def test_random_numbers_and_denormals_are_given_back(
    make_config: Callable[..., TrainingConfig], tmp_path: Path, was_flushing: bool
) -> None:
    tiny = torch.tensor([1e-40])
    try:
        torch.set_flush_denormal(was_flushing)
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        train(make_config(total_steps=1), tmp_path / "run")
        assert torch.equal(torch.rand(3), expected)
        assert (float(tiny * 1.0) == 0.0) is was_flushing
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("name", ["ca", "vae"])
@pytest.mark.parametrize(
    "mode",
    [
        torch.no_grad,
        torch.inference_mode,
        partial(torch.autocast, "cpu", torch.bfloat16),
    ],
    ids=["no_grad", "inference_mode", "autocast"],
)
def test_modes_of_the_caller_change_nothing(
    make_config: Callable[..., TrainingConfig],
    tmp_path: Path,
    name: str,
    mode: Callable[[], AbstractContextManager],
) -> None:
    values = make_config(total_steps=2).to_dict()
    values["model"]["name"] = name
    config = config_from_dict(values)
    expected = load_checkpoint(train(config, tmp_path / "a").parent)
    with mode():
        found = load_checkpoint(train(config, tmp_path / "b").parent)
    for key, value in expected["network"].items():
        assert torch.equal(value, found["network"][key]), key
    logs = [read_log(tmp_path / run / "validation.csv") for run in "ab"]
    assert logs[0][-1]["loss"] == logs[1][-1]["loss"]


def test_casts_do_not_outlive_a_step_inside_of_autocast(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    config = make_config(total_steps=3, precision="bfloat16")
    losses = Trainer(config, tmp_path / "a").run()
    with torch.autocast("cpu", torch.bfloat16):
        assert Trainer(config, tmp_path / "b").run() == losses


def test_a_process_group_of_the_caller_is_kept(
    make_config: Callable[..., TrainingConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")  # as torchrun says it
    dist.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1
    )
    try:
        train(make_config(total_steps=1), tmp_path / "run")
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()


def test_a_device_that_is_not_there_is_told_before_data_are_prepared(
    make_config: Callable[..., TrainingConfig],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ModelError, match="mps.*use auto, cpu, cuda"):
        train(make_config(), tmp_path / "run", "mps")
    (tmp_path / "c.toml").write_text(
        "[data]\nfolder = 'none'\nprepared = 'none'\n[optimizer]\ntotal_steps = 1\n"
    )
    words = ["train", str(tmp_path / "c.toml"), "-o", str(tmp_path / "run")]
    assert main([*words, "--device", "abacus"]) != 0
    assert "abacus" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_auto_trains_on_what_there_is(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    assert train(make_config(total_steps=1), tmp_path / "run", "auto").exists()
