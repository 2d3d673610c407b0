"""Bonds as distances show them, and atoms far too close."""

import numpy as np

from openmm_backmap.geometry.pairs import compute_pair_distances, find_close_pairs
from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms
from openmm_backmap.units import ANGSTROM

__all__ = ["compute_bond_graph_difference", "compute_close_share"]

_COVALENT_ANGSTROM = {"C": 0.68, "N": 0.68, "O": 0.68, "S": 1.02, "": 0.0}
_STRETCH = 1.3
_LONGEST = _STRETCH * 2.04 * ANGSTROM
_CLOSE = 1.2 * ANGSTROM
_AROUND = 5.0 * ANGSTROM


def _pair_codes(atoms: np.ndarray, layout: HeavyAtomLayout) -> np.ndarray:
    """Codes ``i * 14 R + j`` of the pairs that distance calls bonded."""
    present = layout.atoms[np.isfinite(atoms[layout.atoms]).all(axis=1)]
    radius = np.array([_COVALENT_ANGSTROM[e] for e in layout.elements]) * ANGSTROM
    pairs = present[np.sort(find_close_pairs(atoms[present], _LONGEST, None), axis=1)]
    distance = compute_pair_distances(atoms, pairs, None)
    pairs = pairs[distance < _STRETCH * radius[pairs].sum(axis=1)]
    return pairs[:, 0] * len(atoms) + pairs[:, 1]


def compute_bond_graph_difference(
    positions: np.ndarray, reference: np.ndarray, layout: HeavyAtomLayout
) -> np.ndarray:
    """Bonds missing and bonds too many, over the bonds of the reference.

    Two atoms count as bonded when they are closer than 1.3 times the sum of
    their covalent radii. Missing and spurious bonds are both counted; the
    figure of the paper is the difference of two totals, in which they cancel.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    reference : numpy.ndarray, shape (F, R, 14, 3) or (1, R, 14, 3)
        Reference atoms in nm.
    layout : HeavyAtomLayout
        Residues and atoms present in both.

    Returns
    -------
    numpy.ndarray, shape (F,)
        0 where the graphs are the same; can exceed 1.

    References
    ----------
    Radii and stretch: Yang and Gomez-Bombarelli, PMLR 202, 39277 (2023).
    """
    frames, targets = flatten_atoms(positions), flatten_atoms(reference)
    targets = np.broadcast_to(targets, frames.shape)
    result = np.zeros(len(frames))
    for f, (frame, target) in enumerate(zip(frames, targets, strict=True)):
        wanted = _pair_codes(target, layout)
        found = _pair_codes(frame, layout)
        result[f] = len(np.setxor1d(wanted, found)) / max(len(wanted), 1)
    return result


def compute_close_share(positions: np.ndarray, layout: HeavyAtomLayout) -> np.ndarray:
    """Share of the non-bonded pairs within 5 A that are closer than 1.2 A.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    numpy.ndarray, shape (F,)
        0 to 1; 0 in real structures.

    References
    ----------
    "Steric clash ratio" of Yang and Gomez-Bombarelli, PMLR 202, 39277 (2023).
    """
    frames = flatten_atoms(positions)
    n = frames.shape[1]
    bonded = np.sort(layout.all_bonds, axis=1)
    bonded = bonded[:, 0] * n + bonded[:, 1]
    result = np.zeros(len(frames))
    for f, atoms in enumerate(frames):
        present = layout.atoms[np.isfinite(atoms[layout.atoms]).all(axis=1)]
        pairs = find_close_pairs(atoms[present], _AROUND, None)
        pairs = present[np.sort(pairs, axis=1)]
        pairs = pairs[~np.isin(pairs[:, 0] * n + pairs[:, 1], bonded)]
        distance = compute_pair_distances(atoms, pairs, None)
        result[f] = (distance < _CLOSE).mean() if len(pairs) else 0.0
    return result
