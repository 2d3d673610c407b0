"""The flagship's network: local-frame message passing and torsion heads.

Eager torch, scriptable, no e3nn. SE(3)-equivariant because every input is an
invariant of the residues' local frames and every output is a torsion.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from openmm_backmap.nn.ca_features import (
    N_EDGE_FEATURES,
    N_NODE_FEATURES,
    N_OFFSETS,
    compute_edge_features,
    compute_local_frames,
    compute_node_features,
    compute_offset_index,
    extend_trace,
    same_segment,
)

__all__ = ["N_BINS", "TWIST_RANGE", "CANetwork", "CATrunk", "encode_angle"]

N_BINS = 72
TWIST_RANGE = math.pi / 3.0
"""Twists are binned over -60 to 60 degrees; 0.12 % of the units lie beyond."""
N_TYPE_TOKENS = 21
NO_RESIDUE = 20
# 31 + 17 = 48, a multiple of 16
OFFSET_WIDTH = 17


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


class CALayer(nn.Module):
    """One round of messages: edge-conditioned values, softmax attention.

    Parameters
    ----------
    width : int
        Node feature width.
    edge_width : int
        Width of the encoded edges.
    n_heads : int
        Attention heads; divides `width`.
    dropout : float
        Dropout of the two residual branches, training only.
    """

    def __init__(
        self, width: int, edge_width: int, n_heads: int, dropout: float
    ) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.width = width
        self.norm_message = nn.LayerNorm(width)
        self.here_and_there = nn.Linear(width, 2 * width)
        self.edge = nn.Linear(edge_width, width, bias=False)
        self.attention = nn.Linear(width, n_heads, bias=False)
        self.out = nn.Linear(width, width)
        self.norm_node = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, h: Tensor, edge: Tensor, flat: Tensor, bias: Tensor) -> Tensor:
        """Update node features.

        Parameters
        ----------
        h : torch.Tensor, shape (N, H)
            Node features, all frames in one row.
        edge : torch.Tensor, shape (N, K, E)
            Encoded edges.
        flat : torch.Tensor, shape (N * K,)
            Row of each neighbour.
        bias : torch.Tensor, shape (N, K, 1)
            0, or a large negative number where there is no neighbour.

        Returns
        -------
        torch.Tensor, shape (N, H)
            New node features.
        """
        n, k = edge.shape[0], edge.shape[1]
        both = self.here_and_there(self.norm_message(h))
        here, there = both.split(self.width, dim=-1)
        there = there.index_select(0, flat).view(n, k, self.width)
        message = functional.silu(self.edge(edge) + there + here.unsqueeze(1))
        logits = self.attention(message) + bias
        weight = torch.softmax(logits.float(), dim=1).to(message.dtype)
        value = message.view(n, k, self.n_heads, self.width // self.n_heads)
        total = (weight.unsqueeze(-1) * value).sum(1).view(n, self.width)
        h = h + self.dropout(self.out(total))
        update = self.down(functional.silu(self.up(self.norm_node(h))))
        return h + self.dropout(update)


class CATrunk(nn.Module):
    """Residue features from the CA trace and the sequence.

    Parameters
    ----------
    width : int
        Node feature width H.
    n_layers : int
        Message passing layers.
    n_heads : int
        Attention heads.
    edge_width : int
        Width of the encoded edges.
    dropout : float
        Dropout of the residual branches.
    """

    def __init__(
        self,
        width: int = 128,
        n_layers: int = 5,
        n_heads: int = 8,
        edge_width: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.no_residue = NO_RESIDUE
        type_width = 24
        self.type_embedding = nn.Embedding(N_TYPE_TOKENS, type_width)
        self.node = nn.Sequential(
            nn.Linear(5 * type_width + N_NODE_FEATURES, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, width),
        )
        self.offset_embedding = nn.Embedding(N_OFFSETS, OFFSET_WIDTH)
        self.edge = nn.Sequential(
            nn.Linear(N_EDGE_FEATURES + OFFSET_WIDTH, 2 * edge_width),
            nn.SiLU(),
            nn.Linear(2 * edge_width, edge_width),
        )
        self.layers = nn.ModuleList(
            CALayer(width, edge_width, n_heads, dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        shift: Tensor | None,
        sigma: Tensor,
    ) -> Tensor:
        """Compute residue features.

        Parameters
        ----------
        ca : torch.Tensor, shape (F, R, 3)
            CA positions in nm, each segment whole.
        residue_type : torch.Tensor, shape (R,), int64
            0 to 19.
        chain_index : torch.Tensor, shape (R,), int64
            Bonded segment of each residue.
        neighbor_index : torch.Tensor, shape (F, R, K), int64
            Nearest CAs over all segments, -1 = none.
        shift : torch.Tensor, shape (F, R, K, 3), optional
            Periodic image vector of each neighbour in nm. If None, no box.
        sigma : torch.Tensor, shape (F, R)
            Expected CA noise in nm a coordinate.

        Returns
        -------
        torch.Tensor, shape (F, R, H)
            Trunk features.
        """
        n_frames, n, k = neighbor_index.shape
        before, after = extend_trace(ca, chain_index)
        frames = compute_local_frames(before, ca, after)
        types: list[Tensor] = []
        count = torch.arange(n, device=ca.device)
        for offset in (-2, -1, 0, 1, 2):
            shifted = residue_type[(count + offset).clamp(min=0, max=n - 1)]
            inside = same_segment(chain_index, offset)
            token = torch.where(
                inside, shifted, torch.full_like(shifted, self.no_residue)
            )
            types.append(self.type_embedding(token))
        sequence = torch.cat(types, dim=-1).unsqueeze(0).expand(n_frames, -1, -1)
        geometry = compute_node_features(ca, before, after, chain_index, sigma)
        h = self.node(torch.cat((sequence, geometry), dim=-1)).reshape(-1, self.width)
        pair = compute_edge_features(ca, frames, neighbor_index, shift)
        offset_index = compute_offset_index(chain_index, neighbor_index)
        pair = torch.cat((pair, self.offset_embedding(offset_index)), dim=-1)
        edge = self.edge(pair.view(n_frames * n, k, -1))
        base = torch.arange(n_frames, device=ca.device).view(-1, 1, 1) * n
        flat = (neighbor_index.clamp(min=0) + base).reshape(-1)
        bias = (neighbor_index < 0).view(n_frames * n, k, 1).to(edge.dtype) * -1e4
        for layer in self.layers:
            h = layer(h, edge, flat, bias)
        return self.norm(h).view(n_frames, n, self.width)


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


class CANetwork(nn.Module):
    """Distributions of peptide azimuths, end torsions and chi on a CA trace.

    The distributions are conditional: twist on the C azimuth; chi on the two
    azimuths that fix this residue's N and C; each chi on the earlier ones.
    The C azimuth may also be told the azimuths of both peptide units beside
    it, which lets samples be drawn in two passes (even units, then odd).

    Parameters
    ----------
    width, n_layers, n_heads, edge_width, dropout
        See `CATrunk`.
    """

    def __init__(
        self,
        width: int = 128,
        n_layers: int = 5,
        n_heads: int = 8,
        edge_width: int = 64,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.trunk = CATrunk(width, n_layers, n_heads, edge_width, dropout)
        # conditions: see the *_logits methods
        self.cis = nn.Linear(width, 1)
        self.alpha = TorsionHead(width, 15, N_BINS)
        self.twist = TorsionHead(width, 7, N_BINS)
        self.ends = TorsionHead(width, 6, 3 * N_BINS)
        self.chi1 = TorsionHead(width, 14, N_BINS)
        self.chi2 = TorsionHead(width, 20, N_BINS)
        self.chi3 = TorsionHead(width, 26, N_BINS)
        self.chi4 = TorsionHead(width, 32, N_BINS)

    def forward(
        self,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        shift: Tensor | None,
        sigma: Tensor,
    ) -> Tensor:
        """Trunk features; arguments as in `CATrunk.forward`."""
        return self.trunk(ca, residue_type, chain_index, neighbor_index, shift, sigma)

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
            Trunk features.
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
    def end_logits(self, h: Tensor, azimuth: Tensor) -> Tensor:
        """Logits of the three torsions of chain ends.

        Parameters
        ----------
        h : torch.Tensor, shape (F, R, H)
            Trunk features.
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
