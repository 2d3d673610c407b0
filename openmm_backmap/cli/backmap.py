"""``openmm-backmap backmap``: trajectories and structures, streaming."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmm_backmap.cli.arguments import (
    add_model_options,
    natural_number,
    positive_number,
)
from openmm_backmap.cli.backmap_outputs import BackmapOutputs, say
from openmm_backmap.cli.backmap_workers import compute_chunks, open_workers
from openmm_backmap.cli.progress import FrameProgress
from openmm_backmap.errors import InputError, TrajectoryError

if TYPE_CHECKING:
    from openmm_backmap.backmapper import Backmapper
    from openmm_backmap.parallel import Chunk
    from openmm_backmap.pipeline import Pipeline
    from openmm_backmap.trajectory import CGFrameChunks

__all__ = ["add_parser", "run"]

_HOLD_TOPOLOGY = (".pdb", ".ent", ".cif", ".mmcif", ".pdbx", ".gro")
_EXAMPLES = """examples:
  openmm-backmap backmap traj.dcd -t cg.pdb -o aa.xtc
  openmm-backmap backmap ca.pdb -o aa.pdb
  openmm-backmap backmap traj.xtc -t cg.pdb -o aa.dcd --stride 10 --minimize
  ls run*.dcd | openmm-backmap backmap - -t cg.pdb -o aa.xtc --jobs 4 --resume
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
        help="PDB, mmCIF (.gz may follow), GRO (all models are frames), DCD, XTC, TRR, "
        "NetCDF, HDF5 or NPY; several are read one after another; - reads their names "
        "from stdin",
    )
    parser.add_argument(
        "-t", "--top", help="topology: PDB, mmCIF (.gz may follow), GRO or PSF"
    )
    parser.add_argument(
        "-o", "--output", required=True, help="output: .xtc, .dcd, .pdb or .cif"
    )
    _add_frame_options(parser)
    add_model_options(parser)
    _add_output_options(parser)
    _add_worker_options(parser)
    parser.set_defaults(run=run, parser=parser)


def _add_frame_options(parser: argparse.ArgumentParser) -> None:
    """Which frames are read, and what is drawn for each."""
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


