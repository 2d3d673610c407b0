"""BackmapReporter on running simulations: complete, ordered, and no trace left."""

import csv
import os
import pickle
import subprocess
import sys
import warnings

import mdtraj
import numpy as np
import openmm
import pytest
import torch
from openmm import app

from openmm_backmap import Backmapper, BackmapReporter, CGFrame
from openmm_backmap.errors import InputError, OutputExistsError, TopologyError
from openmm_backmap.minimizer import Minimizer
from openmm_backmap.reporter_setup import copy_frame
from openmm_backmap.testsystems import CAGoModel

MODEL = "table"
# XTC keeps 0.001 nm
XTC_TOLERANCE_NM = 1.1e-3


def read_rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_two_arguments_are_enough(simulation, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    reporter = BackmapReporter("aa.xtc", 10)
    simulation.reporters.append(reporter)
    simulation.step(30)
    reporter.close()
    trajectory = mdtraj.load("aa.xtc", top="aa.pdb")
    assert trajectory.n_frames == reporter.nFrames == 3
    topology = app.PDBFile("aa.pdb").topology
    assert trajectory.n_atoms == topology.getNumAtoms() == reporter.backmapper.n_atoms
    assert sum(atom.element.symbol == "H" for atom in topology.atoms()) > 700
    assert trajectory.unitcell_vectors is None
    np.testing.assert_allclose(trajectory.time, [0.1, 0.2, 0.3], atol=1e-6)


@pytest.mark.parametrize("background", [True, False])
def test_frames_are_those_of_the_backmapper(
    simulation, make_reporter, tmp_path, background
) -> None:
    seen = []
    reporter = make_reporter(background=background, callback=seen.append)
    expected = Backmapper.from_topology(
        simulation.topology, MODEL, device="cpu", threads=1
    )
    simulation.reporters.append(reporter)
    beads = []
    for _ in range(4):
        simulation.step(10)
        state = simulation.context.getState(getPositions=True)
        beads.append(state.getPositions(asNumpy=True)._value)
    reporter.close()
    atoms = expected.backmap_positions(np.stack(beads))
    written = mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb").xyz
    np.testing.assert_allclose(written, atoms, atol=XTC_TOLERANCE_NM)
    assert [frame.step for frame in seen] == [10, 20, 30, 40]
    np.testing.assert_allclose(seen[-1].positions, atoms[-1], atol=2e-5)


def test_the_simulation_is_untouched(go_model, make_reporter) -> None:
    # one after the other: the Reference platform has one generator for a process
    alone = go_model.create_simulation(platform="Reference", seed=5)
    alone.step(1000)
    first = alone.context.getState(getPositions=True, getVelocities=True)
    watched = go_model.create_simulation(platform="Reference", seed=5)
    np.random.seed(4)  # noqa: NPY002  the global state is what is looked at
    torch.manual_seed(4)
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()
    n_threads = torch.get_num_threads()
    minimize = {"maxIterations": 5, "platform": "CPU"}
    with make_reporter(
        interval=100, samples=2, minimize=minimize, minimizeInterval=500
    ) as reporter:
        watched.reporters.append(reporter)
        watched.step(1000)
    second = watched.context.getState(getPositions=True, getVelocities=True)
    for name in ("getPositions", "getVelocities"):
        a, b = (getattr(state, name)(asNumpy=True)._value for state in (first, second))
        np.testing.assert_array_equal(a, b)
    assert reporter.nFrames == 10
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert torch.get_num_threads() == n_threads


def test_the_shared_state_is_not_changed(boxed_simulation, make_reporter) -> None:
    with make_reporter(enforcePeriodicBox=True, background=False) as reporter:
        state = boxed_simulation.context.getState(getPositions=True)
        before = state.getPositions(asNumpy=True)._value.copy()
        reporter.report(boxed_simulation, state)
        np.testing.assert_array_equal(state.getPositions(asNumpy=True)._value, before)


def test_the_next_report_is_on_the_grid_of_steps(simulation, make_reporter) -> None:
    with make_reporter(interval=10) as reporter:
        first = reporter.describeNextReport(simulation)
        assert first == {"steps": 10, "periodic": False, "include": ["positions"]}
        simulation.step(3)
        assert reporter.describeNextReport(simulation)["steps"] == 7
        simulation.currentStep = 1_000_000_009
        assert reporter.describeNextReport(simulation)["steps"] == 1
    assert reporter.nFrames == 0


def test_report_may_be_called_directly(simulation, make_reporter, tmp_path) -> None:
    reporter = make_reporter(interval=7)
    for _ in range(2):
        simulation.step(3)
        reporter.report(simulation, simulation.context.getState(getPositions=True))
    reporter.close()
    assert mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb").n_frames == 2


@pytest.mark.parametrize("suffix", ["dcd", "xtc", "pdb", "cif"])
def test_the_box_of_the_state_is_in_every_format(
    boxed_simulation, make_reporter, tmp_path, suffix
) -> None:
    box = np.array([[13.0, 0, 0], [1, 12, 0], [2, 1, 11]])
    boxed_simulation.context.setPeriodicBoxVectors(*box)
    reporter = make_reporter(f"aa.{suffix}")
    boxed_simulation.reporters.append(reporter)
    boxed_simulation.step(20)
    reporter.close()
    if suffix == "cif":
        vectors = app.PDBxFile(str(tmp_path / "aa.cif")).topology
        vectors = np.array(vectors.getPeriodicBoxVectors()._value)[None]
    else:
        top = {} if suffix == "pdb" else {"top": tmp_path / "aa.pdb"}
        vectors = mdtraj.load(tmp_path / f"aa.{suffix}", **top).unitcell_vectors
    for frame in vectors:
        np.testing.assert_allclose(frame, box, atol=2e-3)


def test_chains_are_whole_wherever_the_state_has_them(
    boxed_simulation, make_reporter
) -> None:
    seen = []
    with make_reporter(callback=seen.append, background=False) as reporter:
        # bead by bead in the box, as a State with enforcePeriodicBox gives them
        state = boxed_simulation.context.getState(
            getPositions=True, enforcePeriodicBox=True
        )
        positions = np.mod(state.getPositions(asNumpy=True)._value + 5.9, 12.0)
        boxed_simulation.context.setPositions(positions)
        state = boxed_simulation.context.getState(getPositions=True)
        reporter.report(boxed_simulation, state)
        topology = reporter.backmapper.atom_topology
    ca = seen[0].positions[topology.ca_atom]
    for segment in range(topology.cg.n_chains):
        mine = ca[topology.cg.chain_index == segment]
        assert np.linalg.norm(np.diff(mine, axis=0), axis=1).max() < 0.45


def test_minimized_frames_stand_beside_and_are_lower_in_energy(
    simulation, make_reporter, tmp_path
) -> None:
    reporter = make_reporter(
        minimize={"maxIterations": 20, "platform": "CPU"},
        minimizeInterval=20,
        metricsFile="aa.csv",
    )
    simulation.reporters.append(reporter)
    simulation.step(40)
    reporter.close()
    raw = mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb")
    relaxed = mdtraj.load(tmp_path / "aa_minimized.xtc", top=tmp_path / "aa.pdb")
    assert (raw.n_frames, relaxed.n_frames) == (4, 2)
    np.testing.assert_allclose(relaxed.time, raw.time[1::2])
    ca = raw.topology.select("name CA")
    moved = np.linalg.norm(raw.xyz[1::2][:, ca] - relaxed.xyz[:, ca], axis=-1)
    assert 0.0 < moved.mean() < 0.05
    rows = read_rows(tmp_path / "aa.csv")
    assert [(row["step"], row["stage"]) for row in rows] == [
        ("10", "model"), ("20", "model"), ("20", "minimized"),
        ("30", "model"), ("40", "model"), ("40", "minimized"),
    ]  # fmt: skip
    for row in rows:
        assert row["status"] == "ok"
        if row["stage"] == "minimized":
            assert float(row["energy_after"]) < float(row["energy_before"])
        else:
            assert float(row["bond_fraction"]) == 1.0
            assert float(row["peptide_fraction"]) == 1.0
            assert row["wrong_hands"] == "0"
            assert 0.0 <= float(row["confidence"]) <= 1.0
            assert float(row["projection_nm"]) < 0.1
            assert float(row["milliseconds"]) > 0.0


def test_a_minimizer_of_the_users_own_is_used(simulation, make_reporter) -> None:
    backmapper = Backmapper.from_topology(simulation.topology, MODEL)
    minimizer = Minimizer(backmapper.atom_topology, maxIterations=5, platform="CPU")
    seen = []
    with make_reporter(minimize=minimizer, callback=seen.append) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    assert [frame.stage for frame in seen] == ["model", "minimized"]


def test_samples_are_written_one_after_another(
    simulation, make_reporter, tmp_path
) -> None:
    with make_reporter(samples=3, metricsFile="aa.csv", seed=9) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(20)
    trajectory = mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb")
    assert trajectory.n_frames == 6
    np.testing.assert_allclose(trajectory.time, [0.1] * 3 + [0.2] * 3, atol=1e-6)
    assert np.abs(trajectory.xyz[0] - trajectory.xyz[1]).max() > 0.05
    rows = read_rows(tmp_path / "aa.csv")
    assert [row["sample"] for row in rows] == ["0", "1", "2"] * 2


def test_many_reporters_watch_one_simulation(
    simulation, make_reporter, tmp_path
) -> None:
    with (
        make_reporter("a.xtc", 10) as a,
        make_reporter("b.dcd", 20, hydrogens=False) as b,
        make_reporter("c.pdb", 30, background=False) as c,
    ):
        simulation.reporters += [a, b, c]
        simulation.step(60)
    assert mdtraj.load(tmp_path / "a.xtc", top=tmp_path / "a.pdb").n_frames == 6
    assert mdtraj.load(tmp_path / "b.dcd", top=tmp_path / "b.pdb").n_frames == 3
    assert mdtraj.load(tmp_path / "c.pdb").n_frames == 2


def test_a_part_of_the_system_is_backmapped(boxed_simulation, make_reporter) -> None:
    with (
        make_reporter("a.xtc", chains=["B"]) as chain,
        make_reporter("b.xtc", atomSubset=range(5, 15)) as beads,
    ):
        boxed_simulation.reporters += [chain, beads]
        boxed_simulation.step(10)
        assert chain.backmapper.cg_topology.sequence(0) == "GSMASASSSQRGRSGSGNFG"
        assert beads.backmapper.cg_topology.sequence(0) == "ASSSQRGRSG"
    assert chain.nFrames == beads.nFrames == 1


def test_the_sequence_may_be_given(boxed_simulation, make_reporter) -> None:
    sequence = "ACDEFGHIKLMNPQRSTVWY"
    with make_reporter(sequence=[sequence, sequence]) as reporter:
        boxed_simulation.reporters.append(reporter)
        boxed_simulation.step(10)
        assert reporter.backmapper.cg_topology.sequence(1) == sequence


def test_a_closed_reporter_reports_nothing_and_stops_nothing(
    simulation, make_reporter, tmp_path
) -> None:
    reporter = make_reporter()
    simulation.reporters.append(reporter)
    simulation.step(10)
    reporter.close()
    reporter.close()
    simulation.step(20)
    assert mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb").n_frames == 1
    with pytest.raises(InputError, match="closed"):
        reporter.report(simulation, simulation.context.getState(getPositions=True))


def test_a_reporter_that_was_never_used_leaves_nothing(make_reporter, tmp_path) -> None:
    with make_reporter():
        pass
    assert list(tmp_path.iterdir()) == []


def test_flush_waits_until_all_is_written(simulation, make_reporter, tmp_path) -> None:
    with make_reporter() as reporter:
        simulation.reporters.append(reporter)
        simulation.step(50)
        reporter.flush()
        trajectory = mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb")
        assert trajectory.n_frames == 5


def test_a_forgotten_close_loses_no_frame(tmp_path) -> None:
    code = (
        "from openmm_backmap import BackmapReporter\n"
        "from openmm_backmap.testsystems import CAGoModel\n"
        "simulation = CAGoModel().create_simulation(platform='Reference')\n"
        f"reporter = BackmapReporter('aa.xtc', 10, model='{MODEL}')\n"
        "simulation.reporters.append(reporter)\n"
        "simulation.step(60)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=120)
    trajectory = mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb")
    assert trajectory.n_frames == 6


def test_what_a_forgotten_close_finds_is_a_warning(tmp_path) -> None:
    code = (
        "import numpy as np\n"
        "from openmm_backmap import BackmapReporter\n"
        "from openmm_backmap.testsystems import CAGoModel\n"
        "simulation = CAGoModel().create_simulation(platform='Reference')\n"
        f"reporter = BackmapReporter('aa.xtc', 10, model='{MODEL}')\n"
        "simulation.reporters.append(reporter)\n"
        "simulation.step(10)\n"
        "x = simulation.context.getState(getPositions=True)"
        ".getPositions(asNumpy=True)._value\n"
        "x[3] = np.nan\n"
        "simulation.context.setPositions(x)\n"
        "simulation.currentStep = 20\n"
        "state = simulation.context.getState(getPositions=True)\n"
        "reporter.report(simulation, state)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, check=True, timeout=120, capture_output=True, text=True,
    )  # fmt: skip
    assert "1 frames failed, 1 were written" in done.stderr
    assert "step 20" in done.stderr and "call close() at the end" in done.stderr
    trajectory = mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb")
    assert trajectory.n_frames == 1


def test_files_stay_where_they_were_asked_for(
    simulation, tmp_path, monkeypatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "run")
    reporter = BackmapReporter("aa.xtc", 10, model=MODEL, metricsFile="aa.csv")
    simulation.reporters.append(reporter)
    simulation.reporters[0].describeNextReport(simulation)
    monkeypatch.chdir(tmp_path / "other")
    simulation.step(10)
    reporter.close()
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"aa.xtc", "aa.xtc.journal", "aa.pdb", "aa.csv"}
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"file": "aa.pdb"}, "aa.pdb cannot hold this system: residue number 10000"),
        ({"topologyFile": "top.pdb"}, "top.pdb cannot hold this system"),
        ({"minimize": {"steps": 5}}, "minimize: 'steps' is no argument of Minimizer"),
        ({"minimize": True, "atomSubset": [3]}, "ff14SB has no single amino acids"),
    ],
)
def test_what_can_never_be_written_fails_before_the_first_step(
    make_reporter, tmp_path, options, words
) -> None:
    simulation = CAGoModel().create_simulation(platform="Reference")
    list(simulation.topology.residues())[-1].id = "10000"
    simulation.reporters.append(make_reporter(**options))
    with pytest.raises(InputError, match=words):
        simulation.step(10)
    assert simulation.currentStep == 0
    assert not [path for path in tmp_path.iterdir() if path.stat().st_size]


