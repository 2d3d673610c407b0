"""A backbone-dependent rotamer library as a scriptable module."""

import math

import torch
from torch import Tensor, nn

from openmm_backmap.builder.ramachandran import compute_phi_psi

__all__ = ["RotamerLibrary", "ramachandran_bin"]


def ramachandran_bin(
    phi: Tensor, psi: Tensor, has_phi: Tensor, has_psi: Tensor, n_bins: int
) -> Tensor:
    """Flat bin of phi and psi.

    Parameters
    ----------
    phi, psi : torch.Tensor, shape (F, R)
        Radians.
    has_phi, has_psi : torch.Tensor, shape (R,), bool
        Where they exist.
    n_bins : int
        Bins of one angle; a further one stands for an angle that is missing.

    Returns
    -------
    torch.Tensor, shape (F, R), int64
        ``phi_bin * (n_bins + 1) + psi_bin``.
    """
    width = 2.0 * math.pi / n_bins
    first = torch.floor((phi + math.pi) / width).long().clamp(0, n_bins - 1)
    second = torch.floor((psi + math.pi) / width).long().clamp(0, n_bins - 1)
    missing = torch.full_like(first, n_bins)
    first = torch.where(has_phi, first, missing)
    second = torch.where(has_psi, second, missing)
    return first * (n_bins + 1) + second


class RotamerLibrary(nn.Module):
    """Rotamers, their probabilities given phi and psi, and their spread.

    Parameters
    ----------
    chi : torch.Tensor, shape (20, C, 4)
        Mean chi of each rotamer in radians. Rotamers of one chi1 well share
        chi1 exactly, and so on down the side chain.
    log_p : torch.Tensor, shape (20, (n_bins + 1)**2, C)
        Log probability in each bin of phi and psi; -inf for none.
    spread : torch.Tensor, shape (20, 4)
        Standard deviation of chi within a rotamer in radians.
    n_bins : int
        Bins of phi and of psi.
    """

    def __init__(self, chi: Tensor, log_p: Tensor, spread: Tensor, n_bins: int) -> None:
        super().__init__()
        self.register_buffer("chi", chi)
        self.register_buffer("log_p", log_p.half())
        self.register_buffer("spread", spread)
        self.n_bins = n_bins

    def forward(
        self, backbone: Tensor, residue_type: Tensor, chain_index: Tensor, n_most: int
    ) -> tuple[Tensor, Tensor]:
        """Candidates of every residue.

        Parameters
        ----------
        backbone : torch.Tensor, shape (F, R, 5, 3)
            N, CA, C, O, CB in nm.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and segment of each residue.
        n_most : int
            The most probable rotamers that are returned.

        Returns
        -------
        chi : torch.Tensor, shape (F, R, n_most, 4)
            Radians.
        log_p : torch.Tensor, shape (F, R, n_most)
            Falling; -inf where a residue has fewer rotamers.
        """
        phi, psi, has_phi, has_psi = compute_phi_psi(backbone, chain_index)
        index = ramachandran_bin(phi, psi, has_phi, has_psi, self.n_bins)
        log_p = self.log_p[residue_type.unsqueeze(0), index].float()
        n_most = min(n_most, log_p.shape[-1])
        log_p, order = torch.topk(log_p, n_most, dim=-1)
        return self.chi[residue_type.view(1, -1, 1), order], log_p
