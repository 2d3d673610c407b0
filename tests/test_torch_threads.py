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
