"""Torsion bins read as angles: peaks, means and samples (scriptable)."""

import math

import torch
from torch import Tensor

__all__ = ["bin_of", "decode_mean", "decode_peak", "find_peaks", "sample_bins"]


def decode_peak(
    logits: Tensor, half_range: float, is_periodic: bool, window: int = 3
) -> Tensor:
    """Angle of the likeliest bin, refined by the bins beside it.

    Parameters
    ----------
    logits : torch.Tensor, shape (..., n_bins)
        Bins over ``-half_range`` to ``half_range``.
    half_range : float
        In radians.
    is_periodic : bool
        Whether the range closes on itself.
    window : int
        Bins on either side that take part.

    Returns
    -------
    torch.Tensor, shape (...)
        Mean angle of the window in radians, within one window of the range.
    """
    n_bins = logits.shape[-1]
    p = torch.softmax(logits, -1)
    peak = p.argmax(-1, keepdim=True)
    steps = torch.arange(-window, window + 1, device=logits.device)
    index = peak + steps
    if is_periodic:
        weight = torch.gather(p, -1, torch.remainder(index, n_bins))
    else:
        inside = (index >= 0) & (index < n_bins)
        weight = torch.gather(p, -1, index.clamp(0, n_bins - 1)) * inside
    shift = (weight * steps).sum(-1) / weight.sum(-1)
    return -half_range + (peak.squeeze(-1).to(p.dtype) + 0.5 + shift) * (
        2.0 * half_range / n_bins
    )


def decode_mean(logits: Tensor) -> Tensor:
    """Direction of a distribution over the full circle.

    The angle of least expected squared distance on the circle (Mardia and
    Jupp, Directional Statistics, 2000, section 2.2): for the loose ends of a
    chain, where the likeliest bin is right for two residues in three only.

    Parameters
    ----------
    logits : torch.Tensor, shape (..., n_bins)
        Bins over the full circle from -pi.

    Returns
    -------
    torch.Tensor, shape (...)
        Angle in radians.
    """
    n_bins = logits.shape[-1]
    p = torch.softmax(logits, -1)
    place = torch.arange(n_bins, device=logits.device, dtype=logits.dtype)
    center = -math.pi + (place + 0.5) * (2.0 * math.pi / n_bins)
    sine, cosine = torch.sin(center), torch.cos(center)
    return torch.atan2((p * sine).sum(-1), (p * cosine).sum(-1))


def sample_bins(
    logits: Tensor, uniform: Tensor, half_range: float, temperature: float = 1.0
) -> Tensor:
    """Draw angles by inverting the cumulative distribution.

    Parameters
    ----------
    logits : torch.Tensor, shape (..., n_bins)
        Bins over ``-half_range`` to ``half_range``.
    uniform : torch.Tensor, shape (...)
        Uniform numbers in [0, 1).
    half_range : float
        In radians.
    temperature : float
        Divides the logits.

    Returns
    -------
    torch.Tensor, shape (...)
        Angles in radians, linear within a bin.
    """
    n_bins = logits.shape[-1]
    p = torch.softmax(logits / temperature, -1)
    cumulative = torch.cumsum(p, -1)
    u = uniform.unsqueeze(-1) * cumulative[..., -1:]
    index = (cumulative <= u).sum(-1, keepdim=True).clamp(max=n_bins - 1)
    top = torch.gather(cumulative, -1, index)
    mass = torch.gather(p, -1, index).clamp(min=1e-12)
    part = (1.0 - (top - u) / mass).clamp(0.0, 1.0)
    return -half_range + (index + part).squeeze(-1) * (2.0 * half_range / n_bins)


def bin_of(angle: Tensor, n_bins: int) -> Tensor:
    """Bin of each angle on the full circle, starting at -pi."""
    place = torch.floor((angle + math.pi) * (n_bins / (2.0 * math.pi)))
    return torch.remainder(place.long(), n_bins)