def _add_output_options(parser: argparse.ArgumentParser) -> None:
    """What is written."""
    output = parser.add_argument_group("output")
    output.add_argument(
        "--no-hydrogens", action="store_true", help="write heavy atoms only"
    )
    output.add_argument(
        "--minimize", action="store_true", help="write minimized frames, too"
    )
    output.add_argument(
        "--minimize-stride",
        type=positive_number,
        default=1,
        metavar="N",
        help="minimize every so many of the frames that are written (default: 1)",
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


def _add_worker_options(parser: argparse.ArgumentParser) -> None:
    """Who does the work."""
    workers = parser.add_argument_group("many workers, same results")
    workers.add_argument(
        "-j",
        "--jobs",
        type=positive_number,
        default=1,
        metavar="N",
        help="local processes (default: 1)",
    )
    workers.add_argument(
        "--scheduler",
        metavar="ADDRESS",
        help="run on workers of a Dask scheduler: tcp://HOST:PORT or its .json file",
    )


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
    outputs = BackmapOutputs(arguments)
    outputs.check()
    backmapper = _make_backmapper(arguments, paths)
    pipeline = outputs.open(backmapper)
    try:
        _stream(arguments, paths, pipeline, outputs.n_before(pipeline))
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
            if not _holds_topology(path):
                arguments.parser.error(
                    f"{path} holds no topology: say which one with -t cg.pdb"
                )
    if arguments.resume and arguments.force:
        arguments.parser.error("--resume and --force: choose one")
    if arguments.jobs > 1 and arguments.scheduler is not None:
        arguments.parser.error("--jobs and --scheduler: choose one")
    top = [] if arguments.top is None else [Path(arguments.top)]
    for path in top + paths:
        if not path.is_file():
            raise InputError(f"{path}: no such file; check the name")
        if path.stat().st_size == 0:
            raise TrajectoryError(f"{path}: the file is empty; was it copied whole?")
    return paths


def _holds_topology(path: Path) -> bool:
    """Whether a trajectory says by itself what its particles are."""
    from openmm_backmap.trajectory.structure import full_suffix

    return full_suffix(path) in _HOLD_TOPOLOGY


def _make_backmapper(
    arguments: argparse.Namespace, paths: Sequence[Path]
) -> "Backmapper":
    """Understand the topology and load the model."""
    from openmm_backmap.backmapper import Backmapper
    from openmm_backmap.backmapper_beads import LOOKED_AT
    from openmm_backmap.mapping.cg_topology import CGTopology
    from openmm_backmap.mapping.subset import select_chains
    from openmm_backmap.trajectory import read_cg_frames

    def select(topology: CGTopology) -> CGTopology:
        if arguments.chains is None:
            return topology
        return select_chains(topology, arguments.chains)

    topology: Any = arguments.top or paths[0]
    if arguments.top is None and not _holds_topology(paths[0]):
        if arguments.mapping == "mixed":
            arguments.parser.error("--mapping mixed needs a topology: -t cg.pdb")
        topology = CGTopology.from_sequence(
            arguments.sequence, mapping=arguments.mapping or "ca"
        )
    options: dict[str, Any] = {}
    if arguments.top is not None or isinstance(topology, CGTopology):
        # the run tells CA from centres of mass, and where chains end; its start
        # often does not, and a PSF holds no positions at all
        options["frames"] = next(
            read_cg_frames(paths, topology, stop=LOOKED_AT, chunk=LOOKED_AT)
        )
    backmapper = Backmapper.from_topology(
        Path(topology) if isinstance(topology, str) else topology,
        arguments.model,
        device=arguments.device,
        sequence=arguments.sequence,
        mapping=arguments.mapping,
        strict=arguments.strict,
        select=select,
        hydrogens=not arguments.no_hydrogens,
        template=arguments.template,
        disulfides="auto" if arguments.disulfides else None,
        exact_ca=arguments.exact_ca,
        seed=arguments.seed,
        threads=arguments.threads,
        wrap_chains=arguments.wrap,
        **options,
    )
    if backmapper.template is not None:
        n_known, n_all = backmapper.template.n_known, backmapper.cg_topology.n_residues
        n_bonds = len(backmapper.template.disulfides)
        say(f"template: {n_known} of {n_all} residues, {n_bonds} disulfides")
    if backmapper.cg_topology.skipped_summary:
        say(backmapper.cg_topology.skipped_summary)
    return backmapper


def _stream(
    arguments: argparse.Namespace,
    paths: Sequence[Path],
    pipeline: "Pipeline",
    n_before: int,
) -> None:
    """Take all frames through the pipeline; stop at the first that fails."""
    from openmm_backmap.backmapper_disulfides import notice_in_frames
    from openmm_backmap.trajectory import CGFrameChunks

    backmapper = pipeline.backmapper
    chunks = CGFrameChunks(
        paths,
        backmapper.cg_topology,
        stride=arguments.stride,
        start=arguments.start,
        stop=arguments.stop,
        chunk=arguments.chunk or backmapper.batch_frames,
    )
    if chunks.n_frames == 0:
        raise TrajectoryError(
            f"{paths[0]}: no frame to read; check --start {arguments.start} and "
            f"--stop {arguments.stop}"
        )
    if n_before:
        _check_same_job(chunks, pipeline, n_before)
        say(f"continuing after {n_before} of {chunks.n_frames} frames")
    with (
        FrameProgress("backmapping", chunks.n_frames, arguments.quiet) as progress,
        open_workers(arguments, pipeline) as workers,
    ):
        progress.advance(n_before)
        planned = _plan_chunks(arguments, chunks, n_before)
        is_first = workers is not None  # workers say nothing themselves
        for chunk, results in compute_chunks(pipeline, workers, planned):
            for number, result in enumerate(results):
                if is_first and result.atoms:
                    is_first = False
                    notice_in_frames(result.atoms, backmapper.atom_topology)
                if number < chunk.n_done:
                    continue
                pipeline.write(result)
                if pipeline.failures:
                    raise pipeline.failures[0].error
            progress.advance(len(chunk.frames) - chunk.n_done)
        seconds = max(progress.seconds, 1e-9)
    say(
        f"{arguments.output}: {chunks.n_frames} frames, "
        f"{backmapper.cg_topology.n_residues} residues, {backmapper.n_atoms} atoms; "
        f"{seconds:.1f} s ({(chunks.n_frames - n_before) / seconds:.1f} frames/s)"
    )


def _check_same_job(
    chunks: "CGFrameChunks", pipeline: "Pipeline", n_before: int
) -> None:
    """Refuse to continue with other frames than those the output began with."""
    output = pipeline.output
    step = None
    if n_before <= chunks.n_frames:
        step = int(chunks.read_frame(n_before - 1).step)
        if step == output.last_step:
            return
    has = "none" if step is None else f"step {step}"
    raise InputError(
        f"{output.path}: cannot continue: its frame {n_before} is of step "
        f"{output.last_step}, this command line has {has} there; give the "
        "trajectories, --start, --stop and --stride of the interrupted job, or "
        "--force to start anew"
    )


def _plan_chunks(
    arguments: argparse.Namespace, chunks: "CGFrameChunks", n_before: int
) -> Iterator["Chunk"]:
    """Read chunks, the same ones whatever the workers and the restarts."""
    from openmm_backmap.parallel import Chunk

    if n_before >= chunks.n_frames:
        return
    first = None
    for frames, n_done in chunks.iterate(n_before):
        first = n_before - n_done if first is None else first
        turns = [
            k >= n_done and (first + k) % arguments.minimize_stride == 0
            for k in range(len(frames))
        ]
        first += len(frames)
        yield Chunk(frames, turns, n_done)
