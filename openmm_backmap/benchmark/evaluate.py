"""Evaluation of models on a split: modes, samples, noise and confidence."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from openmm_backmap.benchmark.energies import has_sound_energy, make_energy_meter
from openmm_backmap.benchmark.evaluate_built import split_by_built
from openmm_backmap.benchmark.evaluate_entries import GROUPS, EvaluationEntry
from openmm_backmap.benchmark.evaluate_predict import (
    Prediction,
    Predictor,
    draw_noise,
    make_rng,
)
from openmm_backmap.benchmark.evaluate_score import (
    find_right_side_chains,
    score_frames,
    score_validity,
)
from openmm_backmap.errors import BackmapError, BackmapWarning
from openmm_backmap.metrics.diversity import compute_diversity
from openmm_backmap.metrics.populations import (
    compute_chi_populations,
    compute_jensen_shannon,
    compute_jsd_floor,
    pool_by_type,
)
from openmm_backmap.units import ANGSTROM

__all__ = [
    "ENERGY_FIGURE",
    "EntryScore",
    "EvaluationSettings",
    "evaluate_entry",
    "evaluate_models",
]

ENERGY_FIGURE = "energy_above_native_kcal_per_residue"


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured besides the mode.

    Parameters
    ----------
    n_samples : int
        Samples of each frame; 0 = none.
    noise_angstrom : tuple of float
        Standard deviations of CA noise a coordinate, on the first frame of
        each entry.
    seed : int
        Of the noise and of floors of divergences.
    n_energies : int
        Entries of each group whose energy is measured, see
        `openmm_backmap.benchmark.energies`.
    """

    n_samples: int = 0
    noise_angstrom: tuple[float, ...] = ()
    seed: int = 0
    n_energies: int = 0


@dataclass(frozen=True, eq=False)
class EntryScore:
    """The figures of one model on one entry.

    Parameters
    ----------
    entry_id, group, method : str
        The entry.
    n_residues, n_frames : int
        Its size.
    mode : dict of str to float
        Means over the frames that have the figure; nan where none has.
    sample : dict of str to float
        Means over frames and samples; empty without samples.
    ensemble : dict of str to float
        Populations and diversity; empty without samples.
    noise : dict of str to dict
        Figures by noise in angstrom.
    cpu_seconds, seconds : float
        Of the mode, all frames.
    confidence, is_right : numpy.ndarray, shape (n,)
        Of the mode's side chains; empty where the model gives no confidence.
    right_by_type : numpy.ndarray, shape (20, 2)
        Right side chains, and all, by residue type.
    counts : dict of str to numpy.ndarray, each (20, 3)
        chi1 wells by residue type of "reference", "mode" and "sample", a
        structure.
    """

    entry_id: str
    group: str
    method: str
    n_residues: int
    n_frames: int
    mode: dict[str, float]
    sample: dict[str, float]
    ensemble: dict[str, float]
    noise: dict[str, dict[str, float]]
    cpu_seconds: float
    seconds: float
    confidence: np.ndarray
    is_right: np.ndarray
    right_by_type: np.ndarray
    counts: dict[str, np.ndarray] = field(default_factory=dict)


