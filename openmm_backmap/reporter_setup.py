"""What a reporter needs: its settings, checked, and the open pipeline."""

import inspect
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openmm_backmap.errors import BackmapWarning, InputError
from openmm_backmap.frames import AtomFrame, CGFrame
from openmm_backmap.paths import check_absent, check_folder

if TYPE_CHECKING:
    from openmm_backmap.backmapper import Backmapper
    from openmm_backmap.mapping.atom_topology import AtomTopology
    from openmm_backmap.minimizer import Minimizer
    from openmm_backmap.output import TrajectoryOutput
    from openmm_backmap.pipeline import Pipeline

__all__ = [
    "ReporterSettings",
    "copy_frame",
    "make_backmapper",
    "make_minimizer",
    "open_pipeline",
]

FORMATS = (".dcd", ".xtc", ".pdb", ".cif")
"""Suffixes a trajectory may have."""

TOPOLOGY_FORMATS = (".pdb", ".cif")
"""Suffixes a topology file may have."""


@dataclass(frozen=True, kw_only=True)
class ReporterSettings:
    """Arguments of `BackmapReporter`, checked without loading a library.

    Attributes
    ----------
    file, minimized_file, metrics_file, topology_file : Path or None
        Outputs.
    interval, minimize_interval : int
        Steps between frames, and between minimized frames.
    samples : int or None
        Structures a frame.
    minimize : bool, dict or Minimizer
        See `BackmapReporter`.
    append, overwrite : bool
        What to do with existing files.
    atom_subset, chains : sequence or None
        The part wanted.
    callback : callable or None
        Called with each AtomFrame.
    model_options : mapping
        Arguments of `Backmapper.from_topology`.
    """

    file: Path
    interval: int
    samples: int | None
    minimize: Any
    minimize_interval: int
    minimized_file: Path | None
    metrics_file: Path | None
    topology_file: Path | None
    append: bool
    overwrite: bool
    atom_subset: Sequence[int] | None
    chains: Sequence[str] | None
    callback: Callable[[AtomFrame], None] | None
    model_options: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        check_positive("reportInterval", self.interval)
        check_positive("minimizeInterval", self.minimize_interval)
        if self.samples is not None:
            check_positive("samples", self.samples)
        if self.callback is not None and not callable(self.callback):
            raise InputError(f"callback: {self.callback!r} came, wanted a function")
        if self.append and self.overwrite:
            raise InputError("append and overwrite were both asked for; choose one")
        if self.minimize_interval % self.interval:
            raise InputError(
                f"minimizeInterval: {self.minimize_interval} came, wanted a multiple "
                f"of reportInterval ({self.interval})"
            )
        self._check_files()

    def _check_files(self) -> None:
        """Refuse names that cannot be written."""
        names = [
            path
            for path in (
                self.file,
                self.minimized_file,
                self.metrics_file,
                self.topology_file,
            )
            if path is not None
        ]
        if len({os.path.abspath(path) for path in names}) < len(names):
            raise InputError(
                f"two outputs have one name: {', '.join(str(n) for n in names)}"
            )
        for path, formats in (
            (self.file, FORMATS),
            (self.minimized_file, FORMATS),
            (self.topology_file, TOPOLOGY_FORMATS),
        ):
            if path is not None and path.suffix.lower() not in formats:
                raise InputError(
                    f"{path}: unknown format {path.suffix!r}, wanted one of "
                    f"{', '.join(formats)}"
                )
        for path in names:
            check_folder(path)
            if not (self.append or self.overwrite):
                check_absent(path)


