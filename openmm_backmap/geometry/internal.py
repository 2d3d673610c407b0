"""Placing atoms from internal coordinates (NeRF)."""

import torch
from torch import Tensor

from openmm_backmap.geometry.vectors import normalize

__all__ = ["place_atom"]


def place_atom(
    a: Tensor, b: Tensor, c: Tensor, length: Tensor, angle: Tensor, torsion: Tensor
) -> Tensor:
    """Place atom d from the atoms a, b, c before it.

    Parameters
    ----------
    a, b, c : torch.Tensor, shape (..., 3)
        Earlier atoms in nm; d is bonded to c.
    length : torch.Tensor, shape (...)
        Bond length c-d in nm.
    angle : torch.Tensor, shape (...)
        Bond angle b-c-d in radians.
    torsion : torch.Tensor, shape (...)
        Dihedral a-b-c-d in radians, IUPAC sign.

    Returns
    -------
    torch.Tensor, shape (..., 3)
        Position of d in nm. If a, b and c lie on a line the torsion has no
        meaning and d lands on the line.

    References
    ----------
    Parsons et al., J. Comput. Chem. 26, 1063 (2005), the SN-NeRF form.
    """
    axis = normalize(c - b)
    normal = normalize(torch.linalg.cross(b - a, axis, dim=-1))
    third = torch.linalg.cross(normal, axis, dim=-1)
    radial = length * torch.sin(angle)
    return (
        c
        - (length * torch.cos(angle)).unsqueeze(-1) * axis
        + (radial * torch.cos(torsion)).unsqueeze(-1) * third
        + (radial * torch.sin(torsion)).unsqueeze(-1) * normal
    )
