"""One step of the beam over the chi of side chains: every start gets its next chi."""

import math

import torch
from torch import Tensor

__all__ = ["grow_beam"]


def grow_beam(
    parents: Tensor,
    parent_log_p: Tensor,
    angle: Tensor,
    gain: Tensor,
    asked: Tensor,
    k: int,
    n_kept: int,
    max_log_ratio: float,
) -> tuple[Tensor, Tensor]:
    """Give the candidates of residues their chi k + 1 and keep the likeliest.

    Parameters
    ----------
    parents : torch.Tensor, shape (N, A, 4)
        Candidates so far, in radians; the first `k` chi are set.
    parent_log_p : torch.Tensor, shape (N, A)
        Log probability, -inf for none.
    angle, gain : torch.Tensor, shape (M, P)
        Peaks of the next chi in radians and the log probability of each, of the
        candidates that were asked.
    asked : torch.Tensor, shape (M,), int64
        Where they are in N x A.
    k : int
        0 to 3.
    n_kept : int
        Most candidates C of a residue.
    max_log_ratio : float
        Candidates this many nats below the best are dropped.

    Returns
    -------
    chi : torch.Tensor, shape (N, C, 4)
        Radians, likeliest first, zeros in unused places.
    log_p : torch.Tensor, shape (N, C)
        Log probability, -inf in unused places.
    """
    n_rows, alive, n_peaks = parents.shape[0], parents.shape[1], angle.shape[-1]
    turned = angle.new_zeros(n_rows * alive, n_peaks)
    turned = turned.index_copy(0, asked, angle)
    gained = torch.full_like(turned, -math.inf).index_copy(0, asked, gain)
    total = parent_log_p.unsqueeze(-1) + gained.view(-1, alive, n_peaks)
    children = parents.unsqueeze(2).repeat(1, 1, n_peaks, 1)
    children[..., k] = turned.view(-1, alive, n_peaks)
    total = total.reshape(-1, alive * n_peaks)
    children = children.reshape(-1, alive * n_peaks, 4)
    order = torch.argsort(total, dim=-1, descending=True, stable=True)[:, :n_kept]
    total = torch.gather(total, 1, order)
    children = torch.gather(children, 1, order.unsqueeze(-1).expand(-1, -1, 4))
    dropped = total < total[:, :1] - max_log_ratio
    kept = total.shape[1]
    chi = parents.new_zeros(n_rows, n_kept, 4)
    chi[:, :kept] = children
    log_p = torch.full_like(chi[..., 0], -math.inf)
    log_p[:, :kept] = total.masked_fill(dropped, -math.inf)
    return chi, log_p
