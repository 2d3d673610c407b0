"""How noisy a CA trace is."""

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.geometry.vectors import compute_distance

__all__ = ["compute_shift", "estimate_noise"]

MAX_NOISE = 0.03
NATIVE_SPREAD = 0.004
NATIVE_BONDS = 8.0


def estimate_noise(
    ca: Tensor,
    is_cis: Tensor,
    chain_index: Tensor,
    native_spread: float = NATIVE_SPREAD,
    max_noise: float = MAX_NOISE,
    native_bonds: float = NATIVE_BONDS,
) -> Tensor:
    """Noise of a CA trace, from how far its bonds are from 3.8 A.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm, before any projection.
    is_cis : torch.Tensor, shape (F, R), bool
        Cis units, which do not count.
    chain_index : torch.Tensor, shape (R,), int64
        Bonded segments.
    native_spread : float
        Spread of real CA-CA bonds in nm, taken as no noise.
    max_noise : float
        Largest value, nm a coordinate (the largest of the training).
    native_bonds : float
        Bonds without noise that are counted with those of a segment, so that a
        short one is not called noisy for one odd bond.

    Returns
    -------
    torch.Tensor, shape (F, R)
        Noise in nm a coordinate, one value a segment and frame. Noise of standard
        deviation s moves a bond's length by ``sqrt(2) s``.
    """
    bond = compute_distance(ca, torch.roll(ca, -1, 1))
    counts = (has_next(chain_index).unsqueeze(0) & ~is_cis).to(ca.dtype)
    off = (bond - 0.3805) * counts
    first = ~torch.roll(has_next(chain_index), 1, 0)
    segment = torch.cumsum(first.to(torch.int64), 0) - 1
    segment = segment.unsqueeze(0).expand(ca.shape[0], -1)
    none = torch.zeros_like(off)
    total = none.scatter_add(1, segment, off * off)
    count = none.scatter_add(1, segment, counts)
    spread = native_spread * native_spread
    excess = (total - spread * count).clamp(min=0.0) / (count + native_bonds)
    sigma = torch.sqrt(0.5 * excess).clamp(max=max_noise)
    return sigma.gather(1, segment)


def compute_shift(moved: Tensor, ca: Tensor, chain_index: Tensor) -> Tensor:
    """How far the projection has moved the CAs of each segment.

    Parameters
    ----------
    moved, ca : torch.Tensor, shape (F, R, 3)
        CA positions after and before, in nm.
    chain_index : torch.Tensor, shape (R,), int64
        Bonded segments.

    Returns
    -------
    torch.Tensor, shape (F, R)
        Root mean square in nm, one value a segment and frame.
    """
    first = ~torch.roll(has_next(chain_index), 1, 0)
    segment = torch.cumsum(first.to(torch.int64), 0) - 1
    segment = segment.unsqueeze(0).expand(ca.shape[0], -1)
    square = ((moved - ca) * (moved - ca)).sum(-1)
    none = torch.zeros_like(square)
    total = none.scatter_add(1, segment, square)
    count = none.scatter_add(1, segment, torch.ones_like(square))
    return torch.sqrt(total / count.clamp(min=1.0)).gather(1, segment)
