"""Fit how a model's confidence is shown, on structures it was not trained on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from openmm_backmap.builder.extract import torsions_from_atoms
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.mapping.coarsen import coarsen_slots
from openmm_backmap.metrics.calibration import fit_calibration
from openmm_backmap.nn.bead_model import BeadModel
from openmm_backmap.nn.ca_noise import compute_shift
from openmm_backmap.nn.confidence import N_KNOTS, ConfidenceMap
from openmm_backmap.nn.packed_model import PackedModel
from openmm_backmap.residues.atoms import SLOT_NAMES
from openmm_backmap.training.batches import CRYSTAL_METHODS
from openmm_backmap.training.fit_packing import choose_entries, make_inputs
from openmm_backmap.training.shards import ShardEntry, read_shard

__all__ = ["choose_held_out", "fit_confidence", "fit_terms"]

N_HELD_OUT = 250
"""Validation structures of crystals, of any resolution."""
MAX_FLEXIBLE_RESIDUES = 400
CRYSTAL_NOISE = (0.005, 0.01, 0.02, 0.03)
"""CA noise in nm a coordinate; each crystal is seen without, and with one of these."""
FLEXIBLE_NOISE = (0.0, 0.01, 0.03)
N_MASSES = 60
"""Crystals that are seen as centres of mass, too; each takes three passes."""
FLEXIBLE_WEIGHT = 4.0
"""Weight of a residue of a flexible entry: there are few, and users have many."""
PENALTY = 1e-4
RIGHT = np.radians(40.0)


class _Outcome(NamedTuple):
    """One backmapped frame."""

    confidence: Tensor  # (R,) of the packing
    kind: Tensor  # (R,) int64
    segment: Tensor  # (R,) int64
    shift: Tensor  # (R,) nm
    is_told: Tensor  # (R,) bool
    is_right: Tensor  # (R,) bool
    is_known: Tensor  # (R,) bool
    is_plain: bool  # a crystal without noise
    weight: float


def choose_held_out(
    shards: Sequence[Path], seed: int
) -> tuple[list[ShardEntry], list[ShardEntry]]:
    """Choose validation structures for `fit_confidence`.

    Parameters
    ----------
    shards : sequence of pathlib.Path
        Of the validation split.
    seed : int
        Of the draw.

    Returns
    -------
    crystals : list of ShardEntry
        Up to 250 of any resolution.
    flexible : list of ShardEntry
        All that have no resolution, of up to 400 residues: NMR, MD, disordered chains.
    """
    flexible = [
        entry
        for path in shards
        for entry in read_shard(path)
        if entry.method not in CRYSTAL_METHODS
        and np.isnan(entry.resolution)
        and len(entry.residue_type) <= MAX_FLEXIBLE_RESIDUES
    ]
    return choose_entries(shards, N_HELD_OUT, seed, 9.0), flexible


def fit_confidence(
    model: PackedModel,
    crystals: Sequence[ShardEntry],
    flexible: Sequence[ShardEntry] = (),
    seed: int = 0,
) -> dict[str, list[float]]:
    """Fit the `ConfidenceMap` of a model on structures, in place.

    A residue is right when chi1 and chi2 (as far as it has them) are within 40
    degrees of the structure's first model. All side chains count, those of large B
    too: whoever reads a confidence does not know the B-factor. The table comes from
    crystals as they are, the regression from these, from the same with CA noise, as
    frames of simulations have it, from some with centres of mass for CAs where all
    atoms are known, and from flexible entries.

    Parameters
    ----------
    model : PackedModel
        Gets its map.
    crystals, flexible : sequence of ShardEntry
        Validation structures, see `choose_held_out`.
    seed : int
        Of the noise.

    Returns
    -------
    dict
        For the metadata: ``confidence`` and ``probability``, the table, see
        `openmm_backmap.metrics.calibration`; ``weight`` of the regression's terms.
    """
    model.certainty = ConfidenceMap()
    outcomes = list(_backmap(model, crystals, flexible, seed))
    plain = [o for o in outcomes if o.is_plain]
    fit = fit_calibration(
        np.concatenate([o.confidence[o.is_known].numpy() for o in plain]),
        np.concatenate([o.is_right[o.is_known].numpy() for o in plain]),
    )
    knots = np.linspace(0.0, 1.0, N_KNOTS)
    values = np.interp(knots, fit["confidence"], fit["probability"])
    model.certainty.table = torch.tensor(values, dtype=torch.float32)
    terms, rights, weights = [], [], []
    for o in outcomes:
        rows = model.certainty.compute_terms(
            o.confidence[None],
            o.kind,
            o.segment,
            o.shift[None],
            o.is_told[None],
        )[0]
        terms.append(rows[o.is_known].double().numpy())
        rights.append(o.is_right[o.is_known].double().numpy())
        weights.append(np.full(len(rights[-1]), o.weight))
    weight = fit_terms(
        np.concatenate(terms), np.concatenate(rights), np.concatenate(weights)
    )
    model.certainty.weight = torch.tensor(weight, dtype=torch.float32)
    return {**fit, "weight": [round(float(v), 5) for v in weight]}


def fit_terms(
    terms: np.ndarray, is_right: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Fit a logistic regression, held to changing nothing by a small penalty.

    Parameters
    ----------
    terms : numpy.ndarray, shape (n, T)
        Of `ConfidenceMap.compute_terms`; the second one is the log odds of the table.
    is_right : numpy.ndarray, shape (n,)
        0 or 1.
    weights : numpy.ndarray, shape (n,)
        Of the rows.

    Returns
    -------
    numpy.ndarray, shape (T,)
        Coefficients.
    """
    start = np.zeros(terms.shape[1])
    start[1] = 1.0
    total = weights.sum()

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        odds = terms @ x
        nats = np.logaddexp(0.0, odds) - is_right * odds
        slope = terms.T @ (weights * (expit(odds) - is_right)) / total
        away = x - start
        value = (weights * nats).sum() / total + PENALTY * (away @ away)
        return float(value), slope + 2.0 * PENALTY * away

    return minimize(loss, start, jac=True, method="L-BFGS-B").x


