"""One process at a time trains in a run folder, or prepares data in a folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from openmm_backmap.errors import DataError

__all__ = ["lock_run", "wait_for_lock"]

_NAME = "run.lock"


@contextlib.contextmanager
def lock_run(folder: Path | str) -> Iterator[None]:
    """Hold the lock of a run folder; a process that dies gives it back.

    Parameters
    ----------
    folder : pathlib.Path or str
        The run; made when missing. Pieces that a killed run left are removed.

    Yields
    ------
    None
        Control.

    Raises
    ------
    DataError
        If another process trains there.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise DataError(
                f"run {folder} is being trained by process {file.read().strip()}: "
                "wait for its end, or give another run folder"
            ) from error
        except OSError:  # a file system without locks
            yield
            return
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        for path in folder.glob("*.partial"):
            path.unlink()
        yield


@contextlib.contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Hold the lock of a file, when other processes have given it back.

    Parameters
    ----------
    path : pathlib.Path
        Made when missing; it stays.

    Yields
    ------
    None
        Control.
    """
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with path.open("a") as file:
        # a file system without locks
        with contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
