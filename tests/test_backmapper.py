"""The Backmapper: same atoms whatever the batch, whole chains in any box."""

import copy
import os
import pickle
import warnings
from dataclasses import replace

import mdtraj
import numpy as np
import openmm
import pytest
import torch
from openmm import app

from openmm_backmap import Backmapper, BackmapWarning, CGFrame, CGTopology
from openmm_backmap.artifact import find_model
from openmm_backmap.backmapper_batch import draw_noise
from openmm_backmap.errors import GeometryError, InputError, ModelError, TopologyError
from openmm_backmap.frame_processor import FrameProcessor
from openmm_backmap.trajectory import read_cg_frames

MODEL = "table"
# float32 sums in another order, at 5 nm from the origin
TOLERANCE_NM = 2e-5


@pytest.fixture(scope="module")
def backmapper(protein_path) -> Backmapper:
    return Backmapper.from_topology(protein_path, MODEL, threads=1)


@pytest.fixture
def frames(protein) -> list[CGFrame]:
    rng = np.random.default_rng(3)
    ca = protein.positions[0, :, 1]
    # 1RIS as read holds more than CA: the particles are those of the file
    return [
        CGFrame(
            positions=ca + 0.01 * rng.standard_normal(ca.shape).astype(np.float32),
            step=100 * k,
            time=float(k),
        )
        for k in range(5)
    ]


@pytest.fixture(scope="module")
def ca_backmapper(read_protein, protein_path) -> Backmapper:
    protein = read_protein(protein_path)
    sequence = "".join("ARNDCQEGHILKMFPSTWYV"[k] for k in protein.residue_type)
    return Backmapper.from_topology(sequence, MODEL, threads=1)


def test_a_topology_file_is_enough(backmapper, protein) -> None:
    assert backmapper.cg_topology.n_residues == protein.n_residues
    assert backmapper.n_atoms == backmapper.atom_topology.topology.getNumAtoms()


def test_same_atoms_whatever_the_batch(ca_backmapper, frames) -> None:
    together = ca_backmapper.backmap(frames)
    one_by_one = [ca_backmapper.backmap([frame])[0] for frame in frames]
    assert [a.step for a in together] == [f.step for f in frames]
    assert [a.time for a in together] == [f.time for f in frames]
    for a, b in zip(together, one_by_one, strict=True):
        np.testing.assert_allclose(a.positions, b.positions, atol=TOLERANCE_NM)


def test_samples_depend_on_seed_step_and_number_only(ca_backmapper, frames) -> None:
    together = ca_backmapper.backmap(frames[:3], samples=2)
    assert [(a.step, a.sample) for a in together] == [
        (0, 0), (0, 1), (100, 0), (100, 1), (200, 0), (200, 1),
    ]  # fmt: skip
    alone = ca_backmapper.backmap([frames[2]], samples=1)[0]
    np.testing.assert_allclose(
        together[4].positions, alone.positions, atol=TOLERANCE_NM
    )
    assert not np.allclose(together[4].positions, together[5].positions, atol=1e-2)


def test_noise_is_keyed_by_seed_step_and_sample() -> None:
    first = draw_noise(1, 2, 3, 50, 14)
    assert first.shape == (50, 14) and first.dtype == np.float32
    np.testing.assert_array_equal(first, draw_noise(1, 2, 3, 50, 14))
    for other in ((0, 2, 3), (1, 0, 3), (1, 2, 0), (2, 1, 3)):
        assert not np.allclose(first, draw_noise(*other, 50, 14))
    many = draw_noise(5, 5, 5, 2000, 14)
    assert abs(many.mean()) < 0.02 and abs(many.std() - 1.0) < 0.02


def test_backmapping_draws_from_no_global_generator(ca_backmapper, frames) -> None:
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002  the global state is what is looked at
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    ca_backmapper.backmap(frames[:1], samples=2)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)


def test_rotation_and_translation_carry_over(ca_backmapper, frames, rng) -> None:
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    came = frames[0].positions
    moved = (came @ turn.T + [3.0, -2.0, 1.0]).astype(np.float32)
    before, after = ca_backmapper.backmap(
        [CGFrame(positions=came), CGFrame(positions=moved)]
    )
    slots = ca_backmapper.atom_topology.slot_atom
    heavy = slots[slots >= 0]
    expected = before.positions @ turn.T + [3.0, -2.0, 1.0]
    # packing may choose another rotamer where two are equal to the last digit
    distance = np.linalg.norm(after.positions - expected, axis=1)[heavy]
    assert np.median(distance) < 1e-4
    assert (distance < 1e-3).mean() > 0.98


