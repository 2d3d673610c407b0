"""A run's network is read back as it was trained."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from openmm_backmap.artifact.packaged import find_model
from openmm_backmap.errors import DataError, InputError, ModelError
from openmm_backmap.training.checkpoint import load_checkpoint, save_checkpoint
from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.export import load_network, load_run_info, mix_networks
from openmm_backmap.training.export_ca import copy_packing, make_ca_model
from openmm_backmap.training.loop import Trainer
from openmm_backmap.training.read_config import load_config
from openmm_backmap.training.step import build_network


def test_the_averaged_network_comes_back(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    trainer = Trainer(make_config(total_steps=4), tmp_path / "run")
    trainer.run()
    averaged = load_network(tmp_path / "run")
    last = load_network(tmp_path / "run", averaged=False)
    for name, value in averaged.named_parameters():
        assert torch.equal(value, trainer.average.shadow[name])
    for name, value in trainer.step_module.network.named_parameters():
        assert torch.equal(value, dict(last.named_parameters())[name])
    config, info = load_run_info(tmp_path / "run")
    assert config == trainer.config
    assert info["steps"] == 4
    assert info["data_hash"] == trainer.train_data.data_hash


def test_weights_that_are_not_finite_are_refused(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    Trainer(make_config(total_steps=1), tmp_path / "run").run()
    state = load_checkpoint(tmp_path / "run")
    state["average"]["shadow"]["cis.bias"].fill_(float("nan"))
    del state["version"]
    save_checkpoint(tmp_path / "run", state)
    with pytest.raises(DataError, match="not finite"):
        load_network(tmp_path / "run")


def test_fitted_packing_is_taken_over_from_a_model_file(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    Trainer(make_config(total_steps=1), tmp_path / "run").run()
    model = make_ca_model(tmp_path / "run")
    fitted = copy_packing(model, "ca")
    settings = model.packer.settings
    assert settings.pair_scale == fitted["pair_scale"] > 0.0
    assert settings.log_p_weight == fitted["log_p_weight"]
    assert float(model.packer.pair_energy.abs().sum()) > 0.0
    with pytest.raises(ModelError, match="neither a packaged model"):
        copy_packing(model, tmp_path / "none.pt")


def test_runs_are_mixed_in_equal_parts(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    for name, steps in (("a", 1), ("b", 3)):
        Trainer(make_config(total_steps=steps), tmp_path / name).run()
    first, second = load_network(tmp_path / "a"), load_network(tmp_path / "b")
    a, b = dict(first.state_dict()), dict(second.state_dict())
    wanted = {k: 0.5 * (a[k] + b[k]) for k in a}
    mixed = make_ca_model(tmp_path / "a", [tmp_path / "b"]).decoder.network
    for name, value in mixed.state_dict().items():
        torch.testing.assert_close(value, wanted[name])
    three = mix_networks([load_network(tmp_path / name) for name in "abb"])
    for name, value in three.state_dict().items():
        torch.testing.assert_close(value, (a[name] + 2.0 * b[name]) / 3.0)
    mostly = mix_networks([load_network(tmp_path / name) for name in "aab"], 0.5)
    for name, value in mostly.state_dict().items():
        torch.testing.assert_close(value, 0.75 * a[name] + 0.25 * b[name])
    config = make_config(total_steps=1)
    wider = dataclasses.replace(config.model, width=2 * config.model.width)
    with pytest.raises(DataError, match="differ in size"):
        mix_networks([first, build_network(wider)])


def test_a_run_goes_on_from_a_model_file_and_is_mixed_with_it(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    packaged = load_network("ca")
    state = torch.jit.load(str(find_model("ca"))).state_dict()
    name = "trunk.layers.4.up.weight"
    wanted = next(v for k, v in state.items() if k.endswith(name))
    assert torch.equal(packaged.state_dict()[name], wanted)
    config = make_config(total_steps=1)
    model = dataclasses.replace(
        config.model, start=("ca",), width=192, n_layers=5, n_heads=8, edge_width=64
    )
    run = tmp_path / "run"
    trainer = Trainer(dataclasses.replace(config, model=model), run)
    for key, value in trainer.step_module.network.state_dict().items():
        assert torch.equal(value, packaged.state_dict()[key])
    with torch.no_grad():
        trainer.step_module.network.cis.bias.add_(1.0)
        trainer.average.shadow["cis.bias"].add_(1.0)
    trainer.save()
    mixed = make_ca_model(run, ["ca"], 0.25).decoder.network
    torch.testing.assert_close(mixed.cis.bias, packaged.cis.bias + 0.25)


def test_a_run_called_like_a_packaged_model_is_the_one_exported(
    make_config: Callable[..., TrainingConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ca", "b"):
        Trainer(make_config(total_steps=1), tmp_path / name).run()
    wanted = load_network(tmp_path / "ca").state_dict()
    monkeypatch.chdir(tmp_path)
    found = make_ca_model("ca").decoder.network.state_dict()
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[k], wanted[k]) for k in wanted)
    # elsewhere the name would mean two things
    with pytest.raises(InputError, match="'ca' is a packaged model, and ca exists"):
        make_ca_model("b", ["ca"])
    path = tmp_path / "c.toml"
    for section in ('[model]\nstart = "ca"', '[model.distill]\nteachers = ["ca"]'):
        path.write_text(f"{section}\n[optimizer]\ntotal_steps = 1\n")
        with pytest.raises(InputError, match="'ca' is a packaged model"):
            load_config(path)
    (tmp_path / "ca").rename(tmp_path / "other")
    assert load_config(path).model.distill.teachers == ("ca",)


def test_a_model_file_is_no_run(tmp_path: Path) -> None:
    for source in ("ca", find_model("ca")):
        with pytest.raises(DataError, match="is a model file.*--refresh"):
            make_ca_model(source)


def test_networks_of_other_models_are_not_read_back() -> None:
    with pytest.raises(DataError, match="only a network of 'ca'"):
        load_network("vae")
    with pytest.raises(DataError, match="no checkpoint"):
        load_network("nothing")
