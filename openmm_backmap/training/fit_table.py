"""Fit the `table` model: CA geometries, rotamers, end torsions.

::

    python -m openmm_backmap.training.fit_table DATA_FOLDER -o table.pt

X-ray structures at 2.2 A or better, each chain weighted by the size of its
40 % sequence cluster to the power -0.5, side-chain atoms with B below 60 A^2.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from openmm_backmap.artifact.metadata import ModelMetadata
from openmm_backmap.artifact.torchscript import save_torchscript
from openmm_backmap.builder.extract import torsions_from_atoms
from openmm_backmap.builder.ramachandran import compute_phi_psi
from openmm_backmap.nn.bead_model import BEAD_MAPPINGS, BeadModel
from openmm_backmap.nn.peptide_table import (
    PeptideTable,
    compute_far_azimuth,
    compute_trace_features,
)
from openmm_backmap.nn.rotamer_library import RotamerLibrary
from openmm_backmap.nn.table_model import TABLE_NOISE_WIDTH, TableModel
from openmm_backmap.packing.pack import Packer, PackingSettings
from openmm_backmap.residues.names import N_TYPES, RESIDUE_NAMES
from openmm_backmap.residues.torsions import CHI_IS_PI_PERIODIC, N_CHI_OF_TYPE
from openmm_backmap.training.fit_confidence import choose_held_out, fit_confidence
from openmm_backmap.training.fit_packing import choose_entries, fit_model_packing
from openmm_backmap.training.prepared import hash_files, split_segments
from openmm_backmap.training.provenance import describe_build
from openmm_backmap.training.shards import ShardEntry, find_shards, read_shard

__all__ = ["TableData", "collect", "fit_library", "fit_peptides", "fit_table_model"]

MAX_RESOLUTION = 2.2
MAX_BFACTOR = 60.0
N_STORED = 20_000
N_BINS = 24
SMOOTHING_DEGREES = 15.0
PRIOR_COUNT = 8.0
MAX_TWIST = 0.7
MIN_FRACTION = 1e-4
N_PACKING_ENTRIES = 400

# wells of a chi: (number of wells, start of the first in degrees)
_STAGGERED = (3, 0.0)
_WELLS = {
    ("ASN", 1): (6, -180.0), ("HIS", 1): (6, -180.0), ("TRP", 1): (6, -180.0),
    ("GLN", 2): (6, -180.0), ("ASP", 1): (3, -30.0), ("GLU", 2): (3, -30.0),
    ("PHE", 1): (3, 0.0), ("TYR", 1): (3, 0.0), ("PRO", 0): (2, -180.0),
    ("PRO", 1): (1, -180.0),
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class TableData:
    """Residues of many structures as flat arrays, radians and nm.

    Attributes
    ----------
    features : numpy.ndarray, shape (N, 14)
        `compute_trace_features`.
    alpha, far_alpha, twist : numpy.ndarray, shape (N,)
        Azimuths of C from CA(i-1) and CA(i+2), twist.
    is_inner : numpy.ndarray, shape (N,), bool
        Trans units that have both neighbours.
    residue_type : numpy.ndarray, shape (N,)
        0 to 19.
    ramachandran : numpy.ndarray, shape (N, 2)
        phi and psi, nan where missing.
    end_torsion : numpy.ndarray, shape (N, 3)
        nan where not an end.
    chi : numpy.ndarray, shape (N, 4)
        nan where missing.
    weight : numpy.ndarray, shape (N,)
        By cluster.
    """

    features: np.ndarray
    alpha: np.ndarray
    far_alpha: np.ndarray
    twist: np.ndarray
    is_inner: np.ndarray
    residue_type: np.ndarray
    ramachandran: np.ndarray
    end_torsion: np.ndarray
    chi: np.ndarray
    weight: np.ndarray


def _read_entry(entry: ShardEntry, weight: np.ndarray) -> dict[str, np.ndarray]:
    segment = torch.from_numpy(split_segments(entry))
    kind = torch.from_numpy(entry.residue_type)
    positions = torch.from_numpy(entry.positions[:1])
    mask = torch.from_numpy(entry.mask & (entry.bfactor < MAX_BFACTOR))
    found = torsions_from_atoms(positions, mask, kind, segment)
    ca = positions[:, :, 1]
    far = compute_far_azimuth(ca, segment)
    joined = torch.zeros_like(segment, dtype=torch.bool)
    joined[:-1] = segment[:-1] == segment[1:]
    inner = joined & torch.roll(joined, 1, 0) & torch.roll(joined, -1, 0)
    phi, psi, has_phi, has_psi = compute_phi_psi(positions, segment)
    phi = torch.where(has_phi, phi, torch.nan)
    psi = torch.where(has_psi, psi, torch.nan)
    return {
        "features": compute_trace_features(ca, kind, segment)[0].numpy(),
        "alpha": found.alpha[0].numpy(),
        "far_alpha": (found.alpha - far)[0].numpy(),
        "twist": found.twist[0].clamp(-MAX_TWIST, MAX_TWIST).numpy(),
        "is_inner": (inner & found.unit_mask[0] & ~found.is_cis[0]).numpy(),
        "residue_type": entry.residue_type,
        "ramachandran": torch.stack((phi[0], psi[0]), -1).numpy(),
        "end_torsion": torch.where(found.end_mask, found.end_torsion, torch.nan)[
            0
        ].numpy(),
        "chi": torch.where(found.chi_mask, found.chi, torch.nan)[0].numpy(),
        "weight": weight[entry.chain],
    }


def collect(shards: Sequence[Path]) -> TableData:
    """Read shards and measure what the table stores.

    Parameters
    ----------
    shards : sequence of pathlib.Path
        Training shards.

    Returns
    -------
    TableData
    """
    sizes: dict[int, int] = {}
    entries = []
    for path in shards:
        for entry in read_shard(path):
            if not entry.resolution <= MAX_RESOLUTION:
                continue
            entries.append(entry)
            for cluster in entry.cluster.tolist():
                sizes[cluster] = sizes.get(cluster, 0) + 1
    parts = [
        _read_entry(e, np.array([sizes[c] ** -0.5 for c in e.cluster.tolist()]))
        for e in entries
    ]
    return TableData(**{k: np.concatenate([p[k] for p in parts]) for k in parts[0]})


def fit_peptides(data: TableData, rng: np.random.Generator) -> PeptideTable:
    """Choose the stored units, rare geometries more often than common ones.

    Parameters
    ----------
    data : TableData
        Training residues.
    rng : numpy.random.Generator
        Draws the units.

    Returns
    -------
    PeptideTable
    """
    index = np.flatnonzero(data.is_inner)
    key = np.round(data.features[index][:, 2:4] / 1.5 * 6).astype(int)
    key = np.concatenate((key, np.round(data.features[index][:, 7:9] * 2)), 1)
    _, cell, count = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    weight = data.weight[index] * count[cell.ravel()] ** -0.4
    chosen = rng.choice(index, N_STORED, replace=False, p=weight / weight.sum())
    arrays = (data.features, data.alpha, data.far_alpha, data.twist)
    return PeptideTable(*[torch.tensor(a[chosen], dtype=torch.float32) for a in arrays])


def _well_of(name: str, k: int, chi: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Well of each chi, and the chi moved into the range of the wells."""
    count, start = _WELLS.get((name, k), _STAGGERED)
    period = 180.0 if CHI_IS_PI_PERIODIC[RESIDUE_NAMES.index(name)][k] else 360.0
    moved = (np.degrees(chi) - start) % period
    well = np.minimum((moved * count / period).astype(int), count - 1)
    return well, np.radians(moved + start), count


