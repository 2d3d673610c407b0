"""Rotamer candidates: prune, keep the most probable, note what they share."""

from typing import NamedTuple

import torch

from openmm_backmap.packing.tables import PackingTables

__all__ = [
    "Candidates",
    "drop_hopeless",
    "find_shared_prefix",
    "keep_candidates",
    "select_candidates",
]


class Candidates(NamedTuple):
    """The kept candidates of all residues, flat and padded.

    P candidates in all, C at most a residue.
    """

    index: torch.Tensor  # (P,) int64 into frames x residues x C, ascending
    residue: torch.Tensor  # (P,) int64 into frames x residues
    chi: torch.Tensor  # (F, R, C, 4) radians, most probable first
    log_p: torch.Tensor  # (F, R, C) normalised, -inf for none
    same_as: torch.Tensor  # (P, 4) int64 into the P candidates


def find_shared_prefix(chi: torch.Tensor) -> torch.Tensor:
    """Find for each candidate the first one with the same leading chi.

    Parameters
    ----------
    chi : torch.Tensor, shape (N, C, 4)
        Candidates of N residues in radians. Only exactly equal chi are shared.

    Returns
    -------
    torch.Tensor, shape (N, C, 4), int64
        Entry [n, c, k]: the lowest candidate that agrees in chi 1 to k + 1.
    """
    n, n_candidates = chi.size(0), chi.size(1)
    same = torch.ones(
        n, n_candidates, n_candidates, dtype=torch.bool, device=chi.device
    )
    shared: list[torch.Tensor] = []
    for k in range(4):
        angle = chi[:, :, k]
        same = same & (angle.unsqueeze(2) == angle.unsqueeze(1))
        shared.append(same.to(torch.uint8).argmax(2))
    return torch.stack(shared, 2)


def select_candidates(
    chi: torch.Tensor,
    log_p: torch.Tensor,
    residue_type: torch.Tensor,
    tables: PackingTables,
    max_candidates: int,
    max_log_ratio: float,
) -> Candidates:
    """Keep the most probable candidates of each residue.

    Parameters
    ----------
    chi : torch.Tensor, shape (F, R, C, 4)
        Candidate side chains in radians; chi a residue lacks are not read.
    log_p : torch.Tensor, shape (F, R, C)
        Natural log of their probabilities, up to a constant a residue; -inf
        where there is no candidate.
    residue_type : torch.Tensor, shape (R,), int64
        0 to 19.
    tables : PackingTables
        Constants.
    max_candidates : int
        Most candidates of a residue.
    max_log_ratio : float
        Candidates this far (nats) below the best one are dropped.

    Returns
    -------
    Candidates
        Sorted by falling probability; at least one a residue with side chain.
    """
    n_frames, n_residues = chi.size(0), chi.size(1)
    log_p, order = torch.sort(log_p, dim=2, descending=True, stable=True)
    n_kept = min(max_candidates, log_p.size(2))
    log_p, order = log_p[:, :, :n_kept], order[:, :, :n_kept]
    chi = chi.gather(2, order.unsqueeze(3).expand(-1, -1, -1, 4))
    n_chi = tables.n_chi.index_select(0, residue_type)
    axis = torch.arange(4, device=chi.device)
    chi = chi * (axis < n_chi.unsqueeze(1)).to(chi.dtype).unsqueeze(1)
    best = log_p[:, :, :1]
    # a residue without any finite log p keeps its first candidate
    best = torch.where(torch.isfinite(best), best, torch.zeros_like(best))
    kept = log_p > best - max_log_ratio
    first = torch.zeros_like(kept)
    first[:, :, 0] = True
    kept = (kept | first) & (n_chi > 0).view(1, -1, 1)
    zero = torch.zeros_like(log_p)
    log_p = torch.where(torch.isfinite(log_p), log_p - best, zero)
    log_p = log_p.masked_fill(~kept, float("-inf"))
    total = torch.logsumexp(log_p, dim=2, keepdim=True)
    total = torch.where(torch.isfinite(total), total, torch.zeros_like(total))
    log_p = log_p - total
    flat = kept.reshape(-1)
    index = torch.nonzero(flat).flatten()
    residue = torch.div(index, n_kept, rounding_mode="floor")
    shared = find_shared_prefix(chi.reshape(n_frames * n_residues, n_kept, 4))
    running = flat.to(torch.int64).cumsum(0) - 1
    base = running.index_select(0, residue * n_kept)
    same_as = shared.reshape(-1, 4).index_select(0, index) + base.unsqueeze(1)
    return Candidates(
        index=index, residue=residue, chi=chi, log_p=log_p, same_as=same_as
    )


def drop_hopeless(
    candidates: Candidates, energy: torch.Tensor, max_energy: float
) -> Candidates:
    """Drop candidates that the backbone alone makes all but impossible.

    Parameters
    ----------
    candidates : Candidates
        P candidates of F x R residues.
    energy : torch.Tensor, shape (F x R, C)
        Their own energy in nats.
    max_energy : float
        Candidates this far above the best of their residue go.

    Returns
    -------
    Candidates
        The rest; at least one a residue that had one.
    """
    best = energy.amin(1, keepdim=True)
    kept = (energy <= best + max_energy) & torch.isfinite(
        candidates.log_p.view_as(energy)
    )
    return keep_candidates(candidates, kept)


def keep_candidates(candidates: Candidates, kept: torch.Tensor) -> Candidates:
    """Keep some candidates only.

    Parameters
    ----------
    candidates : Candidates
        P candidates of F x R residues.
    kept : torch.Tensor, shape (F x R, C), bool
        Which of them.

    Returns
    -------
    Candidates
        Those kept.
    """
    n_all = candidates.index.numel()
    alive = torch.nonzero(kept.reshape(-1).index_select(0, candidates.index)).flatten()
    index = candidates.index.index_select(0, alive)
    same_as = candidates.same_as.index_select(0, alive)
    # the first of those left that agree takes over
    number = torch.arange(alive.numel(), device=alive.device)
    renamed: list[torch.Tensor] = []
    for k in range(4):
        shared = same_as[:, k]
        heir = torch.full_like(candidates.index, n_all)
        heir = heir.scatter_reduce(0, shared, number, "amin", include_self=True)
        renamed.append(heir.index_select(0, shared))
    return Candidates(
        index=index,
        residue=candidates.residue.index_select(0, alive),
        chi=candidates.chi,
        log_p=candidates.log_p.masked_fill(
            ~kept.view_as(candidates.log_p), float("-inf")
        ),
        same_as=torch.stack(renamed, 1),
    )