def find_peaks(
    logits: Tensor,
    is_pi_periodic: Tensor,
    n_peaks: int = 3,
    reach: int = 3,
    basin: int = 6,
    apart: int = 8,
) -> tuple[Tensor, Tensor, Tensor]:
    """Likeliest separate angles of a periodic distribution.

    Parameters
    ----------
    logits : torch.Tensor, shape (N, n_bins)
        Bins over the full circle.
    is_pi_periodic : torch.Tensor, shape (N,), bool
        Torsions whose two sides are the same structure: the sides are added.
    n_peaks : int
        Peaks wanted P.
    reach : int
        Bins on either side that are averaged for a peak's angle.
    basin : int
        Bins on either side whose probability a peak is given.
    apart : int
        Bins on either side in which no second peak is looked for.

    Returns
    -------
    angle : torch.Tensor, shape (N, P)
        Radians, best first.
    log_p : torch.Tensor, shape (N, P)
        Log probability of the basins.
    spread : torch.Tensor, shape (N, P)
        Standard deviation within the basins, radians.
    """
    n_bins = logits.shape[-1]
    device = logits.device
    p = torch.softmax(logits, -1)
    if bool(is_pi_periodic.any()):
        folded = p + torch.roll(p, n_bins // 2, -1)
        p = torch.where(is_pi_periodic.unsqueeze(-1), folded, p)
    ring = torch.cat((p[:, n_bins - 1 :], p, p[:, :1]), dim=-1)
    score = ring[:, :n_bins] + p + ring[:, 2:]
    # the two sides of a pi-periodic torsion tie exactly: keep to one of them
    rows = torch.nonzero(is_pi_periodic).flatten()
    if rows.numel() > 0:
        score[:, n_bins // 2 :].index_fill_(0, rows, -1.0)
    wide = torch.arange(-basin, basin + 1, device=device)
    # sums over a basin and over the bins within reach, as one product
    step = wide.to(p.dtype)
    within = (wide.abs() <= reach).to(p.dtype)
    ones = torch.ones_like(step)
    sums = torch.stack((ones, step, step * step, within, within * step), -1)
    # what a peak at each bin takes; a second half of the tables for both sides
    bins = torch.arange(n_bins, device=device)
    basins = torch.remainder(bins.unsqueeze(-1) + wide, n_bins)
    away = (bins.unsqueeze(-1) - bins).abs()
    away = torch.minimum(away, n_bins - away)
    both = torch.minimum(away, torch.roll(away, n_bins // 2, -1))
    away = torch.cat((away, both))
    # less than any score, and nothing of the basin
    taken = (away <= apart).to(p.dtype) * 9.0
    left = (away > basin).to(p.dtype)
    side = is_pi_periodic.to(torch.int64) * n_bins
    angles: list[Tensor] = []
    logs: list[Tensor] = []
    spreads: list[Tensor] = []
    bin_width = 2.0 * math.pi / n_bins
    for turn in range(n_peaks):
        peak = score.max(-1)[1]
        around = torch.gather(p, -1, basins.index_select(0, peak))
        total, first, second, near, shift = torch.matmul(around, sums).unbind(-1)
        shift = shift / near.clamp(min=1e-12)
        angles.append(-math.pi + (peak.to(shift.dtype) + 0.5 + shift) * bin_width)
        spread = second - 2.0 * shift * first + shift * shift * total
        spread = (spread / total.clamp(min=1e-12)).clamp(min=0.0)
        spreads.append(bin_width * torch.sqrt(spread))
        logs.append(total.clamp(1e-9, 1.0).log())
        if turn + 1 < n_peaks:
            # later peaks do not count what earlier ones were given
            row = peak + side
            score -= taken.index_select(0, row)
            p *= left.index_select(0, row)
    return torch.stack(angles, -1), torch.stack(logs, -1), torch.stack(spreads, -1)
