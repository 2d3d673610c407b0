"""From bead frames to written output: what the reporter and the command share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmm_backmap.backmapper import Backmapper
from openmm_backmap.errors import BackmapError
from openmm_backmap.frame_processor import (
    FrameProcessor,
    StepResult,
    as_backmap_error,
)
from openmm_backmap.frames import AtomFrame, CGFrame
from openmm_backmap.metrics_table import MetricsTable
from openmm_backmap.minimizer import Minimizer
from openmm_backmap.output import TrajectoryOutput
from openmm_backmap.output_topology import write_topology

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
        Whether frames up to the last step of an output are left out of it, until
        a later one comes.
    callback : callable, optional
        Called with each AtomFrame after it was written.

    Attributes
    ----------
    failures : list of Failure
        What went wrong and nobody took yet.
    n_frames, n_failed, n_skipped : int
        Frames written, failed, and left out because a file that is continued has
        them.
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
        self.minimized_output = minimized_output
        self.metrics = metrics
        self.processor = FrameProcessor(
            backmapper,
            minimizer=minimizer,
            samples=samples,
            has_metrics=metrics is not None,
        )
        self.failures: list[Failure] = []
        self.n_frames = 0
        self.n_failed = 0
        self.n_skipped = 0
        self._minimize_interval = minimize_interval
        self._topology_file = topology_file
        self._skip_written = skip_written
        self._callback = callback

    def process(self, frames: Sequence[CGFrame]) -> None:
        """Take frames through all stages; failures are kept, not raised.

        Parameters
        ----------
        frames : sequence of CGFrame
            In order.
        """
        n_old = next((k for k, x in enumerate(frames) if self._is_beyond(x)), None)
        if n_old is not None:
            # the restart is over: steps that go back now are frames of their own
            self._process(frames[:n_old])
            self._skip_written = False
            frames = frames[n_old:]
        self._process(frames)

    def _process(self, frames: Sequence[CGFrame]) -> None:
        """Take frames through all stages."""
        wanted = [frame for frame in frames if not self._is_written(frame)]
        self.n_skipped += len(frames) - len(wanted)
        turns = [self._is_minimized(frame) for frame in wanted]
        for result in self.processor.compute(wanted, turns):
            self.write(result)

    def write(self, result: StepResult) -> None:
        """Write what was computed for one frame; failures are kept.

        Parameters
        ----------
        result : StepResult
            Of the next frame.
        """
        if result.error is not None:
            self._fail(result, result.error)
            return
        if result.metrics_error is not None:
            self.failures.append(Failure(result.step, result.metrics_error))
        try:
            self._write_rows(result.rows)
        except BackmapError as error:
            self.failures.append(Failure(result.step, error))
        try:
            self._write_frames(self.output, result.atoms)
            self._write_frames(self.minimized_output, result.minimized)
        except Exception as error:  # noqa: BLE001  kept and told to the user
            self._fail(result, error)
            return
        self.n_frames += 1
        if self._callback is not None:
            self._call(result.atoms + result.minimized)

    def take_failures(self) -> list[Failure]:
        """Hand over what went wrong since the last call, and forget it.

        An error holds the arrays of its frame, so none is kept for days.

        Returns
        -------
        list of Failure
            In order.
        """
        # a worker may add one meanwhile
        taken = self.failures[:]
        del self.failures[: len(taken)]
        return taken

    def close(self) -> None:
        """Close all files; what goes wrong is kept in `failures`."""
        for part in (self.output, self.minimized_output, self.metrics):
            try:
                if part is not None:
                    part.close()
            except Exception as error:  # noqa: BLE001  kept and told to the user
                told = as_backmap_error(error, f"{part.path}: closing")
                self.failures.append(Failure(-1, told))

    def _is_beyond(self, frame: CGFrame) -> bool:
        """Whether a run that goes on is past all that the file held."""
        return self._skip_written and not _holds(self.output, frame.step)

    def _is_written(self, frame: CGFrame) -> bool:
        """Whether every output has this frame from before a restart."""
        if not self._skip_written:
            return False
        outputs = [self.output]
        if self._is_minimized(frame):
            outputs.append(self.minimized_output)
        return all(_holds(output, frame.step) for output in outputs if output)

    def _is_minimized(self, frame: CGFrame) -> bool:
        """Whether this frame is one of those that are minimized."""
        return self.processor.minimizer is not None and (
            frame.step % self._minimize_interval == 0
        )

    def _write_rows(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write rows that are not there from before a restart."""
        if self.metrics is None:
            return
        if self._skip_written:
            rows = [row for row in rows if row["step"] > self.metrics.last_step]
        if rows:
            self.metrics.write(rows)

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
                told = as_backmap_error(error, f"callback at step {frame.step}")
                self.failures.append(Failure(frame.step, told))

    def _fail(self, result: StepResult, error: Exception) -> None:
        """Keep the reason why a frame is missing, and say it in the table."""
        told = as_backmap_error(error, f"frame at step {result.step}")
        self.failures.append(Failure(result.step, told))
        self.n_failed += 1
        row = {"step": result.step, "time_ps": result.time, "stage": "model"}
        try:
            self._write_rows([{**row, "status": f"failed: {told}"}])
        except BackmapError as second:
            self.failures.append(Failure(result.step, second))


def _holds(output: TrajectoryOutput, step: int) -> bool:
    """Whether an output has a step from before a restart."""
    return output.resumed_step is not None and step <= output.resumed_step
