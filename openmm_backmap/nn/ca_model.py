"""`ca`: the flagship. A network's torsions, chosen planes, packed side chains."""

import math
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from openmm_backmap.nn.bead_hints import BeadHints
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_features import compute_image_shift
from openmm_backmap.nn.packed_model import PackedModel
from openmm_backmap.nn.torsion_bins import decode_mean, sample_bins
from openmm_backmap.nn.trace import Trace
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.planes import PlaneSettings
from openmm_backmap.packing.settle_backbone import BackboneSettler

__all__ = ["CA_NOISE_WIDTH", "CAModel"]

CA_NOISE_WIDTH = 20
"""2 for the planes, 1 for the chain, 3 for ends, 4 for chi, 10 Gibbs sweeps."""

CHAIN_NOISE = 2
FIRST_SWEEP = 10

VAGUE = 0.008
"""Shift by the projection (nm, root mean square) of traces that tell planes badly."""


class CAFeatures(NamedTuple):
    """What the heads of the network read, F frames of R residues."""

    h: Tensor  # (F, R, H)
    azimuth: Tensor  # (F, R, 72) logits of the planes; (F, R, 0) for samples


def make_uniform(noise: Tensor) -> Tensor:
    """Uniform numbers (F, R, 6) of the first columns of normal ones."""
    return 0.5 * (1.0 + torch.erf(noise[..., :6] / math.sqrt(2.0)))


class CAModel(PackedModel):
    """The default model, in the contract of `openmm_backmap.artifact.engine`.

    Parameters
    ----------
    decoder : CADecoder
        Holds the trained network.
    packer : Packer
        The shared packing.
    ramachandran : torch.Tensor, shape (4, B, B)
        See `openmm_backmap.packing.planes`.
    n_neighbors : int
        Neighbours the network was trained with; more may be passed for the
        packing, which uses all.
    residues_at_once : int
        Frames go through the network in groups of about so many residues,
        which keeps its intermediate values in the processor's cache.
    planes : PlaneSettings, optional
        Weights of the choice of planes. If None, looser ones than the defaults,
        chosen on the validation split.
    """

    def __init__(
        self,
        decoder: CADecoder,
        packer: Packer,
        ramachandran: Tensor,
        n_neighbors: int = 16,
        residues_at_once: int = 1024,
        planes: PlaneSettings | None = None,
    ) -> None:
        # the network knows the Ramachandran map: the energy only breaks ties
        loose = PlaneSettings(angle_spread=0.14, ramachandran_weight=0.25)
        super().__init__(
            packer,
            ramachandran,
            loose if planes is None else planes,
            CHAIN_NOISE,
            FIRST_SWEEP,
            CA_NOISE_WIDTH,
        )
        self.decoder = decoder
        self.n_neighbors = n_neighbors
        self.vague = VAGUE
        self.settler = BackboneSettler()
        self.noise_width = CA_NOISE_WIDTH
        self.residues_at_once = residues_at_once

    def compute_features(
        self,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        sigma: Tensor,
        noise: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
    ) -> Tensor:
        """Features (F, R, H) that the heads read, frames taken in groups."""
        near = neighbor_index[:, :, : self.n_neighbors]
        n_frames, n = ca.shape[0], ca.shape[1]
        group = max(1, self.residues_at_once // max(n, 1))
        has_box = bool((box != 0).any())
        parts: list[Tensor] = []
        for first in range(0, n_frames, group):
            last = min(first + group, n_frames)
            shift: Optional[Tensor] = None  # noqa: UP045 (TorchScript)
            if has_box:
                shift = compute_image_shift(
                    ca[first:last], chain_index, near[first:last], box[first:last]
                )
            draw: Optional[Tensor] = None  # noqa: UP045
            if noise is not None:
                draw = noise[first:last]
            parts.append(
                self.run_network(
                    ca[first:last],
                    residue_type,
                    chain_index,
                    near[first:last],
                    shift,
                    sigma[first:last],
                    draw,
                )
            )
        return torch.cat(parts, 0)

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
        """Features of one group of frames; `noise` is for models with latents."""
        return self.decoder.network(
            ca, residue_type, chain_index, neighbor_index, shift, sigma
        )

    def read(
        self,
        trace: Trace,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
    ) -> CAFeatures:
        """Run the network over the traces."""
        h = self.compute_features(
            trace.ca,
            residue_type,
            chain_index,
            neighbor_index,
            box,
            trace.sigma,
            noise,
        )
        azimuth = h[..., :0]
        if noise is None:
            azimuth = self.decoder.azimuth_logits(h, trace.is_cis)
        return CAFeatures(h, azimuth)

    def find_vague(
        self,
        trace: Trace,
        hints: Optional[BeadHints],  # noqa: UP045 (TorchScript)
    ) -> Optional[Tensor]:  # noqa: UP045
        """Residues (F, R) of traces that the projection has moved far."""
        is_vague = trace.shift > self.vague
        if hints is not None:
            is_vague = torch.ones_like(is_vague)
        return is_vague

    def propose_planes(
        self,
        read: CAFeatures,
        trace: Trace,
        residue_type: Tensor,
        chain_index: Tensor,
        is_vague: Optional[Tensor],  # noqa: UP045 (TorchScript)
        noise: Optional[Tensor],  # noqa: UP045
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Planes (F, R, P) about the peaks of the distribution, or drawn from it."""
        if noise is None:
            return self.decoder.spread_planes(
                read.h, read.azimuth, trace.is_cis, is_vague
            )
        return self.decoder.draw_planes(read.h, trace.is_cis, make_uniform(noise))

    def adjust_planes(
        self,
        read: CAFeatures,
        trace: Trace,
        alpha: Tensor,
        twist: Tensor,
        is_free: bool,
    ) -> tuple[Tensor, Tensor]:
        """Move planes to the mean of the distribution about them."""
        if not is_free:
            return alpha, twist
        return self.decoder.center_planes(read.h, read.azimuth, trace.is_cis, alpha)

    def place_ends(
        self,
        read: CAFeatures,
        trace: Trace,
        alpha: Tensor,
        twist: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
    ) -> Tensor:
        """Torsions (F, R, 3) of chain ends, given the plane beside them."""
        azimuth = self.decoder.end_azimuth(alpha, twist, trace.is_cis, chain_index)
        logits = self.decoder.network.end_logits(read.h, azimuth).float()
        if noise is None:
            return decode_mean(logits)
        return sample_bins(logits, make_uniform(noise)[..., 3:6], math.pi)

    def settle(
        self,
        backbone: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        is_vague: Optional[Tensor],  # noqa: UP045 (TorchScript)
    ) -> Tensor:
        """Close what is open in the backbones of vague traces."""
        if is_vague is None:
            return backbone
        return self.settler.settle(backbone, residue_type, chain_index, is_vague)

    def propose_side_chains(
        self,
        read: CAFeatures,
        trace: Trace,
        alpha: Tensor,
        twist: Tensor,
        backbone: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
    ) -> tuple[Tensor, Tensor]:
        """Likely chi (F, R, C, 4) given the planes, and their log p (F, R, C)."""
        told = self.decoder.encode_backbone(alpha, twist, trace.is_cis, chain_index)
        push: Optional[Tensor] = None  # noqa: UP045
        if noise is not None:
            push = noise[..., 6:10]
        return self.decoder.decode_chi(read.h, told, residue_type, push)
