"""``openmm-backmap prepare``: structures and trajectories to a training set."""

import argparse
import warnings
from pathlib import Path
from typing import Any

from openmm_backmap.cli.arguments import positive_number
from openmm_backmap.cli.progress import FrameProgress
from openmm_backmap.errors import BackmapWarning, InputError

__all__ = ["add_parser", "run"]


def _share(text: str) -> float:
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0.0 <= share < 1.0:
        raise argparse.ArgumentTypeError(f"{text!r} came, wanted a share, 0 to below 1")
    return share


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
        "prepare",
        parents=[common],
        help="make a training set of structures or trajectories",
        description="Curate PDB and mmCIF files or all-atom trajectories, cluster "
        "their sequences, divide them into splits that share none, and write the "
        "shards that `train` and `evaluate` read, with a manifest (entries.tsv).",
    )
    add = parser.add_argument
    add("folder", type=Path, nargs="?", help="searched with its subfolders")
    add(
        "--from-list", type=Path, nargs="?", const=True, metavar="TSV",
        help="download the wwPDB entries of a list with a column pdb_id (without a "
        "file: those behind the shipped weights) and prepare them",
    )  # fmt: skip
    add("-o", "--output", type=Path, required=True, metavar="DIR")
    add("--top", type=Path, help="topology of the trajectories (default: same name)")
    add("--frames", type=positive_number, default=60, help="models of an entry")
    add("--max-resolution", type=float, default=3.0, help="angstrom (default: 3.0)")
    add("--max-residues", type=positive_number, default=1500)
    add("--val", type=_share, default=0.05, help="share of residues (default: 0.05)")
    add("--test", type=_share, default=0.03, help="share of residues (default: 0.03)")
    add("--licence", default="", help="of the coordinates, for the manifest")
    add("--kind", default="", help="conformer_kind in the manifest, like disordered")
    add("--mirror", help="address of a copy of the wwPDB's divided mmCIF folder")
    add("--entries", type=positive_number, help="only the first N of the list")
    add("--overwrite", action="store_true", help="replace a training set")
    add("-q", "--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Prepare, and say on stdout what came of it.

    Parameters
    ----------
    arguments : argparse.Namespace
        See `add_parser`.

    Returns
    -------
    int
        Exit code.
    """
    from rich.console import Console

    from openmm_backmap.training.prepare import find_sources, prepare_sources
    from openmm_backmap.training.prepare_curate import CurationSettings

    if (arguments.folder is None) == (arguments.from_list is None):
        raise InputError("give either a folder or --from-list")
    licence, splits, chains = arguments.licence, None, None
    if arguments.from_list is not None:
        sources, splits, chains = _download(arguments)
        licence = licence or "CC0-1.0 (wwPDB coordinates)"
    else:
        sources = find_sources(arguments.folder, arguments.top)
    settings = CurationSettings(
        max_resolution=arguments.max_resolution,
        max_residues=arguments.max_residues,
        max_models=arguments.frames,
    )
    with FrameProgress("prepare", len(sources), arguments.quiet) as progress:
        result = prepare_sources(
            sources,
            arguments.output,
            settings=settings,
            licence=licence,
            splits=splits,
            chains=chains,
            fractions=(arguments.val, arguments.test),
            kind=arguments.kind,
            overwrite=arguments.overwrite,
            on_file=lambda path: progress.advance(1),
        )
    console = Console(highlight=False)
    for split, count in result.n_entries.items():
        console.print(f"{split}: {count} entries, {result.n_residues[split]} residues")
    console.print(
        f"left out: {len(result.rejected)} files (rejected.tsv says why); "
        f"written to {arguments.output}"
    )
    return 0


def _download(
    arguments: argparse.Namespace,
) -> tuple[list[tuple[Path, None]], dict[str, str], dict[str, tuple[str, ...]]]:
    """Fetch the entries of a list; sources, and splits and chains by PDB id."""
    from openmm_backmap.training.prepare_download import (
        MIRROR,
        PACKAGED_LIST,
        download_entries,
        read_entry_list,
    )

    path = PACKAGED_LIST if arguments.from_list is True else arguments.from_list
    entries = read_entry_list(path)[: arguments.entries]
    with FrameProgress("download", len(entries), arguments.quiet) as progress:
        files, missing = download_entries(
            entries,
            arguments.output / "mmcif",
            mirror=(arguments.mirror or MIRROR).rstrip("/"),
            on_file=lambda path: progress.advance(1),
        )
    if missing:
        warnings.warn(
            f"{len(missing)} entries are not on the mirror: {', '.join(missing[:5])}",
            BackmapWarning,
            2,
        )
    if not files:
        raise InputError("no entry of the list is on the mirror: check --mirror")
    splits = {entry.pdb_id: entry.split for entry in entries if entry.split}
    chains = {entry.pdb_id: entry.chains for entry in entries}
    return [(file, None) for file in files], splits, chains
