"""Heavy atoms of the twenty residues: the 14 slots, elements, bonds, radii."""

from openmm_backmap.residues.names import RESIDUE_NAMES

__all__ = [
    "ATOM_SLOT",
    "BACKBONE_SLOTS",
    "BONDS",
    "N_SLOTS",
    "RINGS",
    "SLOT_NAMES",
    "SYMMETRIC_PAIRS",
    "VDW_RADIUS_ANGSTROM",
    "slot_elements",
]

N_SLOTS = 14
BACKBONE_SLOTS = {"N": 0, "CA": 1, "C": 2, "O": 3, "CB": 4}

_SIDE_CHAIN = {
    "ALA": "CB", "ARG": "CB CG CD NE CZ NH1 NH2", "ASN": "CB CG OD1 ND2",
    "ASP": "CB CG OD1 OD2", "CYS": "CB SG", "GLN": "CB CG CD OE1 NE2",
    "GLU": "CB CG CD OE1 OE2", "GLY": "", "HIS": "CB CG ND1 CD2 CE1 NE2",
    "ILE": "CB CG1 CG2 CD1", "LEU": "CB CG CD1 CD2", "LYS": "CB CG CD CE NZ",
    "MET": "CB CG SD CE", "PHE": "CB CG CD1 CD2 CE1 CE2 CZ",
    "PRO": "CB CG CD", "SER": "CB OG", "THR": "CB OG1 CG2",
    "TRP": "CB CG CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2",
    "TYR": "CB CG CD1 CD2 CE1 CE2 CZ OH", "VAL": "CB CG1 CG2",
}  # fmt: skip

SLOT_NAMES = tuple(
    ("N", "CA", "C", "O", *_SIDE_CHAIN[name].split()) for name in RESIDUE_NAMES
)
"""For each residue type the atom names in slot order (at most 14)."""

ATOM_SLOT = tuple({a: k for k, a in enumerate(names)} for names in SLOT_NAMES)
"""For each residue type the slot of each atom name."""

_SIDE_BONDS = {
    "ARG": "CB-CG CG-CD CD-NE NE-CZ CZ-NH1 CZ-NH2",
    "ASN": "CB-CG CG-OD1 CG-ND2", "ASP": "CB-CG CG-OD1 CG-OD2", "CYS": "CB-SG",
    "GLN": "CB-CG CG-CD CD-OE1 CD-NE2", "GLU": "CB-CG CG-CD CD-OE1 CD-OE2",
    "HIS": "CB-CG CG-ND1 CG-CD2 ND1-CE1 CE1-NE2 NE2-CD2",
    "ILE": "CB-CG1 CB-CG2 CG1-CD1", "LEU": "CB-CG CG-CD1 CG-CD2",
    "LYS": "CB-CG CG-CD CD-CE CE-NZ", "MET": "CB-CG CG-SD SD-CE",
    "PHE": "CB-CG CG-CD1 CG-CD2 CD1-CE1 CD2-CE2 CE1-CZ CE2-CZ",
    "PRO": "CB-CG CG-CD CD-N", "SER": "CB-OG", "THR": "CB-OG1 CB-CG2",
    "TRP": "CB-CG CG-CD1 CG-CD2 CD1-NE1 NE1-CE2 CE2-CD2 CD2-CE3 CE3-CZ3 "
           "CZ3-CH2 CH2-CZ2 CZ2-CE2",
    "TYR": "CB-CG CG-CD1 CG-CD2 CD1-CE1 CD2-CE2 CE1-CZ CE2-CZ CZ-OH",
    "VAL": "CB-CG1 CB-CG2",
}  # fmt: skip


def _bonds(name: str) -> tuple[tuple[str, str], ...]:
    bonds = [("N", "CA"), ("CA", "C"), ("C", "O")]
    if name != "GLY":
        bonds.append(("CA", "CB"))
    for bond in _SIDE_BONDS.get(name, "").split():
        first, second = bond.split("-")
        bonds.append((first, second))
    return tuple(bonds)


BONDS = tuple(_bonds(name) for name in RESIDUE_NAMES)
"""For each residue type its covalent bonds between heavy atoms, by name.

The peptide bond C(i)-N(i+1) and disulfides are not in it.
"""

_SYMMETRIC = {
    "ARG": (("NH1", "NH2"),),
    "ASP": (("OD1", "OD2"),),
    "GLU": (("OE1", "OE2"),),
    "PHE": (("CD1", "CD2"), ("CE1", "CE2")),
    "TYR": (("CD1", "CD2"), ("CE1", "CE2")),
}
SYMMETRIC_PAIRS = tuple(_SYMMETRIC.get(name, ()) for name in RESIDUE_NAMES)
"""For each residue type the atom names that swap under a symmetry flip."""

_RINGS = {
    "PHE": (("CG", "CD1", "CE1", "CZ", "CE2", "CD2"),),
    "TYR": (("CG", "CD1", "CE1", "CZ", "CE2", "CD2"),),
    "HIS": (("CG", "ND1", "CE1", "NE2", "CD2"),),
    "TRP": (
        ("CG", "CD1", "NE1", "CE2", "CD2"),
        ("CD2", "CE2", "CZ2", "CH2", "CZ3", "CE3"),
    ),
    "PRO": (("N", "CA", "CB", "CG", "CD"),),
}
RINGS = tuple(_RINGS.get(name, ()) for name in RESIDUE_NAMES)
"""For each residue type its rings as atom names in order."""

VDW_RADIUS_ANGSTROM = {"C": 1.70, "N": 1.55, "O": 1.52, "S": 1.80, "P": 1.80}
"""Van der Waals radii in angstrom; Bondi, J. Phys. Chem. 68, 441 (1964)."""


def slot_elements(residue_type: int) -> tuple[str, ...]:
    """Return the element of each occupied slot of a residue type.

    Parameters
    ----------
    residue_type : int
        0 to 19.

    Returns
    -------
    tuple of str
        "C", "N", "O" or "S", in slot order.
    """
    return tuple(name[0] for name in SLOT_NAMES[residue_type])
