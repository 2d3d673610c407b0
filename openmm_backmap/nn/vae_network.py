"""`vae`'s network: equivariant trunk, prior over latents, torsion heads.

The system of Yang and Gomez-Bombarelli (ICML 2023): an SE(3)-equivariant prior
p(z | beads) and a decoder from beads and latents to internal coordinates. The
encoder q(z | beads, atoms) is `openmm_backmap.nn.vae_encoder`; it is part of
this module in training only.
"""

from typing import NamedTuple, Optional

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
)
from openmm_backmap.nn.ca_network import embed_sequence
from openmm_backmap.nn.e3_layers import E3Layer, E3Sizes, compute_harmonics
from openmm_backmap.nn.torsion_heads import TorsionHeads

__all__ = ["BeadGraph", "LatentFusion", "VAENetwork", "VAETrunk"]

N_TYPE_TOKENS = 21
TYPE_WIDTH = 24
OFFSET_WIDTH = 17
PRIOR_LOG_VARIANCE = (-6.0, 2.0)


class BeadGraph(NamedTuple):
    """The nearest-neighbour graph of a CA trace; N = F x R nodes, K neighbours.

    Attributes
    ----------
    edge : Tensor, shape (N, K, E)
        Encoded edges (invariant).
    harmonics : Tensor, shape (N * K, 9)
        Spherical harmonics of the directions to the neighbours.
    flat : Tensor, shape (N * K,), int64
        Row of each neighbour.
    bias : Tensor, shape (N, K, 1)
        0, or -1e4 where there is no neighbour.
    frames : Tensor, shape (N, 3, 3)
        Local frames, rows are axes.
    """

    edge: Tensor
    harmonics: Tensor
    flat: Tensor
    bias: Tensor
    frames: Tensor


def compute_directions(
    ca: Tensor,
    neighbor_index: Tensor,
    shift: Optional[Tensor],  # noqa: UP045
) -> Tensor:
    """Unit vectors to the neighbours, shape (F * R * K, 3); zeros for none."""
    n_frames, n, k = neighbor_index.shape
    base = torch.arange(n_frames, device=ca.device).view(-1, 1, 1) * n
    flat = (neighbor_index.clamp(min=0) + base).reshape(-1)
    other = ca.reshape(-1, 3).index_select(0, flat).view(n_frames, n, k, 3)
    delta = other - ca.unsqueeze(2)
    if shift is not None:
        delta = delta + shift
    length = torch.sqrt((delta * delta).sum(-1, keepdim=True).clamp(min=1e-8))
    unit = delta / length * (neighbor_index >= 0).unsqueeze(-1).to(ca.dtype)
    return unit.view(-1, 3)


