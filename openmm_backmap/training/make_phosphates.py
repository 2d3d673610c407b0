"""Write data/phosphates.xml: phosaa14SB for use with OpenMM's own ff14SB.

OpenMM ships no Amber parameters of phosphorylated residues. This script takes
`phosaa14SB.xml` of the package openmmforcefields (MIT licence; made from
AmberTools 24.8), keeps the dianions SEP, TPO and PTR, and names the types as
`amber14/protein.ff14SB.xml` does. Residues at chain ends are not published:
they take the backbone of SER, THR or TYR at that end, and the rest of the
charge goes to CA.

    python -m openmm_backmap.training.make_phosphates path/to/phosaa14SB.xml
"""

import argparse
import copy
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import openmm.app

from openmm_backmap.residues.names import PHOSPHORYLATED

__all__ = ["make_phosphates"]

_DATA = Path(__file__).parents[1] / "data"
_PROTEIN = Path(openmm.app.__file__).parent / "data" / "amber14" / "protein.ff14SB.xml"
_NEW_CLASSES = ("OX", "OZ", "OT", "OV", "CG")
_DROPPED_CLASSES = {"OP", "OQ", "OR", "NA"}  # monoanions and phosphohistidine
# parm10.dat: P of nucleic acids, R* = 2.1000 angstrom, epsilon = 0.2 kcal/mol
_PHOSPHORUS = {"class": "P", "sigma": "0.3741774616189719", "epsilon": "0.8368"}
_BACKBONE = {"N", "H", "H1", "H2", "H3", "C", "O", "OXT"}
_DIANION = -2.0
_NOTE = """
 Parameters of phosphoserine, phosphothreonine and phosphotyrosine (dianions) for
 OpenMM's amber14/protein.ff14SB.xml, written by training/make_phosphates.py from
 ffxml/amber/phosaa14SB.xml of openmmforcefields 0.15.1: MIT licence, Copyright (c)
 2016-2019 Chodera lab, Memorial Sloan Kettering Cancer Center; Pande group,
 Stanford University. Source: leaprc.phosaa14SB of AmberTools 24.8.
 Raguette et al., J. Chem. Theory Comput. 20, 7199 (2024).
 Chain ends (NSEP, CSEP, ...) are interpolated, good for minimization only.
"""


def make_phosphates(source: Path, protein: Path = _PROTEIN) -> ElementTree.ElementTree:
    """Make the force field file.

    Parameters
    ----------
    source : Path
        phosaa14SB.xml of openmmforcefields.
    protein : Path
        protein.ff14SB.xml of OpenMM.

    Returns
    -------
    xml.etree.ElementTree.ElementTree
        A force field to be loaded after protein.ff14SB.xml.
    """
    came = ElementTree.parse(source).getroot()
    standard = ElementTree.parse(protein).getroot().find("Residues")
    root = ElementTree.Element("ForceField")
    root.append(ElementTree.Comment(_NOTE))
    types = ElementTree.SubElement(root, "AtomTypes")
    for row in came.find("AtomTypes"):
        if row.get("class") in _NEW_CLASSES:
            row.set("name", f"phosphate-{row.get('class')}")
            types.append(row)
    phosphorus = {"name": "phosphate-P", "class": "P", "element": "P", "mass": "30.97"}
    ElementTree.SubElement(types, "Type", phosphorus)
    residues = ElementTree.SubElement(root, "Residues")
    for residue in came.find("Residues"):
        parent = PHOSPHORYLATED.get(residue.get("name"))
        if parent is None:
            continue
        for atom in residue.findall("Atom"):
            is_new = atom.get("type") in (*_NEW_CLASSES, "P")
            prefix = "phosphate" if is_new else "protein"
            atom.set("type", f"{prefix}-{atom.get('type')}")
        residues.append(residue)
        for end in "NC":
            terminal = standard.find(f"Residue[@name='{end}{parent}']")
            residues.append(_terminal_residue(residue, terminal))
    for name in ("HarmonicBondForce", "HarmonicAngleForce", "PeriodicTorsionForce"):
        force = came.find(name)
        kept = ElementTree.SubElement(root, name, force.attrib)
        kept.extend(row for row in force if not _is_dropped(row))
    nonbonded = came.find("NonbondedForce")
    kept = ElementTree.SubElement(root, "NonbondedForce", nonbonded.attrib)
    ElementTree.SubElement(kept, "UseAttributeFromResidue", {"name": "charge"})
    kept.extend(
        row for row in nonbonded.findall("Atom") if row.get("class") in _NEW_CLASSES
    )
    ElementTree.SubElement(kept, "Atom", _PHOSPHORUS)
    ElementTree.indent(root, " ")
    return ElementTree.ElementTree(root)


def _is_dropped(row: ElementTree.Element) -> bool:
    classes = {value for key, value in row.attrib.items() if key.startswith("class")}
    return bool(classes & _DROPPED_CLASSES)


def _terminal_residue(
    residue: ElementTree.Element, terminal: ElementTree.Element
) -> ElementTree.Element:
    """Side chain of one residue on the charged backbone end of another."""
    made = ElementTree.Element(
        "Residue", {"name": terminal.get("name")[0] + residue.get("name")}
    )
    side = [a for a in residue.findall("Atom") if a.get("name") not in _BACKBONE]
    back = [a for a in terminal.findall("Atom") if a.get("name") in _BACKBONE]
    atoms = [copy.deepcopy(atom) for atom in (*back, *side)]
    names = {atom.get("name") for atom in atoms}
    made.extend(atoms)
    end_charge = 1.0 if "H3" in names else -1.0
    excess = sum(float(atom.get("charge")) for atom in atoms) - _DIANION - end_charge
    for atom in atoms:
        if atom.get("name") == "CA":
            atom.set("charge", f"{float(atom.get('charge')) - excess:.6f}")
    bonds = set()
    for row in (*residue.findall("Bond"), *terminal.findall("Bond")):
        pair = tuple(sorted((row.get("atomName1"), row.get("atomName2"))))
        if set(pair) <= names and pair not in bonds:
            bonds.add(pair)
            first, second = pair
            ElementTree.SubElement(
                made, "Bond", {"atomName1": first, "atomName2": second}
            )
    inward = "C" if "H3" in names else "N"
    ElementTree.SubElement(made, "ExternalBond", {"atomName": inward})
    return made


def main() -> None:
    """Read the source named on the command line and write the data file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path, help="phosaa14SB.xml of openmmforcefields")
    tree = make_phosphates(parser.parse_args().source)
    tree.write(_DATA / "phosphates.xml", encoding="unicode")


if __name__ == "__main__":
    main()
