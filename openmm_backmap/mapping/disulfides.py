"""Which cysteines are bonded, read from the sulfurs of a structure."""

import numpy as np
from scipy.spatial import cKDTree

from openmm_backmap.residues.atoms import ATOM_SLOT
from openmm_backmap.residues.names import RESIDUE_NAMES

__all__ = ["find_disulfides"]

_CYS = RESIDUE_NAMES.index("CYS")
_SG = ATOM_SLOT[_CYS]["SG"]
_CUTOFF = 0.3  # nm, as openmm.app.Topology.createDisulfideBonds


def find_disulfides(
    positions: np.ndarray, residue_type: np.ndarray, cutoff: float = _CUTOFF
) -> tuple[tuple[int, int], ...]:
    """Pair cysteines whose sulfurs are nearest to one another.

    Parameters
    ----------
    positions : numpy.ndarray, shape (R, 14, 3)
        Heavy atoms by slot in nm, of a reference structure or a frame.
    residue_type : numpy.ndarray, shape (R,), int64
        0 to 19.
    cutoff : float
        Largest SG-SG distance in nm; a disulfide is 0.205 nm long.

    Returns
    -------
    tuple of tuple of int
        Residue indices (i, j) with i < j, each cysteine at most once; what
        `AtomTopology.from_cg_topology` takes as `disulfides`.

    Examples
    --------
    >>> positions = np.zeros((2, 14, 3))
    >>> positions[1, :, 0] = 0.21
    >>> find_disulfides(positions, np.array([4, 4]))
    ((0, 1),)
    """
    cysteine = np.flatnonzero(residue_type == _CYS)
    sulfur = np.asarray(positions)[cysteine, _SG]
    is_finite = np.isfinite(sulfur).all(axis=1)
    cysteine, sulfur = cysteine[is_finite], sulfur[is_finite]
    if len(cysteine) < 2:
        return ()
    pairs = cKDTree(sulfur).query_pairs(cutoff, output_type="ndarray")
    length = np.linalg.norm(sulfur[pairs[:, 0]] - sulfur[pairs[:, 1]], axis=1)
    taken: set[int] = set()
    found = []
    for first, second in pairs[np.argsort(length, kind="stable")].tolist():
        if first not in taken and second not in taken:
            taken.update((first, second))
            found.append((int(cysteine[first]), int(cysteine[second])))
    return tuple(sorted(found))
