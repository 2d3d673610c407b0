"""Coloured Gibbs sampling over candidates, driven by noise that comes in."""

from typing import NamedTuple

import torch

from openmm_backmap.packing.atoms import CandidateAtoms
from openmm_backmap.packing.interactions import InteractionTerms

__all__ = ["color_residues", "draw_choice", "sample_gibbs"]


def color_residues(
    first: torch.Tensor, second: torch.Tensor, priority: torch.Tensor
) -> torch.Tensor:
    """Colour residues so that interacting ones differ.

    Jones and Plassmann, SIAM J. Sci. Comput. 14, 654 (1993): in each round the
    uncoloured residues of locally highest priority take the next colour.

    Parameters
    ----------
    first, second : torch.Tensor, shape (P,), int64
        Interacting residues, each pair once.
    priority : torch.Tensor, shape (G,), int64
        Different for any two interacting residues, positive.

    Returns
    -------
    torch.Tensor, shape (G,), int64
        Colour of each residue, from 0.
    """
    color = torch.full_like(priority, -1)
    open_priority = priority.clone()
    current = 0
    while bool((color < 0).any()):
        highest = torch.zeros_like(priority)
        highest = highest.scatter_reduce(
            0, first, open_priority.index_select(0, second), "amax", include_self=True
        )
        highest = highest.scatter_reduce(
            0, second, open_priority.index_select(0, first), "amax", include_self=True
        )
        taken = (color < 0) & (open_priority > highest)
        color = torch.where(taken, torch.full_like(color, current), color)
        open_priority = open_priority.masked_fill(taken, 0)
        current += 1
    return color


