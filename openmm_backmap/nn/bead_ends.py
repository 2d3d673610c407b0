"""Ends of a chain turned to their beads: the torsions that no CA fixes."""

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.geometry.vectors import normalize, turn_about
from openmm_backmap.nn.bead_hints import BeadHints

__all__ = ["turn_ends"]


def _turn(
    points: Tensor, origin: Tensor, axis: Tensor, here: Tensor, bead: Tensor
) -> Tensor:
    """Turn points about an axis by as much as brings one above its bead.

    Parameters
    ----------
    points : torch.Tensor, shape (F, R, P, 3)
        What turns, in nm.
    origin, axis : torch.Tensor, shape (F, R, 3)
        A point of the axis in nm, and its direction.
    here, bead : torch.Tensor, shape (F, R, 3)
        Where the one is and where it should be, in nm.

    Returns
    -------
    torch.Tensor, shape (F, R, P, 3)
        In nm.
    """
    unit = normalize(axis)
    first, second = here - origin, bead - origin
    first = first - (first * unit).sum(-1, keepdim=True) * unit
    second = second - (second * unit).sum(-1, keepdim=True) * unit
    sine = (unit * torch.linalg.cross(first, second, dim=-1)).sum(-1, keepdim=True)
    cosine = (first * second).sum(-1, keepdim=True)
    size = torch.sqrt(sine * sine + cosine * cosine).clamp(min=1e-9)
    return turn_about(
        points,
        origin.unsqueeze(2),
        unit.unsqueeze(2),
        (sine / size).unsqueeze(2),
        (cosine / size).unsqueeze(2),
    )


def turn_ends(hints: BeadHints, backbone: Tensor, chain_index: Tensor) -> Tensor:
    """Turn the first and the last residue of every segment to their beads.

    Parameters
    ----------
    hints : BeadHints
        With CB, O or both.
    backbone : torch.Tensor, shape (F, R, 5, 3)
        N, CA, C, O, CB in nm.
    chain_index : torch.Tensor, shape (R,), int64
        Segment of each residue.

    Returns
    -------
    torch.Tensor, shape (F, R, 5, 3)
        With N and CB of first residues turned about CA-C (psi) and C, O and CB
        of last residues about N-CA (phi) until CB lies above its bead, then O
        of last residues about CA-C. Bonds and angles stay; residues without a
        bead and those inside of a segment too.
    """
    joined = has_next(chain_index)
    joined_before = torch.roll(joined, 1, 0)
    is_first = (joined & ~joined_before).view(1, -1)
    is_last = (joined_before & ~joined).view(1, -1)
    nitrogen, ca, carbon = backbone[:, :, 0], backbone[:, :, 1], backbone[:, :, 2]
    beta = backbone[:, :, 4]
    turned = _turn(backbone, ca, carbon - ca, beta, hints.beta)
    turned = torch.cat((turned[:, :, :1], backbone[:, :, 1:4], turned[:, :, 4:]), 2)
    where = (is_first & hints.has_beta).unsqueeze(-1).unsqueeze(-1)
    result = torch.where(where, turned, backbone)
    turned = _turn(backbone, ca, ca - nitrogen, beta, hints.beta)
    turned = torch.cat((backbone[:, :, :2], turned[:, :, 2:]), 2)
    where = (is_last & hints.has_beta).unsqueeze(-1).unsqueeze(-1)
    result = torch.where(where, turned, result)
    carbon, oxygen = result[:, :, 2], result[:, :, 3]
    turned = _turn(
        oxygen.unsqueeze(2), carbon, carbon - ca, oxygen, hints.oxygen
    ).squeeze(2)
    where = (is_last & hints.has_oxygen).unsqueeze(-1)
    oxygen = torch.where(where, turned, oxygen)
    return torch.cat((result[:, :, :3], oxygen.unsqueeze(2), result[:, :, 4:]), dim=2)
