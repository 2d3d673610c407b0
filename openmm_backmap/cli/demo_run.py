"""What the demo does: simulate, backmap on the fly, check, draw."""

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mdtraj
import numpy as np

from openmm_backmap.benchmark.plots import plot_run, read_metrics
from openmm_backmap.cli.progress import FrameProgress
from openmm_backmap.errors import InputError, TrajectoryError
from openmm_backmap.frames import AtomFrame
from openmm_backmap.reporter import BackmapReporter

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["DemoSystem", "choose_systems", "run_demo"]


@dataclass(frozen=True)
class DemoSystem:
    """A simulation of the demo.

    Attributes
    ----------
    name : str
        Of its files.
    title : str
        For people.
    model : CGTestSystem
        What is simulated.
    interval : int
        Steps between frames.
    n_frames : int
        Frames.
    minimize_every : int
        Frames between minimized ones.
    """

    name: str
    title: str
    model: Any
    interval: int
    n_frames: int
    minimize_every: int


def choose_systems(quick: bool) -> list[DemoSystem]:
    """Return the simulations of the demo.

    Parameters
    ----------
    quick : bool
        Whether to run only a few frames.

    Returns
    -------
    list of DemoSystem
        A folded protein and a disordered one in a periodic box.
    """
    from openmm_backmap.testsystems import CAGoModel, HPSModel

    box = np.diag([30.0, 30.0, 30.0])
    n_frames, every = (6, 3) if quick else (40, 5)
    interval = 200 if quick else 500
    return [
        DemoSystem(
            "folded",
            "ribosomal protein S6 (1RIS), structure-based model",
            CAGoModel(),
            interval,
            n_frames,
            every,
        ),
        DemoSystem(
            "disordered",
            "low-complexity domain of hnRNPA1, HPS-kind model",
            HPSModel(box=box),
            interval,
            n_frames // 2,
            every,
        ),
    ]


def run_demo(arguments: argparse.Namespace) -> int:
    """Run all simulations and show what came of them.

    Parameters
    ----------
    arguments : argparse.Namespace
        See `openmm_backmap.cli.demo`.

    Returns
    -------
    int
        Exit code.
    """
    from rich.console import Console

    folder = Path(arguments.output)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror})") from error
    # a hundred beads: a second OpenMM thread would only take the model's core
    os.environ.setdefault("OPENMM_CPU_THREADS", "1")
    console = Console(highlight=False)
    columns = []
    for system in choose_systems(arguments.quick):
        console.print(f"[bold]{system.title}[/bold]")
        columns.append(_run_system(system, folder, arguments.model, console))
    console.print(_make_table(columns))
    for name in ("folded", "disordered"):
        console.print(
            f"[bold]{folder / name}[/bold].xtc + .pdb (all atoms), _minimized.xtc, "
            ".csv (checks), .png (picture)",
            soft_wrap=True,
        )
    console.print(
        f"look at them with: vmd {folder}/folded.pdb {folder}/folded.xtc, or in "
        f"PyMOL: load {folder}/folded.pdb; load_traj {folder}/folded.xtc",
        soft_wrap=True,
    )
    return 0


