"""Losses and hits of a network, summed over batches."""

import torch
from torch import Tensor

from openmm_backmap.training.batches import entry_batches
from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.prepared import PreparedSet
from openmm_backmap.training.step import (
    HEAD_NAMES,
    LossStep,
    batch_arguments,
)

__all__ = ["evaluate_loss", "summarize", "zero_sums"]


def summarize(sums: Tensor, term_names: tuple[str, ...] = ()) -> dict[str, float]:
    """Means per head, then per term, from summed losses, counts and hits."""
    values: dict[str, float] = {}
    total, count, hit = sums.cpu().double().tolist()
    for k, name in enumerate(HEAD_NAMES):
        n = max(count[k], 1.0)
        values[f"{name}_nll"] = total[k] / n
        values[f"{name}_hit"] = hit[k] / n
    for k, name in enumerate(term_names, len(HEAD_NAMES)):
        values[name] = total[k] / max(count[k], 1.0)
    return values


def zero_sums(step: LossStep) -> Tensor:
    """Sums to add a step's statistics to, shape (3, heads and terms)."""
    n = len(HEAD_NAMES) + len(step.term_names)
    return torch.zeros(3, n, dtype=torch.float64, device="cpu")


@torch.no_grad()
def evaluate_loss(
    step: LossStep, data: PreparedSet, config: TrainingConfig, max_batches: int = 0
) -> dict[str, float]:
    """Losses and hit rates on whole entries without noise.

    Parameters
    ----------
    step : LossStep
        Left in its present mode.
    data : PreparedSet
        A validation split.
    config : TrainingConfig
        Batch size and neighbours.
    max_batches : int
        0 = all.

    Returns
    -------
    dict of str to float
        ``<head>_nll`` in nats, ``<head>_hit`` (share within 40 degrees,
        argmax with true conditions), and ``loss``.
    """
    was_training = step.training
    step.eval()
    device = next(step.parameters()).device
    sums = zero_sums(step)
    losses, residues = 0.0, 0.0
    batches = entry_batches(
        data,
        config.data.n_residues,
        config.data.n_neighbors,
        max_batches=max_batches or None,
    )
    for batch in batches:
        batch = batch.to(device)
        loss, stats = step(*batch_arguments(batch))
        n = float(batch.known.any(-1).sum())
        losses += float(loss) * n
        residues += n
        sums += stats.cpu().double()
    step.train(was_training)
    return {"loss": losses / max(residues, 1.0), **summarize(sums, step.term_names)}
