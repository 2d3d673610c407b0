"""An OpenMM reporter that writes a running CG simulation in all atoms."""

import os
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from numbers import Real
from pathlib import Path
from types import TracebackType
from typing import Any

from openmm_backmap.errors import BackmapError, BackmapWarning, InputError
from openmm_backmap.frames import AtomFrame
from openmm_backmap.reporter_outputs import open_pipeline
from openmm_backmap.reporter_setup import (
    ReporterSettings,
    check_choice,
    check_positive,
    copy_frame,
    find_gpu,
    make_backmapper,
)
from openmm_backmap.reporter_worker import FrameWorker

__all__ = ["BackmapReporter"]

_POLICIES = ("block", "drop")

_GATHER_RESIDUES = 2048
"""Residues (frames times residues) of one pass beyond which a larger one brings
nothing: with 65 residues, 16 frames at once cost two fifths less than one by one."""

_NICENESS = 5
"""A third of the simulation's share of a core that both want; with much less, a
worker on a crowded machine would fill its queue and then be waited for."""


class BackmapReporter:
    """Write a coarse-grained simulation in all atoms while it runs.

    Append it to ``simulation.reporters`` like any reporter of OpenMM.  The
    frames go to a worker thread; the simulation, its random numbers and its
    State are left alone.  Call `close` at the end, or use ``with``.

    Parameters
    ----------
    file : str or Path
        Trajectory to write; the suffix (.xtc, .dcd, .pdb, .cif) tells the
        format.  A topology to open it with stands beside it (aa.pdb for
        aa.xtc, or aa.cif where PDB cannot hold it), and a journal that
        restarts need (aa.xtc.journal).
    reportInterval : int
        Steps between frames.
    model : str or Path, optional
        Name of a packaged model or the path of a model file.  If None, the
        first of "ca" and "table" that is installed.
    device : str, optional
        Where the model runs: "cpu", "cuda", "cuda:1", ...; "auto" takes a GPU where
        there is one, the simulation's own if that runs on CUDA.
    seed : int, optional
        Seed of the samples.  The same seed and step give the same atoms, but for
        rounding: it depends on how many frames share a pass, and now and then
        turns a side chain of a sample that stood on the edge.
    samples : int, optional
        Structures drawn for each frame, one after the other in the file.  If
        None, one: the most probable.
    minimize : bool, dict or Minimizer, optional
        Whether frames are minimized too; a dict holds the arguments of
        `Minimizer`, such as ``{"solvent": "obc"}``. It runs on the GPU of the
        simulation, if that has one, unless `platform` or `properties` say otherwise.
    minimizedFile : str or Path, optional
        Where minimized frames go.  If None, "_minimized" is put behind the
        name of `file`.
    minimizeInterval : int, optional
        Steps between frames that are minimized, a multiple of
        `reportInterval`.  If None, all of them; without `minimize` it means nothing.
    metricsFile : str or Path, optional
        CSV with a row of checks for each structure.  If None, there is none.
    topologyFile : str or Path, optional
        Where the all-atom topology goes.  If None, beside `file`.
    append : bool, optional
        Whether the file of an earlier run is continued: frames that it holds
        already are skipped.  Where there is no file, a new one begins; files of
        others are not replaced then either.  Call `flush` before each checkpoint,
        or frames that wait when the run is killed are missing after a restart.
    overwrite : bool, optional
        Whether existing files are replaced.  Otherwise they are refused.
    enforcePeriodicBox : bool, optional
        Whether whole chains are moved into the box.  Otherwise they stay
        where the simulation has them; chains are made whole in either case.
    atomSubset : sequence of int, optional
        Particles of the CG topology to backmap, or whether each is wanted (bool).
        If None, all protein beads.
    chains : sequence of str, optional
        Ids of the chains to backmap.  If None, all.
    sequence : str, list of str or Path, optional
        The true sequence (or a FASTA file) where residue names hide it.
    mapping : str or CGMapping, optional
        What the beads are.  If None, what the model is made for.
    hydrogens : bool, optional
        Whether hydrogens are added.
    histidine : str or dict, optional
        "HIE", "HID" or "HIP", for all histidines or by residue index.
    disulfides : sequence of tuple of int or "auto", optional
        Pairs of cysteines that are bonded, by residue index, or "auto" for those
        that stand as in a disulfide when the run begins. If None, those of
        `template`.
    template : str or Path, optional
        A reference all-atom structure, see `Backmapper`.
    exactCA : bool, optional
        Whether CA beads stay where they are, see `Backmapper`.
    strict : bool, optional
        Whether particles that are not protein are an error instead of being
        left out with a warning.
    background : bool, optional
        Whether a worker thread does the work; otherwise `report` does it.
    queueSize : int, optional
        Frames that may wait for the worker.
    queuePolicy : str, optional
        When the queue is full, "block" lets the simulation wait and "drop"
        leaves the frame out, counted in `nDropped`.
    maxDelay : float, optional
        Seconds that a frame may wait for others to share its pass through the
        model, which costs less a frame; 0 starts at once.  `flush`, `close`
        and a queue that is half full end the wait.
    threads : int, optional
        torch threads of the worker.
    onError : str, optional
        After a frame that fails (a NaN, a full disk), "stop" raises at the
        next report or at `close`; "continue" warns once and goes on.  Frames
        before and after it are written in either case.
    callback : callable, optional
        Called with each AtomFrame after it was written, in the worker; `flush` and
        `close` cannot be called there.

    Examples
    --------
    >>> from openmm_backmap import BackmapReporter
    >>> reporter = BackmapReporter("aa.xtc", 200)
    >>> simulation.reporters.append(reporter)  # doctest: +SKIP
    >>> simulation.step(1000)  # doctest: +SKIP
    >>> reporter.close()
    """

    def __init__(
        self,
        file: str | Path,
        reportInterval: int,
        *,
        model: str | Path | None = None,
        device: str = "auto",
        seed: int = 0,
        samples: int | None = None,
        minimize: Any = False,
        minimizedFile: str | Path | None = None,
        minimizeInterval: int | None = None,
        metricsFile: str | Path | None = None,
        topologyFile: str | Path | None = None,
        append: bool = False,
        overwrite: bool = False,
        enforcePeriodicBox: bool | None = None,
        atomSubset: Sequence[int] | None = None,
        chains: Sequence[str] | None = None,
        sequence: Any = None,
        mapping: Any = None,
        hydrogens: bool = True,
        histidine: str | Mapping[int, str] = "HIE",
        disulfides: Sequence[tuple[int, int]] | str | None = None,
        template: Any = None,
        exactCA: bool = False,
        strict: bool = False,
        background: bool = True,
        queueSize: int = 32,
        queuePolicy: str = "block",
        maxDelay: float = 5.0,
        threads: int = 1,
        onError: str = "stop",
        callback: Callable[[AtomFrame], None] | None = None,
    ) -> None:
        self._closed = True  # until the arguments are known to be good
        file = _fix_path(file)
        if minimizedFile is None and minimize:
            minimizedFile = file.with_stem(file.stem + "_minimized")
        self._settings = ReporterSettings(
            file=file,
            interval=check_positive("reportInterval", reportInterval),
            samples=samples,
            minimize=minimize or minimizedFile is not None,
            minimize_interval=(
                reportInterval if minimizeInterval is None else minimizeInterval
            ),
            minimized_file=_fix_path(minimizedFile),
            metrics_file=_fix_path(metricsFile),
            topology_file=_fix_path(topologyFile),
            append=append,
            overwrite=overwrite,
            atom_subset=atomSubset,
            chains=chains,
            callback=callback,
            model_options={
                "model": model,
                "device": device,
                "seed": seed,
                "sequence": sequence,
                "mapping": mapping,
                "strict": strict,
                "hydrogens": hydrogens,
                "histidine": histidine,
                "disulfides": disulfides,
                "template": template,
                "exact_ca": exactCA,
                "threads": check_positive("threads", threads),
                "wrap_chains": bool(enforcePeriodicBox),
            },
        )
        self._background = background
        self._queue_size = check_positive("queueSize", queueSize)
        self._queue_policy = check_choice("queuePolicy", queuePolicy, _POLICIES)
        if not isinstance(maxDelay, Real) or not maxDelay >= 0.0:
            raise InputError(f"maxDelay: {maxDelay!r} came, wanted 0 s or more")
        self._max_delay = float(maxDelay)
        self._on_error = check_choice("onError", onError, ("stop", "continue"))
        self._pipeline: Any = None
        self._worker: FrameWorker | None = None
        self._finalizer: Any = None
        self._has_warned = False
        self._closed = False

    def describeNextReport(self, simulation: Any) -> dict[str, Any]:
        """Say when the next report is due and what it needs.

        The first call loads the model, understands the topology, backmaps the
        positions once and opens the files, so that whatever is wrong is found
        before the first step.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            The simulation.

        Returns
        -------
        dict
            Steps to go; positions, not wrapped bead by bead.
        """
        if self._closed:  # still in the list of reporters: never due again
            return {"steps": 0, "periodic": False, "include": []}
        if self._pipeline is None:
            self._prepare(simulation)
        interval = self._settings.interval
        steps = interval - simulation.currentStep % interval
        return {"steps": steps, "periodic": False, "include": ["positions"]}

    def report(self, simulation: Any, state: Any) -> None:
        """Take a frame; may be called directly, too.

        Parameters
        ----------
        simulation : openmm.app.Simulation
            The simulation.
        state : openmm.State
            Its State, with positions; not changed.

        Raises
        ------
        BackmapError
            If an earlier frame failed and `onError` is "stop".
        """
        if self._closed:
            raise InputError(f"{self._settings.file}: the reporter is closed")
        if self._pipeline is None:
            self._prepare(simulation)
        self._tell()
        frame = copy_frame(simulation, state)
        if self._worker is None:
            self._pipeline.process([frame])
            self._tell()
        else:
            self._worker.put(frame)

    def flush(self) -> None:
        """Wait until all frames are written, such as before a checkpoint."""
        if self._worker is not None:
            self._worker.flush()
        if self._pipeline is not None:
            self._tell()

    def close(self) -> None:
        """Write all frames that wait and close the files.

        A closed reporter that is still attached reports nothing.

        Raises
        ------
        BackmapError
            If a frame failed and `onError` is "stop", after all is closed.
        """
        if self._closed:
            return
        if self._finalizer is None:
            self._closed = True
            return
        if self._worker is not None:
            self._worker.close()
        self._closed = True
        self._finalizer.detach()
        self._pipeline.close()
        _warn_of_counts(self._worker, self._pipeline)
        self._tell()

    def __getstate__(self) -> dict[str, Any]:
        """Refuse to be pickled or copied with open files."""
        if self._pipeline is not None:
            raise InputError(
                f"{self._settings.file}: a reporter that has begun cannot be pickled "
                "or copied; make one in each process (its backmapper can be sent)"
            )
        return self.__dict__

    def __enter__(self) -> "BackmapReporter":
        """Return the reporter itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close; an error of the simulation goes before one of ours."""
        if error is None:
            self.close()
            return
        try:
            self.close()
        except BackmapError as second:
            warnings.warn(str(second), BackmapWarning, stacklevel=2)

    @property
    def nFrames(self) -> int:  # noqa: N802
        """Frames that were backmapped and written so far."""
        return 0 if self._pipeline is None else self._pipeline.n_frames

    @property
    def nDropped(self) -> int:  # noqa: N802
        """Frames left out because the queue was full."""
        return 0 if self._worker is None else self._worker.n_dropped

    @property
    def nFailed(self) -> int:  # noqa: N802
        """Frames that failed."""
        return 0 if self._pipeline is None else self._pipeline.n_failed

    @property
    def backmapper(self) -> Any:
        """The Backmapper, once the first report was described."""
        return None if self._pipeline is None else self._pipeline.backmapper

    def _prepare(self, simulation: Any) -> None:
        """Understand the topology, load the model and open the files."""
        state = simulation.context.getState(getPositions=True)
        frame = copy_frame(simulation, state)
        backmapper = make_backmapper(self._settings, simulation, frame)
        self._pipeline = open_pipeline(
            self._settings, backmapper, simulation.currentStep, find_gpu(simulation)
        )
        if self._background:
            self._worker = FrameWorker(
                self._pipeline.process,
                queue_size=self._queue_size,
                policy=self._queue_policy,
                batch=backmapper.batch_frames,
                gather=max(1, _GATHER_RESIDUES // backmapper.cg_topology.n_residues),
                patience=self._max_delay,
                niceness=_NICENESS,
            )
        # also at interpreter exit, for those who forget close()
        self._finalizer = weakref.finalize(
            self, _finish, os.getpid(), self._worker, self._pipeline
        )

    def _tell(self) -> None:
        """Bring what failed to the user: raise it, or warn once."""
        if self._worker is not None and self._worker.error is not None:
            error, self._worker.error = self._worker.error, None
            raise BackmapError(f"the worker of the reporter failed: {error}") from error
        failures = self._pipeline.take_failures()
        if not failures:
            return
        error = failures[0].error
        if self._on_error == "stop":
            raise error
        if not self._has_warned:
            self._has_warned = True
            warnings.warn(
                f"{error}; the simulation goes on (onError='continue')",
                BackmapWarning,
                stacklevel=3,
            )


def _fix_path(path: str | Path | None) -> Path | None:
    """Where a file is now, wherever the program changes to later."""
    return None if path is None else Path(os.path.abspath(path))


def _warn_of_counts(worker: FrameWorker | None, pipeline: Any) -> None:
    """Say at the end how many frames are missing."""
    n_dropped = 0 if worker is None else worker.n_dropped
    for count, word in ((pipeline.n_failed, "failed"), (n_dropped, "were dropped")):
        if count:
            warnings.warn(
                f"{pipeline.output.path}: {count} frames {word}, {pipeline.n_frames} "
                "were written",
                BackmapWarning,
                stacklevel=4,
            )


def _finish(process: int, worker: FrameWorker | None, pipeline: Any) -> None:
    """Write what waits when nobody has called close, and say what went wrong."""
    if process != os.getpid():  # forked: the files are of the process that began
        return
    if worker is None:
        _close_and_warn(worker, pipeline)
    else:
        worker.close_from(partial(_close_and_warn, worker, pipeline))


def _close_and_warn(worker: FrameWorker | None, pipeline: Any) -> None:
    """Close the files and say what nobody has been told."""
    pipeline.close()
    _warn_of_counts(worker, pipeline)
    errors = [failure.error for failure in pipeline.take_failures()]
    if worker is not None and worker.error is not None:
        errors.insert(0, worker.error)
    if errors:
        warnings.warn(
            f"{errors[0]}; found after the last report: call close() at the end, or "
            "use with, to have it raised",
            BackmapWarning,
            stacklevel=2,
        )