def test_positions_may_be_set_after_the_first_question(
    go_model, make_reporter, tmp_path
) -> None:
    integrator = openmm.VerletIntegrator(0.01)
    platform = openmm.Platform.getPlatform("Reference")
    simulation = app.Simulation(
        go_model.topology, go_model.system, integrator, platform
    )
    with make_reporter() as reporter:
        reporter.describeNextReport(simulation)
        simulation.context.setPositions(go_model.positions)
        simulation.reporters.append(reporter)
        simulation.step(10)
    assert reporter.nFrames == 1


def test_a_wrong_topology_fails_before_the_first_step(make_reporter, tmp_path) -> None:
    topology = app.Topology()
    chain = topology.addChain("A")
    for k in range(3):
        residue = topology.addResidue("r", chain, str(k + 1))
        topology.addAtom("rP", app.Element.getBySymbol("P"), residue)
    system = openmm.System()
    for _ in range(3):
        system.addParticle(100.0)
    simulation = app.Simulation(topology, system, openmm.VerletIntegrator(0.01))
    simulation.context.setPositions(np.eye(3))
    simulation.reporters.append(make_reporter())
    with pytest.raises(TopologyError):
        simulation.step(100)
    assert simulation.currentStep == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"file": "aa.trr"}, "unknown format '.trr'"),
        ({"interval": 0}, "reportInterval: 0 came"),
        ({"interval": 2.5}, "reportInterval: 2.5 came"),
        ({"samples": 0}, "samples: 0"),
        ({"threads": 0}, "threads: 0"),
        ({"queueSize": 0}, "queueSize: 0"),
        ({"queuePolicy": "wait"}, "queuePolicy: 'wait' came, wanted one of block"),
        ({"onError": "ignore"}, "onError: 'ignore' came, wanted one of stop"),
        ({"minimizeInterval": 15}, "a multiple of reportInterval"),
        ({"append": True, "overwrite": True}, "choose one"),
        ({"file": "no/such/aa.xtc"}, "folder .* does not exist"),
        ({"topologyFile": "aa.xtc"}, "two outputs have one name"),
        ({"topologyFile": "top.xyz"}, "unknown format '.xyz', wanted one of .pdb"),
        ({"minimizeInterval": 0}, "minimizeInterval: 0 came"),
        ({"maxDelay": "long"}, "maxDelay: 'long' came"),
        ({"callback": 3}, "callback: 3 came, wanted a function"),
    ],
)
def test_bad_arguments_are_named_at_once(make_reporter, options, words) -> None:
    with pytest.raises(InputError, match=words):
        make_reporter(**options)


