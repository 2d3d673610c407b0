"""Reference bond angles, apart from what the builder uses.

Medians over well ordered residues of X-ray entries at 1.6 A or better,
printed by `openmm_backmap.training.fit_angles`. They agree with Engh and
Huber, Acta Cryst. A47, 392 (1991), within 1.5 degrees. In degrees, as in that
literature.
"""

from openmm_backmap.residues.names import RESIDUE_NAMES

__all__ = ["BOND_ANGLES"]

_ANGLES = {
    "ALA": "-C N CA 121.4, C CA CB 110.4, C CA N 111.0, CB CA N 110.3, "
           "+N C CA 117.0, +N C O 122.6, CA C O 120.5",
    "ARG": "-C N CA 121.5, C CA CB 110.3, C CA N 110.9, CB CA N 110.5, "
           "+N C CA 116.8, +N C O 122.7, CA C O 120.5, CA CB CG 113.9, "
           "CB CG CD 111.8, CG CD NE 111.6, CD NE CZ 124.6, NE CZ NH1 120.6, "
           "NE CZ NH2 119.7, NH1 CZ NH2 119.7",
    "ASN": "-C N CA 121.7, C CA CB 110.6, C CA N 111.3, CB CA N 110.6, "
           "+N C CA 116.9, +N C O 122.7, CA C O 120.4, CA CB CG 112.6, "
           "CB CG ND2 116.5, CB CG OD1 120.9, ND2 CG OD1 122.6",
    "ASP": "-C N CA 121.6, C CA CB 110.5, C CA N 110.9, CB CA N 110.6, "
           "+N C CA 117.0, +N C O 122.7, CA C O 120.4, CA CB CG 113.1, "
           "CB CG OD1 119.1, CB CG OD2 117.8, OD1 CG OD2 123.0",
    "CYS": "-C N CA 121.4, C CA CB 110.3, C CA N 110.5, CB CA N 110.4, "
           "+N C CA 116.8, +N C O 122.9, CA C O 120.4, CA CB SG 113.9",
    "GLN": "-C N CA 121.5, C CA CB 110.2, C CA N 111.1, CB CA N 110.5, "
           "+N C CA 117.1, +N C O 122.7, CA C O 120.3, CA CB CG 113.5, "
           "CB CG CD 112.8, CG CD NE2 116.4, CG CD OE1 121.0, "
           "NE2 CD OE1 122.6",
    "GLU": "-C N CA 121.4, C CA CB 110.3, C CA N 111.2, CB CA N 110.4, "
           "+N C CA 117.0, +N C O 122.7, CA C O 120.4, CA CB CG 113.8, "
           "CB CG CD 113.7, CG CD OE1 119.1, CG CD OE2 118.0, "
           "OE1 CD OE2 122.9",
    "GLY": "-C N CA 121.5, C CA N 113.0, +N C CA 116.9, +N C O 122.7, "
           "CA C O 120.4",
    "HIS": "-C N CA 121.6, C CA CB 110.2, C CA N 111.0, CB CA N 110.4, "
           "+N C CA 116.9, +N C O 122.8, CA C O 120.4, CA CB CG 113.7, "
           "CB CG CD2 131.1, CB CG ND1 122.6, CD2 CG ND1 106.3, "
           "CE1 ND1 CG 109.2, CG CD2 NE2 107.2, ND1 CE1 NE2 108.5, "
           "CD2 NE2 CE1 108.9",
    "ILE": "-C N CA 121.7, C CA CB 111.1, C CA N 109.7, CB CA N 111.1, "
           "+N C CA 116.8, +N C O 122.8, CA C O 120.5, CA CB CG1 110.6, "
           "CA CB CG2 110.7, CG1 CB CG2 111.2, CB CG1 CD1 114.0",
    "LEU": "-C N CA 121.4, C CA CB 110.2, C CA N 110.8, CB CA N 110.3, "
           "+N C CA 117.0, +N C O 122.7, CA C O 120.4, CA CB CG 115.7, "
           "CB CG CD1 110.5, CB CG CD2 110.7, CD1 CG CD2 110.6",
    "LYS": "-C N CA 121.5, C CA CB 110.2, C CA N 111.0, CB CA N 110.4, "
           "+N C CA 117.0, +N C O 122.7, CA C O 120.4, CA CB CG 114.0, "
           "CB CG CD 111.8, CE CD CG 111.7, CD CE NZ 111.7",
    "MET": "-C N CA 121.5, C CA CB 110.2, C CA N 110.8, CB CA N 110.6, "
           "+N C CA 116.9, +N C O 122.7, CA C O 120.5, CA CB CG 113.8, "
           "CB CG SD 113.4, CE SD CG 100.6",
    "PHE": "-C N CA 121.8, C CA CB 110.4, C CA N 110.5, CB CA N 110.5, "
           "+N C CA 116.6, +N C O 122.9, CA C O 120.5, CA CB CG 113.8, "
           "CB CG CD1 120.7, CB CG CD2 120.6, CD1 CG CD2 118.6, "
           "CE1 CD1 CG 120.8, CE2 CD2 CG 120.8, CD1 CE1 CZ 119.9, "
           "CD2 CE2 CZ 120.0, CE1 CZ CE2 119.9",
    "PRO": "-C N CA 120.1, -C N CD 127.6, CA N CD 111.9, C CA CB 111.0, "
           "C CA N 112.6, CB CA N 103.3, +N C CA 116.8, +N C O 122.9, "
           "CA C O 120.4, CA CB CG 104.1, CB CG CD 105.0, CG CD N 102.9",
    "SER": "-C N CA 121.5, C CA CB 109.9, C CA N 111.2, CB CA N 110.4, "
           "+N C CA 116.9, +N C O 122.8, CA C O 120.4, CA CB OG 110.9",
    "THR": "-C N CA 121.7, C CA CB 110.1, C CA N 110.4, CB CA N 111.1, "
           "+N C CA 116.7, +N C O 122.8, CA C O 120.5, CA CB CG2 111.5, "
           "CA CB OG1 109.1, CG2 CB OG1 109.4",
    "TRP": "-C N CA 121.6, C CA CB 110.2, C CA N 110.7, CB CA N 110.6, "
           "+N C CA 116.6, +N C O 122.9, CA C O 120.4, CA CB CG 114.1, "
           "CB CG CD1 127.0, CB CG CD2 126.6, CD1 CG CD2 106.3, "
           "CG CD1 NE1 110.1, CE2 CD2 CE3 118.9, CE2 CD2 CG 107.2, "
           "CE3 CD2 CG 133.9, CD1 NE1 CE2 108.9, CD2 CE2 CZ2 122.4, "
           "CD2 CE2 NE1 107.4, CZ2 CE2 NE1 130.2, CD2 CE3 CZ3 118.7, "
           "CE2 CZ2 CH2 117.5, CE3 CZ3 CH2 121.1, CZ2 CH2 CZ3 121.5",
    "TYR": "-C N CA 121.9, C CA CB 110.4, C CA N 110.7, CB CA N 110.5, "
           "+N C CA 116.8, +N C O 122.9, CA C O 120.4, CA CB CG 113.6, "
           "CB CG CD1 120.9, CB CG CD2 120.9, CD1 CG CD2 118.1, "
           "CE1 CD1 CG 121.2, CE2 CD2 CG 121.2, CD1 CE1 CZ 119.6, "
           "CD2 CE2 CZ 119.6, CE1 CZ CE2 120.4, CE1 CZ OH 119.8, "
           "CE2 CZ OH 119.8",
    "VAL": "-C N CA 121.8, C CA CB 110.9, C CA N 109.7, CB CA N 111.3, "
           "+N C CA 116.8, +N C O 122.8, CA C O 120.5, CA CB CG1 110.9, "
           "CA CB CG2 110.6, CG1 CB CG2 110.7",
}  # fmt: skip


def _parse(text: str) -> tuple[tuple[str, str, str, float], ...]:
    words = [row.split() for row in text.split(", ")]
    return tuple((a, middle, b, float(degrees)) for a, middle, b, degrees in words)


BOND_ANGLES = tuple(_parse(_ANGLES[name]) for name in RESIDUE_NAMES)
"""For each residue type its angles: (first, middle, last, degrees).

"-C" is C of the residue before and "+N" is N of the residue after.
"""
