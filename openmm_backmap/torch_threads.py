"""Limit torch's threads for a while and give the user's value back."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import torch

__all__ = ["limit_torch_threads"]

_lock = threading.Lock()


@contextlib.contextmanager
def limit_torch_threads(n_threads: int | None) -> Iterator[None]:
    """Run torch with `n_threads` threads inside the ``with`` block.

    torch takes all cores by default and then fights OpenMM's CPU platform.
    Only the thread that asks is limited: other threads, also those that are
    begun in the meantime, have what the user wants.

    Parameters
    ----------
    n_threads : int or None
        Threads for one torch operation.  If None, nothing is changed.

    Yields
    ------
    None
        Control, with the limit in force.
    """
    before = torch.get_num_threads()
    if n_threads is None or n_threads == before:
        yield
        return
    _set_here(n_threads)
    try:
        yield
    finally:
        _set_here(before)


def _set_here(n_threads: int) -> None:
    """Set the count of this thread, and not that of threads to come.

    torch has both: OpenMP keeps one per thread, and a thread that is new takes
    the count that any thread set last. So only a new one can tell that count,
    and giving it back must be left to another thread than this one.
    """
    with _lock:
        wanted: list[int] = []
        _run_beside(lambda: wanted.append(torch.get_num_threads()))
        torch.set_num_threads(n_threads)
        if wanted and wanted[0] != n_threads:
            _run_beside(lambda: torch.set_num_threads(wanted[0]))


def _run_beside(task: Callable[[], None]) -> None:
    """Run a task in a thread of its own and wait for it, if one can begin."""
    thread = threading.Thread(target=task)
    # Python 3.12 begins none when a program ends, while frames are still written
    with contextlib.suppress(RuntimeError):
        thread.start()
        thread.join()
