"""Fit the maps of `openmm_backmap.residues.ramachandran` from structures.

Residues of X-ray entries at 1.8 A or better whose backbone B-factors are under
35 A^2, counted in bins of 10 degrees, smoothed by a wrapped Gaussian of the
same width; a bin is allowed if it lies inside the contour that holds a given
fraction of the residues. Run it to print the maps::

    python -m openmm_backmap.training.fit_ramachandran SHARD.npz ... > maps.txt
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.metrics.ramachandran import classify_ramachandran, compute_phi_psi
from openmm_backmap.residues.ramachandran import CLASSES
from openmm_backmap.training.prepared import split_segments
from openmm_backmap.training.shards import read_shard

__all__ = ["count_phi_psi", "fit_maps"]

_N_BINS = 36
_HELD = {"general": 0.9995, "glycine": 0.998, "proline": 0.998,
         "before_proline": 0.998}  # fmt: skip
"""Fraction of the residues inside the contour; Lovell et al. (2003)."""


def count_phi_psi(paths: Sequence[Path | str]) -> np.ndarray:
    """Count residues of training shards in bins of psi and phi.

    Parameters
    ----------
    paths : sequence of Path or str
        Training shards.

    Returns
    -------
    numpy.ndarray, shape (4, 36, 36), int64
        Counts by class, psi and phi, both from -180 degrees.
    """
    counts = np.zeros((len(CLASSES), _N_BINS, _N_BINS), np.int64)
    for path in paths:
        for entry in read_shard(path):
            if not entry.resolution <= 1.8:
                continue
            segment = split_segments(entry)
            good = entry.mask & (entry.bfactor > 0) & (entry.bfactor < 35)
            layout = HeavyAtomLayout.from_residues(entry.residue_type, segment, good)
            phi, psi, residue = compute_phi_psi(entry.positions[:1], layout)
            kind = classify_ramachandran(entry.residue_type, segment)[residue]
            row, column = (
                ((angle[0] + np.pi) / (2 * np.pi) * _N_BINS).astype(int) % _N_BINS
                for angle in (psi, phi)
            )
            np.add.at(counts, (kind, row, column), 1)
    return counts


def fit_maps(counts: np.ndarray) -> np.ndarray:
    """Find the bins inside the contours.

    Parameters
    ----------
    counts : numpy.ndarray, shape (4, 36, 36)
        From `count_phi_psi`.

    Returns
    -------
    numpy.ndarray, shape (4, 36, 36), bool
        True where a residue is no outlier.
    """
    allowed = np.zeros(counts.shape, bool)
    for k, name in enumerate(CLASSES):
        density = gaussian_filter(counts[k].astype(float), sigma=1.0, mode="wrap")
        order = np.argsort(density, axis=None)[::-1]
        held = np.cumsum(counts[k].reshape(-1)[order]) / counts[k].sum()
        n_inside = int(np.searchsorted(held, _HELD[name])) + 1
        allowed[k].reshape(-1)[order[:n_inside]] = True
    return allowed


def main(paths: Sequence[str]) -> None:
    """Print the maps, psi falling from row to row as in a plot."""
    counts = count_phi_psi(paths)
    for k, name in enumerate(CLASSES):
        sys.stdout.write(f"# {name}: {counts[k].sum()} residues\n")
        for row in fit_maps(counts)[k][::-1]:
            sys.stdout.write("".join("#" if inside else "." for inside in row) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
