"""Figures of an evaluation: accuracy by entry and type, noise, calibration."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmm_backmap.benchmark.evaluate_entries import GROUP_TITLES, GROUPS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["plot_report"]


def plot_report(report: Mapping[str, Any], folder: Path | str) -> list[Path]:
    """Draw what a report holds.

    Accuracy is of all entries. Types, noise and calibration are of one group,
    which the title names: the first that any model has figures of; a model that
    failed on all of its entries is not in the plot.

    Parameters
    ----------
    report : mapping
        From `openmm_backmap.benchmark.evaluate_report.make_report`.
    folder : pathlib.Path or str
        Where the PNG files go.

    Returns
    -------
    list of pathlib.Path
        The files; none where matplotlib is not installed.
    """
    if find_spec("matplotlib") is None:
        return []
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    drawings = {
        "accuracy": _draw_accuracy,
        "types": _draw_types,
        "noise": _draw_noise,
        "calibration": _draw_calibration,
    }
    files = []
    for name, draw in drawings.items():
        figure = Figure(figsize=(6.4, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        if draw(axes, report):
            files.append(Path(folder) / f"evaluation_{name}.png")
            figure.savefig(files[-1], dpi=120)
    return files


def _draw_accuracy(axes: "Axes", report: Mapping[str, Any]) -> bool:
    """Heavy RMSD of each entry against its size."""
    drawn = False
    for name, model in report["models"].items():
        for group, mark in zip(GROUPS, "o^sx", strict=True):
            rows = [e for e in model["entries"] if e["group"] == group]
            if rows:
                axes.plot(
                    [e["n_residues"] for e in rows],
                    [e["mode"]["heavy_rmsd_angstrom"] for e in rows],
                    mark,
                    markersize=4,
                    alpha=0.7,
                    label=f"{name}, {GROUP_TITLES[group]}",
                )
                drawn = True
    axes.set(xlabel="residues", ylabel="heavy RMSD (A)", xscale="log")
    if drawn:
        axes.legend(fontsize="x-small")
    return drawn


def _choose_group(report: Mapping[str, Any]) -> str:
    """The first group that any model has figures of, for plots of one group."""
    models = report["models"].values()
    present = [g for g in GROUPS if any(g in model["groups"] for model in models)]
    return present[0] if present else GROUPS[0]


def _read_group(report: Mapping[str, Any]) -> tuple[str, dict[str, Mapping[str, Any]]]:
    """Title of that group, and what each model has of it, {} if nothing."""
    group = _choose_group(report)
    found = {n: m["groups"].get(group, {}) for n, m in report["models"].items()}
    return GROUP_TITLES[group], found


def _draw_types(axes: "Axes", report: Mapping[str, Any]) -> bool:
    """Share of right side chains by residue type."""
    title, models = _read_group(report)
    shares = {n: m.get("side_chains_right_percent", {}) for n, m in models.items()}
    shares = {name: share for name, share in shares.items() if share}
    codes = sorted({code for share in shares.values() for code in share})
    width = 0.8 / max(len(shares), 1)
    for k, (name, share) in enumerate(shares.items()):
        place = [i + (k + 0.5) * width - 0.4 for i in range(len(codes))]
        axes.bar(place, [share.get(code, 0.0) for code in codes], width, label=name)
    axes.set_xticks(range(len(codes)), codes)
    axes.set(title=title, ylabel="chi1 and chi2 within 40 degrees (%)")
    if codes:
        axes.legend(fontsize="x-small")
    return bool(codes)


def _draw_noise(axes: "Axes", report: Mapping[str, Any]) -> bool:
    """Heavy RMSD and chi1 against noise on the beads."""
    other = axes.twinx()
    drawn = False
    title, models = _read_group(report)
    for name, model in models.items():
        noise = model.get("noise", {})
        if not noise:
            continue
        levels = [float(level) for level in noise]
        # entries may lack atoms or side chains: no figure, no point
        rmsd = [f.get("heavy_rmsd_angstrom", float("nan")) for f in noise.values()]
        chi = [f.get("chi1_40_percent", float("nan")) for f in noise.values()]
        (line,) = axes.plot(levels, rmsd, "o-", label=name)
        other.plot(levels, chi, "^--", color=line.get_color())
        drawn = True
    axes.set(
        title=title,
        xlabel="CA noise (A a coordinate)",
        ylabel="heavy RMSD (A), full lines",
    )
    other.set(ylabel="chi1 within 40 degrees (%), dashed")
    if drawn:
        axes.legend(fontsize="x-small")
    return drawn


def _draw_calibration(axes: "Axes", report: Mapping[str, Any]) -> bool:
    """Share of right side chains against confidence."""
    drawn = False
    title, models = _read_group(report)
    for name, model in models.items():
        found = model.get("confidence")
        if not found:
            continue
        rows = [row for row in found["reliability"] if row[0] is not None]
        error = found["expected_calibration_error"]
        axes.plot(
            [row[0] for row in rows],
            [row[1] for row in rows],
            "o-",
            label=f"{name}: error {error:.3f}",
        )
        drawn = True
    axes.plot([0, 1], [0, 1], "k:", linewidth=1)
    axes.set(title=title, xlabel="confidence", ylabel="share right")
    if drawn:
        axes.legend(fontsize="x-small")
    return drawn
