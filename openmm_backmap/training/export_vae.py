"""From a run of `vae` to its model, without the encoder."""

from pathlib import Path

import torch

from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.vae_model import VAEModel
from openmm_backmap.packing.pack import Packer
from openmm_backmap.training.export import load_run_info, load_run_network

__all__ = ["make_vae_model"]


def make_vae_model(run: Path | str, ramachandran: torch.Tensor) -> VAEModel:
    """Put a run's averaged network into `vae`, without any fit.

    Parameters
    ----------
    run : pathlib.Path or str
        Run folder or checkpoint.
    ramachandran : torch.Tensor, shape (4, B, B)
        Energy for the choice of planes.

    Returns
    -------
    VAEModel
        With no encoder, no pair energy and an unfitted confidence.
    """
    network = load_run_network(run)
    # the encoder reads the answer: it stays behind
    network.encoder = None
    config, _ = load_run_info(run)
    return VAEModel(
        CADecoder(network),
        Packer(),
        ramachandran,
        config.data.n_neighbors,
    ).eval()
