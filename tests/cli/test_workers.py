"""Many workers give what one gives, and what a killed one had is done again."""

import csv
import itertools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from openmm import app, unit

from openmm_backmap import Backmapper
from openmm_backmap.cli.main import main
from openmm_backmap.errors import BackmapError
from openmm_backmap.parallel import (
    Chunk,
    ProcessorSpec,
    ProcessWorkers,
    compute_in_order,
)
from openmm_backmap.testsystems import CAGoModel
from openmm_backmap.trajectory import CGFrameChunks

N_FRAMES = 14


@pytest.fixture(scope="module")
def cg(tmp_path_factory) -> Path:
    """Make a folder with cg.pdb, a.dcd (9 frames) and b.dcd (5 frames)."""
    folder = tmp_path_factory.mktemp("cg")
    model = CAGoModel()
    with open(folder / "cg.pdb", "w") as file:
        app.PDBFile.writeFile(model.topology, model.positions, file)
    rng = np.random.default_rng(5)
    start = model.positions.value_in_unit(unit.nanometer)
    xyz = start + 0.02 * rng.standard_normal((N_FRAMES, *start.shape))
    topology = mdtraj.Topology.from_openmm(model.topology)
    trajectory = mdtraj.Trajectory(xyz.astype(np.float32), topology)
    trajectory[:9].save_dcd(str(folder / "a.dcd"))
    trajectory[9:].save_dcd(str(folder / "b.dcd"))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words_of(cg: Path, output: str, *more: object) -> list[str]:
    words = ["backmap", cg / "a.dcd", cg / "b.dcd", "-t", cg / "cg.pdb", "-o", output]
    words += ["-m", "table", "--device", "cpu", "-c", 2, *more]
    return [str(word) for word in words]


@pytest.fixture
def serial(cg, here) -> np.ndarray:
    """Give the positions (F, N, 3) of the serial run."""
    assert main(words_of(cg, "serial.dcd", "--metrics", "serial.csv")) == 0
    return read_positions("serial")


def read_positions(name: str) -> np.ndarray:
    return mdtraj.load(f"{name}.dcd", top=f"{name}.pdb").xyz


