"""What a BackmapReporter costs a running simulation (Linux only).

    python tests/benchmarks/benchmark_reporter.py [go calvados report] [--steps 20000]

For each case the same trajectory runs without a reporter, with the worker
thread and with the reporter in the simulation's own thread, in turns (each turn
begins with another), with one OpenMM thread and one torch thread. Printed are
medians over the turns:

* wall: of the steps, as a ratio to the run without;
* free: the same less the time in which the simulation's threads stood in the
  kernel's queue for a core (Linux): the wall of a machine with a core to spare,
  with all that the worker takes from it by the interpreter lock and the caches;
* sim: CPU of the simulation's own threads, as a ratio;
* CPU: of the whole process, as a ratio: the wall's bound when no core is free;
* own: CPU of `report` and of the worker, over that of the run without: the same
  bound, without the noise of two long runs;
* report: wall and CPU in `report`, which the simulation always waits for.

The simulation's threads share one core, the worker has another: left to the
kernel, OpenMM's two threads wake each other faster when the other cores are
busy, and a run with a worker is then the faster one (by 9 to 14 % here).
Wall times of a machine that others use say little; the others still do.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import openmm
import torch
from openmm import app, unit

from openmm_backmap import BackmapReporter
from openmm_backmap.testsystems import CAGoModel

CALVADOS = Path(__file__).resolve().parents[3] / "shared" / "cases" / "calvados2_A1SLCD"
CORES = sorted(os.sched_getaffinity(0))
MODES = ("none", "worker", "synchronous")


def make_go() -> app.Simulation:
    """Fold S6 cut to 65 residues."""
    source = (
        Path(__file__).resolve().parents[2] / "openmm_backmap" / "data" / "1ris.pdb"
    )
    structure = app.PDBFile(str(source))
    modeller = app.Modeller(structure.topology, structure.positions)
    modeller.delete(list(structure.topology.residues())[65:])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "go65.pdb"
        with open(path, "w") as file:
            app.PDBFile.writeFile(modeller.topology, modeller.positions, file)
        model = CAGoModel(path)
    return make_simulation(model.topology, model.system, model.positions, 0.015)


def make_calvados() -> app.Simulation:
    """Run a disordered chain of 131 residues from its saved System."""
    structure = app.PDBFile(str(CALVADOS / "top.pdb"))
    system = openmm.XmlSerializer.deserialize((CALVADOS / "A1SLCD.xml").read_text())
    return make_simulation(structure.topology, system, structure.positions, 0.01)


def make_simulation(
    topology: app.Topology, system: openmm.System, positions: object, step_ps: float
) -> app.Simulation:
    """Make a Simulation on one thread."""
    integrator = openmm.LangevinMiddleIntegrator(
        293.0 * unit.kelvin, 0.01 / unit.picosecond, step_ps * unit.picosecond
    )
    # one trajectory for all: another one has other neighbours to compute
    integrator.setRandomNumberSeed(1)
    platform = openmm.Platform.getPlatform("CPU")
    simulation = app.Simulation(
        topology, system, integrator, platform, {"Threads": "1"}
    )
    simulation.context.setPositions(positions)
    simulation.minimizeEnergy(maxIterations=100)
    simulation.context.setVelocitiesToTemperature(293.0, 1)
    return simulation


def list_threads() -> set[str]:
    """List the threads of this process."""
    return set(os.listdir("/proc/self/task"))


def read_threads(threads: set[str]) -> np.ndarray:
    """Read the seconds on a core and in the queue for one, summed over threads."""
    total = np.zeros(2)
    for thread in threads:
        text = Path(f"/proc/self/task/{thread}/schedstat").read_text()
        total += [1e-9 * int(word) for word in text.split()[:2]]
    return total


class TimedReporter(BackmapReporter):
    """A BackmapReporter that notes the time in `report`."""

    def report(self, simulation: app.Simulation, state: openmm.State) -> None:
        """Note wall and CPU of this thread."""
        wall, cpu = time.perf_counter(), time.thread_time()
        super().report(simulation, state)
        self.times.append((time.perf_counter() - wall, time.thread_time() - cpu))
        # the worker inherits the simulation's core
        for thread in list_threads() - self.known_threads:
            os.sched_setaffinity(int(thread), CORES[-1:])


def run(make: object, mode: str, interval: int, n_steps: int, model: str) -> dict:
    """Run once; the last frames are waited for after the clock stopped."""
    others = list_threads() - {str(threading.get_native_id())}
    os.sched_setaffinity(0, CORES[:1])
    simulation = make()
    mine = list_threads() - others
    worker_cpu = [0.0]
    with tempfile.TemporaryDirectory() as folder:
        reporter = None
        if mode != "none":
            reporter = TimedReporter(
                Path(folder) / "aa.xtc",
                interval,
                model=model,
                device="cpu",
                threads=1,
                background=mode == "worker",
                callback=lambda frame: worker_cpu.append(time.thread_time()),
            )
            reporter.times = []
            reporter.known_threads = list_threads()
            simulation.reporters.append(reporter)
        simulation.step(interval // 4)
        wall, cpu = time.perf_counter(), time.process_time()
        queue = read_threads(mine)
        simulation.step(n_steps)
        wall = time.perf_counter() - wall
        queue = read_threads(mine) - queue
        if mode == "worker":
            reporter.flush()
        cpu = time.process_time() - cpu
        row = {"wall": wall, "cpu": cpu, "own": 0.0}
        row |= {"sim": queue[0], "free": wall - queue[1]}
        if reporter is not None:
            reporter.close()
            row["own"] = sum(cpu for _, cpu in reporter.times)
            if mode == "worker":
                row["own"] += max(worker_cpu)
            row["frames"] = reporter.nFrames
            row["report"] = [1000 * x for x in np.median(reporter.times, axis=0)]
            row["slowest"] = 1000 * max(wall for wall, _ in reporter.times)
    return row


def compare(name: str, interval: int, n_steps: int, turns: int, model: str) -> None:
    """Run all modes in turns and print the ratios."""
    make = {"go": make_go, "calvados": make_calvados}[name]
    rows: dict[str, list[dict]] = {mode: [] for mode in MODES}
    for turn in range(turns):
        for mode in MODES[turn % 3 :] + MODES[: turn % 3]:
            rows[mode].append(run(make, mode, interval, n_steps, model))
    base = rows["none"]
    print(
        f"{name}: {n_steps} steps, a frame every {interval}; without a reporter "
        f"{statistics.median(r['wall'] for r in base):.2f} s wall, "
        f"{statistics.median(r['cpu'] for r in base):.2f} s CPU (spread "
        f"{100 * (max(r['cpu'] for r in base) / min(r['cpu'] for r in base) - 1):.1f}"
        f" %), {turns} turns"
    )
    for mode in MODES[1:]:
        text = [f"  {mode:12s}"]
        for key in ("wall", "free", "sim", "cpu", "own"):
            less = 0.0 if key == "own" else 1.0
            bases = [row["cpu" if key == "own" else key] for row in base]
            ratio = statistics.median(row[key] for row in rows[mode])
            ratio = ratio / statistics.median(bases) - less
            text.append(f"{key} {100 * ratio:+.1f} %")
        report = np.median([r["report"] for r in rows[mode]], axis=0)
        slowest = max(r["slowest"] for r in rows[mode])
        text.append(f"report {report[0]:.2f} ms wall, {report[1]:.2f} ms CPU")
        text.append(f"slowest {slowest:.1f} ms, {rows[mode][0]['frames']} frames")
        print("  ".join(text), flush=True)


def time_reports(n_chains: int, n_residues: int, model: str) -> None:
    """Time `report` alone, for a system of many beads without forces."""
    topology, system = app.Topology(), openmm.System()
    for k in range(n_chains):
        chain = topology.addChain(str(k))
        for number in range(n_residues):
            residue = topology.addResidue("SER", chain, str(number + 1))
            topology.addAtom("CA", app.Element.getBySymbol("C"), residue)
            system.addParticle(100.0)
    box = np.eye(3) * (4.0 * n_chains ** (1 / 3) + 10.0)
    system.setDefaultPeriodicBoxVectors(*box)
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    for _ in range(n_chains * n_residues):
        force.addParticle(0.0, 1.0, 0.0)
    system.addForce(force)
    turn = np.arange(n_residues)
    chain = np.stack(
        [0.23 * np.cos(1.745 * turn), 0.23 * np.sin(1.745 * turn), 0.15 * turn], -1
    )
    side = int(np.ceil(np.sqrt(n_chains)))
    places = np.array([(2.0 * (k % side), 2.0 * (k // side), 0.0)
                       for k in range(n_chains)])  # fmt: skip
    positions = (places[:, None] + chain).reshape(-1, 3)
    simulation = app.Simulation(
        topology,
        system,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatform("CPU"),
        {"Threads": "1"},
    )
    simulation.context.setPositions(positions)
    with tempfile.TemporaryDirectory() as folder:
        with TimedReporter(
            Path(folder) / "aa.xtc", 1, model=model, device="cpu", hydrogens=False
        ) as reporter:
            reporter.times = []
            reporter.known_threads = list_threads()
            reporter.describeNextReport(simulation)
            for _ in range(3 if len(positions) > 5000 else 30):
                state = simulation.context.getState(getPositions=True)
                reporter.report(simulation, state)
                time.sleep(0.1)
        wall, cpu = 1000 * np.array(reporter.times).T
    print(
        f"report() of {len(positions)} beads, the worker busy: median "
        f"{np.median(wall):.2f} ms wall, {np.median(cpu):.2f} ms CPU; largest "
        f"{wall.max():.2f} ms wall, {cpu.max():.2f} ms CPU",
        flush=True,
    )


def main() -> None:
    """Run the cases asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=["report", "go", "calvados"])
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--model", default="ca")
    arguments = parser.parse_args()
    print(f"openmm {openmm.__version__}, torch {torch.__version__}, {arguments.model}")
    if "report" in arguments.cases:
        time_reports(1, 131, arguments.model)
        time_reports(100, 137, arguments.model)
    if "go" in arguments.cases:
        compare("go", 1000, arguments.steps, arguments.turns, arguments.model)
    if "calvados" in arguments.cases and CALVADOS.exists():
        # whole intervals: 21,000 steps where 20,000 were asked for
        n_steps = -(-arguments.steps // 7000) * 7000
        compare("calvados", 7000, n_steps, arguments.turns, arguments.model)


if __name__ == "__main__":
    main()
