"""SE(3)-equivariant message passing with e3nn's tensor products.

Features are scalars, and vectors (l = 1) and tensors (l = 2) in e3nn's order.
Parity is left out on purpose: all irreps are even, so that a cross product of
two vectors is a vector and the layers are equivariant under rotations but not
under mirrors. A protein's trace is handed, and its helices must be.

References
----------
Thomas et al., arXiv:1802.08219; Geiger and Smidt, arXiv:2207.09453 (e3nn).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from e3nn import get_optimization_defaults, o3, set_optimization_defaults
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["E3Layer", "E3Sizes", "compute_harmonics", "compute_invariants"]

_PATHS = (
    (0, 1, 1), (0, 2, 2), (1, 0, 1), (1, 1, 0), (1, 1, 1), (1, 1, 2), (1, 2, 1),
    (2, 0, 2), (2, 1, 1), (2, 2, 0),
)  # fmt: skip
"""Degrees of sender, harmonic and message; the ones that earn their cost."""


@contextmanager
def _plain_code() -> Iterator[None]:
    """Let e3nn write plain Python here: torch compiles, scripts and exports it."""
    before = get_optimization_defaults()["jit_mode"]
    set_optimization_defaults(jit_mode="eager")
    try:
        yield
    finally:
        set_optimization_defaults(jit_mode=before)


class E3Sizes:
    """Channels of each degree, and the irreps of features and messages.

    Parameters
    ----------
    n_scalars, n_vectors, n_tensors : int
        Channels of degree 0, 1 and 2 that go into tensor products.
    """

    def __init__(self, n_scalars: int, n_vectors: int, n_tensors: int) -> None:
        self.n_scalars = n_scalars
        self.n_vectors = n_vectors
        self.n_tensors = n_tensors
        channels = (n_scalars, n_vectors, n_tensors)
        paths = [p for p in _PATHS if channels[p[0]] and (n_tensors or p[2] < 2)]
        # messages of one degree stand together, so that a linear layer mixes them
        paths.sort(key=lambda p: p[2])
        self.irreps = o3.Irreps([(n, (k, 1)) for k, n in enumerate(channels)])
        self.message = o3.Irreps([(channels[a], (c, 1)) for a, _, c in paths])
        self.instructions = [
            (a, b, k, "uvu", True) for k, (a, b, _) in enumerate(paths)
        ]
        self.width = n_scalars + 3 * n_vectors + 5 * n_tensors
        self.n_invariants = n_scalars + 4 * n_vectors + n_tensors


def compute_harmonics(offset: Tensor) -> Tensor:
    """Real spherical harmonics of degree 0 to 2 in e3nn's order.

    Parameters
    ----------
    offset : torch.Tensor, shape (..., 3)
        Vectors of unit length, or zeros for none.

    Returns
    -------
    torch.Tensor, shape (..., 9)
        Each degree l has norm sqrt(2 l + 1) ("component" normalization).
    """
    x, y, z = offset.unbind(-1)
    square = (offset * offset).sum(-1)
    root3, root15 = 1.7320508075688772, 3.872983346207417
    return torch.stack(
        (
            torch.ones_like(x),
            root3 * x, root3 * y, root3 * z,
            root15 * x * z, root15 * x * y,
            2.23606797749979 * (y * y - 0.5 * (square - y * y)),
            root15 * y * z, 0.5 * root15 * (z * z - x * x),
        ),
        dim=-1,
    )  # fmt: skip


def compute_invariants(
    features: Tensor, frames: Tensor, n_scalars: int, n_vectors: int, n_tensors: int
) -> Tensor:
    """What rotations leave of equivariant features.

    Parameters
    ----------
    features : torch.Tensor, shape (N, S + 3 V + 5 T)
        Scalars, vectors, tensors.
    frames : torch.Tensor, shape (N, 3, 3)
        Right-handed local frames, rows are axes.
    n_scalars, n_vectors, n_tensors : int
        S, V and T.

    Returns
    -------
    torch.Tensor, shape (N, S + 4 V + T)
        Scalars, components of the vectors in the local frame (which change
        sign under a mirror where norms do not), norms of vectors and tensors.
    """
    n = features.shape[0]
    end = n_scalars + 3 * n_vectors
    vectors = features[:, n_scalars:end].reshape(n, n_vectors, 3)
    tensors = features[:, end:].reshape(n, n_tensors, 5)
    local = torch.matmul(vectors, frames.transpose(-1, -2)).reshape(n, 3 * n_vectors)
    lengths = torch.sqrt((vectors * vectors).sum(-1) + 1e-6)
    sizes = torch.sqrt((tensors * tensors).sum(-1) + 1e-6)
    return torch.cat((features[:, :n_scalars], local, lengths, sizes), dim=-1)


class E3Layer(nn.Module):
    """One round of messages: attention on scalars, tensor products on the rest.

    Parameters
    ----------
    width : int
        Width H of the scalar features.
    sizes : E3Sizes
        Channels of the equivariant features.
    edge_width : int
        Width of the encoded edges.
    n_heads : int
        Attention heads; divides `width`.
    dropout : float
        Dropout of the two residual branches, training only.
    is_last : bool
        Whether nobody reads the new vectors: they are then left as they were.
    """

    def __init__(
        self,
        width: int,
        sizes: E3Sizes,
        edge_width: int,
        n_heads: int,
        dropout: float,
        is_last: bool = False,
    ) -> None:
        super().__init__()
        self.is_last = is_last
        self.width = width
        self.n_heads = n_heads
        self.n_scalars = sizes.n_scalars
        self.n_vectors = sizes.n_vectors
        self.n_tensors = sizes.n_tensors
        self.norm_message = nn.LayerNorm(width)
        self.here_and_there = nn.Linear(width, 2 * width)
        self.edge = nn.Linear(edge_width, width, bias=False)
        # one more head weighs the tensor products
        self.attention = nn.Linear(width, n_heads + 1, bias=False)
        with _plain_code():
            self.product = o3.TensorProduct(
                sizes.irreps,
                o3.Irreps("0e+1e+2e"),
                sizes.message,
                sizes.instructions,
                shared_weights=False,
                internal_weights=False,
            )
            self.mix = o3.Linear(sizes.message.simplify(), sizes.irreps)
        self.radial = nn.Linear(width, self.product.weight_numel)
        self.senders = nn.Linear(width, sizes.n_scalars)
        self.out = nn.Linear(width + sizes.n_invariants, width)
        n_gates = sizes.n_vectors + sizes.n_tensors
        self.gate = nn.Identity() if is_last else nn.Linear(width, n_gates)
        self.norm_node = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        h: Tensor,
        x: Tensor,
        edge: Tensor,
        harmonics: Tensor,
        flat: Tensor,
        bias: Tensor,
        frames: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Update scalars and equivariant features.

        Parameters
        ----------
        h : torch.Tensor, shape (N, H)
            Scalar features.
        x : torch.Tensor, shape (N, 3 V + 5 T)
            Vectors and tensors.
        edge : torch.Tensor, shape (N, K, E)
            Encoded edges (invariant).
        harmonics : torch.Tensor, shape (N * K, 9)
            Of the direction to each neighbour.
        flat : torch.Tensor, shape (N * K,)
            Row of each neighbour.
        bias : torch.Tensor, shape (N, K, 1)
            0, or a large negative number where there is no neighbour.
        frames : torch.Tensor, shape (N, 3, 3)
            Local frames.

        Returns
        -------
        h : torch.Tensor, shape (N, H)
            New scalar features.
        x : torch.Tensor, shape (N, 3 V + 5 T)
            New vectors and tensors.
        """
        n, k = edge.shape[0], edge.shape[1]
        normed = self.norm_message(h)
        here, there = self.here_and_there(normed).split(self.width, dim=-1)
        there = there.index_select(0, flat).view(n, k, self.width)
        message = functional.silu(self.edge(edge) + there + here.unsqueeze(1))
        weight = torch.softmax(self.attention(message) + bias, dim=1)
        value = message.view(n, k, self.n_heads, self.width // self.n_heads)
        scalars = (weight[..., : self.n_heads].unsqueeze(-1) * value).sum(1)
        scalars = scalars.view(n, self.width)
        radial = self.radial(message) * weight[..., self.n_heads :]
        senders = torch.cat((self.senders(normed), x), dim=-1).index_select(0, flat)
        product = self.product(senders, harmonics, radial.view(n * k, -1))
        mixed = self.mix(product.view(n, k, product.shape[-1]).sum(1))
        invariants = compute_invariants(
            mixed, frames, self.n_scalars, self.n_vectors, self.n_tensors
        )
        h = h + self.dropout(self.out(torch.cat((scalars, invariants), dim=-1)))
        update = self.down(functional.silu(self.up(self.norm_node(h))))
        h = h + self.dropout(update)
        if self.is_last:
            return h, x
        # gates are invariant, so vectors stay vectors
        gate = torch.sigmoid(self.gate(h))
        v, t = self.n_vectors, self.n_tensors
        wide = torch.cat(
            (
                gate[:, :v].unsqueeze(-1).expand(n, v, 3).reshape(n, 3 * v),
                gate[:, v:].unsqueeze(-1).expand(n, t, 5).reshape(n, 5 * t),
            ),
            dim=-1,
        )
        return h, x + wide * mixed[:, self.n_scalars :]
