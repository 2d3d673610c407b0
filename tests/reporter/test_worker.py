"""The worker thread: ordered, bounded, and it drains."""

import os
import sys
import threading
import time

import numpy as np
import pytest

from openmm_backmap import CGFrame
from openmm_backmap.errors import InputError
from openmm_backmap.reporter_worker import FrameWorker


def make_frames(n_frames: int) -> list[CGFrame]:
    return [CGFrame(positions=np.zeros((1, 3)), step=k) for k in range(n_frames)]


def test_frames_come_out_in_order_and_all_of_them() -> None:
    seen: list[int] = []
    worker = FrameWorker(lambda frames: seen.extend(f.step for f in frames), batch=3)
    for frame in make_frames(100):
        assert worker.put(frame)
    worker.close()
    assert seen == list(range(100))
    assert worker.n_dropped == 0


def test_frames_that_wait_make_a_batch() -> None:
    gate, sizes = threading.Event(), []

    def process(frames: list[CGFrame]) -> None:
        gate.wait(10)
        sizes.append(len(frames))

    worker = FrameWorker(process, batch=4)
    for frame in make_frames(10):
        worker.put(frame)
    gate.set()
    worker.close()
    assert sum(sizes) == 10 and max(sizes) == 4


def test_a_full_queue_blocks_the_producer() -> None:
    gate = threading.Event()
    worker = FrameWorker(lambda frames: gate.wait(10), queue_size=2, batch=1)
    frames = make_frames(4)
    for frame in frames[:3]:  # one in the hands of the worker, two waiting
        worker.put(frame)
        time.sleep(0.05)
    producer = threading.Thread(target=worker.put, args=(frames[3],))
    producer.start()
    producer.join(0.1)
    assert producer.is_alive()
    assert worker.n_waiting == 3
    gate.set()
    producer.join(10)
    assert not producer.is_alive()
    worker.close()


def test_a_full_queue_drops_and_counts_when_asked() -> None:
    gate, seen = threading.Event(), []

    def process(frames: list[CGFrame]) -> None:
        gate.wait(10)
        seen.extend(frame.step for frame in frames)

    worker = FrameWorker(process, queue_size=2, policy="drop", batch=1)
    taken = []
    for frame in make_frames(6):
        taken.append(worker.put(frame))
        time.sleep(0.02)
    gate.set()
    worker.close()
    assert taken == [True, True, True, False, False, False]
    assert worker.n_dropped == 3
    assert seen == [0, 1, 2]


def test_an_error_is_kept_and_the_next_frames_are_processed() -> None:
    seen: list[int] = []

    def process(frames: list[CGFrame]) -> None:
        if frames[0].step == 1:
            raise MemoryError("no more")
        seen.append(frames[0].step)

    worker = FrameWorker(process, batch=1)
    for frame in make_frames(3):
        worker.put(frame)
    worker.flush()
    assert seen == [0, 2]
    assert isinstance(worker.error, MemoryError)
    worker.close()
    worker.close()


@pytest.mark.parametrize("n_frames", [0, 5])
def test_flush_returns_when_all_is_done(n_frames: int) -> None:
    done: list[int] = []

    def process(frames: list[CGFrame]) -> None:
        time.sleep(0.01)
        done.extend(frame.step for frame in frames)

    worker = FrameWorker(process, batch=2)
    for frame in make_frames(n_frames):
        worker.put(frame)
    worker.flush()
    assert len(done) == n_frames
    worker.close()


def test_a_few_frames_are_awaited_to_share_a_pass() -> None:
    sizes: list[int] = []
    worker = FrameWorker(
        lambda frames: sizes.append(len(frames)), gather=4, patience=30.0
    )
    for frame in make_frames(8):
        worker.put(frame)
        time.sleep(0.02)
    worker.close()
    assert sizes == [4, 4]


def test_nobody_who_waits_for_frames_waits_for_a_full_batch() -> None:
    done: list[int] = []
    worker = FrameWorker(
        lambda frames: done.append(len(frames)), gather=32, queue_size=3, patience=60.0
    )
    started = time.monotonic()
    worker.put(make_frames(1)[0])
    worker.flush()
    assert done == [1]
    for frame in make_frames(5):  # a full queue waits for nothing
        worker.put(frame)
    worker.close()
    assert sum(done) == 6
    assert time.monotonic() - started < 30.0


def test_a_frame_is_not_kept_waiting_for_ever() -> None:
    done: list[int] = []
    worker = FrameWorker(
        lambda frames: done.append(len(frames)), gather=32, patience=0.05
    )
    worker.put(make_frames(1)[0])
    end = time.monotonic() + 20.0
    while not done and time.monotonic() < end:
        time.sleep(0.01)
    assert done == [1]
    worker.close()


def test_frames_that_come_seldom_are_not_awaited() -> None:
    done: list[int] = []
    worker = FrameWorker(
        lambda frames: done.append(len(frames)), gather=8, patience=0.5
    )
    first, second, third = make_frames(3)
    worker.put(first)
    time.sleep(1.0)  # longer than a frame may wait: the next one would come too late
    worker.put(second)
    end = time.monotonic() + 0.4
    while len(done) < 2 and time.monotonic() < end:
        time.sleep(0.01)
    assert done == [1, 1]
    worker.put(third)
    worker.close()
    assert sum(done) == 3


def test_half_of_the_queue_is_left_for_what_comes_meanwhile() -> None:
    sizes: list[int] = []
    worker = FrameWorker(
        lambda frames: sizes.append(len(frames)), gather=32, queue_size=8, patience=60.0
    )
    for frame in make_frames(8):
        worker.put(frame)
        time.sleep(0.02)
    assert sizes[0] == 4
    worker.close()
    assert sum(sizes) == 8


@pytest.mark.skipif(sys.platform != "linux", reason="a thread's nice value is Linux's")
def test_the_simulation_comes_first_and_keeps_its_priority() -> None:
    seen: list[int] = []

    def process(frames: list[CGFrame]) -> None:
        thread = threading.get_native_id()
        seen.append(os.getpriority(os.PRIO_PROCESS, thread))

    mine = os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
    worker = FrameWorker(process, niceness=3)
    worker.put(make_frames(1)[0])
    worker.close()
    assert seen == [min(19, mine + 3)]
    assert os.getpriority(os.PRIO_PROCESS, threading.get_native_id()) == mine


def test_the_thread_is_not_left_waiting_for_itself() -> None:
    errors: list[str] = []

    def process(frames: list[CGFrame]) -> None:
        for wait in (worker.flush, worker.close):
            try:
                wait()
            except InputError as error:
                errors.append(str(error))

    worker = FrameWorker(process)
    worker.put(make_frames(1)[0])
    worker.flush()
    worker.close()
    assert [text.split()[0] for text in errors] == ["flush", "close"]


def test_a_thread_that_is_to_close_itself_ends_after_its_frames() -> None:
    done: list[object] = []

    def process(frames: list[CGFrame]) -> None:
        if not done:  # as a garbage collector would, in the middle of work
            worker.close_from(lambda: done.append("closed"))
        done.extend(frame.step for frame in frames)

    worker = FrameWorker(process, batch=1)
    for frame in make_frames(3):
        worker.put(frame)
    for _ in range(100):
        if "closed" in done:
            break
        time.sleep(0.05)
    assert done[-1] == "closed" and len(done) >= 2
    assert done[:-1] == list(range(len(done) - 1))
