"""Bond angles: the fraction near the reference angle."""

import numpy as np
import torch

from openmm_backmap.geometry.vectors import compute_angle
from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS
from openmm_backmap.residues.bond_angles import BOND_ANGLES
from openmm_backmap.residues.names import N_TYPES
from openmm_backmap.units import DEGREE

__all__ = ["compute_angle_fraction", "find_angles"]


def _make_tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slot and residue step of each atom, (20, K, 3), and degrees, (20, K)."""
    width = max(len(angles) for angles in BOND_ANGLES)
    slot = np.full((N_TYPES, width, 3), -1, np.int64)
    step = np.zeros((N_TYPES, width, 3), np.int64)
    degrees = np.zeros((N_TYPES, width))
    for kind, angles in enumerate(BOND_ANGLES):
        for k, (*names, value) in enumerate(angles):
            degrees[kind, k] = value
            for i, name in enumerate(names):
                step[kind, k, i] = {"-": -1, "+": 1}.get(name[0], 0)
                # N and C have one slot in all residues
                slot[kind, k, i] = ATOM_SLOT[kind][name.lstrip("+-")]
    return slot, step, degrees


_SLOT, _STEP, _DEGREES = _make_tables()


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
    residue = np.arange(layout.n_residues)[:, None, None]
    kind = layout.residue_type
    other = residue + _STEP[kind]
    inside = (other >= 0) & (other < layout.n_residues) & (_SLOT[kind] >= 0)
    other = np.where(inside, other, residue)
    slot = np.where(inside, _SLOT[kind], 0)
    inside &= layout.chain_index[other] == layout.chain_index[residue]
    inside &= layout.mask[other, slot]
    keep = inside.all(axis=-1)
    return (other * N_SLOTS + slot)[keep], _DEGREES[kind][keep] * DEGREE


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
