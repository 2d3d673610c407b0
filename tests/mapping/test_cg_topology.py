"""CGTopology: real runs, mixed systems, sequences, refusals."""

import time
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmm_backmap.errors import TopologyError, TrajectoryError
from openmm_backmap.mapping.cg_mapping import CGBead, CGMapping
from openmm_backmap.mapping.cg_topology import CGTopology

# name of the case, its topology, residues, segments, first residues
CASES = [
    ("calvados2_A1SLCD", "top.pdb", 131, 1, "GSMASASSSQ"),
    ("calvados2_slab20_A1LCD", "top.pdb", 2740, 20, "GSMASASSSQ"),
    ("calvados3_hnRNPA1S", "top.pdb", 314, 1, "MSKSESPKEP"),
    ("openabc_hps20", "start.pdb", 2320, 20, "MGDEDWEAEI"),
    ("openabc_moff_hp1a_dimer", "start.pdb", 382, 2, "MGKKTKRTAD"),
    ("openawsem_1r69", "final_openmm.pdb", 63, 1, "SISSRVKSKR"),
    ("opensmog_CI2_CA", "final_openmm.pdb", 65, 1, "NLKTEWPELV"),
]


def _folder(shared: Path, name: str) -> Path:
    folder = shared / "cases" / name
    if not folder.is_dir():
        pytest.skip(f"no case {name}")
    return folder


