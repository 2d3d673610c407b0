"""Residue templates: every atom and bond of a residue, in OpenMM's order."""

from dataclasses import dataclass
from functools import lru_cache

from openmm_backmap.residues.atoms import BONDS, SLOT_NAMES
from openmm_backmap.residues.hydrogens import AddedSite, added_sites, variant_parent
from openmm_backmap.residues.names import PHOSPHORYLATED, RESIDUE_NAMES

__all__ = ["OXT", "ResidueTemplate", "residue_template"]

OXT = "OXT"
"""Name of the second terminal oxygen."""


@dataclass(frozen=True)
class ResidueTemplate:
    """Atoms and bonds of one residue variant at one place in a chain.

    Parameters
    ----------
    name : str
        Residue name in the output ("HIS" for HID, HIE and HIP; "CYS" for CYX).
    atom_names : tuple of str
        Names in output order: heavy atoms in slot order, each followed by its
        hydrogens; a phosphate after the side chain, OXT last.
    elements : tuple of str
        Element symbols.
    slots : tuple of int
        Atom14 slot of each atom, -1 if it has none.
    bonds : tuple of tuple of int
        Pairs of indices into `atom_names`, inside the residue.
    sites : tuple of AddedSite
        Geometry of the atoms without a slot (OXT excepted).
    """

    name: str
    atom_names: tuple[str, ...]
    elements: tuple[str, ...]
    slots: tuple[int, ...]
    bonds: tuple[tuple[int, int], ...]
    sites: tuple[AddedSite, ...]

    def index(self, atom_name: str) -> int:
        """Index of an atom in `atom_names`, -1 if it is not there."""
        names = self.atom_names
        return names.index(atom_name) if atom_name in names else -1


@lru_cache(maxsize=512)
def residue_template(
    variant: str, is_first: bool, is_last: bool, has_hydrogens: bool
) -> ResidueTemplate:
    """Return the template of a residue.

    Parameters
    ----------
    variant : str
        One of the twenty names or of `residues.hydrogens.VARIANTS`.
    is_first : bool
        Whether it begins a chain.
    is_last : bool
        Whether it ends a chain and carries OXT.
    has_hydrogens : bool
        Whether hydrogens belong to it.

    Returns
    -------
    ResidueTemplate
        The same object for the same arguments.
    """
    parent = variant_parent(variant)
    residue_type = RESIDUE_NAMES.index(parent)
    sites = tuple(
        site
        for site in added_sites(variant, is_first=is_first)
        if has_hydrogens or site.element != "H"
    )
    children: dict[str, tuple[str, ...]] = {site.parent: site.names for site in sites}
    names: list[str] = []
    phosphate: list[str] = []
    for atom in SLOT_NAMES[residue_type]:
        names.append(atom)
        added = children.get(atom, ())
        if added and added[0] == "P":
            phosphate.extend(("P", *children["P"]))
        else:
            names.extend(added)
    names.extend(phosphate)
    bonds = list(BONDS[residue_type])
    if is_last:
        names.append(OXT)
        bonds.append(("C", OXT))
    bonds.extend((site.parent, name) for site in sites for name in site.names)
    place = {name: k for k, name in enumerate(names)}
    slot = {name: k for k, name in enumerate(SLOT_NAMES[residue_type])}
    return ResidueTemplate(
        name=variant if variant in PHOSPHORYLATED else parent,
        atom_names=tuple(names),
        elements=tuple(name[0] for name in names),
        slots=tuple(slot.get(name, -1) for name in names),
        bonds=tuple((place[first], place[second]) for first, second in bonds),
        sites=sites,
    )
