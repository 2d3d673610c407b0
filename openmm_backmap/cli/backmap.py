"""``openmm-backmap backmap``: trajectories and structures, streaming."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmm_backmap.cli.arguments import (
    add_model_options,
    natural_number,
    positive_number,
)
from openmm_backmap.cli.progress import FrameProgress
from openmm_backmap.errors import InputError, TrajectoryError
from openmm_backmap.paths import check_absent, check_folder

if TYPE_CHECKING:
    from openmm_backmap.backmapper import Backmapper
    from openmm_backmap.frames import CGFrame
    from openmm_backmap.pipeline import Pipeline

__all__ = ["add_parser", "run"]

_HOLD_TOPOLOGY = (".pdb", ".ent", ".cif", ".mmcif", ".pdbx", ".gro")
_WRITABLE = (".dcd", ".xtc", ".pdb", ".cif")
_EXAMPLES = """examples:
  openmm-backmap backmap traj.dcd -t cg.pdb -o aa.xtc
  openmm-backmap backmap ca.pdb -o aa.pdb
  openmm-backmap backmap traj.xtc -t cg.pdb -o aa.dcd --stride 10 --minimize
"""


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
        "backmap",
        parents=[common],
        help="turn a CG trajectory or structure into all atoms",
        description="Turn a coarse-grained trajectory or structure into all atoms.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "trajectory",
        nargs="+",
        help="PDB, mmCIF, GRO (all models are frames), DCD, XTC, TRR, NetCDF, HDF5 or "
        "NPY; several are read one after another; - reads their names from stdin",
    )
    parser.add_argument("-t", "--top", help="topology: PDB, mmCIF, GRO or PSF")
    parser.add_argument(
        "-o", "--output", required=True, help="output: .xtc, .dcd, .pdb or .cif"
    )
    frames = parser.add_argument_group("frames")
    frames.add_argument("--start", type=natural_number, default=0, metavar="N")
    frames.add_argument("--stop", type=natural_number, metavar="N")
    frames.add_argument("-s", "--stride", type=positive_number, default=1, metavar="N")
    frames.add_argument(
        "-c", "--chunk", type=positive_number, metavar="N", help="frames read at a time"
    )
    frames.add_argument(
        "--samples",
        type=positive_number,
        metavar="N",
        help="structures drawn for each frame (default: the most probable one)",
    )
    frames.add_argument("--seed", type=natural_number, default=0, metavar="N")
    add_model_options(parser)
    output = parser.add_argument_group("output")
    output.add_argument(
        "--no-hydrogens", action="store_true", help="write heavy atoms only"
    )
    output.add_argument(
        "--minimize", action="store_true", help="write minimized frames, too"
    )
    output.add_argument(
        "--solvent",
        choices=("vacuum", "obc", "gbn2"),
        default="vacuum",
        help="of the minimization (default: vacuum)",
    )
    output.add_argument(
        "--output-topology",
        metavar="FILE",
        help="all-atom topology (default: beside the output)",
    )
    output.add_argument("--metrics", metavar="FILE", help="CSV of checks a frame")
    output.add_argument(
        "--wrap", action="store_true", help="move whole chains into the box"
    )
    output.add_argument(
        "-f", "--force", action="store_true", help="replace existing output"
    )
    output.add_argument(
        "--resume",
        action="store_true",
        help="continue an interrupted job of the same command line",
    )
    output.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run=run, parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Backmap files.

    Parameters
    ----------
    arguments : argparse.Namespace
        See `add_parser`.

    Returns
    -------
    int
        Exit code.
    """
    paths = _input_paths(arguments)
    outputs = _Outputs(arguments)
    outputs.check()
    backmapper = _make_backmapper(arguments, paths)
    pipeline = outputs.open(backmapper)
    try:
        _stream(arguments, paths, pipeline)
    except BaseException:
        pipeline.close()
        outputs.keep_partial(pipeline)
        raise
    pipeline.close()
    if pipeline.failures:
        outputs.keep_partial(pipeline)
        raise pipeline.failures[0].error
    outputs.publish()
    return 0