def read_checks(path: str) -> list[dict[str, str]]:
    """Read a metrics table without its times."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k != "milliseconds"} for row in rows]


def test_two_jobs_equal_the_serial_run(cg, here, serial) -> None:
    words = ("--metrics", "jobs.csv", "--jobs", 2)
    assert main(words_of(cg, "jobs.dcd", *words)) == 0
    assert Path("jobs.dcd").read_bytes() == Path("serial.dcd").read_bytes()
    assert Path("jobs.pdb").read_bytes() == Path("serial.pdb").read_bytes()
    assert read_checks("jobs.csv") == read_checks("serial.csv")
    assert len(serial) == N_FRAMES
    assert not list(here.glob("*partial*"))


def test_minimized_samples_are_the_same_with_jobs(cg, here) -> None:
    words = ("--samples", 2, "--minimize", "--minimize-stride", 3, "--threads", 1)
    some = ("--stop", 5)
    assert main(words_of(cg, "one.dcd", *words, *some)) == 0
    assert main(words_of(cg, "two.dcd", *words, *some, "-j", 2)) == 0
    assert Path("one.dcd").read_bytes() == Path("two.dcd").read_bytes()
    minimized = [
        mdtraj.load(f"{name}_minimized.dcd", top=f"{name}.pdb").xyz
        for name in ("one", "two")
    ]
    # frames 0 and 3, two samples each; the order of OpenMM's sums is its own
    assert minimized[0].shape[0] == 4
    np.testing.assert_allclose(*minimized, atol=0.05)


def test_equal_threads_give_equal_bytes(cg, here) -> None:
    """Not so with other threads in the workers: sums are split among them."""
    words = ("-m", "ca", "--threads", 3, "--samples", 2, "--stop", 4)
    assert main(words_of(cg, "one.dcd", *words)) == 0
    assert main(words_of(cg, "two.dcd", *words, "-j", 2)) == 0
    assert Path("one.dcd").read_bytes() == Path("two.dcd").read_bytes()


def make_chunks(cg: Path) -> list[Chunk]:
    chunks = CGFrameChunks([cg / "a.dcd", cg / "b.dcd"], chunk=2)
    return [
        Chunk(frames, [False] * len(frames), n_done)
        for frames, n_done in chunks.iterate()
    ]


@pytest.fixture
def spec(cg) -> ProcessorSpec:
    backmapper = Backmapper.from_topology(cg / "cg.pdb", "table", device="cpu")
    return ProcessorSpec(backmapper.cg_topology, "table", "cpu", {"threads": 1})


def test_chunks_of_killed_processes_are_done_again(cg, spec, serial) -> None:
    positions = []
    with closing(ProcessWorkers(spec, 2)) as workers:
        for number, (_, results) in enumerate(
            compute_in_order(workers, make_chunks(cg))
        ):
            positions += [result.atoms[0].positions for result in results]
            if number in (0, 3):
                os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    np.testing.assert_allclose(np.array(positions), serial, atol=1e-6)


def test_processes_that_always_die_are_told(cg, spec) -> None:
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(0.05):
            for child in multiprocessing.active_children():
                child.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        with (
            closing(ProcessWorkers(spec, 2)) as workers,
            pytest.raises(BackmapError, match="worker processes died 3 times"),
        ):
            list(compute_in_order(workers, make_chunks(cg)))
    finally:
        stop.set()
        killer.join()


def test_processes_end_when_their_parent_is_killed(cg, here) -> None:
    code = "import sys\nfrom openmm_backmap.cli.main import main\n"
    code += "if __name__ == '__main__':\n    main(sys.argv[1:])\n"
    Path("run.py").write_text(code)
    words = words_of(cg, "aa.dcd", "--jobs", 2, "-c", 1)
    parent = subprocess.Popen([sys.executable, "run.py", *words])
    wait_for(lambda: Path("aa.partial.dcd").exists())
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    if not children.exists():
        parent.kill()
        pytest.skip("no /proc to list children")
    pids = [int(pid) for pid in children.read_text().split()]
    parent.kill()
    parent.wait()
    assert len(pids) >= 2
    wait_for(lambda: not any(is_alive(pid) for pid in pids))
    # and the job goes on with other workers
    assert main(words_of(cg, "aa.dcd", "-c", 1, "--resume")) == 0
    assert main(words_of(cg, "whole.dcd", "-c", 1)) == 0
    np.testing.assert_array_equal(read_positions("aa"), read_positions("whole"))


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return text.rsplit(")", 1)[1].split()[0] not in ("Z", "X")


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


@pytest.mark.parametrize("n_written", [1, 3, 10])
def test_a_resumed_job_has_the_bytes_of_an_unbroken_one(
    cg, here, serial, monkeypatch, capsys, n_written
) -> None:
    from openmm_backmap.pipeline import Pipeline

    count = itertools.count()
    write = Pipeline.write

    def stop(self, result) -> None:
        if next(count) == n_written:
            raise KeyboardInterrupt
        write(self, result)

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "write", stop)
        assert main(words_of(cg, "aa.dcd", "--metrics", "aa.csv")) == 130
    jobs = 2 if n_written == 3 else 1
    more = ("--metrics", "aa.csv", "--resume", "--jobs", jobs)
    assert main(words_of(cg, "aa.dcd", *more)) == 0
    assert f"continuing after {n_written} of 14 frames" in capsys.readouterr().err
    np.testing.assert_array_equal(read_positions("aa"), serial)
    assert read_checks("aa.csv") == read_checks("serial.csv")


def test_a_kill_between_a_frame_and_its_minimized_frame_loses_neither(
    cg, here, monkeypatch
) -> None:
    from openmm_backmap.pipeline import Pipeline

    words = ("--minimize", "--stop", 3, "--threads", 1, "--metrics", "aa.csv")
    write_frames = Pipeline._write_frames
    count = itertools.count()

    def stop(self, output, frames) -> None:
        if next(count) == 3:  # the minimized frame of the second step
            raise KeyboardInterrupt
        write_frames(self, output, frames)

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "_write_frames", stop)
        assert main(words_of(cg, "aa.dcd", *words)) == 130
    assert main(words_of(cg, "aa.dcd", *words, "--resume")) == 0
    assert len(read_positions("aa")) == 3
    assert mdtraj.load("aa_minimized.dcd", top="aa.pdb").n_frames == 3
    stages = [row["stage"] for row in read_checks("aa.csv")]
    assert stages == ["model", "minimized"] * 3


def test_jobs_and_a_scheduler_exclude_each_other(cg, here, capsys) -> None:
    with pytest.raises(SystemExit) as left:
        main(words_of(cg, "aa.dcd", "-j", 2, "--scheduler", "tcp://localhost:1"))
    assert left.value.code == 2
    assert "--jobs and --scheduler" in capsys.readouterr().err


@pytest.fixture(scope="module")
def cluster():
    """Start two Dask workers, processes of one thread."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        yield cluster


def test_two_dask_workers_equal_the_serial_run(cg, here, serial, cluster) -> None:
    words = ("--metrics", "dask.csv", "--scheduler", cluster.scheduler_address)
    assert main(words_of(cg, "dask.dcd", *words)) == 0
    assert Path("dask.dcd").read_bytes() == Path("serial.dcd").read_bytes()
    assert read_checks("dask.csv") == read_checks("serial.csv")


def test_chunks_of_a_killed_dask_worker_are_done_again(
    cg, here, serial, cluster
) -> None:
    killed = []

    def kill() -> None:
        wait_for(lambda: Path("aa.partial.dcd").exists())
        killed.append(next(iter(cluster.workers.values())).process.process.pid)
        os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert main(words_of(cg, "aa.dcd", "--scheduler", cluster.scheduler_address)) == 0
    killer.join()
    assert killed and not is_alive(killed[0])
    np.testing.assert_array_equal(read_positions("aa"), serial)


def test_a_scheduler_file_that_is_not_there_is_told(cg, here, capsys) -> None:
    pytest.importorskip("distributed")
    assert main(words_of(cg, "aa.dcd", "--scheduler", "none.json")) == 1
    assert "none.json: no such file" in capsys.readouterr().err


def test_a_scheduler_that_is_not_there_is_told(cg, here, capsys, monkeypatch) -> None:
    dask = pytest.importorskip("dask")
    with dask.config.set({"distributed.comm.timeouts.connect": "1s"}):
        assert main(words_of(cg, "aa.dcd", "--scheduler", "tcp://127.0.0.1:9")) == 1
    assert "no answer" in capsys.readouterr().err
