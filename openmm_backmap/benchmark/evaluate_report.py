"""An evaluation as numbers to keep (JSON) and a table to read (Markdown)."""

import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openmm_backmap._version import __version__
from openmm_backmap.benchmark.evaluate import ENERGY_FIGURE, EntryScore
from openmm_backmap.benchmark.evaluate_entries import GROUP_TITLES, GROUPS
from openmm_backmap.benchmark.evaluate_plots import plot_report
from openmm_backmap.benchmark.evaluate_summary import ENERGY_MEDIAN, summarize_model

__all__ = ["make_report", "write_markdown", "write_report"]


_ROWS = (
    ("heavy_rmsd_angstrom", "heavy RMSD, symmetric (A)", 3),
    ("backbone_nco_rmsd_angstrom", "N, C, O RMSD, ends included (A)", 3),
    ("backbone_nco_inside_rmsd_angstrom", "N, C, O RMSD, inside (A)", 3),
    ("backbone_ncocb_rmsd_angstrom", "N, C, O, CB RMSD (A)", 3),
    ("side_chain_rmsd_angstrom", "side-chain RMSD, CB and beyond (A)", 3),
    ("chi1_40_percent", "chi1 within 40 degrees (%)", 1),
    ("chi12_40_percent", "chi1 and chi2 within 40 degrees (%)", 1),
    ("bonds_percent", "bonds within 10 % (%)", 2),
    ("peptides_percent", "peptide C-N within 10 % (%)", 2),
    ("angles_percent", "angles within 10 degrees (%)", 2),
    ("wrong_hands", "wrong hands (a frame)", 2),
    ("false_cis", "false cis (a frame)", 2),
    ("twisted_omega_percent", "omega twisted over 30 degrees (%)", 2),
    ("ring_penetrations", "ring penetrations (a frame)", 2),
    ("ramachandran_outliers_percent", "Ramachandran outliers (%)", 2),
    ("severe_clashes_per_1000", "severe clashes per 1000 atoms", 2),
    ("overlaps_per_1000", "overlaps over 0.4 A per 1000 atoms", 1),
    ("bond_graph_percent", "bond graph difference (%)", 2),
    ("close_pairs_percent", "pairs under 1.2 A (%)", 3),
    ("ca_shift_angstrom", "CA moved, largest (A)", 3),
    ("missing_atoms_percent", "missing heavy atoms (%)", 2),
    (ENERGY_FIGURE, "energy above the native's, mean if finite (kcal/mol a residue)",
     1),
    (ENERGY_MEDIAN, "the same, median, not finite as infinite", 1),
    ("cpu_ms_per_frame", "CPU-ms a frame", 1),
    ("cpu_ms_per_100_residues", "CPU-ms per 100 residues", 1),
)  # fmt: skip

_ENSEMBLE_ROWS = (
    ("chi1_jsd_mode", "chi1 populations by residue, JSD of the mode (bits)", 3),
    ("chi1_jsd_mode_floor", "floor: a perfect sampler, one structure a frame", 3),
    ("chi1_jsd_sample", "chi1 populations by residue, JSD of the samples", 3),
    ("chi1_jsd_sample_floor", "floor: a perfect sampler, as many samples", 3),
    ("chi1_jsd_type_mode", "chi1 populations by residue type, JSD of the mode", 3),
    ("chi1_jsd_type_sample", "the same of the samples", 3),
    ("diversity", "diversity of samples (0 as varied as wrong, 1 all the same)", 3),
)