def _run_system(
    system: DemoSystem, folder: Path, model: str | None, console: "Console"
) -> dict[str, str]:
    """Simulate with a reporter; return the figures of the table's column."""
    simulation = system.model.create_simulation()
    simulation.minimizeEnergy()
    # the same steps without a reporter, for the comparison
    n_alone = max(1, system.n_frames // 4)
    simulation.step(system.interval)
    started = time.perf_counter()
    simulation.step(n_alone * system.interval)
    alone = n_alone * system.interval / (time.perf_counter() - started)
    simulation.currentStep = 0
    simulation.context.setTime(0.0)

    last: list[AtomFrame] = []
    file = folder / f"{system.name}.xtc"
    beads = np.zeros((0, 3))
    with BackmapReporter(
        file,
        system.interval,
        model=model,
        minimize=True,
        minimizeInterval=system.interval * system.minimize_every,
        metricsFile=file.with_suffix(".csv"),
        overwrite=True,
        callback=lambda frame: _keep_last(last, frame),
    ) as reporter:
        reporter.describeNextReport(simulation)
        simulation.reporters.append(reporter)
        started = time.perf_counter()
        with FrameProgress("frames", system.n_frames) as progress:
            for _ in range(system.n_frames):
                simulation.step(system.interval)
                progress.advance(1)
        watched = simulation.currentStep / (time.perf_counter() - started)
        beads = simulation.context.getState(getPositions=True).getPositions(True)._value
        reporter.flush()
        topology = reporter.backmapper.atom_topology
    _check_output(file, system.n_frames, topology.n_atoms)
    rows = read_metrics(file.with_suffix(".csv"))
    try:
        plot_run(
            file.with_suffix(".png"),
            beads=beads[topology.cg.bead_index[:, 0]],
            chain_index=topology.cg.chain_index,
            atoms=last[0].positions,
            topology=topology.topology,
            rows=rows,
            title=system.title,
        )
    except InputError as error:  # matplotlib is an extra
        console.print(f"no picture: {error}")
    return _make_column(system, rows, topology, alone, watched)


def _keep_last(last: list[AtomFrame], frame: AtomFrame) -> None:
    """Remember the last frame of the model."""
    if frame.stage == "model":
        last[:] = [frame]


def _check_output(file: Path, n_frames: int, n_atoms: int) -> None:
    """Open the output as a user would."""
    trajectory = mdtraj.load(str(file), top=str(file.with_suffix(".pdb")))
    if (trajectory.n_frames, trajectory.n_atoms) != (n_frames, n_atoms):
        raise TrajectoryError(
            f"{file}: holds {trajectory.n_frames} frames of {trajectory.n_atoms} "
            f"atoms, wanted {n_frames} of {n_atoms}; please report this"
        )


def _make_column(
    system: DemoSystem,
    rows: Sequence[dict[str, Any]],
    topology: Any,
    alone: float,
    watched: float,
) -> dict[str, str]:
    """Make the figures of one system."""
    raw = [row for row in rows if row["stage"] == "model"]
    relaxed = [row for row in rows if row["stage"] == "minimized"]

    def mean(which: Sequence[dict[str, Any]], name: str) -> float:
        return float(np.nanmean([row[name] for row in which]))

    def pair(name: str, pattern: str, factor: float = 1.0) -> str:
        return " / ".join(
            pattern.format(factor * mean(which, name)) for which in (raw, relaxed)
        )

    projection = max(row["projection_nm"] for row in raw)
    return {
        "": system.name,
        "beads -> atoms": f"{topology.cg.n_residues} -> {topology.n_atoms}",
        "all-atom frames written": f"{len(raw)} ({len(relaxed)} minimized)",
        "ms a frame, model / minimization": pair("milliseconds", "{:.0f}"),
        "steps/s, alone / with reporter": f"{alone:.0f} / {watched:.0f}",
        "mean confidence": f"{mean(raw, 'confidence'):.2f}",
        "farthest CA from its bead, A": f"{10 * projection:.2f}",
        "[bold]raw / minimized[/bold]": "",
        "bonds within 10 %": pair("bond_fraction", "{:.2f} %", 100),
        "peptide bonds within 10 %": pair("peptide_fraction", "{:.2f} %", 100),
        "wrong hands a frame": pair("wrong_hands", "{:.2f}"),
        "false cis a frame": pair("nonproline_cis", "{:.2f}"),
        "clashes per 1000 atoms": pair("clashes_per_1000", "{:.2f}"),
        "energy, kJ/mol (same frames)": " / ".join(
            f"{mean(relaxed, name):.0f}" for name in ("energy_before", "energy_after")
        ),
        "minimization moves atoms, A": f"{10 * mean(relaxed, 'displacement_nm'):.2f}",
    }


def _make_table(columns: Sequence[dict[str, str]]) -> Any:
    """Put the figures of all systems side by side."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, title="What was measured", title_justify="left")
    table.add_column("")
    for column in columns:
        table.add_column(column[""], justify="right")
    for name in list(columns[0])[1:]:
        table.add_row(name, *(column[name] for column in columns))
    return table