def _input_paths(arguments: argparse.Namespace) -> list[Path]:
    """Return the trajectories, after checking that they can be read."""
    names = arguments.trajectory
    if names == ["-"]:
        names = [line.strip() for line in sys.stdin if line.strip()]
        if not names:
            arguments.parser.error("no file names came on stdin")
    paths = [Path(name) for name in names]
    if arguments.top is None and arguments.sequence is None:
        for path in paths:
            if path.suffix.lower() not in _HOLD_TOPOLOGY:
                arguments.parser.error(
                    f"{path} holds no topology: say which one with -t cg.pdb"
                )
    if arguments.resume and arguments.force:
        arguments.parser.error("--resume and --force: choose one")
    top = [] if arguments.top is None else [Path(arguments.top)]
    for path in top + paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file; check the name")
        if path.stat().st_size == 0:
            raise TrajectoryError(f"{path}: the file is empty; was it copied whole?")
    return paths


def _make_backmapper(
    arguments: argparse.Namespace, paths: Sequence[Path]
) -> "Backmapper":
    """Understand the topology and load the model."""
    from openmm_backmap.backmapper import Backmapper
    from openmm_backmap.mapping.cg_topology import CGTopology
    from openmm_backmap.mapping.subset import select_chains
    from openmm_backmap.trajectory import read_cg_frames

    def select(topology: CGTopology) -> CGTopology:
        if arguments.chains is None:
            return topology
        return select_chains(topology, arguments.chains)

    topology: Any = arguments.top or paths[0]
    if arguments.top is None and paths[0].suffix.lower() not in _HOLD_TOPOLOGY:
        topology = CGTopology.from_sequence(arguments.sequence)
    options = {}
    if arguments.top is not None and Path(arguments.top).suffix.lower() == ".psf":
        # a PSF holds no positions, which tell where chains end
        frame = next(read_cg_frames(paths, stop=1, chunk=1))[0]
        options = {"positions": frame.positions, "box": frame.box}
    backmapper = Backmapper.from_topology(
        Path(topology) if isinstance(topology, str) else topology,
        arguments.model,
        device=arguments.device,
        sequence=arguments.sequence,
        mapping=arguments.mapping,
        strict=arguments.strict,
        select=select,
        hydrogens=not arguments.no_hydrogens,
        seed=arguments.seed,
        threads=arguments.threads,
        wrap_chains=arguments.wrap,
        **options,
    )
    if backmapper.cg_topology.skipped_summary:
        _say(backmapper.cg_topology.skipped_summary)
    return backmapper


def _stream(
    arguments: argparse.Namespace, paths: Sequence[Path], pipeline: "Pipeline"
) -> None:
    """Take all frames through the pipeline; stop at the first that fails."""
    from openmm_backmap.trajectory import count_cg_frames, read_cg_frames

    backmapper = pipeline.backmapper
    n_before = pipeline.output.n_frames // (arguments.samples or 1)
    which = {
        "stride": arguments.stride,
        "start": arguments.start,
        "stop": arguments.stop,
    }
    n_total = count_cg_frames(paths, backmapper.cg_topology, **which)
    if n_total == 0:
        raise TrajectoryError(
            f"{paths[0]}: no frame to read; check --start {arguments.start} and "
            f"--stop {arguments.stop}"
        )
    if n_before:
        _say(f"continuing after {n_before} of {n_total} frames")
        which["start"] += n_before * arguments.stride
    with FrameProgress("backmapping", n_total, arguments.quiet) as progress:
        progress.advance(n_before)
        chunks: Iterator[list[CGFrame]] = iter(())
        if n_before < n_total:
            chunks = read_cg_frames(
                paths,
                backmapper.cg_topology,
                chunk=arguments.chunk or backmapper.batch_frames,
                **which,
            )
        for frames in chunks:
            pipeline.process(frames)
            progress.advance(len(frames))
            if pipeline.failures:
                raise pipeline.failures[0].error
        seconds = max(progress.seconds, 1e-9)
    _say(
        f"{arguments.output}: {n_total} frames, "
        f"{backmapper.cg_topology.n_residues} residues, {backmapper.n_atoms} atoms; "
        f"{seconds:.1f} s ({(n_total - n_before) / seconds:.1f} frames/s)"
    )


