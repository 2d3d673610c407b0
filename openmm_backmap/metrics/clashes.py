"""Heavy atoms that overlap although no bond keeps them together.

The overlap of two atoms is ``r_i + r_j - d_ij`` with the van der Waals radii of
Bondi, J. Phys. Chem. 68, 441 (1964). Pairs within three bonds of each other are
left out, and so are the pairs across a disulfide and atoms that are not finite.
Two SG make a disulfide from 1.8 to 2.5 A, each with one other at most, the
nearest pairs first.
"""

from typing import Protocol

import numpy as np

from openmm_backmap.geometry.pairs import compute_pair_distances, find_close_pairs
from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms
from openmm_backmap.units import ANGSTROM

__all__ = [
    "CLASH_OVERLAP",
    "CONTACT_OVERLAP",
    "ClashSites",
    "compute_clashes_per_1000",
    "compute_site_clashes_per_1000",
    "compute_overlaps_per_1000",
    "find_overlaps",
]

CLASH_OVERLAP = 0.9 * ANGSTROM
"""Overlap in nm of a severe clash: real structures have none."""

CONTACT_OVERLAP = 0.4 * ANGSTROM
"""Overlap in nm of a clash in MolProbity's sense."""

_POLAR_ALLOWANCE = 0.2 * ANGSTROM
_DISULFIDE = 1.8 * ANGSTROM, 2.5 * ANGSTROM
_POLAR = ("N", "O", "S")


class ClashSites(Protocol):
    """Atoms that may clash; `HeavyAtomLayout` and `HeavySites` are such."""

    @property
    def atoms(self) -> np.ndarray:
        """Atoms that count, shape (n,), of N."""
        ...

    @property
    def elements(self) -> np.ndarray:
        """Element of each of the N, "" where it does not count."""
        ...

    @property
    def radius(self) -> np.ndarray:
        """Van der Waals radius of each of the N in nm."""
        ...

    @property
    def near_pairs(self) -> np.ndarray:
        """Codes ``i * N + j``, i < j, of atoms within three bonds."""
        ...

    @property
    def cysteines(self) -> np.ndarray:
        """SG, CB and CA of each cysteine, shape (K, 3), -1 where not there."""
        ...


def find_overlaps(
    positions: np.ndarray,
    layout: HeavyAtomLayout,
    overlap: float,
    *,
    box: np.ndarray | None = None,
    polar_allowance: float = 0.0,
) -> list[np.ndarray]:
    """Find the pairs of atoms that overlap by more than a limit.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.
    overlap : float
        Limit in nm.
    box : numpy.ndarray or None, shape (F, 3, 3) or (3, 3)
        Box vectors in nm; zeros mean no box. If None, there is no box.
    polar_allowance : float
        Added to the limit where both atoms are N, O or S, in nm: they come
        closer in hydrogen bonds and salt bridges.

    Returns
    -------
    list of numpy.ndarray, shape (P, 2)
        For each frame the pairs i < j of atoms ``14 * residue + slot``.
    """
    return _find_in_frames(
        flatten_atoms(positions), layout, overlap, polar_allowance, box
    )


def _find_in_frames(
    frames: np.ndarray,
    sites: ClashSites,
    overlap: float,
    polar_allowance: float,
    box: np.ndarray | None,
) -> list[np.ndarray]:
    """Find the overlapping pairs of frames (F, N, 3)."""
    if box is not None:
        box = np.broadcast_to(np.asarray(box), (len(frames), 3, 3))
    return [
        _find_in_frame(
            frame, sites, overlap, polar_allowance, None if box is None else box[f]
        )
        for f, frame in enumerate(frames)
    ]


def _find_in_frame(
    atoms: np.ndarray,
    sites: ClashSites,
    overlap: float,
    polar_allowance: float,
    box: np.ndarray | None,
) -> np.ndarray:
    """Find the overlapping pairs of one frame; (P, 2)."""
    present = sites.atoms[np.isfinite(atoms[sites.atoms]).all(axis=1)]
    cutoff = 2.0 * sites.radius.max(initial=0.0) - overlap
    pairs = find_close_pairs(atoms[present], cutoff, box)
    pairs = present[np.sort(pairs, axis=1)]
    distance = compute_pair_distances(atoms, pairs, box)
    is_polar = np.isin(sites.elements[pairs], _POLAR).all(axis=1)
    limit = np.where(is_polar, overlap + polar_allowance, overlap)
    pairs = pairs[sites.radius[pairs].sum(axis=1) - distance > limit]
    code = pairs[:, 0] * len(atoms) + pairs[:, 1]
    pairs = pairs[~np.isin(code, sites.near_pairs, assume_unique=True)]
    return _drop_disulfides(pairs, atoms, sites, box)


