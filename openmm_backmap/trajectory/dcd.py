"""DCD files (CHARMM layout): frames in any order, and a writer that appends.

A frame is a unit cell record (optional) and three records of float32 x, y, z in
angstrom; the header holds the first step, the interval and the time step. The
layout is that of CHARMM and of the VMD molfile plugin. A library reader prints
to stdout and cannot append.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openmm_backmap.errors import TrajectoryError
from openmm_backmap.frames import AtomFrame, CGFrame
from openmm_backmap.geometry.periodic import (
    box_from_lengths_and_angles,
    compute_lengths_and_angles,
)
from openmm_backmap.trajectory.base import MAX_INT32, FrameWriter
from openmm_backmap.units import to_angstrom, to_nanometer

__all__ = ["DCDHeader", "DCDSource", "DCDWriter"]

AKMA_TIME = 0.04888821
"""CHARMM's unit of time in ps."""


@dataclass(frozen=True)
class DCDHeader:
    """What the first records of a DCD file say.

    Parameters
    ----------
    n_atoms : int
        Number of atoms.
    n_frames : int
        Number of frames the header claims.
    first_step, interval, last_step : int
        Steps of the first frame, between frames, and of the last frame.
    time_step : float
        Time step in ps.
    has_cell : bool
        Whether each frame has a unit cell record.
    has_4d : bool
        Whether each frame has a fourth coordinate.
    order : str
        "<" or ">", the byte order.
    size : int
        Bytes of the header.
    """

    n_atoms: int
    n_frames: int
    first_step: int
    interval: int
    last_step: int
    time_step: float
    has_cell: bool
    has_4d: bool
    order: str
    size: int

    @classmethod
    def from_file(cls, path: Path) -> "DCDHeader":
        """Read the header of a file.

        Parameters
        ----------
        path : Path
            A DCD file.

        Returns
        -------
        DCDHeader
            What it says.

        Raises
        ------
        TrajectoryError
            If the file is no DCD file, or of a kind that is not read (fixed
            atoms, 64-bit records).
        """
        with open(path, "rb") as file:
            start = file.read(92)
            if len(start) < 92 or start[4:8] != b"CORD":
                raise TrajectoryError(
                    f"{path} is not a DCD file (no CORD in its first record): check "
                    "the name and whether the copy is complete"
                )
            order = "<" if struct.unpack("<i", start[:4])[0] == 84 else ">"
            if struct.unpack(order + "i", start[:4])[0] != 84:
                raise TrajectoryError(
                    f"{path}: DCD records of another width than 32 bits are not read: "
                    "convert the file (mdconvert, CatDCD)"
                )
            control = struct.unpack(order + "9i", start[8:44])
            time_step = struct.unpack(order + "f", start[44:48])[0]
            flags = struct.unpack(order + "10i", start[48:88])
            is_charmm = flags[9] != 0
            if control[8] != 0:
                raise TrajectoryError(
                    f"{path}: a DCD file with fixed atoms is not read: convert it "
                    "(mdconvert, CatDCD)"
                )
            if not is_charmm:
                # X-PLOR keeps the time step as a double
                time_step = struct.unpack(order + "d", start[44:52])[0]
            title = struct.unpack(order + "i", file.read(4))[0]
            file.seek(title + 4, os.SEEK_CUR)
            tail = file.read(12)
            if len(tail) < 12:
                raise TrajectoryError(f"{path}: the DCD header is cut off")
            n_atoms = struct.unpack(order + "3i", tail)[1]
            return cls(
                n_atoms=n_atoms,
                n_frames=control[0],
                first_step=control[1],
                interval=max(control[2], 1),
                last_step=control[3],
                time_step=abs(time_step) * AKMA_TIME,
                has_cell=is_charmm and flags[0] != 0,
                has_4d=is_charmm and flags[1] != 0,
                order=order,
                size=file.tell(),
            )

    @property
    def frame_type(self) -> np.dtype:
        """Numpy type of one frame, records and markers."""
        fields: list[tuple] = []
        if self.has_cell:
            fields += [("c0", "i4"), ("cell", "f8", (6,)), ("c1", "i4")]
        for axis in "xyzw" if self.has_4d else "xyz":
            fields += [
                (f"{axis}0", "i4"),
                (axis, "f4", (self.n_atoms,)),
                (f"{axis}1", "i4"),
            ]
        return np.dtype(fields).newbyteorder(self.order)


