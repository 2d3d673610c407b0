"""``openmm-backmap evaluate``: measure models on structures they never saw."""

import argparse
import warnings
from pathlib import Path
from typing import Any

from openmm_backmap.cli.arguments import (
    natural_number,
    positive_number,
    split_commas,
)
from openmm_backmap.cli.progress import FrameProgress
from openmm_backmap.errors import BackmapWarning, InputError
from openmm_backmap.paths import make_folder

__all__ = ["add_parser", "run"]


def _levels(text: str) -> tuple[float, ...]:
    try:
        levels = tuple(float(word) for word in split_commas(text))
    except ValueError:
        levels = (-1.0,)
    if any(level < 0.0 for level in levels):
        raise argparse.ArgumentTypeError(
            f"{text!r} came, wanted noise in angstrom between commas, like 0,0.1,0.3"
        )
    return levels


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
        "evaluate",
        parents=[common],
        help="measure models on a split of a data set",
        description="Backmap the CA positions of a split and compare with its "
        "all-atom structures: accuracy, validity, samples, noise, confidence, "
        "time. X-ray, NMR, MD and disordered entries are reported apart.",
    )
    add = parser.add_argument
    add(
        "-m", "--model", type=split_commas, default=[], metavar="A,B",
        help="packaged models (see `info`) or model files, with commas between; a file "
        "is called by its name without the suffix",
    )  # fmt: skip
    add(
        "--peers", type=split_commas, default=[], metavar="pulchra,cgback",
        help="other tools to run on the same input (slow: use --entries and --frames)",
    )  # fmt: skip
    add("--split", choices=("val", "test", "train"), default="val")
    add("--data", type=Path, required=True, help="folder of the shards")
    add("--samples", type=natural_number, default=0, help="samples a frame")
    add(
        "--noise", type=_levels, default=(), metavar="0,0.1,0.2,0.3",
        help="CA noise in angstrom a coordinate",
    )  # fmt: skip
    add(
        "--entries", type=positive_number,
        help="at most this many entries of each group (default: all)",
    )  # fmt: skip
    add(
        "--energies", type=natural_number, default=0, metavar="N",
        help="measure energies before minimization of N entries of each group",
    )  # fmt: skip
    add(
        "--groups", type=split_commas, metavar="xray,nmr,md,disordered",
        help="only these groups (default: all)",
    )  # fmt: skip
    add(
        "--frames", type=positive_number, default=20,
        help="at most this many models of an ensemble (default: 20)",
    )  # fmt: skip
    add(
        "--max-residues", type=positive_number, default=1500,
        help="leave larger entries out (default: 1500)",
    )  # fmt: skip
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: auto)")
    add("--threads", type=positive_number, default=1, help="torch threads (default: 1)")
    add("--seed", type=natural_number, default=0)
    add("-o", "--output", type=Path, metavar="DIR", help="write JSON, Markdown, plots")
    add("-q", "--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Evaluate, print the tables on stdout and write the files.

    Parameters
    ----------
    arguments : argparse.Namespace
        See `add_parser`.

    Returns
    -------
    int
        Exit code.
    """
    import torch
    from rich.console import Console
    from rich.markdown import Markdown

    from openmm_backmap.benchmark.evaluate import EvaluationSettings, evaluate_models
    from openmm_backmap.benchmark.evaluate_entries import GROUPS, iterate_entries
    from openmm_backmap.benchmark.evaluate_report import (
        make_report,
        write_markdown,
        write_report,
    )

    if arguments.output is not None:
        make_folder(arguments.output)
    torch.set_num_threads(arguments.threads)
    predictors, about = _load_models(arguments)
    settings = EvaluationSettings(
        arguments.samples, arguments.noise, arguments.seed, arguments.energies
    )
    entries = iterate_entries(
        arguments.data,
        arguments.split,
        max_entries=arguments.entries,
        max_frames=arguments.frames,
        max_residues=arguments.max_residues,
        groups=arguments.groups or GROUPS,
    )
    reasons: dict[str, dict[str, str]] = {}

    def note_failure(name: str, entry: Any, error: Exception) -> None:
        reasons.setdefault(name, {})[entry.entry_id] = str(error)
        warnings.warn(f"{name} left out {entry.entry_id}: {error}", BackmapWarning, 2)

    with FrameProgress("evaluate", None, arguments.quiet) as progress:
        scores, native = evaluate_models(
            predictors,
            entries,
            settings,
            lambda entry: progress.advance(1),
            note_failure,
        )
    asked = {
        "split": arguments.split,
        "n_samples": arguments.samples,
        "noise_angstrom": list(arguments.noise),
        "max_entries": arguments.entries,
        "max_frames": arguments.frames,
        "max_residues": arguments.max_residues,
        "seed": arguments.seed,
    }
    report = make_report(scores, native, asked, about, reasons)
    console, text = Console(), write_markdown(report)
    # a pipe gets the Markdown itself
    if console.is_terminal:
        console.print(Markdown(text))
    else:
        console.file.write(text)
    if arguments.output is not None:
        for path in write_report(report, arguments.output):
            Console(stderr=True, highlight=False).print(f"wrote {path}")
    return 0


def _load_models(arguments: argparse.Namespace) -> tuple[list[Any], dict[str, Any]]:
    """Load what is to be measured; predictors, and what is known of them."""
    from openmm_backmap.artifact import list_models, load_engine
    from openmm_backmap.benchmark.evaluate_predict import EnginePredictor
    from openmm_backmap.benchmark.peers import PeerPredictor, find_peer

    predictors: list[Any] = []
    about: dict[str, Any] = {}
    for model in arguments.model:
        engine = load_engine(model, arguments.device)
        metadata = engine.metadata
        name = model if model in list_models() else Path(model).stem
        if name in about:
            raise InputError(f"two models are called {name!r}: rename one of the files")
        predictors.append(EnginePredictor(name, engine, arguments.seed))
        about[name] = {
            "device": str(engine.device),
            "commit": metadata.commit,
            "training_data": metadata.training_data,
            "versions": metadata.versions,
        }
    for name in arguments.peers:
        if find_peer(name) is None:
            warnings.warn(
                f"peer {name} is left out, it is not installed: pip install "
                "openmm-backmap[benchmark], or put its program on the PATH",
                BackmapWarning,
                2,
            )
        else:
            predictors.append(PeerPredictor(name))
            about[name] = {"peer": True}
    if not predictors:
        raise InputError("nothing to evaluate: give --model, like --model table")
    return predictors, about
