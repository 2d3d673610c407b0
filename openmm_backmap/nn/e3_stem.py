"""Optional e3nn layers in front of the flagship's local-frame layers."""

from typing import Optional

import torch
from torch import Tensor, nn

from openmm_backmap.nn.e3_layers import E3Layer, E3Sizes, compute_harmonics

__all__ = ["E3Stem"]


class E3Stem(nn.Module):
    """Tensor-product message passing that starts from scalars.

    Parameters
    ----------
    n_layers : int
        Layers; vectors and tensors live from the first to the last of them.
    width, edge_width, n_heads, dropout
        See `nn.ca_network.CALayer`.
    n_scalars, n_vectors, n_tensors : int
        Channels of degree 0, 1 and 2 in the tensor products.
    """

    def __init__(
        self,
        n_layers: int,
        width: int,
        edge_width: int,
        n_heads: int,
        dropout: float,
        n_scalars: int = 16,
        n_vectors: int = 8,
        n_tensors: int = 0,
    ) -> None:
        super().__init__()
        sizes = E3Sizes(n_scalars, n_vectors, n_tensors)
        self.equivariant_width = 3 * n_vectors + 5 * n_tensors
        self.layers = nn.ModuleList(
            E3Layer(width, sizes, edge_width, n_heads, dropout, k == n_layers - 1)
            for k in range(n_layers)
        )

    def forward(
        self,
        h: Tensor,
        edge: Tensor,
        flat: Tensor,
        bias: Tensor,
        ca: Tensor,
        frames: Tensor,
        shift: Optional[Tensor],  # noqa: UP045 (TorchScript)
    ) -> Tensor:
        """Update scalar features.

        Parameters
        ----------
        h, edge, flat, bias : torch.Tensor
            See `nn.ca_network.CALayer.forward`; N = F x R.
        ca : torch.Tensor, shape (F, R, 3)
            CA positions in nm.
        frames : torch.Tensor, shape (F, R, 3, 3)
            Local frames, rows are axes.
        shift : torch.Tensor, shape (F, R, K, 3), optional
            Periodic image vector of each neighbour in nm.

        Returns
        -------
        torch.Tensor, shape (N, H)
            New scalar features.
        """
        n, k = edge.shape[0], edge.shape[1]
        points = ca.reshape(-1, 3)
        delta = points.index_select(0, flat).view(n, k, 3) - points.unsqueeze(1)
        if shift is not None:
            delta = delta + shift.reshape(n, k, 3)
        length = torch.sqrt((delta * delta).sum(-1, keepdim=True).clamp(min=1e-8))
        there = (bias > -1.0).to(delta.dtype)
        harmonics = compute_harmonics((delta / length * there).view(n * k, 3))
        x = torch.zeros(n, self.equivariant_width, dtype=h.dtype, device=h.device)
        rows = frames.reshape(n, 3, 3)
        for layer in self.layers:
            h, x = layer(h, x, edge, harmonics, flat, bias, rows)
        return h