def _backmap(
    model: PackedModel,
    crystals: Sequence[ShardEntry],
    flexible: Sequence[ShardEntry],
    seed: int,
) -> Iterator[_Outcome]:
    """Backmap all structures, with and without noise."""
    rng = np.random.default_rng(seed)
    for entry in crystals:
        yield _judge(model, entry, 0.0, rng, is_plain=True)
        yield _judge(model, entry, float(rng.choice(CRYSTAL_NOISE)), rng)
    for entry in flexible:
        for noise in FLEXIBLE_NOISE:
            yield _judge(model, entry, noise, rng, weight=FLEXIBLE_WEIGHT)
    beads = BeadModel(model).eval()
    for entry in crystals[:N_MASSES]:
        yield _judge(beads, entry, 0.0, rng, has_masses=True)


def _judge(
    model: PackedModel | BeadModel,
    entry: ShardEntry,
    noise: float,
    rng: np.random.Generator,
    *,
    is_plain: bool = False,
    has_masses: bool = False,
    weight: float = 1.0,
) -> _Outcome:
    """Backmap the first model of a structure and see which side chains are right."""
    beads, kind, segment, near, box = make_inputs(entry)
    push = rng.standard_normal(tuple(beads.shape)).astype(np.float32)
    beads = beads + noise * torch.from_numpy(push)
    is_told = torch.zeros_like(segment, dtype=torch.bool)
    if has_masses:
        n_atoms = torch.tensor([len(names) for names in SLOT_NAMES])
        is_told = torch.from_numpy(entry.mask).sum(1) == n_atoms[kind]
        mass = coarsen_slots(entry.positions[:1], entry.residue_type, "com")
        mass = torch.from_numpy(mass)[:, :, :1] * is_told.view(1, -1, 1, 1)
        beads = torch.cat((beads * ~is_told.view(1, -1, 1, 1), mass), 2)
    with torch.no_grad():
        positions, confidence = model(beads, kind, segment, near, box, None)
        shift = compute_shift(positions[:, :, 1], beads[:, :, 0], segment)
    sure = torch.from_numpy(entry.mask)
    truth = torch.from_numpy(entry.positions[:1])
    native = torsions_from_atoms(truth, sure, kind, segment)
    built = torsions_from_atoms(positions, torch.ones_like(sure), kind, segment)
    periodic = load_builder_tables().pi_periodic[kind][:, :2]
    period = torch.where(periodic, torch.pi, 2 * torch.pi)
    error = (built.chi - native.chi)[0, :, :2]
    error = torch.remainder(error + period / 2, period) - period / 2
    seen = native.chi_mask[0, :, :2]
    wrong = ((error.abs() > RIGHT) & seen).any(-1)
    return _Outcome(
        confidence[0],
        kind,
        segment,
        shift[0],
        is_told,
        ~wrong,
        # the ring of proline is not chosen like a rotamer
        seen[:, 0] & (kind != 14) & (is_told | (not has_masses)),
        is_plain,
        weight,
    )
