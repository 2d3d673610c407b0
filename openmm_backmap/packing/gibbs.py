"""Coloured Gibbs sampling over candidates, driven by noise that comes in."""

import torch

from openmm_backmap.packing.atoms import CandidateAtoms
from openmm_backmap.packing.mean_field import InteractionTerms

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
    if n_sweeps < 1 or terms.a.numel() == 0:
        return choice
    residue_a = atoms.residue.index_select(0, terms.a)
    residue_b = atoms.residue.index_select(0, terms.b)
    # a fixed shuffle of the residue numbers, the same in every frame
    number = torch.arange(n_residues, device=energy.device)
    mixed = torch.remainder(number * 7919 + 12345, 1048573) * 2097152 + number + 1
    priority = mixed.repeat(energy.size(0) // n_residues)
    color = color_residues(residue_a, residue_b, priority)
    n_colors = int(color.max()) + 1
    # both directions of every term, by the colour of the residue that feels it
    to_atom = torch.cat([terms.a, terms.b])
    from_atom = torch.cat([terms.b, terms.a])
    strength = torch.cat([terms.energy, terms.energy])
    term_color = color.index_select(0, torch.cat([residue_a, residue_b]))
    cell_residue = torch.div(atoms.cell_candidate, n_kept, rounding_mode="floor")
    cell_color = color.index_select(0, cell_residue)
    base = torch.arange(n_groups, device=energy.device) * n_kept
    n_atoms = atoms.residue.numel()
    occupied = torch.zeros(n_atoms, dtype=energy.dtype, device=energy.device)
    is_chosen = torch.zeros(energy.numel(), dtype=energy.dtype, device=energy.device)
    is_chosen[base + choice] = 1.0
    picked = is_chosen.index_select(0, atoms.cell_candidate)
    occupied = occupied.scatter_add(0, atoms.cell_atom, picked)
    members: list[torch.Tensor] = []
    term_rows: list[torch.Tensor] = []
    cell_rows: list[torch.Tensor] = []
    for k in range(n_colors):
        members.append(torch.nonzero(color == k).flatten())
        term_rows.append(torch.nonzero(term_color == k).flatten())
        cell_rows.append(torch.nonzero(cell_color == k).flatten())
    for sweep in range(n_sweeps):
        for k in range(n_colors):
            rows, cells, group = term_rows[k], cell_rows[k], members[k]
            felt = strength.index_select(0, rows)
            felt = felt * occupied.index_select(0, from_atom.index_select(0, rows))
            on_atom = torch.zeros_like(occupied)
            on_atom = on_atom.scatter_add(0, to_atom.index_select(0, rows), felt)
            cell_atom = atoms.cell_atom.index_select(0, cells)
            cell_candidate = atoms.cell_candidate.index_select(0, cells)
            field = torch.zeros_like(is_chosen)
            field = field.scatter_add(
                0, cell_candidate, on_atom.index_select(0, cell_atom)
            )
            total = own.index_select(0, group)
            total = total + field.view(n_groups, n_kept).index_select(0, group)
            drawn = torch.softmax(-total / temperature, 1)
            drawn = drawn.masked_fill(empty.index_select(0, group), 0.0)
            fresh = draw_choice(drawn, uniform[:, sweep + 1].index_select(0, group))
            choice = choice.index_copy(0, group, fresh)
            # occupancy of the atoms of this colour anew
            is_chosen = is_chosen.view(n_groups, n_kept).index_fill(0, group, 0.0)
            is_chosen = is_chosen.reshape(-1)
            is_chosen = is_chosen.index_fill(
                0, base.index_select(0, group) + fresh, 1.0
            )
            occupied = occupied.index_fill(0, cell_atom, 0.0)
            occupied = occupied.scatter_add(
                0, cell_atom, is_chosen.index_select(0, cell_candidate)
            )
    return choice
