"""Residue names: the twenty types, their codes and the aliases users have."""

from openmm_backmap.errors import TopologyError

__all__ = [
    "ALIASES",
    "CODES",
    "N_TYPES",
    "ONE_TO_THREE",
    "PHOSPHORYLATED",
    "RESIDUE_NAMES",
    "THREE_TO_ONE",
    "is_protein_residue",
    "residue_type_of",
]

CODES = "ARNDCQEGHILKMFPSTWYV"
"""One-letter codes; the index in this string is the residue type."""

RESIDUE_NAMES = (
    "ALA", "ARG", "ASN", "ASP", "CYS", "GLN", "GLU", "GLY", "HIS", "ILE",
    "LEU", "LYS", "MET", "PHE", "PRO", "SER", "THR", "TRP", "TYR", "VAL",
)  # fmt: skip
"""Three-letter names in the order of `CODES`."""

N_TYPES = len(RESIDUE_NAMES)

ONE_TO_THREE = dict(zip(CODES, RESIDUE_NAMES, strict=True))
THREE_TO_ONE = dict(zip(RESIDUE_NAMES, CODES, strict=True))

PHOSPHORYLATED = {"SEP": "SER", "TPO": "THR", "PTR": "TYR"}
"""Phosphorylated residues (wwPDB component ids) and their parents."""

ALIASES = {
    # selenium and oxidised forms
    "MSE": "MET", "FME": "MET", "SEC": "CYS", "CSO": "CYS", "CME": "CYS",
    # protonation states of Amber, CHARMM and GROMACS
    "HID": "HIS", "HIE": "HIS", "HIP": "HIS", "HSD": "HIS", "HSE": "HIS",
    "HSP": "HIS", "HISD": "HIS", "HISE": "HIS", "HISH": "HIS", "HIS1": "HIS",
    "HIS2": "HIS", "ASH": "ASP", "ASPP": "ASP", "GLH": "GLU", "GLUP": "GLU",
    "LYN": "LYS", "LSN": "LYS", "ARN": "ARG", "TYM": "TYR", "CYM": "CYS",
    # disulfides
    "CYX": "CYS", "CYS2": "CYS", "CYSH": "CYS",
    # other
    "HYP": "PRO", "MLY": "LYS", "M3L": "LYS",
    **PHOSPHORYLATED, "S1P": "SER", "T1P": "THR", "Y1P": "TYR",
    "SP2": "SER", "THP": "THR", "TP2": "TYR",
}  # fmt: skip
"""Names met in topologies and the standard residue each is built as."""

# N- and C-terminal Amber names carry a prefix, C-terminal SMOG names a T behind.
_TYPE = {name: k for k, name in enumerate(RESIDUE_NAMES)}
_TYPE.update({alias: _TYPE[name] for alias, name in ALIASES.items()})
_TYPE.update(
    {
        f"{end}{name}": _TYPE[name]
        for end in "NC"
        for name in (*RESIDUE_NAMES, "HID", "HIE", "HIP", "CYX")
    }
)
_TYPE.update({f"{name}T": k for k, name in enumerate(RESIDUE_NAMES)})


def is_protein_residue(name: str) -> bool:
    """Whether a residue name is an amino acid this package can build.

    Parameters
    ----------
    name : str
        Three-letter name or alias, any case.

    Returns
    -------
    bool
        True for the twenty standard residues and their `ALIASES`.
    """
    return name.strip().upper() in _TYPE


def residue_type_of(name: str) -> int:
    """Return the residue type (index into `CODES`) of a residue name.

    Parameters
    ----------
    name : str
        Three-letter name, alias, or one-letter code.

    Returns
    -------
    int
        0 to 19.

    Raises
    ------
    TopologyError
        If the name is not known.
    """
    key = name.strip().upper()
    if key in _TYPE:
        return _TYPE[key]
    if len(key) == 1 and key in CODES:
        return CODES.index(key)
    raise TopologyError(
        f"residue name {name!r} is not one of the twenty amino acids or a known "
        "alias of one: rename it in the topology, or give the sequence "
        "(sequence=... or --sequence FASTA)"
    )