@pytest.mark.parametrize("existing", ["aa.xtc", "aa.pdb", "aa.csv"])
def test_existing_files_are_not_replaced(
    simulation, make_reporter, tmp_path, existing
) -> None:
    (tmp_path / existing).write_text("precious")
    with pytest.raises(OutputExistsError, match="overwrite=True"):
        make_reporter(metricsFile="aa.csv").describeNextReport(simulation)
    assert (tmp_path / existing).read_text() == "precious"


def test_existing_files_are_replaced_when_asked(
    simulation, make_reporter, tmp_path
) -> None:
    for name in ("aa.xtc", "aa.pdb", "aa.csv"):
        (tmp_path / name).write_text("old")
    with make_reporter(metricsFile="aa.csv", overwrite=True) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    assert mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb").n_frames == 1
    assert len(read_rows(tmp_path / "aa.csv")) == 1


def test_no_warning_comes_without_a_reason(simulation, make_reporter) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with make_reporter(metricsFile="aa.csv", samples=2) as reporter:
            simulation.reporters.append(reporter)
            simulation.step(10)


def test_a_frame_in_hand_is_a_copy(simulation) -> None:
    state = simulation.context.getState(getPositions=True)
    frame = copy_frame(simulation, state)
    assert isinstance(frame, CGFrame)
    assert frame.positions.dtype == np.float32 and frame.positions.flags.owndata


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX")
def test_a_forked_process_leaves_the_files_alone(
    simulation, make_reporter, tmp_path
) -> None:
    """It has no worker; nor does it remove the journal when it ends."""
    reporter = make_reporter(append=True)
    reporter.describeNextReport(simulation)
    state = simulation.context.getState(getPositions=True)
    child = os.fork()
    if child == 0:
        said = ""
        try:
            reporter.report(simulation, state)
        except InputError as error:
            said = str(error)
        reporter._finalizer()  # as at the end of a program
        os._exit("cannot be forked" not in said)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    simulation.reporters.append(reporter)
    simulation.step(20)
    reporter.close()
    assert reporter.nFrames == 2
    assert (tmp_path / "aa.xtc.journal").read_text().count("steps") >= 1


def test_a_reporter_is_pickled_before_it_begins_only(simulation, make_reporter) -> None:
    reporter = pickle.loads(pickle.dumps(make_reporter()))
    simulation.reporters.append(reporter)
    simulation.step(10)
    with pytest.raises(InputError, match="make one in each process"):
        pickle.dumps(reporter)
    reporter.close()
    assert reporter.nFrames == 1
    pickle.loads(pickle.dumps(reporter.backmapper))
