"""The computing half of a pipeline: bead frames in, structures and checks out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from openmm_backmap.backmapper import Backmapper
from openmm_backmap.backmapper_batch import BackmapBatch
from openmm_backmap.backmapper_frames import check_frame
from openmm_backmap.errors import BackmapError
from openmm_backmap.frames import AtomFrame, CGFrame
from openmm_backmap.metrics.summary import FrameChecker
from openmm_backmap.metrics_table import compute_rows
from openmm_backmap.minimizer import MinimizationResult, Minimizer

__all__ = ["FrameProcessor", "StepResult", "as_backmap_error"]


@dataclass(frozen=True, eq=False)
class StepResult:
    """All that was computed for one bead frame; can be sent between processes.

    Attributes
    ----------
    step : int
        Step of the frame.
    time : float
        Its time in ps.
    atoms : list of AtomFrame
        Structures of the model, by sample; empty if the frame failed.
    minimized : list of AtomFrame
        The minimized ones, if it was their turn.
    rows : list of dict
        Rows of the metrics table.
    error : BackmapError or None
        Why the frame failed.
    metrics_error : BackmapError or None
        Why it has no rows.
    """

    step: int
    time: float
    atoms: list[AtomFrame] = field(default_factory=list)
    minimized: list[AtomFrame] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    error: BackmapError | None = None
    metrics_error: BackmapError | None = None


class FrameProcessor:
    """Backmap, minimize and check frames; writes nothing.

    Parameters
    ----------
    backmapper : Backmapper
        Turns beads into atoms.
    minimizer : Minimizer, optional
        If None, nothing is minimized.
    samples : int, optional
        Structures drawn for each frame.  If None, one: the mode.
    has_metrics : bool, optional
        Whether structures are checked.
    """

    def __init__(
        self,
        backmapper: Backmapper,
        *,
        minimizer: Minimizer | None = None,
        samples: int | None = None,
        has_metrics: bool = False,
    ) -> None:
        self.backmapper = backmapper
        self.minimizer = minimizer
        self.samples = samples
        self._checker = None
        if has_metrics:
            self._checker = FrameChecker.from_atom_topology(backmapper.atom_topology)

    def compute(
        self, frames: Sequence[CGFrame], is_minimized: Sequence[bool] | None = None
    ) -> Iterator[StepResult]:
        """Take frames through all stages; a failing one does not stop the others.

        Parameters
        ----------
        frames : sequence of CGFrame
            In order.
        is_minimized : sequence of bool, optional
            Which of them are minimized, too.  If None, all of them.

        Yields
        ------
        StepResult
            One for each frame, in order.
        """
        if is_minimized is None:
            is_minimized = [True] * len(frames)
        good, errors = [], {}
        for number, frame in enumerate(frames):
            try:
                check_frame(frame, self.backmapper.cg_topology)
            except BackmapError as error:
                errors[number] = error
            else:
                good.append(number)
        results = self._compute_good([frames[k] for k in good], is_minimized, good)
        for number, frame in enumerate(frames):
            if number in errors:
                yield _failed(frame, errors[number])
            else:
                yield next(results)

    def _compute_good(
        self,
        frames: Sequence[CGFrame],
        is_minimized: Sequence[bool],
        numbers: Sequence[int],
    ) -> Iterator[StepResult]:
        """Compute frames that were checked, in passes of bounded memory."""
        first = 0
        for chunk in self.backmapper.split(frames, self.samples):
            turns = [is_minimized[k] for k in numbers[first : first + len(chunk)]]
            first += len(chunk)
            yield from self._compute_chunk(chunk, turns)

    def _compute_chunk(
        self,
        chunk: Sequence[CGFrame],
        is_minimized: Sequence[bool],
        at_once: int | None = None,
    ) -> Iterator[StepResult]:
        """Compute frames; after an error one by one, then sample by sample."""
        try:
            batch = self.backmapper.backmap_batch(chunk, self.samples, at_once)
        except Exception as error:  # noqa: BLE001  kept and told to the user
            if len(chunk) > 1:
                for frame, turn in zip(chunk, is_minimized, strict=True):
                    yield from self._compute_chunk([frame], [turn])
            elif (
                at_once is None
                and (self.samples or 1) > 1
                and not isinstance(error, BackmapError)
            ):  # out of memory, perhaps
                yield from self._compute_chunk(chunk, is_minimized, at_once=1)
            else:
                yield _failed(chunk[0], error)
            return
        n_samples = len(batch.frames) // len(chunk)
        for number, frame in enumerate(chunk):
            part = slice(number * n_samples, (number + 1) * n_samples)
            yield self._finish_step(frame, batch, part, is_minimized[number])

    def _finish_step(
        self, frame: CGFrame, batch: BackmapBatch, part: slice, is_minimized: bool
    ) -> StepResult:
        """Minimize and check all structures of one step."""
        atoms = batch.frames[part]
        minimized, cells = [], []
        if self.minimizer is not None and is_minimized:
            for result in map(self.minimizer.minimize, atoms):
                minimized.append(result.frame)
                cells.append(_cells(result))
        rows, metrics_error = [], None
        try:
            rows = self._make_rows(batch, part, minimized, cells)
        except Exception as error:  # noqa: BLE001  kept and told to the user
            metrics_error = as_backmap_error(error, f"metrics of step {frame.step}")
        return StepResult(
            frame.step,
            frame.time,
            atoms,
            minimized,
            rows,
            metrics_error=metrics_error,
        )

    def _make_rows(
        self,
        batch: BackmapBatch,
        part: slice,
        minimized: Sequence[AtomFrame],
        cells: Sequence[dict[str, Any]],
    ) -> list[dict[str, Any]]:
        """Check the structures of one step; a row each."""
        if self._checker is None:
            return []
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
        return rows

    def _to_slots(self, positions: np.ndarray) -> np.ndarray:
        """Gather heavy atoms (F, R, 14, 3) from atoms (F, N, 3)."""
        slot_atom = self.backmapper.atom_topology.slot_atom
        heavy = positions[:, np.maximum(slot_atom, 0)]
        return np.where((slot_atom >= 0)[..., None], heavy, 0.0).astype(np.float32)


def as_backmap_error(error: BaseException, where: str) -> BackmapError:
    """Wrap an error that is not ours, so that one line says where and what.

    Parameters
    ----------
    error : BaseException
        Any.
    where : str
        What was being done.

    Returns
    -------
    BackmapError
        As it is where it was ours.
    """
    if isinstance(error, BackmapError):
        return error
    wrapped = BackmapError(f"{where}: {type(error).__name__}: {error}")
    wrapped.__cause__ = error
    return wrapped


def _failed(frame: CGFrame, error: Exception) -> StepResult:
    """Make the result of a frame that could not be backmapped."""
    told = as_backmap_error(error, f"frame at step {frame.step}")
    return StepResult(frame.step, frame.time, error=told)


def _cells(result: MinimizationResult) -> dict[str, Any]:
    """Say in a metrics row how a minimization went."""
    status = f"not minimized: {result.message}" if result.is_failed else "ok"
    return {
        "status": status,
        "energy_before": result.energy_before,
        "energy_after": result.energy_after,
        "displacement_nm": result.displacement,
        "milliseconds": 1000.0 * result.seconds,
    }
