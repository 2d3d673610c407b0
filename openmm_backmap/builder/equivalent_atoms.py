"""Names of equivalent atoms, as the convention has them."""

import numpy as np

from openmm_backmap.residues.atoms import ATOM_SLOT, SYMMETRIC_PAIRS
from openmm_backmap.residues.names import RESIDUE_NAMES

__all__ = ["name_equivalent_atoms"]

_AXIS = {
    "ARG": ("CD", "NE", "CZ"),
    "ASP": ("CA", "CB", "CG"),
    "GLU": ("CB", "CG", "CD"),
    "PHE": ("CA", "CB", "CG"),
    "TYR": ("CA", "CB", "CG"),
}
"""The first three atoms of the torsion that tells equivalent atoms apart."""


def name_equivalent_atoms(heavy: np.ndarray, residue_type: np.ndarray) -> None:
    """Name equivalent atoms by their torsion, in place.

    CD1 of Phe and Tyr, OD1 of Asp, OE1 of Glu and NH1 of Arg are those whose torsion
    (chi2, chi3, chi5) lies between -90 and 90 degrees; CE1 goes with CD1. What a model
    has built is the same molecule under either name.

    Parameters
    ----------
    heavy : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms, changed.
    residue_type : numpy.ndarray, shape (R,)
        0 to 19.

    References
    ----------
    Markley et al., Pure Appl. Chem. 70, 117 (1998).
    """
    for kind, (name, pairs) in enumerate(
        zip(RESIDUE_NAMES, SYMMETRIC_PAIRS, strict=True)
    ):
        rows = np.flatnonzero(residue_type == kind) if pairs else ()
        if not len(rows):
            continue
        slots = ATOM_SLOT[kind]
        first = [slots[a] for a, _ in pairs]
        second = [slots[b] for _, b in pairs]
        start, *ends = (heavy[:, rows, slots[a]] for a in _AXIS[name])
        axis = ends[1] - ends[0]
        aside = start - ends[0]
        # the direction of the first atom across the axis
        aside = aside * (axis * axis).sum(-1, keepdims=True) - axis * (
            aside * axis
        ).sum(-1, keepdims=True)
        across = heavy[:, rows, second[0]] - heavy[:, rows, first[0]]
        swap = np.nonzero((across * aside).sum(-1) > 0.0)
        frame, row = swap[0], rows[swap[1]]
        for a, b in zip(first, second, strict=True):
            kept = heavy[frame, row, a]
            heavy[frame, row, a] = heavy[frame, row, b]
            heavy[frame, row, b] = kept
