"""CA here and centres of mass there, in one chain."""

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openmm
import pytest
from openmm import app

from openmm_backmap.artifact import list_mappings
from openmm_backmap.backmapper import Backmapper
from openmm_backmap.errors import BackmapWarning, InputError, ModelError
from openmm_backmap.mapping.cg_mapping import CGBead, CGMapping, find_model_slots
from openmm_backmap.mapping.cg_topology import CGTopology


def test_each_residue_has_one_of_the_two_slots() -> None:
    topology = CGTopology.from_sequence("ACDEFG", mapping="com")
    mixed = topology.with_com_residues([True, True, False, False, True, False])
    assert mixed.mapping.name == "mixed"
    assert ((mixed.bead_index >= 0).sum(axis=1) == 1).all()
    assert mixed.anchor_slot.tolist() == [1, 1, 0, 0, 1, 0]
    beads = mixed.bead_positions(np.ones((1, 6, 3)))
    assert beads.sum(axis=-1)[0].tolist() == [[0, 3], [0, 3], [3, 0], [3, 0], [0, 3],
                                              [3, 0]]  # fmt: skip
    assert topology.with_com_residues(np.ones(6, bool)).mapping.name == "com"
    assert mixed.with_com_residues(np.zeros(6, bool)).mapping.name == "ca"
    with pytest.raises(InputError, match="one for each"):
        topology.with_com_residues([True])


def test_a_restart_may_tell_the_beads_of_a_domain_end_otherwise() -> None:
    topology = CGTopology.from_sequence("ACDEFG", mapping="com")
    one = topology.with_com_residues([True, True, False, False, True, False])
    two = topology.with_com_residues([True, True, True, False, True, False])
    assert one.hash == two.hash
    assert one.hash != topology.hash


def test_rest_lengths_tell_domains_exactly_at_any_moment(shared: Path) -> None:
    folder = shared / "cases" / "calvados3_hnRNPA1S"
    pdb = app.PDBFile(str(folder / "top.pdb"))
    text = (folder / "hnRNPA1S.xml").read_text(encoding="utf-8")
    system = openmm.XmlSerializer.deserialize(text)
    topology = CGTopology.from_openmm(pdb.topology, mapping="mixed", system=system)
    wanted = np.zeros(314, bool)
    wanted[9:90] = wanted[103:180] = True  # bonds of other lengths than 0.38 nm
    np.testing.assert_array_equal(topology.anchor_slot == 1, wanted)


def test_beads_without_a_model_are_refused_and_the_models_named() -> None:
    own = CGMapping("two", (
        CGBead("BB", atoms=("N", "CA", "C", "O"), center="mass"),
        CGBead("CB", atoms=("CB",), absent_in=("GLY",)),
    ))  # fmt: skip
    assert find_model_slots(own) == ("BB", "CB")
    with pytest.raises(ModelError, match=r"'two' \(beads BB, CB\).*table: ca, com"):
        Backmapper.from_topology("AGA", "table", mapping=own)
    impostor = CGMapping("ca", (CGBead("CB", atoms=("CB",)),))
    with pytest.raises(ModelError, match="another name"):
        Backmapper.from_topology("AAA", "table", mapping=impostor)
    assert set(list_mappings()["table"]) == {"ca", "com", "mixed", "awsem"}


def test_the_user_says_which_beads_are_centres_of_mass(
    shared: Path,
) -> None:
    top = shared / "cases" / "calvados3_hnRNPA1S" / "top.pdb"
    flags = np.arange(314) < 90
    with warnings.catch_warnings():
        warnings.simplefilter("error", BackmapWarning)
        found = Backmapper.from_topology(top, "table", mapping=flags).cg_topology
        assert (found.anchor_slot == 1).sum() == 90
        for name in ("ca", "com", "mixed"):
            found = Backmapper.from_topology(top, "table", mapping=name).cg_topology
            assert found.mapping.name == name
    with pytest.warns(BackmapWarning, match="taken for such"):
        Backmapper.from_topology(top, "table")


