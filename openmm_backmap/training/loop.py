"""The training loop: one process, or several under torchrun.

``train(config, folder)`` starts a run or goes on with it: the folder holds
all its state. Batches, noise and dropout are functions of (seed, rank, step),
so a resumed run repeats the losses of an unbroken one.
"""

import contextlib
import copy
import itertools
import json
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from openmm_backmap.errors import BackmapWarning, DataError
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.training.batches import BatchSampler
from openmm_backmap.training.checkpoint import (
    CHECKPOINT_NAME,
    describe_kept,
    load_checkpoint,
    save_checkpoint,
)
from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.ema import WeightAverage
from openmm_backmap.training.evaluate_loss import evaluate_loss, summarize, zero_sums
from openmm_backmap.training.extra_data import prepare_data
from openmm_backmap.training.logs import RunLog
from openmm_backmap.training.prefetch import prefetch
from openmm_backmap.training.process import (
    join_processes,
    keep_torch_state,
    own_modes,
)
from openmm_backmap.training.reconstruct import score_entry, summarize_scores
from openmm_backmap.training.resume import check_resumed, list_data_hashes
from openmm_backmap.training.run_lock import lock_run
from openmm_backmap.training.schedule import learning_rate_factor
from openmm_backmap.training.shards import ShardEntry, find_shards, read_shard
from openmm_backmap.training.step import batch_arguments, build_step
from openmm_backmap.training.widen import load_start

__all__ = ["Trainer", "train"]

MAX_BAD_STEPS = 10


