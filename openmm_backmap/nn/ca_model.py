"""`ca`: the flagship. A network's torsions, chosen planes, packed side chains."""

import math
from typing import Optional

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import build_backbone
from openmm_backmap.builder.conditioning import find_cis, project_ca
from openmm_backmap.nn.bead_ends import turn_ends
from openmm_backmap.nn.bead_hints import BeadHints, follow_oxygen, weigh_side_chains
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_features import compute_image_shift
from openmm_backmap.nn.ca_noise import compute_shift, estimate_noise
from openmm_backmap.nn.packed_model import PackedModel
from openmm_backmap.nn.template import (
    offer_cis,
    offer_planes,
    offer_side_chains,
    trust_template,
)
from openmm_backmap.nn.torsion_bins import decode_mean, sample_bins
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.planes import PlaneSettings, choose_planes
from openmm_backmap.packing.settle_backbone import BackboneSettler

__all__ = ["CA_NOISE_WIDTH", "CAModel", "calibrate"]

CA_NOISE_WIDTH = 20
"""2 for the planes, 1 for the chain, 3 for ends, 4 for chi, 10 Gibbs sweeps."""

FIRST_SWEEP = 10


def calibrate(value: Tensor, table: Tensor) -> Tensor:
    """Map a confidence through a monotone table, linearly between its points.

    Parameters
    ----------
    value : torch.Tensor, shape (...)
        0 to 1.
    table : torch.Tensor, shape (B,)
        Calibrated confidence at 0, 1 / (B - 1), ..., 1.

    Returns
    -------
    torch.Tensor, shape (...)
        0 to 1.
    """
    place = value.clamp(0.0, 1.0) * (table.shape[0] - 1)
    low = place.floor().long().clamp(max=table.shape[0] - 2)
    part = place - low.to(place.dtype)
    return table[low] * (1.0 - part) + table[low + 1] * part


