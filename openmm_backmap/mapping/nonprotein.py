"""Names of residues that are not protein, and what they are."""

from collections import Counter
from collections.abc import Iterable

__all__ = ["classify_non_protein", "summarize_skipped"]

_NAMES = {
    "water": "HOH WAT SOL TIP3 TIP3P TIP4 TIP5 TP3 TP4 T3P T4P H2O DOD SPC SPCE "
    "W WF PW",
    "ion": "NA CL K MG CA ZN LI RB CS BR MN FE FE2 CU CU1 NI CO CD BA SR F I IOD "
    "NA+ CL- K+ MG2+ CA2+ ZN2+ SOD CLA POT CES CAL MG2 ZN2 LIT RUB BAR CAD ION SO4 PO4",
    "cap": "ACE NME NMA NH2 NHE FOR NAC CT3 CT2 NT2",
    "RNA": "R A C G U I RA RC RG RU ADE GUA CYT URA PSU "
    "A3 A5 C3 C5 G3 G5 U3 U5 RA3 RA5 RC3 RC5 RG3 RG5 RU3 RU5 AMP GMP CMP UMP",
    "DNA": "D DA DC DG DT DI DU THY DA3 DA5 DC3 DC5 DG3 DG5 DT3 DT5",
    "lipid": "POPC POPE POPG POPS POPA POPI DPPC DPPE DPPG DOPC DOPE DOPG DOPS DLPC "
    "DLPE DMPC DMPG DSPC DPSM PSM CHOL CHL1 CLR CHL OLE PALM PA PC PE PS PGR OL ST "
    "MY LAL CDL CDL2 PIP2 SAPI LIP",
}  # fmt: skip

_KIND = {name: kind for kind, names in _NAMES.items() for name in names.split()}


def classify_non_protein(name: str) -> str | None:
    """Return what a residue name stands for, where it is not protein.

    Parameters
    ----------
    name : str
        Residue name, any case. CALVADOS calls RNA nucleotides "r".

    Returns
    -------
    str or None
        "water", "ion", "cap", "RNA", "DNA" or "lipid"; None if not known.
    """
    return _KIND.get(name.strip().upper())


def summarize_skipped(names: Iterable[str]) -> tuple[str, ...]:
    """Count residues that were left out, by kind and name.

    Parameters
    ----------
    names : iterable of str
        Residue names, one for each residue left out.

    Returns
    -------
    tuple of str
        One entry a name, such as "RNA r x30".
    """
    counts = Counter(names)
    return tuple(
        f"{classify_non_protein(name) or 'unknown'} {name} x{count}"
        for name, count in counts.items()
    )
