"""Ranges of the numbers of a training configuration."""

import math

from openmm_backmap.errors import DataError
from openmm_backmap.training.config import MAX_NEIGHBORS, TrainingConfig

__all__ = ["check_ranges"]

_INF = math.inf
# smallest and largest value of each key; what nobody writes on purpose but
# fails late, or not at all, is left out
_RANGES = {
    "": {"seed": (0, 2**63 - 1)},
    "data": {"n_residues": (16, _INF), "n_neighbors": (1, MAX_NEIGHBORS),
             "noise_max": (0, _INF)},
    "model": {"width": (1, _INF), "n_layers": (1, _INF), "n_heads": (1, _INF),
              "edge_width": (1, _INF), "n_e3_layers": (0, _INF), "jitter": (0, _INF)},
    "optimizer": {"learning_rate": (1e-12, _INF), "beta1": (0, 0.999999),
                  "beta2": (0, 0.999999), "weight_decay": (0, _INF),
                  "warmup_steps": (0, _INF), "total_steps": (0, _INF),
                  "total_seconds": (0, _INF), "clip": (1e-12, _INF),
                  "ema_decay": (0, 1)},
    "log": {"log_steps": (1, _INF), "checkpoint_seconds": (0, _INF),
            "validation_seconds": (0, _INF), "validation_batches": (0, _INF),
            "validation_entries": (0, _INF)},
}  # fmt: skip


def check_ranges(config: TrainingConfig, where: str) -> None:
    """Refuse numbers out of range.

    Parameters
    ----------
    config : TrainingConfig
        What was read.
    where : str
        Named in the error.

    Raises
    ------
    DataError
        With section, key, value and range.
    """
    for section, ranges in _RANGES.items():
        values = getattr(config, section) if section else config
        name = f"{where} [{section}]" if section else where
        for key, (low, high) in ranges.items():
            value = getattr(values, key)
            # nan is in no range, and no setting is infinite
            if not low <= value <= high or math.isinf(value):
                most = "on" if high == _INF else f"to {high:g}"
                raise DataError(f"{name}: {key} = {value}, wanted {low:g} {most}")
    if config.model.dropout == 1.0:
        raise DataError(f"{where} [model]: dropout = 1.0 drops all, wanted below 1")
