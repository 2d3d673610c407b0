"""Backbone dihedrals of built backbones."""

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.geometry.vectors import compute_dihedral

__all__ = ["compute_phi_psi"]


def compute_phi_psi(
    backbone: Tensor, chain_index: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Phi and psi of every residue.

    Parameters
    ----------
    backbone : torch.Tensor, shape (F, R, S, 3) with S at least 3
        N, CA, C first, in nm.
    chain_index : torch.Tensor, shape (R,), int64
        Segment of each residue.

    Returns
    -------
    phi, psi : torch.Tensor, shape (F, R)
        Radians.
    has_phi, has_psi : torch.Tensor, shape (R,), bool
        False at the first (phi) and the last (psi) residue of a segment.
    """
    joined = has_next(chain_index)
    nitrogen, ca, carbon = backbone[:, :, 0], backbone[:, :, 1], backbone[:, :, 2]
    phi = compute_dihedral(torch.roll(carbon, 1, 1), nitrogen, ca, carbon)
    psi = compute_dihedral(nitrogen, ca, carbon, torch.roll(nitrogen, -1, 1))
    return phi, psi, torch.roll(joined, 1, 0), joined