def draw_choice(probability: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Draw one candidate a residue by inverting the cumulative distribution.

    Parameters
    ----------
    probability : torch.Tensor, shape (G, C)
        Of the candidates; rows of zeros give 0.
    uniform : torch.Tensor, shape (G,)
        Between 0 and 1.

    Returns
    -------
    torch.Tensor, shape (G,), int64
        Index of the drawn candidate.
    """
    cumulative = probability.cumsum(1)
    total = cumulative[:, -1:]
    below = (cumulative <= uniform.unsqueeze(1) * total) & (cumulative < total)
    return below.sum(1)


class ColorBlocks(NamedTuple):
    """Terms and cells of residues renumbered by colour: a slice each."""

    order: torch.Tensor  # (G,) int64 old number of each residue
    rank: torch.Tensor  # (G,) int64 new number of each residue
    to_atom: torch.Tensor  # (T,) int64, both directions of every term
    from_atom: torch.Tensor  # (T,) int64
    strength: torch.Tensor  # (T,) nats
    cell: torch.Tensor  # (L,) int64, residue x candidate
    cell_atom: torch.Tensor  # (L,) int64
    end: list[int]  # of residues, of each colour
    term_end: list[int]
    cell_end: list[int]


def _sort_by_color(
    terms: InteractionTerms, atoms: CandidateAtoms, priority: torch.Tensor, n_kept: int
) -> ColorBlocks:
    """Colour residues of priority (G,) and renumber all that they need."""
    residue_a = atoms.residue.index_select(0, terms.a)
    residue_b = atoms.residue.index_select(0, terms.b)
    color = color_residues(residue_a, residue_b, priority)
    color, order = torch.sort(color, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(order.numel(), device=order.device)
    # both directions of every term, by the residue that feels it
    to_atom = torch.cat([terms.a, terms.b])
    from_atom = torch.cat([terms.b, terms.a])
    strength = torch.cat([terms.energy, terms.energy])
    to_rank = rank.index_select(0, atoms.residue.index_select(0, to_atom))
    to_rank, sorting = torch.sort(to_rank, stable=True)
    to_atom, from_atom = to_atom[sorting], from_atom[sorting]
    strength = strength[sorting]
    old_residue = torch.div(atoms.cell_candidate, n_kept, rounding_mode="floor")
    cell_rank = rank.index_select(0, old_residue)
    cell = cell_rank * n_kept + atoms.cell_candidate - old_residue * n_kept
    cell_rank, sorting = torch.sort(cell_rank, stable=True)
    edge = torch.bincount(color).cumsum(0)
    end: list[int] = edge.tolist()
    term_end: list[int] = torch.searchsorted(to_rank, edge).tolist()
    cell_end: list[int] = torch.searchsorted(cell_rank, edge).tolist()
    return ColorBlocks(
        order,
        rank,
        to_atom,
        from_atom,
        strength,
        cell[sorting],
        atoms.cell_atom[sorting],
        end,
        term_end,
        cell_end,
    )


def sample_gibbs(
    energy: torch.Tensor,
    marginal: torch.Tensor,
    terms: InteractionTerms,
    atoms: CandidateAtoms,
    noise: torch.Tensor,
    temperature: float,
) -> torch.Tensor:
    """Draw candidates that are packed against one another.

    Starts from the mean-field marginals, then sweeps over the colours; all
    residues of one colour are drawn at once given the others.

    Parameters
    ----------
    energy : torch.Tensor, shape (G, C)
        Own energy of the candidates of G = F x R residues in nats; inf for none.
    marginal : torch.Tensor, shape (G, C)
        Mean-field marginals.
    terms : InteractionTerms
        Energies between side-chain atoms.
    atoms : CandidateAtoms
        Gives the atoms of each candidate.
    noise : torch.Tensor, shape (F, R, S)
        N(0, 1); S - 1 sweeps.
    temperature : float
        Divides all energies; 1 samples the model's own distribution.

    Returns
    -------
    torch.Tensor, shape (G,), int64
        The candidate of each residue.
    """
    n_groups, n_kept = energy.size(0), energy.size(1)
    n_residues = noise.size(1)
    uniform = 0.5 * (1.0 + torch.erf(noise.reshape(n_groups, -1) * 0.7071067811865476))
    empty = torch.isinf(energy)
    own = energy.masked_fill(empty, 1e9)
    sharpened = marginal.clamp(min=1e-30).log() / temperature
    start = torch.softmax(sharpened, 1).masked_fill(empty, 0.0)
    choice = draw_choice(start, uniform[:, 0])
    n_sweeps = uniform.size(1) - 1
    if n_sweeps < 1:
        return choice
    # a fixed shuffle of the residue numbers, the same in every frame
    number = torch.arange(n_residues, device=energy.device)
    priority = torch.remainder(number * 7919 + 12345, 1048573) * 2097152 + number + 1
    blocks = _sort_by_color(
        terms, atoms, priority.repeat(n_groups // n_residues), n_kept
    )
    order, cell, cell_atom = blocks.order, blocks.cell, blocks.cell_atom
    own, empty = own.index_select(0, order), empty.index_select(0, order)
    uniform, choice = uniform.index_select(0, order), choice.index_select(0, order)
    row = torch.arange(n_groups, device=order.device) * n_kept
    is_chosen = torch.zeros(n_groups * n_kept, dtype=own.dtype, device=own.device)
    is_chosen[row + choice] = 1.0
    occupied = torch.zeros(atoms.residue.numel(), dtype=own.dtype, device=own.device)
    occupied.scatter_add_(0, cell_atom, is_chosen.index_select(0, cell))
    on_atom = torch.zeros_like(occupied)
    for sweep in range(n_sweeps):
        begin, term_begin, cell_begin = 0, 0, 0
        for k in range(len(blocks.end)):
            end, term_end = blocks.end[k], blocks.term_end[k]
            cell_end = blocks.cell_end[k]
            to = blocks.to_atom[term_begin:term_end]
            felt = occupied.index_select(0, blocks.from_atom[term_begin:term_end])
            felt = felt * blocks.strength[term_begin:term_end]
            here = cell[cell_begin:cell_end] - begin * n_kept
            where = cell_atom[cell_begin:cell_end]
            on_atom.scatter_add_(0, to, felt)
            field = torch.zeros(
                (end - begin) * n_kept, dtype=own.dtype, device=to.device
            )
            field = field.scatter_add(0, here, on_atom.index_select(0, where))
            on_atom.index_fill_(0, to, 0.0)
            total = own[begin:end] + field.view(-1, n_kept)
            drawn = torch.softmax(-total / temperature, 1)
            drawn = drawn.masked_fill(empty[begin:end], 0.0)
            fresh = draw_choice(drawn, uniform[begin:end, sweep + 1])
            choice[begin:end] = fresh
            taken = torch.zeros_like(field)
            taken[row[: end - begin] + fresh] = 1.0
            occupied.index_fill_(0, where, 0.0)
            occupied.scatter_add_(0, where, taken.index_select(0, here))
            begin, term_begin, cell_begin = end, term_end, cell_end
    return choice.index_select(0, blocks.rank)
