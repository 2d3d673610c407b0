"""Self-consistent mean field over candidates: the mode and its marginals."""

import torch

from openmm_backmap.packing.atoms import CandidateAtoms
from openmm_backmap.packing.interactions import InteractionTerms

__all__ = [
    "compute_candidate_field",
    "compute_occupancy",
    "solve_mean_field",
    "sum_over_atoms",
]


def compute_candidate_field(
    occupancy: torch.Tensor,
    terms: InteractionTerms,
    atoms: CandidateAtoms,
    n_candidates: int,
) -> torch.Tensor:
    """Compute the energy each candidate feels from occupied atoms of others.

    Parameters
    ----------
    occupancy : torch.Tensor, shape (N,)
        Probability of each atom to be there.
    terms : InteractionTerms
        Energies between atoms.
    atoms : CandidateAtoms
        Gives the atoms of each candidate.
    n_candidates : int
        Frames x residues x candidates.

    Returns
    -------
    torch.Tensor, shape (n_candidates,)
        In nats.
    """
    field = torch.zeros_like(occupancy)
    felt = terms.energy * occupancy.index_select(0, terms.b)
    field = field.scatter_add(0, terms.a, felt)
    felt = terms.energy * occupancy.index_select(0, terms.a)
    field = field.scatter_add(0, terms.b, felt)
    return sum_over_atoms(field, atoms, n_candidates)


def sum_over_atoms(
    value: torch.Tensor, atoms: CandidateAtoms, n_candidates: int
) -> torch.Tensor:
    """Sum a value over the atoms of each candidate.

    Parameters
    ----------
    value : torch.Tensor, shape (N,)
        Of each atom.
    atoms : CandidateAtoms
        Gives the atoms of each candidate.
    n_candidates : int
        Frames x residues x candidates.

    Returns
    -------
    torch.Tensor, shape (n_candidates,)
        Zero where a candidate has no atoms.
    """
    total = torch.zeros(n_candidates, dtype=value.dtype, device=value.device)
    picked = value.index_select(0, atoms.cell_atom)
    return total.scatter_add(0, atoms.cell_candidate, picked)


def compute_occupancy(probability: torch.Tensor, atoms: CandidateAtoms) -> torch.Tensor:
    """Sum the probabilities of the candidates that share each atom.

    Parameters
    ----------
    probability : torch.Tensor, shape (n_candidates,)
        Of each candidate.
    atoms : CandidateAtoms
        Gives the atoms of each candidate.

    Returns
    -------
    torch.Tensor, shape (N,)
        Of each atom.
    """
    zero = torch.zeros(
        atoms.residue.numel(), dtype=probability.dtype, device=probability.device
    )
    picked = probability.index_select(0, atoms.cell_candidate)
    return zero.scatter_add(0, atoms.cell_atom, picked)


def solve_mean_field(
    energy: torch.Tensor,
    terms: InteractionTerms,
    atoms: CandidateAtoms,
    n_sweeps: int,
    damping: float,
) -> torch.Tensor:
    """Iterate the marginals of all candidates in the mean field of the others.

    Damped Jacobi sweeps, a fixed number of them: the result of a frame does not
    depend on the frames beside it. Koehl and Delarue, J. Mol. Biol. 239, 249
    (1994).

    Parameters
    ----------
    energy : torch.Tensor, shape (G, C)
        Own energy of the candidates of G residues in nats; inf for none.
    terms : InteractionTerms
        Energies between side-chain atoms.
    atoms : CandidateAtoms
        Gives the atoms of each candidate.
    n_sweeps : int
        Number of sweeps.
    damping : float
        Share of the old marginals that is kept in a sweep.

    Returns
    -------
    torch.Tensor, shape (G, C)
        Marginal probabilities; zero where there is no candidate.
    """
    empty = torch.isinf(energy)
    own = energy.masked_fill(empty, 1e9)
    n_candidates = energy.numel()
    probability = torch.softmax(-own, 1).masked_fill(empty, 0.0)
    for _ in range(n_sweeps):
        occupancy = compute_occupancy(probability.reshape(-1), atoms)
        field = compute_candidate_field(occupancy, terms, atoms, n_candidates)
        fresh = torch.softmax(-(own + field.view_as(own)), 1)
        fresh = fresh.masked_fill(empty, 0.0)
        probability = damping * probability + (1.0 - damping) * fresh
    return probability