def make_backmapper(
    settings: ReporterSettings, simulation: Any, frame: CGFrame
) -> "Backmapper":
    """Understand the topology of a simulation, load the model and try it.

    Parameters
    ----------
    settings : ReporterSettings
        The arguments.
    simulation : openmm.app.Simulation
        The simulation.
    frame : CGFrame
        Its positions now; all zero before they are set.

    Returns
    -------
    Backmapper
        It has backmapped the frame once, if there was one.
    """
    # imported here: torch takes a second, and only a run needs it
    from openmm_backmap.backmapper import Backmapper
    from openmm_backmap.mapping.cg_topology import CGTopology
    from openmm_backmap.mapping.subset import select_beads, select_chains

    def select(topology: CGTopology) -> CGTopology:
        if settings.chains is not None:
            topology = select_chains(topology, settings.chains)
        if settings.atom_subset is not None:
            topology = select_beads(topology, settings.atom_subset)
        return topology

    is_set = bool(np.isfinite(frame.positions).all() and frame.positions.any())
    backmapper = Backmapper.from_topology(
        simulation.topology,
        positions=frame.positions if is_set else None,
        box=frame.box,
        system=simulation.system,
        select=select,
        **settings.model_options,
    )
    if backmapper.cg_topology.skipped_summary:
        warnings.warn(
            backmapper.cg_topology.skipped_summary, BackmapWarning, stacklevel=5
        )
    if is_set:
        # TorchScript compiles in its first two passes: better now than beside
        # the simulation, unless the system is so large that a pass takes longer
        n_passes = 2 if backmapper.cg_topology.n_residues < 500 else 1
        for _ in range(n_passes):
            backmapper.backmap([frame], settings.samples)
    return backmapper


def open_pipeline(
    settings: ReporterSettings, backmapper: "Backmapper", step: int
) -> "Pipeline":
    """Open all outputs, or none.

    Parameters
    ----------
    settings : ReporterSettings
        The arguments.
    backmapper : Backmapper
        Ready to run.
    step : int
        Where the simulation stands.

    Returns
    -------
    Pipeline
        Takes frames.
    """
    from openmm_backmap.metrics_table import MetricsTable
    from openmm_backmap.output import journal_path
    from openmm_backmap.pipeline import Pipeline

    topology = backmapper.atom_topology
    minimizer = make_minimizer(
        settings.minimize, topology, settings.model_options.get("threads")
    )
    topology_file = _choose_topology_file(settings, topology)
    # a run that was killed leaves its journal, even an empty one
    is_new = not journal_path(settings.file).exists()
    outputs = _open_outputs(settings, backmapper)
    last_step = outputs[0].last_step
    metrics = None
    try:
        if last_step is None:
            _check_others(settings, topology_file, is_new)
        if settings.metrics_file is not None:
            metrics = MetricsTable(
                settings.metrics_file, append=settings.append, last_step=last_step
            )
    except BaseException:
        for output in outputs:
            output.close()
        raise
    _warn_of_restart(settings, step, last_step)
    if last_step is not None and topology_file is not None and topology_file.exists():
        topology_file = None
    return Pipeline(
        backmapper,
        outputs[0],
        minimizer=minimizer,
        minimized_output=outputs[1] if len(outputs) > 1 else None,
        minimize_interval=settings.minimize_interval,
        metrics=metrics,
        topology_file=topology_file,
        samples=settings.samples,
        skip_written=settings.append,
        callback=settings.callback,
    )


def _choose_topology_file(
    settings: ReporterSettings, topology: "AtomTopology"
) -> Path | None:
    """Where the all-atom topology goes, if it fits there."""
    from openmm_backmap.output import choose_topology_path
    from openmm_backmap.trajectory import check_holds

    path = settings.topology_file
    if path is None:
        path = choose_topology_path(settings.file, topology)
        if path is not None and not (settings.append or settings.overwrite):
            check_absent(path)
    else:
        check_holds(path, topology.topology)
    return path


def _open_outputs(
    settings: ReporterSettings, backmapper: "Backmapper"
) -> "list[TrajectoryOutput]":
    """Open the trajectories, both or none."""
    from openmm_backmap.output import TrajectoryOutput

    note = {"model": backmapper.engine.metadata.name, "seed": backmapper.seed}
    outputs: list[TrajectoryOutput] = []
    try:
        for path in (settings.file, settings.minimized_file):
            if path is None:
                continue
            outputs.append(
                TrajectoryOutput(
                    path,
                    backmapper.atom_topology,
                    append=settings.append,
                    overwrite=settings.overwrite,
                    samples=settings.samples or 1,
                    note=note,
                )
            )
    except BaseException:
        for output in outputs:
            output.close()
        raise
    return outputs