def _rotamers(
    name: str, chi: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotamer of each residue, their mean chi, and the spread within."""
    n_chi = chi.shape[1]
    code = np.zeros(len(chi), int)
    means = np.zeros((1, 4))
    spread = np.zeros(4)
    for k in range(n_chi):
        well, moved, count = _well_of(name, k, chi[:, k])
        code = code * count + well
        table = np.zeros((len(means) * count, 4))
        table[:] = np.repeat(means, count, axis=0)
        residual = np.zeros(len(chi))
        for rotamer in np.unique(code):
            member = code == rotamer
            phase = np.exp(1j * moved[member])
            center = np.angle((weight[member] * phase).sum())
            table[rotamer, k] = center
            residual[member] = np.angle(phase * np.exp(-1j * center))
        inside = np.abs(residual) < np.radians(40)
        spread[k] = np.sqrt(np.average(residual[inside] ** 2, weights=weight[inside]))
        means = table
    return code, means, spread


def _bin(angle: np.ndarray) -> np.ndarray:
    index = np.floor((np.nan_to_num(angle) + np.pi) / (2 * np.pi) * N_BINS)
    return np.where(np.isnan(angle), N_BINS, np.clip(index, 0, N_BINS - 1)).astype(int)


def fit_library(data: TableData) -> RotamerLibrary:
    """Count rotamers over phi and psi.

    Counts are smoothed by a wrapped Gaussian and mixed with the distribution
    over all phi and psi, which weighs as much as `PRIOR_COUNT` residues.

    Parameters
    ----------
    data : TableData
        Training residues.

    Returns
    -------
    RotamerLibrary
    """
    found = {}
    spreads = np.zeros((N_TYPES, 4))
    sigma = SMOOTHING_DEGREES / (360.0 / N_BINS)
    for kind, name in enumerate(RESIDUE_NAMES):
        n_chi = N_CHI_OF_TYPE[kind]
        if n_chi == 0:
            continue
        row = np.flatnonzero(
            (data.residue_type == kind) & ~np.isnan(data.chi[:, :n_chi]).any(1)
        )
        weight = data.weight[row]
        code, means, spreads[kind] = _rotamers(name, data.chi[row, :n_chi], weight)
        total = np.bincount(code, weight, len(means))
        kept = np.flatnonzero(total > MIN_FRACTION * total.sum())
        prior = total[kept] / total[kept].sum()
        phi, psi = _bin(data.ramachandran[row, 0]), _bin(data.ramachandran[row, 1])
        log_p = np.zeros((N_BINS + 1, N_BINS + 1, len(kept)))
        counts = np.zeros((N_BINS + 1, N_BINS + 1, len(kept)))
        for k, rotamer in enumerate(kept):
            member = code == rotamer
            np.add.at(counts[:, :, k], (phi[member], psi[member]), weight[member])
        inner = slice(0, N_BINS)
        for k in range(len(kept)):
            counts[inner, inner, k] = gaussian_filter(
                counts[inner, inner, k], sigma, mode="wrap"
            ) * (2 * np.pi * sigma**2)
        counts[N_BINS, inner] = counts[inner, inner].sum(0)
        counts[inner, N_BINS] = counts[inner, inner].sum(1)
        counts[N_BINS, N_BINS] = total[kept]
        mixed = counts + PRIOR_COUNT * prior
        log_p = np.log(mixed / mixed.sum(-1, keepdims=True))
        found[kind] = (means[kept], log_p.reshape(-1, len(kept)))
    width = max(len(means) for means, _ in found.values())
    chi = np.zeros((N_TYPES, width, 4))
    table = np.full((N_TYPES, (N_BINS + 1) ** 2, width), -np.inf)
    for kind, (means, log_p) in found.items():
        chi[kind, : len(means)] = means
        table[kind, :, : len(means)] = log_p
    return RotamerLibrary(
        torch.tensor(chi, dtype=torch.float32),
        torch.tensor(table, dtype=torch.float32),
        torch.tensor(spreads, dtype=torch.float32),
        N_BINS,
    )


def fit_ramachandran_energy(data: TableData) -> torch.Tensor:
    """Log p of phi and psi by class, relative to the maximum of each class.

    Parameters
    ----------
    data : TableData
        Training residues.

    Returns
    -------
    torch.Tensor, shape (4, 36, 36)
        General, glycine, proline, before proline; bins of 10 degrees smoothed
        by a wrapped Gaussian of the same width.
    """
    known = ~np.isnan(data.ramachandran).any(1)
    following = np.roll(data.residue_type, -1)
    kind = np.where(following == 14, 3, 0)
    kind = np.where(data.residue_type == 14, 2, kind)
    kind = np.where(data.residue_type == 7, 1, kind)
    edges = np.linspace(-np.pi, np.pi, 37)
    result = np.zeros((4, 36, 36))
    for k in range(4):
        row = known & (kind == k)
        counts, _, _ = np.histogram2d(
            data.ramachandran[row, 0],
            data.ramachandran[row, 1],
            bins=(edges, edges),
            weights=data.weight[row],
        )
        smooth = gaussian_filter(counts, 1.0, mode="wrap") + 1e-6 * counts.sum()
        result[k] = np.log(smooth / smooth.max())
    return torch.tensor(result, dtype=torch.float32)


def _density(grid: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Von Mises kernel density (kappa 8) of angles on a grid, unnormalised."""
    return np.exp(8.0 * (np.cos(grid[:, None] - angle) - 1.0)).sum(1)


def fit_ends(data: TableData) -> torch.Tensor:
    """Most frequent end torsions by type, shape (20, 3), radians."""
    grid = np.radians(np.arange(-180, 180, 2.0))
    result = np.zeros((N_TYPES, 3))
    for k in range(3):
        known = ~np.isnan(data.end_torsion[:, k])
        for kind in range(N_TYPES):
            same = known & (data.residue_type == kind)
            # all types together decide where one type was seen too rarely
            total = _density(grid, data.end_torsion[known, k]) * 0.02
            total += _density(grid, data.end_torsion[same, k])
            result[kind, k] = grid[total.argmax()]
    return torch.tensor(result, dtype=torch.float32)


def fit_table_model(
    data: TableData, seed: int = 0, settings: PackingSettings | None = None
) -> TableModel:
    """Fit all parts of the `table` model.

    Parameters
    ----------
    data : TableData
        Training residues.
    seed : int
        Draws the stored CA geometries.
    settings : PackingSettings, optional
        Weights of the packing. If None, its defaults.

    Returns
    -------
    TableModel
    """
    rng = np.random.default_rng(seed)
    packer = Packer(PackingSettings() if settings is None else settings)
    return TableModel(
        fit_peptides(data, rng),
        fit_library(data),
        packer,
        fit_ends(data),
        fit_ramachandran_energy(data),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and write the model file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    shards = find_shards(options.data, "train")
    model = fit_table_model(collect(shards), options.seed).eval()
    entries = choose_entries(shards, N_PACKING_ENTRIES, options.seed)
    fitted = fit_model_packing(model, entries, n_draws=1)
    held_out = choose_held_out(find_shards(options.data, "val"), options.seed)
    calibration = fit_confidence(model, *held_out, options.seed)
    metadata = ModelMetadata(
        name="table",
        mappings=BEAD_MAPPINGS,
        noise_width=TABLE_NOISE_WIDTH,
        training_data=hash_files(shards),
        seed=options.seed,
        metrics={"packing": fitted},
        calibration=calibration,
        **describe_build(),
    )
    save_torchscript(BeadModel(model), metadata, options.output)


if __name__ == "__main__":
    main()
