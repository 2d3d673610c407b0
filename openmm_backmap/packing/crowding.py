"""Room that hydrogens need, of heavy atoms that do not show them.

The relief of overlaps moves heavy atoms only. Hydrogens of carbons and of the
backbone's N cannot turn out of the way, so two such atoms keep full contact and
one and any other atom half of the tolerance, and torsions do not come to stand
eclipsed. In crystal structures of 2 A or better no two such atoms of the backbone
and CB are nearer than 3.17 A.
"""

import torch

from openmm_backmap.packing.exclusions import compute_bond_distances
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS
from openmm_backmap.residues.names import N_TYPES, RESIDUE_NAMES

__all__ = ["ECLIPSED_NEXT", "compute_eclipsed", "find_fixed_hydrogens"]

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

ECLIPSED_START = 0.275
"""The same of N and a carbon (0.266 at 0, 0.282 at 40; 0.276 in the nearest 1 % of
crystal structures)."""

ECLIPSED_OXYGEN = 0.265
"""The same of O and CB (0.271 at 0; 0.266 in the nearest 0.1 %)."""

ECLIPSED_NEXT = 0.28
"""The same of CB and the next residue's N (0.267 at 0, 0.281 at 40; 0.275 in the
nearest 0.1 %)."""

ECLIPSED_END = 0.275
"""The same of CG and NZ of a lysine and of CB and NE of an arginine (0.262 to 0.269 at
0, 0.279 to 0.284 at 40)."""

ECLIPSED_SULFUR = 0.30
"""The same of CA and SD of a methionine (0.286 at 0, 0.304 at 40)."""

ECLIPSED_RING = 0.31
"""The same of a carbon and one of a flat ring: 60 degrees."""

ENDS = {
    "ARG": (("CB", "NE", ECLIPSED_END),), "LYS": (("CG", "NZ", ECLIPSED_END),),
    "MET": (("CA", "SD", ECLIPSED_SULFUR),),
}  # fmt: skip
"""Pairs of a side chain's carbon and its N or S three bonds away."""


def find_fixed_hydrogens() -> torch.Tensor:
    """Mark atoms with a hydrogen that cannot turn out of the way.

    Returns
    -------
    torch.Tensor, shape (20, 14), bool
        The backbone's N but of proline, CA, CB and carbons beyond that have any.
    """
    result = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.bool)
    for t, residue in enumerate(RESIDUE_NAMES):
        bare = ["C", *BARE_CARBONS.get(residue, "").split()]
        for name, slot in ATOM_SLOT[t].items():
            result[t, slot] = name[0] == "C" and name not in bare
        result[t, ATOM_SLOT[t]["N"]] = residue != "PRO"
    return result


def compute_eclipsed() -> torch.Tensor:
    """Tell how near carbons three bonds apart come before they are eclipsed.

    Returns
    -------
    torch.Tensor, shape (20, 14, 14)
        Least distance in nm of two carbons of one residue; 0 for other pairs.
    """
    fixed = find_fixed_hydrogens()
    result = torch.zeros(N_TYPES, N_SLOTS, N_SLOTS, dtype=torch.float32)
    for t, residue in enumerate(RESIDUE_NAMES):
        if residue == "PRO":
            continue
        ring = torch.zeros(N_SLOTS, dtype=torch.bool)
        for name in RING_CARBONS.get(residue, "").split():
            ring[ATOM_SLOT[t][name]] = True
        chain = fixed[t] & ~ring
        chain[ATOM_SLOT[t]["N"]] = False
        three = torch.tensor(compute_bond_distances(t)) == 3
        result[t][three & chain[:, None] & chain] = ECLIPSED
        start = torch.zeros_like(chain)
        start[ATOM_SLOT[t]["N"]] = True
        pair = start[:, None] & (chain | ring) | (chain | ring)[:, None] & start
        result[t][three & pair] = ECLIPSED_START
        if residue != "GLY":
            oxygen, beta = ATOM_SLOT[t]["O"], ATOM_SLOT[t]["CB"]
            result[t, oxygen, beta] = result[t, beta, oxygen] = ECLIPSED_OXYGEN
        for one, other, limit in ENDS.get(residue, ()):
            a, b = ATOM_SLOT[t][one], ATOM_SLOT[t][other]
            result[t, a, b] = result[t, b, a] = limit
        beside = chain[:, None] & ring | ring[:, None] & chain
        result[t][three & beside] = ECLIPSED_RING
    return result
