"""AtomTopology: what OpenMM would make, with the ids of the input."""

import io
import time
from dataclasses import replace

import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmm_backmap.errors import TopologyError
from openmm_backmap.mapping.atom_topology import AtomTopology, unique_chain_ids
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.residues.atoms import SLOT_NAMES
from openmm_backmap.residues.names import CODES, residue_type_of

FORCE_FIELD = app.ForceField("amber14-all.xml")


def test_ff14sb_takes_the_topology_of_every_residue_as_it_is() -> None:
    """All twenty, first, inside and last; net charge as at pH 7."""
    cg = CGTopology.from_sequence([code * 3 for code in CODES])
    atoms = AtomTopology.from_cg_topology(cg)
    system = FORCE_FIELD.createSystem(atoms.topology)
    assert system.getNumParticles() == atoms.n_atoms
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charge = [
        force.getParticleParameters(k)[0].value_in_unit(unit.elementary_charge)
        for k in range(atoms.n_atoms)
    ]
    wanted = {"R": 3.0, "K": 3.0, "D": -3.0, "E": -3.0}
    for c, code in enumerate(CODES):
        start, end = atoms.first_atom[3 * c], atoms.first_atom[3 * c + 3]
        assert sum(charge[start:end]) == pytest.approx(wanted.get(code, 0), abs=1e-3)


def test_slots_point_at_atoms_of_their_name() -> None:
    cg = CGTopology.from_sequence([CODES, "GA"])
    for hydrogens in (True, False):
        atoms = AtomTopology.from_cg_topology(cg, hydrogens=hydrogens)
        listed = list(atoms.topology.atoms())
        assert atoms.n_atoms == len(listed)
        assert any(a.element.symbol == "H" for a in listed) == hydrogens
        for r, residue in enumerate(atoms.topology.residues()):
            names = SLOT_NAMES[cg.residue_type[r]]
            for slot, atom in enumerate(atoms.slot_atom[r]):
                if slot < len(names):
                    assert listed[atom].name == names[slot]
                    assert listed[atom].residue is residue
                else:
                    assert atom == -1
        assert [listed[k].name for k in atoms.oxt_atom] == ["OXT", "OXT"]
        assert [listed[k].residue.index for k in atoms.oxt_atom] == [19, 21]


