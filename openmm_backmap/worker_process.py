"""What worker processes owe the process that started them."""

import multiprocessing
import os
import threading

__all__ = ["end_with_parent"]


def end_with_parent() -> None:
    """End this process when the one that started it is gone.

    A process that was killed cannot end its workers; those of a pool would wait for
    work for ever. Call it in the worker.
    """
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()
        os._exit(1)

    if parent is not None:
        threading.Thread(target=watch, daemon=True).start()