def test_chains_cut_by_the_box_come_out_whole(ca_backmapper, frames) -> None:
    box = np.diag([6.0, 7.0, 8.0]).astype(np.float32)
    # every bead in the box: the chain is cut
    cut = np.mod(frames[0].positions + 1.0, np.diag(box)).astype(np.float32)
    shifted = cut.copy()
    shifted[:, 0] = np.mod(cut[:, 0] + 3.0, 6.0)
    for positions in (cut, shifted):
        frame = CGFrame(positions=positions, box=box)
        atoms = ca_backmapper.backmap([frame])[0]
        ca = atoms.positions[ca_backmapper.atom_topology.ca_atom]
        assert np.linalg.norm(np.diff(ca, axis=0), axis=1).max() < 0.45
        np.testing.assert_array_equal(atoms.box, box)
        # each CA is at its bead, up to whole boxes
        off = ca - positions
        off -= np.round(off / np.diag(box)) * np.diag(box)
        assert np.abs(off).max() < 0.06


def test_wrapped_chains_have_their_centre_in_the_box(protein, frames) -> None:
    sequence = "".join("ARNDCQEGHILKMFPSTWYV"[k] for k in protein.residue_type)
    wrapping = Backmapper.from_topology(sequence, MODEL, wrap_chains=True, threads=1)
    box = np.array([[6, 0, 0], [1, 7, 0], [1, 1, 8]], np.float32)
    far = frames[0].positions + 5 * box[0] - 3 * box[2]
    atoms = wrapping.backmap([CGFrame(positions=far, box=box)])[0]
    ca = atoms.positions[wrapping.atom_topology.ca_atom]
    fraction = ca.mean(axis=0) @ np.linalg.inv(box)
    assert ((fraction >= 0) & (fraction < 1)).all()
    assert np.linalg.norm(np.diff(ca, axis=0), axis=1).max() < 0.45


def test_far_from_the_origin_the_geometry_is_the_same(ca_backmapper, frames) -> None:
    near = frames[0].positions
    far = near + np.float32(512.0)
    first, second = ca_backmapper.backmap(
        [CGFrame(positions=near), CGFrame(positions=far)]
    )
    # float32 at 512 nm has steps of 6e-5 nm, in and out
    distance = np.linalg.norm(second.positions - 512.0 - first.positions, axis=1)
    assert np.median(distance) < 5e-4


def test_frames_with_and_without_a_box_may_be_mixed(ca_backmapper, frames) -> None:
    box = np.diag([50.0, 50.0, 50.0]).astype(np.float32)
    mixed = [frames[0], CGFrame(positions=frames[0].positions, box=box, step=1)]
    without, within = ca_backmapper.backmap(mixed)
    assert without.box is None
    np.testing.assert_array_equal(within.box, box)
    np.testing.assert_allclose(without.positions, within.positions, atol=1e-4)


def test_passes_are_bounded_and_complete(ca_backmapper, frames, monkeypatch) -> None:
    monkeypatch.setattr(ca_backmapper, "batch_residues", 200)
    assert ca_backmapper.batch_frames == 2
    assert [len(chunk) for chunk in ca_backmapper.split(frames)] == [2, 2, 1]
    assert [len(chunk) for chunk in ca_backmapper.split(frames, 4)] == [1] * 5
    assert list(ca_backmapper.split([])) == []


class SmallEngine:
    """An engine whose memory holds a few structures."""

    def __init__(self, engine, most: int) -> None:
        self.engine, self.most, self.sizes = engine, most, []
        self.metadata, self.device = engine.metadata, engine.device

    def run(self, beads, *arguments, **options):
        self.sizes.append(len(beads))
        if len(beads) > self.most:
            raise RuntimeError("out of memory")
        return self.engine.run(beads, *arguments, **options)


