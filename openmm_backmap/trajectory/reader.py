"""Read coarse-grained frames from any trajectory, in chunks, with flat memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from openmm_backmap.errors import InputError, TrajectoryError
from openmm_backmap.frames import CGFrame
from openmm_backmap.trajectory.base import FrameSource
from openmm_backmap.trajectory.sources import open_source
from openmm_backmap.trajectory.structure import read_topology

__all__ = ["CGFrameChunks", "count_cg_frames", "read_cg_frames"]

Paths = str | Path | Sequence[str | Path]


def read_cg_frames(
    paths: Paths,
    top: Any = None,  # noqa: ANN401
    *,
    stride: int = 1,
    start: int = 0,
    stop: int | None = None,
    chunk: int = 32,
) -> Iterator[list[CGFrame]]:
    """Read frames in chunks; only one chunk is in memory.

    Parameters
    ----------
    paths : str, Path or sequence of them
        One or several trajectories, read one after the other: DCD, XTC, TRR,
        NetCDF, HDF5, NPY, or multi-model PDB, mmCIF or GRO.
    top : str, Path, openmm.app.Topology, mdtraj.Topology, CGTopology or None
        Topology whose number of particles the frames must have. If None, it is
        not checked.
    stride : int
        Read every so many frames, counted over all files.
    start : int
        First frame, counted over all files.
    stop : int or None
        Frame before which to stop. If None, read to the end.
    chunk : int
        Frames a chunk. Several chunks may come from one file, and one chunk
        never spans two.

    Yields
    ------
    list of CGFrame
        At most `chunk` frames. Steps and times are those of the file; formats
        that keep no step give the number of the frame.

    Raises
    ------
    InputError
        If a file does not exist, a format is not known, or a number makes no
        sense.
    TrajectoryError
        If a file is empty or damaged, or has another number of particles than
        the topology.
    """
    # checked now, not at the first `next`
    chunks = CGFrameChunks(
        paths, top, stride=stride, start=start, stop=stop, chunk=chunk
    )
    return (frames for frames, _ in chunks.iterate())


class CGFrameChunks:
    """The frames of trajectories, cut into chunks that are always the same.

    Parameters
    ----------
    paths, top, stride, start, stop, chunk
        See `read_cg_frames`.

    Attributes
    ----------
    n_frames : int
        Number of frames.
    """

    def __init__(
        self,
        paths: Paths,
        top: Any = None,  # noqa: ANN401
        *,
        stride: int = 1,
        start: int = 0,
        stop: int | None = None,
        chunk: int = 32,
    ) -> None:
        if chunk < 1:
            raise InputError(f"chunk is {chunk}, want 1 or more")
        self._plan = _plan(paths, top, stride, start, stop)
        self._chunk = chunk
        self.n_frames = sum(len(frames) for _, frames in self._plan)

    def read_frame(self, number: int) -> CGFrame:
        """Read one frame, before or while all of them are read.

        Parameters
        ----------
        number : int
            0 to `n_frames` - 1, counted over the frames that are read.

        Returns
        -------
        CGFrame
            The one that `iterate` gives at that place.

        Raises
        ------
        InputError
            If there are fewer frames.
        """
        rest = number
        for source, frames in self._plan:
            if rest < len(frames):
                return next(source.iterate(frames[rest : rest + 1]))
            rest -= len(frames)
        raise InputError(f"frame {number} of {self.n_frames}: there is none")

    def iterate(self, n_done: int = 0) -> Iterator[tuple[list[CGFrame], int]]:
        """Read chunk after chunk; those that are done are not read.

        The last bits of a model's output depend on which frames share a pass.
        So a job that goes on after an interruption takes the same chunks.

        Parameters
        ----------
        n_done : int, optional
            Frames at the beginning that are done.

        Yields
        ------
        frames : list of CGFrame
            A whole chunk.
        n_done : int
            How many of its frames, at its beginning, are done.
        """
        for source, frames in self._plan:
            if n_done >= len(frames):
                n_done -= len(frames)
                continue
            whole = n_done // self._chunk * self._chunk
            n_done -= whole
            for batch in _read(source, frames[whole:], self._chunk):
                yield batch, n_done
                n_done = 0


def count_cg_frames(
    paths: Paths,
    top: Any = None,  # noqa: ANN401
    *,
    stride: int = 1,
    start: int = 0,
    stop: int | None = None,
) -> int:
    """Count the frames that `read_cg_frames` would give.

    Parameters
    ----------
    paths, top, stride, start, stop
        See `read_cg_frames`.

    Returns
    -------
    int
        Number of frames.
    """
    return sum(len(frames) for _, frames in _plan(paths, top, stride, start, stop))


def _plan(
    paths: Paths,
    top: Any,  # noqa: ANN401
    stride: int,
    start: int,
    stop: int | None,
) -> list[tuple[FrameSource, range]]:
    """Decide which frames of which file to read."""
    if stride < 1 or start < 0 or (stop is not None and stop < start):
        raise InputError(
            f"stride {stride}, start {start}, stop {stop}: want a stride of 1 or more "
            "and 0 <= start <= stop"
        )
    if isinstance(paths, str | Path):
        paths = [paths]
    if not paths:
        raise InputError("no trajectory was given")
    wanted, name = _count_particles(top)
    plan, offset, first = [], 0, start
    for path in paths:
        source = open_source(path)
        if wanted is not None and source.n_atoms != wanted:
            raise TrajectoryError(
                f"{source.path} has {source.n_atoms} particles, {name} has {wanted}: "
                "give the topology, or sequence, that this trajectory was written with"
            )
        end = source.n_frames if stop is None else min(source.n_frames, stop - offset)
        frames = range(first - offset, max(end, first - offset), stride)
        if len(frames):
            plan.append((source, frames))
            first += len(frames) * stride
        offset += source.n_frames
    if not plan and (stop is None or stop > start):
        raise InputError(f"start is {start}, but there are only {offset} frames")
    return plan


def _count_particles(top: Any) -> tuple[int | None, str]:  # noqa: ANN401
    """Return how many particles a topology has, and what to call it."""
    if top is None:
        return None, ""
    if isinstance(top, str | Path):
        return read_topology(top)[0].getNumAtoms(), str(top)
    for name in ("n_beads", "n_atoms"):
        if hasattr(top, name):
            return int(getattr(top, name)), "the topology"
    return int(top.getNumAtoms()), "the topology"


def _read(source: FrameSource, frames: range, chunk: int) -> Iterator[list[CGFrame]]:
    batch: list[CGFrame] = []
    for frame in source.iterate(frames):
        batch.append(frame)
        if len(batch) == chunk:
            yield batch
            batch = []
    if batch:
        yield batch
