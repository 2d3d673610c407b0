"""Trajectory output that survives a crash: every batch is journaled.

Beside ``aa.xtc`` stands ``aa.xtc.journal``, a text file.  Its first line says
what the trajectory holds (atoms, topology hash, model, seed); each further
line says, after a batch was flushed, where the file ends and which steps the
batch held.  After a kill the trajectory is cut back to the last such end, so
that it is readable and can be continued without a frame twice.
"""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from openmm_backmap.errors import (
    BackmapWarning,
    InputError,
    TrajectoryError,
)
from openmm_backmap.frames import AtomFrame
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.paths import check_absent, check_folder
from openmm_backmap.trajectory import open_writer

__all__ = ["JOURNAL_VERSION", "TrajectoryOutput", "journal_path"]

JOURNAL_VERSION = 1
"""Version of the journal's layout. 1: one JSON line a batch (end, steps)."""


def journal_path(path: Path | str) -> Path:
    """Return where the journal of a trajectory stands.

    Parameters
    ----------
    path : Path or str
        The trajectory.

    Returns
    -------
    Path
        The same name with ".journal" behind it.
    """
    path = Path(path)
    return path.with_name(path.name + ".journal")


class TrajectoryOutput:
    """Write all-atom frames in batches, and continue after a crash.

    Parameters
    ----------
    path : Path or str
        Trajectory to write; its suffix tells the format.
    atom_topology : AtomTopology
        Of the frames.
    append : bool, optional
        Whether an existing trajectory of the same topology is continued.
        Where there is none, a new one begins.
    overwrite : bool, optional
        Whether an existing file is replaced, at the first frame.
    samples : int, optional
        Structures of one step; must stay the same when appending.
    note : mapping, optional
        What else the journal says, such as model and seed.

    Raises
    ------
    OutputExistsError
        If the file exists and neither `append` nor `overwrite` was asked for.
    InputError
        If another reporter writes this file, or if it cannot be continued.
    """

    def __init__(
        self,
        path: Path | str,
        atom_topology: AtomTopology,
        *,
        append: bool = False,
        overwrite: bool = False,
        samples: int = 1,
        note: Mapping[str, Any] | None = None,
    ) -> None:
        self.path = Path(path)
        self.n_frames = 0
        self.last_step: int | None = None
        self._topology = atom_topology
        self._samples = samples
        self._writer: Any = None
        self._end = 0
        self._journal: TextIO | None = None
        self._header = {
            "journal": JOURNAL_VERSION,
            "n_atoms": atom_topology.n_atoms,
            "topology": atom_topology.cg.hash,
            "samples": samples,
            **(note or {}),
        }
        check_folder(self.path)
        if not (append or overwrite):
            check_absent(self.path)
        self._journal = _open_locked(journal_path(self.path), self.path)
        try:
            if append:
                self._continue()
        except BaseException:
            self._close_journal()
            raise

    def write(self, frames: Sequence[AtomFrame]) -> None:
        """Write a batch, flush it and note it in the journal.

        Parameters
        ----------
        frames : sequence of AtomFrame
            All samples of one or more steps, in order.

        Raises
        ------
        TrajectoryError
            If the disk is full, the folder has vanished or the format cannot
            hold a frame.  What was written before stays readable, and the
            next call tries again.
        """
        if not frames:
            return
        try:
            if self._writer is None:
                self._open(frames[0])
            for frame in frames:
                self._writer.write(frame)
            self._writer.flush()
            end = self.path.stat().st_size
            if end <= self._end:
                raise TrajectoryError("the file was replaced while it was written")
            steps = [int(frame.step) for frame in frames]
            self._note({"end": end, "steps": steps})
        except Exception as error:
            self._cut_back()
            raise TrajectoryError(
                f"{self.path}: cannot write the frame of step {frames[0].step} "
                f"({_reason(error)}); the {self.n_frames} frames before it are kept"
            ) from error
        self._end = end
        self.n_frames += len(frames)
        self.last_step = steps[-1]

    def close(self) -> None:
        """Finish the file and let others write it; may be called twice."""
        try:
            if self._writer is not None:
                self._writer.close()
        except OSError as error:
            raise TrajectoryError(
                f"{self.path}: cannot finish the file ({_reason(error)}); "
                f"the {self.n_frames} frames are kept"
            ) from error
        finally:
            self._writer = None
            self._close_journal()

    def _open(self, frame: AtomFrame) -> None:
        """Open the writer; the first frame tells whether there is a box."""
        topology = self._topology.with_box(frame.box)
        if self.n_frames:
            self._writer = open_writer(self.path, topology, append=True)
            return
        # the journal first: a kill in between then leaves a file known to be empty
        self._journal.seek(0)
        self._journal.truncate()
        self._note(self._header)
        self._writer = open_writer(self.path, topology, overwrite=True)

    def _note(self, line: Mapping[str, Any]) -> None:
        """Append one whole line to the journal."""
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()

    def _cut_back(self) -> None:
        """Drop what a failed write left behind; the next write opens anew."""
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                writer.close()
        except Exception:  # noqa: BLE001, S110  the first error is the one told
            pass
        try:
            if self.n_frames:
                cut_trajectory(self.path, self._end, self.n_frames)
            elif self.path.exists():
                self.path.unlink()
        except OSError:
            pass

    def _continue(self) -> None:
        """Read the journal and cut the trajectory back to its last whole step."""
        self._journal.seek(0)
        text = self._journal.read()
        lines = text.splitlines(keepends=True)
        if not self.path.exists() or self.path.stat().st_size == 0:
            if len(lines) > 1:
                raise InputError(
                    f"{self.path}: the file is missing or empty, but its journal "
                    f"lists frames; put it back, or remove {journal_path(self.path)}"
                )
            return
        if not lines:
            raise InputError(
                f"{self.path}: cannot append, because it has no journal "
                f"({journal_path(self.path).name}); it was not written by this "
                "package, or was moved without its journal. Choose another name"
            )
        self._check_header(lines[0])
        batches, length = self._read_batches(lines[1:])
        self.n_frames = sum(len(batch["steps"]) for batch in batches)
        if not self.n_frames:
            return
        self._end = batches[-1]["end"]
        self.last_step = batches[-1]["steps"][-1]
        cut_trajectory(self.path, self._end, self.n_frames)
        self._journal.seek(0)
        self._journal.truncate(len(lines[0].encode()) + length)
        self._journal.seek(0, os.SEEK_END)

    def _check_header(self, line: str) -> None:
        """Refuse to continue the trajectory of another system."""
        try:
            header = json.loads(line)
        except ValueError:
            header = {}
        if header.get("journal") != JOURNAL_VERSION:
            raise InputError(
                f"{journal_path(self.path)}: not a journal of version "
                f"{JOURNAL_VERSION}; choose another output name"
            )
        for key, word in (("n_atoms", "atoms"), ("topology", "topology hash")):
            if header.get(key) != self._header[key]:
                raise InputError(
                    f"{self.path}: cannot append, {word} {header.get(key)} in the "
                    f"file, {self._header[key]} here; choose another output name"
                )
        if header.get("samples") != self._samples:
            raise InputError(
                f"{self.path}: cannot append, {header.get('samples')} samples a "
                f"step in the file, {self._samples} here"
            )
        for key, value in self._header.items():
            if header.get(key) != value:
                warnings.warn(
                    f"{self.path}: {key} was {header.get(key)} and is {value} from "
                    "here on",
                    BackmapWarning,
                    stacklevel=5,
                )

    def _read_batches(self, lines: Sequence[str]) -> tuple[list[dict], int]:
        """Return the batches that are whole in the file, and their bytes."""
        size = self.path.stat().st_size
        batches, length = [], 0
        for line in lines:
            try:
                batch = json.loads(line) if line.endswith("\n") else None
            except ValueError:
                batch = None
            if batch is None or batch["end"] > size:
                break
            batches.append(batch)
            length += len(line.encode())
        return batches, length

    def _close_journal(self) -> None:
        """Close the journal, which also gives the lock back."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
            if self.n_frames == 0 and journal_path(self.path).exists():
                if journal_path(self.path).stat().st_size == 0:
                    journal_path(self.path).unlink()


def cut_trajectory(path: Path, end: int, n_frames: int) -> None:
    """Cut a trajectory to its first frames, whatever its format.

    Parameters
    ----------
    path : Path
        The trajectory.
    end : int
        Bytes to keep.
    n_frames : int
        Frames in these bytes; a DCD says so in its header.
    """
    with path.open("r+b") as file:
        file.truncate(end)
        if path.suffix.lower() == ".dcd":
            # NSET, the frame count, stands behind the record length and "CORD"
            file.seek(8)
            file.write(n_frames.to_bytes(4, "little"))


def _open_locked(journal: Path, path: Path) -> TextIO:
    """Open the journal for one writer only; a kill gives the lock back."""
    try:
        file = journal.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({_reason(error)})") from error
    try:
        import fcntl
    except ImportError:  # not POSIX: no advisory locks, go without
        return file
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise InputError(
            f"{path}: another reporter or process is writing this file; "
            "choose another name or close the other one"
        ) from error
    except OSError:  # a file system without locks
        pass
    return file


def _reason(error: BaseException) -> str:
    """Return the shortest text that still says why."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