def test_samples_of_a_frame_are_drawn_in_passes_of_bounded_memory(
    ca_backmapper, frames, monkeypatch
) -> None:
    together = ca_backmapper.backmap_batch(frames[:2], 5)
    engine = SmallEngine(ca_backmapper.engine, 2)
    monkeypatch.setattr(ca_backmapper._runner, "engine", engine)
    monkeypatch.setattr(ca_backmapper, "batch_residues", 200)
    apart = ca_backmapper.backmap(frames[:2], 5)
    assert engine.sizes == [1, 2, 2, 1, 2, 2]
    for a, b in zip(together.frames, apart, strict=True):
        assert (a.step, a.sample) == (b.step, b.sample)
        np.testing.assert_allclose(a.positions, b.positions, atol=TOLERANCE_NM)
    batch = ca_backmapper.backmap_batch(frames[:2], 5)
    assert batch.heavy.shape == together.heavy.shape
    assert batch.displacement.shape == together.displacement.shape


def test_out_of_memory_goes_down_to_one_structure(
    ca_backmapper, frames, monkeypatch
) -> None:
    engine = SmallEngine(ca_backmapper.engine, 1)
    monkeypatch.setattr(ca_backmapper._runner, "engine", engine)
    results = list(FrameProcessor(ca_backmapper, samples=3).compute(frames[:2]))
    assert [result.error for result in results] == [None, None]
    assert [[a.sample for a in result.atoms] for result in results] == [[0, 1, 2]] * 2
    assert engine.sizes == [6, 3, 1, 1, 1, 3, 1, 1, 1]
    engine.most, engine.sizes = 0, []
    failed = list(FrameProcessor(ca_backmapper).compute(frames[:1]))
    assert "out of memory" in str(failed[0].error) and engine.sizes == [1]


def test_heavy_atoms_only_are_those_of_the_full_topology(protein, frames) -> None:
    sequence = "".join("ARNDCQEGHILKMFPSTWYV"[k] for k in protein.residue_type)
    heavy = Backmapper.from_topology(sequence, MODEL, hydrogens=False, threads=1)
    both = Backmapper.from_topology(sequence, MODEL, threads=1)
    a = heavy.backmap(frames[:1])[0].positions
    b = both.backmap(frames[:1])[0].positions
    elements = [x.element.symbol for x in both.atom_topology.topology.atoms()]
    np.testing.assert_allclose(a, b[np.array(elements) != "H"], atol=TOLERANCE_NM)


def test_positions_in_positions_out(ca_backmapper, frames) -> None:
    positions = np.stack([frame.positions for frame in frames[:2]])
    atoms = ca_backmapper.backmap_positions(positions)
    assert atoms.shape == (2, ca_backmapper.n_atoms, 3) and atoms.dtype == np.float32
    assert np.isfinite(atoms).all()
    with pytest.raises(InputError, match=r"wanted \(F, B, 3\)"):
        ca_backmapper.backmap_positions(positions[0])


def test_the_projection_is_reported(ca_backmapper, frames) -> None:
    good = ca_backmapper.backmap_batch(frames[:1])
    assert good.displacement.shape == (1, frames[0].positions.shape[0])
    assert good.displacement.max() < 0.06
    stretched = CGFrame(positions=frames[0].positions * np.float32(1.3))
    assert ca_backmapper.backmap_batch([stretched]).displacement.max() > 0.06


@pytest.mark.parametrize(
    "copy_of", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))]
)
def test_a_backmapper_may_go_to_another_process(ca_backmapper, frames, copy_of) -> None:
    there = copy_of(ca_backmapper)
    for a, b in zip(
        there.backmap(frames[:2]), ca_backmapper.backmap(frames[:2]), strict=True
    ):
        np.testing.assert_array_equal(a.positions, b.positions)
        np.testing.assert_array_equal(a.confidence, b.confidence)


def test_a_trajectory_file_is_streamed_in_order(
    ca_backmapper, frames, tmp_path
) -> None:
    ca = mdtraj.Topology()
    chain = ca.add_chain()
    for k in range(len(frames[0].positions)):
        residue = ca.add_residue("ALA", chain, k + 1)
        ca.add_atom("CA", mdtraj.element.carbon, residue)
    xyz = np.stack([frame.positions for frame in frames])
    mdtraj.Trajectory(xyz, ca).save_dcd(str(tmp_path / "cg.dcd"))
    atoms = list(
        ca_backmapper.backmap_trajectory(tmp_path / "cg.dcd", stride=2, chunk=2)
    )
    # what the file holds, which is rounded to single-precision angstroms
    saved = mdtraj.load(str(tmp_path / "cg.dcd"), top=ca).xyz[::2]
    expected = ca_backmapper.backmap([CGFrame(positions=xyz) for xyz in saved])
    assert len(atoms) == 3
    for a, b in zip(atoms, expected, strict=True):
        np.testing.assert_allclose(a.positions, b.positions, atol=1e-4)


