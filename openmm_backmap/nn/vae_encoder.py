"""`vae`'s encoder q(z | beads, atoms), which reads the answer: training only."""

import torch
from torch import Tensor, nn

from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.nn.e3_layers import E3Layer, E3Sizes
from openmm_backmap.nn.vae_network import TYPE_WIDTH, BeadGraph

__all__ = ["VAEEncoder"]

N_SLOTS = 14
N_TORSIONS = 9
ATOM_SCALE = 0.3
LOG_VARIANCE_STEP = (-6.0, 2.0)


class VAEEncoder(nn.Module):
    """Posterior over latents from the atoms, as a change of the prior.

    ``q = N(mu_p + d_mu, var_p * exp(d_log_var))`` (Vahdat and Kautz, NeurIPS 2020,
    section 3.2): an encoder that says nothing gives the prior.

    Parameters
    ----------
    width : int
        Width of the trunk's features H.
    n_latent : int
        Latents Z.
    edge_width : int
        Width of the encoded edges.
    hidden : int
        Width of the encoder's own layer.
    sizes : E3Sizes, optional
        Channels of its equivariant features. If None, 8, 8 and 4.
    """

    def __init__(
        self,
        width: int,
        n_latent: int,
        edge_width: int,
        hidden: int = 64,
        sizes: E3Sizes | None = None,
    ) -> None:
        super().__init__()
        sizes = E3Sizes(8, 8, 4) if sizes is None else sizes
        self.n_vectors = sizes.n_vectors
        self.n_tensors = sizes.n_tensors
        self.type_embedding = nn.Embedding(20, TYPE_WIDTH)
        told = 3 * N_SLOTS + N_SLOTS + 3 * N_TORSIONS
        self.node = nn.Sequential(
            nn.Linear(width + TYPE_WIDTH + told, 2 * hidden),
            nn.SiLU(),
            nn.Linear(2 * hidden, hidden),
        )
        # which atom a slot holds depends on the residue
        self.slots = nn.Linear(TYPE_WIDTH, sizes.n_vectors * N_SLOTS)
        self.layer = E3Layer(hidden, sizes, edge_width, 4, 0.0, is_last=True)
        self.norm = nn.LayerNorm(hidden)
        self.out = nn.Linear(hidden, 2 * n_latent)
        nn.init.normal_(self.out.weight, std=1e-2)
        nn.init.zeros_(self.out.bias)
        flips = load_builder_tables().pi_periodic
        self.register_buffer("pi_periodic", flips, persistent=False)

    def forward(
        self,
        h: Tensor,
        graph: BeadGraph,
        mean: Tensor,
        log_variance: Tensor,
        residue_type: Tensor,
        offset: Tensor,
        has_atom: Tensor,
        torsion: Tensor,
        known: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the posterior.

        Parameters
        ----------
        h : torch.Tensor, shape (N, H)
            Trunk features of the beads.
        graph : BeadGraph
            Of the beads.
        mean, log_variance : torch.Tensor, shape (N, Z)
            Of the prior.
        residue_type : torch.Tensor, shape (N,), int64
            0 to 19.
        offset : torch.Tensor, shape (N, 14, 3)
            Atoms minus CA in nm.
        has_atom : torch.Tensor, shape (N, 14), bool
            Known atoms; the others are not read.
        torsion : torch.Tensor, shape (N, 9)
            Azimuth, twist, end torsions, chi in radians.
        known : torch.Tensor, shape (N, 9), bool
            Which of them are known.

        Returns
        -------
        tuple of torch.Tensor, each of shape (N, Z)
            Mean and log variance of q(z | beads, atoms).
        """
        n = h.shape[0]
        seen = has_atom.to(offset.dtype)
        atoms = offset * seen.unsqueeze(-1) / ATOM_SCALE
        local = torch.matmul(atoms, graph.frames.transpose(-1, -2)).reshape(n, -1)
        # both sides of a pi-periodic torsion are one structure
        double = torch.cat(
            (torch.zeros_like(known[:, :5]), self.pi_periodic[residue_type]), dim=-1
        )
        angle = torch.where(double, 2.0 * torsion, torsion)
        flags = known.to(torsion.dtype)
        kind = self.type_embedding(residue_type)
        hidden = self.node(
            torch.cat(
                (
                    h, kind, local, seen,
                    torch.sin(angle) * flags, torch.cos(angle) * flags, flags,
                ),
                dim=-1,
            )
        )  # fmt: skip
        weight = self.slots(kind).view(n, self.n_vectors, N_SLOTS)
        vectors = torch.matmul(weight, atoms).reshape(n, 3 * self.n_vectors)
        x = torch.cat((vectors, vectors.new_zeros(n, 5 * self.n_tensors)), dim=-1)
        hidden, _ = self.layer(
            hidden,
            x,
            graph.edge,
            graph.harmonics,
            graph.flat,
            graph.bias,
            graph.frames,
        )
        shift, step = self.out(self.norm(hidden)).chunk(2, dim=-1)
        low, high = LOG_VARIANCE_STEP
        scale = torch.exp(0.5 * log_variance)
        return mean + scale * shift, log_variance + step.clamp(low, high)