def _check_others(
    settings: ReporterSettings, topology_file: Path | None, is_new: bool
) -> None:
    """Refuse to replace files that do not belong to a trajectory yet to begin."""
    from openmm_backmap.metrics_table import has_structures
    from openmm_backmap.output import is_own_topology

    if not settings.append:
        return
    if topology_file is not None and not is_own_topology(topology_file):
        check_absent(topology_file, "overwrite=True")
    metrics_file = settings.metrics_file
    if is_new and metrics_file is not None and has_structures(metrics_file):
        raise InputError(
            f"{metrics_file}: holds rows of another trajectory, as {settings.file} "
            "does not exist yet; choose another name or remove it"
        )


def _warn_of_restart(
    settings: ReporterSettings, step: int, last_step: int | None
) -> None:
    """Say which frames are skipped, or missing, where a run goes on."""
    if last_step is None:
        return
    text = ""
    if step < last_step:
        text = f"frames from step {step} to there are skipped"
    elif step // settings.interval * settings.interval > last_step:
        text = (
            f"the run goes on at step {step}, so later ones up to there are missing. "
            "Restart from an older checkpoint, or call flush() before each one"
        )
        if settings.file.suffix.lower() == ".dcd":
            text += "; DCD holds no steps, so times read from it are wrong from here on"
    if text:
        warnings.warn(
            f"{settings.file}: holds frames up to step {last_step} already; {text}",
            BackmapWarning,
            stacklevel=6,
        )


def make_minimizer(
    minimize: Any, topology: Any, threads: int | None
) -> "Minimizer | None":
    """Make a Minimizer from True or its arguments, or check the one given.

    Parameters
    ----------
    minimize : bool, dict or Minimizer
        What the user said.
    topology : AtomTopology
        Of the output.
    threads : int or None
        Threads of the CPU platform, unless a dict says otherwise.

    Returns
    -------
    Minimizer or None
        None if `minimize` is False.
    """
    from openmm_backmap.minimizer import Minimizer

    if minimize is False or minimize is None:
        return None
    if minimize is True:
        return Minimizer(topology, threads=threads)
    if isinstance(minimize, Mapping):
        known = inspect.signature(Minimizer).parameters
        for name in minimize:
            if name not in known:
                raise InputError(
                    f"minimize: {name!r} is no argument of Minimizer, wanted "
                    f"{', '.join(list(known)[1:])}"
                )
        return Minimizer(topology, **{"threads": threads, **minimize})
    if not isinstance(minimize, Minimizer):
        raise InputError(
            f"minimize: {minimize!r} came, wanted True, a dict of arguments or a "
            "Minimizer"
        )
    if minimize.n_atoms != topology.n_atoms:
        raise InputError(
            f"minimize: a Minimizer of {minimize.n_atoms} atoms came, the output has "
            f"{topology.n_atoms}; make it of this atom_topology"
        )
    return minimize


def check_positive(name: str, value: Any) -> int:
    """Return a whole number of at least 1, or say which argument is wrong.

    Parameters
    ----------
    name : str
        Of the argument.
    value : int
        What came.

    Returns
    -------
    int
        The number.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1 or number != value:
        raise InputError(f"{name}: {value!r} came, wanted a whole number, 1 or more")
    return number


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return a word, or say which words there are.

    Parameters
    ----------
    name : str
        Of the argument.
    value : str
        What came.
    choices : sequence of str
        What is wanted.

    Returns
    -------
    str
        The word.

    Raises
    ------
    InputError
        If it is another one.
    """
    if value not in choices:
        raise InputError(f"{name}: {value!r} came, wanted one of {', '.join(choices)}")
    return value


def copy_frame(simulation: Any, state: Any) -> CGFrame:
    """Copy what we need out of a State, which others share.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        The simulation.
    state : openmm.State
        With positions.

    Returns
    -------
    CGFrame
        Of the current step.
    """
    positions = state.getPositions(asNumpy=True)._value
    box = None
    # an unperiodic System has default box vectors, too
    if simulation.system.usesPeriodicBoundaryConditions():
        box = state.getPeriodicBoxVectors(asNumpy=True)._value
    return CGFrame(
        positions=np.array(positions, np.float32),
        box=None if box is None else np.array(box, np.float32),
        step=int(simulation.currentStep),
        time=float(state.getTime()._value),
    )