def _say(text: str) -> None:
    """Talk on stderr."""
    print(f"openmm-backmap: {text}", file=sys.stderr)


class _Outputs:
    """Output names; all is written beside them and moved there at the end.

    So a failed job replaces nothing, and what it wrote is kept.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        output = Path(arguments.output)
        if output.suffix.lower() not in _WRITABLE:
            arguments.parser.error(
                f"{output}: unknown format {output.suffix!r}, wanted one of "
                f"{', '.join(_WRITABLE)}"
            )
        self.output = output
        self.minimized = None
        if arguments.minimize:
            if arguments.no_hydrogens:
                arguments.parser.error("--minimize needs hydrogens")
            self.minimized = output.with_stem(output.stem + "_minimized")
        self.topology: Path | None = None
        if arguments.output_topology is not None:
            self.topology = Path(arguments.output_topology)
        self.metrics = None if arguments.metrics is None else Path(arguments.metrics)

    def paths(self) -> list[Path]:
        """Return all final names."""
        all_paths = (self.output, self.minimized, self.topology, self.metrics)
        return [path for path in all_paths if path is not None]

    def check(self) -> None:
        """Refuse output that exists, folders that do not, and input as output."""
        used = [Path(name) for name in self.arguments.trajectory]
        used += [Path(self.arguments.top)] if self.arguments.top else []
        paths = self.paths()
        if len({os.path.abspath(path) for path in paths}) < len(paths):
            self.arguments.parser.error("two outputs have one name")
        for path in paths:
            check_folder(path)
            if any(path.exists() and u.exists() and path.samefile(u) for u in used):
                raise InputError(f"{path}: is input and output; choose another name")
            if not self.arguments.force:
                check_absent(path, "--force")
        if not (self.arguments.force or self.arguments.resume):
            check_absent(
                _partial(self.output),
                "--resume to continue that job, --force to start anew",
            )

    def open(self, backmapper: "Backmapper") -> "Pipeline":
        """Open the partial files."""
        from openmm_backmap.metrics_table import MetricsTable
        from openmm_backmap.minimizer import Minimizer
        from openmm_backmap.output import TrajectoryOutput, choose_topology_path
        from openmm_backmap.pipeline import Pipeline

        topology = backmapper.atom_topology
        if self.topology is None:
            self.topology = choose_topology_path(self.output, topology)
            self.check()
        minimizer = None
        if self.minimized is not None:
            minimizer = Minimizer(
                topology,
                solvent=self.arguments.solvent,
                threads=self.arguments.threads,
            )
        resume = self.arguments.resume
        outputs = [
            TrajectoryOutput(
                _partial(path),
                topology,
                append=resume,
                overwrite=not resume,
                samples=self.arguments.samples or 1,
                note={
                    "model": backmapper.engine.metadata.name,
                    "seed": backmapper.seed,
                },
            )
            for path in (self.output, self.minimized)
            if path is not None
        ]
        metrics = None
        if self.metrics is not None:
            metrics = MetricsTable(
                _partial(self.metrics), append=resume, last_step=outputs[0].last_step
            )
        return Pipeline(
            backmapper,
            outputs[0],
            minimizer=minimizer,
            minimized_output=outputs[1] if len(outputs) > 1 else None,
            metrics=metrics,
            topology_file=None if self.topology is None else _partial(self.topology),
            samples=self.arguments.samples,
        )

    def publish(self) -> None:
        """Give all files their final names."""
        for path in self.paths():
            if _partial(path).exists():
                os.replace(_partial(path), path)
            _journal(path).unlink(missing_ok=True)

    def keep_partial(self, pipeline: "Pipeline") -> None:
        """Say what is kept; remove what holds no frame."""
        n_frames = pipeline.output.n_frames
        if n_frames:
            _say(
                f"the {n_frames} frames written so far are kept in "
                f"{_partial(self.output)}; --resume continues them"
            )
            return
        for path in self.paths():
            _partial(path).unlink(missing_ok=True)
            _journal(path).unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    """Return the name under which a file is written."""
    return path.with_stem(path.stem + ".partial")


def _journal(path: Path) -> Path:
    """Return the journal of a partial file."""
    from openmm_backmap.output import journal_path

    return journal_path(_partial(path))
