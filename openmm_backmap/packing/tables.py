"""Constants of the packing as tensors, by residue type and atom slot."""

from typing import NamedTuple

import torch

from openmm_backmap.packing.constants import N_BACKBONE
from openmm_backmap.packing.exclusions import (
    compute_bond_distances,
    compute_excluded_before,
    compute_excluded_inside,
)
from openmm_backmap.residues.atoms import (
    ATOM_SLOT,
    BONDS,
    N_SLOTS,
    RINGS,
    VDW_RADIUS_ANGSTROM,
)
from openmm_backmap.residues.names import N_TYPES, RESIDUE_NAMES
from openmm_backmap.residues.torsions import CHI_ATOMS, CHI_IS_PI_PERIODIC, N_CHI

__all__ = [
    "ATOM_TYPES",
    "N_ATOM_TYPES",
    "PackingTables",
    "atom_type_of",
    "make_packing_tables",
]

_ANGSTROM = 0.1

_BACKBONE = ("N", "CA", "C", "O", "CB")

_TYPES = {
    "methyl C": "ILE:CD1 ILE:CG2 LEU:CD1 LEU:CD2 VAL:CG1 VAL:CG2 THR:CG2 MET:CE",
    "aliphatic C": "LYS:CG LYS:CD ARG:CG GLN:CG GLU:CG PRO:CG ILE:CG1 MET:CG LEU:CG",
    "aromatic CH": "PHE:CD1 PHE:CD2 PHE:CE1 PHE:CE2 PHE:CZ TYR:CD1 TYR:CD2 TYR:CE1 "
                   "TYR:CE2 TRP:CD1 TRP:CE3 TRP:CZ2 TRP:CZ3 TRP:CH2",
    "aromatic C": "PHE:CG TYR:CG TYR:CZ TRP:CG TRP:CD2 TRP:CE2 HIS:CG",
    "imidazole CH": "HIS:CD2 HIS:CE1", "C beside N": "LYS:CE ARG:CD PRO:CD",
    "carboxyl C": "ASP:CG GLU:CD", "amide C": "ASN:CG GLN:CD",
    "guanidinium C": "ARG:CZ", "amide N": "ASN:ND2 GLN:NE2", "ammonium N": "LYS:NZ",
    "guanidinium NH2": "ARG:NH1 ARG:NH2", "guanidinium NH": "ARG:NE",
    "imidazole N": "HIS:ND1 HIS:NE2", "indole N": "TRP:NE1",
    "hydroxyl O": "SER:OG THR:OG1", "phenol O": "TYR:OH",
    "carboxyl O": "ASP:OD1 ASP:OD2 GLU:OE1 GLU:OE2", "amide O": "ASN:OD1 GLN:OE1",
    "thiol S": "CYS:SG", "thioether S": "MET:SD",
}  # fmt: skip

ATOM_TYPES = (*(f"backbone {name}" for name in _BACKBONE), *_TYPES)
"""Heavy-atom types of the learned pair energy."""

N_ATOM_TYPES = len(ATOM_TYPES)

_TYPE_OF = {
    atom: len(_BACKBONE) + k
    for k, atoms in enumerate(_TYPES.values())
    for atom in atoms.split()
}

_POLAR = ("N", "O", "S")


class PackingTables(NamedTuple):
    """Constants of the packing; the first axis is the residue type."""

    atom_mask: torch.Tensor  # (20, 14) bool
    atom_radius: torch.Tensor  # (20, 14) nm, less half of the 0.4 A tolerance
    atom_polarity: torch.Tensor  # (20, 14) 1 for N, O, S, else 0
    atom_type: torch.Tensor  # (20, 14) int64, index into ATOM_TYPES
    is_disulfide: torch.Tensor  # (20, 14) 1 for the SG of CYS, else 0
    excluded_inside: torch.Tensor  # (20, 14, 14) bool
    excluded_before: torch.Tensor  # (20, 14, 5) bool
    n_chi: torch.Tensor  # (20,) int64
    chi_period: torch.Tensor  # (20, 4) radians, 2 pi or pi
    chi_depth: torch.Tensor  # (20, 14) int64: the last chi that moves the atom, 1..4
    chi_axis: torch.Tensor  # (20, 4, 2) int64 slots of the axis
    chi_moves: torch.Tensor  # (20, 4, 14) 1 where chi moves the atom, else 0
    is_proline: torch.Tensor  # (20,) bool
    bonds: torch.Tensor  # (20, 16, 2) int64 slots, -1 padded
    rings: torch.Tensor  # (20, 2, 6) int64 slots, -1 padded
    type_code: torch.Tensor  # (26,) int64: 14 x residue type + slot of a specimen


