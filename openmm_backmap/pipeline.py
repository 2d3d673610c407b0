"""From bead frames to written output: what the reporter and the command share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.backmapper import Backmapper
from openmm_backmap.backmapper_batch import BackmapBatch
from openmm_backmap.backmapper_input import check_frame
from openmm_backmap.errors import BackmapError
from openmm_backmap.frames import AtomFrame, CGFrame
from openmm_backmap.metrics.summary import FrameChecker
from openmm_backmap.metrics_table import MetricsTable, compute_rows
from openmm_backmap.minimizer import MinimizationResult, Minimizer
from openmm_backmap.output import TrajectoryOutput, write_topology

__all__ = ["Failure", "Pipeline"]


@dataclass(frozen=True)
class Failure:
    """A frame that could not be backmapped or written.

    Attributes
    ----------
    step : int
        Step of the frame; -1 where it was about no frame.
    error : BackmapError
        The reason.
    """

    step: int
    error: BackmapError


class Pipeline:
    """Backmap frames, check, minimize and write them, in order.

    One failing frame never stops the others: it is kept in `failures`.

    Parameters
    ----------
    backmapper : Backmapper
        Turns beads into atoms.
    output : TrajectoryOutput
        Where structures of the model go.
    minimizer : Minimizer, optional
        If None, nothing is minimized.
    minimized_output : TrajectoryOutput, optional
        Where minimized structures go.
    minimize_interval : int, optional
        Steps between frames that are minimized; 1 for all.
    metrics : MetricsTable, optional
        Where the checks go.
    topology_file : Path, optional
        Where the all-atom topology goes, with the first frame's positions.
    samples : int, optional
        Structures drawn for each frame.  If None, one: the mode.
    skip_written : bool, optional
        Whether frames up to the last step of an output are left out of it.
    callback : callable, optional
        Called with each AtomFrame after it was written.
    """

    def __init__(
        self,
        backmapper: Backmapper,
        output: TrajectoryOutput | None = None,
        *,
        minimizer: Minimizer | None = None,
        minimized_output: TrajectoryOutput | None = None,
        minimize_interval: int = 1,
        metrics: MetricsTable | None = None,
        topology_file: Path | None = None,
        samples: int | None = None,
        skip_written: bool = False,
        callback: Callable[[AtomFrame], None] | None = None,
    ) -> None:
        self.backmapper = backmapper
        self.output = output
        self.minimizer = minimizer
        self.minimized_output = minimized_output
        self.metrics = metrics
        self.failures: list[Failure] = []
        self.n_frames = 0
        self.n_failed = 0
        self.n_skipped = 0
        self._minimize_interval = minimize_interval
        self._topology_file = topology_file
        self._samples = samples
        self._skip_written = skip_written
        self._callback = callback
        self._checker = FrameChecker.from_topology(backmapper.cg_topology)

    def process(self, frames: Sequence[CGFrame]) -> None:
        """Take frames through all stages; failures are kept, not raised.

        Parameters
        ----------
        frames : sequence of CGFrame
            In order.
        """
        wanted = []
        for frame in frames:
            if self._is_written(frame):
                self.n_skipped += 1
                continue
            try:
                check_frame(frame, self.backmapper.cg_topology)
            except BackmapError as error:
                self._fail(frame, error)
            else:
                wanted.append(frame)
        for chunk in self.backmapper.split(wanted, self._samples):
            self._process_chunk(chunk)

    def close(self) -> None:
        """Close all files; what goes wrong is kept in `failures`."""
        for part in (self.output, self.minimized_output, self.metrics):
            try:
                if part is not None:
                    part.close()
            except Exception as error:  # noqa: BLE001  kept and told to the user
                told = _as_backmap_error(error, f"{part.path}: closing")
                self.failures.append(Failure(-1, told))

    def _is_written(self, frame: CGFrame) -> bool:
        """Whether every output has this frame from before a restart."""
        if not self._skip_written:
            return False
        outputs = [self.output]
        if self._is_minimized(frame):
            outputs.append(self.minimized_output)
        return all(_holds(output, frame.step) for output in outputs if output)

    def _is_minimized(self, frame: CGFrame | AtomFrame) -> bool:
        """Whether this frame is one of those that are minimized."""
        return self.minimizer is not None and (
            frame.step % self._minimize_interval == 0
        )

    def _process_chunk(self, chunk: Sequence[CGFrame]) -> None:
        """Take a chunk through; after an error try its frames one by one."""
        try:
            batch = self.backmapper.backmap_batch(chunk, self._samples)
        except Exception as error:  # noqa: BLE001  kept and told to the user
            if len(chunk) == 1:
                self._fail(chunk[0], error)
                return
            for frame in chunk:
                self._process_chunk([frame])
            return
        n_samples = len(batch.frames) // len(chunk)
        for number, frame in enumerate(chunk):
            part = slice(number * n_samples, (number + 1) * n_samples)
            self._process_step(frame, batch, part)

    def _process_step(self, frame: CGFrame, batch: BackmapBatch, part: slice) -> None:
        """Minimize, check and write all structures of one step."""
        atoms = batch.frames[part]
        minimized, cells = self._minimize(atoms)
        try:
            self._write_metrics(batch, part, minimized, cells)
        except Exception as error:  # noqa: BLE001  kept and told to the user
            told = _as_backmap_error(error, f"metrics of step {frame.step}")
            self.failures.append(Failure(frame.step, told))
        try:
            self._write_frames(self.output, atoms)
            self._write_frames(self.minimized_output, minimized)
        except Exception as error:  # noqa: BLE001  kept and told to the user
            self._fail(frame, error)
            return
        self.n_frames += 1
        if self._callback is not None:
            self._call(atoms + minimized)

    def _minimize(
        self, frames: Sequence[AtomFrame]
    ) -> tuple[list[AtomFrame], list[dict[str, Any]]]:
        """Minimize the structures that are due; (frames, metrics cells)."""
        minimized, cells = [], []
        for frame in frames:
            if not self._is_minimized(frame):
                continue
            result = self.minimizer.minimize(frame)
            minimized.append(result.frame)
            cells.append(
                {
                    "status": _status(result),
                    "energy_before": result.energy_before,
                    "energy_after": result.energy_after,
                    "displacement_nm": result.displacement,
                    "milliseconds": 1000.0 * result.seconds,
                }
            )
        return minimized, cells

    def _write_metrics(
        self,
        batch: BackmapBatch,
        part: slice,
        minimized: Sequence[AtomFrame],
        cells: Sequence[dict[str, Any]],
    ) -> None:
        """Write a row a structure; before the frames, see `MetricsTable`."""
        if self.metrics is None:
            return
        milliseconds = 1000.0 * batch.seconds / len(batch.frames)
        extra = [
            {"projection_nm": float(moved), "milliseconds": milliseconds}
            for moved in batch.displacement[part].max(axis=1)
        ]
        rows = compute_rows(batch.frames[part], batch.heavy[part], self._checker, extra)
        if minimized:
            heavy = self._to_slots(np.stack([frame.positions for frame in minimized]))
            rows += compute_rows(minimized, heavy, self._checker, cells)
            rows.sort(key=lambda row: row["sample"])
        self._write_rows(rows)

    def _write_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows that are not there from before a restart."""
        if self._skip_written:
            rows = [row for row in rows if row["step"] > self.metrics.last_step]
        self.metrics.write(rows)

    def _to_slots(self, positions: np.ndarray) -> np.ndarray:
        """Gather heavy atoms (F, R, 14, 3) from atoms (F, N, 3)."""
        slot_atom = self.backmapper.atom_topology.slot_atom
        heavy = positions[:, np.maximum(slot_atom, 0)]
        return np.where((slot_atom >= 0)[..., None], heavy, 0.0).astype(np.float32)

    def _write_frames(
        self, output: TrajectoryOutput | None, frames: Sequence[AtomFrame]
    ) -> None:
        """Write what an output does not hold yet, the topology file first."""
        if output is None or not frames:
            return
        if self._topology_file is not None:
            write_topology(
                self._topology_file, self.backmapper.atom_topology, frames[0]
            )
            self._topology_file = None
        if self._skip_written:
            frames = [frame for frame in frames if not _holds(output, frame.step)]
        output.write(frames)

    def _call(self, frames: Sequence[AtomFrame]) -> None:
        """Give the frames of a step to the user's callback, sample by sample."""
        for frame in sorted(frames, key=lambda f: f.sample):
            try:
                self._callback(frame)
            except Exception as error:  # noqa: BLE001  kept and told to the user
                told = _as_backmap_error(error, f"callback at step {frame.step}")
                self.failures.append(Failure(frame.step, told))

    def _fail(self, frame: CGFrame, error: Exception) -> None:
        """Keep the reason why a frame is missing, and say it in the table."""
        told = _as_backmap_error(error, f"frame at step {frame.step}")
        self.failures.append(Failure(frame.step, told))
        self.n_failed += 1
        if self.metrics is None:
            return
        row = {"step": frame.step, "time_ps": frame.time, "stage": "model"}
        try:
            self._write_rows([{**row, "status": f"failed: {told}"}])
        except BackmapError as second:
            self.failures.append(Failure(frame.step, second))


def _holds(output: TrajectoryOutput, step: int) -> bool:
    """Whether an output has a step already."""
    return output.last_step is not None and step <= output.last_step


def _as_backmap_error(error: BaseException, where: str) -> BackmapError:
    """Wrap an error that is not ours, so that one line says where and what."""
    if isinstance(error, BackmapError):
        return error
    wrapped = BackmapError(f"{where}: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _status(result: MinimizationResult) -> str:
    """Say in a word or two how a minimization went."""
    return f"not minimized: {result.message}" if result.is_failed else "ok"
