"""What holds a residue's shape while it moves: springs, hands and planes."""

import torch
from torch import Tensor

from openmm_backmap.packing.exclusions import compute_bond_distances
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS
from openmm_backmap.residues.names import RESIDUE_NAMES

__all__ = [
    "BEFORE_PROLINE",
    "HAND_CENTERS",
    "PEPTIDE",
    "compute_heights",
    "list_flat_atoms",
    "list_inner_pairs",
]

_STIFF = 1.5
_ANGLE = 0.65
_PLANE = 0.3

PEPTIDE = (
    (2, 0, _STIFF), (1, 0, _ANGLE), (3, 0, _ANGLE), (2, 1, _ANGLE),
    (1, 1, _PLANE), (3, 1, _PLANE),
)  # fmt: skip
"""Springs of a peptide unit: slots of residue i and of i + 1, stiffness."""

BEFORE_PROLINE = (
    (2, 6, _ANGLE, 0.2505, 0.2505),
    (1, 6, _PLANE, 0.2885, 0.3857),
    (3, 6, _PLANE, 0.3615, 0.2824),
)  # fmt: skip
"""The same for CD of a proline, and how far apart they are in nm: trans, cis.

From N-CD 1.473 A, C-N 1.341 A and C-N-CD 125 degrees (Engh and Huber, Acta Cryst.
A47, 392 (1991)) in one plane. A ring is built on the torsion phi it must have; where
phi is another one, what is built is not what must be held.
"""

HAND_CENTERS = {
    "ILE": (4, 1, 5, 6), "THR": (4, 1, 5, 6), "VAL": (4, 1, 5, 6),
    "LEU": (5, 4, 6, 7),
}  # fmt: skip
"""Tetrahedra of side chains: the slots of a centre and of three neighbours."""

_PLANES = {
    "ARG": ("NE NH1 NH2", "CZ CD"),
    "ASN": ("CB OD1 ND2", "CG"), "ASP": ("CB OD1 OD2", "CG"),
    "GLN": ("CG OE1 NE2", "CD"), "GLU": ("CG OE1 OE2", "CD"),
    "HIS": ("CG CE1 NE2", "CB ND1 CD2"),
    "PHE": ("CG CE1 CE2", "CB CD1 CD2 CZ"),
    "TRP": ("CG CZ2 CE3", "CB CD1 CD2 NE1 CE2 CZ3 CH2"),
    "TYR": ("CG CE1 CE2", "CB CD1 CD2 CZ OH"),
}  # fmt: skip
"""Flat groups of side chains: three atoms that span the plane, and the others."""


def cross(u: Tensor, v: Tensor) -> Tensor:
    """Cross products of vectors (3, N)."""
    return torch.stack(
        (
            u[1] * v[2] - u[2] * v[1],
            u[2] * v[0] - u[0] * v[2],
            u[0] * v[1] - u[1] * v[0],
        )
    )


def compute_heights(points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Height of point 0 over the plane of 1, 2, 3, and its gradients.

    Parameters
    ----------
    points : torch.Tensor, shape (3, 4, N)
        Coordinates in nm.

    Returns
    -------
    height : torch.Tensor, shape (N,)
        Signed, in nm.
    normal : torch.Tensor, shape (3, N)
        Unit vector, the gradient at point 0.
    lever : torch.Tensor, shape (4, N)
        1 and minus the barycentric weights of the foot: gradients along the
        normal. They exert neither force nor torque in all.
    """
    first = points[:, 2] - points[:, 1]
    second = points[:, 3] - points[:, 1]
    over = points[:, 0] - points[:, 1]
    across = cross(first, second)
    square = (across * across).sum(0).clamp(min=1e-9)
    normal = across / torch.sqrt(square)
    along = (cross(over, second) * across).sum(0) / square
    aside = (cross(first, over) * across).sum(0) / square
    lever = torch.stack((torch.ones_like(along), along + aside - 1.0, -along, -aside))
    return (over * normal).sum(0), normal, lever


def list_flat_atoms(residue_type: int) -> list[tuple[int, int, int, int]]:
    """Atoms of a side chain that lie in a plane.

    Distances hold it badly: to first order they do not change across it.

    Parameters
    ----------
    residue_type : int
        0 to 19.

    Returns
    -------
    list of tuple
        Slot of the atom, and of the three that span the plane.
    """
    slots = ATOM_SLOT[residue_type]
    span, others = _PLANES.get(RESIDUE_NAMES[residue_type], ("", ""))
    corners = [slots[name] for name in span.split()]
    return [(slots[name], *corners) for name in others.split()]


def list_inner_pairs(residue_type: int) -> list[tuple[int, int, float]]:
    """Pairs of one residue whose distance no torsion changes.

    Parameters
    ----------
    residue_type : int
        0 to 19.

    Returns
    -------
    list of tuple
        Two slots and the stiffness of the spring between them.
    """
    distance = compute_bond_distances(residue_type)
    flat = {slot for row in list_flat_atoms(residue_type) for slot in row}
    pairs = []
    for a in range(N_SLOTS):
        for b in range(a + 1, N_SLOTS):
            if distance[a][b] == 1:
                pairs.append((a, b, _STIFF))
            elif distance[a][b] == 2:
                pairs.append((a, b, _ANGLE))
            elif a in flat and b in flat:
                pairs.append((a, b, _PLANE))
    return pairs
