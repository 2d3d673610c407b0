"""Batches drawn ahead of their use."""

import contextlib
from collections.abc import Iterator
from queue import Empty, Queue
from threading import Event, Thread

from openmm_backmap.training.batch import Batch
from openmm_backmap.training.batches import BatchSampler

__all__ = ["prefetch"]


def prefetch(sampler: BatchSampler, first_step: int, depth: int = 4) -> Iterator[Batch]:
    """Draw batches ahead of their use in a thread.

    Parameters
    ----------
    sampler : BatchSampler
        Where batches come from.
    first_step : int
        Step of the first batch.
    depth : int
        Batches kept ready.

    Yields
    ------
    Batch
        Steps `first_step`, `first_step` + 1, ...; an error in the thread is
        raised here.
    """
    ready: Queue = Queue(depth)
    stop = Event()

    def work() -> None:
        step = first_step
        while not stop.is_set():
            try:
                item: Batch | BaseException = sampler.batch(step)
            except BaseException as error:
                item = error
            ready.put(item)
            if isinstance(item, BaseException):
                return
            step += 1

    thread = Thread(target=work, daemon=True, name="batches")
    thread.start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        # a thread that still works while Python ends aborts the process
        stop.set()
        while thread.is_alive():
            with contextlib.suppress(Empty):
                ready.get(timeout=0.05)
