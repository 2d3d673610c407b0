"""Hydrogen sites: complete, consistent with OpenMM's names and with ff14SB."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import openmm.app
import pytest

from openmm_backmap.residues.atoms import SLOT_NAMES
from openmm_backmap.residues.hydrogens import (
    PREVIOUS_C,
    VARIANTS,
    added_sites,
    variant_parent,
)
from openmm_backmap.residues.names import RESIDUE_NAMES
from openmm_backmap.residues.templates import residue_template

DATA = Path(openmm.app.__file__).parent / "data"
UNPHOSPHORYLATED = (*RESIDUE_NAMES, "HID", "HIE", "HIP", "CYX")


def openmm_hydrogens(variant: str, end: str) -> list[tuple[str, str]]:
    """(parent, name) of OpenMM's hydrogens.xml at pH 7; end is N, C or -."""
    parent = variant_parent(variant)
    root = ElementTree.parse(DATA / "hydrogens.xml")
    residue = root.find(f"Residue[@name='{parent}']")
    kept = []
    for row in residue.findall("H"):
        of = row.get("variant")
        state = {"HIS": "HIE", "CYS": "CYS", "LYS": "LYS"}.get(variant, variant)
        if of is not None and state not in of.split(","):
            continue
        if of is None and float(row.get("maxph", "inf")) < 7.0:
            continue
        if row.get("terminal") is None or end in row.get("terminal"):
            kept.append((row.get("parent"), row.get("name")))
    return kept


@pytest.mark.parametrize("variant", UNPHOSPHORYLATED)
@pytest.mark.parametrize("end", ["N", "-", "C"])
def test_names_are_those_of_openmm_in_its_order(variant: str, end: str) -> None:
    wanted = openmm_hydrogens(variant, end)
    ours = [
        (site.parent, name)
        for site in added_sites(variant, is_first=end == "N")
        for name in site.names
    ]
    assert sorted(ours) == sorted(wanted)
    for parent in {parent for parent, _ in wanted}:
        assert [n for p, n in ours if p == parent] == [
            n for p, n in wanted if p == parent
        ]


@pytest.mark.parametrize("variant", [*UNPHOSPHORYLATED, *VARIANTS])
def test_sites_hang_on_heavy_atoms_that_are_there(variant: str) -> None:
    known = set(SLOT_NAMES[RESIDUE_NAMES.index(variant_parent(variant))])
    known.add(PREVIOUS_C)
    for site in added_sites(variant):
        assert {site.parent, *site.neighbors} <= known
        known.update(site.names)


def test_first_residues_carry_no_site_of_a_residue_before() -> None:
    for variant in UNPHOSPHORYLATED:
        for site in added_sites(variant, is_first=True):
            assert PREVIOUS_C not in site.neighbors


def ff14sb_bond_lengths(residue: str) -> dict[str, float]:
    """Equilibrium length in nm of the bond of each hydrogen of a residue."""
    root = ElementTree.parse(DATA / "amber14" / "protein.ff14SB.xml")
    atoms = {
        row.get("name"): row.get("type")
        for row in root.find("Residues").find(f"Residue[@name='{residue}']")
        if row.tag == "Atom"
    }
    length = {}
    for row in root.find("HarmonicBondForce"):
        key = frozenset((row.get("type1"), row.get("type2")))
        length[key] = float(row.get("length"))
    found = {}
    for row in root.find("Residues").find(f"Residue[@name='{residue}']"):
        if row.tag == "Bond":
            pair = (row.get("atomName1"), row.get("atomName2"))
            for name in pair:
                if name[0] == "H":
                    found[name] = length[frozenset(atoms[a] for a in pair)]
    return found


@pytest.mark.parametrize(
    "residue", [n for n in UNPHOSPHORYLATED if n != "HIS"] + ["NALA", "NPRO"]
)
def test_lengths_are_the_equilibrium_lengths_of_ff14sb(residue: str) -> None:
    wanted = ff14sb_bond_lengths(residue)
    is_first = residue[1:] in RESIDUE_NAMES
    variant = residue[1:] if is_first else residue
    # terminal N: OpenMM's hydrogens.xml says H, ff14SB says H1
    rename = {"H": "H1"} if is_first else {}
    checked = 0
    for site in added_sites(variant, is_first=is_first):
        for block in site.offsets:
            for name, offset in zip(site.names, block, strict=True):
                length = float(np.linalg.norm(offset))
                assert length == pytest.approx(wanted[rename.get(name, name)], abs=1e-6)
                checked += 1
    assert checked >= len(wanted)


@pytest.mark.parametrize("variant", UNPHOSPHORYLATED)
def test_methylene_hydrogens_are_numbered_clockwise(variant: str) -> None:
    """IUPAC-IUB 1970: from the first neighbour: second neighbour, H2, H3."""
    for site in added_sites(variant):
        if site.is_rotor or len(site.names) != 2:
            continue
        first = np.array([0.0, 0.0, -1.0])  # viewer's side of the parent
        second = np.array([np.sin(1.9), 0.0, -np.cos(1.9)])
        away = -(first + second) / np.linalg.norm(first + second)
        across = np.cross(first, second) / np.linalg.norm(np.cross(first, second))
        for offset, turn in zip(site.offsets[0], (120.0, -120.0), strict=True):
            h = offset[0] * away + offset[1] * across
            # torsion second-first-parent axis-h, looking along +z
            torsion = np.degrees(np.arctan2(h[1], h[0]))
            assert torsion == pytest.approx(turn, abs=8.0)


def test_a_phosphate_takes_the_place_of_the_hydroxyl_hydrogen() -> None:
    for variant, oxygen, hydrogen in (
        ("SEP", "OG", "HG"), ("TPO", "OG1", "HG1"), ("PTR", "OH", "HH"),
    ):  # fmt: skip
        template = residue_template(variant, False, False, True)
        assert hydrogen not in template.atom_names
        assert template.name == variant
        pairs = {
            frozenset(template.atom_names[k] for k in bond) for bond in template.bonds
        }
        assert {frozenset((oxygen, "P")), frozenset(("P", "O3P"))} <= pairs


def test_unknown_variants_are_refused() -> None:
    with pytest.raises(ValueError, match="HIX"):
        added_sites("HIX")
