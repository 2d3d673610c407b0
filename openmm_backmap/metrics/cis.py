"""Cis peptide units against those of a reference."""

import numpy as np

from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.metrics.omega import compute_omega
from openmm_backmap.units import DEGREE

__all__ = ["compute_false_cis"]

_CIS = 30.0 * DEGREE


def compute_false_cis(
    positions: np.ndarray, reference: np.ndarray, layout: HeavyAtomLayout
) -> np.ndarray:
    """Number of peptide units that are cis where the reference is not.

    Cis is ``|omega| < 30 degrees``.

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
    numpy.ndarray, shape (F,), int64
        Units a frame.
    """
    omega, _ = compute_omega(positions, layout)
    target, _ = compute_omega(reference, layout)
    return ((np.abs(omega) < _CIS) & ~(np.abs(target) < _CIS)).sum(axis=1)