def test_every_chain_is_one_molecule_and_rings_are_closed() -> None:
    cg = CGTopology.from_sequence([CODES, "GA"])
    atoms = AtomTopology.from_cg_topology(cg)
    n_rings = 1 + 2 + 1 + 1 + 1  # HIS TRP PHE TYR PRO
    assert atoms.topology.getNumBonds() == atoms.n_atoms - atoms.n_chains + n_rings
    system = FORCE_FIELD.createSystem(atoms.topology)
    context = openmm.Context(
        system,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    assert len(context.getMolecules()) == 2


def test_residue_ids_are_kept_and_chain_ids_made_unique() -> None:
    cg = CGTopology.from_sequence(["GAG", "AGA", "GG"])
    cg = replace(
        cg,
        residue_id=("5", "6", "9", "1", "2", "3", "101", "102"),
        chain_id=("X", "X", "B"),
    )
    topology = AtomTopology.from_cg_topology(cg).topology
    assert [r.id for r in topology.residues()] == list(cg.residue_id)
    assert [c.id for c in topology.chains()] == ["X", "A", "B"]


def test_insertion_codes_are_told_from_numbers() -> None:
    cg = replace(
        CGTopology.from_sequence("GAGA"), residue_id=("52", "52A", "52B", "x9")
    )
    topology = AtomTopology.from_cg_topology(cg).topology
    found = [(r.id, r.insertionCode.strip()) for r in topology.residues()]
    assert found == [("52", ""), ("52", "A"), ("52", "B"), ("x9", "")]
    # as OpenMM writes and reads it
    file = io.StringIO()
    app.PDBFile.writeFile(topology, np.zeros((topology.getNumAtoms(), 3)), file, True)
    file.seek(0)
    again = [(r.id, r.insertionCode) for r in app.PDBFile(file).topology.residues()]
    assert again[:3] == [("52", " "), ("52", "A"), ("52", "B")]


def test_chain_ids_that_no_file_could_hold_are_changed() -> None:
    ids = unique_chain_ids(["protein A", "#1", "_x", "é", "protein_A", "A"])
    assert ids == ("protein_A", "1", "x", "B", "C", "A")


def test_many_copies_of_one_chain_get_letters_then_pairs() -> None:
    ids = unique_chain_ids(["A"] * 100)
    assert len(set(ids)) == 100
    assert ids[:3] == ("A", "B", "C")
    assert all(len(name) == 1 for name in ids[:62])
    assert ids[62:65] == ("AA", "AB", "AC")
    assert unique_chain_ids(["", " ", "A"]) == ("B", "C", "A")
    assert unique_chain_ids(["PROA", "1"]) == ("PROA", "1")


def test_a_disulfide_is_bonded_and_loses_its_hydrogens() -> None:
    cg = CGTopology.from_sequence(["GCGC", "C"])
    free = AtomTopology.from_cg_topology(cg)
    bonded = AtomTopology.from_cg_topology(cg, disulfides=[(3, 1)])
    assert bonded.n_atoms == free.n_atoms - 2
    assert bonded.topology.getNumBonds() == free.topology.getNumBonds() - 2 + 1
    assert bonded.variant == ("GLY", "CYX", "GLY", "CYX", "CYS")
    assert {r.name for r in bonded.topology.residues()} == {"GLY", "CYS"}
    for wrong in ([(0, 1)], [(1, 9)], [(1, 1)], [(1, 3), (3, 4)]):
        with pytest.raises(TopologyError, match="disulfide"):
            AtomTopology.from_cg_topology(cg, disulfides=wrong)


def test_histidines_take_the_state_of_their_name_then_of_the_caller() -> None:
    cg = CGTopology.from_sequence("GHHHHG")
    names = ("GLY", "HIS", "HSD", "HIP", "HIS", "GLY")
    cg = replace(cg, residue_name=names)
    default = AtomTopology.from_cg_topology(cg)
    assert default.variant[1:5] == ("HIE", "HID", "HIP", "HIE")
    chosen = AtomTopology.from_cg_topology(cg, histidine={4: "HIP"})
    assert chosen.variant[1:5] == ("HIE", "HID", "HIP", "HIP")
    assert AtomTopology.from_cg_topology(cg, histidine="HID").variant[1] == "HID"
    assert [r.name for r in default.topology.residues()][1:5] == ["HIS"] * 4
    FORCE_FIELD.createSystem(chosen.topology)
    with pytest.raises(TopologyError, match="HIS"):
        AtomTopology.from_cg_topology(cg, histidine="HIS")


def test_phosphorylated_residues_keep_name_and_phosphate() -> None:
    cg = CGTopology.from_sequence("GSTYG")
    cg = replace(cg, residue_name=("GLY", "SEP", "TPO", "PTR", "GLY"))
    atoms = AtomTopology.from_cg_topology(cg)
    assert [r.name for r in atoms.topology.residues()] == list(cg.residue_name)
    assert sum(a.element.symbol == "P" for a in atoms.topology.atoms()) == 3
    plain = AtomTopology.from_cg_topology(cg, phosphates=False)
    assert atoms.n_atoms == plain.n_atoms + 3 * (4 - 1)


def test_a_box_is_set_on_a_copy() -> None:
    atoms = AtomTopology.from_cg_topology(CGTopology.from_sequence("GAG"))
    boxed = atoms.with_box(np.diag([3.0, 4.0, 5.0]).astype(np.float32))
    vectors = boxed.topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer)
    assert np.array(vectors) == pytest.approx(np.diag([3.0, 4.0, 5.0]))
    assert atoms.topology.getPeriodicBoxVectors() is None
    assert boxed.with_box(None).topology.getPeriodicBoxVectors() is None
    assert boxed.n_atoms == boxed.topology.getNumAtoms() == atoms.n_atoms


def test_ten_thousand_residues_take_seconds(rng: np.random.Generator) -> None:
    letters = "".join(CODES[k] for k in rng.integers(0, 20, 100))
    cg = CGTopology.from_sequence([letters] * 100)
    start = time.process_time()
    atoms = AtomTopology.from_cg_topology(cg)
    assert atoms.n_residues == 10_000
    assert time.process_time() - start < 6.0  # 0.8 s alone; the machine is shared


def test_a_histidine_that_is_none_is_refused() -> None:
    cg = CGTopology.from_sequence("AHA")
    with pytest.raises(TopologyError, match=r"residue 2 is no histidine.*of \[1\]"):
        AtomTopology.from_cg_topology(cg, histidine={2: "HIP"})


def test_histidines_at_chain_ends_keep_their_amber_names() -> None:
    cg = replace(
        CGTopology.from_sequence("HACH"), residue_name=("NHIP", "ALA", "CYX", "CHID")
    )
    assert AtomTopology.from_cg_topology(cg).variant == ("HIP", "ALA", "CYS", "HID")
    types = [residue_type_of(name) for name in cg.residue_name]
    assert types == cg.residue_type.tolist()


def test_auto_is_not_for_a_topology_alone() -> None:
    cg = CGTopology.from_sequence("CAC")
    with pytest.raises(TopologyError, match="from_topology and BackmapReporter know"):
        AtomTopology.from_cg_topology(cg, disulfides="auto")
