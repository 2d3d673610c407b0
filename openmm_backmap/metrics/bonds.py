"""Bond lengths: the fraction near the reference length."""

import numpy as np

from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms

__all__ = ["compute_bond_fraction", "compute_fraction_near", "compute_peptide_fraction"]


def compute_fraction_near(
    atoms: np.ndarray, bonds: np.ndarray, length: np.ndarray, tolerance: float
) -> np.ndarray:
    """Fraction of bonds with ``|d / d0 - 1| <= tolerance``.

    Parameters
    ----------
    atoms : numpy.ndarray, shape (F, N, 3)
        Positions in nm.
    bonds : numpy.ndarray, shape (n, 2)
        Atoms of each bond.
    length : numpy.ndarray, shape (n,)
        Reference lengths d0 in nm.
    tolerance : float
        Largest relative deviation.

    Returns
    -------
    numpy.ndarray, shape (F,)
        0 to 1; 1 where there is no bond. Bonds that are not finite count as
        broken.
    """
    if len(bonds) == 0:
        return np.ones(len(atoms))
    difference = atoms[:, bonds[:, 1]] - atoms[:, bonds[:, 0]]
    distance = np.sqrt((difference * difference).sum(-1))
    return (np.abs(distance / length - 1.0) <= tolerance).mean(axis=1)


def compute_bond_fraction(
    positions: np.ndarray, layout: HeavyAtomLayout, tolerance: float = 0.10
) -> np.ndarray:
    """Fraction of all covalent bonds near their reference length.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.
    tolerance : float
        Largest relative deviation that counts as near.

    Returns
    -------
    numpy.ndarray, shape (F,)
        0 to 1, peptide bonds included.

    References
    ----------
    Lengths: Engh and Huber, Acta Cryst. A47, 392 (1991).
    """
    bonds, length = layout.bonds
    peptides, peptide_length = layout.peptides
    return compute_fraction_near(
        flatten_atoms(positions),
        np.concatenate([bonds, peptides]),
        np.concatenate([length, peptide_length]),
        tolerance,
    )


def compute_peptide_fraction(
    positions: np.ndarray, layout: HeavyAtomLayout, tolerance: float = 0.10
) -> np.ndarray:
    """Fraction of the peptide bonds C(i)-N(i+1) near their reference length.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.
    tolerance : float
        Largest relative deviation that counts as near.

    Returns
    -------
    numpy.ndarray, shape (F,)
        0 to 1; 1 where no residue is bonded to a next one.
    """
    return compute_fraction_near(flatten_atoms(positions), *layout.peptides, tolerance)
