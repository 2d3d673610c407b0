"""A thread that takes frames from a bounded queue, in order."""

import contextlib
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from openmm_backmap.errors import InputError
from openmm_backmap.frames import CGFrame

__all__ = ["FrameWorker"]


class FrameWorker:
    """Process frames in the background, in the order they came.

    Frames that wait are handed over together, up to a batch; so batches grow
    by themselves when the simulation is faster than the model.  When it is
    slower, some frames are awaited, because together they cost less than one
    by one: as many as come before the first of them has waited for `patience`.
    Where frames come more seldom than that, none is awaited.

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
    gather : int, optional
        Frames that are awaited; at most half of the queue, so that the other
        half takes what comes while they are processed.
    patience : float, optional
        Seconds that the first of them waits for the others at most.
    niceness : int, optional
        Added to the nice value of the thread (Linux only): where no core is
        free, the simulation comes before it.
    """

    def __init__(
        self,
        process: Callable[[list[CGFrame]], None],
        *,
        queue_size: int = 32,
        policy: str = "block",
        batch: int = 32,
        gather: int = 1,
        patience: float = 0.0,
        niceness: int = 0,
    ) -> None:
        self.n_dropped = 0
        self.error: BaseException | None = None
        self._process = process
        self._finish: Callable[[], None] | None = None
        self._queue_size = queue_size
        self._is_blocking = policy == "block"
        self._batch = batch
        self._gather = max(1, min(gather, batch, queue_size // 2))
        self._patience = patience
        self._niceness = niceness
        self._n_hurried = 0
        self._waiting: deque[tuple[float, CGFrame]] = deque()
        self._last_put: float | None = None
        self._interval = 0.0
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

        Raises
        ------
        InputError
            If there is no thread, as in a process that was forked.
        """
        if not self._thread.is_alive():
            raise InputError(
                "the worker of this reporter is in another process: a reporter that "
                "has begun cannot be forked; make one in each process, after the fork"
            )
        with self._changed:
            while len(self._waiting) >= self._queue_size and self._thread.is_alive():
                if not self._is_blocking:
                    self.n_dropped += 1
                    return False
                # short waits let a keyboard interrupt through
                self._changed.wait(0.2)
            now = time.monotonic()
            if self._last_put is not None:
                self._interval = now - self._last_put
            self._last_put = now
            self._waiting.append((now, frame))
            # a worker that waits for more is only woken when they are there:
            # each wake-up takes the interpreter from the simulation
            if len(self._waiting) == 1 or len(self._waiting) >= self._gather:
                self._changed.notify_all()
        return True

    def flush(self) -> None:
        """Wait until every frame that was put is written.

        Raises
        ------
        InputError
            If the thread itself asks, as it would wait for ever.
        """
        self._refuse_own_thread("flush")
        with self._changed:
            self._n_hurried += 1
            self._changed.notify_all()
            while self.n_waiting and self._thread.is_alive():
                self._changed.wait(0.2)
            self._n_hurried -= 1

    def close(self) -> None:
        """Finish all frames and end the thread; may be called twice.

        Raises
        ------
        InputError
            If the thread itself asks.
        """
        self._refuse_own_thread("close")
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        while self._thread.is_alive():
            self._thread.join(0.2)

    def close_from(self, finish: Callable[[], None]) -> None:
        """Finish all frames, end the thread, then call `finish`.

        The thread itself may ask, where it happens to collect a reporter that
        nobody closed; then it does all that when it comes to its end.

        Parameters
        ----------
        finish : callable
            Called once.
        """
        if threading.current_thread() is not self._thread:
            self.close()
            finish()
            return
        self._finish = finish
        self._closing = True

    def _refuse_own_thread(self, name: str) -> None:
        """A callback runs in the thread, which cannot wait for itself."""
        if threading.current_thread() is self._thread:
            raise InputError(
                f"{name} was called in the callback of the reporter, which cannot wait "
                "for itself; call it beside simulation.step"
            )

    def _run(self) -> None:
        """Take what waits, a batch at a time, until closed and empty."""
        self._step_back()
        while True:
            with self._changed:
                while not self._waiting and not self._closing:
                    self._changed.wait()
                if not self._waiting:
                    break
                self._await_more()
                n_frames = min(self._batch, len(self._waiting))
                frames = [self._waiting.popleft()[1] for _ in range(n_frames)]
                self._n_busy = n_frames
                self._changed.notify_all()
            try:
                self._process(frames)
            except BaseException as error:  # noqa: BLE001  told at the next report
                self.error = self.error or error
            with self._changed:
                self._n_busy = 0
                self._changed.notify_all()
        if self._finish is not None:
            self._finish()

    def _await_more(self) -> None:
        """Let a batch grow for a while; somebody who waits for it ends that."""
        while len(self._waiting) < self._gather:
            end = self._waiting[0][0] + self._patience
            left = end - time.monotonic()
            is_next_late = self._last_put + self._interval > end
            if left <= 0.0 or is_next_late or self._closing or self._n_hurried:
                return
            self._changed.wait(left)

    def _step_back(self) -> None:
        """Let the simulation go first where both want one core."""
        if self._niceness and sys.platform == "linux":
            # on Linux a nice value is a thread's own, though POSIX says otherwise
            with contextlib.suppress(OSError):
                thread = threading.get_native_id()
                now = os.getpriority(os.PRIO_PROCESS, thread)
                os.setpriority(os.PRIO_PROCESS, thread, now + self._niceness)
