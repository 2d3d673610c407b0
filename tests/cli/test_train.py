"""``openmm-backmap train`` as a user runs it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from openmm_backmap.cli.main import main
from openmm_backmap.training.logs import read_log
from openmm_backmap.training.read_config import load_config
from openmm_backmap.training.shards import ShardEntry, write_shard

CONFIG = """
[data]
folder = "data"
prepared = "prepared"
n_residues = 64
n_neighbors = 8
[model]
width = 32
n_layers = 1
n_heads = 4
edge_width = 16
[optimizer]
total_steps = {steps}
[log]
log_steps = 1
tensorboard = true
"""


@pytest.fixture
def folder(tmp_path: Path, protein: SimpleNamespace) -> Path:
    """Folder with a data set; configurations go beside it."""
    entry = ShardEntry(
        entry_id="1ris",
        method="X-RAY",
        resolution=2.0,
        residue_type=protein.residue_type[:50],
        chain=np.zeros(50, np.int64),
        cluster=np.array([1]),
        positions=protein.positions[:, :50],
        mask=protein.mask[:50],
        bfactor=np.zeros((50, 14), np.float32),
    )
    for split in ("train", "val"):
        write_shard(tmp_path / "data" / f"{split}.npz", [entry], split)
    return tmp_path


def test_the_same_command_goes_on_with_a_run(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    run = folder / "run"
    for steps in (2, 4):
        (folder / "c.toml").write_text(CONFIG.format(steps=steps))
        assert main(["train", str(folder / "c.toml"), "-o", str(run)]) == 0
        assert capsys.readouterr().out.strip() == str(run / "checkpoint.pt")
    rows = read_log(run / "train.csv")
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4]
    assert (run / "learning_curve.png").stat().st_size > 1000
    assert list((run / "tensorboard").rglob("events.*"))


def test_info_tells_of_a_run(folder: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["info", str(folder)]) == 1
    assert "is a folder without checkpoint.pt" in capsys.readouterr().err
    (folder / "c.toml").write_text(CONFIG.format(steps=2))
    assert main(["train", str(folder / "c.toml"), "-o", str(folder / "run")]) == 0
    capsys.readouterr()
    for path in (folder / "run", folder / "run" / "checkpoint.pt"):
        assert main(["info", str(path)]) == 0
        told = json.loads(capsys.readouterr().out)
        assert told["steps"] == 2
        assert told["config"]["model"]["width"] == 32


def test_a_wrong_key_is_one_line_on_stderr(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "c.toml").write_text(CONFIG.format(steps=2) + "epochs = 3\n")
    assert main(["train", str(folder / "c.toml"), "-o", str(folder / "run")]) == 1
    talk = capsys.readouterr().err.strip()
    assert "unknown key 'epochs'" in talk
    assert "\n" not in talk
    assert not (folder / "run").exists()


@pytest.mark.parametrize("device", ["foo", "cuda:77"])
def test_an_unknown_device_is_named(
    device: str, folder: Path, capsys: pytest.CaptureFixture
) -> None:
    (folder / "c.toml").write_text(CONFIG.format(steps=2))
    words = ["train", str(folder / "c.toml"), "-o", str(folder / "run")]
    assert main([*words, "--device", device]) == 1
    assert f"device '{device}'" in capsys.readouterr().err


def test_the_shipped_recipe_is_a_valid_configuration() -> None:
    root = Path(__file__).resolve().parents[2]
    first = load_config(root / "examples" / "train_ca.toml").model
    second = load_config(root / "examples" / "train_ca_wide.toml").model
    assert first.n_layers == second.n_layers == 5
    assert second.width > first.width
    assert [Path(run).name for run in second.start] == ["ca"]
    third = load_config(root / "examples" / "train_ca_gaps.toml")
    assert third.model.width == second.width
    assert [Path(run).name for run in third.model.start] == ["ca_wide"]
    assert 0.0 < third.data.gap_share < 1.0 and third.model.type_dropout > 0.0
    fourth = load_config(root / "examples" / "train_ca_near.toml")
    assert [Path(run).name for run in fourth.model.start] == ["ca_wide", "ca_gaps"]
    assert fourth.data.n_neighbors > third.data.n_neighbors
