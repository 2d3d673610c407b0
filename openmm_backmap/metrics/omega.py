"""The peptide torsion omega: twisted units, and cis where it does not belong."""

import numpy as np
import torch

from openmm_backmap.geometry.vectors import compute_dihedral
from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms
from openmm_backmap.residues.names import CODES
from openmm_backmap.units import DEGREE

__all__ = [
    "compute_nonproline_cis",
    "compute_omega",
    "compute_twisted_omega",
    "find_units",
]

_PROLINE = CODES.index("P")
_PLANAR = 30.0 * DEGREE


def find_units(layout: HeavyAtomLayout) -> tuple[np.ndarray, np.ndarray]:
    """Find the peptide units whose atoms are there.

    Parameters
    ----------
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    atoms : numpy.ndarray, shape (P, 4), int64
        CA(i), C(i), N(i+1) and CA(i+1).
    residue : numpy.ndarray, shape (P,), int64
        The residue i of each unit.
    """
    i = layout.linked
    units = np.concatenate(
        [layout.select_atoms(i, "CA", "C"), layout.select_atoms(i + 1, "N", "CA")],
        axis=1,
    )
    keep = (units >= 0).all(axis=1)
    return units[keep], i[keep]


def compute_omega(
    positions: np.ndarray, layout: HeavyAtomLayout
) -> tuple[np.ndarray, np.ndarray]:
    """Torsion CA(i)-C(i)-N(i+1)-CA(i+1) of each peptide unit.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    omega : numpy.ndarray, shape (F, P)
        Radians, -pi to pi; near pi when trans, near 0 when cis.
    residue : numpy.ndarray, shape (P,), int64
        The residue i of each unit.
    """
    units, residue = find_units(layout)
    atoms = torch.as_tensor(flatten_atoms(positions))
    omega = compute_dihedral(*(atoms[:, torch.as_tensor(k)] for k in units.T))
    return omega.numpy(), residue


def compute_twisted_omega(positions: np.ndarray, layout: HeavyAtomLayout) -> np.ndarray:
    """Fraction of peptide units more than 30 degrees from planar.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    numpy.ndarray, shape (F,)
        0 to 1; 0 where there is no peptide unit. Units that are not finite
        count as twisted.
    """
    omega, _ = compute_omega(positions, layout)
    if omega.shape[1] == 0:
        return np.zeros(len(omega))
    off = np.minimum(np.abs(omega), np.pi - np.abs(omega))
    return (~(off <= _PLANAR)).mean(axis=1)


def compute_nonproline_cis(
    positions: np.ndarray, layout: HeavyAtomLayout
) -> np.ndarray:
    """Number of cis peptide units (|omega| < 30 degrees) not before proline.

    In X-ray structures about 5 % of the units before proline and 0.03 % of the
    others are cis, so a cis unit that is not before proline is nearly always
    an error of the reconstruction.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    numpy.ndarray, shape (F,), int64
        Units a frame.

    References
    ----------
    Weiss, Jabs and Hilgenfeld, Nat. Struct. Biol. 5, 676 (1998).
    """
    omega, residue = compute_omega(positions, layout)
    other = layout.residue_type[residue + 1] != _PROLINE
    return ((np.abs(omega) < _PLANAR) & other).sum(axis=1)
