"""Faults: each is told once, the others' frames are kept, the run is the user's."""

import csv
import gc
import shutil
import subprocess
import sys
import warnings
import weakref

import mdtraj
import numpy as np
import pytest

from openmm_backmap import BackmapWarning
from openmm_backmap.errors import BackmapError, GeometryError, TrajectoryError


def take(reporter, simulation, n_frames: int, bad: int = -1) -> None:
    """Report frames of a simulation, one of them with a bead that is NaN."""
    for k in range(n_frames):
        simulation.step(1)
        state = simulation.context.getState(getPositions=True)
        if k == bad:
            positions = state.getPositions(asNumpy=True)._value
            positions[3] = np.nan
            state = BadState(state, positions)
        reporter.report(simulation, state)


class BadState:
    """A State in which the simulation blew up."""

    def __init__(self, state, positions) -> None:
        self._state = state
        self._positions = positions

    def getPositions(self, asNumpy=False):  # noqa: N802  OpenMM's name
        return self._state.getPositions(asNumpy=True).__class__(
            self._positions, self._state.getPositions(asNumpy=True).unit
        )

    def __getattr__(self, name):
        return getattr(self._state, name)


def test_a_frame_that_blew_up_stops_the_run_after_the_others_are_written(
    simulation, make_reporter, tmp_path
) -> None:
    reporter = make_reporter(metricsFile="aa.csv")
    with (
        pytest.raises(GeometryError, match="step 2: bead of residue .* is not finite"),
        pytest.warns(BackmapWarning, match="1 frames failed, 3 were written"),
    ):
        try:
            take(reporter, simulation, 4, bad=1)
        finally:
            reporter.close()
    trajectory = mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb")
    assert trajectory.n_frames == reporter.nFrames


def test_with_continue_the_run_goes_on_and_the_frame_is_flagged(
    simulation, make_reporter, tmp_path
) -> None:
    reporter = make_reporter(metricsFile="aa.csv", onError="continue")
    with pytest.warns(BackmapWarning) as told:
        take(reporter, simulation, 6, bad=2)
        reporter.flush()
        take(reporter, simulation, 2, bad=0)
        reporter.close()
    messages = [str(warning.message) for warning in told]
    assert sum("is not finite" in message for message in messages) == 1
    assert any("2 frames failed, 6 were written" in message for message in messages)
    trajectory = mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb")
    assert trajectory.n_frames == 6
    with open(tmp_path / "aa.csv", newline="") as file:
        rows = {int(row["step"]): row["status"] for row in csv.DictReader(file)}
    assert rows[3].startswith("failed: frame at step 3")
    assert [step for step, status in rows.items() if status == "ok"] == [
        1, 2, 4, 5, 6, 8,
    ]  # fmt: skip


def test_a_synchronous_reporter_raises_at_once(simulation, make_reporter) -> None:
    reporter = make_reporter(background=False)
    take(reporter, simulation, 1)
    with pytest.raises(GeometryError):
        take(reporter, simulation, 1, bad=0)
    take(reporter, simulation, 1)
    with pytest.warns(BackmapWarning, match="1 frames failed, 2 were written"):
        reporter.close()


def test_a_bead_that_flew_away_is_backmapped_all_the_same(
    simulation, make_reporter, tmp_path
) -> None:
    positions = simulation.context.getState(getPositions=True).getPositions(True)._value
    positions[50:] += 40.0
    simulation.context.setPositions(positions)
    with make_reporter(metricsFile="aa.csv") as reporter:
        state = simulation.context.getState(getPositions=True)
        reporter.report(simulation, state)
    with open(tmp_path / "aa.csv", newline="") as file:
        row = next(csv.DictReader(file))
    assert row["status"] == "ok"
    assert float(row["bond_fraction"]) <= 1.0


def test_an_error_of_the_callback_is_told(simulation, make_reporter, tmp_path) -> None:
    def count(frame) -> None:
        if frame.step == 2:
            raise KeyError("my own mistake")

    reporter = make_reporter(callback=count)
    with pytest.raises(BackmapError, match="callback at step 2: KeyError: 'my own"):
        try:
            take(reporter, simulation, 3)
        finally:
            reporter.close()
    trajectory = mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb")
    assert trajectory.n_frames >= 2