def _drop_disulfides(
    pairs: np.ndarray,
    atoms: np.ndarray,
    sites: ClashSites,
    box: np.ndarray | None,
) -> np.ndarray:
    """Leave out pairs within three bonds across a disulfide."""
    chain = sites.cysteines
    bridge = _find_disulfides(atoms, chain[:, 0], box)
    if len(bridge) == 0:
        return pairs
    # SG, CB and CA lie 0, 1 and 2 bonds from SG; the bridge is one more
    near = [
        np.sort(np.stack([chain[bridge[:, 0], i], chain[bridge[:, 1], j]], 1), axis=1)
        for i in range(3)
        for j in range(3 - i)
    ]
    first, second = np.concatenate(near).T
    n = len(atoms)
    is_across = np.isin(pairs[:, 0] * n + pairs[:, 1], first * n + second)
    return pairs[~is_across]


def _find_disulfides(
    atoms: np.ndarray, sulfur: np.ndarray, box: np.ndarray | None
) -> np.ndarray:
    """Pair SG atoms that a disulfide may hold, indices into `sulfur` (n, 2)."""
    present = np.flatnonzero((sulfur >= 0) & np.isfinite(atoms[sulfur]).all(axis=1))
    shortest, longest = _DISULFIDE
    pairs = present[find_close_pairs(atoms[sulfur[present]], longest, box)]
    distance = compute_pair_distances(atoms, sulfur[pairs], box)
    kept: list[np.ndarray] = []
    taken: set[int] = set()
    for k in np.argsort(distance, kind="stable"):
        if distance[k] >= shortest and taken.isdisjoint(pairs[k].tolist()):
            kept.append(pairs[k])
            taken.update(pairs[k].tolist())
    return np.array(kept, np.int64).reshape(-1, 2)


def _count_per_1000(found: list[np.ndarray], sites: ClashSites) -> np.ndarray:
    count = np.array([len(pairs) for pairs in found], float)
    return 1000.0 * count / max(len(sites.atoms), 1)


def compute_clashes_per_1000(
    positions: np.ndarray, layout: HeavyAtomLayout, box: np.ndarray | None = None
) -> np.ndarray:
    """Severe clashes (overlap above 0.9 A) per 1000 heavy atoms.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.
    box : numpy.ndarray or None, shape (F, 3, 3) or (3, 3)
        Box vectors in nm; zeros mean no box. If None, there is no box.

    Returns
    -------
    numpy.ndarray, shape (F,)
        0 in good structures.
    """
    found = find_overlaps(positions, layout, CLASH_OVERLAP, box=box)
    return _count_per_1000(found, layout)


def compute_site_clashes_per_1000(
    positions: np.ndarray, sites: ClashSites, box: np.ndarray | None = None
) -> np.ndarray:
    """Severe clashes per 1000 of the heavy atoms of a whole topology.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, N, 3)
        All atoms in nm.
    sites : ClashSites
        Which of them are heavy, from `openmm_backmap.metrics.heavy_sites`.
    box : numpy.ndarray or None, shape (F, 3, 3) or (3, 3)
        Box vectors in nm; zeros mean no box. If None, there is no box.

    Returns
    -------
    numpy.ndarray, shape (F,)
        As `compute_clashes_per_1000`, with OXT and phosphates.
    """
    frames = np.asarray(positions)
    found = _find_in_frames(frames, sites, CLASH_OVERLAP, 0.0, box)
    return _count_per_1000(found, sites)


def compute_overlaps_per_1000(
    positions: np.ndarray, layout: HeavyAtomLayout, box: np.ndarray | None = None
) -> np.ndarray:
    """Overlaps above 0.4 A (0.6 A between N, O and S) per 1000 heavy atoms.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.
    box : numpy.ndarray or None, shape (F, 3, 3) or (3, 3)
        Box vectors in nm; zeros mean no box. If None, there is no box.

    Returns
    -------
    numpy.ndarray, shape (F,)
        A few in X-ray structures.

    References
    ----------
    The limit and the count per 1000 atoms: Chen et al., Acta Cryst. D66, 12
    (2010); that clash score includes hydrogens, this one does not.
    """
    found = find_overlaps(
        positions,
        layout,
        CONTACT_OVERLAP,
        box=box,
        polar_allowance=_POLAR_ALLOWANCE,
    )
    return _count_per_1000(found, layout)
