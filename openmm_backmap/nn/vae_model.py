"""`vae`: latents from the prior, then planes and packing as in the flagship."""

from typing import Optional

from torch import Tensor

from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_model import CA_NOISE_WIDTH, CAModel
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.planes import PlaneSettings

__all__ = ["VAEModel"]


class VAEModel(CAModel):
    """The paper's system in the contract of `openmm_backmap.artifact.engine`.

    The first 20 noise columns are those of `CAModel`, the others draw the
    latents; the mode takes the prior's mean.

    Parameters
    ----------
    decoder, packer, ramachandran, n_neighbors, residues_at_once, planes
        See `CAModel`; the decoder's network is a `VAENetwork`.
    """

    def __init__(
        self,
        decoder: CADecoder,
        packer: Packer,
        ramachandran: Tensor,
        n_neighbors: int = 12,
        residues_at_once: int = 1024,
        planes: PlaneSettings | None = None,
    ) -> None:
        super().__init__(
            decoder,
            packer,
            ramachandran,
            n_neighbors,
            residues_at_once,
            planes,
        )
        self.noise_width = CA_NOISE_WIDTH + int(decoder.network.n_latent)

    def run_network(
        self,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        shift: Optional[Tensor],  # noqa: UP045 (TorchScript)
        sigma: Tensor,
        noise: Optional[Tensor],  # noqa: UP045
    ) -> Tensor:
        """Features of one group of frames, with latents of the prior.

        Parameters
        ----------
        ca, residue_type, chain_index, neighbor_index, shift, sigma
            See `VAENetwork.forward`.
        noise : torch.Tensor, shape (F, R, 20 + Z), optional
            Of a sample. If None, the prior's mean.

        Returns
        -------
        torch.Tensor, shape (F, R, H)
            Features that the heads read.
        """
        draw: Optional[Tensor] = None  # noqa: UP045
        if noise is not None:
            draw = noise[..., self.n_noise :]
        return self.decoder.network(
            ca, residue_type, chain_index, neighbor_index, shift, sigma, draw
        )
