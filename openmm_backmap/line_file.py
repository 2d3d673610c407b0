"""A text file to which whole lines are added, or none."""

import os
from pathlib import Path

from openmm_backmap.errors import InputError

__all__ = ["LineFile"]


class LineFile:
    """Add lines to a file; a failed or killed addition leaves no half line.

    Parameters
    ----------
    path : Path
        The file; made if it is not there.
    is_locked : bool, optional
        Whether a second writer is refused, in this process or another one.

    Raises
    ------
    InputError
        If the file cannot be opened, or another writer has it.
    """

    def __init__(self, path: Path, *, is_locked: bool = False) -> None:
        self.path = path
        try:
            # unbuffered: what failed must not come again at the next flush
            self._file = path.open("ab+", buffering=0)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from error
        if is_locked:
            self._lock()
        self._size = self._file.seek(0, os.SEEK_END)

    def read_lines(self) -> list[bytes]:
        """Read all whole lines, with their line ends; half a line is cut off.

        Returns
        -------
        list of bytes
            In order.
        """
        self._file.seek(0)
        lines = self._file.read().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            lines.pop()
        self.cut(sum(len(line) for line in lines))
        return lines

    def cut(self, size: int) -> None:
        """Keep the first bytes.

        Parameters
        ----------
        size : int
            How many.
        """
        self._file.truncate(size)
        self._size = size

    def add(self, text: str) -> None:
        """Add lines; all of them or none.

        Parameters
        ----------
        text : str
            Whole lines.

        Raises
        ------
        OSError
            If the disk refuses.
        """
        data = text.encode()
        try:
            if self._file.write(data) != len(data):
                raise OSError(None, "No space left on device", str(self.path))
        except OSError:
            self._file.truncate(self._size)
            raise
        self._size += len(data)

    def close(self) -> None:
        """Close the file, which also gives the lock back."""
        self._file.close()

    def _lock(self) -> None:
        """Take the lock; the system gives it back when the process dies."""
        try:
            import fcntl
        except ImportError:  # not POSIX: no advisory locks, go without
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise InputError(
                f"{self.path}: another reporter or process is writing here; choose "
                "another name or close the other one"
            ) from error
        except OSError:  # a file system without locks
            pass
