"""Distance to a reference: RMSD, with symmetric side-chain atoms matched."""

import numpy as np
import torch

from openmm_backmap.errors import InputError
from openmm_backmap.geometry.superpose import superpose
from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms
from openmm_backmap.residues.atoms import SYMMETRIC_PAIRS
from openmm_backmap.residues.names import CODES

__all__ = [
    "compute_rmsd",
    "match_symmetric_atoms",
    "select_slots",
    "superpose_on_reference",
]

_SLOTS = {
    "heavy": range(14),
    "CA": [1],
    "backbone": [0, 2, 3, 4],
    "side_chain": range(5, 14),
}


def select_slots(part: str) -> np.ndarray:
    """Say which slots belong to a part of the residue.

    Parameters
    ----------
    part : {"heavy", "CA", "backbone", "side_chain"}
        "backbone" is N, C, O and CB, the atoms besides CA that the CA trace
        decides; "side_chain" is what lies beyond CB.

    Returns
    -------
    numpy.ndarray, shape (14,), bool
        True for the slots of the part.

    Raises
    ------
    InputError
        If the part is another one.
    """
    if part not in _SLOTS:
        raise InputError(f"part {part!r} is unknown: use one of {', '.join(_SLOTS)}")
    return np.isin(np.arange(14), list(_SLOTS[part]))


def match_symmetric_atoms(
    positions: np.ndarray, reference: np.ndarray, layout: HeavyAtomLayout
) -> np.ndarray:
    """Rename equivalent atoms so that they lie nearest to the reference.

    OD1/OD2 of Asp, OE1/OE2 of Glu, NH1/NH2 of Arg and CD1, CE1/CD2, CE2 of Phe
    and Tyr are the same atoms under other names. All pairs of a residue swap
    together, where the sum of squared distances becomes smaller.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    reference : numpy.ndarray, shape (F, R, 14, 3) or (1, R, 14, 3)
        Reference atoms in nm, in the same orientation.
    layout : HeavyAtomLayout
        Residues and present atoms.

    Returns
    -------
    numpy.ndarray, shape (F, R, 14, 3)
        A copy with the names changed.
    """
    matched = np.array(flatten_atoms(positions))
    target = flatten_atoms(reference)
    for code, pairs in zip(CODES, SYMMETRIC_PAIRS, strict=True):
        if not pairs:
            continue
        residue = np.flatnonzero(layout.residue_type == CODES.index(code))
        first = layout.select_atoms(residue, *(a for a, _ in pairs))
        second = layout.select_atoms(residue, *(b for _, b in pairs))
        present = ((first >= 0) & (second >= 0)).all(axis=1)
        first, second = first[present], second[present]
        x, y = matched[:, first], matched[:, second]
        p, q = target[:, first], target[:, second]
        kept = ((x - p) ** 2 + (y - q) ** 2).sum((2, 3))
        swapped = ((x - q) ** 2 + (y - p) ** 2).sum((2, 3))
        swap = (swapped < kept)[:, :, None, None]
        matched[:, first] = np.where(swap, y, x)
        matched[:, second] = np.where(swap, x, y)
    return matched.reshape(np.shape(positions))


def superpose_on_reference(
    positions: np.ndarray, reference: np.ndarray, layout: HeavyAtomLayout
) -> np.ndarray:
    """Move each frame onto the reference by its CA atoms.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    reference : numpy.ndarray, shape (F, R, 14, 3) or (1, R, 14, 3)
        Reference atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms; residues without CA are left out of the fit.

    Returns
    -------
    numpy.ndarray, shape (F, R, 14, 3)
        Moved positions, same dtype.

    References
    ----------
    Kabsch, Acta Cryst. A34, 827 (1978).
    """
    positions = np.asarray(positions)
    mobile = torch.as_tensor(positions, dtype=torch.float64)
    target = torch.as_tensor(np.asarray(reference), dtype=torch.float64)
    target = target.expand_as(mobile)
    weight = torch.as_tensor(layout.mask[:, 1], dtype=torch.float64)
    rotation, translation = superpose(
        mobile[:, :, 1], target[:, :, 1], weight.expand(len(mobile), -1)
    )
    moved = torch.einsum("fij,frsj->frsi", rotation, mobile)
    return (moved + translation[:, None, None]).numpy().astype(positions.dtype)


def compute_rmsd(
    positions: np.ndarray,
    reference: np.ndarray,
    layout: HeavyAtomLayout,
    *,
    part: str = "heavy",
) -> np.ndarray:
    """Root mean square distance to a reference, as it lies.

    ``sqrt(sum_i |x_i - y_i|^2 / n)``, without superposition, because a
    backmapped structure shares its frame of reference with the beads; see
    `superpose_on_reference`. Symmetric atoms are matched first.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    reference : numpy.ndarray, shape (F, R, 14, 3) or (1, R, 14, 3)
        Reference atoms in nm.
    layout : HeavyAtomLayout
        Residues and atoms present in both.
    part : {"heavy", "CA", "backbone", "side_chain"}
        Atoms that count, see `select_slots`.

    Returns
    -------
    numpy.ndarray, shape (F,)
        In nm; nan where no atom counts.
    """
    positions = np.asarray(positions, np.float64)
    reference = np.asarray(reference, np.float64)
    matched = match_symmetric_atoms(positions, reference, layout)
    squared = ((matched - reference) ** 2).sum(-1)
    counts = layout.mask & select_slots(part)
    total = np.where(counts, squared, 0.0).sum((1, 2))
    n = counts.sum()
    return np.sqrt(total / n) if n else np.full(len(positions), np.nan)