def test_a_frame_becomes_an_all_atom_simulation(ca_backmapper, frames) -> None:
    atoms = ca_backmapper.backmap(frames[:1])[0]
    simulation = ca_backmapper.to_simulation(atoms, solvent="vacuum", platform="CPU")
    assert isinstance(simulation, app.Simulation)
    state = simulation.context.getState(getPositions=True)
    np.testing.assert_allclose(
        state.getPositions(asNumpy=True)._value, atoms.positions, atol=1e-6
    )
    simulation.minimizeEnergy(maxIterations=50)
    simulation.step(5)
    energy = simulation.context.getState(getEnergy=True).getPotentialEnergy()
    assert np.isfinite(energy._value)


def test_platforms_and_frames_of_a_simulation_are_checked(
    ca_backmapper, frames
) -> None:
    atoms = ca_backmapper.backmap(frames[:1])[0]
    platform = openmm.Platform.getPlatform("Reference")
    simulation = ca_backmapper.to_simulation(atoms, solvent="vacuum", platform=platform)
    assert simulation.context.getPlatform().getName() == "Reference"
    with pytest.raises(InputError, match="platform='cuda': this OpenMM has CPU"):
        ca_backmapper.to_simulation(atoms, platform="cuda")
    fewer = replace(atoms, positions=atoms.positions[:-5])
    with pytest.raises(InputError, match="all atoms of this topology"):
        ca_backmapper.to_simulation(fewer)


@pytest.mark.parametrize(
    ("positions", "error", "words"),
    [
        (lambda p: p[:-1], InputError, r"shape \(96, 3\).*\(97, 3\)"),
        (
            lambda p: np.where(np.arange(97)[:, None] == 4, np.nan, p),
            GeometryError,
            "step 7: bead of residue .* 5 is not finite",
        ),
    ],
)
def test_a_bad_frame_is_named(ca_backmapper, frames, positions, error, words) -> None:
    bad = CGFrame(positions=positions(frames[0].positions), step=7)
    with pytest.raises(error, match=words):
        ca_backmapper.backmap([bad])


def test_a_bad_box_is_named(ca_backmapper, frames) -> None:
    box = np.full((3, 3), np.nan, np.float32)
    with pytest.raises(GeometryError, match="box is not finite"):
        ca_backmapper.backmap([CGFrame(positions=frames[0].positions, box=box)])


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"model": "tabel"}, ModelError, "tabel"),
        ({"seed": -1}, InputError, "seed: -1"),
        ({"threads": 0}, InputError, "threads: 0"),
        ({"mapping": "martini"}, (InputError, TopologyError), "martini"),
    ],
)
def test_bad_arguments_are_named(arguments, error, words, protein_path) -> None:
    options = {"model": MODEL, **arguments}
    with pytest.raises(error, match=words):
        Backmapper.from_topology(protein_path, **options)


def test_no_samples_at_all_are_refused(ca_backmapper, frames) -> None:
    with pytest.raises(InputError, match="samples: 0"):
        ca_backmapper.backmap(frames, samples=0)


@pytest.mark.parametrize(
    ("give", "came"),
    [
        (lambda f: f[0], "CGFrame came"),
        (lambda f: f[0].positions, "ndarray came"),
        (lambda f: [f[0], f[1].positions], "list of ndarray came"),
        (iter, "list_iterator came"),
    ],
)
def test_what_is_not_a_list_of_frames_is_named(
    ca_backmapper, frames, give, came
) -> None:
    with pytest.raises(InputError, match=rf"{came}, wanted a list of CGFrame"):
        ca_backmapper.backmap(give(frames))


def test_a_trajectory_is_no_topology(protein_path) -> None:
    trajectory = mdtraj.load(str(protein_path))
    with pytest.raises(InputError, match=r"Trajectory came.*its \.topology"):
        Backmapper.from_topology(trajectory, MODEL)


def test_something_that_is_no_topology_is_refused() -> None:
    with pytest.raises(InputError, match="System came, wanted an OpenMM or mdtraj"):
        Backmapper.from_topology(openmm.System(), MODEL)


