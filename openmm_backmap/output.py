"""Trajectory output that survives a crash: every batch is journaled.

Beside ``aa.xtc`` stands ``aa.xtc.journal``, a text file.  Its first line says
what the trajectory holds (atoms, topology hash, model, seed); each further
line lists, after a batch was written, the steps of its frames, and may say how
many of those before it were kept.  After a kill
the trajectory is cut back to what the journal lists, so it can be continued
without a frame twice, in a format that stores no steps, too.
"""

import contextlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from openmm_backmap.errors import BackmapWarning, InputError, TrajectoryError
from openmm_backmap.frames import AtomFrame
from openmm_backmap.line_file import LineFile
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.paths import check_absent, check_folder
from openmm_backmap.trajectory import (
    check_holds,
    open_writer,
)

__all__ = [
    "JOURNAL_VERSION",
    "TrajectoryOutput",
    "journal_path",
]

JOURNAL_VERSION = 1
"""Version of the journal's layout. 1: JSON lines, the first one a header."""

_APPENDABLE = (".dcd", ".xtc")


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

    Attributes
    ----------
    n_frames : int
        Structures in the file.
    last_step : int or None
        Step of the last one; None if there is none.
    resumed_step : int or None
        `last_step` of the file that is continued; None for a new one.

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
        self.resumed_step: int | None = None
        self._topology = atom_topology
        self._samples = samples
        self._writer: Any = None
        self._header = {
            "journal": JOURNAL_VERSION,
            "n_atoms": atom_topology.n_atoms,
            "topology": atom_topology.cg.hash,
            "samples": samples,
            **(note or {}),
        }
        check_folder(self.path)
        check_holds(self.path, atom_topology.topology)
        if samples > 1 and self.path.suffix.lower() == ".dcd":
            warnings.warn(
                f"{self.path}: DCD holds no steps, so the {samples} samples of a frame "
                "are read as frames of their own, and times from it are wrong; write "
                "XTC to have them right",
                BackmapWarning,
                stacklevel=5,
            )
        if not (append or overwrite):
            check_absent(self.path)
        self._journal: LineFile | None = LineFile(
            journal_path(self.path), is_locked=True
        )
        try:
            if append:
                self._continue()
                self.resumed_step = self.last_step
        except BaseException:
            self.close()
            raise

    def write(self, frames: Sequence[AtomFrame]) -> None:
        """Write a batch and note it in the journal.

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
        steps = [int(frame.step) for frame in frames]
        try:
            if self._writer is None:
                self._begin(frames[0])
            for frame in frames:
                self._writer.write(frame)
            if not self.path.exists():
                raise TrajectoryError("the file was removed while it was written")
            self._note({"steps": steps})
        except (OSError, TrajectoryError) as error:
            self._cut_back()
            raise TrajectoryError(
                f"{self.path}: cannot write step {steps[0]} ({_reason(error)}); the "
                f"{self.n_frames} frames before are kept"
            ) from error
        except BaseException:  # interrupted: file and journal stay of one mind
            self._cut_back()
            raise
        self.n_frames += len(frames)
        self.last_step = steps[-1]

    def truncate(self, n_frames: int) -> None:
        """Cut an output that is being continued back to its first structures.

        Parameters
        ----------
        n_frames : int
            Structures to keep.
        """
        if n_frames >= self.n_frames:
            return
        steps = self._list_steps(self._journal.read_lines())
        self._keep(steps[:n_frames])

    def close(self) -> None:
        """Finish the file and let others write it; may be called twice."""
        writer, self._writer = self._writer, None
        journal, self._journal = self._journal, None
        try:
            if writer is not None:
                writer.close()
        except OSError as error:
            raise TrajectoryError(
                f"{self.path}: cannot finish the file ({_reason(error)}); the "
                f"{self.n_frames} frames are kept"
            ) from error
        finally:
            if journal is not None:
                journal.close()
                # without a line, or of a format that nobody appends to, it was
                # only a lock
                can_append = self.path.suffix.lower() in _APPENDABLE
                with contextlib.suppress(OSError):
                    if not can_append or journal.path.stat().st_size == 0:
                        journal.path.unlink()

    def _begin(self, frame: AtomFrame) -> None:
        """Open a new file; the first frame tells whether there is a box."""
        # the journal first: a kill in between then leaves a file known to be empty
        self._journal.cut(0)
        self._note(self._header)
        topology = self._topology.with_box(frame.box)
        self._writer = open_writer(self.path, topology, overwrite=True)

    def _note(self, line: Mapping[str, Any]) -> None:
        """Add one line to the journal."""
        self._journal.add(json.dumps(line) + "\n")

    def _cut_back(self) -> None:
        """Drop the frames of a batch that was not written as a whole."""
        if self._writer is None:
            return
        if self.path.suffix.lower() in _APPENDABLE:
            with contextlib.suppress(OSError):
                self._writer.truncate(self.n_frames, self.last_step)
        else:
            # text cannot be cut to a frame: whole frames of the batch stay
            self.n_frames = self._writer.n_frames
            self.last_step = self._writer.last_step

    def _continue(self) -> None:
        """Read the journal and cut the trajectory back to its last whole step."""
        lines = self._journal.read_lines()
        has_content = self.path.exists() and self.path.stat().st_size > 0
        steps = self._list_steps(lines)
        journal = self._journal.path
        if not has_content:
            if steps:
                raise InputError(
                    f"{self.path}: the file is missing or empty, but its journal lists "
                    f"{len(steps)} frames; put it back, or remove {journal}"
                )
            return
        if self.path.suffix.lower() not in _APPENDABLE:
            raise InputError(
                f"{self.path}: cannot append to {self.path.suffix}; write "
                f"{' or '.join(_APPENDABLE)}, or choose another name"
            )
        if not lines:
            raise InputError(
                f"{self.path}: cannot append, because it has no journal "
                f"({journal.name}): it was not written by this package, or was moved "
                "without its journal; choose another name"
            )
        self._check_header(self._parse(lines[0]))
        if not steps:
            return
        self._writer = open_writer(self.path, self._topology, append=True)
        n_frames = min(len(steps), self._writer.n_frames)
        # all samples of a step or none
        n_frames -= n_frames % self._samples
        if n_frames < len(steps):
            self._keep(steps[:n_frames])
        else:
            self.n_frames, self.last_step = n_frames, steps[-1]
            self._writer.truncate(n_frames, self.last_step)

    def _list_steps(self, lines: Sequence[bytes]) -> list[int]:
        """Steps of the structures that the lines of a journal leave."""
        steps: list[int] = []
        for line in lines[1:]:
            values = self._parse(line)
            del steps[values.get("keep", len(steps)) :]
            steps += values["steps"]
        return steps

    def _keep(self, steps: list[int]) -> None:
        """Keep the first structures, in the file and in the journal."""
        self.n_frames = len(steps)
        self.last_step = steps[-1] if steps else None
        self._writer.truncate(self.n_frames, self.last_step)
        # one line more, and none less: a kill leaves the one or the other
        self._note({"steps": [], "keep": len(steps)})

    def _parse(self, line: bytes) -> dict[str, Any]:
        """Read a line of the journal."""
        try:
            values = json.loads(line)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise InputError(
                f"{self._journal.path}: damaged; choose another output name"
            )
        return values

    def _check_header(self, header: Mapping[str, Any]) -> None:
        """Refuse to continue the trajectory of another system."""
        if header.get("journal") != JOURNAL_VERSION:
            raise InputError(
                f"{self._journal.path}: not a journal of version {JOURNAL_VERSION}; "
                "choose another output name"
            )
        for key in ("n_atoms", "topology", "samples"):
            came, wanted = header.get(key), self._header[key]
            if came != wanted:
                raise InputError(
                    f"{self.path}: cannot append: {key.replace('_', ' ')} is {came} in "
                    f"the file and {wanted} in this run; choose another name"
                )
        for key, value in self._header.items():
            if header.get(key) != value:
                warnings.warn(
                    f"{self.path}: {key} was {header.get(key)}, from here on {value}",
                    BackmapWarning,
                    stacklevel=6,
                )


def _reason(error: BaseException) -> str:
    """Return the shortest text that still says why."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
