"""Heads that every network shares: distributions of torsions over bins."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["N_BINS", "TWIST_RANGE", "TorsionHeads", "encode_angle"]

N_BINS = 72
TWIST_RANGE = math.pi / 3.0
"""Twists are binned over -60 to 60 degrees; 0.12 % of the units lie beyond."""


def encode_angle(angle: Tensor) -> Tensor:
    """Sines and cosines of an angle's first three multiples.

    Parameters
    ----------
    angle : torch.Tensor, shape (...)
        Angles in radians.

    Returns
    -------
    torch.Tensor, shape (..., 6)
        ``sin a, cos a, sin 2a, cos 2a, sin 3a, cos 3a``.
    """
    return torch.stack(
        (
            torch.sin(angle), torch.cos(angle),
            torch.sin(2.0 * angle), torch.cos(2.0 * angle),
            torch.sin(3.0 * angle), torch.cos(3.0 * angle),
        ),
        dim=-1,
    )  # fmt: skip


class TorsionHead(nn.Module):
    """Logits over the bins of one torsion, given features and conditions."""

    def __init__(self, width: int, n_conditions: int, n_out: int) -> None:
        super().__init__()
        self.padding = -n_conditions % 16
        self.hidden = nn.Linear(width + n_conditions + self.padding, width)
        self.out = nn.Linear(width, n_out)

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        """Logits, shape (..., n_out), from (..., H) and (..., n_conditions)."""
        condition = functional.pad(condition.to(h.dtype), (0, self.padding))
        x = torch.cat((h, condition), dim=-1)
        return self.out(functional.silu(self.hidden(x)))

    @torch.jit.export
    def spread(self, shared: Tensor, own: Tensor, owner: Tensor) -> Tensor:
        """Logits of many cases of which some share most of what is told.

        Parameters
        ----------
        shared : torch.Tensor, shape (N, H + S)
            Features and the first conditions.
        own : torch.Tensor, shape (M, n_conditions - S)
            The other conditions, which differ between cases.
        owner : torch.Tensor, shape (M,), int64
            Row of `shared` of each case.

        Returns
        -------
        torch.Tensor, shape (M, n_out)
            What `forward` gives of ``shared[owner]`` and `own`; what is shared
            goes through its weights once.
        """
        n_shared = shared.shape[1]
        weight = self.hidden.weight
        x = functional.linear(shared, weight[:, :n_shared], self.hidden.bias)
        x = x.index_select(0, owner)
        if own.shape[1] > 0:
            last = n_shared + own.shape[1]
            x = x + functional.linear(own, weight[:, n_shared:last])
        return self.out(functional.silu(x))

    @torch.jit.export
    def spread_evenly(self, shared: Tensor, own: Tensor) -> Tensor:
        """Logits of several cases of every row; see `spread`.

        Parameters
        ----------
        shared : torch.Tensor, shape (N, H + S)
            Features and the first conditions.
        own : torch.Tensor, shape (P, N, n_conditions - S)
            The other conditions of P cases.

        Returns
        -------
        torch.Tensor, shape (P, N, n_out)
            Logits.
        """
        n_shared = shared.shape[1]
        last = n_shared + own.shape[2]
        weight = self.hidden.weight
        base = functional.linear(shared, weight[:, :n_shared], self.hidden.bias)
        mixer = weight[:, n_shared:last].t()
        # case after case: the hidden values of all would leave the caches
        parts: list[Tensor] = []
        for conditions in own.unbind(0):
            x = torch.addmm(base, conditions.to(base.dtype), mixer)
            parts.append(self.out(functional.silu(x)))
        return torch.stack(parts)


class TorsionHeads(nn.Module):
    """Distributions of peptide azimuths, end torsions and chi, given features.

    The distributions are conditional: twist on the C azimuth; chi on the two
    azimuths that fix this residue's N and C; each chi on the earlier ones.
    The C azimuth may also be told the azimuths of both peptide units beside
    it, which lets samples be drawn in two passes (even units, then odd).

    A subclass makes the features, and calls `add_heads` after its own layers.
    """

    def add_heads(self, width: int) -> None:
        """Make the heads.

        Parameters
        ----------
        width : int
            Feature width H.
        """
        # conditions: see the *_logits methods
        self.cis = nn.Linear(width, 1)
        self.alpha = TorsionHead(width, 15, N_BINS)
        self.twist = TorsionHead(width, 7, N_BINS)
        self.ends = TorsionHead(width, 6, 3 * N_BINS)
        self.chi1 = TorsionHead(width, 14, N_BINS)
        self.chi2 = TorsionHead(width, 20, N_BINS)
        self.chi3 = TorsionHead(width, 26, N_BINS)
        self.chi4 = TorsionHead(width, 32, N_BINS)

    @torch.jit.export
    def cis_logit(self, h: Tensor) -> Tensor:
        """Log odds that the unit i, i + 1 is cis, shape (F, R).

        Meaningful only where residue i + 1 is a proline.
        """
        return self.cis(h).squeeze(-1)

    @torch.jit.export
    def alpha_logits(
        self,
        h: Tensor,
        is_cis: Tensor,
        before: Tensor,
        has_before: Tensor,
        after: Tensor,
        has_after: Tensor,
    ) -> Tensor:
        """Logits of the C azimuth of the unit i, i + 1.

        Parameters
        ----------
        h : torch.Tensor, shape (F, R, H)
            Features.
        is_cis : torch.Tensor, shape (F, R), bool
            Peptide state.
        before, after : torch.Tensor, shape (F, R)
            C azimuths of the units i - 1 and i + 1 in radians.
        has_before, has_after : torch.Tensor, shape (F, R), bool
            Whether those are known.

        Returns
        -------
        torch.Tensor, shape (F, R, 72)
            Logits; bin k is centred on ``-pi + (k + 0.5) * 2 pi / 72``.
        """
        known_before = has_before.to(before.dtype).unsqueeze(-1)
        known_after = has_after.to(before.dtype).unsqueeze(-1)
        condition = torch.cat(
            (
                is_cis.to(before.dtype).unsqueeze(-1),
                encode_angle(before) * known_before, known_before,
                encode_angle(after) * known_after, known_after,
            ),
            dim=-1,
        )  # fmt: skip
        return self.alpha(h, condition)

    @torch.jit.export
    def twist_logits(self, h: Tensor, is_cis: Tensor, alpha: Tensor) -> Tensor:
        """Logits of the twist given the C azimuth, shape (F, R, 72).

        Bins cover `TWIST_RANGE` on either side of 0.
        """
        state = is_cis.to(alpha.dtype).unsqueeze(-1)
        return self.twist(h, torch.cat((state, encode_angle(alpha)), dim=-1))

    @torch.jit.export
    def spread_twist_logits(self, h: Tensor, is_cis: Tensor, alpha: Tensor) -> Tensor:
        """Logits of the twist given each of several C azimuths.

        Parameters
        ----------
        h : torch.Tensor, shape (F, R, H)
            Features.
        is_cis : torch.Tensor, shape (F, R), bool
            Peptide state.
        alpha : torch.Tensor, shape (P, F, R)
            C azimuths in radians.

        Returns
        -------
        torch.Tensor, shape (P, F, R, 72)
            Logits, as of `twist_logits`.
        """
        shared = torch.cat((h, is_cis.to(h.dtype).unsqueeze(-1)), dim=-1)
        own = encode_angle(alpha.flatten(1))
        logits = self.twist.spread_evenly(shared.flatten(0, 1), own)
        return logits.view(alpha.shape[0], h.shape[0], h.shape[1], -1)

    @torch.jit.export
    def end_logits(self, h: Tensor, azimuth: Tensor) -> Tensor:
        """Logits of the three torsions of chain ends.

        Parameters
        ----------
        h : torch.Tensor, shape (F, R, H)
            Features.
        azimuth : torch.Tensor, shape (F, R)
            C azimuth (first residue) or N azimuth (last) of the residue's
            only peptide unit, in radians.

        Returns
        -------
        torch.Tensor, shape (F, R, 3, 72)
            psi of the first residue; phi, then psi (of OXT) of the last.
        """
        logits = self.ends(h, encode_angle(azimuth))
        return logits.view(h.shape[0], h.shape[1], 3, logits.shape[-1] // 3)

    @torch.jit.export
    def backbone_condition(
        self, n_azimuth: Tensor, has_n: Tensor, c_azimuth: Tensor, has_c: Tensor
    ) -> Tensor:
        """Encode the azimuths of a residue's own N and C, shape (F, R, 14)."""
        n_known = has_n.to(n_azimuth.dtype).unsqueeze(-1)
        c_known = has_c.to(c_azimuth.dtype).unsqueeze(-1)
        return torch.cat(
            (
                encode_angle(n_azimuth) * n_known, n_known,
                encode_angle(c_azimuth) * c_known, c_known,
            ),
            dim=-1,
        )  # fmt: skip

    @torch.jit.export
    def chi_logits(self, h: Tensor, backbone: Tensor, chi: Tensor, k: int) -> Tensor:
        """Logits of chi k + 1 given the earlier ones.

        Parameters
        ----------
        h : torch.Tensor, shape (..., H)
            Trunk features.
        backbone : torch.Tensor, shape (..., 14)
            See `backbone_condition`.
        chi : torch.Tensor, shape (..., 4)
            Side-chain torsions in radians; the first `k` are read.
        k : int
            0 to 3.

        Returns
        -------
        torch.Tensor, shape (..., 72)
            Logits.
        """
        condition = backbone
        if k > 0:
            earlier = encode_angle(chi[..., :k])
            condition = torch.cat((backbone, earlier.flatten(-2)), dim=-1)
        if k == 0:
            return self.chi1(h, condition)
        if k == 1:
            return self.chi2(h, condition)
        if k == 2:
            return self.chi3(h, condition)
        return self.chi4(h, condition)

    @torch.jit.export
    def spread_chi_logits(
        self, h: Tensor, backbone: Tensor, chi: Tensor, owner: Tensor, k: int
    ) -> Tensor:
        """Logits of chi k + 1 given each of several starts of a side chain.

        Parameters
        ----------
        h : torch.Tensor, shape (N, H)
            Features of N residues.
        backbone : torch.Tensor, shape (N, 14)
            See `backbone_condition`.
        chi : torch.Tensor, shape (M, 4)
            Side-chain torsions in radians; the first `k` are read.
        owner : torch.Tensor, shape (M,), int64
            The residue of each.
        k : int
            0 to 3.

        Returns
        -------
        torch.Tensor, shape (M, 72)
            Logits.
        """
        shared = torch.cat((h, backbone.to(h.dtype)), dim=-1)
        own = encode_angle(chi[:, :k]).flatten(1)
        if k == 0:
            return self.chi1.spread(shared, own, owner)
        if k == 1:
            return self.chi2.spread(shared, own, owner)
        if k == 2:
            return self.chi3.spread(shared, own, owner)
        return self.chi4.spread(shared, own, owner)
