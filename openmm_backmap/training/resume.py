"""What a run that goes on was started with, and what is told of the change."""

import dataclasses
from typing import Any

from openmm_backmap.errors import DataError
from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.read_config import config_from_dict, without_folders

__all__ = ["check_resumed", "list_data_hashes"]

_FREE = {"folder", "prepared", "extra", "total_steps", "total_seconds", "compile"}
"""Keys that say where data lie, how long to train, or how fast."""


def list_data_hashes(state: dict[str, Any], newest: str = "") -> list[str]:
    """List the data a run has seen.

    Parameters
    ----------
    state : dict
        Of a checkpoint.
    newest : str
        Of the data that it goes on with. "" = of those of the checkpoint.

    Returns
    -------
    list of str
        Hashes in the order in which the data came; the last one is the newest.
    """
    # a checkpoint of an earlier release knows the last one only
    seen = list(state.get("data_hashes", [state["data_hash"]]))
    return [*seen, newest] if newest not in ("", seen[-1]) else seen


def check_resumed(
    state: dict[str, Any], config: TrainingConfig, data_hash: str, name: str
) -> str:
    """Refuse another model's checkpoint, and say what else has changed.

    Parameters
    ----------
    state : dict
        Of the checkpoint.
    config : TrainingConfig
        With which the run goes on.
    data_hash : str
        Of the training data now.
    name : str
        Of the run.

    Returns
    -------
    str
        Old and new values; "" if nothing has changed.

    Raises
    ------
    DataError
        If the [model] sections differ.
    """
    # a checkpoint of an earlier release lacks keys that came later
    before = config_from_dict(state["config"], f"configuration of {name}")
    if without_folders(before.model) != without_folders(config.model):
        raise DataError(
            f"run {name} was started with another [model] section: use "
            "its configuration, or another run folder"
        )
    changes = _list_changes(before, config)
    if data_hash != state["data_hash"]:
        changes.append(f"training data {state['data_hash'][:8]} -> {data_hash[:8]}")
    if not changes:
        return ""
    return f"run {name} goes on with other settings than before: {', '.join(changes)}"


def _list_changes(before: TrainingConfig, now: TrainingConfig) -> list[str]:
    """What changes the course of a run, old value and new."""
    pairs = {"seed": (before.seed, now.seed)}
    for section in ("data", "optimizer"):
        old, new = getattr(before, section), getattr(now, section)
        for key in dataclasses.asdict(new):
            if key not in _FREE:
                pairs[f"[{section}] {key}"] = (getattr(old, key), getattr(new, key))
    return [
        f"{name} {old} -> {new}" for name, (old, new) in pairs.items() if old != new
    ]
