"""``openmm-backmap demo``: two CG simulations, backmapped while they run."""

import argparse
from typing import Any

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
        "demo",
        parents=[common],
        help="run CG simulations and backmap them on the fly",
        description="Run a structure-based (Go) and a disordered (HPS) simulation with "
        "a BackmapReporter, minimize some frames, and show figures and a picture.",
    )
    parser.add_argument(
        "-o", "--output", default="demo_output", metavar="DIR", help="where files go"
    )
    parser.add_argument(
        "--quick", action="store_true", help="fewer frames, for a first look"
    )
    parser.add_argument("-m", "--model", help="packaged model or a model file")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo.

    Parameters
    ----------
    arguments : argparse.Namespace
        See `add_parser`.

    Returns
    -------
    int
        Exit code.
    """
    from openmm_backmap.cli.demo_run import run_demo

    return run_demo(arguments)
