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
from openmm_backmap.geometry.vectors import compute_distance, normalize

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
        3.10 A, and the bonds beside it have ordinary lengths: a short bond in
        a trace whose bonds fluctuate is not a cis peptide.
    """
    joined = has_next(chain_index)
    distance = compute_distance(ca, torch.roll(ca, -1, 1))
    ordinary = ((distance > 0.370) & (distance < 0.392)) | ~joined
    quiet = torch.roll(ordinary, 1, 1) & torch.roll(ordinary, -1, 1)
    quiet = quiet & torch.roll(ordinary, 2, 1) & torch.roll(ordinary, -2, 1)
    before_proline = joined & (torch.roll(residue_type, -1, 0) == 14)  # 14 is PRO
    return before_proline & quiet & (distance > 0.270) & (distance < 0.310)


def _pull(
    ca: Tensor, step: int, low: Tensor, high: Tensor, joined: Tensor
) -> tuple[Tensor, Tensor]:
    """Correction of each pair (i, i + step) towards [low, high]; (F, R, 3)."""
    delta = torch.roll(ca, -step, 1) - ca
    distance = torch.sqrt((delta * delta).sum(-1).clamp(min=1e-10))
    wanted = torch.minimum(torch.maximum(distance, low), high)
    move = 0.5 * 0.6 * (distance - wanted) * joined
    correction = move.unsqueeze(-1) * normalize(delta)
    return correction, torch.roll(correction, step, 1)


def _buckle(ca: Tensor, high: Tensor, height: float, joined: Tensor) -> Tensor:
    """Correction (F, R, 3) that bends triples longer than `high` aside.

    Pulling at the ends of a straight triple does not bend it.
    """
    axis = torch.roll(ca, -2, 1) - ca
    length = torch.sqrt((axis * axis).sum(-1).clamp(min=1e-10))
    off = torch.roll(ca, -1, 1) - ca - 0.5 * axis
    off = off - (off * axis).sum(-1, keepdim=True) * axis / (length * length)[..., None]
    lacking = (height - torch.sqrt((off * off).sum(-1))).clamp(min=0.0)
    move = 0.3 * lacking * joined * (length > high).to(ca.dtype)
    step = 0.5 * move.unsqueeze(-1) * normalize(off)
    return torch.roll(step, 1, 1) - 0.5 * (step + torch.roll(step, 2, 1))


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
    for _ in range(sweeps):
        first, first_back = _pull(ca, 1, low, high, one)
        ca = ca + first - first_back
        second, second_back = _pull(ca, 2, low2, high2, two)
        ca = ca + second - second_back
        ca = ca + _buckle(ca, high2, height, two)
    first, first_back = _pull(ca, 1, low, high, one / 0.6 * 0.5)
    return ca + first - first_back