def make_report(
    scores: Mapping[str, Sequence[EntryScore]],
    native: Sequence[EntryScore],
    settings: Mapping[str, Any],
    about: Mapping[str, Mapping[str, Any]],
    reasons: Mapping[str, Mapping[str, str]] | None = None,
) -> dict[str, Any]:
    """Put an evaluation together.

    Parameters
    ----------
    scores : mapping of str to sequence of EntryScore
        By model.
    native : sequence of EntryScore
        The references.
    settings : mapping
        What was asked for.
    about : mapping of str to mapping
        What is known of each model (commit, data hash, version).
    reasons : mapping of str to mapping or None
        By model and entry id, why the model failed there. If None, failures
        have no reason.

    Returns
    -------
    dict
        Ready for JSON; each model's ``failures`` are the entries of `native`
        that it has no scores of.
    """
    reasons = reasons or {}
    return {
        "settings": dict(settings),
        "hardware": {
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {
            "openmm_backmap": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "models": {
            name: {
                **about.get(name, {}),
                "failures": _list_failures(rows, native, reasons.get(name, {})),
                **summarize_model(rows),
            }
            for name, rows in scores.items()
        },
        "native": summarize_model(native)["groups"],
    }


def _list_failures(
    scores: Sequence[EntryScore],
    native: Sequence[EntryScore],
    reasons: Mapping[str, str],
) -> list[dict[str, str | None]]:
    """The entries a model has no scores of."""
    done = {score.entry_id for score in scores}
    return [
        {"entry_id": n.entry_id, "group": n.group, "reason": reasons.get(n.entry_id)}
        for n in native
        if n.entry_id not in done
    ]


def _format(value: Any, digits: int) -> str:
    if value is None:
        return "-"
    # energies of clashing structures know no bounds
    return f"{value:.1e}" if abs(value) >= 1e5 else f"{value:.{digits}f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]


def _columns(report: Mapping[str, Any], group: str) -> list[tuple[str, dict, dict]]:
    """Title, figures and numbers of entries of each column of a group's table."""
    columns = []
    for name, model in report["models"].items():
        found = model["groups"].get(group)
        if found is None:
            # it failed on all of them
            columns.append((name, {}, {}))
            continue
        columns.append((name, found["mode"], found["mode_measured"]))
        if "sample" in found:
            columns.append(
                (f"{name}, one sample", found["sample"], found["sample_measured"])
            )
    if group in report["native"]:
        native = report["native"][group]
        columns.append(("native", native["mode"], native["mode_measured"]))
    return columns


def _cell(key: str, digits: int, figures: dict, measured: dict) -> str:
    """A mean over entries, with their number where some lack the figure."""
    text = _format(figures.get(key), digits)
    if key in figures and key in measured:
        n, most = measured[key]
        text += f" ({n} of {most})"
    return text


def _write_group(report: Mapping[str, Any], group: str) -> list[str]:
    models = {n: m["groups"][group] for n, m in report["models"].items()
              if group in m["groups"]}  # fmt: skip
    first = report["native"][group]
    columns = _columns(report, group)
    lines = [
        f"## {GROUP_TITLES[group]}: {first['n_entries']} entries, "
        f"{first['n_frames']} frames",
        "",
    ]
    for name, model in report["models"].items():
        failed = [f for f in model["failures"] if f["group"] == group]
        if failed:
            why = failed[0]["reason"]
            lines += [
                f"{name} failed on {len(failed)} of {first['n_entries']} entries, "
                f"first on {failed[0]['entry_id']}" + (f": {why}" if why else "."),
                "",
            ]
    body = [
        [title, *(_cell(key, digits, *rest) for _, *rest in columns)]
        for key, title, digits in _ROWS
        if any(key in figures for _, figures, _ in columns)
    ]
    lines += _table(["", *(title for title, *_ in columns)], body)
    ensembles = {n: f["ensemble"] for n, f in models.items() if "ensemble" in f}
    if ensembles:
        body = [
            [title, *(_format(e.get(key), digits) for e in ensembles.values())]
            for key, title, digits in _ENSEMBLE_ROWS
            if any(key in e for e in ensembles.values())
        ]
        lines += _table(["ensembles and samples", *ensembles], body)
    body = []
    for name, found in models.items():
        for level, figures in found.get("noise", {}).items():
            keys = ("heavy_rmsd_angstrom", "chi1_40_percent", "bonds_percent",
                    "peptides_percent", "severe_clashes_per_1000")  # fmt: skip
            body.append(
                [name, level, *(_format(figures.get(k), 2) for k in keys)]
            )  # fmt: skip
    if body:
        header = ["CA noise", "A", "heavy RMSD (A)", "chi1 (%)", "bonds (%)",
                  "peptides (%)", "severe per 1000"]  # fmt: skip
        lines += _table(header, body)
    body = [
        [
            name,
            _format(c["mean"], 3),
            _format(c["share_right"], 3),
            _format(c["expected_calibration_error"], 3),
            _format(c["expected_calibration_error_mapped"], 3),
        ]
        for name, found in models.items()
        if (c := found.get("confidence"))
    ]
    if body:
        header = ["confidence", "mean", "right", "calibration error",
                  "after a map from the other half"]  # fmt: skip
        lines += _table(header, body)
    return lines


def write_markdown(report: Mapping[str, Any]) -> str:
    """Write the tables of a report.

    Parameters
    ----------
    report : mapping
        From `make_report`.

    Returns
    -------
    str
        Markdown.
    """
    settings = report["settings"]
    lines = [
        f"# Evaluation on the {settings['split']} split",
        "",
        "CA positions in, raw model output, nothing superposed; means over entries, "
        "each an entry's mean over its frames. CPU-ms, confidence and what is by "
        "residue type are pooled over all frames and side chains instead. chi and "
        "confidence are without proline, side-chain RMSD is with it. "
        f"{settings['n_samples']} samples a frame; {report['hardware']['threads']} "
        "thread(s).",
        "",
    ]
    for group in GROUPS:
        if group in report["native"]:
            lines += _write_group(report, group)
    return "\n".join(lines)


def _without_nan(value: Any) -> Any:
    """Replace what JSON does not know: nan by null, numpy numbers by their own."""
    if isinstance(value, Mapping):
        return {str(key): _without_nan(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return value


def write_report(report: Mapping[str, Any], folder: Path | str) -> list[Path]:
    """Write JSON, Markdown, plots, and each model's calibration.

    Parameters
    ----------
    report : mapping
        From `make_report`.
    folder : pathlib.Path or str
        Made when missing.

    Returns
    -------
    list of pathlib.Path
        The files; plots only where matplotlib is installed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / "evaluation.json", folder / "evaluation.md"]
    text = json.dumps(_without_nan(report), indent=1, allow_nan=False)
    files[0].write_text(text, encoding="utf-8")
    files[1].write_text(write_markdown(report), encoding="utf-8")
    for name, model in report["models"].items():
        if model["calibration"]:
            path = folder / f"calibration_{name}.json"
            path.write_text(json.dumps(model["calibration"]), encoding="utf-8")
            files.append(path)
    return files + plot_report(report, folder)
