"""A progress bar on stderr, with frames a second and time left."""

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["FrameProgress"]


class FrameProgress:
    """Count frames; a bar where stderr is a terminal, else nothing.

    Parameters
    ----------
    title : str
        What is being done.
    n_frames : int or None
        Frames expected.  If None, unknown.
    quiet : bool, optional
        Whether to show nothing.
    """

    def __init__(self, title: str, n_frames: int | None, quiet: bool = False) -> None:
        self.n_done = 0
        self._title = title
        self._n_frames = n_frames
        self._is_shown = not quiet and sys.stderr.isatty()
        self._bar: Any = None
        self._task: Any = None
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Wall time since the beginning."""
        return time.perf_counter() - self._started

    def __enter__(self) -> "FrameProgress":
        """Show the bar."""
        if self._is_shown:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
            )

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._n_frames, rate="")
        self._started = time.perf_counter()
        return self

    def advance(self, n_frames: int) -> None:
        """Count frames that are done.

        Parameters
        ----------
        n_frames : int
            How many.
        """
        self.n_done += n_frames
        if self._bar is not None:
            rate = f"{self.n_done / max(self.seconds, 1e-9):.1f} frames/s"
            self._bar.update(self._task, advance=n_frames, rate=rate)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.stop()
