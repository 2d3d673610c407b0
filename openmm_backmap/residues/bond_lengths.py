"""Reference bond lengths by chemistry, apart from what the builder uses.

Checks of validity compare with these, so that a wrong number in the builder's
own tables would be seen. Lengths are in angstrom, as in the source.

References
----------
Engh and Huber, Acta Cryst. A47, 392 (1991), table 2.
"""

from openmm_backmap.residues.atoms import BONDS
from openmm_backmap.residues.names import RESIDUE_NAMES

__all__ = [
    "BOND_LENGTH_ANGSTROM",
    "PEPTIDE_LENGTH_ANGSTROM",
    "PEPTIDE_LENGTH_PROLINE_ANGSTROM",
]

PEPTIDE_LENGTH_ANGSTROM = 1.329
"""C-N of the peptide bond."""

PEPTIDE_LENGTH_PROLINE_ANGSTROM = 1.341
"""C-N of the peptide bond before proline."""

_BACKBONE = {"N-CA": 1.458, "CA-C": 1.525, "C-O": 1.231, "CA-CB": 1.530}

_OWN = {
    "ALA": {"CA-CB": 1.521},
    "ARG": {"CB-CG": 1.520, "CG-CD": 1.520, "CD-NE": 1.460, "NE-CZ": 1.329,
            "CZ-NH1": 1.326, "CZ-NH2": 1.326},
    "ASN": {"CB-CG": 1.516, "CG-OD1": 1.231, "CG-ND2": 1.328},
    "ASP": {"CB-CG": 1.516, "CG-OD1": 1.249, "CG-OD2": 1.249},
    "CYS": {"CB-SG": 1.808},
    "GLN": {"CB-CG": 1.520, "CG-CD": 1.516, "CD-OE1": 1.231, "CD-NE2": 1.328},
    "GLU": {"CB-CG": 1.520, "CG-CD": 1.516, "CD-OE1": 1.249, "CD-OE2": 1.249},
    "GLY": {"N-CA": 1.451, "CA-C": 1.516},
    "HIS": {"CB-CG": 1.497, "CG-ND1": 1.378, "CG-CD2": 1.354, "ND1-CE1": 1.321,
            "CE1-NE2": 1.321, "NE2-CD2": 1.374},
    "ILE": {"CA-CB": 1.540, "CB-CG1": 1.530, "CB-CG2": 1.521, "CG1-CD1": 1.513},
    "LEU": {"CB-CG": 1.530, "CG-CD1": 1.521, "CG-CD2": 1.521},
    "LYS": {"CB-CG": 1.520, "CG-CD": 1.520, "CD-CE": 1.520, "CE-NZ": 1.489},
    "MET": {"CB-CG": 1.520, "CG-SD": 1.803, "SD-CE": 1.791},
    "PHE": {"CB-CG": 1.502, "CG-CD1": 1.384, "CG-CD2": 1.384, "CD1-CE1": 1.382,
            "CD2-CE2": 1.382, "CE1-CZ": 1.382, "CE2-CZ": 1.382},
    "PRO": {"N-CA": 1.466, "CB-CG": 1.492, "CG-CD": 1.503, "CD-N": 1.473},
    "SER": {"CB-OG": 1.417},
    "THR": {"CA-CB": 1.540, "CB-OG1": 1.433, "CB-CG2": 1.521},
    "TRP": {"CB-CG": 1.498, "CG-CD1": 1.365, "CG-CD2": 1.433, "CD1-NE1": 1.374,
            "NE1-CE2": 1.370, "CE2-CD2": 1.409, "CD2-CE3": 1.398,
            "CE3-CZ3": 1.382, "CZ3-CH2": 1.400, "CH2-CZ2": 1.368,
            "CZ2-CE2": 1.394},
    "TYR": {"CB-CG": 1.512, "CG-CD1": 1.389, "CG-CD2": 1.389, "CD1-CE1": 1.382,
            "CD2-CE2": 1.382, "CE1-CZ": 1.378, "CE2-CZ": 1.378, "CZ-OH": 1.376},
    "VAL": {"CA-CB": 1.540, "CB-CG1": 1.521, "CB-CG2": 1.521},
}  # fmt: skip

BOND_LENGTH_ANGSTROM = tuple(
    tuple(
        {**_BACKBONE, **_OWN.get(name, {})}[f"{first}-{second}"]
        for first, second in BONDS[k]
    )
    for k, name in enumerate(RESIDUE_NAMES)
)
"""For each residue type the length of each of its `BONDS`, in that order."""
