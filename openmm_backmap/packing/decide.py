"""From marginals to one candidate a residue, and how sure the choice is."""

import torch
from torch import Tensor
from torch.nn import functional

from openmm_backmap.packing import constants

__all__ = ["choose_central", "find_unsure", "sum_agreeing", "sum_stretch"]


def choose_central(
    marginal: Tensor, built: Tensor, index: Tensor, floor: float, unsure: Tensor
) -> Tensor:
    """Choose the candidate nearest to where the side chain probably is.

    Least expected distance ``sum_d p_d |x_c - x_d|`` over the candidates d of
    a residue, with the distance over all side-chain atoms (minimum Bayes risk:
    Bickel and Doksum, Mathematical Statistics, 2015, section 3.2). Unlike the
    likeliest candidate it does not lose to a small one when the probability of
    a rotamer is shared among many that differ at the far end only. Where
    nothing is likely, in disordered stretches, the cube of the distance makes
    the choice stay clear of the far ones.

    Parameters
    ----------
    marginal : torch.Tensor, shape (G, C)
        Probabilities of the candidates; 0 for none.
    built : torch.Tensor, shape (P, 14, 3)
        Atoms of the P existing candidates in nm, zeros in absent slots.
    index : torch.Tensor, shape (P,), int64
        Their places in G x C.
    floor : float
        Candidates less probable than this share of the likeliest are not
        chosen.
    unsure : torch.Tensor, shape (G,), bool
        Where the cube of the distance counts, see `find_unsure`.

    Returns
    -------
    torch.Tensor, shape (G,), int64
        The choice; 0 where a residue has no candidates.
    """
    n_groups, n_kept = marginal.size(0), marginal.size(1)
    atoms = built[:, constants.N_BACKBONE :].flatten(1)
    rows = torch.zeros(
        n_groups * n_kept, atoms.size(1), dtype=built.dtype, device=built.device
    )
    rows = rows.index_copy(0, index, atoms).view(n_groups, n_kept, -1)
    # not the quick way by products of matrices: it is not exact near zero
    distance = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    # in angstrom: below, ties are told apart by what is little beside them
    distance = 10.0 * distance
    power = 1.0 + 2.0 * unsure.to(distance.dtype)
    distance = distance ** power.view(-1, 1, 1)
    risk = torch.matmul(distance, marginal.unsqueeze(2)).squeeze(2)
    # ties go to the candidate that was proposed first, however they are rounded
    order = torch.arange(n_kept, dtype=risk.dtype, device=risk.device)
    risk = risk + 1e-4 * order
    likeliest = marginal.amax(1, keepdim=True)
    allowed = (marginal > 0) & (marginal >= floor * likeliest)
    return risk.masked_fill(~allowed, float("inf")).argmin(1)


def find_unsure(marginal: Tensor, follows: Tensor, limit: float, reach: int) -> Tensor:
    """Residues in stretches whose side chains nothing holds.

    Parameters
    ----------
    marginal : torch.Tensor, shape (G, C)
        Probabilities of the candidates of all residues, frame after frame.
    follows : torch.Tensor, shape (G,), bool
        Residues that are bonded to the one before.
    limit : float
        A stretch is unsure if its residues' likeliest candidates have less than
        this on average.
    reach : int
        Residues of the segment on either side that make a stretch.

    Returns
    -------
    torch.Tensor, shape (G,), bool
        Such residues.
    """
    likeliest = marginal.amax(1)
    both = torch.stack((likeliest, (likeliest > 0).to(likeliest.dtype)))
    found = sum_stretch(both, follows, reach)
    return found[0] < limit * found[1]


def sum_stretch(values: Tensor, follows: Tensor, reach: int) -> Tensor:
    """Sum values over the residues around each, in its segment.

    Parameters
    ----------
    values : torch.Tensor, shape (V, G)
        Of all residues, frame after frame.
    follows : torch.Tensor, shape (G,), bool
        Residues that are bonded to the one before.
    reach : int
        Residues of the segment on either side.

    Returns
    -------
    torch.Tensor, shape (V, G), float64
        The residue's own value is one of the sum.
    """
    n = values.size(1)
    number = torch.arange(n, device=values.device)
    first = torch.where(follows, torch.zeros_like(number), number).cummax(0)[0]
    ends = torch.ones_like(follows)
    ends[:-1] = ~follows[1:]
    last = torch.where(ends, number, torch.full_like(number, n))
    last = last.flip(0).cummin(0)[0].flip(0)
    low = torch.maximum(number - reach, first)
    high = torch.minimum(number + reach, last) + 1
    # double: the sums of all residues before are taken off again
    sums = functional.pad(values.double().cumsum(1), (1, 0))
    return sums.index_select(1, high) - sums.index_select(1, low)


def sum_agreeing(
    marginal: Tensor, chi: Tensor, choice: Tensor, period: Tensor, tolerance: float
) -> Tensor:
    """Probability that chi1 and chi2 are where the choice has them.

    Parameters
    ----------
    marginal : torch.Tensor, shape (G, C)
        Probabilities of the candidates; 0 for none.
    chi : torch.Tensor, shape (G, C, 4)
        Candidates in radians.
    choice : torch.Tensor, shape (G,), int64
        One of them a residue.
    period : torch.Tensor, shape (G, 4)
        Period of each chi in radians.
    tolerance : float
        In radians.

    Returns
    -------
    torch.Tensor, shape (G,)
        1 where a residue has no candidates.
    """
    leading = chi[..., :2]
    chosen = leading.gather(1, choice.view(-1, 1, 1).expand(-1, 1, 2))
    turn = period[:, :2].unsqueeze(1)
    error = torch.remainder(leading - chosen + 0.5 * turn, turn) - 0.5 * turn
    near = (error.abs() <= tolerance).all(2)
    # rounding must not take a probability beyond one
    total = (marginal * near.to(marginal.dtype)).sum(1).clamp(max=1.0)
    return torch.where((marginal > 0).any(1), total, torch.ones_like(total))