def test_openmm_mdtraj_and_file_give_the_same_topology(protein_path) -> None:
    from_file = Backmapper.from_topology(protein_path, MODEL).cg_topology
    topology = app.PDBFile(str(protein_path)).topology
    from_openmm = Backmapper.from_topology(topology, MODEL).cg_topology
    loaded = mdtraj.load(str(protein_path)).topology
    from_mdtraj = Backmapper.from_topology(loaded, MODEL).cg_topology
    assert from_file.hash == from_openmm.hash == from_mdtraj.hash


def test_a_ready_topology_is_taken_as_it_is() -> None:
    topology = CGTopology.from_sequence(["ACD", "EFG"])
    assert Backmapper.from_topology(topology, MODEL).cg_topology is topology


def test_a_model_is_loaded_once_for_a_process(protein_path, tmp_path) -> None:
    first = Backmapper.from_topology(protein_path, MODEL, device="cpu")
    second = Backmapper.from_topology(protein_path, MODEL, device="cpu")
    assert first.engine is second.engine
    # a file that changes is another model
    copy = tmp_path / "model.pt"
    copy.write_bytes(find_model(MODEL).read_bytes())
    third = Backmapper.from_topology(protein_path, copy, device="cpu")
    os.utime(copy, ns=(1, 1))
    fourth = Backmapper.from_topology(protein_path, copy, device="cpu")
    assert third.engine is not first.engine
    assert fourth.engine is not third.engine


def read_case(shared, name, topology, trajectory):
    folder = shared / "cases" / name
    return folder / topology, next(read_cg_frames(folder / trajectory, stop=1))[0]


def test_centres_of_mass_named_ca_are_noticed(shared) -> None:
    top, _ = read_case(shared, "calvados3_hnRNPA1S", "top.pdb", "hnRNPA1S.dcd")
    with pytest.warns(BackmapWarning, match="of 314 residues: .* centres of mass"):
        Backmapper.from_topology(top, MODEL)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Backmapper.from_topology(top, MODEL, mapping="ca")


def test_soft_and_disordered_ca_beads_raise_no_alarm(shared) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, top, trajectory in (
            ("openabc_moff_hp1a_dimer", "start.pdb", "traj.dcd"),
            ("calvados2_A1SLCD", "top.pdb", "A1SLCD.dcd"),
        ):
            top, frame = read_case(shared, name, top, trajectory)
            backmapper = Backmapper.from_topology(
                top, MODEL, positions=frame.positions, box=frame.box, threads=1
            )
            atoms = backmapper.backmap([frame])[0]
            assert np.isfinite(atoms.positions).all()


def test_protonation_and_disulfides_are_chosen(protein_path) -> None:
    sequence = "ACHAC"
    backmapper = Backmapper.from_topology(
        sequence, MODEL, histidine="HIP", disulfides=[(1, 4)]
    )
    assert backmapper.atom_topology.variant == ("ALA", "CYX", "HIP", "ALA", "CYX")


@pytest.mark.parametrize("model", ["table", "ca"])
def test_exact_ca_stay_and_others_are_projected(model) -> None:
    # a trace with a bond of 4.6 A, as soft CG bonds give it
    turn = 1.745 * np.arange(16)
    ca = np.stack((0.23 * np.cos(turn), 0.23 * np.sin(turn), 0.086 * turn), 1)
    ca[8:] += 0.1 * (ca[8] - ca[7]) / np.linalg.norm(ca[8] - ca[7])
    frame = CGFrame(positions=ca.astype(np.float32), step=0, time=0.0)
    sequence = "AKLEDRWSTFNQVIYM"
    moved = Backmapper.from_topology(sequence, model).backmap_batch([frame])
    exact = Backmapper.from_topology(sequence, model, exact_ca=True)
    stays = exact.backmap_batch([frame])
    assert moved.displacement.max() > 0.01
    assert stays.displacement.max() < 1e-5
    # CA-C and N-CA of the stretched unit: 1.53 and 1.46 A
    for batch, is_stretched in ((stays, True), (moved, False)):
        atoms = batch.heavy[0]
        lengths = np.array(
            [
                np.linalg.norm(atoms[7, 2] - atoms[7, 1]) / 0.153,
                np.linalg.norm(atoms[8, 0] - atoms[8, 1]) / 0.146,
            ]
        )
        assert (np.abs(lengths - 1.0).max() > 0.1) == is_stretched


def test_exact_ca_of_centres_of_mass_are_refused() -> None:
    with pytest.raises(InputError, match="centres of mass"):
        Backmapper.from_topology("AKLEDRWS", "table", mapping="com", exact_ca=True)


