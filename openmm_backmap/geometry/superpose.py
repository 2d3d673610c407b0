"""Optimal superposition of point sets."""

import torch
from torch import Tensor

from openmm_backmap.geometry.frames import to_local

__all__ = ["superpose"]


def superpose(mobile: Tensor, target: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Rotation and translation that move `mobile` onto `target`.

    Parameters
    ----------
    mobile, target : torch.Tensor, shape (F, N, 3)
        Matched points in nm.
    weight : torch.Tensor, shape (F, N)
        Non-negative weights; a zero leaves a point out.

    Returns
    -------
    rotation : torch.Tensor, shape (F, 3, 3)
        Proper rotation; ``mobile @ rotation.T + translation`` fits `target`.
    translation : torch.Tensor, shape (F, 3)
        In nm.

    References
    ----------
    Kabsch, Acta Cryst. A34, 827 (1978).
    """
    total = weight.sum(-1, keepdim=True).clamp(min=1e-12).unsqueeze(-1)
    w = weight.unsqueeze(-1)
    center_mobile = (w * mobile).sum(-2, keepdim=True) / total
    center_target = (w * target).sum(-2, keepdim=True) / total
    # no matrix products: TF32, where it is allowed, would round coordinates
    weighted = ((mobile - center_mobile) * w).unsqueeze(-1)
    covariance = (weighted * (target - center_target).unsqueeze(-2)).sum(-3)
    u, _, vt = torch.linalg.svd(covariance)
    v = vt.transpose(-1, -2)
    sign = torch.sign(torch.linalg.det(v) * torch.linalg.det(u))
    flip = torch.ones_like(covariance[..., 0])
    flip[..., 2] = sign
    rotation = ((v * flip.unsqueeze(-2)).unsqueeze(-2) * u.unsqueeze(-3)).sum(-1)
    translation = center_target - to_local(rotation.unsqueeze(-3), center_mobile)
    return rotation, translation.squeeze(-2)
