"""Entry point: parse, run, and turn errors into one line and an exit code."""

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from openmm_backmap._version import __version__
from openmm_backmap.cli import (
    backmap,
    demo,
    evaluate,
    export,
    generate,
    info,
    prepare,
    train,
)
from openmm_backmap.errors import BackmapError, BackmapWarning

__all__ = ["build_parser", "main"]

_PROGRAM = "openmm-backmap"


def build_parser() -> argparse.ArgumentParser:
    """Make the parser of all subcommands.

    Returns
    -------
    argparse.ArgumentParser
        Its defaults hold `run`, the function of the subcommand.
    """
    parser = argparse.ArgumentParser(
        prog=_PROGRAM,
        description="Turn coarse-grained protein simulations into all-atom ones.",
    )
    parser.add_argument(
        "--version", action="version", version=f"{_PROGRAM} {__version__}"
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "-v", "--verbose", action="store_true", help="show tracebacks and all warnings"
    )
    for module in (backmap, info, demo, evaluate, prepare, generate, train, export):
        module.add_parser(commands, common)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        Words of the command line.  If None, those of the process.

    Returns
    -------
    int
        0 if all went well, 1 after an error, 130 after Ctrl-C; usage errors
        leave with 2 (argparse).
    """
    arguments = parse_arguments(arguments)
    with show_warnings(arguments.verbose):
        try:
            return arguments.run(arguments) or 0
        except KeyboardInterrupt:
            say("interrupted")
            return 130
        except BrokenPipeError:
            # the reader of our output has gone; nobody is left to tell
            sys.stdout = open(os.devnull, "w", encoding="utf-8")
            return 1
        except Exception as error:
            if arguments.verbose:
                traceback.print_exc()
            say(f"error: {describe_error(error)}")
            return 1


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse, so that ``openmm-backmap traj.dcd`` gets a helpful usage error."""
    return build_parser().parse_args(arguments)


def describe_error(error: BaseException) -> str:
    """Return one line about an error.

    Parameters
    ----------
    error : BaseException
        Ours, the system's or a surprise.

    Returns
    -------
    str
        One line.
    """
    text = " ".join(str(error).split())
    if isinstance(error, BackmapError):
        return text
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {text} (--verbose shows where)"


def say(text: str) -> None:
    """Talk to the user on stderr.

    Parameters
    ----------
    text : str
        One line.
    """
    print(f"{_PROGRAM}: {text}", file=sys.stderr)


@contextmanager
def show_warnings(verbose: bool) -> Iterator[None]:
    """Show our warnings as one line each, once; those of libraries only if asked.

    Parameters
    ----------
    verbose : bool
        Whether to show all of them, with their place.

    Yields
    ------
    None
        Control.
    """

    said: set[str] = set()

    def show(message: Any, category: Any, *rest: Any) -> None:
        if issubclass(category, BackmapWarning):
            # a file is opened twice: for its first frames, and for all
            if str(message) not in said:
                say(f"warning: {message}")
            said.add(str(message))
        elif verbose:
            say(f"warning: {category.__name__}: {message}")

    with warnings.catch_warnings():
        warnings.simplefilter("always", BackmapWarning)
        warnings.showwarning = show
        yield


if __name__ == "__main__":
    sys.exit(main())
