"""Hydrogens of the twenty residues: names, parents and local geometry.

Every hydrogen hangs on a *site*: a parent atom with a local frame of three
axes made from its heavy neighbours, and for each hydrogen three offsets along
them. Names and order are those of OpenMM (`hydrogens.xml`), so that a topology
made from them is the one `Modeller.addHydrogens` would make. Lengths and angles
are the equilibrium values of Amber ff14SB (parm10.dat and frcmod.ff14SB;
Cornell et al., J. Am. Chem. Soc. 117, 5179 (1995); Maier et al., J. Chem.
Theory Comput. 11, 3696 (2015)). Protonation is that of pH 7.
"""

from dataclasses import dataclass
from math import cos, radians, sin

from openmm_backmap.residues.names import RESIDUE_NAMES

__all__ = ["PREVIOUS_C", "VARIANTS", "AddedSite", "added_sites", "variant_parent"]

PREVIOUS_C = "-C"
"""Name that stands for the C atom of the residue before."""

VARIANTS = {
    "HID": "HIS", "HIE": "HIS", "HIP": "HIS", "CYX": "CYS",
    "SEP": "SER", "TPO": "THR", "PTR": "TYR",
}  # fmt: skip
"""Variants of residues and the standard residue whose slots they use."""

# Lengths in angstrom, angles in degrees; Amber types of the parent in brackets.
_CH, _CH_AROMATIC = 1.090, 1.080  # [CT, CX, 2C, 3C, C8], [CA, CW, CV, CR]
_NH, _OH, _SH = 1.010, 0.960, 1.336  # [N, N2, N3, NA], [OH], [SH]
_TETRAHEDRAL, _TRIGONAL = 109.5, 120.0
_C_O_H, _CZ_O_H, _C_S_H = 108.5, 113.0, 96.0
# Phosphate dianion: CT-OS, OS-P, P-O2 and their angles, parm10.dat.
_O_P, _P_O, _C_O_P, _O_P_O = 1.610, 1.480, 120.5, 108.23
_STAGGERED = (60.0, 180.0, 300.0)


@dataclass(frozen=True)
class AddedSite:
    """Atoms added to one parent atom, in its local frame.

    Parameters
    ----------
    parent : str
        Atom that the added atoms are bonded to.
    neighbors : tuple of str
        For a site that is not a rotor the two or three bonded neighbours of the
        parent; axis 1 points away from them (minus the sum of the unit bonds)
        and axis 2 along (first bond) x (second bond). For a rotor (b, a): axis
        1 goes from b to the parent, axis 2 is the part of a - b perpendicular
        to it, axis 3 completes a right-handed frame.
    names : tuple of str
        Added atoms, in OpenMM's order.
    offsets : tuple of tuple of float, shape (n_torsions or 1, n_names, 3)
        Position minus parent along the three axes in nm; one block for each
        torsion that may be chosen.
    torsions : tuple of float
        Torsions a-b-parent-first atom in radians to choose from; empty if the
        site has one geometry only.
    is_rotor : bool
        How the frame is made, see `neighbors`.
    """

    parent: str
    neighbors: tuple[str, ...]
    names: tuple[str, ...]
    offsets: tuple[tuple[tuple[float, float, float], ...], ...]
    torsions: tuple[float, ...] = ()
    is_rotor: bool = False

    @property
    def element(self) -> str:
        """Element symbol of the added atoms."""
        return self.names[0][0]


def _apex(parent: str, neighbors: str, name: str, length: float) -> AddedSite:
    """One hydrogen straight away from two or three neighbours."""
    offset = (0.1 * length, 0.0, 0.0)
    return AddedSite(parent, tuple(neighbors.split()), (name,), ((offset,),))


def _pair(parent: str, neighbors: str, names: str, length: float = _CH) -> AddedSite:
    """Two hydrogens of an sp3 atom.

    Seen from the first neighbour the second neighbour, the first and the second
    hydrogen follow one another clockwise (IUPAC-IUB 1970, rule 4.4.1).
    """
    along = 0.1 * length * cos(radians(_TETRAHEDRAL / 2))
    across = 0.1 * length * sin(radians(_TETRAHEDRAL / 2))
    offsets = ((along, -across, 0.0), (along, across, 0.0))
    return AddedSite(parent, tuple(neighbors.split()), tuple(names.split()), (offsets,))


