"""`vae` trains, resumes exactly, and is exported without its encoder and e3nn."""

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from openmm_backmap.artifact import load_engine
from openmm_backmap.artifact.metadata import ModelMetadata
from openmm_backmap.artifact.torchscript import save_torchscript
from openmm_backmap.errors import DataError
from openmm_backmap.nn.bead_model import BeadModel
from openmm_backmap.training.batches import BatchSampler
from openmm_backmap.training.checkpoint import load_checkpoint
from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.export_ca import make_ca_model
from openmm_backmap.training.fit_packing import make_inputs
from openmm_backmap.training.logs import read_log
from openmm_backmap.training.loop import Trainer
from openmm_backmap.training.read_config import config_from_dict
from openmm_backmap.training.shards import ShardEntry

SIZES = {"n_latent": 6, "n_scalars": 8, "n_vectors": 4, "n_tensors": 2}


@pytest.fixture
def make_vae_config(
    make_config: Callable[..., TrainingConfig],
) -> Callable[..., TrainingConfig]:
    """Give a function that makes a tiny configuration of `vae`."""

    def make(total_steps: int, **own: float) -> TrainingConfig:
        values = make_config(total_steps=total_steps, learning_rate=5e-3).to_dict()
        values["model"] |= {"name": "vae", "vae": {**SIZES, **own}}
        return config_from_dict(values)

    return make


def test_learning_lowers_the_loss_and_logs_the_terms(
    make_vae_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    trainer = Trainer(make_vae_config(24), tmp_path / "run")
    losses = trainer.run()
    assert np.mean(losses[-4:]) < np.mean(losses[:3]) - 2.0
    row = read_log(tmp_path / "run" / "validation.csv")[-1]
    for name in ("kl", "posterior_nll", "local", "xyz", "distance", "hinge"):
        assert float(row[name]) > 0.0


def test_a_resumed_run_repeats_an_unbroken_one(
    make_vae_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    config = make_vae_config(6, geometry_share=0.5)
    unbroken = Trainer(config, tmp_path / "a")
    losses = unbroken.run()
    first = Trainer(config, tmp_path / "b").run(max_steps=3)
    second = Trainer(config, tmp_path / "b")
    assert first + second.run() == losses
    for name, value in unbroken.average.shadow.items():
        assert torch.equal(value, second.average.shadow[name]), name


@pytest.mark.parametrize("switch", ["latents", "physical"])
def test_the_ablations_train(
    make_vae_config: Callable[..., TrainingConfig], tmp_path: Path, switch: str
) -> None:
    trainer = Trainer(make_vae_config(2, **{switch: False}), tmp_path / "run")
    assert np.isfinite(trainer.run()).all()
    has_encoder = any(
        "encoder" in k for k in load_checkpoint(tmp_path / "run")["network"]
    )
    assert has_encoder == (switch != "latents")


def test_without_ensembles_only_crystals_are_drawn(
    make_vae_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    data = Trainer(make_vae_config(1), tmp_path / "run").train_data
    mixed = dataclasses.replace(data, method=("X-RAY", "NMR", "MD"))
    sampler = BatchSampler(mixed, 96, 8, ensembles=False)
    # of the first entry, of 40 residues, whole or cut
    rows = [row for k in range(20) for row, _, _ in sampler._draw_rows(k)]
    assert 0 in rows
    assert max(rows) < 40
    with pytest.raises(DataError, match="no crystal structure"):
        BatchSampler(
            dataclasses.replace(data, method=("NMR",) * 3), 96, 8, ensembles=False
        )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"name": "vae", "vae": {"latent": 3}}, "unknown key 'latent'"),
        ({"name": "vae", "vae": {"n_tensors": 9}}, "n_tensors of 0 to n_vectors"),
        ({"name": "ca", "vae": {"n_latent": 3}}, "is for name = 'vae'"),
        ({"name": "gan"}, "wanted 'ca' or 'vae'"),
    ],
)
def test_a_wrong_configuration_is_refused(model: dict, message: str) -> None:
    with pytest.raises(DataError, match=message):
        config_from_dict({"model": model, "optimizer": {"total_steps": 1}})


def test_autocast_is_refused() -> None:
    values = {
        "model": {"name": "vae"},
        "optimizer": {"total_steps": 1, "precision": "bfloat16"},
    }
    with pytest.raises(DataError, match="want 'float32'"):
        config_from_dict(values)


def test_a_model_file_holds_neither_encoder_nor_e3nn(
    make_vae_config: Callable[..., TrainingConfig],
    make_entry: Callable[..., ShardEntry],
    tmp_path: Path,
) -> None:
    Trainer(make_vae_config(2), tmp_path / "run").run()
    with pytest.raises(DataError, match="only runs of 'ca' can be mixed"):
        make_ca_model(tmp_path / "run", [tmp_path / "run"])
    model = make_ca_model(tmp_path / "run")
    assert model.noise_width == 26
    module = BeadModel(model).eval()
    path = tmp_path / "vae.pt"
    save_torchscript(module, ModelMetadata(name="vae", noise_width=26), path)
    weights = torch.jit.load(str(path)).state_dict()
    assert weights and not [name for name in weights if "encoder" in name]
    engine = load_engine(path, "cpu")
    inputs = make_inputs(make_entry(0, 40, "piece"))
    for noise in (None, torch.randn(1, 40, 26)):
        with torch.inference_mode():
            eager, _ = module(*inputs, noise)
        scripted, _ = engine.run(*inputs, noise)
        assert torch.allclose(eager, scripted, atol=1e-4)
    code = (
        "import sys, torch\n"
        "from openmm_backmap.artifact import load_engine\n"
        f"engine = load_engine({str(path)!r}, 'cpu')\n"
        "ca = torch.cumsum(torch.full((1, 9, 1, 3), 0.2197), 1)\n"
        "ca[:, ::2, :, 0] += 0.15\n"
        "none = torch.full((1, 9, 4), -1)\n"
        "kind, chain = torch.arange(9), torch.zeros(9, dtype=torch.long)\n"
        "x, _ = engine.run(ca, kind, chain, none, torch.zeros(1, 3, 3), None)\n"
        "print(tuple(x.shape), 'e3nn' in sys.modules)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "(1, 9, 14, 3) False"
