"""A thread that takes frames from a bounded queue, in order."""

import threading
from collections import deque
from collections.abc import Callable

from openmm_backmap.frames import CGFrame

__all__ = ["FrameWorker"]


class FrameWorker:
    """Process frames in the background, in the order they came.

    Frames that wait are handed over together, up to a batch; so batches grow
    by themselves when the simulation is faster than the model.

    Parameters
    ----------
    process : callable
        Called in the thread with a list of CGFrame; keeps its own failures.
    queue_size : int, optional
        Frames that may wait.
    policy : str, optional
        What `put` does when the queue is full: "block" waits, "drop" leaves
        the frame out and counts it.
    batch : int, optional
        Most frames of one call.
    """

    def __init__(
        self,
        process: Callable[[list[CGFrame]], None],
        *,
        queue_size: int = 32,
        policy: str = "block",
        batch: int = 32,
    ) -> None:
        self.n_dropped = 0
        self.error: BaseException | None = None
        self._process = process
        self._queue_size = queue_size
        self._is_blocking = policy == "block"
        self._batch = batch
        self._waiting: deque[CGFrame] = deque()
        self._n_busy = 0
        self._closing = False
        self._changed = threading.Condition()
        # daemon: a forgotten close() must not keep the interpreter from ending
        self._thread = threading.Thread(
            target=self._run, name="openmm-backmap", daemon=True
        )
        self._thread.start()

    @property
    def n_waiting(self) -> int:
        """Frames that were put and are not yet written."""
        return len(self._waiting) + self._n_busy

    def put(self, frame: CGFrame) -> bool:
        """Hand over a frame.

        Parameters
        ----------
        frame : CGFrame
            Not changed afterwards by the caller.

        Returns
        -------
        bool
            False if the frame was dropped because the queue is full.
        """
        with self._changed:
            while len(self._waiting) >= self._queue_size and self._thread.is_alive():
                if not self._is_blocking:
                    self.n_dropped += 1
                    return False
                # short waits let a keyboard interrupt through
                self._changed.wait(0.2)
            self._waiting.append(frame)
            self._changed.notify_all()
        return True

    def flush(self) -> None:
        """Wait until every frame that was put is written."""
        with self._changed:
            while self.n_waiting and self._thread.is_alive():
                self._changed.wait(0.2)

    def close(self) -> None:
        """Finish all frames and end the thread; may be called twice."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        while self._thread.is_alive():
            self._thread.join(0.2)

    def _run(self) -> None:
        """Take what waits, a batch at a time, until closed and empty."""
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    return
                n_frames = min(self._batch, len(self._waiting))
                frames = [self._waiting.popleft() for _ in range(n_frames)]
                self._n_busy = n_frames
                self._changed.notify_all()
            try:
                self._process(frames)
            except BaseException as error:  # noqa: BLE001  told at the next report
                self.error = self.error or error
            with self._changed:
                self._n_busy = 0
                self._changed.notify_all()
