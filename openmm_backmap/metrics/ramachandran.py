"""Backbone torsions phi and psi, and whether nature uses them."""

import numpy as np
import torch

from openmm_backmap.geometry.vectors import compute_dihedral
from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms
from openmm_backmap.residues.names import CODES
from openmm_backmap.residues.ramachandran import CLASSES, OUTLIER_MAP

__all__ = [
    "classify_ramachandran",
    "compute_phi_psi",
    "compute_ramachandran_outliers",
    "find_phi_psi_atoms",
]

_GLYCINE, _PROLINE = CODES.index("G"), CODES.index("P")
_IS_ALLOWED = np.array(
    [[[mark == "#" for mark in row] for row in OUTLIER_MAP[name]] for name in CLASSES]
)[:, ::-1]
_N_BINS = _IS_ALLOWED.shape[-1]


def find_phi_psi_atoms(layout: HeavyAtomLayout) -> tuple[np.ndarray, np.ndarray]:
    """Find the residues that have both phi and psi.

    Parameters
    ----------
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    atoms : numpy.ndarray, shape (n, 5), int64
        C(i-1), N, CA, C and N(i+1).
    residue : numpy.ndarray, shape (n,), int64
        Residue indices; chain ends are not among them.
    """
    residue = np.intersect1d(layout.linked, layout.linked + 1)
    index = np.concatenate(
        [
            layout.select_atoms(residue - 1, "C"),
            layout.select_atoms(residue, "N", "CA", "C"),
            layout.select_atoms(residue + 1, "N"),
        ],
        axis=1,
    )
    keep = (index >= 0).all(axis=1)
    return index[keep], residue[keep]


def compute_phi_psi(
    positions: np.ndarray, layout: HeavyAtomLayout
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Torsions phi and psi of the residues that have both.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    phi : numpy.ndarray, shape (F, n)
        C(i-1)-N-CA-C in radians, -pi to pi.
    psi : numpy.ndarray, shape (F, n)
        N-CA-C-N(i+1) in radians, -pi to pi.
    residue : numpy.ndarray, shape (n,), int64
        Residue indices; chain ends are not among them.
    """
    index, residue = find_phi_psi_atoms(layout)
    atoms = torch.as_tensor(flatten_atoms(positions))
    points = [atoms[:, torch.as_tensor(k)] for k in index.T]
    phi = compute_dihedral(*points[:4]).numpy()
    psi = compute_dihedral(*points[1:]).numpy()
    return phi, psi, residue


def classify_ramachandran(
    residue_type: np.ndarray, chain_index: np.ndarray
) -> np.ndarray:
    """Sort residues by the map that applies to them.

    Parameters
    ----------
    residue_type : numpy.ndarray, shape (R,)
        0 to 19.
    chain_index : numpy.ndarray, shape (R,)
        Bonded segment of each residue.

    Returns
    -------
    numpy.ndarray, shape (R,), int64
        Index into `openmm_backmap.residues.ramachandran.CLASSES`.
    """
    before_proline = np.zeros(len(residue_type), bool)
    before_proline[:-1] = (residue_type[1:] == _PROLINE) & (
        chain_index[1:] == chain_index[:-1]
    )
    kind = np.where(before_proline, CLASSES.index("before_proline"), 0)
    kind[residue_type == _GLYCINE] = CLASSES.index("glycine")
    kind[residue_type == _PROLINE] = CLASSES.index("proline")
    return kind


def compute_ramachandran_outliers(
    positions: np.ndarray, layout: HeavyAtomLayout
) -> np.ndarray:
    """Fraction of residues whose phi and psi good structures do not show.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    numpy.ndarray, shape (F,)
        0 to 1; 0 where no residue has both torsions. Torsions that are not
        finite count as outliers.

    References
    ----------
    The four maps and the idea of a contour that holds nearly all residues:
    Lovell et al., Proteins 50, 437 (2003).
    """
    phi, psi, residue = compute_phi_psi(positions, layout)
    if len(residue) == 0:
        return np.zeros(len(phi))
    kind = classify_ramachandran(layout.residue_type, layout.chain_index)[residue]
    is_finite = np.isfinite(phi) & np.isfinite(psi)
    row, column = (
        np.where(is_finite, (angle + np.pi) / (2 * np.pi) * _N_BINS, 0).astype(int)
        % _N_BINS
        for angle in (psi, phi)
    )
    return (~(_IS_ALLOWED[kind, row, column] & is_finite)).mean(axis=1)
