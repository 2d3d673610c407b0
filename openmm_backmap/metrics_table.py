"""A CSV with one row for each structure that was written."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.errors import InputError, TrajectoryError
from openmm_backmap.frames import AtomFrame
from openmm_backmap.line_file import LineFile
from openmm_backmap.metrics.summary import FRAME_METRICS, FrameChecker

__all__ = ["COLUMNS", "MetricsTable", "compute_rows", "has_structures"]

COLUMNS = (
    "step",
    "time_ps",
    "sample",
    "stage",
    "status",
    *FRAME_METRICS,
    "confidence",
    "projection_nm",
    "energy_before",
    "energy_after",
    "displacement_nm",
    "milliseconds",
)
"""Columns: the checks of `FrameChecker`, mean confidence, the farthest that a CA
was moved from its bead (projection_nm), energies in kJ/mol."""


def compute_rows(
    frames: Sequence[AtomFrame],
    heavy: np.ndarray,
    checker: FrameChecker,
    extra: Sequence[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """Check structures and make a row of each.

    Parameters
    ----------
    frames : sequence of AtomFrame
        What the rows are about.
    heavy : numpy.ndarray, shape (F, R, 14, 3), float32
        Their heavy atoms in nm.
    checker : FrameChecker
        Of their residues, or of their topology.
    extra : sequence of mapping
        What else each row says.

    Returns
    -------
    list of dict
        One row a structure, keys of `COLUMNS`.
    """
    boxes = np.zeros((len(frames), 3, 3), np.float32)
    for box, frame in zip(boxes, frames, strict=True):
        if frame.box is not None:
            box[:] = frame.box
    atoms = None
    if checker.sites is not None:
        atoms = np.stack([frame.positions for frame in frames])
    checks = checker.check(heavy, boxes if boxes.any() else None, atoms)
    rows = []
    for i, (frame, more) in enumerate(zip(frames, extra, strict=True)):
        row = {
            "step": frame.step,
            "time_ps": frame.time,
            "sample": frame.sample,
            "stage": frame.stage,
            "status": "ok",
        }
        row.update({name: values[i] for name, values in checks.items()})
        if frame.confidence is not None:
            row["confidence"] = float(np.mean(frame.confidence))
        rows.append({**row, **more})
    return rows


def has_structures(path: Path) -> bool:
    """Whether a table has a row of a structure that was made.

    Parameters
    ----------
    path : Path
        The table; there may be none.

    Returns
    -------
    bool
        False if there are no rows, or only of frames that failed.
    """
    if not path.exists():
        return False
    with open(path, newline="", errors="replace") as file:
        return any(row.get("status") == "ok" for row in csv.DictReader(file))


class MetricsTable:
    """Write metrics rows to a CSV, and continue after a crash.

    Parameters
    ----------
    path : Path or str
        The file.
    append : bool, optional
        Whether rows are added to an existing table.
    last_step : int, optional
        With `append`: rows of later steps are cut off the end, because their
        frames are not in the trajectory.
    n_rows : int, optional
        With `append`: rows after so many are cut away.

    Raises
    ------
    InputError
        If the file to be continued has other columns.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        append: bool = False,
        last_step: int | None = None,
        n_rows: int | None = None,
    ) -> None:
        self.path = Path(path)
        self.last_step = -1
        self._is_new = not append
        self._file: LineFile | None = None
        if append:
            self._open()
            self._continue(last_step, n_rows)

    def write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write rows, all or none.

        Parameters
        ----------
        rows : iterable of mapping
            Keys of `COLUMNS`; what is missing stays empty.

        Raises
        ------
        TrajectoryError
            If the disk refuses.
        """
        text = "".join(
            ",".join(_format(name, row.get(name)) for name in COLUMNS) + "\n"
            for row in rows
        )
        try:
            if self._file is None:
                self._open()
            if self._is_new:
                self._file.cut(0)
                text = ",".join(COLUMNS) + "\n" + text
            self._file.add(text)
        except OSError as error:
            raise TrajectoryError(
                f"{self.path}: cannot be written ({error.strerror or error})"
            ) from error
        self._is_new = False

    def close(self) -> None:
        """Close the file; may be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        """Open the file; a second writer is refused."""
        self._file = LineFile(self.path, is_locked=True)

    def _continue(self, last_step: int | None, n_rows: int | None) -> None:
        """Keep whole rows up to a step, or up to a number of rows."""
        lines = self._file.read_lines()
        self._is_new = not lines
        if not lines:
            return
        if lines[0].decode(errors="replace").strip() != ",".join(COLUMNS):
            self.close()
            raise InputError(
                f"{self.path}: cannot append, its columns are not those of a metrics "
                "table; choose another name"
            )
        rows = lines[1:] if n_rows is None else lines[1 : n_rows + 1]
        steps = [int(row.split(b",")[0]) for row in rows]
        # from the end: within a run the steps may have gone back
        while n_rows is None and steps and (last_step is None or steps[-1] > last_step):
            steps.pop()
        self.last_step = steps[-1] if steps else -1
        self._file.cut(sum(len(line) for line in lines[: len(steps) + 1]))


def _format(name: str, value: Any) -> str:
    """Write a cell: numbers short, times to the femtosecond, text without commas."""
    if value is None:
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.{15 if name == 'time_ps' else 6}g}"
    return str(value).replace(",", ";").replace("\n", " ")