@pytest.mark.parametrize("name", ["ca", "vae", "table"])
def test_a_straight_chain_gets_whole_residues(name: str) -> None:
    """OpenABC's runs start from one: a frame could not be put on a line."""
    sequence = "GASRKLEFWYHPGASRKLEF"
    ca = np.zeros((20, 3), np.float32)
    ca[:, 2] = 0.38 * np.arange(20)
    backmapper = Backmapper.from_topology(sequence, name, threads=1)
    atoms = backmapper.backmap([CGFrame(ca)])[0].positions
    bonds = [(a.index, b.index) for a, b in backmapper.atom_topology.topology.bonds()]
    first, second = np.array(bonds).T
    length = np.linalg.norm(atoms[first] - atoms[second], axis=1)
    assert length.min() > 0.09 and length.max() < 0.20


@pytest.mark.parametrize("name", ["ca", "vae", "table"])
@pytest.mark.parametrize("sequence", ["W", "KC", "HNDE", "LKTEWPELVGKS"])
def test_a_chain_far_away_changes_nothing(name: str, sequence: str) -> None:
    angle = np.radians(100.0) * np.arange(12)
    helix = np.stack([0.23 * np.cos(angle), 0.23 * np.sin(angle), 0.15 * np.arange(12)])
    here = helix.T[: len(sequence)].astype(np.float32) + 100.0
    other = helix.T[:3].astype(np.float32) + np.float32([300.0, 100.0, 100.0])
    box = 400.0 * np.eye(3, dtype=np.float32)

    def run(sequences: list[str], parts: list[np.ndarray]) -> np.ndarray:
        topology = CGTopology.from_sequence(sequences)
        frame = CGFrame(np.concatenate(parts), box)
        backmapper = Backmapper.from_topology(topology, name, threads=1)
        return backmapper.backmap([frame])[0].positions

    alone = run([sequence], [here])
    before = run(["ACD", sequence], [other, here])[-len(alone) :]
    after = run([sequence, "ACD"], [here, other])[: len(alone)]
    # float32 at 100 nm
    np.testing.assert_allclose(before, alone, atol=1e-4)
    np.testing.assert_allclose(after, alone, atol=1e-4)


def test_positions_that_were_never_set_are_named(ca_backmapper) -> None:
    n = ca_backmapper.cg_topology.n_residues
    frame = CGFrame(np.zeros((n, 3), np.float32), step=7)
    with pytest.raises(GeometryError, match=r"step 7: beads of .* lie at one point"):
        ca_backmapper.backmap([frame])


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_frames_in_another_unit_are_refused(ca_backmapper, frames, factor) -> None:
    wrong = replace(frames[0], positions=factor * frames[0].positions)
    with pytest.raises(GeometryError, match=r"step 0: .* nm apart .* is the unit"):
        ca_backmapper.backmap([wrong])


@pytest.mark.parametrize("name", ["ca", "table"])
def test_exact_ca_on_a_line_get_whole_residues(name: str) -> None:
    ca = np.zeros((20, 3), np.float32)
    ca[:, 0] = 0.38 * np.arange(20)
    backmapper = Backmapper.from_topology(
        "GASRKLEFWYHPGASRKLEF", name, threads=1, exact_ca=True
    )
    atoms = backmapper.backmap([CGFrame(ca)])[0].positions
    bonds = [(a.index, b.index) for a, b in backmapper.atom_topology.topology.bonds()]
    first, second = np.array(bonds).T
    length = np.linalg.norm(atoms[first] - atoms[second], axis=1)
    assert length.min() > 0.09 and length.max() < 0.20


def test_a_system_alone_tells_centres_of_mass(shared) -> None:
    folder = shared / "cases" / "calvados3_hnRNPA1S"
    system = openmm.XmlSerializer.deserialize((folder / "hnRNPA1S.xml").read_text())
    topology = app.PDBFile(str(folder / "top.pdb")).topology
    with pytest.warns(BackmapWarning, match="lie like centres of mass"):
        backmapper = Backmapper.from_topology(topology, "table", system=system)
    assert backmapper.cg_topology.mapping.name == "mixed"


def test_a_mapping_that_a_topology_does_not_have_is_refused() -> None:
    topology = CGTopology.from_sequence("GAS")
    with pytest.raises(InputError, match="'com' came, but this CGTopology was made"):
        Backmapper.from_topology(topology, "table", mapping="com")
