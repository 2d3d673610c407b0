"""`vae`'s network and its loss as one module; see `openmm_backmap.training.step`."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from openmm_backmap.nn.e3_layers import E3Layer
from openmm_backmap.nn.vae_encoder import VAEEncoder
from openmm_backmap.nn.vae_loss import TERM_NAMES, VAELoss
from openmm_backmap.nn.vae_network import VAENetwork
from openmm_backmap.training.config import ModelConfig
from openmm_backmap.training.step import LossStep

__all__ = ["VAELossStep", "build_vae_network"]


def build_vae_network(config: ModelConfig) -> VAENetwork:
    """Network of a configuration with random weights, and its encoder.

    Parameters
    ----------
    config : ModelConfig
        Section ``[model]``.

    Returns
    -------
    VAENetwork
    """
    own = config.vae
    n_latent = own.n_latent if own.latents else 0
    network = VAENetwork(
        width=config.width,
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        edge_width=config.edge_width,
        dropout=config.dropout,
        n_latent=n_latent,
        n_scalars=own.n_scalars,
        n_vectors=own.n_vectors,
        n_tensors=own.n_tensors,
    )
    if own.latents:
        network.encoder = VAEEncoder(config.width, n_latent, config.edge_width)
    return network


class VAELossStep(LossStep):
    """Loss of a batch, with the schedule of its terms.

    Parameters
    ----------
    config : ModelConfig
        Section ``[model]``.
    """

    term_names = TERM_NAMES

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        own = config.vae
        self.loss = VAELoss(
            jitter=config.jitter,
            withheld=config.withheld,
            free_bits=own.free_bits,
            kl_weight=own.kl_weight,
            prior_weight=own.prior_weight,
            local_weight=own.local_weight,
            xyz_weight=own.xyz_weight,
            physical_weight=own.physical_weight,
            physical=own.physical,
            geometry_share=own.geometry_share,
        )
        self.register_buffer(
            "progress", torch.zeros((), dtype=torch.float32), persistent=False
        )

    def set_progress(self, progress: float) -> None:
        """Set the part of the run that is done, for the schedule of the terms.

        Parameters
        ----------
        progress : float
            0 to 1.
        """
        self.progress.fill_(progress)

    def compile_step(self, wrapped: nn.Module) -> Callable:
        """Compile the equivariant layers, where the time goes.

        Parameters
        ----------
        wrapped : torch.nn.Module
            This module, or what wraps it.

        Returns
        -------
        callable
            The same; its layers are compiled in place.
        """
        for layer in self.network.modules():
            if isinstance(layer, E3Layer):
                layer.compile(dynamic=False)
        return wrapped

    def forward(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Loss, and (3, 16) sums, counts and hits of heads and terms."""
        with torch.autocast(batch[0].device.type, enabled=False):
            loss, total, count, hit = self.loss(self.network, *batch, self.progress)
        return loss, torch.stack((total, count, hit))
