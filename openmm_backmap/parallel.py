"""Many workers for one job: local processes, or a Dask cluster.

The job cuts its frames into chunks, the workers compute them in any order, and
the results come back in the order of the frames.  A chunk whose worker dies is
computed again.  Workers read no trajectory and write no file.
"""

import multiprocessing
import pickle
import signal
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol

from openmm_backmap.backmapper import Backmapper
from openmm_backmap.errors import BackmapError
from openmm_backmap.frame_processor import FrameProcessor, StepResult
from openmm_backmap.frames import CGFrame
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.minimizer import Minimizer
from openmm_backmap.worker_process import end_with_parent

__all__ = [
    "Chunk",
    "ProcessWorkers",
    "ProcessorSpec",
    "Workers",
    "compute_chunk",
    "compute_in_order",
]

_CHUNKS_A_WORKER = 2
"""Chunks in flight for each worker: one at work, one at hand."""

_MAX_DEATHS = 3
"""Times that workers may die without any result in between."""


@dataclass(frozen=True, eq=False)
class ProcessorSpec:
    """What a worker needs to make the same `FrameProcessor` as the serial run.

    Attributes
    ----------
    cg_topology : CGTopology
        Of the frames.
    model : str
        Name of a packaged model, or a file that every worker can read.
    device : str
        Where the model runs.
    options : mapping
        Keywords of `Backmapper`.
    samples : int or None
        Structures a frame.
    minimize : mapping or None
        Keywords of `Minimizer`.  If None, nothing is minimized.
    has_metrics : bool
        Whether structures are checked.
    """

    cg_topology: CGTopology
    model: str | None
    device: str = "auto"
    options: Mapping[str, Any] = field(default_factory=dict)
    samples: int | None = None
    minimize: Mapping[str, Any] | None = None
    has_metrics: bool = False

    def make_processor(self) -> FrameProcessor:
        """Load the model and make the processor.

        Returns
        -------
        FrameProcessor
            Ready to run.
        """
        backmapper = Backmapper.from_topology(
            self.cg_topology, self.model, device=self.device, **self.options
        )
        backmapper.hush()
        minimizer = None
        if self.minimize is not None:
            minimizer = Minimizer(backmapper.atom_topology, **self.minimize)
        return FrameProcessor(
            backmapper,
            minimizer=minimizer,
            samples=self.samples,
            has_metrics=self.has_metrics,
        )


@dataclass(frozen=True, eq=False)
class Chunk:
    """Frames that are computed together.

    Attributes
    ----------
    frames : list of CGFrame
        In order.
    is_minimized : list of bool
        Which of them are minimized.
    n_done : int
        How many at the beginning are written already.
    """

    frames: list[CGFrame]
    is_minimized: list[bool]
    n_done: int = 0


_lock = threading.Lock()


@lru_cache(maxsize=2)
def _make_processor(spec: bytes) -> FrameProcessor:
    """Make a processor once in a worker."""
    return pickle.loads(spec).make_processor()


def compute_chunk(spec: bytes, chunk: Chunk) -> list[StepResult]:
    """Compute a chunk; this is what a worker runs.

    Parameters
    ----------
    spec : bytes
        A pickled `ProcessorSpec`.
    chunk : Chunk
        The frames.

    Returns
    -------
    list of StepResult
        One a frame, in order.
    """
    # a Dask worker may have several threads; a Minimizer has one Context
    with _lock:
        processor = _make_processor(spec)
        return list(processor.compute(chunk.frames, chunk.is_minimized))


class Workers(Protocol):
    """Workers that compute chunks."""

    @property
    def n_workers(self) -> int:
        """Workers at hand now."""
        ...

    def submit(self, chunk: Chunk) -> Any:  # noqa: ANN401
        """Give a chunk to a worker."""
        ...

    def wait(self, ticket: Any) -> list[StepResult]:  # noqa: ANN401
        """Wait for the results of a chunk."""
        ...


def compute_in_order(
    workers: Workers, chunks: Iterable[Chunk]
) -> Iterator[tuple[Chunk, list[StepResult]]]:
    """Compute chunks on workers, with a bounded number in flight.

    Parameters
    ----------
    workers : Workers
        `ProcessWorkers` or `DaskWorkers`.
    chunks : iterable of Chunk
        Read as workers become free.

    Yields
    ------
    chunk : Chunk
        In the order they came.
    results : list of StepResult
        One a frame.
    """
    waiting: deque[tuple[Chunk, Any]] = deque()
    for chunk in chunks:
        waiting.append((chunk, workers.submit(chunk)))
        while len(waiting) >= _CHUNKS_A_WORKER * max(1, workers.n_workers):
            chunk, ticket = waiting.popleft()
            yield chunk, workers.wait(ticket)
    while waiting:
        chunk, ticket = waiting.popleft()
        yield chunk, workers.wait(ticket)


@dataclass(eq=False)
class _Ticket:
    """A chunk and where its result will be."""

    chunk: Chunk
    future: Future


class ProcessWorkers:
    """Processes on this machine.

    Parameters
    ----------
    spec : ProcessorSpec
        What they do.
    n_jobs : int
        How many.
    """

    def __init__(self, spec: ProcessorSpec, n_jobs: int) -> None:
        self.n_workers = n_jobs
        self._spec = pickle.dumps(spec)
        self._pool: ProcessPoolExecutor | None = None
        self._open: list[_Ticket] = []
        self._n_deaths = 0
        self._start()

    def submit(self, chunk: Chunk) -> _Ticket:
        """Give a chunk to a process.

        Parameters
        ----------
        chunk : Chunk
            The frames.

        Returns
        -------
        object
            For `wait`.
        """
        ticket = _Ticket(chunk, Future())
        self._open.append(ticket)
        self._send(ticket)
        return ticket

    def wait(self, ticket: _Ticket) -> list[StepResult]:
        """Wait for results; what a dead process had is computed again.

        Parameters
        ----------
        ticket : object
            From `submit`.

        Returns
        -------
        list of StepResult
            One a frame.

        Raises
        ------
        BackmapError
            If processes die again and again.
        """
        while True:
            try:
                results = ticket.future.result()
            except BrokenProcessPool:
                self._n_deaths += 1
                if self._n_deaths >= _MAX_DEATHS:
                    first = ticket.chunk.frames[0]
                    raise BackmapError(
                        f"worker processes died {self._n_deaths} times, last at the "
                        f"chunk of step {first.step}; out of memory? Try fewer --jobs "
                        "or a smaller --chunk"
                    ) from None
                self._start()
            else:
                self._n_deaths = 0
                self._open.remove(ticket)
                return results

    def close(self) -> None:
        """End the processes; may be called twice."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> None:
        """Start processes, and give them what dead ones left."""
        self.close()
        # spawned: neither torch nor OpenMM lives through a fork
        self._pool = ProcessPoolExecutor(
            self.n_workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_process,
        )
        for ticket in self._open:
            future = ticket.future
            if future.cancelled() or (
                future.done() and isinstance(future.exception(), BrokenProcessPool)
            ):
                self._send(ticket)

    def _send(self, ticket: _Ticket) -> None:
        """Give a chunk to the pool; one that has just broken is told by `wait`."""
        try:
            ticket.future = self._pool.submit(compute_chunk, self._spec, ticket.chunk)
        except BrokenProcessPool as error:
            ticket.future = Future()
            ticket.future.set_exception(error)


def _begin_process() -> None:
    """Leave Ctrl-C to the parent, and end when the parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
