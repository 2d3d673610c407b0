"""Restarts: no frame twice, none lost, and nothing of another run touched."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from openmm import app

from openmm_backmap import BackmapWarning
from openmm_backmap.errors import InputError, OutputExistsError
from openmm_backmap.testsystems import CAGoModel

# XTC keeps 0.001 nm
XTC_TOLERANCE_NM = 1.1e-3


def read_steps(folder: Path) -> list[int]:
    with open(folder / "aa.csv", newline="") as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def load(folder: Path, suffix: str = "xtc") -> mdtraj.Trajectory:
    return mdtraj.load(folder / f"aa.{suffix}", top=folder / "aa.pdb")


KILL = """
import os, random, signal, sys, time
from pathlib import Path
from openmm_backmap import BackmapReporter, Backmapper
from openmm_backmap.testsystems import CAGoModel

model = CAGoModel()
# compiled once, before the forks
warm = Backmapper.from_topology(model.topology, "table", device="cpu", threads=1)
for _ in range(2):
    warm.backmap_positions(model.positions._value[None])


def run(folder):
    os.chdir(folder)
    simulation = model.create_simulation(platform="Reference", seed=3)
    if os.path.exists("run.chk"):
        simulation.loadCheckpoint("run.chk")
    reporter = BackmapReporter(
        "aa.{suffix}", 10, model="table", device="cpu", append=True,
        metricsFile="aa.csv",
    )
    simulation.reporters.append(reporter)
    while simulation.currentStep < {n_steps}:
        simulation.step(20)
        reporter.flush()
        simulation.saveCheckpoint("run.chk")
    reporter.close()


def start(folder):
    pid = os.fork()
    if pid == 0:
        try:
            run(folder)
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    return pid


