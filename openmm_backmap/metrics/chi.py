"""Side-chain torsions chi1 to chi4 and how many match a reference."""

import numpy as np
import torch

from openmm_backmap.geometry.vectors import compute_dihedral
from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms
from openmm_backmap.residues.names import CODES, N_TYPES
from openmm_backmap.residues.torsions import CHI_ATOMS, CHI_IS_PI_PERIODIC, N_CHI
from openmm_backmap.units import DEGREE

__all__ = ["compute_chi", "compute_chi_accuracy"]

_PROLINE = CODES.index("P")


def _find_chi_atoms(layout: HeavyAtomLayout) -> np.ndarray:
    """Atoms of each chi, (R, 4, 4); -1 where there is none."""
    atoms = np.full((layout.n_residues, N_CHI, 4), -1, np.int64)
    for kind in range(N_TYPES):
        residue = np.flatnonzero(layout.residue_type == kind)
        for k, names in enumerate(CHI_ATOMS[kind]):
            atoms[residue, k] = layout.select_atoms(residue, *names)
    return atoms


def compute_chi(
    positions: np.ndarray, layout: HeavyAtomLayout
) -> tuple[np.ndarray, np.ndarray]:
    """Torsions chi1 to chi4 of each residue.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    chi : numpy.ndarray, shape (F, R, 4)
        Radians, -pi to pi; 0 where there is none.
    mask : numpy.ndarray, shape (R, 4), bool
        Torsions that are there.

    References
    ----------
    IUPAC-IUB, Biochemistry 9, 3471 (1970).
    """
    index = _find_chi_atoms(layout)
    mask = (index >= 0).all(axis=-1)
    atoms = torch.as_tensor(flatten_atoms(positions))
    quadruple = torch.as_tensor(np.where(mask[..., None], index, 0))
    chi = compute_dihedral(*(atoms[:, quadruple[..., k]] for k in range(4))).numpy()
    return np.where(mask, chi, 0.0), mask


def compute_chi_accuracy(
    positions: np.ndarray,
    reference: np.ndarray,
    layout: HeavyAtomLayout,
    tolerance: float = 40.0 * DEGREE,
) -> tuple[np.ndarray, np.ndarray]:
    """Fraction of residues whose chi1, and chi1 with chi2, match a reference.

    Proline is left out: its ring leaves chi1 little freedom. chi2 of Asp, Phe
    and Tyr counts modulo pi.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    reference : numpy.ndarray, shape (F, R, 14, 3) or (1, R, 14, 3)
        Reference atoms in nm.
    layout : HeavyAtomLayout
        Residues and atoms present in both.
    tolerance : float
        Largest difference in radians that counts as a match.

    Returns
    -------
    chi1 : numpy.ndarray, shape (F,)
        Fraction of residues with a chi1, 0 to 1; nan if there is none.
    chi12 : numpy.ndarray, shape (F,)
        Fraction of residues with a chi2 whose chi1 and chi2 both match.
    """
    chi, mask = compute_chi(positions, layout)
    target, _ = compute_chi(reference, layout)
    period = np.where(np.array(CHI_IS_PI_PERIODIC)[layout.residue_type], 1.0, 2.0)
    period = period * np.pi
    off = np.abs((chi - target + period / 2) % period - period / 2)
    match = off <= tolerance
    mask = mask & (layout.residue_type != _PROLINE)[:, None]
    with_chi1 = match[:, mask[:, 0], 0]
    with_chi2 = (match[..., 0] & match[..., 1])[:, mask[:, 1]]
    return _mean_or_nan(with_chi1), _mean_or_nan(with_chi2)


def _mean_or_nan(match: np.ndarray) -> np.ndarray:
    if match.shape[1] == 0:
        return np.full(len(match), np.nan)
    return match.mean(axis=1)
