"""Mean field and Gibbs sampling against tables and exact enumeration."""

import itertools

import numpy as np
import pytest
import torch

from openmm_backmap.packing.atoms import BlockedPoints, CandidateAtoms
from openmm_backmap.packing.gibbs import color_residues, draw_choice, sample_gibbs
from openmm_backmap.packing.interactions import InteractionTerms
from openmm_backmap.packing.mean_field import solve_mean_field


def make_system(
    rng: np.random.Generator, n_residues: int, n_candidates: int, n_frames: int
) -> tuple[torch.Tensor, torch.Tensor, InteractionTerms, CandidateAtoms]:
    """Two atoms a candidate, the first one shared by candidates 0 and 1.

    Returns own energies (G, C), the dense table (R, C, R, C) of one frame, and
    the same as terms between atoms for all frames.
    """
    shape = (n_residues, n_candidates)
    own = rng.uniform(0, 1.5, size=shape).astype(np.float32)
    atoms_of, residue = {}, []
    for r, c in itertools.product(range(n_residues), range(n_candidates)):
        first = atoms_of[r, 0][0] if c == 1 else len(residue)
        if c != 1:
            residue.append(r)
        atoms_of[r, c] = (first, len(residue))
        residue.append(r)
    n_atoms = len(residue)
    a, b = zip(
        *[
            (i, j)
            for i, j in itertools.combinations(range(n_atoms), 2)
            if residue[i] != residue[j] and rng.random() < 0.5
        ],
        strict=True,
    )
    energy = rng.normal(0, 0.8, size=len(a)).astype(np.float32)
    dense = np.zeros(shape + shape)
    lookup = dict(zip(zip(a, b, strict=True), energy, strict=True))
    for (r, c), (s, d) in itertools.product(atoms_of, atoms_of):
        for i, j in itertools.product(atoms_of[r, c], atoms_of[s, d]):
            dense[r, c, s, d] += lookup.get((min(i, j), max(i, j)), 0.0)
    cells = [
        (f * n_residues * n_candidates + r * n_candidates + c, f * n_atoms + i)
        for f in range(n_frames)
        for (r, c), both in atoms_of.items()
        for i in both
    ]
    frames = np.arange(n_frames)[:, None]
    zero = torch.zeros(0)
    points = BlockedPoints(*[zero] * 9)
    group = torch.tensor((np.array(residue) + frames * n_residues).ravel())
    atoms = CandidateAtoms(
        points=points,
        residue=group,
        code=torch.zeros_like(group),
        source=torch.zeros_like(group),
        cell_candidate=torch.tensor([x for x, _ in cells]),
        cell_atom=torch.tensor([x for _, x in cells]),
    )
    terms = InteractionTerms(
        a=torch.tensor((np.array(a) + frames * n_atoms).ravel()),
        b=torch.tensor((np.array(b) + frames * n_atoms).ravel()),
        energy=torch.tensor(np.tile(energy, n_frames)),
    )
    return torch.tensor(own).repeat(n_frames, 1), torch.tensor(dense), terms, atoms


def test_mean_field_equals_its_dense_form(rng: np.random.Generator) -> None:
    own, dense, terms, atoms = make_system(rng, 5, 3, 1)
    found = solve_mean_field(own, terms, atoms, 9, 0.5)
    p = torch.softmax(-own.double(), 1)
    for _ in range(9):
        field = torch.einsum("rcsd,sd->rc", dense, p)
        p = 0.5 * p + 0.5 * torch.softmax(-(own.double() + field), 1)
    torch.testing.assert_close(found.double(), p, atol=1e-5, rtol=1e-4)


def test_missing_candidates_get_no_probability(rng: np.random.Generator) -> None:
    own, _, terms, atoms = make_system(rng, 4, 3, 1)
    own[1, 2] = float("inf")
    own[3] = float("inf")
    found = solve_mean_field(own, terms, atoms, 5, 0.5)
    assert found[1, 2] == 0 and found[3].abs().sum() == 0
    torch.testing.assert_close(found[:3].sum(1), torch.ones(3))


def test_gibbs_samples_the_boltzmann_distribution(rng: np.random.Generator) -> None:
    n_frames, n_residues, n_candidates = 6000, 3, 3
    own, dense, terms, atoms = make_system(rng, n_residues, n_candidates, n_frames)
    marginal = torch.softmax(-own, 1)
    noise = torch.tensor(rng.normal(size=(n_frames, n_residues, 13))).float()
    choice = sample_gibbs(own, marginal, terms, atoms, noise, 1.0)
    states = list(itertools.product(range(n_candidates), repeat=n_residues))
    energy = []
    for state in states:
        e = sum(float(own[r, c]) for r, c in enumerate(state))
        for (r, c), (s, d) in itertools.combinations(enumerate(state), 2):
            e += float(dense[r, c, s, d])
        energy.append(e)
    exact = np.exp(-np.array(energy))
    exact /= exact.sum()
    code = choice.view(n_frames, n_residues).numpy() @ [9, 3, 1]
    drawn = np.bincount(code, minlength=27) / n_frames
    # statistical error of a frequency is at most 0.5 / sqrt(6000) = 0.0065
    assert np.abs(drawn - exact).max() < 0.025
    assert np.abs(drawn - exact).sum() / 2 < 0.05


def test_interacting_residues_have_different_colors(rng: np.random.Generator) -> None:
    pairs = torch.tensor(rng.integers(0, 40, size=(150, 2)))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    priority = torch.tensor(rng.permutation(40) + 1)
    color = color_residues(pairs[:, 0], pairs[:, 1], priority)
    assert (color >= 0).all()
    assert (color[pairs[:, 0]] != color[pairs[:, 1]]).all()


@pytest.mark.parametrize(("uniform", "expected"), [(0.0, 1), (0.49, 1), (0.51, 3)])
def test_draws_never_take_a_candidate_of_no_probability(
    uniform: float, expected: int
) -> None:
    probability = torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]])
    assert int(draw_choice(probability, torch.tensor([uniform]))) == expected
    assert int(draw_choice(probability, torch.tensor([1.0]))) == 3
