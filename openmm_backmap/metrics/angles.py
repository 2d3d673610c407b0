"""Bond angles: the fraction near the reference angle."""

import numpy as np
import torch

from openmm_backmap.geometry.vectors import compute_angle
from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms
from openmm_backmap.residues.bond_angles import BOND_ANGLES
from openmm_backmap.residues.names import N_TYPES
from openmm_backmap.units import DEGREE

__all__ = ["compute_angle_fraction", "find_angles"]


def _find_atoms(layout: HeavyAtomLayout, residue: np.ndarray, name: str) -> np.ndarray:
    """Atom of a name of `BOND_ANGLES` for each residue, -1 where there is none."""
    step = {"-": -1, "+": 1}.get(name[0], 0)
    other = residue + step
    inside = (other >= 0) & (other < layout.n_residues)
    other = np.where(inside, other, residue)
    inside &= layout.chain_index[other] == layout.chain_index[residue]
    atom = layout.select_atoms(other, name.lstrip("+-"))[:, 0]
    return np.where(inside, atom, -1)


def find_angles(layout: HeavyAtomLayout) -> tuple[np.ndarray, np.ndarray]:
    """Find the bond angles of a topology and what they should be.

    Parameters
    ----------
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    atoms : numpy.ndarray, shape (n, 3)
        First, middle and last atom of each angle.
    reference : numpy.ndarray, shape (n,)
        Reference angles in radians.
    """
    atoms, reference = [np.zeros((0, 3), np.int64)], [np.zeros(0)]
    for kind in range(N_TYPES):
        residue = np.flatnonzero(layout.residue_type == kind)
        for *names, degrees in BOND_ANGLES[kind]:
            triple = np.stack([_find_atoms(layout, residue, n) for n in names], axis=1)
            triple = triple[(triple >= 0).all(axis=1)]
            atoms.append(triple)
            reference.append(np.full(len(triple), degrees * DEGREE))
    return np.concatenate(atoms), np.concatenate(reference)


def compute_angle_fraction(
    positions: np.ndarray, layout: HeavyAtomLayout, tolerance: float = 10.0 * DEGREE
) -> np.ndarray:
    """Fraction of all bond angles near their reference, peptides included.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.
    tolerance : float
        Largest deviation in radians that counts as near.

    Returns
    -------
    numpy.ndarray, shape (F,)
        0 to 1; 1 where there is no angle. Angles that are not finite count as
        wrong.
    """
    atoms, reference = find_angles(layout)
    if len(atoms) == 0:
        return np.ones(len(positions))
    points = torch.as_tensor(flatten_atoms(positions))
    angle = compute_angle(*(points[:, torch.as_tensor(k)] for k in atoms.T)).numpy()
    return (np.abs(angle - reference) <= tolerance).mean(axis=1)
