"""Figures of a backmapped run: structures, energies and clashes by frame."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openmm_backmap.benchmark.render import (
    choose_view,
    draw_atoms,
    draw_beads,
    find_limits,
)
from openmm_backmap.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "plot_clashes",
    "plot_energies",
    "plot_run",
    "read_metrics",
]

_MODEL, _MINIMIZED = "#c44e52", "#3b6fb6"


def read_metrics(path: Path | str) -> list[dict[str, Any]]:
    """Read the metrics file of a reporter or of the command line.

    Parameters
    ----------
    path : Path or str
        CSV with one row for each structure.

    Returns
    -------
    list of dict
        Numbers where a field is one, nan where it is empty, text otherwise.
    """
    with Path(path).open(newline="", encoding="utf-8") as file:
        return [
            {key: _number_or_text(value) for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def _number_or_text(value: str | None) -> float | str:
    if not value:
        return float("nan")
    try:
        return float(value)
    except ValueError:
        return value


def _column(rows: Sequence[Mapping[str, Any]], name: str, stage: str) -> np.ndarray:
    """Values (n, 2) of time in ns and a column, in rows of one stage."""
    values = [
        (float(row["time_ps"]) / 1000.0, row.get(name, ""))
        for row in rows
        if row["stage"] == stage
    ]
    values = [(time, value) for time, value in values if value not in ("", None)]
    table = np.array(values, float).reshape(-1, 2)
    return table[np.isfinite(table).all(axis=1)]


def plot_energies(axes: "Axes", rows: Sequence[Mapping[str, Any]]) -> None:
    """Plot the energy of each frame before and after minimization.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    rows : sequence of mapping
        Rows of a metrics file, see `read_metrics`.
    """
    for name, label, color in (
        ("energy_before", "raw model output", _MODEL),
        ("energy_after", "minimized", _MINIMIZED),
    ):
        table = _column(rows, name, "minimized")
        axes.plot(*table.T, "o-", ms=4, lw=1.2, color=color, label=label)
    # raw energies may be orders of magnitude above the minimized ones
    energies = np.concatenate(
        [_column(rows, n, "minimized")[:, 1] for n in ("energy_before", "energy_after")]
    )
    if len(energies) and np.ptp(energies) > 1e5:
        axes.set_yscale("symlog", linthresh=1e4)
    axes.set_xlabel("simulated time (ns)")
    axes.set_ylabel("energy (kJ/mol)")
    axes.set_title("force-field energy", loc="left", fontsize=10)
    _finish(axes, has_lines=len(energies) > 0)


def plot_clashes(axes: "Axes", rows: Sequence[Mapping[str, Any]]) -> None:
    """Plot severe clashes per 1000 heavy atoms of each frame.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        Where to draw.
    rows : sequence of mapping
        Rows of a metrics file, see `read_metrics`.
    """
    tables = {stage: _column(rows, "clashes_per_1000", stage) for stage in
              ("model", "minimized")}  # fmt: skip
    for stage, label, color in (
        ("model", "raw model output", _MODEL),
        ("minimized", "minimized", _MINIMIZED),
    ):
        axes.plot(*tables[stage].T, "o-", ms=4, lw=1.2, color=color, label=label)
    top = max((t[:, 1].max() for t in tables.values() if len(t)), default=0.0)
    axes.set_ylim(-0.05 * max(top, 1.0), 1.25 * max(top, 1.0))
    axes.set_xlabel("simulated time (ns)")
    axes.set_ylabel("per 1000 heavy atoms")
    axes.set_title("severe clashes (overlap over 0.9 Å)", loc="left", fontsize=10)
    _finish(axes, has_lines=any(len(t) for t in tables.values()))


def _finish(axes: "Axes", *, has_lines: bool) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25, lw=0.6)
    if has_lines:
        axes.legend(frameon=False, fontsize=8)
    else:
        axes.text(0.5, 0.5, "no such rows", transform=axes.transAxes, ha="center")


def plot_run(
    path: Path | str,
    *,
    beads: np.ndarray,
    chain_index: np.ndarray,
    atoms: np.ndarray,
    topology: Any,
    rows: Sequence[Mapping[str, Any]],
    title: str = "",
) -> Path:
    """Make the picture of a run: beads, atoms, energies and clashes.

    Parameters
    ----------
    path : Path or str
        Image to write; the suffix tells the format.
    beads : numpy.ndarray, shape (R, 3)
        Beads of one frame in nm, chains whole.
    chain_index : numpy.ndarray, shape (R,)
        Chain of each bead.
    atoms : numpy.ndarray, shape (N, 3)
        All atoms of the same frame in nm.
    topology : openmm.app.Topology
        Their topology.
    rows : sequence of mapping
        Rows of the run's metrics file, see `read_metrics`.
    title : str
        Above the picture.

    Returns
    -------
    Path
        The image that was written.

    Raises
    ------
    InputError
        If matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError(
            "matplotlib is not installed: pip install openmm-backmap[plots]"
        ) from error
    # no pyplot: a user's own figures and backend stay as they are
    figure = Figure(figsize=(11.0, 8.2), dpi=150)
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        2, 2, height_ratios=[2.1, 1.0], left=0.09, right=0.98, top=0.92, bottom=0.07,
        hspace=0.16, wspace=0.16,
    )  # fmt: skip
    top = [figure.add_subplot(grid[0, k]) for k in range(2)]
    low = [figure.add_subplot(grid[1, k]) for k in range(2)]
    # both seen from the same side, at the same scale
    view = choose_view(np.asarray(beads, float))
    limits = find_limits(atoms, view)
    draw_beads(top[0], beads, chain_index, view=view, limits=limits)
    draw_atoms(top[1], atoms, topology, view=view, limits=limits)
    n_atoms = topology.getNumAtoms()
    top[0].set_title(f"coarse-grained: {len(beads)} beads", fontsize=11)
    top[1].set_title(f"backmapped: {n_atoms} atoms (hydrogens hidden)", fontsize=11)
    plot_energies(low[0], rows)
    plot_clashes(low[1], rows)
    if title:
        figure.suptitle(title, fontsize=13)
    path = Path(path)
    figure.savefig(path)
    return path