def test_a_calvados_frame_keeps_centres_of_mass_and_bonds(shared: Path) -> None:
    from openmm_backmap.metrics import FrameChecker
    from openmm_backmap.trajectory import read_cg_frames

    folder = shared / "cases" / "calvados3_hnRNPA1S"
    text = (folder / "hnRNPA1S.xml").read_text(encoding="utf-8")
    backmapper = Backmapper.from_topology(
        folder / "top.pdb",
        "table",
        mapping="mixed",
        system=openmm.XmlSerializer.deserialize(text),
        threads=1,
    )
    topology = backmapper.cg_topology
    frames = next(read_cg_frames(folder / "hnRNPA1S.dcd", folder / "top.pdb", stop=2))
    batch = backmapper.backmap_batch(frames)
    error = batch.displacement[:, topology.anchor_slot == 1]
    assert error.max() < 0.02 and np.quantile(error, 0.95) < 0.006
    figures = FrameChecker.from_topology(topology).check(batch.heavy)
    assert figures["bond_fraction"].min() > 0.999
    assert figures["wrong_hands"].max() == 0
    assert figures["ring_penetrations"].max() == 0


def test_awsem_beads_of_a_real_run_are_met(shared: Path) -> None:
    from openmm_backmap.trajectory import read_cg_frames

    folder = shared / "cases" / "openawsem_1r69"
    top = folder / "final_openmm.pdb"
    frames = next(read_cg_frames(folder / "movie.dcd", top, stop=3))
    gaps = {}
    for name in ("ca", "awsem"):
        backmapper = Backmapper.from_topology(
            top, "table", mapping=name, sequence=folder / "1r69.fasta", threads=1
        )
        atoms = np.stack([f.positions for f in backmapper.backmap(frames)])
        slot = backmapper.atom_topology.slot_atom
        topology = CGTopology.from_openmm(
            app.PDBFile(str(top)).topology,
            mapping="awsem",
            sequence=folder / "1r69.fasta",
        )
        beads = topology.bead_positions(np.stack([f.positions for f in frames]))
        o = np.linalg.norm(atoms[:, slot[:-1, 3]] - beads[:, :-1, 2], axis=-1)
        has = topology.bead_index[:, 1] >= 0
        cb = np.linalg.norm(atoms[:, slot[has, 4]] - beads[:, has, 1], axis=-1)
        gaps[name] = (o.mean(), cb.mean())
    assert gaps["awsem"][0] < 0.6 * gaps["ca"][0]
    assert gaps["awsem"][1] < gaps["ca"][1]


def test_awsem_beads_of_the_crystal_bring_its_backbone(
    shared: Path, read_protein: Callable[[Path], SimpleNamespace], tmp_path: Path
) -> None:
    import mdtraj

    from openmm_backmap.frames import CGFrame
    from openmm_backmap.mapping.coarsen import coarsen_slots
    from openmm_backmap.metrics import FrameChecker, compute_rmsd

    # the run itself starts unfolded, 5 nm from the crystal
    folder = shared / "cases" / "openawsem_1r69"
    whole = mdtraj.load(str(folder / "crystal_structure.pdb"))
    protein = whole.atom_slice(whole.topology.select("protein"))
    protein.save(str(tmp_path / "crystal.pdb"))
    crystal = read_protein(tmp_path / "crystal.pdb")
    native = crystal.positions[:, :63]
    kind = crystal.residue_type[:63]
    layout = FrameChecker(kind, mask=crystal.mask[:63]).layout
    rmsd = {}
    for name in ("ca", "awsem"):
        topology = CGTopology.from_sequence(folder / "1r69.fasta", mapping=name)
        slots = coarsen_slots(native, kind, name)[0]
        beads = np.zeros((topology.n_beads, 3), np.float32)
        has = topology.bead_index >= 0
        beads[topology.bead_index[has]] = slots[has]
        center = beads.mean(axis=0)
        backmapper = Backmapper.from_topology(topology, "ca", mapping=name, threads=1)
        built = backmapper.backmap_batch([CGFrame(beads - center)]).heavy
        built += (native[0, :, 1] - built[0, :, 1]).mean(axis=0)
        rmsd[name] = compute_rmsd(built, native, layout, part="backbone")[0]
    assert rmsd["awsem"] < 0.95 * rmsd["ca"]
