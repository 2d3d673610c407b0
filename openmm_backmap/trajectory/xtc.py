"""XTC files: whole frames found by their headers, and a writer that appends.

The headers are those of the GROMACS XTC format (XDR, big-endian); frames are
compressed by OpenMM's writer, which opens and closes the file for each one.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from openmm_backmap.errors import TrajectoryError
from openmm_backmap.frames import AtomFrame
from openmm_backmap.trajectory.base import MAX_INT32, FrameWriter

__all__ = ["XTCWriter", "scan_xtc"]

MAGIC = 1995
MAGIC_LARGE = 2023
HEADER_BYTES = 56
"""Magic, atoms, step, time, box (nine floats), atoms again."""

MAX_COORDINATE = MAX_INT32 / 1000.0
"""Largest coordinate in nm at the precision of 0.001 nm."""


def scan_xtc(path: Path, start: int = 0) -> Iterator[tuple[int, int, int]]:
    """List the whole frames of an XTC file without decompressing them.

    Parameters
    ----------
    path : Path
        An XTC file. A frame cut off at the end (a crash) is not listed.
    start : int
        Byte at which to begin.

    Yields
    ------
    end : int
        Byte after the frame.
    step : int
        Its step.
    n_atoms : int
        Its number of atoms.

    Raises
    ------
    TrajectoryError
        If there is no frame where one should begin.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        while start + HEADER_BYTES <= size:
            file.seek(start)
            head = file.read(HEADER_BYTES + 40)
            magic, n_atoms, step = struct.unpack(">3i", head[:12])
            if magic not in (MAGIC, MAGIC_LARGE):
                raise TrajectoryError(
                    f"{path} is not an XTC file, or is damaged at byte {start}"
                )
            if n_atoms <= 9:
                # too few to compress: plain floats
                end = start + HEADER_BYTES + 12 * n_atoms
            else:
                width = 4 if magic == MAGIC else 8
                at = HEADER_BYTES + 32
                if len(head) < at + width:
                    return
                code = ">i" if width == 4 else ">q"
                n_bytes = struct.unpack(code, head[at : at + width])[0]
                end = start + at + width + (n_bytes + 3) // 4 * 4
            if end > size:
                return
            yield end, step, n_atoms
            start = end


class XTCWriter(FrameWriter):
    """Write an XTC file, frame by frame, with the steps and times of the frames."""

    def _create(self) -> None:
        self._ends: list[int] = []
        with open(self.path, "wb"):
            pass

    def _resume(self) -> None:
        self._ends = []
        for end, step, n_atoms in scan_xtc(self.path):
            self._check_atoms(n_atoms)
            self._ends.append(end)
            self.last_step = step
        self.n_frames = len(self._ends)
        self._cut()

    def _cut(self) -> None:
        del self._ends[self.n_frames :]
        os.truncate(self.path, self._ends[-1] if self._ends else 0)

    def _write_frame(self, frame: AtomFrame) -> None:
        # imported here: reading does not need it
        from openmm.app.internal.xtc_utils import xtc_write_frame

        positions = np.ascontiguousarray(frame.positions, np.float32)
        if np.abs(positions).max(initial=0.0) > MAX_COORDINATE:
            raise TrajectoryError(
                f"{self.path}: the frame of step {frame.step} has coordinates beyond "
                "what XTC holds; write DCD instead"
            )
        box = np.zeros((3, 3)) if frame.box is None else frame.box
        start = self._ends[-1] if self._ends else 0
        if not self.path.exists():
            raise OSError("the file was removed while it was being written")
        try:
            xtc_write_frame(
                str(self.path).encode(),
                positions,
                np.ascontiguousarray(box, np.float32),
                np.float32(frame.time),
                np.int32(min(frame.step, MAX_INT32)),
            )
        except (RuntimeError, ValueError) as error:
            raise OSError(str(error)) from error
        # the library does not say when the disk is full: the frame must be whole
        whole = next(scan_xtc(self.path, start), None)
        if whole is None or whole[0] != self.path.stat().st_size:
            raise OSError("the frame did not reach the disk whole (is it full?)")
        self._ends.append(whole[0])

    def _close(self) -> None:
        """Nothing is held open between frames."""
