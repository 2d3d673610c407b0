"""Room that hydrogens need, of heavy atoms that do not show them.

The relief of overlaps moves heavy atoms only. Hydrogens of carbons and of the
backbone's N cannot turn out of the way, so these atoms keep full contact, and
torsions of side chains do not come to stand eclipsed.
"""

import torch

from openmm_backmap.packing.exclusions import compute_bond_distances
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS
from openmm_backmap.residues.names import N_TYPES, RESIDUE_NAMES

__all__ = ["compute_eclipsed", "compute_outwardness"]

BARE_CARBONS = {
    "ARG": "CZ", "ASN": "CG", "ASP": "CG", "GLN": "CD", "GLU": "CD", "HIS": "CG",
    "PHE": "CG", "TRP": "CG CD2 CE2", "TYR": "CG CZ",
}  # fmt: skip
"""Side-chain carbons without a hydrogen."""

RING_CARBONS = {
    "HIS": "CD2 CE1", "PHE": "CD1 CD2 CE1 CE2 CZ", "TRP": "CD1 CE3 CZ2 CZ3 CH2",
    "TYR": "CD1 CD2 CE1 CE2",
}  # fmt: skip
"""Carbons of flat rings with a hydrogen."""

ECLIPSED = 0.285
"""Least distance of two carbons three bonds apart in a side chain, in nm: that
at a torsion of 40 degrees (0.27 at 0, 0.305 at 60)."""

ECLIPSED_RING = 0.31
"""The same of a carbon and one of a flat ring: 60 degrees."""


def compute_outwardness() -> torch.Tensor:
    """Tell how far out atoms stand whose hydrogens cannot turn.

    Returns
    -------
    torch.Tensor, shape (20, 14), int64
        1 for N and CA, 2 for CB, 3 for carbons beyond; 0 for all others.
    """
    result = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.int64)
    for t, residue in enumerate(RESIDUE_NAMES):
        bare = ["C", *BARE_CARBONS.get(residue, "").split()]
        for name, slot in ATOM_SLOT[t].items():
            if name[0] == "C" and name not in bare:
                result[t, slot] = {"CA": 1, "CB": 2}.get(name, 3)
        if residue != "PRO":
            result[t, ATOM_SLOT[t]["N"]] = 1
    return result


def compute_eclipsed() -> torch.Tensor:
    """Tell how near carbons three bonds apart come before they are eclipsed.

    Returns
    -------
    torch.Tensor, shape (20, 14, 14)
        Least distance in nm of two carbons of one residue; 0 for other pairs.
    """
    outward = compute_outwardness()
    result = torch.zeros(N_TYPES, N_SLOTS, N_SLOTS)
    for t, residue in enumerate(RESIDUE_NAMES):
        if residue == "PRO":
            continue
        ring = torch.zeros(N_SLOTS, dtype=torch.bool)
        for name in RING_CARBONS.get(residue, "").split():
            ring[ATOM_SLOT[t][name]] = True
        chain = (outward[t] > 0) & ~ring
        chain[ATOM_SLOT[t]["N"]] = False
        three = torch.tensor(compute_bond_distances(t)) == 3
        result[t][three & chain[:, None] & chain] = ECLIPSED
        beside = chain[:, None] & ring | ring[:, None] & chain
        result[t][three & beside] = ECLIPSED_RING
    return result
