"""`ca`: the flagship. A network's torsions, chosen planes, packed side chains."""

import math
import math
from typing import Optional

import torch
from torch import Tensor, nn

from openmm_backmap.builder.backbone import build_backbone, has_next
from openmm_backmap.builder.conditioning import find_cis, project_ca
from openmm_backmap.geometry.vectors import compute_distance
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_features import compute_image_shift
from openmm_backmap.packing.pack import Packer

__all__ = ["CA_NOISE_WIDTH", "CAModel", "estimate_noise"]

CA_NOISE_WIDTH = 18
"""5 for the backbone, 4 for the chi, 9 for the Gibbs sweeps."""

MAX_NOISE = 0.03
NATIVE_SPREAD = 0.004


def estimate_noise(
    ca: Tensor,
    is_cis: Tensor,
    chain_index: Tensor,
    native_spread: float = NATIVE_SPREAD,
    max_noise: float = MAX_NOISE,
) -> Tensor:
    """Noise of a CA trace, from how far its bonds are from 3.8 A.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm, before any projection.
    is_cis : torch.Tensor, shape (F, R), bool
        Cis units, which do not count.
    chain_index : torch.Tensor, shape (R,), int64
        Bonded segments.
    native_spread : float
        Spread of real CA-CA bonds in nm, taken as no noise.
    max_noise : float
        Largest value, nm a coordinate (the largest of the training).

    Returns
    -------
    torch.Tensor, shape (F, R)
        Noise in nm a coordinate, one value a frame. Noise of standard
        deviation s moves a bond's length by ``sqrt(2) s``.
    """
    bond = compute_distance(ca, torch.roll(ca, -1, 1))
    counts = (has_next(chain_index).unsqueeze(0) & ~is_cis).to(ca.dtype)
    off = (bond - 0.3805) * counts
    mean_square = (off * off).sum(1) / counts.sum(1).clamp(min=1.0)
    excess = (mean_square - native_spread * native_spread).clamp(min=0.0)
    sigma = torch.sqrt(0.5 * excess).clamp(max=max_noise)
    return sigma.unsqueeze(1).expand(-1, ca.shape[1])


class CAModel(nn.Module):
    """The default model, in the contract of `openmm_backmap.artifact.engine`.

    Parameters
    ----------
    decoder : CADecoder
        Holds the trained network.
    packer : Packer
        The shared packing.
    n_neighbors : int
        Neighbours the network was trained with; more may be passed for the
        packing, which uses all.
    residues_at_once : int
        Frames go through the network in groups of about so many residues,
        which keeps its intermediate values in the processor's cache.
    """

    def __init__(
        self,
        decoder: CADecoder,
        packer: Packer,
        n_neighbors: int = 16,
        residues_at_once: int = 1024,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.packer = packer
        self.n_neighbors = n_neighbors
        self.residues_at_once = residues_at_once

    def compute_features(
        self,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        sigma: Tensor,
    ) -> Tensor:
        """Trunk features (F, R, H), frames taken in groups."""
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
            parts.append(
                self.decoder.network(
                    ca[first:last],
                    residue_type,
                    chain_index,
                    near[first:last],
                    shift,
                    sigma[first:last],
                )
            )
        return torch.cat(parts, 0)

    def forward(
        self,
        bead_positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
    ) -> tuple[Tensor, Tensor]:
        """Backmap a batch of frames; see `openmm_backmap.artifact.engine`."""
        beads = bead_positions[:, :, 0]
        is_cis = find_cis(beads, residue_type, chain_index)
        sigma = estimate_noise(beads, is_cis, chain_index)
        ca = project_ca(beads, residue_type, chain_index)
        h = self.compute_features(
            ca, residue_type, chain_index, neighbor_index, box, sigma
        )
        uniform: Optional[Tensor] = None  # noqa: UP045
        push: Optional[Tensor] = None  # noqa: UP045
        sweeps: Optional[Tensor] = None  # noqa: UP045
        if noise is not None:
            uniform = 0.5 * (1.0 + torch.erf(noise[..., :5] / math.sqrt(2.0)))
            push = noise[..., 5:9]
            sweeps = noise[..., 9:]
        alpha, twist, ends = self.decoder.decode_backbone(
            h, chain_index, is_cis, uniform
        )
        backbone = build_backbone(
            ca,
            alpha,
            twist,
            is_cis,
            ends,
            residue_type,
            chain_index,
            self.packer.builder(),
        )
        told = self.decoder.encode_backbone(alpha, twist, is_cis, chain_index)
        chi, log_p = self.decoder.decode_chi(h, told, residue_type, push)
        _, positions, confidence = self.packer(
            backbone,
            residue_type,
            chain_index,
            neighbor_index,
            box,
            chi,
            log_p,
            sweeps,
        )
        return positions, confidence
