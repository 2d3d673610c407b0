"""What a reporter writes to: its files, opened or refused, and the pipeline."""

import inspect
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmm_backmap.errors import BackmapWarning, InputError
from openmm_backmap.paths import check_absent
from openmm_backmap.reporter_setup import ReporterSettings

if TYPE_CHECKING:
    from openmm_backmap.backmapper import Backmapper
    from openmm_backmap.mapping.atom_topology import AtomTopology
    from openmm_backmap.minimizer import Minimizer
    from openmm_backmap.output import TrajectoryOutput
    from openmm_backmap.pipeline import Pipeline

__all__ = ["make_minimizer", "open_pipeline"]


def open_pipeline(
    settings: ReporterSettings,
    backmapper: "Backmapper",
    step: int,
    gpu: Mapping[str, Any] | None = None,
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
    gpu : mapping, optional
        Where the simulation runs, see `reporter_setup.find_gpu`.

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
        settings.minimize, topology, settings.model_options.get("threads"), gpu
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
    from openmm_backmap.output_topology import choose_topology_path
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
    from openmm_backmap.output_topology import is_own_topology

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
    minimize: Any,
    topology: Any,
    threads: int | None,
    gpu: Mapping[str, Any] | None = None,
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
    gpu : mapping, optional
        Platform and properties, unless a dict says one of them.

    Returns
    -------
    Minimizer or None
        None if `minimize` is False.
    """
    from openmm_backmap.minimizer import Minimizer

    if minimize is False or minimize is None:
        return None
    options = {"threads": threads, **(gpu or {})}
    if minimize is True:
        return Minimizer(topology, **options)
    if isinstance(minimize, Mapping):
        known = inspect.signature(Minimizer).parameters
        for name in minimize:
            if name not in known:
                raise InputError(
                    f"minimize: {name!r} is no argument of Minimizer, wanted "
                    f"{', '.join(list(known)[1:])}"
                )
        if {"platform", "properties"} & set(minimize):
            options = {"threads": threads}
        return Minimizer(topology, **{**options, **minimize})
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
