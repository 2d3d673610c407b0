"""Ideal heavy-atom geometry: bond lengths, angles, torsion offsets.

Side chains and CB are medians over well ordered residues (B below 35 A^2) of
train entries solved at 1.6 A or better; `openmm_backmap.training.fit_ideal`
prints them. They agree with Engh and Huber, Acta Cryst. A47, 392 (1991),
within 0.02 A and 1.5 degrees. Lengths are in angstrom and angles in degrees,
the unit of that literature; `openmm_backmap.builder.tables` converts once.
"""

__all__ = [
    "CB_COMPONENTS",
    "CIS",
    "CA_C_O_OFFSET",
    "CARBONYL_LENGTH",
    "N_CA_C_ANGLE",
    "PROLINE_N_CD",
    "SIDE_CHAIN_GEOMETRY",
    "SIDE_CHAIN_TREE",
    "TERMINAL_CARBONYL_LENGTH",
    "TRANS",
    "TRANS_BEFORE_PROLINE",
]

_TREE = {
    "ARG": "CG<N-CA-CB:1 CD<CA-CB-CG:2 NE<CB-CG-CD:3 CZ<CG-CD-NE:4 "
           "NH1<CD-NE-CZ:0 NH2<CD-NE-CZ:0",
    "ASN": "CG<N-CA-CB:1 OD1<CA-CB-CG:2 ND2<CA-CB-CG:2",
    "ASP": "CG<N-CA-CB:1 OD1<CA-CB-CG:2 OD2<CA-CB-CG:2",
    "CYS": "SG<N-CA-CB:1",
    "GLN": "CG<N-CA-CB:1 CD<CA-CB-CG:2 OE1<CB-CG-CD:3 NE2<CB-CG-CD:3",
    "GLU": "CG<N-CA-CB:1 CD<CA-CB-CG:2 OE1<CB-CG-CD:3 OE2<CB-CG-CD:3",
    "HIS": "CG<N-CA-CB:1 ND1<CA-CB-CG:2 CD2<CA-CB-CG:2 CE1<CB-CG-ND1:0 NE2<CB-CG-CD2:0",
    "ILE": "CG1<N-CA-CB:1 CG2<N-CA-CB:1 CD1<CA-CB-CG1:2",
    "LEU": "CG<N-CA-CB:1 CD1<CA-CB-CG:2 CD2<CA-CB-CG:2",
    "LYS": "CG<N-CA-CB:1 CD<CA-CB-CG:2 CE<CB-CG-CD:3 NZ<CG-CD-CE:4",
    "MET": "CG<N-CA-CB:1 SD<CA-CB-CG:2 CE<CB-CG-SD:3",
    "PHE": "CG<N-CA-CB:1 CD1<CA-CB-CG:2 CD2<CA-CB-CG:2 CE1<CB-CG-CD1:0 "
           "CE2<CB-CG-CD2:0 CZ<CG-CD1-CE1:0",
    "PRO": "CG<N-CA-CB:1 CD<CA-CB-CG:2",
    "SER": "OG<N-CA-CB:1",
    "THR": "OG1<N-CA-CB:1 CG2<N-CA-CB:1",
    "TRP": "CG<N-CA-CB:1 CD1<CA-CB-CG:2 CD2<CA-CB-CG:2 NE1<CB-CG-CD1:0 "
           "CE2<CB-CG-CD2:0 CE3<CB-CG-CD2:0 CZ2<CG-CD2-CE2:0 CZ3<CG-CD2-CE3:0 "
           "CH2<CD2-CE2-CZ2:0",
    "TYR": "CG<N-CA-CB:1 CD1<CA-CB-CG:2 CD2<CA-CB-CG:2 CE1<CB-CG-CD1:0 "
           "CE2<CB-CG-CD2:0 CZ<CG-CD1-CE1:0 OH<CD1-CE1-CZ:0",
    "VAL": "CG1<N-CA-CB:1 CG2<N-CA-CB:1",
}  # fmt: skip


def _parse(row: str) -> tuple[tuple[str, str, str, str, int], ...]:
    atoms = []
    for word in row.split():
        atom, rest = word.split("<")
        parents, chi = rest.split(":")
        a, b, c = parents.split("-")
        atoms.append((atom, a, b, c, int(chi)))
    return tuple(atoms)


SIDE_CHAIN_TREE = {name: _parse(row) for name, row in _TREE.items()}
"""For each residue the atoms beyond CB in slot order: (atom, a, b, c, chi).

The atom is bonded to c; its torsion a-b-c-atom is chi1 to chi4 plus an offset,
or the offset alone where chi is 0.
"""

