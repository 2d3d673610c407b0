"""``openmm-backmap train``: train a model, or go on training it."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from openmm_backmap.cli.arguments import positive_number
from openmm_backmap.paths import make_folder

__all__ = ["add_parser", "run"]


def add_parser(commands: Any, common: argparse.ArgumentParser) -> None:
    """Add the subcommand.

    Parameters
    ----------
    commands : argparse subparsers
        Of the main parser.
    common : argparse.ArgumentParser
        Options all subcommands share.
    """
    parser = commands.add_parser(
        "train",
        parents=[common],
        help="train a model, or go on with a run",
        description="Train a model as a TOML file says.  A run folder holds all of "
        "a run: the same command goes on where it was stopped.  Under torchrun the "
        "processes share the work.",
    )
    parser.add_argument("config", type=Path, help="configuration (TOML)")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="RUN", help="run folder"
    )
    parser.add_argument(
        "--device", default="cpu", help="auto, cpu, cuda, cuda:1, ... (default: cpu)"
    )
    parser.add_argument(
        "--threads", type=positive_number, metavar="N", help="threads of torch"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Train to the end of the schedule.

    Parameters
    ----------
    arguments : argparse.Namespace
        See `add_parser`.

    Returns
    -------
    int
        Exit code.
    """
    from openmm_backmap.training.read_config import load_config

    config = load_config(arguments.config)

    import torch

    from openmm_backmap.artifact import choose_device
    from openmm_backmap.training.logs import plot_learning_curve
    from openmm_backmap.training.loop import train

    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    device = choose_device(arguments.device)
    make_folder(arguments.output)
    first = os.environ.get("RANK", "0") == "0"
    shown = first and not arguments.quiet and sys.stderr.isatty()
    with _Progress(shown) as progress:
        checkpoint = train(config, arguments.output, device, progress.report)
    if first:
        plot_learning_curve(arguments.output)
        print(checkpoint)
    return 0


class _Progress:
    """A bar on stderr with the loss and the time left."""

    def __init__(self, is_shown: bool) -> None:
        self._is_shown = is_shown
        self._bar: Any = None
        self._task: Any = None
        self._mean: float | None = None

    def __enter__(self) -> "_Progress":
        if self._is_shown:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.percentage:.1f} %"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task("preparing", total=1.0)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def report(self, step: int, loss: float, done: float) -> None:
        """Show a step; see `training.loop.Trainer.run`."""
        if self._bar is None:
            return
        old = loss if self._mean is None else self._mean
        self._mean = 0.98 * old + 0.02 * loss if loss == loss else old
        text = f"step {step}, loss {self._mean:.3f}"
        self._bar.update(self._task, completed=min(done, 1.0), description=text)