def atom_type_of(residue_name: str, atom_name: str) -> int:
    """Return the pair-energy type of an atom.

    Parameters
    ----------
    residue_name : str
        Three-letter name.
    atom_name : str
        Heavy-atom name.

    Returns
    -------
    int
        Index into `ATOM_TYPES`.
    """
    if atom_name in _BACKBONE:
        return _BACKBONE.index(atom_name)
    return _TYPE_OF[f"{residue_name}:{atom_name}"]


def _chi_moves(residue_type: int) -> list[list[bool]]:
    """Mark the atoms beyond the far end of each chi axis."""
    slots = ATOM_SLOT[residue_type]
    chis = CHI_ATOMS[residue_type]
    distance = compute_bond_distances(residue_type)
    moves = []
    for _, near, far, _ in chis:
        near_slot, far_slot = slots[near], slots[far]
        row = [False] * N_SLOTS
        for slot in range(N_BACKBONE, len(slots)):
            row[slot] = distance[far_slot][slot] < distance[near_slot][slot]
            row[slot] = row[slot] and slot != far_slot
        moves.append(row)
    if RESIDUE_NAMES[residue_type] == "PRO":
        # its ring gives CD a short way back to N: chi1 places CG, chi2 CD
        moves = [[slot >= 5 + k for slot in range(N_SLOTS)] for k in range(2)]
        moves = [[m and s < len(slots) for s, m in enumerate(row)] for row in moves]
    return moves + [[False] * N_SLOTS] * (N_CHI - len(moves))


def make_packing_tables() -> PackingTables:
    """Gather the constants of all residue types into tensors.

    Returns
    -------
    PackingTables
        Float tensors are float32, index tensors int64.
    """
    mask = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.bool)
    radius = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.float32)
    polarity = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.float32)
    atom_type = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.int64)
    disulfide = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.float32)
    period = torch.full((N_TYPES, N_CHI), 2 * torch.pi, dtype=torch.float32)
    axis = torch.zeros(N_TYPES, N_CHI, 2, dtype=torch.int64)
    bonds = torch.full((N_TYPES, 16, 2), -1, dtype=torch.int64)
    rings = torch.full((N_TYPES, 2, 6), -1, dtype=torch.int64)
    code = torch.zeros(N_ATOM_TYPES, dtype=torch.int64)
    for t, residue_name in enumerate(RESIDUE_NAMES):
        slots = ATOM_SLOT[t]
        for name, slot in slots.items():
            mask[t, slot] = True
            radius[t, slot] = (VDW_RADIUS_ANGSTROM[name[0]] - 0.2) * _ANGSTROM
            polarity[t, slot] = float(name[0] in _POLAR)
            atom_type[t, slot] = atom_type_of(residue_name, name)
            code[atom_type[t, slot]] = t * N_SLOTS + slot
            disulfide[t, slot] = float(name == "SG")
        for k, (_, near, far, _) in enumerate(CHI_ATOMS[t]):
            axis[t, k, 0], axis[t, k, 1] = slots[near], slots[far]
            if CHI_IS_PI_PERIODIC[t][k]:
                period[t, k] = torch.pi
        for k, (first, second) in enumerate(BONDS[t]):
            bonds[t, k, 0], bonds[t, k, 1] = slots[first], slots[second]
        for k, ring in enumerate(RINGS[t]):
            for m, name in enumerate(ring):
                rings[t, k, m] = slots[name]
    moves = torch.tensor([_chi_moves(t) for t in range(N_TYPES)])
    order = torch.arange(1, N_CHI + 1).view(1, N_CHI, 1)
    return PackingTables(
        atom_mask=mask,
        atom_radius=radius,
        atom_polarity=polarity,
        atom_type=atom_type,
        is_disulfide=disulfide,
        excluded_inside=torch.tensor(compute_excluded_inside()),
        excluded_before=torch.tensor(compute_excluded_before()),
        n_chi=torch.tensor([len(chis) for chis in CHI_ATOMS]),
        chi_period=period,
        chi_depth=(moves.long() * order).amax(1).clamp(min=1),
        chi_axis=axis,
        chi_moves=moves.float(),
        is_proline=torch.tensor([name == "PRO" for name in RESIDUE_NAMES]),
        bonds=bonds,
        rings=rings,
        type_code=code,
    )
