"""What a run needs of its process, and leaves behind as it was."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist

from openmm_backmap.artifact.engine import choose_device

__all__ = ["join_processes", "keep_torch_state", "own_modes"]


@contextmanager
def join_processes(device: str | torch.device) -> Iterator[torch.device]:
    """Join the other processes that torchrun started, if any.

    Parameters
    ----------
    device : str or torch.device
        See `openmm_backmap.artifact.choose_device`.

    Yields
    ------
    torch.device
        That of this process; with CUDA its local rank is added. A process group
        that exists is used and kept, and the device then is as the caller said.

    Raises
    ------
    ModelError
        If the device is unknown or missing.
    """
    device = choose_device(device)
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    if not several or dist.is_initialized():
        yield device
        return
    if device.type == "cuda":
        device = choose_device(f"cuda:{os.environ['LOCAL_RANK']}")
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


@contextmanager
def keep_torch_state(device: torch.device) -> Iterator[None]:
    """Flush denormals for a while, and give random numbers and all else back.

    Parameters
    ----------
    device : torch.device
        Whose random numbers are kept, beside the CPU's.

    Yields
    ------
    None
        Control.
    """
    devices = [device] if device.type == "cuda" else []
    was_flushing = _flushes_denormals()
    # denormal activations would slow CPU products many times
    torch.set_flush_denormal(True)
    try:
        # weights made in inference mode could not be trained
        with torch.random.fork_rng(devices), torch.inference_mode(False):
            yield
    finally:
        torch.set_flush_denormal(was_flushing)


@contextmanager
def own_modes(device: torch.device) -> Iterator[None]:
    """Have gradients, and no autocast but what is asked for inside.

    Parameters
    ----------
    device : torch.device
        Whose autocast is meant.

    Yields
    ------
    None
        Control.
    """
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        try:
            yield
        finally:
            # inside of an autocast of the caller's, casts of the weights would
            # outlive the step
            torch.clear_autocast_cache()


def _flushes_denormals() -> bool:
    """Whether denormal results become zero; torch itself cannot be asked."""
    tiny = torch.tensor([1e-40], dtype=torch.float32, device="cpu")
    return float(tiny * 1.0) == 0.0
