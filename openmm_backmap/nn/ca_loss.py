"""The flagship's loss: cross entropy with soft labels over torsion bins."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.nn.ca_network import NO_RESIDUE, CANetwork
from openmm_backmap.nn.torsion_heads import N_BINS, TWIST_RANGE, TorsionHeads

__all__ = ["HEAD_NAMES", "CALoss", "make_soft_labels"]

HEAD_NAMES = (
    "alpha", "twist", "first_psi", "last_phi", "last_psi",
    "chi1", "chi2", "chi3", "chi4", "cis",
)  # fmt: skip

LEVELS_PER_BIN = 16
HEAD_WEIGHT = (1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


def make_soft_labels(half_range: float, sd: float, periodic: bool) -> Tensor:
    """Label rows for finely spaced angles.

    Parameters
    ----------
    half_range : float
        Bins cover ``-half_range`` to ``half_range``, radians.
    sd : float
        Width of the (wrapped) normal in radians.
    periodic : bool
        Whether the range closes on itself.

    Returns
    -------
    torch.Tensor, shape (1152, 72)
        Row ``floor((angle + half_range) / (2 half_range) * 1152)``.
    """
    n = N_BINS * LEVELS_PER_BIN
    width = 2.0 * half_range
    angle = (torch.arange(n) + 0.5) / n * width
    center = (torch.arange(N_BINS) + 0.5) / N_BINS * width
    delta = angle[:, None] - center[None, :]
    if periodic:
        delta = torch.remainder(delta + 0.5 * width, width) - 0.5 * width
    weight = torch.exp(-0.5 * (delta / sd) ** 2)
    return weight / weight.sum(-1, keepdim=True)


class CALoss(nn.Module):
    """Negative log likelihood of every head on a batch.

    Teacher forcing: the conditions of a head are the true angles, moved by a
    few degrees and sometimes withheld in training, so that the heads bear
    the errors of their own predictions.

    Parameters
    ----------
    label_sd, twist_sd : float
        Width of the soft labels in degrees.
    jitter : float
        Noise of the backbone azimuths told to the chi heads, in degrees.
    chi_jitter : float
        Noise of all other told angles, in degrees.
    withheld : float
        Probability that an azimuth is withheld from the chi heads.
    type_dropout : float
        Probability that the network is not told a residue's type; its chi are not
        asked for then.
    """

    def __init__(
        self,
        label_sd: float = 4.0,
        twist_sd: float = 2.5,
        jitter: float = 12.0,
        chi_jitter: float = 5.0,
        withheld: float = 0.2,
        type_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        circle = make_soft_labels(math.pi, math.radians(label_sd), True)
        twist = make_soft_labels(TWIST_RANGE, math.radians(twist_sd), False)
        half = circle.shape[0] // 2
        self.register_buffer("circle", circle, persistent=False)
        self.register_buffer("twist", twist, persistent=False)
        # both sides of a pi-periodic torsion
        both = 0.5 * (circle + torch.roll(circle, half, 0))
        self.register_buffer("both_sides", both, persistent=False)
        pi_periodic = load_builder_tables().pi_periodic
        self.register_buffer("pi_periodic", pi_periodic, persistent=False)
        self.register_buffer(
            "head_weight",
            torch.tensor(HEAD_WEIGHT, dtype=torch.float32),
            persistent=False,
        )
        is_backbone = torch.arange(9) < 5
        self.register_buffer("is_backbone", is_backbone, persistent=False)
        self.jitter = math.radians(jitter)
        self.chi_jitter = math.radians(chi_jitter)
        self.withheld = withheld
        self.type_dropout = type_dropout

    def _circle_level(self, angle: Tensor) -> Tensor:
        n = self.circle.shape[0]
        level = torch.floor((angle + math.pi) / (2.0 * math.pi) * n).long()
        return torch.remainder(level, n)

    def forward(
        self,
        network: CANetwork,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        sigma: Tensor,
        target: Tensor,
        known: Tensor,
        is_cis: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss of a batch; arguments as in `training.batch.Batch`.

        Returns
        -------
        loss : torch.Tensor, shape ()
            Weighted sum over heads, divided by the residues that have any
            target.
        total, count, hit : torch.Tensor, shape (10,)
            Summed negative log likelihood, number of targets, and number of
            targets within 40 degrees of the likeliest bin, per head.
        """
        told_type = residue_type
        if self.training and self.type_dropout > 0.0:
            hidden = torch.rand(residue_type.shape, dtype=ca.dtype, device=ca.device)
            hidden = hidden < self.type_dropout
            told_type = torch.where(hidden, NO_RESIDUE, residue_type)
            asked = ~hidden[None, :, None] | self.is_backbone
            known = known & asked
        h = network(ca, told_type, chain_index, neighbor_index, None, sigma)
        logits = self.compute_logits(network, h, chain_index, target, known, is_cis)
        return self.reduce(logits, residue_type, target, known, is_cis)

    def compute_logits(
        self,
        network: TorsionHeads,
        h: Tensor,
        chain_index: Tensor,
        target: Tensor,
        known: Tensor,
        is_cis: Tensor,
    ) -> list[Tensor]:
        """Logits of every head, each told the true earlier torsions.

        Parameters
        ----------
        network : TorsionHeads
            Holds the heads.
        h : torch.Tensor, shape (1, R, H)
            Features.
        chain_index, target, known, is_cis : torch.Tensor
            As in `training.batch.Batch`.

        Returns
        -------
        list of torch.Tensor
            In the order of `HEAD_NAMES`, each of shape (1, R, 72) but the last,
            (1, R).
        """
        training = self.training
        told = target
        shaken = target
        n_residues = target.shape[1]
        has_c = known[..., 0]
        has_n = torch.roll(has_c, 1, 1)
        if training:
            told = target + self.chi_jitter * torch.randn_like(target)
            shaken = target + self.jitter * torch.randn_like(target)
        # the C azimuth sees its neighbours' azimuths half of the time
        before, after = torch.roll(told[..., 0], 1, 1), torch.roll(told[..., 0], -1, 1)
        same_before = torch.roll(chain_index, 1, 0) == chain_index
        same_after = torch.roll(chain_index, -1, 0) == chain_index
        has_before = torch.roll(has_c, 1, 1) & same_before
        has_after = torch.roll(has_c, -1, 1) & same_after
        if training:
            coin = torch.rand_like(told[..., 0]) < 0.4
            has_before, has_after = has_before & coin, has_after & coin
        else:
            has_before = torch.zeros_like(has_before)
            has_after = torch.zeros_like(has_after)
        logits = [
            network.alpha_logits(h, is_cis, before, has_before, after, has_after),
            network.twist_logits(h, is_cis, told[..., 0]),
        ]
        n_azimuth = torch.roll(
            shaken[..., 0] + shaken[..., 1]
            + torch.where(is_cis, 0.0, math.pi).to(target.dtype), 1, 1
        )  # fmt: skip
        c_azimuth = shaken[..., 0]
        has_n = has_n & same_before
        # a residue has one azimuth at a chain end: the C of a first residue,
        # the N of a last one
        end_azimuth = torch.where(has_c, c_azimuth, n_azimuth)
        logits.extend(network.end_logits(h, end_azimuth).unbind(2))
        if training and self.withheld > 0:
            keep = (
                torch.rand(2, 1, n_residues, dtype=told.dtype, device=told.device)
                >= self.withheld
            )
            has_n, has_c = has_n & keep[0], has_c & keep[1]
        backbone = network.backbone_condition(n_azimuth, has_n, c_azimuth, has_c)
        for k in range(4):
            logits.append(network.chi_logits(h, backbone, told[..., 5:], k))
        logits.append(network.cis_logit(h))
        return logits

    def reduce(
        self,
        logits: list[Tensor],
        residue_type: Tensor,
        target: Tensor,
        known: Tensor,
        is_cis: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Loss and sums of the logits of all heads; returns as `forward`.

        Parameters
        ----------
        logits : list of torch.Tensor
            See `compute_logits`.
        residue_type, target, known, is_cis : torch.Tensor
            As in `training.batch.Batch`.

        Returns
        -------
        loss : torch.Tensor, shape ()
            Summed over heads, divided by the residues that have any target.
        total, count, hit : torch.Tensor, shape (10,)
            See `forward`.
        """
        level = self._circle_level(target)
        n = self.twist.shape[0]
        twist_level = (target[..., 1] + TWIST_RANGE) / (2.0 * TWIST_RANGE) * n
        twist_level = torch.floor(twist_level).long().clamp(0, n - 1)
        total, count, hit = [], [], []
        for head in range(9):
            if head == 1:
                label = self.twist[twist_level]
            elif head < 5:
                label = self.circle[level[..., head]]
            else:
                flips = self.pi_periodic[residue_type, head - 5].view(1, -1, 1)
                at = level[..., head]
                label = torch.where(flips, self.both_sides[at], self.circle[at])
            score = logits[head].float()
            nll = torch.logsumexp(score, -1) - (label * score).sum(-1)
            mask = known[..., head].to(nll.dtype)
            total.append((nll * mask).sum())
            count.append(mask.sum())
            with torch.no_grad():
                step = 2.0 * (TWIST_RANGE if head == 1 else math.pi) / N_BINS
                start = -TWIST_RANGE if head == 1 else -math.pi
                guess = start + (score.argmax(-1).to(nll.dtype) + 0.5) * step
                cosine = torch.cos(guess - target[..., head])
                if head >= 5:
                    flips = self.pi_periodic[residue_type, head - 5].view(1, -1)
                    cosine = torch.where(flips, cosine.abs(), cosine)
                hit.append(((cosine > math.cos(math.radians(40.0))) * mask).sum())
        score = logits[9].float()
        before_proline = torch.roll(residue_type, -1, 0) == 14
        mask = (known[..., 0] & before_proline).to(score.dtype)
        truth = is_cis.to(score.dtype)
        nll = functional.binary_cross_entropy_with_logits(
            score, truth, reduction="none"
        )
        total.append((nll * mask).sum())
        count.append(mask.sum())
        hit.append((((score > 0) == is_cis) * mask).sum())
        totals, counts, hits = torch.stack(total), torch.stack(count), torch.stack(hit)
        residues = known.any(-1).sum().clamp(min=1)
        loss = (totals * self.head_weight).sum() / residues
        return loss, totals.detach(), counts, hits