@pytest.mark.parametrize("background", [True, False])
def test_failures_of_days_keep_no_frames(simulation, make_reporter, background) -> None:
    seen = []

    def fail(frame) -> None:
        seen.append(weakref.ref(frame))
        raise KeyError("my own mistake")

    reporter = make_reporter(callback=fail, onError="continue", background=background)
    with pytest.warns(BackmapWarning, match="the simulation goes on"):
        take(reporter, simulation, 5)
        reporter.flush()
    take(reporter, simulation, 5)
    reporter.flush()
    gc.collect()
    assert len(seen) == 10
    assert sum(frame() is not None for frame in seen) <= 1  # the one in hand
    reporter.close()


@pytest.mark.parametrize("suffix", ["xtc", "dcd", "pdb"])
@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_a_vanished_folder_is_told(
    simulation, make_reporter, tmp_path, suffix, on_error
) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    reporter = make_reporter(f"gone/aa.{suffix}", onError=on_error, background=False)
    take(reporter, simulation, 2)
    shutil.rmtree(folder)
    if on_error == "stop":
        with pytest.raises(TrajectoryError, match="cannot write step 3"):
            take(reporter, simulation, 1)
    else:
        with pytest.warns(BackmapWarning, match="cannot write step 3"):
            take(reporter, simulation, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BackmapWarning)
        reporter.close()
    assert reporter.nFrames == 2


FULL_DISK = """
import resource, sys, warnings
from openmm_backmap import BackmapReporter
from openmm_backmap.testsystems import CAGoModel

simulation = CAGoModel().create_simulation(platform="Reference", seed=3)
reporter = BackmapReporter(
    "aa.{suffix}", 10, model="table", device="cpu", onError="{on_error}",
    topologyFile="top.cif", metricsFile="aa.csv",
)
simulation.reporters.append(reporter)
simulation.step(30)
reporter.flush()
size = {size}
resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
simulation.step(70)
reporter.close()
print(simulation.currentStep, reporter.nFrames, reporter.nFailed)
"""


@pytest.mark.parametrize("suffix", ["xtc", "dcd"])
@pytest.mark.parametrize("on_error", ["stop", "continue"])
def test_a_full_disk_keeps_what_was_written(tmp_path, suffix, on_error) -> None:
    pytest.importorskip("resource")
    code = FULL_DISK.format(
        suffix=suffix,
        on_error=on_error,
        size=f"int(5.5 * __import__('os').path.getsize('aa.{suffix}') / 3)",
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    written = mdtraj.load(
        tmp_path / f"aa.{suffix}", top=mdtraj_topology(tmp_path / "top.cif")
    )
    if on_error == "continue":
        assert result.returncode == 0, result.stderr
        assert result.stdout.split() == ["100", "5", "5"]
        assert result.stderr.count("the simulation goes on") == 1
        assert written.n_frames == 5
    else:
        assert result.returncode == 1
        assert "TrajectoryError" in result.stderr and "cannot write" in result.stderr
        assert 3 <= written.n_frames <= 5
    if suffix == "xtc":
        expected = 0.1 * np.arange(1, written.n_frames + 1)
        np.testing.assert_allclose(written.time, expected, atol=1e-4)


def mdtraj_topology(path):
    from openmm import app

    return mdtraj.Topology.from_openmm(app.PDBxFile(str(path)).topology)


def test_frames_left_out_of_a_full_queue_are_counted(
    simulation, make_reporter, tmp_path
) -> None:
    import threading

    gate = threading.Event()
    reporter = make_reporter(
        queuePolicy="drop", queueSize=1, callback=lambda frame: gate.wait(10)
    )
    with pytest.warns(BackmapWarning, match="frames were dropped"):
        take(reporter, simulation, 12)
        gate.set()
        reporter.close()
    assert reporter.nDropped > 0
    assert reporter.nDropped + reporter.nFrames == 12
    trajectory = mdtraj.load(tmp_path / "aa.xtc", top=tmp_path / "aa.pdb")
    assert trajectory.n_frames == reporter.nFrames


def test_an_error_of_the_simulation_goes_before_ours(simulation, make_reporter) -> None:
    with (
        pytest.warns(BackmapWarning, match="is not finite"),
        pytest.raises(ZeroDivisionError),
        make_reporter() as reporter,
    ):
        take(reporter, simulation, 1, bad=0)
        raise ZeroDivisionError
