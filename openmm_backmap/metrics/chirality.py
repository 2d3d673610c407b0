"""Hands: L at CA, and the second centre of isoleucine and threonine."""

import numpy as np

from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms
from openmm_backmap.residues.names import CODES

__all__ = ["compute_wrong_hands", "find_centers"]

_CENTERS = (
    # residues (all with a CB if None), centre and three substituents
    (None, ("CA", "N", "C", "CB")),
    ("I", ("CB", "CA", "CG1", "CG2")),
    ("T", ("CB", "CA", "OG1", "CG2")),
)


def find_centers(layout: HeavyAtomLayout) -> np.ndarray:
    """Find the chiral centres whose atoms are there.

    Parameters
    ----------
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    numpy.ndarray, shape (n, 4), int64
        Centre and three substituents, as in `compute_wrong_hands`.
    """
    rows = []
    for code, names in _CENTERS:
        residue = np.arange(layout.n_residues)
        if code is not None:
            residue = np.flatnonzero(layout.residue_type == CODES.index(code))
        rows.append(layout.select_atoms(residue, *names))
    quadruples = np.concatenate(rows)
    return quadruples[(quadruples >= 0).all(axis=1)]


def compute_wrong_hands(positions: np.ndarray, layout: HeavyAtomLayout) -> np.ndarray:
    """Number of chiral centres with the wrong hand.

    The sign of the volume ``(a - c) . [(b - c) x (d - c)]`` decides, with
    (a, b, d) = (N, C, CB) at CA, (CA, CG1, CG2) at CB of isoleucine and
    (CA, OG1, CG2) at CB of threonine: positive for L-residues, (2S,3S)-Ile
    and (2S,3R)-Thr.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    numpy.ndarray, shape (F,), int64
        Centres that are not of the natural hand, flat or not finite ones
        included.

    References
    ----------
    IUPAC-IUB, Pure Appl. Chem. 56, 595 (1984), 3AA-3.
    """
    atoms = flatten_atoms(positions)
    center, a, b, d = (atoms[:, index] for index in find_centers(layout).T)
    volume = ((a - center) * np.cross(b - center, d - center)).sum(-1)
    return (~(volume > 0.0)).sum(axis=1)
