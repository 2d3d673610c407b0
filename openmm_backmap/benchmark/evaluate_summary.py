"""Figures of a model from the scores of its entries."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from openmm_backmap.benchmark.evaluate import ENERGY_FIGURE, EntryScore
from openmm_backmap.benchmark.evaluate_entries import GROUPS
from openmm_backmap.metrics.calibration import (
    apply_calibration,
    compute_calibration_error,
    compute_reliability,
    fit_calibration,
)
from openmm_backmap.metrics.populations import compute_jensen_shannon
from openmm_backmap.residues.names import CODES

__all__ = ["ENERGY_MEDIAN", "summarize_model"]


ENERGY_MEDIAN = "energy_above_native_median_kcal_per_residue"


def _mean_figures(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each figure over the entries that have it."""
    keys = dict.fromkeys(key for row in rows for key in row)
    result = {}
    for key in keys:
        values = np.array([row[key] for row in rows if key in row], float)
        values = values[np.isfinite(values)]
        if len(values):
            result[key] = float(values.mean())
    return result


def _count_figures(rows: Sequence[Mapping[str, float]]) -> dict[str, list[int]]:
    """Entries that have a figure, of all it was looked for in, where some lack it."""
    found = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = np.array([row[key] for row in rows if key in row], float)
        n = int(np.isfinite(values).sum())
        if n < len(values):
            found[key] = [n, len(values)]
    return found


def _pool_populations(scores: Sequence[EntryScore]) -> dict[str, float]:
    """JSD of chi1 wells by residue type over all ensembles of a group."""
    rows = [s.counts for s in scores if s.counts and s.n_frames > 1]
    if not rows:
        return {}
    total = {name: sum(row[name] for row in rows) for name in rows[0]}
    weight = total["reference"].sum(axis=1)
    seen = weight > 0
    return {
        f"chi1_jsd_type_{name}": float(
            np.average(
                compute_jensen_shannon(total[name][seen], total["reference"][seen]),
                weights=weight[seen],
            )
        )
        for name in ("mode", "sample")
    }


def _measure_confidence(scores: Sequence[EntryScore]) -> dict[str, Any]:
    """Calibration as it is, and after a map fitted to other entries."""
    scores = [s for s in scores if len(s.confidence)]
    if not scores:
        return {}
    confidence = np.concatenate([s.confidence for s in scores])
    is_right = np.concatenate([s.is_right for s in scores])
    fold = np.concatenate(
        [np.full(len(s.confidence), k % 2) for k, s in enumerate(scores)]
    )
    error = None
    if len(scores) > 1:
        mended = confidence.astype(np.float64)
        for k in (0, 1):
            table = fit_calibration(confidence[fold != k], is_right[fold != k])
            mended[fold == k] = apply_calibration(confidence[fold == k], table)
        error = compute_calibration_error(mended, is_right)
    return {
        "n_side_chains": len(confidence),
        "mean": float(confidence.mean()),
        "share_right": float(is_right.mean()),
        "expected_calibration_error": compute_calibration_error(confidence, is_right),
        "expected_calibration_error_mapped": error,
        "reliability": [
            [None if np.isnan(v) else round(float(v), 4) for v in row]
            for row in compute_reliability(confidence, is_right)
        ],
    }


def _add_energies(found: dict[str, Any], scores: Sequence[EntryScore]) -> None:
    """Median energy, in which infinite ones count, and numbers of entries."""
    rows = [s.mode[ENERGY_FIGURE] for s in scores if ENERGY_FIGURE in s.mode]
    energies = np.array(rows, float)
    known = energies[~np.isnan(energies)]
    if len(known) == 0:
        return
    found["mode"][ENERGY_MEDIAN] = float(np.median(known))
    found["n_energies"] = len(known)
    n_finite = int(np.isfinite(known).sum())
    found["mode_measured"] |= {
        ENERGY_FIGURE: [n_finite, len(energies)],
        ENERGY_MEDIAN: [len(known), len(energies)],
    }


def _summarize_group(scores: Sequence[EntryScore]) -> dict[str, Any]:
    frames = sum(s.n_frames for s in scores)
    rows = sum(s.n_frames * s.n_residues for s in scores)
    cpu = 1000.0 * sum(s.cpu_seconds for s in scores)
    found: dict[str, Any] = {
        "n_entries": len(scores),
        "n_frames": frames,
        "n_residues": sum(s.n_residues for s in scores),
        "mode": _mean_figures([s.mode for s in scores]),
        "mode_measured": _count_figures([s.mode for s in scores]),
    }
    _add_energies(found, scores)
    if cpu:
        found["mode"]["cpu_ms_per_frame"] = cpu / frames
        found["mode"]["cpu_ms_per_100_residues"] = 100.0 * cpu / rows
    if any(s.sample for s in scores):
        samples = [s.sample for s in scores if s.sample]
        found["sample"] = _mean_figures(samples)
        found["sample_measured"] = _count_figures(samples)
    ensemble = _mean_figures([s.ensemble for s in scores]) | _pool_populations(scores)
    if ensemble:
        found["ensemble"] = ensemble
    levels = dict.fromkeys(level for s in scores for level in s.noise)
    if levels:
        found["noise"] = {
            level: _mean_figures([s.noise[level] for s in scores]) for level in levels
        }
    confidence = _measure_confidence(scores)
    if confidence:
        found["confidence"] = confidence
    by_type = sum(s.right_by_type for s in scores)
    if by_type.sum():
        found["side_chains_right_percent"] = {
            CODES[k]: round(100.0 * right / n, 1)
            for k, (right, n) in enumerate(by_type)
            if n
        }
    return found


def summarize_model(scores: Sequence[EntryScore]) -> dict[str, Any]:
    """Means over entries, group by group, and over all groups' confidence.

    Parameters
    ----------
    scores : sequence of EntryScore
        Of one model.

    Returns
    -------
    dict
        ``groups`` by `GROUPS`, each with the means of ``mode`` and ``sample``
        and, where fewer entries than all have a figure, how many of how many in
        ``mode_measured`` and ``sample_measured``; ``calibration``, the table of
        `openmm_backmap.metrics.calibration` fitted to the first of the groups
        (single X-ray structures where there are any; empty without
        confidence); ``entries``, a row for each.
    """
    present = [g for g in GROUPS if any(s.group == g for s in scores)]
    usable = [s for s in scores if len(s.confidence) and s.group == present[0]]
    calibration = {}
    if usable:
        calibration = fit_calibration(
            np.concatenate([s.confidence for s in usable]),
            np.concatenate([s.is_right for s in usable]),
        )
    return {
        "groups": {
            g: _summarize_group([s for s in scores if s.group == g]) for g in present
        },
        "calibration": calibration,
        "entries": [
            {
                "entry_id": s.entry_id,
                "group": s.group,
                "method": s.method,
                "n_residues": s.n_residues,
                "n_frames": s.n_frames,
                "cpu_seconds": s.cpu_seconds,
                "mode": s.mode,
                "sample": s.sample,
                "ensemble": s.ensemble,
                "noise": s.noise,
            }
            for s in scores
        ],
    }
