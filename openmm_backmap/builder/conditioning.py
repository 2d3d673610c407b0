"""Making CA traces buildable: cis detection and projection.

Coarse-grained force fields without an angle term leave the range in which a
backbone exists (CA-CA near 3.8 A, CA virtual angles of 75 to 147 degrees). A
few position-based sweeps bring such a trace back; a trace that is in range is
returned untouched.
"""

from typing import Optional

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.geometry.vectors import compute_distance

__all__ = ["find_cis", "project_ca"]


def find_cis(ca: Tensor, residue_type: Tensor, chain_index: Tensor) -> Tensor:
    """Cis peptide units as far as CA positions can tell.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.

    Returns
    -------
    torch.Tensor, shape (F, R), bool
        True for unit i where residue i + 1 is a proline, CA-CA is 2.70 to
        3.10 A, and the bonds beside it in the segment have ordinary lengths: a
        short bond in a trace whose bonds fluctuate is not a cis peptide.
    """
    joined = has_next(chain_index)
    last = ~torch.roll(joined, -1, 0)
    distance = compute_distance(ca, torch.roll(ca, -1, 1))
    ordinary = ((distance > 0.370) & (distance < 0.392)) | ~joined
    quiet = torch.roll(ordinary, 1, 1) & torch.roll(ordinary, -1, 1)
    # two units away may be another segment
    quiet = quiet & (torch.roll(ordinary, 2, 1) | ~torch.roll(joined, 1, 0))
    quiet = quiet & (torch.roll(ordinary, -2, 1) | last)
    before_proline = joined & (torch.roll(residue_type, -1, 0) == 14)  # 14 is PRO
    return before_proline & quiet & (distance > 0.270) & (distance < 0.310)


def _pull(x: Tensor, step: int, low: Tensor, high: Tensor, joined: Tensor) -> Tensor:
    """Move pairs (i, i + step) of points (3, F, R) towards [low, high]."""
    delta = torch.roll(x, -step, 2) - x
    distance = torch.sqrt((delta * delta).sum(0).clamp(min=1e-10))
    wanted = torch.minimum(torch.maximum(distance, low), high)
    move = 0.5 * 0.6 * joined * (1.0 - wanted / distance)
    correction = move * delta
    return x + correction - torch.roll(correction, step, 2)


def _buckle(x: Tensor, high: Tensor, height: float, joined: Tensor) -> Tensor:
    """Bend triples of points (3, F, R) that are longer than `high` aside.

    Pulling at the ends of a straight triple does not bend it.
    """
    axis = torch.roll(x, -2, 2) - x
    square = (axis * axis).sum(0).clamp(min=1e-10)
    off = torch.roll(x, -1, 2) - x - 0.5 * axis
    off = off - ((off * axis).sum(0) / square) * axis
    away = torch.sqrt((off * off).sum(0).clamp(min=1e-16))
    lacking = (height - away).clamp(min=0.0)
    move = 0.3 * lacking * joined * (square > high * high).to(x.dtype)
    step = (0.5 * move / away) * off
    return x + torch.roll(step, 1, 2) - 0.5 * (step + torch.roll(step, 2, 2))


def _kick_straight(x: Tensor, joined: Tensor, size: float = 0.02) -> Tensor:
    """Move the middle of triples (3, F, R) that lie on a line off it.

    No force acts across a line, and no frame can be put on it. Each goes another
    way, as in a helix: moved all alike, a straight chain would stay straight.
    """
    axis = torch.roll(x, -2, 2) - x
    square = (axis * axis).sum(0).clamp(min=1e-10)
    off = torch.roll(x, -1, 2) - x - 0.5 * axis
    off = off - ((off * axis).sum(0) / square) * axis
    straight = ((off * off).sum(0) < 1e-10).to(x.dtype) * joined
    # across the coordinate to which the line is most nearly at right angles
    best = axis.abs().argmin(0, keepdim=True)
    other = torch.zeros_like(axis).scatter(0, best, 1.0)
    one = torch.linalg.cross(axis, other, dim=0)
    one = one * torch.rsqrt((one * one).sum(0).clamp(min=1e-16))
    two = torch.linalg.cross(axis * torch.rsqrt(square), one, dim=0)
    turn = 1.745 * torch.arange(x.shape[2], device=x.device).to(x.dtype)
    kick = torch.cos(turn) * one + torch.sin(turn) * two
    return x + torch.roll(size * kick * straight, 1, 2)


def project_ca(
    ca: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    sweeps: int = 30,
    is_cis: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
) -> Tensor:
    """Move CA positions into the range in which a backbone can be built.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm, each segment whole.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.
    sweeps : int
        Jacobi sweeps.
    is_cis : torch.Tensor or None, shape (F, R), bool
        Cis units. If None, those of `find_cis`.

    Returns
    -------
    torch.Tensor, shape (F, R, 3)
        Bonds of 3.70 to 3.92 A (cis 2.95) and 1-3 distances of 4.80 to
        7.35 A. A stretch of the input that is in range comes back as it was.

    References
    ----------
    Position-based dynamics: Mueller et al., J. Vis. Commun. Image R. 18, 109
    (2007), with Jacobi averaging.
    """
    joined = has_next(chain_index)
    joined2 = joined & torch.roll(joined, -1, 0)
    if is_cis is None:
        is_cis = find_cis(ca, residue_type, chain_index)
    distance = compute_distance(ca, torch.roll(ca, -1, 1))
    odd = joined & ((distance < 0.370) | (distance > 0.392)) & ~is_cis
    # beside a broken bond aim at the middle of the range, not at its edge
    tight = odd | torch.roll(odd, 1, 1) | torch.roll(odd, -1, 1)
    middle = torch.full_like(distance, 0.3805)
    low = torch.where(tight, middle, torch.full_like(distance, 0.370))
    high = torch.where(tight, middle, torch.full_like(distance, 0.392))
    low = torch.where(is_cis, torch.full_like(distance, 0.270), low)
    high = torch.where(is_cis, torch.full_like(distance, 0.310), high)
    near_cis = is_cis | torch.roll(is_cis, -1, 1)
    low2 = torch.where(
        near_cis,
        torch.full_like(distance, 0.440),
        torch.full_like(distance, 0.480),
    )
    high2 = torch.full_like(distance, 0.735)
    height = 0.0967  # of the middle of such a triple, with bonds of 3.80 A
    one = joined.to(ca.dtype)
    two = joined2.to(ca.dtype)
    # coordinates first: twice as fast on a CPU
    x = _kick_straight(ca.permute(2, 0, 1).contiguous(), two)
    for _ in range(sweeps):
        x = _pull(x, 1, low, high, one)
        x = _pull(x, 2, low2, high2, two)
        x = _buckle(x, high2, height, two)
    return _pull(x, 1, low, high, one / 0.6 * 0.5).permute(1, 2, 0).contiguous()