def _rotor(
    parent: str,
    neighbors: str,
    names: str,
    length: float = _CH,
    angle: float = _TETRAHEDRAL,
    torsions: tuple[float, ...] = _STAGGERED,
    choices: tuple[float, ...] = (),
) -> AddedSite:
    """Atoms at given torsions about the bond from the first neighbour."""
    along = -0.1 * length * cos(radians(angle))
    across = 0.1 * length * sin(radians(angle))
    blocks = tuple(
        tuple(
            (along, across * cos(radians(t + turn)), across * sin(radians(t + turn)))
            for t in torsions
        )
        for turn in (choices or (0.0,))
    )
    return AddedSite(
        parent,
        tuple(neighbors.split()),
        tuple(names.split()),
        blocks,
        tuple(radians(torsions[0] + turn) for turn in choices),
        is_rotor=True,
    )


def _threefold(
    parent: str, neighbors: str, names: str, length: float = _CH
) -> AddedSite:
    """Methyl or ammonium: staggered, or turned where there is no room for it."""
    turns = tuple(float(turn) for turn in range(0, 120, 20))
    return _rotor(parent, neighbors, names, length, choices=turns)


def _polar(
    parent: str, neighbors: str, name: str, length: float, angle: float, step: int = 30
) -> AddedSite:
    """Hydroxyl or thiol hydrogen whose torsion is chosen by its surroundings."""
    turns = tuple(float(turn) for turn in range(0, 360, step))
    return _rotor(parent, neighbors, name, length, angle, (0.0,), turns)


def _aromatic(*triples: str) -> tuple[AddedSite, ...]:
    """Ring hydrogens: "parent neighbour neighbour name" each."""
    sites = []
    for triple in triples:
        parent, first, second, name = triple.split()
        length = _NH if parent[0] == "N" else _CH_AROMATIC
        sites.append(_apex(parent, f"{first} {second}", name, length))
    return tuple(sites)


_HB = _pair("CB", "CA CG", "HB2 HB3")
_RING = _aromatic(
    "CD1 CG CE1 HD1", "CD2 CG CE2 HD2", "CE1 CD1 CZ HE1", "CE2 CD2 CZ HE2"
)
_HIS = (_HB, *_aromatic("CD2 CG NE2 HD2", "CE1 ND1 NE2 HE1"))
_HD1, _HE2 = _aromatic("ND1 CG CE1 HD1", "NE2 CD2 CE1 HE2")
_CYX = (_pair("CB", "CA SG", "HB2 HB3"),)
_SEP = (_pair("CB", "CA OG", "HB2 HB3"),)
_TPO = (
    _apex("CB", "CA OG1 CG2", "HB", _CH),
    _threefold("CG2", "CB CA", "HG21 HG22 HG23"),
)


def _phosphate(oxygen: str, neighbors: str) -> tuple[AddedSite, ...]:
    """Phosphorus and its three oxygens on a side-chain oxygen, dianion."""
    phosphorus = _rotor(
        oxygen, neighbors, "P", _O_P, _C_O_P, (0.0,), tuple(range(0, 360, 30))
    )
    before = neighbors.split()[0]
    oxygens = _rotor("P", f"{oxygen} {before}", "O1P O2P O3P", _P_O, _O_P_O)
    return phosphorus, oxygens


