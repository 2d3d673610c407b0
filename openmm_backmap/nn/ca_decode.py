"""From logits to torsions: mode, samples and chi candidates (scriptable)."""

import math
from typing import Optional

import torch
from torch import Tensor, nn

from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.nn.chi_beam import grow_beam
from openmm_backmap.nn.torsion_bins import (
    bin_of,
    decode_mean,
    decode_peak,
    find_peaks,
    sample_bins,
)
from openmm_backmap.nn.torsion_heads import TWIST_RANGE, TorsionHeads

__all__ = ["CADecoder"]

NO_CANDIDATE: float = -1.0e4
"""log p of a plane that is none."""


class CADecoder(nn.Module):
    """Torsions of a trunk's features: backbone mode or sample, chi candidates.

    Parameters
    ----------
    network : TorsionHeads
        Trained network; it is part of this module.
    n_candidates : int
        Chi candidates C a residue.
    max_log_ratio : float
        Candidates this many nats below the best are dropped.
    """

    def __init__(
        self, network: TorsionHeads, n_candidates: int = 12, max_log_ratio: float = 7.0
    ) -> None:
        super().__init__()
        self.network = network
        self.n_candidates = n_candidates
        self.max_log_ratio = max_log_ratio
        self.twist_range = TWIST_RANGE
        self.basin = 9  # bins on either side that one azimuth stands for
        self.no_candidate = NO_CANDIDATE
        self.label_sd = math.radians(4.0)
        tables = load_builder_tables()
        self.register_buffer("n_chi", tables.n_chi, persistent=False)
        self.register_buffer("pi_periodic", tables.pi_periodic, persistent=False)

    def decode_backbone(
        self,
        h: Tensor,
        chain_index: Tensor,
        is_cis: Tensor,
        uniform: Tensor | None,
        temperature: float = 1.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Peptide azimuths and end torsions.

        Parameters
        ----------
        h : torch.Tensor, shape (F, R, H)
            Trunk features.
        chain_index : torch.Tensor, shape (R,), int64
            Bonded segments.
        is_cis : torch.Tensor, shape (F, R), bool
            Cis units (see `builder.conditioning.find_cis`).
        uniform : torch.Tensor, shape (F, R, 5), optional
            Uniform numbers for alpha, twist and the three end torsions. If
            None, the mode.
        temperature : float
            Of a sample.

        Returns
        -------
        alpha, twist : torch.Tensor, shape (F, R)
            As `builder.build_backbone` reads them, radians.
        end_torsion : torch.Tensor, shape (F, R, 3)
            The same.
        """
        n = chain_index.shape[0]
        unknown = torch.zeros_like(is_cis)
        blank = torch.zeros_like(h[..., 0])
        logits = self.network.alpha_logits(h, is_cis, blank, unknown, blank, unknown)
        if uniform is None:
            alpha = decode_peak(logits, math.pi, True)
            twist = decode_peak(
                self.network.twist_logits(h, is_cis, alpha), self.twist_range, False
            )
        else:
            # even units on their own, odd ones given both units beside them
            alpha = sample_bins(logits, uniform[..., 0], math.pi, temperature)
            same = chain_index[:-1] == chain_index[1:]
            edge = torch.zeros(1, dtype=torch.bool, device=h.device)
            has_next = torch.cat((same, edge))
            has_before = torch.roll(has_next, 1, 0)
            has_after = has_next & torch.roll(has_next, -1, 0)
            again = self.network.alpha_logits(
                h,
                is_cis,
                torch.roll(alpha, 1, 1),
                has_before.unsqueeze(0).expand_as(is_cis),
                torch.roll(alpha, -1, 1),
                has_after.unsqueeze(0).expand_as(is_cis),
            )
            redrawn = sample_bins(again, uniform[..., 0], math.pi, temperature)
            odd = torch.remainder(torch.arange(n, device=h.device), 2) == 1
            alpha = torch.where(odd.unsqueeze(0), redrawn, alpha)
            twist = sample_bins(
                self.network.twist_logits(h, is_cis, alpha),
                uniform[..., 1],
                self.twist_range,
                temperature,
            )
        end = self.end_azimuth(alpha, twist, is_cis, chain_index)
        end_logits = self.network.end_logits(h, end)
        if uniform is None:
            end_torsion = decode_mean(end_logits)
        else:
            end_torsion = sample_bins(
                end_logits, uniform[..., 2:5], math.pi, temperature
            )
        return alpha, twist, end_torsion

    def spread_planes(
        self,
        h: Tensor,
        logits: Tensor,
        is_cis: Tensor,
        is_vague: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
        step: float = 0.2,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The likeliest planes of every unit and planes a little beside them.

        Parameters
        ----------
        h : torch.Tensor, shape (F, R, H)
            Trunk features.
        logits : torch.Tensor, shape (F, R, 72)
            See `azimuth_logits`.
        is_cis : torch.Tensor, shape (F, R), bool
            Cis units.
        is_vague : torch.Tensor or None, shape (F, R), bool
            Units of which not only the likeliest peak gets further candidates, as the
            likeliest planes need not fit one another there. If None, none.
        step : float
            How far beside a peak the further candidates stand, in radians.

        Returns
        -------
        alpha, twist, log_p : torch.Tensor, shape (F, R, 5) or (F, R, 9)
            Three peaks of the C azimuth, the first one (in vague places all) with a
            plane on either side whose log p falls as the distribution does. Azimuths
            are means of `basin` bins on either side of a peak, twists means about the
            likeliest one.
        """
        n_frames, n = h.shape[0], h.shape[1]
        flat = logits.reshape(n_frames * n, logits.shape[-1])
        n_bins = flat.shape[-1]
        one_sided = torch.zeros_like(is_cis).reshape(-1)
        peak, mass, _ = find_peaks(
            flat, one_sided, reach=self.basin, basin=self.basin, apart=self.basin
        )
        density = torch.log_softmax(flat, -1)
        top = torch.gather(density, 1, bin_of(peak, n_bins))
        alphas: list[Tensor] = []
        log_ps: list[Tensor] = []
        n_spread = 1
        if is_vague is not None and bool(is_vague.any()):
            n_spread = 3
        for offset in (0.0, -step, step):
            kept = peak.shape[1] if offset == 0.0 else n_spread
            moved = peak[:, :kept] + offset
            alphas.append(moved)
            beside = torch.gather(density, 1, bin_of(moved, n_bins))
            lost = (beside - top[:, :kept]).clamp(max=0.0)
            found = mass[:, :kept] + lost
            if is_vague is not None and offset != 0.0:
                # in a batch with vague frames the others stay as they are alone
                sure = ~is_vague.reshape(-1, 1)
                others = found[:, 1:].masked_fill(sure, self.no_candidate)
                found = torch.cat((found[:, :1], others), 1)
            log_ps.append(found)
        alpha = torch.cat(alphas, 1).view(n_frames, n, -1)
        log_p = torch.cat(log_ps, 1).view(n_frames, n, -1)
        twist = self._central_twist(h, is_cis, alpha.permute(2, 0, 1))
        return alpha, twist.permute(1, 2, 0), log_p

    def center_planes(
        self, h: Tensor, logits: Tensor, is_cis: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Move chosen planes to the mean of the distribution about them.

        The azimuth of least expected squared distance, within `basin` bins; the
        choice says which way a plane faces, this how exactly.

        Parameters
        ----------
        h : torch.Tensor, shape (F, R, H)
            Trunk features.
        logits : torch.Tensor, shape (F, R, 72)
            See `azimuth_logits`.
        is_cis : torch.Tensor, shape (F, R), bool
            Cis units.
        alpha : torch.Tensor, shape (F, R)
            Chosen C azimuths in radians.

        Returns
        -------
        alpha, twist : torch.Tensor, shape (F, R)
            Radians.
        """
        p = torch.softmax(logits, -1)
        n_bins = p.shape[-1]
        width = 2.0 * math.pi / n_bins
        middle = bin_of(alpha, n_bins).unsqueeze(-1)
        place = middle + torch.arange(-self.basin, self.basin + 1, device=h.device)
        weight = torch.gather(p, -1, torch.remainder(place, n_bins))
        away = (place.to(alpha.dtype) + 0.5) * width - math.pi - alpha.unsqueeze(-1)
        away = torch.remainder(away + math.pi, 2.0 * math.pi) - math.pi
        shift = (weight * away).sum(-1) / weight.sum(-1).clamp(min=1e-12)
        alpha = alpha + shift
        return alpha, self._central_twist(h, is_cis, alpha.unsqueeze(0))[0]

    def _central_twist(self, h: Tensor, is_cis: Tensor, alpha: Tensor) -> Tensor:
        """Twist about its likeliest value, averaged widely, of planes (P, F, R)."""
        logits = self.network.spread_twist_logits(h, is_cis, alpha).float()
        return decode_peak(logits, self.twist_range, False, window=16)

    def draw_planes(
        self, h: Tensor, is_cis: Tensor, uniform: Tensor, n_planes: int = 8
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Planes drawn from the distribution, to be thinned by the chain.

        Systematic draws: one uniform number shifts a comb of `n_planes`
        quantiles of the C azimuth, another one those of the twist.

        Parameters
        ----------
        h : torch.Tensor, shape (F, R, H)
            Trunk features.
        is_cis : torch.Tensor, shape (F, R), bool
            Cis units.
        uniform : torch.Tensor, shape (F, R, 2 or more)
            Uniform numbers for azimuth and twist.
        n_planes : int
            Planes P a unit.

        Returns
        -------
        alpha, twist, log_p : torch.Tensor, shape (F, R, P)
            Equally probable draws: log p is zero.
        """
        logits = self.azimuth_logits(h, is_cis)
        alphas: list[Tensor] = []
        twists: list[Tensor] = []
        for k in range(n_planes):
            first = torch.frac(uniform[..., 0] + k / n_planes)
            # golden-ratio steps keep the twist quantiles spread and unpaired
            second = torch.frac(uniform[..., 1] + k * 0.618033988749895)
            alpha = sample_bins(logits, first, math.pi)
            twist_logits = self.network.twist_logits(h, is_cis, alpha).float()
            alphas.append(alpha)
            twists.append(sample_bins(twist_logits, second, self.twist_range))
        alpha = torch.stack(alphas, -1)
        return alpha, torch.stack(twists, -1), torch.zeros_like(alpha)

    def azimuth_logits(self, h: Tensor, is_cis: Tensor) -> Tensor:
        """Distribution of the C azimuth of each unit on its own, (F, R, bins)."""
        unknown = torch.zeros_like(is_cis)
        blank = torch.zeros_like(h[..., 0])
        return self.network.alpha_logits(
            h, is_cis, blank, unknown, blank, unknown
        ).float()

    def end_azimuth(
        self, alpha: Tensor, twist: Tensor, is_cis: Tensor, chain_index: Tensor
    ) -> Tensor:
        """Azimuth of the only unit of an end residue, shape (F, R).

        What `TorsionHeads.end_logits` is told; without meaning elsewhere.
        """
        azimuth = self._own_azimuths(alpha, twist, is_cis, chain_index)
        # a single residue has none, and is told nothing of other chains
        before = torch.where(azimuth[1], azimuth[0], torch.zeros_like(alpha))
        return torch.where(azimuth[3], azimuth[2], before)

    def _own_azimuths(
        self, alpha: Tensor, twist: Tensor, is_cis: Tensor, chain_index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """N azimuth, whether there is one, C azimuth, whether there is one."""
        same = chain_index[:-1] == chain_index[1:]
        edge = torch.zeros(1, dtype=torch.bool, device=alpha.device)
        has_c = torch.cat((same, edge)).unsqueeze(0).expand_as(is_cis)
        half_turn = torch.full_like(alpha, math.pi)
        turn = torch.where(is_cis, torch.zeros_like(alpha), half_turn)
        n_azimuth = torch.roll(alpha + twist + turn, 1, 1)
        return n_azimuth, torch.roll(has_c, 1, 1), alpha, has_c

    def encode_backbone(
        self, alpha: Tensor, twist: Tensor, is_cis: Tensor, chain_index: Tensor
    ) -> Tensor:
        """What the chi heads are told of the backbone, shape (F, R, 14)."""
        n_azimuth, has_n, c_azimuth, has_c = self._own_azimuths(
            alpha, twist, is_cis, chain_index
        )
        return self.network.backbone_condition(n_azimuth, has_n, c_azimuth, has_c)

    def decode_chi(
        self,
        h: Tensor,
        backbone: Tensor,
        residue_type: Tensor,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Chi candidates by a beam over the chain of chi.

        Parameters
        ----------
        h : torch.Tensor, shape (F, R, H)
            Trunk features.
        backbone : torch.Tensor, shape (F, R, 14)
            See `encode_backbone`.
        residue_type : torch.Tensor, shape (R,), int64
            0 to 19.
        noise : torch.Tensor, shape (F, R, 4), optional
            Standard normal numbers that move each chi within its peak, the
            same for all candidates of a residue. If None, peaks' means.

        Returns
        -------
        chi : torch.Tensor, shape (F, R, C, 4)
            Radians, best candidate first; 0 where a chi does not exist.
        log_p : torch.Tensor, shape (F, R, C)
            Log probability, -inf for unused places. Residues without chi have
            one candidate of log probability 0.
        """
        n_frames, n = h.shape[0], h.shape[1]
        n_kept = self.n_candidates
        chi = torch.zeros(n_frames * n, n_kept, 4, dtype=torch.float32, device=h.device)
        log_p = torch.full_like(chi[..., 0], -math.inf)
        log_p[:, 0] = 0.0
        flat_h = h.flatten(0, 1)
        flat_backbone = backbone.flatten(0, 1)
        kind = residue_type.unsqueeze(0).expand(n_frames, n).reshape(-1)
        n_chi = self.n_chi[kind]
        alive = 1
        for k in range(4):
            rows = torch.nonzero(n_chi > k).squeeze(-1)
            if rows.numel() > 0:
                parents = chi[rows, :alive]
                parent_log_p = log_p[rows, :alive]
                # starts that were dropped are not asked
                asked = torch.nonzero(torch.isfinite(parent_log_p).reshape(-1))[:, 0]
                owner = torch.div(asked, alive, rounding_mode="floor")
                logits = self.network.spread_chi_logits(
                    flat_h[rows],
                    flat_backbone[rows],
                    parents.reshape(-1, 4)[asked],
                    owner,
                    k,
                )
                flips = self.pi_periodic[kind[rows], k]
                angle, gain, spread = find_peaks(logits.float(), flips[owner])
                if noise is not None:
                    push = noise.reshape(-1, 4)[rows, k].clamp(-2.5, 2.5)
                    angle = angle + push[owner].unsqueeze(1) * self._true_spread(spread)
                chi[rows], log_p[rows] = grow_beam(
                    parents, parent_log_p, angle, gain, asked, k, n_kept,
                    self.max_log_ratio,
                )  # fmt: skip
            # candidates that can be alive: 1, 3, 9, 12
            alive = min(3 * alive, n_kept)
        return chi.view(n_frames, n, n_kept, 4), log_p.view(n_frames, n, n_kept)

    def _true_spread(self, spread: Tensor) -> Tensor:
        """Spread of a peak without the labels' own width, radians."""
        square = spread * spread - self.label_sd * self.label_sd
        return torch.sqrt(square.clamp(min=0.0025))
