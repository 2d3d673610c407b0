"""Argument types and options that several subcommands share."""

import argparse
from pathlib import Path

__all__ = [
    "add_model_options",
    "natural_number",
    "parse_sequence",
    "positive_number",
    "split_commas",
]


def positive_number(text: str) -> int:
    """Parse a whole number of at least 1.

    Parameters
    ----------
    text : str
        A word of the command line.

    Returns
    -------
    int
        The number.
    """
    return _whole_number(text, 1)


def natural_number(text: str) -> int:
    """Parse a whole number of at least 0.

    Parameters
    ----------
    text : str
        A word of the command line.

    Returns
    -------
    int
        The number.
    """
    return _whole_number(text, 0)


def _whole_number(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if number < least:
        raise argparse.ArgumentTypeError(
            f"{text!r} came, wanted a whole number, {least} or more"
        )
    return number


def split_commas(text: str) -> list[str]:
    """Parse words between commas.

    Parameters
    ----------
    text : str
        A word of the command line.

    Returns
    -------
    list of str
        The parts.
    """
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_sequence(text: str) -> str | Path | list[str]:
    """Parse ``--sequence``: a FASTA file, or sequences between commas.

    Parameters
    ----------
    text : str
        A word of the command line.

    Returns
    -------
    str or Path or list of str
        What `CGTopology.from_openmm` takes.
    """
    if Path(text).suffix or Path(text).exists():
        return Path(text)
    parts = split_commas(text)
    return parts if len(parts) > 1 else text


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add what says how the topology is understood and which model runs.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of a subcommand.
    """
    group = parser.add_argument_group("model and topology")
    group.add_argument(
        "-m", "--model", help="packaged model (see `info`) or a model file"
    )
    group.add_argument(
        "--mapping", help="what the beads are (default: what the model reads)"
    )
    group.add_argument(
        "--sequence",
        type=parse_sequence,
        metavar="FASTA",
        help="true sequence, where residue names hide it: a FASTA file, or letters "
        "with a comma between chains",
    )
    group.add_argument(
        "--template",
        metavar="FILE",
        help="reference all-atom structure (PDB, mmCIF): its rotamers, disulfides and "
        "cis peptides are favoured where the CAs still lie as there",
    )
    group.add_argument(
        "--disulfides",
        action="store_true",
        help="bond cysteines that stand as in a disulfide in all of the first frames",
    )
    group.add_argument(
        "--exact-ca",
        action="store_true",
        help="leave CA beads where they are even if no backbone fits them (bonds and "
        "angles suffer); otherwise they are moved as little as it takes",
    )
    group.add_argument(
        "--chains", type=split_commas, metavar="A,B", help="only these chains"
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help="refuse particles that are not protein instead of leaving them out",
    )
    group.add_argument(
        "--device", default="auto", help="auto, cpu, cuda, cuda:1 (default: auto)"
    )
    group.add_argument(
        "--threads", type=positive_number, help="torch threads (default: all cores)"
    )
