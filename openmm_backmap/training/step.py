"""The network and its loss as one module, which DDP and compile wrap."""

import torch
from torch import Tensor, nn

from openmm_backmap.nn.ca_loss import HEAD_NAMES, CALoss
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.training.batches import Batch
from openmm_backmap.training.config import ModelConfig

__all__ = ["HEAD_NAMES", "LossStep", "batch_arguments", "build_network"]


def build_network(config: ModelConfig) -> CANetwork:
    """Network of a configuration, with random weights.

    Parameters
    ----------
    config : ModelConfig
        Section ``[model]``.

    Returns
    -------
    CANetwork
    """
    return CANetwork(
        width=config.width,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        edge_width=config.edge_width,
        dropout=config.dropout,
    )


def batch_arguments(batch: Batch) -> tuple[Tensor, ...]:
    """A batch in the order of `CALoss.forward`."""
    return (
        batch.ca, batch.residue_type, batch.chain_index, batch.neighbor_index,
        batch.sigma, batch.target, batch.known, batch.is_cis,
    )  # fmt: skip


class LossStep(nn.Module):
    """Loss of a batch.

    Parameters
    ----------
    config : ModelConfig
        Section ``[model]``.
    precision : str
        "float32", or "bfloat16" for autocast.
    """

    def __init__(self, config: ModelConfig, precision: str = "float32") -> None:
        super().__init__()
        self.network = build_network(config)
        self.loss = CALoss(jitter=config.jitter, withheld=config.withheld)
        self.precision = precision

    def forward(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and (3, 10) sums, counts and hits of the heads."""
        with torch.autocast(
            batch[0].device.type,
            dtype=torch.bfloat16,
            enabled=self.precision == "bfloat16",
        ):
            loss, total, count, hit = self.loss(self.network, *batch)
        return loss, torch.stack((total, count, hit))