def wait(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


assert wait(start("whole")) == 0
random.seed(7)
n_killed = 0
for _ in range({n_kills}):
    pid = start("killed")
    time.sleep(random.uniform(0.01, 0.6))
    os.kill(pid, signal.SIGKILL)
    n_killed += wait(pid) == -signal.SIGKILL
assert wait(start("killed")) == 0
print(n_killed)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(("suffix", "n_kills"), [("xtc", 20), ("dcd", 5)])
def test_killed_runs_are_completed_by_the_next(tmp_path, suffix, n_kills) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    n_frames = 8 * n_kills
    code = KILL.format(suffix=suffix, n_steps=10 * n_frames, n_kills=n_kills)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    # fast machines may finish before the last kills
    assert int(result.stdout) >= 3
    a, b = load(whole, suffix), load(killed, suffix)
    assert a.n_frames == b.n_frames == n_frames
    np.testing.assert_allclose(a.xyz, b.xyz, atol=XTC_TOLERANCE_NM)
    steps = list(range(10, 10 * n_frames + 10, 10))
    assert read_steps(killed) == read_steps(whole) == steps


def test_a_run_continues_where_the_file_ends(go_model, make_reporter, tmp_path) -> None:
    simulation = go_model.create_simulation(platform="Reference")
    with make_reporter() as reporter:
        simulation.reporters.append(reporter)
        simulation.step(50)
    simulation.reporters.clear()
    with make_reporter(append=True) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(30)
    assert reporter.nFrames == 3
    np.testing.assert_allclose(load(tmp_path).time, np.arange(1, 9) / 10, atol=1e-5)


@pytest.mark.parametrize("how", ["checkpoint", "state"])
def test_steps_already_written_are_skipped(
    go_model, make_reporter, tmp_path, how
) -> None:
    simulation = go_model.create_simulation(platform="Reference")
    saved = str(tmp_path / "saved")
    save, load_saved = (
        (app.Simulation.saveCheckpoint, app.Simulation.loadCheckpoint)
        if how == "checkpoint"
        else (app.Simulation.saveState, app.Simulation.loadState)
    )
    with make_reporter() as reporter:
        simulation.reporters.append(reporter)
        simulation.step(20)
        save(simulation, saved)
        simulation.step(30)
    first = load(tmp_path)
    simulation.reporters.clear()
    load_saved(simulation, saved)
    assert simulation.currentStep == 20
    with (
        pytest.warns(BackmapWarning, match="up to step 50 already"),
        make_reporter(append=True) as reporter,
    ):
        simulation.reporters.append(reporter)
        simulation.step(50)
    trajectory = load(tmp_path)
    np.testing.assert_allclose(trajectory.time, np.arange(1, 8) / 10, atol=1e-5)
    np.testing.assert_array_equal(trajectory.xyz[:5], first.xyz)


def test_half_a_step_of_samples_is_written_anew(
    go_model, make_reporter, tmp_path
) -> None:
    simulation = go_model.create_simulation(platform="Reference")
    with make_reporter(samples=2) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(20)
    # what a kill in the middle of the second step leaves
    whole = load(tmp_path)
    size = (tmp_path / "aa.xtc").stat().st_size
    os.truncate(tmp_path / "aa.xtc", size - 100)
    fresh = go_model.create_simulation(platform="Reference")
    with (
        pytest.warns(BackmapWarning, match="up to step 10 already"),
        make_reporter(samples=2, append=True) as reporter,
    ):
        fresh.reporters.append(reporter)
        fresh.step(30)
    again = load(tmp_path)
    np.testing.assert_allclose(again.time, [0.1, 0.1, 0.2, 0.2, 0.3, 0.3], atol=1e-5)
    np.testing.assert_allclose(again.xyz[:4], whole.xyz, atol=XTC_TOLERANCE_NM)


def test_the_first_run_may_say_append(simulation, make_reporter, tmp_path) -> None:
    with make_reporter(append=True) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    assert load(tmp_path).n_frames == 1


def test_the_file_of_another_system_is_refused(
    simulation, boxed_simulation, make_reporter, tmp_path
) -> None:
    with make_reporter() as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    before = (tmp_path / "aa.xtc").read_bytes()
    with pytest.raises(InputError, match="cannot append: n atoms is 1647 in the file"):
        make_reporter(append=True).describeNextReport(boxed_simulation)
    assert (tmp_path / "aa.xtc").read_bytes() == before


def test_the_same_atoms_in_other_chains_are_refused(make_reporter, tmp_path) -> None:
    simulation = CAGoModel().create_simulation(platform="Reference")
    with make_reporter() as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    sequence = "".join(reversed(reporter.backmapper.cg_topology.sequence(0)))
    with pytest.raises(InputError, match="cannot append: (topology|n atoms)"):
        make_reporter(append=True, sequence=sequence).describeNextReport(simulation)


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_text_formats_are_not_appended_to_and_say_so(
    simulation, make_reporter, tmp_path, suffix
) -> None:
    path = tmp_path / f"aa{suffix}"
    with make_reporter(path) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    with pytest.raises(InputError, match=f"cannot append to {suffix}; write .dcd or"):
        make_reporter(path, append=True).describeNextReport(simulation)
    with pytest.raises(OutputExistsError, match="or say overwrite=True"):
        make_reporter(path).describeNextReport(simulation)


def test_a_file_without_its_journal_is_refused(
    simulation, make_reporter, tmp_path
) -> None:
    (tmp_path / "aa.xtc").write_bytes(b"somebody else's")
    with pytest.raises(InputError, match="has no journal"):
        make_reporter(append=True).describeNextReport(simulation)
    assert (tmp_path / "aa.xtc").read_bytes() == b"somebody else's"


def test_a_journal_without_its_file_is_refused(
    simulation, make_reporter, tmp_path
) -> None:
    with make_reporter() as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    (tmp_path / "aa.xtc").unlink()
    with pytest.raises(InputError, match="its journal lists 1 frames"):
        make_reporter(append=True).describeNextReport(simulation)


def test_text_formats_are_not_continued(simulation, make_reporter, tmp_path) -> None:
    with make_reporter("aa.pdb") as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    before = (tmp_path / "aa.pdb").read_bytes()
    with pytest.raises(InputError, match="append"):
        make_reporter("aa.pdb", append=True).describeNextReport(simulation)
    assert (tmp_path / "aa.pdb").read_bytes() == before


def test_another_seed_is_said(simulation, make_reporter) -> None:
    with make_reporter(seed=1) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    simulation.reporters.clear()
    with (
        pytest.warns(BackmapWarning, match="seed was 1, from here on 2"),
        make_reporter(seed=2, append=True) as reporter,
    ):
        simulation.reporters.append(reporter)
        simulation.step(10)


def test_two_reporters_on_one_file_are_refused(simulation, make_reporter) -> None:
    first, second = make_reporter(), make_reporter()
    simulation.reporters += [first, second]
    with pytest.raises(InputError, match="another reporter or process"):
        simulation.step(10)
    simulation.reporters.remove(second)
    simulation.step(10)
    first.close()
    assert first.nFrames == 1


def test_a_reporter_of_another_process_is_seen(simulation, make_reporter, tmp_path):
    code = (
        "from pathlib import Path; import time\n"
        "from openmm_backmap.line_file import LineFile\n"
        "file = LineFile(Path('aa.xtc.journal'), is_locked=True)\n"
        "print('locked', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout.readline() == b"locked\n"
        with pytest.raises(InputError, match="another reporter or process"):
            make_reporter().describeNextReport(simulation)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    # a dead process holds no lock
    with make_reporter(append=True) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    assert reporter.nFrames == 1


def test_a_new_trajectory_does_not_replace_files_of_others(
    go_model, make_reporter, tmp_path
) -> None:
    beads = tmp_path / "aa.pdb"
    with open(beads, "w") as file:
        app.PDBFile.writeFile(go_model.topology, go_model.positions, file)
    text = beads.read_bytes()
    simulation = go_model.create_simulation(platform="Reference")
    simulation.reporters.append(make_reporter(append=True))
    with pytest.raises(OutputExistsError, match="aa.pdb: exists already"):
        simulation.step(10)
    assert beads.read_bytes() == text


def test_a_new_trajectory_does_not_cut_the_metrics_of_another(
    go_model, make_reporter, tmp_path
) -> None:
    simulation = go_model.create_simulation(platform="Reference")
    with make_reporter("a.xtc", append=True, metricsFile="aa.csv") as reporter:
        simulation.reporters.append(reporter)
        simulation.step(20)
    simulation.reporters = [make_reporter("b.xtc", append=True, metricsFile="aa.csv")]
    with pytest.raises(InputError, match="aa.csv: holds rows of another trajectory"):
        simulation.step(10)
    assert read_steps(tmp_path) == [10, 20]


def test_a_topology_without_its_trajectory_is_written_anew(
    go_model, make_reporter, tmp_path
) -> None:
    simulation = go_model.create_simulation(platform="Reference")
    with make_reporter() as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    # as a kill leaves them between the topology and the first frame
    (tmp_path / "aa.xtc").unlink()
    (tmp_path / "aa.xtc.journal").write_bytes(b"")
    with make_reporter(append=True) as reporter:
        simulation.reporters = [reporter]
        simulation.step(20)
    assert load(tmp_path).n_frames == 2


def test_a_restart_behind_the_file_says_what_is_missing(
    go_model, make_reporter
) -> None:
    simulation = go_model.create_simulation(platform="Reference")
    with make_reporter("aa.dcd") as reporter:
        simulation.reporters.append(reporter)
        simulation.step(20)
    simulation.reporters.clear()
    simulation.step(30)
    with (
        pytest.warns(BackmapWarning, match="at step 50.*missing.*DCD holds no st"),
        make_reporter("aa.dcd", append=True) as reporter,
    ):
        simulation.reporters.append(reporter)
        simulation.step(10)


def test_steps_that_go_back_within_a_run_are_written(
    go_model, make_reporter, tmp_path
) -> None:
    simulation = go_model.create_simulation(platform="Reference")
    with make_reporter(append=True) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(30)
        reporter.flush()
        simulation.currentStep = 0
        simulation.step(20)
    assert reporter.nFrames == 5
    assert load(tmp_path).n_frames == 5


@pytest.mark.parametrize("delay", [0.0, 5.0])
def test_steps_that_go_back_after_a_restart_are_written(
    go_model, make_reporter, tmp_path, delay
) -> None:
    """What the file held is skipped until the run is past it, and not later."""
    options = {
        "append": True,
        "metricsFile": "aa.csv",
        "minimize": {"maxIterations": 1},
    }
    simulation = go_model.create_simulation(platform="Reference")
    with make_reporter(**options) as reporter:
        simulation.reporters.append(reporter)
        simulation.step(30)
    simulation.currentStep = 10
    with (
        pytest.warns(BackmapWarning, match="from step 10 to there are skipped"),
        make_reporter(**options, maxDelay=delay) as reporter,
    ):
        simulation.reporters[0] = reporter
        simulation.step(30)
        simulation.currentStep = 0
        simulation.step(20)
    assert reporter.nFrames == 3
    assert load(tmp_path).n_frames == 6
    assert read_steps(tmp_path)[::2] == [10, 20, 30, 40, 10, 20]


def test_a_frame_that_was_lost_at_the_checkpoint_itself_is_said(
    go_model, make_reporter
) -> None:
    simulation = go_model.create_simulation(platform="Reference")
    with make_reporter() as reporter:
        simulation.reporters.append(reporter)
        simulation.step(10)
    simulation.reporters.clear()
    simulation.step(10)
    with (
        pytest.warns(BackmapWarning, match="up to step 10 already.*at step 20"),
        make_reporter(append=True) as reporter,
    ):
        simulation.reporters.append(reporter)
        simulation.step(10)