_SIDE_CHAIN = {
    "ALA": (_threefold("CB", "CA N", "HB1 HB2 HB3"),),
    "ARG": (
        _HB,
        _pair("CG", "CB CD", "HG2 HG3"),
        _pair("CD", "CG NE", "HD2 HD3"),
        _apex("NE", "CD CZ", "HE", _NH),
        _rotor("NH1", "CZ NE", "HH11 HH12", _NH, _TRIGONAL, (0.0, 180.0)),
        _rotor("NH2", "CZ NE", "HH21 HH22", _NH, _TRIGONAL, (0.0, 180.0)),
    ),
    "ASN": (_HB, _rotor("ND2", "CG CB", "HD21 HD22", _NH, _TRIGONAL, (180.0, 0.0))),
    "ASP": (_HB,),
    "CYS": (*_CYX, _polar("SG", "CB CA", "HG", _SH, _C_S_H)),
    "CYX": _CYX,
    "GLN": (
        _HB,
        _pair("CG", "CB CD", "HG2 HG3"),
        _rotor("NE2", "CD CG", "HE21 HE22", _NH, _TRIGONAL, (180.0, 0.0)),
    ),
    "GLU": (_HB, _pair("CG", "CB CD", "HG2 HG3")),
    "GLY": (),
    "HID": (*_HIS, _HD1),
    "HIE": (*_HIS, _HE2),
    "HIP": (*_HIS, _HD1, _HE2),
    "ILE": (
        _apex("CB", "CA CG1 CG2", "HB", _CH),
        _pair("CG1", "CB CD1", "HG12 HG13"),
        _threefold("CG2", "CB CA", "HG21 HG22 HG23"),
        _threefold("CD1", "CG1 CB", "HD11 HD12 HD13"),
    ),
    "LEU": (
        _HB,
        _apex("CG", "CB CD1 CD2", "HG", _CH),
        _threefold("CD1", "CG CB", "HD11 HD12 HD13"),
        _threefold("CD2", "CG CB", "HD21 HD22 HD23"),
    ),
    "LYS": (
        _HB,
        _pair("CG", "CB CD", "HG2 HG3"),
        _pair("CD", "CG CE", "HD2 HD3"),
        _pair("CE", "CD NZ", "HE2 HE3"),
        _threefold("NZ", "CE CD", "HZ1 HZ2 HZ3", _NH),
    ),
    "MET": (
        _HB,
        _pair("CG", "CB SD", "HG2 HG3"),
        _threefold("CE", "SD CG", "HE1 HE2 HE3"),
    ),
    "PHE": (_HB, *_RING, *_aromatic("CZ CE1 CE2 HZ")),
    "PRO": (_HB, _pair("CG", "CB CD", "HG2 HG3"), _pair("CD", "CG N", "HD2 HD3")),
    "SER": (*_SEP, _polar("OG", "CB CA", "HG", _OH, _C_O_H)),
    "THR": (*_TPO, _polar("OG1", "CB CA", "HG1", _OH, _C_O_H)),
    "TRP": (
        _HB,
        *_aromatic(
            "CD1 CG NE1 HD1",
            "NE1 CD1 CE2 HE1",
            "CE3 CD2 CZ3 HE3",
            "CZ2 CE2 CH2 HZ2",
            "CZ3 CE3 CH2 HZ3",
            "CH2 CZ2 CZ3 HH2",
        ),
    ),
    "TYR": (_HB, *_RING, _polar("OH", "CZ CE1", "HH", _OH, _CZ_O_H, step=180)),
    "VAL": (
        _apex("CB", "CA CG1 CG2", "HB", _CH),
        _threefold("CG1", "CB CA", "HG11 HG12 HG13"),
        _threefold("CG2", "CB CA", "HG21 HG22 HG23"),
    ),
    "SEP": (*_SEP, *_phosphate("OG", "CB CA")),
    "TPO": (*_TPO, *_phosphate("OG1", "CB CA")),
    "PTR": (_HB, *_RING, *_phosphate("OH", "CZ CE1")),
}


def variant_parent(variant: str) -> str:
    """Return the standard residue whose heavy-atom slots a variant uses.

    Parameters
    ----------
    variant : str
        One of the twenty names or a key of `VARIANTS`.

    Returns
    -------
    str
        One of `RESIDUE_NAMES`.

    Raises
    ------
    ValueError
        If the name is neither.
    """
    name = VARIANTS.get(variant, variant)
    if name not in RESIDUE_NAMES:
        raise ValueError(
            f"{variant!r} is neither a standard residue nor one of {sorted(VARIANTS)}"
        )
    return name


def added_sites(variant: str, *, is_first: bool = False) -> tuple[AddedSite, ...]:
    """Return the sites of all atoms that are added to the heavy-atom slots.

    Parameters
    ----------
    variant : str
        One of the twenty names or a key of `VARIANTS`; "HIS" is "HIE".
    is_first : bool
        Whether the residue begins a chain and carries NH3+ (proline: NH2+)
        instead of the amide hydrogen.

    Returns
    -------
    tuple of AddedSite
        Backbone sites first. A site whose parent is itself added (the oxygens of
        a phosphate) comes after the site of its parent.
    """
    name = variant_parent(variant)
    sites: list[AddedSite] = []
    if is_first and name == "PRO":
        sites.append(_pair("N", "CA CD", "H2 H3", _NH))
    elif is_first:
        sites.append(_threefold("N", "CA C", "H H2 H3", _NH))
    elif name != "PRO":
        sites.append(_apex("N", f"{PREVIOUS_C} CA", "H", _NH))
    if name == "GLY":
        sites.append(_pair("CA", "N C", "HA2 HA3"))
    else:
        sites.append(_apex("CA", "N C CB", "HA", _CH))
    return (*sites, *_SIDE_CHAIN["HIE" if variant == "HIS" else variant])
