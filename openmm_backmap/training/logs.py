"""Logs of a run: CSV, TensorBoard, learning-curve plot."""

import csv
from pathlib import Path
from typing import Any

from openmm_backmap.errors import DataError

__all__ = ["RunLog", "plot_learning_curve", "read_log"]


class RunLog:
    """Rows of named numbers, appended to a CSV file and to TensorBoard.

    Parameters
    ----------
    folder : pathlib.Path
        The run.
    name : str
        "train" or "validation": ``<name>.csv``.
    tensorboard : bool
        Write event files under ``tensorboard/``.
    last_step : int, optional
        A resumed run continues after this step: later rows of the file were
        written by steps that are taken again, and go. If None, the file
        starts anew.

    Attributes
    ----------
    last_step : int or None
        Of the last row; None if there is none.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        tensorboard: bool = False,
        last_step: int | None = None,
    ) -> None:
        self.path = folder / f"{name}.csv"
        self._name = name
        rows: list[dict[str, str]] = []
        if last_step is not None and self.path.exists():
            rows = [r for r in read_log(self.path) if int(r["step"]) <= last_step]
        self._columns = list(rows[0]) if rows else None
        self.last_step = int(rows[-1]["step"]) if rows else None
        with self.path.open("w", newline="") as file:
            if self._columns:
                writer = csv.DictWriter(file, self._columns)
                writer.writeheader()
                writer.writerows(rows)
        self._events: Any = None
        if tensorboard:
            # an optional dependency, slow to import
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(folder / "tensorboard" / name))

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append a row.

        Parameters
        ----------
        step : int
            Optimizer steps taken.
        values : dict of str to float
            The same names in every row of a file.
        """
        self.last_step = step
        row = {"step": step, **{k: f"{v:.6g}" for k, v in values.items()}}
        if self._columns is not None and set(row) - set(self._columns):
            self._widen(list(row))
        new = self._columns is None
        if new:
            self._columns = list(row)
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self._columns, restval="")
            if new:
                writer.writeheader()
            writer.writerow(row)
        if self._events is not None:
            for key, value in values.items():
                self._events.add_scalar(f"{self._name}/{key}", value, step)
            self._events.flush()

    def _widen(self, columns: list[str]) -> None:
        """Give the file the columns that a newer configuration logs."""
        rows = read_log(self.path)
        new = [c for c in columns if c not in self._columns]
        self._columns = [*self._columns, *new]
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._columns, restval="")
            writer.writeheader()
            writer.writerows(rows)

    def close(self) -> None:
        """Close the event file."""
        if self._events is not None:
            self._events.close()


def read_log(path: Path | str) -> list[dict[str, str]]:
    """Rows of a log.

    Parameters
    ----------
    path : pathlib.Path or str
        CSV file written by `RunLog`.

    Returns
    -------
    list of dict
        Column name to text; a last line cut short by a crash is left out.
    """
    with Path(path).open(newline="") as file:
        return [row for row in csv.DictReader(file) if None not in row.values()]


def plot_learning_curve(folder: Path | str, output: Path | str | None = None) -> Path:
    """Plot chi1 accuracy and loss against the residues seen.

    Parameters
    ----------
    folder : pathlib.Path or str
        The run.
    output : pathlib.Path or str, optional
        Image. If None, ``learning_curve.png`` in the run.

    Returns
    -------
    pathlib.Path
        The image.

    Raises
    ------
    DataError
        If the run has no validation row yet.
    """
    from matplotlib.figure import Figure

    folder = Path(folder)
    output = Path(output) if output is not None else folder / "learning_curve.png"
    path = folder / "validation.csv"
    rows = read_log(path) if path.exists() else []
    if not rows:
        raise DataError(f"run {folder} has no validation row yet: train longer")
    seen = [float(r["residues"]) / 1e6 for r in rows]
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    for head in ("alpha", "chi1", "chi2"):
        hits = [100.0 * float(r[f"{head}_hit"]) for r in rows]
        left.plot(seen, hits, marker=".", label=head)
        right.plot(seen, [float(r[f"{head}_nll"]) for r in rows], marker=".")
    left.set(xscale="log", xlabel="residues seen (millions)")
    left.set(ylabel="within 40 degrees, argmax (%)")
    left.legend()
    right.set(xscale="log", xlabel="residues seen (millions)", ylabel="NLL (nats)")
    figure.savefig(output, dpi=120)
    return output