@pytest.mark.parametrize(
    ("name", "file", "n_residues", "n_chains", "start"),
    CASES,
    ids=[c[0] for c in CASES],
)
def test_real_runs_have_the_right_chains_from_any_clue(
    shared: Path, name: str, file: str, n_residues: int, n_chains: int, start: str
) -> None:
    folder = _folder(shared, name)
    pdb = app.PDBFile(str(folder / file))
    sequence = next(folder.glob("*.fasta"), None)
    clues = [{}, {"positions": pdb.positions}]
    for xml in folder.glob("*.xml"):
        system = openmm.XmlSerializer.deserialize(xml.read_text())
        clues += [{"system": system}, {"system": system, "positions": pdb.positions}]
    for topology in (pdb.topology, mdtraj.Topology.from_openmm(pdb.topology)):
        for clue in clues:
            found = CGTopology.from_openmm(topology, sequence=sequence, **clue)
            assert found.n_residues == n_residues
            lengths = np.bincount(found.chain_index)
            assert len(lengths) == found.n_chains == n_chains
            assert np.all(lengths == n_residues // n_chains)
            assert all(found.sequence(k).startswith(start) for k in range(n_chains))
            assert found.n_beads == pdb.topology.getNumAtoms()
            assert found.bead_index.shape == (n_residues, 1)
            names = [atom.name for atom in pdb.topology.atoms()]
            assert {names[k] for k in found.bead_index[:, 0]} == {"CA"}


def test_rna_alone_is_refused_by_name(shared: Path) -> None:
    pdb = app.PDBFile(str(_folder(shared, "calvados2_polyR30_RNA") / "top.pdb"))
    with pytest.raises(TopologyError, match="RNA r x30"):
        CGTopology.from_openmm(pdb.topology)


def test_awsem_needs_its_sequence_and_then_gives_three_beads(shared: Path) -> None:
    folder = _folder(shared, "openawsem_1r69")
    pdb = app.PDBFile(str(folder / "final_openmm.pdb"))
    with pytest.raises(TopologyError, match="--sequence FASTA"):
        CGTopology.from_openmm(pdb.topology)
    with pytest.raises(TopologyError, match="glycine"):
        CGTopology.from_openmm(pdb.topology, sequence="A" * 63)
    found = CGTopology.from_openmm(
        pdb.topology, mapping="awsem", sequence=folder / "1r69.fasta"
    )
    names = [atom.name for atom in pdb.topology.atoms()]
    for slot, name in enumerate(("CA", "CB", "O")):
        present = found.bead_index[:, slot][found.bead_index[:, slot] >= 0]
        assert {names[k] for k in present} == {name}
    is_glycine = np.array([letter == "G" for letter in found.sequence(0)])
    assert np.array_equal(found.bead_index[:, 1] == -1, is_glycine)
    positions = np.array(pdb.positions.value_in_unit(unit.nanometer))[None]
    beads = found.bead_positions(positions)
    assert beads.shape == (1, 63, 3, 3)
    assert beads.dtype == np.float32
    # CA-CB of the run itself; zeros where there is no bead
    bond = np.linalg.norm(beads[0, :, 1] - beads[0, :, 0], axis=-1)
    assert np.allclose(bond[~is_glycine], 0.153, atol=0.03)  # thermal
    assert np.all(beads[0, is_glycine, 1] == 0.0)


def _mixed() -> app.Topology:
    topology = app.Topology()
    carbon = app.Element.getBySymbol("C")
    plan = [
        ("A", [("MSE", "CA"), ("SEP", "CA"), ("HSD", "CA"), ("CYX", "CA")]),
        ("R", [("r", "rP"), ("r", "rN")]),
        ("W", [("HOH", "O"), ("CA", "CA"), ("NA", "NA"), ("POPC", "PO4")]),
        ("B", [("GLY", "CA"), ("TYR", "CA")]),
    ]
    for chain_id, residues in plan:
        chain = topology.addChain(chain_id)
        for number, (name, atom) in enumerate(residues):
            residue = topology.addResidue(name, chain, str(number + 1))
            topology.addAtom(atom, carbon, residue)
    return topology


def test_what_is_not_protein_is_left_out_by_name() -> None:
    found = CGTopology.from_openmm(_mixed())
    assert found.sequence(0) == "MSHC"
    assert found.sequence(1) == "GY"
    assert found.chain_id == ("A", "B")
    assert found.residue_name == ("MSE", "SEP", "HSD", "CYX", "GLY", "TYR")
    assert found.bead_index[:, 0].tolist() == [0, 1, 2, 3, 10, 11]
    assert found.n_beads == 12
    assert found.skipped_summary == (
        "left out, not protein: RNA r x2, water HOH x1, ion CA x1, ion NA x1, "
        "lipid POPC x1"
    )
    with pytest.raises(TopologyError, match="strict"):
        CGTopology.from_openmm(_mixed(), strict=True)


def test_a_sequence_overrides_names_and_keeps_those_that_fit() -> None:
    found = CGTopology.from_openmm(_mixed(), sequence=["MSAC", "GF"])
    assert found.sequence(0) == "MSAC"
    assert found.residue_name == ("MSE", "SEP", "ALA", "CYX", "GLY", "PHE")
    again = CGTopology.from_openmm(_mixed()).with_sequence("MSAC:GF")
    assert again.hash == found.hash
    assert again.hash != CGTopology.from_openmm(_mixed()).hash
    with pytest.raises(TopologyError, match="5 residues"):
        CGTopology.from_openmm(_mixed(), sequence="MSACG")


def _one_residue(name: str, atoms: list[str]) -> app.Topology:
    topology = app.Topology()
    residue = topology.addResidue(name, topology.addChain("A"), "7")
    for atom in atoms:
        topology.addAtom(atom, app.Element.getBySymbol("C"), residue)
    return topology


@pytest.mark.parametrize(
    ("name", "atoms", "mapping", "message"),
    [
        ("ALA", ["BB", "SC1"], "ca", "ALA 7 of chain 'A' has no bead 'CA'.*BB, SC1"),
        ("ALA", ["B"], "ca", "it has B.*name that particle CA"),
        ("ALA", ["CA", "O"], "awsem", "ALA 7 of chain 'A' has no bead 'CB'"),
        ("UNK", ["CA"], "ca", "UNK 7 of chain 'A' is not one of the twenty"),
        ("ALA", ["CA", "CA"], "ca", "2 beads named 'CA'"),
        ("ALA", ["N", "CA", "C", "O", "CB"], "com", "all-atom.*coarsen"),
    ],
)
def test_a_bead_problem_names_the_residue(
    name: str, atoms: list[str], mapping: str, message: str
) -> None:
    with pytest.raises(TopologyError, match=message):
        CGTopology.from_openmm(_one_residue(name, atoms), mapping=mapping)


def test_a_mapping_of_the_user_finds_its_beads() -> None:
    mapping = CGMapping(
        "martini",
        (
            CGBead("BB", atoms=("N", "CA", "C", "O"), center="mass"),
            CGBead("SC1", atoms=("CB",), absent_in=("GLY", "ALA")),
        ),
    )
    found = CGTopology.from_openmm(_one_residue("SER", ["BB", "SC1"]), mapping=mapping)
    assert found.bead_index.tolist() == [[0, 1]]


def test_other_objects_are_refused_with_what_is_wanted() -> None:
    with pytest.raises(TopologyError, match="got a dict"):
        CGTopology.from_openmm({})
    with pytest.raises(TopologyError, match="topology is empty"):
        CGTopology.from_openmm(app.Topology())


def test_wrong_particle_counts_are_named() -> None:
    found = CGTopology.from_sequence("GSM")
    with pytest.raises(TrajectoryError, match=r"\(frames, 3, 3\)"):
        found.bead_positions(np.zeros((2, 4, 3)))
    with pytest.raises(TopologyError, match="positions have shape"):
        CGTopology.from_openmm(_mixed(), positions=np.zeros((3, 3)))
    with pytest.raises(TopologyError, match="System has 0 particles"):
        CGTopology.from_openmm(_mixed(), system=openmm.System())


def test_a_sequence_alone_makes_a_topology() -> None:
    found = CGTopology.from_sequence("GSM:AG", mapping="awsem")
    assert found.chain_id == ("A", "B")
    assert found.residue_id == ("1", "2", "3", "1", "2")
    assert found.chain_index.tolist() == [0, 0, 0, 1, 1]
    assert found.bead_index.tolist() == [
        [0, -1, 1], [2, 3, 4], [5, 6, 7], [8, 9, 10], [11, -1, 12],
    ]  # fmt: skip
    assert found.n_beads == 13


def test_ten_thousand_residues_take_less_than_two_seconds() -> None:
    topology = app.Topology()
    carbon = app.Element.getBySymbol("C")
    for _ in range(100):
        chain = topology.addChain("A")
        for k in range(100):
            residue = topology.addResidue("ALA", chain, str(k + 1))
            topology.addAtom("CA", carbon, residue)
    start = time.process_time()
    assert CGTopology.from_openmm(topology).n_chains == 100
    assert time.process_time() - start < 2.0
