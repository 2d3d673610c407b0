"""Bonds that pass through a ring: errors that minimization cannot mend."""

import numpy as np

from openmm_backmap.geometry.pairs import find_pairs_between
from openmm_backmap.geometry.periodic import minimum_image
from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms
from openmm_backmap.units import ANGSTROM

__all__ = ["compute_ring_penetrations"]

_REACH = 2.5 * ANGSTROM
"""Ring radius (1.4 A) plus half of a long bond (0.9 A), and a margin, in nm."""


def _count_in_frame(
    atoms: np.ndarray, rings: np.ndarray, bonds: np.ndarray, box: np.ndarray | None
) -> int:
    """Count bonds through rings of one size."""
    bonds = bonds[np.isfinite(atoms[bonds]).all(axis=(1, 2))]
    rings = rings[np.isfinite(atoms[rings]).all(axis=(1, 2))]
    centers = atoms[rings].mean(axis=1)
    middles = atoms[bonds].mean(axis=1)
    ring, bond = find_pairs_between(centers, middles, _REACH, box).T
    own = (rings[ring][:, :, None] == bonds[bond][:, None, :]).any(axis=(1, 2))
    ring, bond = ring[~own], bond[~own]
    if len(ring) == 0:
        return 0
    corner = atoms[rings[ring]] - centers[ring][:, None]
    start = atoms[bonds[bond, 0]] - centers[ring]
    along = atoms[bonds[bond, 1]] - atoms[bonds[bond, 0]]
    if box is not None and np.any(box):
        start = minimum_image(start, box)
    # normal of the best plane: the sum of the corner cross products (Newell)
    following = np.roll(corner, -1, axis=1)
    normal = np.cross(corner, following).sum(axis=1)
    height = (start * normal).sum(-1)
    rise = (along * normal).sum(-1)
    crosses = height * (height + rise) < 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        point = start - along * (height / rise)[:, None]
    # inside if it lies on the same side of every edge
    spoke = corner - point[:, None]
    side = (np.cross(spoke, np.roll(spoke, -1, axis=1)) * normal[:, None]).sum(-1)
    return int((crosses & (side > 0.0).all(axis=1)).sum())


def compute_ring_penetrations(
    positions: np.ndarray, layout: HeavyAtomLayout, box: np.ndarray | None = None
) -> np.ndarray:
    """Number of bonds that pass through a ring.

    A bond counts if it crosses the plane of a ring (Phe, Tyr, His, Trp, Pro)
    inside the polygon of the ring's atoms and shares no atom with it.

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
    numpy.ndarray, shape (F,), int64
        0 in good structures. Rings and bonds that are not finite are left out.
    """
    frames = flatten_atoms(positions).astype(np.float64, copy=False)
    if box is not None:
        box = np.broadcast_to(np.asarray(box), (len(frames), 3, 3))
    counts = [
        sum(
            _count_in_frame(
                frame, rings, layout.all_bonds, None if box is None else box[f]
            )
            for rings in layout.rings
            if len(rings)
        )
        for f, frame in enumerate(frames)
    ]
    return np.array(counts, np.int64)
