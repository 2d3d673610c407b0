"""What every trajectory source and every frame writer has in common."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from openmm_backmap.errors import InputError, OutputExistsError, TrajectoryError
from openmm_backmap.frames import AtomFrame, CGFrame

__all__ = ["MAX_INT32", "FrameSource", "FrameWriter"]

MAX_INT32 = 2**31 - 1
"""Largest step that DCD and XTC can hold; later steps are written as this."""

_OPEN: set[Path] = set()


class FrameSource(Protocol):
    """A file of coarse-grained frames."""

    path: Path
    n_atoms: int
    n_frames: int

    def iterate(self, frames: range) -> Iterator[CGFrame]:
        """Read frames with the numbers asked for, one after the other."""
        ...


class FrameWriter(ABC):
    """Write all-atom frames to one file, in the order they come.

    Every frame is on disk when `write` returns, so a killed process loses none
    that was written. Use it as a context manager, or call `close`.

    Parameters
    ----------
    path : Path
        Output file.
    topology : openmm.app.Topology
        Topology of the frames.
    append : bool
        Whether to go on after the last whole frame of an existing file.
    overwrite : bool
        Whether to replace an existing file.

    Attributes
    ----------
    n_frames : int
        Number of whole frames in the file.
    last_step : int or None
        Step of the last one; None if there is none.

    Raises
    ------
    OutputExistsError
        If the file exists and neither `append` nor `overwrite` is set.
    InputError
        If the folder does not exist, or another writer has the file open.
    TrajectoryError
        If a file to append to has another number of atoms.
    """

    def __init__(
        self,
        path: Path,
        topology: Any,  # noqa: ANN401
        *,
        append: bool = False,
        overwrite: bool = False,
    ) -> None:
        self.path = Path(path)
        self.topology = topology
        self.n_atoms = topology.getNumAtoms()
        self.n_frames = 0
        self.last_step: int | None = None
        self._is_open = False
        exists = self.path.exists()
        has_content = exists and self.path.stat().st_size > 0
        if not self.path.parent.is_dir():
            raise InputError(
                f"folder {self.path.parent} of {self.path.name} does not exist: make "
                "it first"
            )
        if self.path.is_dir():
            raise InputError(f"{self.path} is a folder: give the name of a file")
        if has_content and not append and not overwrite:
            raise OutputExistsError(
                f"{self.path} exists already: give another name, or ask for "
                "overwriting (--force, overwrite=True)"
            )
        key = self.path.resolve()
        if key in _OPEN:
            raise InputError(
                f"{self.path} is being written by another writer of this process: "
                "give each its own file"
            )
        try:
            if has_content and append:
                self._resume()
            else:
                self._create()
        except OSError as error:
            raise InputError(
                f"cannot open {self.path} for writing: {error.strerror or error}"
            ) from error
        self._key = key
        _OPEN.add(key)
        self._is_open = True

    def write(self, frame: AtomFrame) -> None:
        """Append one frame.

        Parameters
        ----------
        frame : AtomFrame
            The frame; a box that is None is written as no box.

        Raises
        ------
        TrajectoryError
            If the writer is closed, the number of atoms is wrong, a position is
            not finite, or the disk refuses. Frames written before stay whole.
        """
        if not self._is_open:
            raise TrajectoryError(f"{self.path} is closed: open a new writer")
        shape = np.shape(frame.positions)
        if shape != (self.n_atoms, 3):
            raise TrajectoryError(
                f"{self.path}: the frame of step {frame.step} has positions of shape "
                f"{shape}, the topology has {self.n_atoms} atoms"
            )
        if not np.all(np.isfinite(frame.positions)):
            raise TrajectoryError(
                f"{self.path}: the frame of step {frame.step} has positions that are "
                "not finite; it was not written"
            )
        before = self.n_frames, self.last_step
        try:
            self._write_frame(frame)
            self.n_frames += 1
            self.last_step = frame.step
            self._commit()
        except BaseException as error:  # also where a user interrupts
            self.n_frames, self.last_step = before
            with contextlib.suppress(OSError):
                self._cut()
            if not isinstance(error, OSError):
                raise
            raise TrajectoryError(
                f"cannot write step {frame.step} to {self.path}: "
                f"{error.strerror or error}; the {self.n_frames} frames before are "
                "whole"
            ) from error

    def truncate(self, n_frames: int, last_step: int | None) -> None:
        """Cut the file back to its first frames.

        Parameters
        ----------
        n_frames : int
            Number of frames to keep.
        last_step : int or None
            Step of the last frame kept.
        """
        if n_frames < self.n_frames:
            self.n_frames, self.last_step = n_frames, last_step
            self._cut()

    def flush(self) -> None:
        """Hand what was written to the system; `write` has done so already."""
        if self._is_open:
            self._flush()

    def close(self) -> None:
        """Finish and close the file; a second call does nothing."""
        if self._is_open:
            self._is_open = False
            _OPEN.discard(self._key)
            self._close()

    def __enter__(self) -> "FrameWriter":
        """Give the writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the file."""
        self.close()

    def _check_atoms(self, n_atoms: int) -> None:
        if n_atoms != self.n_atoms:
            raise TrajectoryError(
                f"cannot append to {self.path}: it has {n_atoms} atoms, this run "
                f"{self.n_atoms}: give a new file name"
            )

    @abstractmethod
    def _create(self) -> None:
        """Make a new file."""

    @abstractmethod
    def _resume(self) -> None:
        """Open an existing file behind its last whole frame."""

    @abstractmethod
    def _write_frame(self, frame: AtomFrame) -> None:
        """Write a frame, which `_commit` makes count."""

    def _commit(self) -> None:
        """Record in the file that one frame more is whole."""

    @abstractmethod
    def _cut(self) -> None:
        """Remove everything after the last whole frame."""

    def _flush(self) -> None:
        """Do nothing unless the format buffers."""

    @abstractmethod
    def _close(self) -> None:
        """Close the file."""
