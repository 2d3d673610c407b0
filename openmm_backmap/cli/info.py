"""``openmm-backmap info``: what is installed, and what a file is understood as."""

import argparse
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmm_backmap._version import __version__
from openmm_backmap.cli.arguments import parse_sequence
from openmm_backmap.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["add_parser", "run"]

_CHECKPOINT = "checkpoint.pt"
_LIBRARIES = ("openmm", "torch", "e3nn", "mdtraj", "numpy", "scipy", "pdbfixer")


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
        "info",
        parents=[common],
        help="show models, versions and devices, or what a file is understood as",
        description="Show models, versions and devices; or, given a topology, a "
        "model or a run folder, what it is understood as.",
    )
    parser.add_argument(
        "file", nargs="?", help="a topology, a model (name or .pt) or a run folder"
    )
    parser.add_argument("--mapping", help="what the beads are (default: CA)")
    parser.add_argument(
        "--sequence",
        type=parse_sequence,
        metavar="FASTA",
        help="true sequence, where residue names hide it",
    )
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what was asked for on stdout.

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

    from openmm_backmap.artifact.packaged import (
        check_one_meaning,
        find_model,
        list_models,
    )

    console = Console(highlight=False)
    if arguments.file is None:
        _show_versions(console)
        _show_models(console)
        _show_devices(console)
    elif arguments.file in list_models():
        check_one_meaning(arguments.file)
        _show_model_file(console, find_model(arguments.file))
    elif Path(arguments.file).is_dir() or Path(arguments.file).name == _CHECKPOINT:
        _show_run(console, Path(arguments.file))
    elif Path(arguments.file).suffix == ".pt":
        _show_model_file(console, Path(arguments.file))
    else:
        _show_topology(console, arguments)
    return 0


def _show_versions(console: "Console") -> None:
    """Print versions of us and of the libraries."""
    table = _table("openmm-backmap", "version")
    table.add_row("openmm-backmap", __version__)
    table.add_row("python", platform.python_version())
    for name in _LIBRARIES:
        try:
            table.add_row(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            table.add_row(name, "not installed")
    console.print(table)


def _show_models(console: "Console") -> None:
    """Print the packaged models."""
    from openmm_backmap.artifact import list_models, load_engine
    from openmm_backmap.backmapper_input import choose_model

    table = _table("model", "mapping", "noise", "licence", "default")
    for name in list_models():
        metadata = load_engine(name, "cpu").metadata
        table.add_row(
            name,
            ", ".join(metadata.mappings),
            f"{metadata.noise_width} a residue",
            metadata.licence,
            "yes" if choose_model(None) == name else "",
        )
    console.print(table)


def _show_devices(console: "Console") -> None:
    """Print where torch and OpenMM can run."""
    import openmm
    import torch

    devices = [f"cpu ({torch.get_num_threads()} threads)"]
    for number in range(torch.cuda.device_count()):
        devices.append(f"cuda:{number} ({torch.cuda.get_device_name(number)})")
    platforms = [
        openmm.Platform.getPlatform(number).getName()
        for number in range(openmm.Platform.getNumPlatforms())
    ]
    table = _table("library", "runs on")
    table.add_row("torch", ", ".join(devices))
    table.add_row("openmm", ", ".join(platforms))
    console.print(table)


def _show_model_file(console: "Console", path: Path) -> None:
    """Print the metadata of a model file."""
    from openmm_backmap.artifact import load_engine

    console.print(load_engine(path, "cpu").metadata.to_json(), soft_wrap=True)


def _show_run(console: "Console", path: Path) -> None:
    """Print how far a training run is, and its configuration."""
    if path.is_dir() and not (path / _CHECKPOINT).exists():
        raise InputError(
            f"{path} is a folder without {_CHECKPOINT}: give a topology, a model file "
            "(.pt) or the folder of a training run"
        )
    from openmm_backmap.training.export import load_run_info

    config, told = load_run_info(path)
    text = json.dumps({**told, "config": config.to_dict()}, indent=2)
    console.print(text, soft_wrap=True)


def _show_topology(console: "Console", arguments: argparse.Namespace) -> None:
    """Print chains and residues of a topology file."""
    from openmm_backmap.backmapper_input import as_cg_topology
    from openmm_backmap.mapping.atom_topology import AtomTopology

    topology = as_cg_topology(
        Path(arguments.file), mapping=arguments.mapping, sequence=arguments.sequence
    )
    atoms = AtomTopology.from_cg_topology(topology)
    console.print(
        f"{arguments.file}: {topology.n_beads} particles, mapping "
        f"{topology.mapping.name!r}: {topology.n_residues} residues in "
        f"{topology.n_chains} chains, {atoms.n_atoms} atoms with hydrogens",
        soft_wrap=True,
    )
    if topology.skipped_summary:
        console.print(topology.skipped_summary, soft_wrap=True)
    table = _table("segment", "chain", "residues", "ids", "sequence")
    for segment in range(topology.n_chains):
        rows = (topology.chain_index == segment).nonzero()[0]
        first, last = topology.residue_id[rows[0]], topology.residue_id[rows[-1]]
        table.add_row(
            str(segment),
            topology.chain_id[segment],
            str(len(rows)),
            f"{first}-{last}",
            topology.sequence(segment),
        )
    console.print(table)


def _table(*columns: str) -> Any:
    """Make a plain table."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE)
    for name in columns:
        table.add_column(name, overflow="fold")
    return table