VAGUE = 0.008
"""Shift by the projection (nm, root mean square) of traces that tell planes badly."""


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
    calibration : torch.Tensor, shape (B,)
        See `calibrate`.
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

    planes: PlaneSettings

    def __init__(
        self,
        decoder: CADecoder,
        packer: Packer,
        ramachandran: Tensor,
        calibration: Tensor,
        n_neighbors: int = 16,
        residues_at_once: int = 1024,
        planes: PlaneSettings | None = None,
    ) -> None:
        super().__init__(packer, FIRST_SWEEP, CA_NOISE_WIDTH)
        self.decoder = decoder
        # the network knows the Ramachandran map: the energy only breaks ties
        loose = PlaneSettings(angle_spread=0.14, ramachandran_weight=0.25)
        self.planes = loose if planes is None else planes
        self.register_buffer("ramachandran", ramachandran)
        self.register_buffer("calibration", calibration)
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

    def propose(
        self,
        bead_positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
        hints: Optional[BeadHints] = None,  # noqa: UP045
        template: Optional[Tensor] = None,  # noqa: UP045
        exact: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Build the backbone and propose side chains.

        Parameters
        ----------
        bead_positions, residue_type, chain_index, neighbor_index, box, noise
            As in `forward`; CA is the first bead.
        hints : BeadHints or None
            What beads other than CA tell. If None, there are none.
        template : torch.Tensor or None, shape (R, 16)
            A reference structure, see `builder.template.encode_template`.
        exact : bool
            Whether CA stay where they are, though no backbone fits them.

        Returns
        -------
        backbone : torch.Tensor, shape (F, R, 5, 3)
            N, CA, C, O, CB in nm.
        chi : torch.Tensor, shape (F, R, C, 4)
            Candidate side chains in radians.
        log_p : torch.Tensor, shape (F, R, C)
            Log probability of each, -inf for none.
        """
        beads = bead_positions[:, :, 0]
        is_cis = find_cis(beads, residue_type, chain_index)
        sigma = estimate_noise(beads, is_cis, chain_index)
        if hints is not None:
            sigma = sigma.clamp(min=hints.noise)
        trust: Optional[Tensor] = None  # noqa: UP045
        if template is not None:
            trust = trust_template(beads, template, chain_index)
            is_cis = offer_cis(is_cis, beads, template, trust, chain_index)
        ca = beads
        if not exact:
            ca = project_ca(beads, residue_type, chain_index, is_cis=is_cis)
        h = self.compute_features(
            ca, residue_type, chain_index, neighbor_index, box, sigma, noise
        )
        uniform: Optional[Tensor] = None  # noqa: UP045
        draw: Optional[Tensor] = None  # noqa: UP045
        push: Optional[Tensor] = None  # noqa: UP045
        if noise is not None:
            uniform = 0.5 * (1.0 + torch.erf(noise[..., :6] / math.sqrt(2.0)))
            draw = noise[..., 2]
            push = noise[..., 6:10]
        is_vague = compute_shift(ca, beads, chain_index) > self.vague
        if hints is not None:
            is_vague = torch.ones_like(is_vague)
        azimuths = h[..., :0]
        if uniform is None:
            azimuths = self.decoder.azimuth_logits(h, is_cis)
            alphas, twists, plane_log_p = self.decoder.spread_planes(
                h, azimuths, is_cis, is_vague
            )
        else:
            alphas, twists, plane_log_p = self.decoder.draw_planes(h, is_cis, uniform)
        if template is not None and trust is not None:
            alphas, twists, plane_log_p = offer_planes(
                alphas, twists, plane_log_p, is_cis, template, trust
            )
        beta: Optional[Tensor] = None  # noqa: UP045
        has_beta: Optional[Tensor] = None  # noqa: UP045
        beta_spread = 1.0
        if hints is not None and bool(hints.has_oxygen.any()):
            beta = hints.beta
            has_beta = hints.has_beta
            beta_spread = hints.beta_spread
            alphas, twists, plane_log_p = follow_oxygen(
                hints,
                ca,
                alphas,
                twists,
                plane_log_p,
                is_cis,
                residue_type,
                chain_index,
                self.packer.builder(),
            )
        alpha, twist = choose_planes(
            ca,
            alphas,
            twists,
            plane_log_p,
            is_cis,
            residue_type,
            chain_index,
            neighbor_index,
            box,
            self.ramachandran,
            self.packer.builder(),
            self.planes,
            draw,
            beta,
            has_beta,
            beta_spread,
            is_vague,
        )
        if uniform is None and template is None and hints is None:
            alpha, twist = self.decoder.center_planes(h, azimuths, is_cis, alpha)
        azimuth = self.decoder.end_azimuth(alpha, twist, is_cis, chain_index)
        end_logits = self.decoder.network.end_logits(h, azimuth).float()
        if uniform is None:
            ends = decode_mean(end_logits)
        else:
            ends = sample_bins(end_logits, uniform[..., 3:6], math.pi)
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
        if hints is not None and bool(hints.has_oxygen.any()):
            backbone = turn_ends(hints, backbone, chain_index)
        if hints is None and not exact:
            backbone = self.settler.settle(
                backbone, residue_type, chain_index, is_vague
            )
        told = self.decoder.encode_backbone(alpha, twist, is_cis, chain_index)
        chi, log_p = self.decoder.decode_chi(h, told, residue_type, push)
        if template is not None and trust is not None:
            n_chi = self.decoder.n_chi[residue_type]
            chi, log_p = offer_side_chains(chi, log_p, n_chi, template, trust)
        if hints is not None:
            log_p = weigh_side_chains(
                hints, backbone, residue_type, chi, log_p, self.packer.builder()
            )
        return backbone, chi, log_p

    def rate(self, confidence: Tensor) -> Tensor:
        """Calibrated confidence."""
        return calibrate(confidence, self.calibration)