class DCDSource:
    """Frames of a DCD file.

    Parameters
    ----------
    path : Path
        A DCD file, with or without unit cells. A frame cut off at the end (a
        crash) is left out.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._header = DCDHeader.from_file(path)
        self._type = self._header.frame_type
        self.n_atoms = self._header.n_atoms
        payload = path.stat().st_size - self._header.size
        # the size is believed, not the count: crashed writers leave 0 there
        self.n_frames, self.spare_bytes = divmod(payload, self._type.itemsize)

    def iterate(self, frames: range) -> Iterator[CGFrame]:
        """Read frames one after the other.

        Parameters
        ----------
        frames : range
            Frame numbers, increasing.

        Yields
        ------
        CGFrame
            Positions in nm, box, step and time.
        """
        header = self._header
        with open(self.path, "rb") as file:
            for number in frames:
                file.seek(header.size + number * self._type.itemsize)
                record = np.fromfile(file, self._type, 1)[0]
                if record["x0"] != 4 * self.n_atoms:
                    raise TrajectoryError(
                        f"{self.path}: frame {number} does not start where it should: "
                        "the file is damaged"
                    )
                positions = np.stack(
                    [record[axis].astype(np.float32) for axis in "xyz"], axis=1
                )
                step = header.first_step + number * header.interval
                yield CGFrame(
                    to_nanometer(positions).astype(np.float32),
                    _box(record["cell"]) if header.has_cell else None,
                    step,
                    step * header.time_step,
                )


def _box(cell: np.ndarray) -> np.ndarray | None:
    """Return box vectors in nm from a cell record (a, gamma, b, beta, alpha, c)."""
    cell = cell.astype(np.float64)
    angles = cell[[4, 3, 1]]
    # cosines in CHARMM and OpenMM, degrees in NAMD and CALVADOS's mdtraj
    radians = np.arccos(angles) if np.all(np.abs(angles) <= 1.0) else np.radians(angles)
    return box_from_lengths_and_angles(to_nanometer(cell[[0, 2, 5]]), radians)


class DCDWriter(FrameWriter):
    """Write a DCD file, frame by frame; a killed run leaves whole frames.

    Every frame is followed by its count in the header, so frames that were not
    finished are cut off when the file is opened to append.
    """

    def _create(self) -> None:
        self._file = open(self.path, "wb+")  # noqa: SIM115
        self._header: DCDHeader | None = None

    def _resume(self) -> None:
        self._header = DCDHeader.from_file(self.path)
        self._check_atoms(self._header.n_atoms)
        self._file = open(self.path, "rb+")  # noqa: SIM115
        self._first_step = self._header.first_step
        self._first_time = self._header.first_step * self._header.time_step
        self._interval = self._header.interval
        size = self._header.frame_type.itemsize
        stored = (self.path.stat().st_size - self._header.size) // size
        self.n_frames = min(self._header.n_frames, stored)
        self.last_step = self._header.last_step if self.n_frames else None
        self._cut()

    def _cut(self) -> None:
        if self._header is None:
            self._file.truncate(0)
            return
        size = self._header.frame_type.itemsize
        self._file.seek(self._header.size + self.n_frames * size)
        self._file.truncate()
        self._write_counts()

    def _write_frame(self, frame: AtomFrame) -> None:
        if self._header is None:
            self._write_header(frame)
        elif self.n_frames == 1 and frame.step > self._first_step:
            self._interval = frame.step - self._first_step
            time_step = (frame.time - self._first_time) / self._interval
            self._file.seek(44)
            self._file.write(struct.pack("<f", time_step / AKMA_TIME))
        header = self._header
        record = np.zeros(1, header.frame_type)
        if header.has_cell:
            record["c0"] = record["c1"] = 48
            if frame.box is not None:
                lengths, angles = compute_lengths_and_angles(frame.box)
                lengths, cosine = to_angstrom(lengths), np.cos(angles)
                cosine[np.abs(cosine) < 1e-12] = 0.0
                record["cell"][0] = [
                    lengths[0], cosine[2], lengths[1], cosine[1], cosine[0], lengths[2],
                ]  # fmt: skip
        elif frame.box is not None:
            raise TrajectoryError(
                f"{self.path} was started without a box and the frame of step "
                f"{frame.step} has one: write a new file"
            )
        for axis, column in zip("xyz", to_angstrom(frame.positions).T, strict=True):
            record[f"{axis}0"] = record[f"{axis}1"] = 4 * self.n_atoms
            record[axis] = column
        self._file.seek(header.size + self.n_frames * header.frame_type.itemsize)
        self._file.write(record.tobytes())
        self._file.flush()

    def _commit(self) -> None:
        self._write_counts()

    def _write_counts(self) -> None:
        last = self.last_step or 0
        self._file.seek(8)
        counts = (self.n_frames, self._first_step, self._interval, last)
        self._file.write(struct.pack("<4i", *(min(n, MAX_INT32) for n in counts)))
        self._file.flush()

    def _write_header(self, frame: AtomFrame) -> None:
        self._first_step, self._first_time = frame.step, frame.time
        self._interval = max(frame.step, 1)
        has_cell = frame.box is not None
        time_step = frame.time / frame.step / AKMA_TIME if frame.step else 0.0
        header = struct.pack(
            "<i4s9if", 84, b"CORD", 0, min(frame.step, MAX_INT32),
            min(self._interval, MAX_INT32), 0, 0, 0, 0, 0, 0, time_step,
        )  # fmt: skip
        header += struct.pack("<13i", has_cell, *[0] * 8, 24, 84, 164, 2)
        header += struct.pack("<80s80s", b"Created by openmm-backmap".ljust(80), b" ")
        header += struct.pack("<4i", 164, 4, self.n_atoms, 4)
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()
        self._header = DCDHeader.from_file(self.path)

    def _flush(self) -> None:
        self._file.flush()

    def _close(self) -> None:
        self._file.close()
