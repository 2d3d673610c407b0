"""Checkpoints: written whole or not at all, resumed exactly."""

import os
from pathlib import Path

import torch

from openmm_backmap.errors import DataError

__all__ = ["CHECKPOINT_NAME", "describe_kept", "load_checkpoint", "save_checkpoint"]

CHECKPOINT_NAME = "checkpoint.pt"
CHECKPOINT_VERSION = 1


def save_checkpoint(folder: Path, state: dict) -> Path:
    """Write a checkpoint; the one before it is kept until this one is whole.

    Parameters
    ----------
    folder : pathlib.Path
        The run.
    state : dict
        Tensors and plain values.

    Returns
    -------
    pathlib.Path
        The file.
    """
    path = folder / CHECKPOINT_NAME
    partial = folder / f"{CHECKPOINT_NAME}.{os.getpid()}.partial"
    torch.save({"version": CHECKPOINT_VERSION, **state}, partial)
    os.replace(partial, path)
    return path


def describe_kept(folder: Path) -> str:
    """Say what is left of a run that has come to nothing.

    Parameters
    ----------
    folder : pathlib.Path
        The run.

    Returns
    -------
    str
        Whether there is a checkpoint.
    """
    if (folder / CHECKPOINT_NAME).exists():
        return f"the last good checkpoint in {folder} is kept"
    return f"{folder} holds no checkpoint yet"


def load_checkpoint(folder: Path | str) -> dict:
    """Read the checkpoint of a run.

    Parameters
    ----------
    folder : pathlib.Path or str
        The run, or the file itself.

    Returns
    -------
    dict
        As given to `save_checkpoint`.

    Raises
    ------
    DataError
        If there is none, or it is broken or of another version.
    """
    path = Path(folder)
    if path.is_dir():
        path = path / CHECKPOINT_NAME
    if not path.exists():
        raise DataError(f"no checkpoint at {path}: train first (openmm-backmap train)")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(f"checkpoint {path} cannot be read ({error})") from error
    if state.get("version") != CHECKPOINT_VERSION:
        raise DataError(
            f"checkpoint {path} is of version {state.get('version')}, wanted "
            f"{CHECKPOINT_VERSION}: train it again, or use the release that wrote it"
        )
    return state