class Trainer:
    """State of a run in this process.

    Parameters
    ----------
    config : TrainingConfig
        The run.
    folder : pathlib.Path or str
        Run folder; made when missing. If it holds a checkpoint, the run goes
        on from there.
    device : torch.device or str
        Where to train.

    Raises
    ------
    DataError
        If the data are broken, or the folder holds another model's run.
    """

    def __init__(
        self,
        config: TrainingConfig,
        folder: Path | str,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config = config
        self.folder = Path(folder)
        self.device = torch.device(device)
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        if self.rank == 0:
            self.folder.mkdir(parents=True, exist_ok=True)
            prepare_data(config, "train")
            prepare_data(config, "val")
        if self.world > 1:
            dist.barrier()
        self.train_data = prepare_data(config, "train")
        self.val_data = prepare_data(config, "val")
        torch.manual_seed(config.seed)
        o = config.optimizer
        self.resumed = (self.folder / CHECKPOINT_NAME).exists()
        self.step_module = build_step(config.model, o.precision)
        if config.model.start and not self.resumed:
            load_start(self.step_module.network, config.model)
        self.step_module.to(self.device, torch.float32)
        self.optimizer = torch.optim.AdamW(
            self.step_module.parameters(),
            lr=o.learning_rate,
            betas=(o.beta1, o.beta2),
            weight_decay=o.weight_decay,
            fused=True,
        )
        self.average = WeightAverage(self.step_module.network, o.ema_decay)
        self.step = 0
        self.seconds = 0.0
        self.residues = 0
        self.data_hashes = [self.train_data.data_hash]
        self._entries: list[ShardEntry] | None = None
        if self.resumed:
            self._load()
        self.model: nn.Module | Callable = self.step_module
        if self.world > 1:
            self.model = nn.parallel.DistributedDataParallel(self.step_module)
        if o.compile:
            self.model = self.step_module.compile_step(self.model)
        self.sampler = BatchSampler(
            self.train_data,
            config.data.n_residues,
            config.data.n_neighbors,
            config.data.noise_max,
            config.data.noise_share,
            config.seed,
            self.rank,
            config.data.neighbor_dropout,
            config.data.ensembles,
            config.data.gap_share,
        )

    def state(self) -> dict:
        """All a checkpoint holds."""
        return {
            "config": self.config.to_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "residues": self.residues,
            "network": self.step_module.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "data_hash": self.train_data.data_hash,
            "data_hashes": self.data_hashes,
        }

    def _load(self) -> None:
        state = load_checkpoint(self.folder)
        data_hash = self.train_data.data_hash
        change = check_resumed(state, self.config, data_hash, str(self.folder))
        if change and self.rank == 0:
            warnings.warn(change, BackmapWarning, 3)
        self.data_hashes = list_data_hashes(state, data_hash)
        self.step_module.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        o = self.config.optimizer
        for group in self.optimizer.param_groups:
            group["betas"], group["weight_decay"] = (o.beta1, o.beta2), o.weight_decay
        self.average.load_state_dict(state["average"])
        self.step = int(state["step"])
        self.seconds = float(state["seconds"])
        self.residues = int(state["residues"])

    def progress(self) -> float:
        """Part of the run that is done, 0 to 1."""
        o = self.config.optimizer
        if o.total_steps > 0:
            return self.step / o.total_steps
        return self.seconds / o.total_seconds

    def save(self) -> None:
        """Write a checkpoint (first process only)."""
        if self.rank == 0:
            save_checkpoint(self.folder, self.state())

    def validate(self) -> dict[str, float]:
        """Validate with the averaged weights.

        Returns
        -------
        dict of str to float
            Of `evaluate_loss`, and of `summarize_scores` where entries are
            compared in space.
        """
        log, step = self.config.log, self.step_module
        with own_modes(self.device), self.average.applied():
            values = evaluate_loss(
                step, self.val_data, self.config, log.validation_batches
            )
            if log.validation_entries > 0:
                step.eval()
                values |= self._score_in_space()
                step.train()
        return values

    def _score_in_space(self) -> dict[str, float]:
        """Backmap validation entries with the network as it is, on the CPU."""
        if self._entries is None:
            shards = find_shards(self.config.data.folder, "val")
            found = (e for s in shards for e in read_shard(s))
            usable = (e for e in found if len(e.residue_type) >= 3)
            n = self.config.log.validation_entries
            self._entries = list(itertools.islice(usable, n))
        network = copy.deepcopy(self.step_module.network).cpu()
        decoder = CADecoder(network)
        k = self.config.data.n_neighbors
        return summarize_scores([score_entry(decoder, e, k) for e in self._entries])

    def take_step(self, arguments: tuple[Tensor, ...]) -> tuple[float, Tensor]:
        """One optimizer step.

        Parameters
        ----------
        arguments : tuple of torch.Tensor
            See `batch_arguments`.

        Returns
        -------
        loss : float
            Before the step; nan or inf when it was skipped.
        stats : torch.Tensor, shape (3, heads and terms)
            Sums, counts, hits.
        """
        o = self.config.optimizer
        factor = learning_rate_factor(self.step, o.warmup_steps, self.progress())
        for group in self.optimizer.param_groups:
            group["lr"] = o.learning_rate * factor
        # dropout and label noise belong to the step, not to the process
        key = np.random.SeedSequence((self.config.seed, self.rank, self.step))
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0]) >> 1)
        self.step_module.train()
        self.step_module.set_progress(self.progress())
        self.optimizer.zero_grad(set_to_none=True)
        with own_modes(self.device):
            loss, stats = self.model(*arguments)
            loss.backward()
        norm = nn.utils.clip_grad_norm_(self.step_module.parameters(), o.clip)
        value = float(loss.detach())
        if np.isfinite(value) and bool(torch.isfinite(norm)):
            self.optimizer.step()
            self.average.update()
        else:
            value = float("nan")
        self.step += 1
        self.residues += self.config.data.n_residues * self.world
        return value, stats.detach()

    def run(
        self,
        max_steps: int | None = None,
        report: Callable[[int, float, float], None] | None = None,
    ) -> list[float]:
        """Train until the schedule ends.

        Parameters
        ----------
        max_steps : int, optional
            Stop after so many steps, with a checkpoint. If None, go on to
            the end of the schedule.
        report : callable, optional
            Called after each step with the step, the loss and the progress.

        Returns
        -------
        list of float
            Loss of every step taken.

        Raises
        ------
        DataError
            If the loss is not finite ten steps in a row; the last good
            checkpoint is kept.
        """
        config, first = self.config, self.rank == 0
        last = self.step if self.resumed else None
        logs = (
            [RunLog(self.folder, n, config.log.tensorboard, last)
             for n in ("train", "validation")] if first else []
        )  # fmt: skip
        if first:
            text = json.dumps(config.to_dict(), indent=1)
            (self.folder / "config.json").write_text(text)
        losses: list[float] = []
        bad, since_log = 0, 0
        sums = zero_sums(self.step_module)
        clock = saved = validated = time.monotonic()
        log_seconds = self.seconds
        stop = None if max_steps is None else self.step + max_steps
        for batch in prefetch(self.sampler, self.step):
            self._share_clock()
            if self.progress() >= 1.0 or (stop is not None and self.step >= stop):
                break
            loss, stats = self.take_step(batch_arguments(batch.to(self.device)))
            now = time.monotonic()
            self.seconds += now - clock
            clock = now
            losses.append(loss)
            bad = 0 if np.isfinite(loss) else bad + 1
            if bad >= MAX_BAD_STEPS:
                raise DataError(
                    f"the loss is not finite since step {self.step - bad}: training "
                    f"has diverged; {describe_kept(self.folder)}, lower "
                    "optimizer.learning_rate and start it again"
                )
            sums += stats.cpu().double()
            since_log += 1
            if report is not None:
                report(self.step, loss, self.progress())
            if first and self.step % config.log.log_steps == 0:
                rate = since_log * config.data.n_residues * self.world
                rate /= max(self.seconds - log_seconds, 1e-9)
                self._log_row(logs[0], losses[-since_log:], sums, rate)
                since_log, log_seconds = 0, self.seconds
                sums.zero_()
            if first and now - saved > config.log.checkpoint_seconds and not bad:
                self.save()
                saved = now
            if first and now - validated > config.log.validation_seconds:
                logs[1].write(self.step, {**self._position(), **self.validate()})
                validated = time.monotonic()
                clock = validated  # validation is not training time
        if first:
            if not bad:
                self.save()
            if logs[1].last_step != self.step:
                logs[1].write(self.step, {**self._position(), **self.validate()})
            for log in logs:
                log.close()
        return losses

    def _share_clock(self) -> None:
        """Take the first process's time, by which rates and the end are set.

        Each by its own clock, the processes would take unequal steps, and those
        that wait for a validation would count it as training.
        """
        if self.world > 1 and self.config.optimizer.total_seconds > 0:
            clock = torch.tensor(self.seconds, dtype=torch.float64, device=self.device)
            dist.broadcast(clock, 0)
            self.seconds = float(clock)

    def _position(self) -> dict[str, float]:
        return {"residues": float(self.residues), "seconds": self.seconds}

    def _log_row(
        self, log: RunLog, losses: list[float], sums: Tensor, rate: float
    ) -> None:
        row = {
            **self._position(),
            "learning_rate": self.optimizer.param_groups[0]["lr"],
            "residues_per_second": rate,
            "loss": float(np.mean(losses)),
        }
        names = self.step_module.term_names
        log.write(self.step, {**row, **summarize(sums, names)})


def train(
    config: TrainingConfig,
    folder: Path | str,
    device: torch.device | str = "cpu",
    report: Callable[[int, float, float], None] | None = None,
) -> Path:
    """Start a run, or go on with it, and train to the end of its schedule.

    Under ``torchrun`` every process calls this; batches differ by rank and
    gradients are averaged.

    Parameters
    ----------
    config : TrainingConfig
        The run.
    folder : pathlib.Path or str
        Run folder.
    device : torch.device or str
        "auto", "cpu", "cuda", ...; under torchrun with CUDA the local rank is added.
    report : callable, optional
        See `Trainer.run`.

    Returns
    -------
    pathlib.Path
        The checkpoint.

    Raises
    ------
    DataError
        If another process trains in the folder; see also `Trainer`.
    ModelError
        If the device is unknown or missing.
    """
    first = os.environ.get("RANK", "0") == "0"
    with (
        join_processes(device) as found,
        keep_torch_state(found),
        lock_run(folder) if first else contextlib.nullcontext(),
    ):
        Trainer(config, folder, found).run(report=report)
    return Path(folder) / CHECKPOINT_NAME
