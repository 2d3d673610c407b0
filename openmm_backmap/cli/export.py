"""``openmm-backmap export``: make a model file of a training run."""

import argparse
import sys
from pathlib import Path
from typing import Any

from openmm_backmap.cli.arguments import positive_number
from openmm_backmap.errors import DataError, OutputExistsError
from openmm_backmap.paths import check_writable

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
        "export",
        parents=[common],
        help="make a model file of a training run",
        description="Take the averaged network of a run, which may still be "
        "training, fit the packing's pair energy and contact network to training "
        "structures and the confidence to validation structures, and write one model "
        "file. The file "
        "is checked against the network before the command ends.",
    )
    parser.add_argument(
        "run_folder",
        type=Path,
        metavar="RUN",
        help="run folder; with --refresh a model file or the name of a packaged model",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FILE", help="model file"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        help="folder of the shards (default: that of the run's configuration)",
    )
    parser.add_argument(
        "--entries",
        type=positive_number,
        default=800,
        metavar="N",
        help="training structures for these fits (default: 800)",
    )
    parser.add_argument(
        "--packing",
        metavar="MODEL",
        help="take these fits from this model file instead of fitting",
    )
    parser.add_argument(
        "--mix",
        metavar="RUN",
        nargs="+",
        default=(),
        help="average the weights with those of runs, or of model files, that started "
        "from one another",
    )
    parser.add_argument(
        "--share",
        type=float,
        metavar="S",
        help="weight of RUN in that average, 0 to 1 (default: equal parts)",
    )
    parser.add_argument(
        "--refresh",
        action="store_true",
        help="write a model file anew, with its weights and fits and the code of this "
        "version; with --data the confidence is fitted anew, else no data are needed",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-f", "--force", action="store_true", help="overwrite FILE")
    parser.set_defaults(run=run, parser=parser)


def _say(line: str) -> None:
    """Tell what is going on."""
    print(line, file=sys.stderr)


def run(arguments: argparse.Namespace) -> int:
    """Export.

    Parameters
    ----------
    arguments : argparse.Namespace
        See `add_parser`.

    Returns
    -------
    int
        Exit code.
    """
    output = arguments.output
    share = arguments.share
    if share is not None and (not arguments.mix or not 0.0 <= share <= 1.0):
        raise DataError(
            f"--share {share:g}: wanted 0 to 1, beside --mix; it is the weight of "
            f"{arguments.run_folder} among the networks that are averaged"
        )
    if output.exists() and not arguments.force:
        raise OutputExistsError(f"{output} exists: give another name, or --force")
    check_writable(output)
    if arguments.refresh:
        if arguments.packing or arguments.mix:
            raise DataError(
                "--refresh takes all from the model file: leave out --packing and "
                "--mix, or export a run"
            )
        from openmm_backmap.training.refresh import refresh_model

        metadata = refresh_model(
            arguments.run_folder, output, data=arguments.data, report=_say
        )
    else:
        from openmm_backmap.training.export_ca import export_ca

        metadata = export_ca(
            arguments.run_folder,
            output,
            data=arguments.data,
            n_entries=arguments.entries,
            seed=arguments.seed,
            packing=arguments.packing,
            mix=arguments.mix,
            share=share,
            report=_say,
        )
    print(f"{output}: model {metadata.name}, {output.stat().st_size / 1e6:.1f} MB")
    return 0