class VAETrunk(nn.Module):
    """Residue features from the CA trace and the sequence, with e3nn layers.

    Parameters
    ----------
    width : int
        Width H of the scalar features.
    sizes : E3Sizes
        Channels of the equivariant features.
    n_layers, n_heads, edge_width : int
        Layers, attention heads, and width of the encoded edges.
    dropout : float
        Of the layers' residual branches.
    """

    def __init__(
        self,
        width: int,
        sizes: E3Sizes,
        n_layers: int,
        n_heads: int,
        edge_width: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.width = width
        self.n_vectors = sizes.n_vectors
        self.n_tensors = sizes.n_tensors
        self.type_embedding = nn.Embedding(N_TYPE_TOKENS, TYPE_WIDTH)
        self.node = nn.Sequential(
            nn.Linear(5 * TYPE_WIDTH + N_NODE_FEATURES, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, width),
        )
        # the first vectors: combinations of the local axes
        self.axes = nn.Linear(width, 3 * sizes.n_vectors)
        self.offset_embedding = nn.Embedding(N_OFFSETS, OFFSET_WIDTH)
        self.edge = nn.Sequential(
            nn.Linear(N_EDGE_FEATURES + OFFSET_WIDTH, 2 * edge_width),
            nn.SiLU(),
            nn.Linear(2 * edge_width, edge_width),
        )
        self.layers = nn.ModuleList(
            E3Layer(width, sizes, edge_width, n_heads, dropout, k == n_layers - 1)
            for k in range(n_layers)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        shift: Optional[Tensor],  # noqa: UP045 (TorchScript)
        sigma: Tensor,
    ) -> tuple[Tensor, BeadGraph]:
        """Compute residue features; arguments as in `CATrunk.forward`.

        Returns
        -------
        h : torch.Tensor, shape (N, H)
            Invariant features, N = F x R.
        graph : BeadGraph
            What later layers read.
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
        base = torch.arange(n_frames, device=ca.device).view(-1, 1, 1) * n
        rows = n_frames * n
        graph = BeadGraph(
            self.edge(pair.view(rows, k, -1)),
            compute_harmonics(compute_directions(ca, neighbor_index, shift)),
            (near + base).reshape(-1),
            (neighbor_index < 0).view(rows, k, 1).to(ca.dtype) * -1e4,
            frames.view(rows, 3, 3),
        )
        parts = self.axes(h).view(rows, self.n_vectors, 3)
        vectors = torch.matmul(parts, graph.frames)
        tensors = compute_harmonics(vectors[:, : self.n_tensors])[..., 4:]
        x = torch.cat((vectors.reshape(rows, -1), tensors.reshape(rows, -1)), dim=-1)
        for layer in self.layers:
            h, x = layer(
                h, x, graph.edge, graph.harmonics, graph.flat, graph.bias, graph.frames
            )
        return self.norm(h), graph


class LatentFusion(nn.Module):
    """Features told a residue's own latents and those of its neighbours.

    Parameters
    ----------
    width, n_latent, edge_width : int
        H, Z and E.
    """

    def __init__(self, width: int, n_latent: int, edge_width: int) -> None:
        super().__init__()
        self.edge = nn.Linear(edge_width, edge_width)
        self.there = nn.Linear(n_latent, edge_width)
        self.hidden = nn.Linear(width + n_latent + edge_width, width)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, h: Tensor, z: Tensor, graph: BeadGraph) -> Tensor:
        """Fused features (N, H) of features (N, H) and latents (N, Z)."""
        n, k = graph.edge.shape[0], graph.edge.shape[1]
        there = self.there(z).index_select(0, graph.flat).view(n, k, -1)
        near = (graph.bias == 0).to(h.dtype) / k
        message = (functional.silu(self.edge(graph.edge) + there) * near).sum(1)
        hidden = functional.silu(self.hidden(torch.cat((h, z, message), dim=-1)))
        return h + self.out(hidden)


class VAENetwork(TorsionHeads):
    """Prior over latents and torsion distributions given them.

    Parameters
    ----------
    width, n_layers, n_heads, edge_width, dropout
        See `VAETrunk`.
    n_latent : int
        Latents Z a residue; 0 = none, a plain network.
    n_scalars, n_vectors, n_tensors : int
        Channels of degree 0, 1 and 2 in the tensor products.
    """

    def __init__(
        self,
        width: int = 128,
        n_layers: int = 3,
        n_heads: int = 8,
        edge_width: int = 64,
        dropout: float = 0.0,
        n_latent: int = 36,
        n_scalars: int = 16,
        n_vectors: int = 8,
        n_tensors: int = 4,
    ) -> None:
        super().__init__()
        sizes = E3Sizes(n_scalars, n_vectors, n_tensors)
        self.n_latent = n_latent
        self.trunk = VAETrunk(width, sizes, n_layers, n_heads, edge_width, dropout)
        # at least one latent keeps the unused layers scriptable
        z = max(n_latent, 1)
        self.prior = nn.Sequential(
            nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * z)
        )
        self.fusion = LatentFusion(width, z, edge_width)
        if n_latent == 0:
            self.prior.requires_grad_(False)
            self.fusion.requires_grad_(False)
        self.add_heads(width)
        self.encoder = None
        self.log_variance_range = PRIOR_LOG_VARIANCE

    def compute_prior(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance (N, Z) of p(z | beads) from features (N, H)."""
        mean, log_variance = self.prior(h).chunk(2, dim=-1)
        low, high = self.log_variance_range
        return mean, log_variance.clamp(low, high)

    def forward(
        self,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        shift: Optional[Tensor],  # noqa: UP045 (TorchScript)
        sigma: Tensor,
        noise: Optional[Tensor] = None,  # noqa: UP045
    ) -> Tensor:
        """Features that the heads read, from the prior.

        Parameters
        ----------
        ca, residue_type, chain_index, neighbor_index, shift, sigma
            As in `CATrunk.forward`.
        noise : torch.Tensor, shape (F, R, Z), optional
            Standard normal numbers. If None, the prior's mean.

        Returns
        -------
        torch.Tensor, shape (F, R, H)
            Trunk features with latents.
        """
        h, graph = self.trunk(
            ca, residue_type, chain_index, neighbor_index, shift, sigma
        )
        if self.n_latent > 0:
            z, log_variance = self.compute_prior(h)
            if noise is not None:
                z = z + torch.exp(0.5 * log_variance) * noise.reshape(z.shape)
            h = self.fusion(h, z, graph)
        return h.view(ca.shape[0], ca.shape[1], -1)
