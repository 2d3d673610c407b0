"""``openmm-backmap generate``: all-atom frames of disordered peptides."""

import argparse
import warnings
from pathlib import Path
from typing import Any

from openmm_backmap.cli.arguments import natural_number, positive_number
from openmm_backmap.cli.progress import FrameProgress
from openmm_backmap.errors import BackmapWarning

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
        "generate",
        parents=[common],
        help="simulate disordered peptides to train on",
        description="Run short all-atom simulations (Amber ff14SB, implicit solvent) "
        "of peptides whose sequences cover all neighbourhoods, each from several "
        "random conformations, and write the frames in the training form.  The same "
        "command goes on where it was stopped.",
    )
    add = parser.add_argument
    add("-o", "--output", type=Path, required=True, metavar="DIR")
    add("-n", "--n-sequences", type=positive_number, default=150, metavar="N",
        help="sequences in all (default: 150)")  # fmt: skip
    add("--frames", type=positive_number, default=8, metavar="N",
        help="frames of a sequence, rounded up to the same number of each start "
        "(default: 8)")  # fmt: skip
    add("--starts", type=positive_number, default=4, metavar="N",
        help="independent starts of a sequence (default: 4)")  # fmt: skip
    add("--seed", type=natural_number, default=0)
    add("--min-length", type=positive_number, default=8, help="residues (default: 8)")
    add("--max-length", type=positive_number, default=24, help="residues (default: 24)")
    add("--disordered", type=float, default=0.3, metavar="SHARE",
        help="share of sequences with the composition of disordered regions, the "
        "others are even (default: 0.3)")  # fmt: skip
    add("--temperature-min", type=float, default=300.0, help="kelvin (default: 300)")
    add("--temperature-max", type=float, default=450.0, help="kelvin (default: 450)")
    add("--solvent", choices=("obc", "gbn2"), default="obc",
        help="implicit solvent (default: obc; gbn2 costs 7 times as much on a CPU)",
    )  # fmt: skip
    add("--annealing", type=float, default=8.0, metavar="PS",
        help="time in which 600 K fall to the temperature of a start (default: 8)",
    )  # fmt: skip
    add("--equilibration", type=float, default=1.0, metavar="PS",
        help="time in solvent before sampling (default: 1.0)")  # fmt: skip
    add("--interval", type=float, default=0.8, metavar="PS",
        help="time before each frame (default: 0.8)")  # fmt: skip
    add("--timestep", type=float, default=4.0, metavar="FS", help="default: 4")
    add("--platform", help="OpenMM platform (default: the fastest)")
    add("--threads", type=positive_number, default=1,
        help="threads a process on the CPU platform (default: 1)")  # fmt: skip
    add("--jobs", type=positive_number, default=1, help="processes (default: 1)")
    add("--time-limit", type=float, metavar="MINUTES",
        help="begin no sequence after this time")  # fmt: skip
    add("--pack-only", action="store_true",
        help="simulate nothing, pack what is there (also beside a running one)",
    )  # fmt: skip
    add("--compare", type=Path, metavar="DATA",
        help="print populations beside those of the train split of a data folder",
    )  # fmt: skip
    add("-q", "--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Generate, pack, and say on stdout what there is.

    Parameters
    ----------
    arguments : argparse.Namespace
        See `add_parser`.

    Returns
    -------
    int
        Exit code.
    """
    from openmm_backmap.generate.store import pack

    if not arguments.pack_only:
        try:
            _generate(arguments)
        except KeyboardInterrupt:
            _say(pack(arguments.output))
            raise
    _say(pack(arguments.output))
    if arguments.compare is not None:
        from openmm_backmap.generate.compare import compare_sets

        print("\n".join(compare_sets(arguments.output, arguments.compare)))
    return 0


def _generate(arguments: argparse.Namespace) -> None:
    from openmm_backmap.generate.run import GenerationSettings, generate
    from openmm_backmap.generate.simulate import SimulationSettings

    per_start = -(-arguments.frames // arguments.starts)
    n_frames = per_start * arguments.starts
    if n_frames != arguments.frames:
        warnings.warn(
            f"--frames {arguments.frames} are not shared out evenly by --starts "
            f"{arguments.starts}: {per_start} of each, {n_frames} of a sequence",
            BackmapWarning,
            2,
        )
    settings = GenerationSettings(
        seed=arguments.seed,
        n_starts=arguments.starts,
        min_length=arguments.min_length,
        max_length=arguments.max_length,
        disordered_share=arguments.disordered,
        min_temperature=arguments.temperature_min,
        max_temperature=arguments.temperature_max,
        simulation=SimulationSettings(
            solvent=arguments.solvent,
            timestep=arguments.timestep / 1000.0,
            annealing_time=arguments.annealing,
            equilibration_time=arguments.equilibration,
            interval=arguments.interval,
            frames_per_start=per_start,
        ),
    )
    limit = arguments.time_limit
    with FrameProgress("generate", arguments.n_sequences, arguments.quiet) as progress:
        generate(
            arguments.output,
            arguments.n_sequences,
            settings,
            platform=arguments.platform,
            n_jobs=arguments.jobs,
            n_threads=arguments.threads,
            time_limit=None if limit is None else 60.0 * limit,
            on_sequence=lambda path: progress.advance(1),
        )


def _say(packed: Any) -> None:
    from rich.console import Console

    from openmm_backmap.generate.sequences import measure_coverage

    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"{packed.path}: {len(packed.sequences)} sequences, {packed.n_frames} frames, "
        f"{packed.n_residues} residues x frames"
    )
    console.print(measure_coverage(packed.sequences).describe())
    lost = ", ".join(f"{n} {name}" for name, n in sorted(packed.faults.items()))
    console.print(
        f"thrown away: {lost or 'nothing'}; sequences without a good frame: "
        f"{packed.n_failed}"
    )
