"""Open a trajectory of coarse-grained frames by the name of its file."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.errors import BackmapWarning, InputError, TrajectoryError
from openmm_backmap.frames import CGFrame
from openmm_backmap.geometry.periodic import box_from_lengths_and_angles
from openmm_backmap.trajectory.base import FrameSource
from openmm_backmap.trajectory.dcd import DCDSource
from openmm_backmap.trajectory.structure import (
    GROSource,
    MMCIFSource,
    PDBSource,
    check_file,
    full_suffix,
)
from openmm_backmap.trajectory.xtc import scan_xtc
from openmm_backmap.units import to_nanometer

__all__ = ["SOURCES", "open_source"]

BLOCK = 64
"""Frames read at once from compressed files."""


class MdtrajSource:
    """Frames of an XTC, TRR or NetCDF file, by mdtraj.

    Parameters
    ----------
    path : Path
        The file. A frame cut off at the end (a crash) is left out.
    """

    def __init__(self, path: Path) -> None:
        import mdtraj

        self.path = path
        self._kind = full_suffix(path)
        self._open = mdtraj.open
        with self._file() as file:
            self.n_frames = len(file)
            if self._kind == ".xtc":
                ends = [end for end, *_ in scan_xtc(path)]
                self.n_frames = len(ends)
                self.spare_bytes = path.stat().st_size - (ends[-1] if ends else 0)
            first = file.read(1) if self.n_frames else None
        if first is None or not len(first[0]):
            raise TrajectoryError(f"{path} has no whole frame")
        self.n_atoms = first[0].shape[1]

    def _file(self) -> Any:  # noqa: ANN401
        try:
            return self._open(str(self.path))
        except Exception as error:  # whatever the library raises on a bad file
            raise TrajectoryError(
                f"cannot read {self.path} as {self._kind[1:].upper()}: {error}"
            ) from error

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
        with self._file() as file:
            for block in _blocks(frames):
                file.seek(block.start)
                try:
                    data = file.read(block[-1] - block.start + 1)
                except Exception as error:  # as above
                    raise TrajectoryError(
                        f"{self.path}: cannot read beyond frame {block.start}: {error}"
                    ) from error
                for number in block:
                    yield self._make_frame(data, number - block.start, number)

    def _make_frame(self, data: tuple, k: int, number: int) -> CGFrame:
        positions = data[0][k]
        if self._kind in (".xtc", ".trr"):
            time, step = float(data[1][k]), int(data[2][k])
            # mdtraj gives no boxes at all where every box is zero
            has_box = data[3] is not None and np.any(data[3][k])
            box = np.array(data[3][k], np.float32) if has_box else None
            return CGFrame(np.array(positions, np.float32), box, step, time)
        # NetCDF (Amber): angstrom and degrees; steps are not kept
        time = 0.0 if data[1] is None else float(data[1][k])
        box = None
        if data[2] is not None and data[3] is not None:
            box = box_from_lengths_and_angles(
                to_nanometer(data[2][k].astype(np.float64)), np.radians(data[3][k])
            )
        return CGFrame(to_nanometer(positions).astype(np.float32), box, number, time)


class HDF5Source:
    """Frames of an mdtraj HDF5 file.

    Parameters
    ----------
    path : Path
        The file; positions in nm, angles in degrees, time in ps.
    """

    def __init__(self, path: Path) -> None:
        self._h5py = _import_h5py()
        self.path = path
        try:
            with self._h5py.File(path, "r") as file:
                self.n_frames, self.n_atoms = file["coordinates"].shape[:2]
        except (OSError, KeyError, ValueError) as error:
            raise TrajectoryError(
                f"cannot read {path} as an mdtraj HDF5 trajectory: {error}"
            ) from error

    def iterate(self, frames: range) -> Iterator[CGFrame]:
        """Read frames one after the other; see `MdtrajSource.iterate`."""
        with self._h5py.File(self.path, "r") as file:
            for block in _blocks(frames):
                part = slice(block.start, block[-1] + 1)
                data = {
                    name: np.asarray(file[name][part])
                    for name in ("coordinates", "time", "cell_lengths", "cell_angles")
                    if name in file
                }
                for number in block:
                    k = number - block.start
                    box = None
                    if "cell_lengths" in data and "cell_angles" in data:
                        box = box_from_lengths_and_angles(
                            data["cell_lengths"][k], np.radians(data["cell_angles"][k])
                        )
                    time = float(data["time"][k]) if "time" in data else 0.0
                    positions = data["coordinates"][k].astype(np.float32)
                    yield CGFrame(positions, box, number, time)


class NPYSource:
    """Frames of a numpy file of positions in nm, shape (F, B, 3) or (B, 3).

    Parameters
    ----------
    path : Path
        The file; it is read piece by piece.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise TrajectoryError(f"cannot read {path} as NPY: {error}") from error
        if array.ndim == 2:
            array = array[None]
        if array.ndim != 3 or array.shape[2] != 3:
            raise TrajectoryError(
                f"{path} has shape {array.shape}, want (frames, beads, 3) in nm"
            )
        self._array = array
        self.n_frames, self.n_atoms = array.shape[:2]

    def iterate(self, frames: range) -> Iterator[CGFrame]:
        """Read frames one after the other; see `MdtrajSource.iterate`."""
        for number in frames:
            yield CGFrame(np.array(self._array[number], np.float32), None, number, 0.0)


