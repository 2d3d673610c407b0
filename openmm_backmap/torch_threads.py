"""Limit torch's threads for a while and give the user's value back."""

import contextlib
import threading
from collections.abc import Iterator

import torch

__all__ = ["limit_torch_threads"]

_lock = threading.Lock()
_depth = 0
_users_value = 1


@contextlib.contextmanager
def limit_torch_threads(n_threads: int | None) -> Iterator[None]:
    """Run torch with `n_threads` threads inside the ``with`` block.

    torch takes all cores by default and then fights OpenMM's CPU platform.
    The count is one for the whole process, so nested and concurrent blocks
    share one memory of the user's value.

    Parameters
    ----------
    n_threads : int or None
        Threads for one torch operation.  If None, nothing is changed.

    Yields
    ------
    None
        Control, with the limit in force.
    """
    global _depth, _users_value
    if n_threads is None:
        yield
        return
    with _lock:
        if _depth == 0:
            _users_value = torch.get_num_threads()
        _depth += 1
        torch.set_num_threads(n_threads)
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            # OpenMP keeps the count per thread: each thread restores its own.
            torch.set_num_threads(_users_value)