def _mean(figures: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean of each figure over frames; nan where no frame has it."""
    return {
        key: float("nan") if np.isnan(values).all() else float(np.nanmean(values))
        for key, values in figures.items()
    }


def _mean_of_dicts(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    return _mean({key: np.array([row[key] for row in rows]) for key in rows[0]})


def _measure_ensemble(
    entry: EvaluationEntry, mode: np.ndarray, samples: np.ndarray, seed: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Populations of chi1 and diversity of samples (S, F, R, 14, 3)."""
    layout, reference = entry.layout, entry.reference
    flat = samples.reshape(-1, *samples.shape[2:])
    ensembles = {"reference": reference, "mode": mode, "sample": flat}
    wells = {
        name: compute_chi_populations(positions, layout)
        for name, positions in ensembles.items()
    }
    residue = wells["reference"][1]
    pooled = {
        name: pool_by_type(counts, residue, layout) / len(ensembles[name])
        for name, (counts, _) in wells.items()
    }
    figures: dict[str, float] = {}
    if entry.n_frames > 1 and len(residue):
        wanted = wells["reference"][0]
        rng = make_rng(seed, entry.entry_id, "floor")
        divergences = {}
        for name, n_samples in (("mode", 1), ("sample", len(samples))):
            divergence = compute_jensen_shannon(wells[name][0], wanted)
            divergences[f"chi1_jsd_{name}"] = divergence
            floor = compute_jsd_floor(wanted, n_samples, rng)
            divergences[f"chi1_jsd_{name}_floor"] = floor
        figures |= _mean(divergences)
    if len(samples) > 1:
        diversity = np.full(len(reference), np.nan)
        built = np.isfinite(samples).all(axis=(0, -1))
        for rows, part in split_by_built(built, layout):
            diversity[rows] = compute_diversity(samples[:, rows], reference[rows], part)
        figures |= _mean({"diversity": diversity})
    return figures, pooled


def _measure_noise(
    predictor: Predictor, entry: EvaluationEntry, settings: EvaluationSettings
) -> dict[str, dict[str, float]]:
    """Figures of the first frame's mode against noise on its beads."""
    reference = entry.reference[:1]
    draw = draw_noise(settings.seed, entry.entry_id, "ca", shape=entry.ca[:1].shape)
    found = {}
    for sigma in settings.noise_angstrom:
        ca = (entry.ca[:1] + sigma * ANGSTROM * draw).astype(np.float32)
        predicted = predictor.predict(entry, ca, None).positions
        found[f"{sigma:g}"] = _mean(score_frames(predicted, reference, entry.layout))
    return found


def evaluate_entry(
    predictor: Predictor,
    entry: EvaluationEntry,
    settings: EvaluationSettings,
    measure_energy: Callable[[np.ndarray], np.ndarray] | None = None,
) -> EntryScore:
    """Run a model on one entry and measure what comes out.

    Parameters
    ----------
    predictor : Predictor
        The model.
    entry : EvaluationEntry
        The reference.
    settings : EvaluationSettings
        What is measured.
    measure_energy : callable or None
        From `openmm_backmap.benchmark.energies.make_energy_meter`. If None, no
        energy is measured.

    Returns
    -------
    EntryScore
    """
    layout, reference = entry.layout, entry.reference
    mode: Prediction = predictor.predict(entry, entry.ca, None)
    is_right, counts = find_right_side_chains(mode.positions, reference, layout)
    right_by_type = np.zeros((20, 2))
    np.add.at(right_by_type[:, 0], layout.residue_type, is_right.sum(0) * counts)
    np.add.at(right_by_type[:, 1], layout.residue_type, len(is_right) * counts)
    sample, ensemble, pooled = {}, {}, {}
    if settings.n_samples and predictor.can_sample:
        samples = np.stack(
            [
                predictor.predict(entry, entry.ca, k).positions
                for k in range(settings.n_samples)
            ]
        )
        sample = _mean_of_dicts(
            [_mean(score_frames(one, reference, layout)) for one in samples]
        )
        ensemble, pooled = _measure_ensemble(
            entry, mode.positions, samples, settings.seed
        )
    figures = score_frames(mode.positions, reference, layout)
    if measure_energy is not None:
        figures[ENERGY_FIGURE] = measure_energy(mode.positions)
    has_confidence = mode.confidence is not None
    return EntryScore(
        entry_id=entry.entry_id,
        group=entry.group,
        method=entry.source.method,
        n_residues=entry.n_residues,
        n_frames=entry.n_frames,
        mode=_mean(figures),
        sample=sample,
        ensemble=ensemble,
        noise=_measure_noise(predictor, entry, settings),
        cpu_seconds=mode.cpu_seconds,
        seconds=mode.seconds,
        confidence=mode.confidence[:, counts].ravel() if has_confidence else _EMPTY,
        is_right=is_right[:, counts].ravel() if has_confidence else _EMPTY > 0,
        right_by_type=right_by_type,
        counts=pooled,
    )


_EMPTY = np.zeros(0, np.float32)


def _try_energy_meter(
    entry: EvaluationEntry,
) -> Callable[[np.ndarray], np.ndarray] | None:
    """Make an energy meter where the entry allows one; say why if it fails."""
    if not has_sound_energy(entry):
        return None
    try:
        return make_energy_meter(entry)
    except BackmapError as error:
        warnings.warn(f"no energy of {entry.entry_id}: {error}", BackmapWarning, 3)
        return None


def evaluate_models(
    predictors: Sequence[Predictor],
    entries: Iterable[EvaluationEntry],
    settings: EvaluationSettings,
    on_entry: Callable[[EvaluationEntry], Any] | None = None,
    on_failure: Callable[[str, EvaluationEntry, Exception], Any] | None = None,
) -> tuple[dict[str, list[EntryScore]], list[EntryScore]]:
    """Run all models on the same entries.

    Parameters
    ----------
    predictors : sequence of Predictor
        The models; names differ.
    entries : iterable of EvaluationEntry
        Read once.
    settings : EvaluationSettings
        What is measured.
    on_entry : callable or None
        Called with each entry that is done. If None, nothing is.
    on_failure : callable or None
        Called with the model's name, the entry and the error where a model
        could not be run; the entry is then missing from its scores. If None,
        the error goes through.

    Returns
    -------
    scores : dict of str to list of EntryScore
        By model.
    native : list of EntryScore
        The references by themselves: validity in `mode`, nothing else.
    """
    scores: dict[str, list[EntryScore]] = {p.name: [] for p in predictors}
    native = []
    n_left = dict.fromkeys(GROUPS, settings.n_energies)
    for entry in entries:
        measure_energy = None
        if n_left[entry.group] > 0:
            measure_energy = _try_energy_meter(entry)
            n_left[entry.group] -= measure_energy is not None
        for predictor in predictors:
            try:
                score = evaluate_entry(predictor, entry, settings, measure_energy)
            except BackmapError as error:
                if on_failure is None:
                    raise
                on_failure(predictor.name, entry, error)
            else:
                scores[predictor.name].append(score)
        native.append(
            EntryScore(
                entry_id=entry.entry_id,
                group=entry.group,
                method=entry.source.method,
                n_residues=entry.n_residues,
                n_frames=entry.n_frames,
                mode=_mean(score_validity(entry.reference, entry.layout)),
                sample={},
                ensemble={},
                noise={},
                cpu_seconds=0.0,
                seconds=0.0,
                confidence=_EMPTY,
                is_right=_EMPTY > 0,
                right_by_type=np.zeros((20, 2)),
            )
        )
        if on_entry is not None:
            on_entry(entry)
    return scores, native