def _import_h5py() -> Any:  # noqa: ANN401
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "HDF5 trajectories need h5py: pip install h5py, or convert to DCD"
        ) from error
    return h5py


def _blocks(frames: range) -> Iterator[range]:
    """Cut a range of frames into pieces that span at most `BLOCK` frames."""
    count = max(1, BLOCK // frames.step)
    for k in range(0, len(frames), count):
        yield frames[k : k + count]


SOURCES: dict[str, Callable[[Path], FrameSource]] = {
    ".dcd": DCDSource,
    **dict.fromkeys((".xtc", ".trr", ".nc", ".netcdf", ".ncdf"), MdtrajSource),
    **dict.fromkeys((".h5", ".hdf5"), HDF5Source),
    ".npy": NPYSource,
    **dict.fromkeys((".pdb", ".ent"), PDBSource),
    **dict.fromkeys((".cif", ".mmcif", ".pdbx"), MMCIFSource),
    ".gro": GROSource,
}
"""Reader of each file name ending."""


def open_source(path: str | Path) -> FrameSource:
    """Open a trajectory; the ending of its name is its format.

    Parameters
    ----------
    path : str or Path
        DCD, XTC, TRR, NetCDF, HDF5, NPY, PDB, mmCIF or GRO file.

    Returns
    -------
    FrameSource
        With `n_atoms`, `n_frames` and `iterate`.

    Raises
    ------
    InputError
        If there is no such file or its format is not known.
    TrajectoryError
        If it is empty, damaged or has no whole frame.
    """
    path = check_file(path)
    kind = SOURCES.get(full_suffix(path))
    if kind is None:
        raise InputError(
            f"cannot read frames from {path}: the ending {full_suffix(path)!r} is not "
            f"one of {', '.join(sorted(SOURCES))}"
        )
    source = kind(path)
    if source.n_frames == 0:
        raise TrajectoryError(
            f"{path} has no whole frame: was the run that wrote it stopped at its "
            "start?"
        )
    _warn_if_cut(source)
    return source


def _warn_if_cut(source: FrameSource) -> None:
    """Say that the last frame of a file is not whole."""
    spare = getattr(source, "spare_bytes", 0)
    if spare:
        warnings.warn(
            f"{source.path}: the last frame is cut off ({spare} bytes); "
            f"{source.n_frames} whole frames are read",
            BackmapWarning,
            stacklevel=3,
        )
