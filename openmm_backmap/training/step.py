"""The network and its loss as one module, which DDP and compile wrap."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from openmm_backmap.nn.ca_loss import HEAD_NAMES, CALoss
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.nn.torsion_heads import TorsionHeads
from openmm_backmap.training.batch import Batch
from openmm_backmap.training.config import ModelConfig

__all__ = [
    "HEAD_NAMES",
    "LossStep",
    "batch_arguments",
    "build_network",
    "build_step",
]


def build_network(config: ModelConfig) -> TorsionHeads:
    """Network of a configuration, with random weights.

    Parameters
    ----------
    config : ModelConfig
        Section ``[model]``.

    Returns
    -------
    TorsionHeads
        `CANetwork`, or `VAENetwork` with its encoder.
    """
    if config.name == "vae":
        # e3nn is loaded only where it is wanted
        from openmm_backmap.training.vae_step import build_vae_network

        return build_vae_network(config)
    return CANetwork(
        width=config.width,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        edge_width=config.edge_width,
        dropout=config.dropout,
        n_e3_layers=config.n_e3_layers,
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

    term_names: tuple[str, ...] = ()
    """What is measured beside the heads."""

    def __init__(self, config: ModelConfig, precision: str = "float32") -> None:
        super().__init__()
        self.network = build_network(config)
        self.loss = CALoss(
            jitter=config.jitter,
            withheld=config.withheld,
            type_dropout=config.type_dropout,
        )
        self.precision = precision

    def set_progress(self, progress: float) -> None:
        """Take note of the part of the run that is done; this loss has no schedule.

        Parameters
        ----------
        progress : float
            0 to 1.
        """

    def compile_step(self, wrapped: nn.Module) -> Callable:
        """Compile for training.

        Parameters
        ----------
        wrapped : torch.nn.Module
            This module, or what wraps it.

        Returns
        -------
        callable
            To be called in its place.
        """
        return torch.compile(wrapped, dynamic=False)

    def forward(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and (3, 10) sums, counts and hits of the heads."""
        with torch.autocast(
            batch[0].device.type,
            dtype=torch.bfloat16,
            enabled=self.precision == "bfloat16",
        ):
            loss, total, count, hit = self.loss(self.network, *batch)
        return loss, torch.stack((total, count, hit))


def build_step(config: ModelConfig, precision: str = "float32") -> LossStep:
    """Network and loss of a configuration.

    Parameters
    ----------
    config : ModelConfig
        Section ``[model]``.
    precision : str
        See `LossStep`.

    Returns
    -------
    LossStep
    """
    if config.name == "vae":
        from openmm_backmap.training.vae_step import VAELossStep

        return VAELossStep(config)
    if config.distill.teachers:
        from openmm_backmap.training.distill import DistillStep

        return DistillStep(config, precision)
    return LossStep(config, precision)