SIDE_CHAIN_GEOMETRY = {
    "ARG": (
        ("CG", 1.520, 113.9, 0.0),
        ("CD", 1.521, 111.8, 0.0),
        ("NE", 1.460, 111.6, 0.0),
        ("CZ", 1.329, 124.6, 0.0),
        ("NH1", 1.328, 120.6, 0.0),
        ("NH2", 1.327, 119.7, 180.0),
    ),
    "ASN": (
        ("CG", 1.513, 112.6, 0.0),
        ("OD1", 1.232, 120.8, 0.0),
        ("ND2", 1.327, 116.5, 180.0),
    ),
    "ASP": (
        ("CG", 1.516, 113.1, 0.0),
        ("OD1", 1.250, 119.1, 0.0),
        ("OD2", 1.250, 117.8, 180.0),
    ),
    "CYS": (("SG", 1.806, 113.9, 0.0),),
    "GLN": (
        ("CG", 1.522, 113.5, 0.0),
        ("CD", 1.514, 112.8, 0.0),
        ("OE1", 1.233, 121.0, 0.0),
        ("NE2", 1.327, 116.4, 180.0),
    ),
    "GLU": (
        ("CG", 1.520, 113.8, 0.0),
        ("CD", 1.517, 113.7, 0.0),
        ("OE1", 1.250, 119.1, 0.0),
        ("OE2", 1.251, 118.0, 180.0),
    ),
    "HIS": (
        ("CG", 1.495, 113.7, 0.0),
        ("ND1", 1.378, 122.6, 0.0),
        ("CD2", 1.354, 131.1, 180.0),
        ("CE1", 1.323, 109.2, 180.0),
        ("NE2", 1.374, 107.2, 180.0),
    ),
    "ILE": (
        ("CG1", 1.532, 110.6, 0.0),
        ("CG2", 1.528, 110.7, -124.0),
        ("CD1", 1.518, 114.0, 0.0),
    ),
    "LEU": (
        ("CG", 1.529, 115.7, 0.0),
        ("CD1", 1.522, 110.5, 0.0),
        ("CD2", 1.523, 110.7, 122.9),
    ),
    "LYS": (
        ("CG", 1.521, 114.0, 0.0),
        ("CD", 1.521, 111.8, 0.0),
        ("CE", 1.518, 111.7, 0.0),
        ("NZ", 1.490, 111.7, 0.0),
    ),
    "MET": (
        ("CG", 1.520, 113.8, 0.0),
        ("SD", 1.806, 113.4, 0.0),
        ("CE", 1.791, 100.6, 0.0),
    ),
    "PHE": (
        ("CG", 1.505, 113.8, 0.0),
        ("CD1", 1.388, 120.7, 0.0),
        ("CD2", 1.387, 120.6, 180.0),
        ("CE1", 1.388, 120.8, 180.0),
        ("CE2", 1.388, 120.8, 180.0),
        ("CZ", 1.381, 119.9, 0.0),
    ),
    "PRO": (
        ("CG", 1.497, 104.2, 0.0),
        ("CD", 1.509, 105.0, 0.0),
    ),
    "SER": (("OG", 1.417, 110.9, 0.0),),
    "THR": (
        ("OG1", 1.432, 109.1, 0.0),
        ("CG2", 1.521, 111.5, -120.9),
    ),
    "TRP": (
        ("CG", 1.499, 114.1, 0.0),
        ("CD1", 1.367, 127.0, 0.0),
        ("CD2", 1.433, 126.6, 180.0),
        ("NE1", 1.375, 110.1, 180.0),
        ("CE2", 1.411, 107.2, 180.0),
        ("CE3", 1.401, 133.9, 0.0),
        ("CZ2", 1.397, 122.4, 180.0),
        ("CZ3", 1.386, 118.7, 180.0),
        ("CH2", 1.372, 117.5, 0.0),
    ),
    "TYR": (
        ("CG", 1.510, 113.6, 0.0),
        ("CD1", 1.390, 120.9, 0.0),
        ("CD2", 1.390, 120.9, 180.0),
        ("CE1", 1.387, 121.2, 180.0),
        ("CE2", 1.387, 121.2, 180.0),
        ("CZ", 1.381, 119.6, 0.0),
        ("OH", 1.377, 119.8, 180.0),
    ),
    "VAL": (
        ("CG1", 1.525, 110.9, 0.0),
        ("CG2", 1.524, 110.6, 123.4),
    ),
}
"""For each residue rows (atom, length to c, angle b-c-atom, torsion offset)."""

CB_COMPONENTS = {
    "ALA": (0.935, 1.201, -0.001),
    "ARG": (0.939, 1.208, 0.004),
    "ASN": (0.951, 1.197, -0.001),
    "ASP": (0.941, 1.207, 0.001),
    "CYS": (0.935, 1.207, 0.003),
    "GLN": (0.938, 1.207, 0.005),
    "GLU": (0.940, 1.207, 0.002),
    "HIS": (0.939, 1.211, 0.004),
    "ILE": (0.960, 1.206, 0.001),
    "LEU": (0.930, 1.214, 0.001),
    "LYS": (0.939, 1.209, 0.003),
    "MET": (0.936, 1.212, 0.006),
    "PHE": (0.939, 1.211, 0.002),
    "PRO": (0.813, 1.294, -0.118),
    "SER": (0.935, 1.208, 0.008),
    "THR": (0.947, 1.209, 0.015),
    "TRP": (0.937, 1.211, 0.004),
    "TYR": (0.939, 1.211, 0.003),
    "VAL": (0.962, 1.204, 0.007),
}
"""CB minus CA along b, n and b x n, where b is minus the bisector of the unit
vectors to N and C and n is their normalised cross product N x C (L-hand)."""

TRANS = (1.5236, 1.3302, 1.4600, 116.82, 121.55)
"""Trans peptide unit: CA-C, C-N, N-CA, CA-C-N, C-N-CA (median CA-CA 3.808)."""

TRANS_BEFORE_PROLINE = (1.5249, 1.3374, 1.4662, 117.85, 120.00)
"""The same where the second residue is proline (median CA-CA 3.820)."""

CIS = (1.5239, 1.3385, 1.4660, 118.36, 126.21)
"""Cis peptide unit (median CA-CA 2.948)."""

CA_C_O_OFFSET = -1.2
"""CA-C-O minus half of (360 - CA-C-N); medians 120.4 and 122.8 degrees."""

CARBONYL_LENGTH = 1.235
TERMINAL_CARBONYL_LENGTH = 1.250
"""C-O and C-OXT of the carboxylate at a C-terminus (Engh and Huber 1991)."""

N_CA_C_ANGLE = {"PRO": 112.6, "GLY": 113.0, "ILE": 109.7, "VAL": 109.7}
"""N-CA-C in degrees; 111.0 for the others."""

PROLINE_N_CD = 1.474
"""Length of the bond that closes the proline ring."""
