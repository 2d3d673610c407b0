"""The user's torch threads come back, also after nested and concurrent use."""

import threading

import torch

from openmm_backmap.torch_threads import limit_torch_threads


def test_the_users_threads_are_restored_after_nested_limits() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with limit_torch_threads(2):
            assert torch.get_num_threads() == 2
            with limit_torch_threads(1):
                assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_the_users_threads_are_restored_after_an_error() -> None:
    before = torch.get_num_threads()
    try:
        with limit_torch_threads(before + 1):
            raise ValueError("inside")
    except ValueError:
        pass
    assert torch.get_num_threads() == before


def test_no_limit_changes_nothing() -> None:
    before = torch.get_num_threads()
    with limit_torch_threads(None):
        assert torch.get_num_threads() == before


def test_overlapping_workers_leave_the_main_thread_as_it_was() -> None:
    before = torch.get_num_threads()
    inside = threading.Barrier(2)

    def work(n_threads: int) -> None:
        with limit_torch_threads(n_threads):
            inside.wait(10)

    workers = [threading.Thread(target=work, args=(n,)) for n in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(10)
    assert torch.get_num_threads() == before
    seen: list[int] = []
    fresh = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    fresh.start()
    fresh.join(10)
    assert seen == [before]


def count_in_a_new_thread() -> int:
    seen: list[int] = []
    fresh = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    fresh.start()
    fresh.join(10)
    return seen[0]


def test_threads_that_begin_during_a_pass_are_not_limited() -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        with limit_torch_threads(1):
            assert torch.get_num_threads() == 1
            assert count_in_a_new_thread() == 3
        assert torch.get_num_threads() == count_in_a_new_thread() == 3
    finally:
        torch.set_num_threads(before)


def test_a_worker_writes_no_stale_count_back() -> None:
    """The user's count changes between two passes of a thread, and during one."""
    before = torch.get_num_threads()
    ready, inside = threading.Barrier(2), threading.Barrier(2)

    def work() -> None:
        with limit_torch_threads(1):
            pass
        ready.wait(10)
        ready.wait(10)
        with limit_torch_threads(1):
            inside.wait(10)
            inside.wait(10)

    try:
        torch.set_num_threads(4)
        worker = threading.Thread(target=work)
        worker.start()
        ready.wait(10)
        torch.set_num_threads(2)
        ready.wait(10)
        inside.wait(10)
        assert torch.get_num_threads() == count_in_a_new_thread() == 2
        torch.set_num_threads(3)
        inside.wait(10)
        worker.join(10)
        assert torch.get_num_threads() == count_in_a_new_thread() == 3
    finally:
        torch.set_num_threads(before)


def test_a_pass_at_the_end_of_a_program_needs_no_further_thread(monkeypatch) -> None:
    """Python 3.12 begins no thread any more when frames are written at exit."""

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    before = torch.get_num_threads()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with limit_torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
