"""Training learns, resumes exactly, averages over processes, and stops safely."""

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from openmm_backmap.errors import BackmapWarning, DataError
from openmm_backmap.training.checkpoint import load_checkpoint, save_checkpoint
from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.ema import WeightAverage
from openmm_backmap.training.export import load_run_info
from openmm_backmap.training.export_ca import describe_training
from openmm_backmap.training.logs import RunLog, plot_learning_curve, read_log
from openmm_backmap.training.loop import Trainer, train
from openmm_backmap.training.read_config import config_from_dict, load_config
from openmm_backmap.training.schedule import learning_rate_factor


def test_learning_lowers_the_loss(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    config = make_config(total_steps=30, learning_rate=5e-3)
    losses = Trainer(config, tmp_path / "run").run()
    assert len(losses) == 30
    assert np.mean(losses[-5:]) < np.mean(losses[:3]) - 1.0


def test_a_resumed_run_repeats_an_unbroken_one(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    config = make_config()
    unbroken = Trainer(config, tmp_path / "a")
    losses = unbroken.run()
    first = Trainer(config, tmp_path / "b").run(max_steps=3)
    second = Trainer(config, tmp_path / "b")
    assert second.step == 3
    assert first + second.run() == losses
    for name, value in unbroken.average.shadow.items():
        assert torch.equal(value, second.average.shadow[name]), name
    rows = [read_log(tmp_path / run / "train.csv") for run in "ab"]
    assert rows[0][-1]["loss"] == rows[1][-1]["loss"]


def test_a_run_goes_on_the_same_where_float64_is_the_default(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    config = make_config()
    losses = Trainer(config, tmp_path / "a").run()
    first = Trainer(config, tmp_path / "b").run(max_steps=3)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        assert first + Trainer(config, tmp_path / "b").run() == losses
    finally:
        torch.set_default_dtype(before)


def test_a_finished_run_takes_no_more_steps(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    config = make_config(total_steps=2)
    train(config, tmp_path / "run")
    assert Trainer(config, tmp_path / "run").run() == []
    rows = read_log(tmp_path / "run" / "validation.csv")
    assert [row["step"] for row in rows] == ["2"]


def test_divergence_stops_and_keeps_the_last_good_checkpoint(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    Trainer(make_config(total_steps=3), tmp_path / "run").run()
    good = load_checkpoint(tmp_path / "run")
    trainer = Trainer(make_config(total_steps=50), tmp_path / "run")
    with torch.no_grad():
        trainer.step_module.network.cis.weight.fill_(float("nan"))
    with pytest.raises(DataError, match="not finite since step 3.*has diverged"):
        trainer.run()
    fresh = Trainer(make_config(total_steps=50), tmp_path / "fresh")
    with torch.no_grad():
        fresh.step_module.network.cis.weight.fill_(float("nan"))
    with pytest.raises(DataError, match="diverged; .*fresh holds no checkpoint yet"):
        fresh.run()
    kept = load_checkpoint(tmp_path / "run")
    assert kept["step"] == good["step"] == 3
    assert all(torch.isfinite(v).all() for v in kept["network"].values())


def test_one_bad_batch_changes_no_weight(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    from openmm_backmap.training.step import batch_arguments

    trainer = Trainer(make_config(), tmp_path / "run")
    before = [p.detach().clone() for p in trainer.step_module.parameters()]
    arguments = list(batch_arguments(trainer.sampler.batch(0)))
    arguments[0] = arguments[0] * float("nan")
    loss, _ = trainer.take_step(tuple(arguments))
    assert np.isnan(loss)
    for old, new in zip(before, trainer.step_module.parameters(), strict=True):
        assert torch.equal(old, new)


def test_a_run_of_another_model_is_not_continued(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    import dataclasses

    config = make_config(total_steps=1)
    Trainer(config, tmp_path / "run").run()
    other = dataclasses.replace(
        config, model=dataclasses.replace(config.model, width=48)
    )
    with pytest.raises(DataError, match=r"another \[model\] section"):
        Trainer(other, tmp_path / "run")


def test_a_run_goes_on_where_its_project_was_moved_to(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    Trainer(make_config(total_steps=1), tmp_path / "a" / "runs" / "one").run()
    text = """
        [data]
        folder = "{folder}"
        n_residues = 96
        n_neighbors = 8
        [model]
        start = "runs/{start}"
        width = 32
        n_layers = 1
        n_heads = 4
        edge_width = 16
        [optimizer]
        total_steps = {steps}
        [log]
        tensorboard = false
    """

    def configure(steps: int, start: str = "one") -> TrainingConfig:
        folder = tmp_path / "data"
        path = next(tmp_path.glob("[ab]")) / "c.toml"
        path.write_text(text.format(folder=folder, start=start, steps=steps))
        return load_config(path)

    Trainer(configure(1), tmp_path / "a" / "runs" / "two").run()
    (tmp_path / "a").rename(tmp_path / "b")
    moved = tmp_path / "b" / "runs" / "two"
    assert len(Trainer(configure(2), moved).run()) == 1
    with pytest.raises(DataError, match=r"another \[model\] section"):
        Trainer(configure(2, "other"), moved)


def test_what_has_changed_is_said_when_a_run_goes_on(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    run = tmp_path / "run"
    Trainer(make_config(total_steps=1), run).run()
    first = load_checkpoint(run)["data_hash"]
    with warnings.catch_warnings(action="error"):
        Trainer(make_config(total_steps=2), run)
    values = make_config(total_steps=2, learning_rate=1e-3, beta2=0.9).to_dict()
    values["seed"] = 3
    values["data"]["n_neighbors"] = 6
    shutil.copy(tmp_path / "data" / "val.npz", tmp_path / "data" / "train_1.npz")
    with pytest.warns(BackmapWarning) as said:
        trainer = Trainer(config_from_dict(values), run)
    (text,) = (str(warning.message) for warning in said)
    second = trainer.train_data.data_hash
    for change in (
        "seed 0 -> 3", "n_neighbors 8 -> 6", "learning_rate 0.002 -> 0.001",
        f"data {first[:8]} -> {second[:8]}",
    ):  # fmt: skip
        assert change in text
    assert trainer.optimizer.param_groups[0]["betas"] == (0.9, 0.9)
    trainer.run()
    config, info = load_run_info(run)
    assert info["data_hashes"] == [first, second]
    assert describe_training(config, info)["data_hashes"] == [first, second]


LOCKED = """
import sys
from openmm_backmap.training.run_lock import lock_run
with lock_run(sys.argv[1]):
    print("here", flush=True)
    sys.stdin.read()
"""


def test_two_processes_do_not_train_in_one_folder(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    pytest.importorskip("fcntl")
    config, run = make_config(total_steps=1), tmp_path / "run"
    other = subprocess.Popen(
        [sys.executable, "-c", LOCKED, str(run)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    assert other.stdout.readline() == b"here\n"
    with pytest.raises(DataError, match=f"trained by process {other.pid}: wait"):
        train(config, run)
    assert not (run / "checkpoint.pt").exists()
    other.kill()
    other.communicate()
    # a lock is no longer held by who was killed
    (run / "checkpoint.pt.1.partial").write_bytes(b"half")
    train(config, run)
    assert (run / "checkpoint.pt").exists()
    assert not list(run.glob("*.partial"))


def test_a_broken_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no checkpoint"):
        load_checkpoint(tmp_path)
    path = save_checkpoint(tmp_path, {"step": 1})
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(DataError, match="cannot be read"):
        load_checkpoint(tmp_path)


def test_validation_measures_the_backbone_in_space(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    trainer = Trainer(make_config(total_steps=40, learning_rate=5e-3), tmp_path / "a")
    start = trainer.validate()
    trainer.run()
    end = trainer.validate()
    assert trainer.step_module.training
    assert 0.2 < end["backbone_rmsd_angstrom"] < start["backbone_rmsd_angstrom"]
    logged = read_log(tmp_path / "a" / "validation.csv")[-1]
    expected = end["backbone_rmsd_angstrom"]
    assert float(logged["backbone_rmsd_angstrom"]) == pytest.approx(expected, rel=1e-4)


def test_a_log_takes_up_new_columns(tmp_path: Path) -> None:
    log = RunLog(tmp_path, "train")
    log.write(1, {"loss": 2.0})
    log.write(2, {"loss": 1.0, "rmsd": 3.0})
    log.write(3, {"loss": 0.5})
    rows = read_log(tmp_path / "train.csv")
    assert [row["rmsd"] for row in rows] == ["", "3", ""]
    # a resumed run drops the rows of steps it takes again
    RunLog(tmp_path, "train", last_step=1)
    assert [row["step"] for row in read_log(tmp_path / "train.csv")] == ["1"]


def test_the_run_folder_holds_its_configuration_and_curve(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    config = make_config(total_steps=2)
    with pytest.raises(DataError, match="no validation row"):
        plot_learning_curve(tmp_path)
    train(config, tmp_path / "run")
    kept = json.loads((tmp_path / "run" / "config.json").read_text())
    assert kept == json.loads(json.dumps(config.to_dict()))
    assert plot_learning_curve(tmp_path / "run").stat().st_size > 1000


PROGRAM = """
import json, sys
import torch, torch.distributed as dist
from openmm_backmap.training.read_config import config_from_dict
from openmm_backmap.training.loop import Trainer
torch.set_num_threads(1)
dist.init_process_group("gloo")
config = config_from_dict(json.loads(sys.argv[1]))
trainer = Trainer(config, sys.argv[2])
losses = trainer.run(max_steps=3 if config.optimizer.total_steps else None)
weights = torch.cat([p.detach().flatten() for p in trainer.step_module.parameters()])
both = [torch.empty_like(weights) for _ in range(2)]
dist.all_gather(both, weights)
torch.save(
    {"losses": losses, "same": torch.equal(*both), "weights": weights,
     "progress": trainer.progress(), "step": trainer.step},
    f"{sys.argv[2]}/rank{dist.get_rank()}.pt",
)
"""


def test_two_processes_take_the_mean_gradient(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    """Two gloo processes end with the weights one gets from averaged gradients."""
    config = make_config()
    results = _run_two(config, tmp_path)
    assert results[0]["same"]
    assert results[0]["losses"] != results[1]["losses"]  # different batches
    weights = _average_by_hand(config, tmp_path / "alone", 3)
    assert torch.allclose(weights, results[0]["weights"], atol=2e-5)


def test_processes_that_train_by_time_keep_one_schedule(
    make_config: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    """The second process waits for the validations of the first one."""
    values = make_config().to_dict()
    values["optimizer"] |= {"total_steps": 0, "total_seconds": 3.0}
    values["log"] |= {"validation_seconds": 0.5, "validation_entries": 1}
    results = _run_two(config_from_dict(values), tmp_path)
    assert results[0]["same"]
    assert results[0]["step"] == results[1]["step"] > 3
    # the schedule of the first process, which keeps the time, has come to its end
    assert results[0]["progress"] >= 1.0


def _run_two(config: TrainingConfig, tmp_path: Path) -> list[dict]:
    """Train in two gloo processes; what each of them found."""
    folder = tmp_path / "run"
    folder.mkdir()
    program = tmp_path / "two.py"
    program.write_text(PROGRAM)
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    }
    subprocess.run(
        [
            sys.executable, "-m", "torch.distributed.run", "--standalone",
            "--nproc-per-node=2", str(program), json.dumps(config.to_dict()),
            str(folder),
        ],
        check=True, env=environment, timeout=240, capture_output=True,
    )  # fmt: skip
    return [torch.load(folder / f"rank{k}.pt") for k in (0, 1)]


def _average_by_hand(config: TrainingConfig, folder: Path, steps: int) -> torch.Tensor:
    """Twin of DistributedDataParallel: both ranks' gradients in one process."""
    from torch import nn

    from openmm_backmap.training.step import batch_arguments

    ranks = [Trainer(config, folder / str(k)) for k in (0, 1)]
    ranks[1].rank = ranks[1].sampler.rank = 1
    o = config.optimizer
    for step in range(steps):
        gradients = []
        for k, trainer in enumerate(ranks):
            key = np.random.SeedSequence((config.seed, k, step))
            torch.manual_seed(int(key.generate_state(1, np.uint64)[0]) >> 1)
            trainer.step_module.train()
            trainer.optimizer.zero_grad()
            arguments = batch_arguments(trainer.sampler.batch(step))
            trainer.step_module(*arguments)[0].backward()
            gradients.append([p.grad.clone() for p in trainer.step_module.parameters()])
        factor = learning_rate_factor(step, o.warmup_steps, step / o.total_steps)
        for trainer in ranks:
            for group in trainer.optimizer.param_groups:
                group["lr"] = o.learning_rate * factor
            parameters = list(trainer.step_module.parameters())
            for p, a, b in zip(parameters, *gradients, strict=True):
                p.grad = 0.5 * (a + b)
            nn.utils.clip_grad_norm_(parameters, o.clip)
            trainer.optimizer.step()
    return torch.cat([p.detach().flatten() for p in parameters])


def test_the_schedule_warms_up_and_ends_at_zero() -> None:
    factors = [learning_rate_factor(k, 10, k / 100) for k in range(101)]
    assert factors[0] == pytest.approx(0.1)
    assert factors[9] == pytest.approx(max(factors), rel=0.02)
    assert np.all(np.diff(factors[10:]) < 0)
    assert factors[-1] == pytest.approx(0.0, abs=1e-12)


def test_the_average_follows_and_is_put_back() -> None:
    layer = torch.nn.Linear(2, 2)
    start = layer.weight.detach().clone()
    average = WeightAverage(layer, 0.9)
    with torch.no_grad():
        layer.weight += 1.0
    average.update()
    # the first update weighs the old average 1 / 10
    expected = 0.1 * start + 0.9 * (start + 1.0)
    with average.applied():
        assert torch.allclose(layer.weight, expected)
    assert torch.allclose(layer.weight, start + 1.0)
