"""The flagship's network: local-frame message passing and torsion heads.

Eager torch, scriptable, no e3nn. SE(3)-equivariant because every input is an
invariant of the residues' local frames and every output is a torsion.
"""

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
    fill_neighbors,
    same_segment,
)
from openmm_backmap.nn.torsion_heads import TorsionHeads

__all__ = ["CALayer", "CATrunk", "CANetwork", "embed_sequence"]

N_TYPE_TOKENS = 21
NO_RESIDUE = 20
# 31 + 17 = 48, a multiple of 16
OFFSET_WIDTH = 17
ROWS_AT_ONCE: int = 64


def embed_sequence(
    weight: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    no_residue: int = NO_RESIDUE,
) -> Tensor:
    """Embedded types of each residue and of two on either side.

    Parameters
    ----------
    weight : torch.Tensor, shape (21, W)
        Embedding of the 20 types and of no residue.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        0 to 19, and the bonded segment.
    no_residue : int
        Token beyond the ends of a segment.

    Returns
    -------
    torch.Tensor, shape (R, 5 W)
        Residues i - 2 to i + 2.
    """
    n = residue_type.shape[0]
    count = torch.arange(n, device=residue_type.device)
    types: list[Tensor] = []
    for offset in (-2, -1, 0, 1, 2):
        shifted = residue_type[(count + offset).clamp(min=0, max=n - 1)]
        inside = same_segment(chain_index, offset)
        token = torch.where(inside, shifted, torch.full_like(shifted, no_residue))
        types.append(functional.embedding(token, weight))
    return torch.cat(types, dim=-1)


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
        if torch.is_grad_enabled():
            there = there.index_select(0, flat).view(n, k, self.width)
            message = functional.silu(self.edge(edge) + there + here.unsqueeze(1))
            logits = self.attention(message) + bias
            weight = torch.softmax(logits.float(), dim=1).to(message.dtype)
            value = message.view(n, k, self.n_heads, self.width // self.n_heads)
            total = (weight.unsqueeze(-1) * value).sum(1).view(n, self.width)
        else:
            total = self.collect(here, there.contiguous(), edge, flat, bias)
        h = h + self.dropout(self.out(total))
        hidden = self.up(self.norm_node(h))
        hidden = functional.silu(hidden, inplace=not torch.is_grad_enabled())
        return h + self.dropout(self.down(hidden))

    def collect(
        self,
        here: Tensor,
        there: Tensor,
        edge: Tensor,
        flat: Tensor,
        bias: Tensor,
        rows_at_once: int = ROWS_AT_ONCE,
    ) -> Tensor:
        """Sum of weighed messages (N, H), in place and a few rows at a time.

        The same as the lines for training in `forward`; messages of some rows stay
        in the processor's cache.
        """
        n, k = edge.shape[0], edge.shape[1]
        n_heads = self.n_heads
        step = max(n, 1) if edge.is_cuda else rows_at_once
        edges = edge.view(n * k, -1)
        mixer = self.edge.weight.t().to(edge.dtype)
        space = torch.empty(
            min(step, n) * k, self.width, dtype=edge.dtype, device=edge.device
        )
        total = torch.empty(n, self.width, dtype=edge.dtype, device=edge.device)
        for first in range(0, n, step):
            last = min(first + step, n)
            rows = last - first
            message = space[: rows * k]
            row = flat[first * k : last * k]
            torch.index_select(there, 0, row, out=message)
            message.view(rows, k, -1).add_(here[first:last].unsqueeze(1))
            message.addmm_(edges[first * k : last * k], mixer)
            message = functional.silu(message, inplace=True)
            # heads first: a product of few rows is faster than one of few columns
            logits = torch.mm(self.attention.weight, message.t())
            logits = logits.view(n_heads, rows, k) + bias[first:last].squeeze(-1)
            weight = torch.softmax(logits.float(), dim=2).to(message.dtype)
            value = message.view(rows, k, n_heads, self.width // n_heads)
            value *= weight.permute(1, 2, 0).contiguous().unsqueeze(-1)
            torch.sum(message.view(rows, k, -1), 1, out=total[first:last])
        return total


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
    n_e3_layers : int
        e3nn layers in front of the others (see `nn.e3_stem`); 0 = none, and
        e3nn is not loaded.
    """

    def __init__(
        self,
        width: int = 128,
        n_layers: int = 5,
        n_heads: int = 8,
        edge_width: int = 64,
        dropout: float = 0.0,
        n_e3_layers: int = 0,
    ) -> None:
        super().__init__()
        self.width = width
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
        self.stem = None
        if n_e3_layers > 0:
            from openmm_backmap.nn.e3_stem import E3Stem

            self.stem = E3Stem(n_e3_layers, width, edge_width, n_heads, dropout)

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
        sequence = embed_sequence(self.type_embedding.weight, residue_type, chain_index)
        sequence = sequence.unsqueeze(0).expand(n_frames, -1, -1)
        geometry = compute_node_features(ca, before, after, chain_index, sigma)
        h = self.node(torch.cat((sequence, geometry), dim=-1)).reshape(-1, self.width)
        near = fill_neighbors(neighbor_index)
        pair = compute_edge_features(ca, frames, near, shift)
        offset_index = compute_offset_index(chain_index, near)
        pair = torch.cat((pair, self.offset_embedding(offset_index)), dim=-1)
        edge = self.encode_edges(pair.view(n_frames * n, k, -1))
        base = torch.arange(n_frames, device=ca.device).view(-1, 1, 1) * n
        flat = (near + base).reshape(-1)
        bias = (neighbor_index < 0).view(n_frames * n, k, 1).to(edge.dtype) * -1e4
        if self.stem is not None:
            h = self.stem(h, edge, flat, bias, ca, frames, shift)
        for layer in self.layers:
            h = layer(h, edge, flat, bias)
        return self.norm(h).view(n_frames, n, self.width)

    def encode_edges(self, pair: Tensor, rows_at_once: int = ROWS_AT_ONCE) -> Tensor:
        """Encode the features of edges (N, K, P); see `CALayer.collect`."""
        if torch.is_grad_enabled() or pair.is_cuda:
            return self.edge(pair)
        parts: list[Tensor] = [self.edge(pair[:0])]
        for first in range(0, pair.shape[0], rows_at_once):
            parts.append(self.edge(pair[first : first + rows_at_once]))
        return torch.cat(parts)


class CANetwork(TorsionHeads):
    """Torsion distributions from a CA trace, by local-frame messages.

    Parameters
    ----------
    width, n_layers, n_heads, edge_width, dropout, n_e3_layers
        See `CATrunk`.
    """

    def __init__(
        self,
        width: int = 128,
        n_layers: int = 5,
        n_heads: int = 8,
        edge_width: int = 64,
        dropout: float = 0.0,
        n_e3_layers: int = 0,
    ) -> None:
        super().__init__()
        self.trunk = CATrunk(width, n_layers, n_heads, edge_width, dropout, n_e3_layers)
        self.add_heads(width)

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
