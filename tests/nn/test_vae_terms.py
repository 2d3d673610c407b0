"""The terms of the loss against definitions, slow twins and natives."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from openmm_backmap.builder.extract import torsions_from_atoms
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.nn.vae_atoms import build_atoms, find_known_atoms
from openmm_backmap.nn.vae_terms import (
    compute_kl,
    compute_local_term,
    compute_pair_terms,
    compute_xyz_term,
    count_free_bits,
    ramp,
)
from openmm_backmap.packing.tables import make_packing_tables

N = 50


@pytest.fixture
def native(protein: SimpleNamespace) -> SimpleNamespace:
    """Fifty residues of a real protein, its torsions, and atoms built of them."""
    atoms = torch.from_numpy(protein.positions[:1, :N])
    mask = torch.from_numpy(protein.mask[:N])
    kind = torch.from_numpy(protein.residue_type[:N])
    segment = torch.zeros(N, dtype=torch.long)
    found = torsions_from_atoms(atoms, mask, kind, segment)
    torsion = torch.cat(
        (found.alpha[..., None], found.twist[..., None], found.end_torsion, found.chi),
        dim=-1,
    )
    known = torch.cat(
        (
            found.unit_mask[..., None], found.unit_mask[..., None],
            found.end_mask, found.chi_mask,
        ),
        dim=-1,
    )  # fmt: skip
    torsion = torch.nan_to_num(torsion)
    tables = load_builder_tables()
    ca = atoms[:, :, 1]
    return SimpleNamespace(
        atoms=atoms,
        kind=kind,
        segment=segment,
        torsion=torsion,
        known=known,
        is_cis=found.is_cis,
        ca=ca,
        built=build_atoms(ca, torsion, found.is_cis, kind, segment, tables),
        has_atom=find_known_atoms(known, kind, segment, make_packing_tables()),
        near=torch.from_numpy(find_neighbors(ca.numpy(), 6, 2.0)),
    )


def test_kl_is_that_of_torch() -> None:
    torch.manual_seed(0)
    a, b, c, d = (torch.randn(20, 7) for _ in range(4))
    expected = kl_divergence(
        Normal(a, torch.exp(0.5 * b)), Normal(c, torch.exp(0.5 * d))
    )
    assert torch.allclose(compute_kl(a, b, c, d), expected, atol=1e-4, rtol=1e-4)


def test_free_bits_cost_nothing_below_and_all_above() -> None:
    kl = torch.tensor([[0.1, 1.0], [0.3, 3.0], [9.0, 9.0]], requires_grad=True)
    counts = torch.tensor([1.0, 1.0, 0.0])
    total = count_free_bits(kl, counts, 0.5)
    assert float(total.detach()) == pytest.approx(0.5 + 2.0)
    total.backward()
    assert torch.equal(kl.grad[:, 0], torch.zeros(3))
    assert torch.allclose(kl.grad[:, 1], torch.tensor([0.5, 0.5, 0.0]))


def test_a_ramp_rises_from_0_to_1() -> None:
    values = [float(ramp(torch.tensor(p), 0.2, 0.6)) for p in (0.0, 0.2, 0.4, 0.6, 1.0)]
    assert values == pytest.approx([0.0, 0.0, 0.5, 1.0, 1.0])


def test_known_atoms_are_built_where_the_structure_has_them(
    native: SimpleNamespace,
) -> None:
    error = 10.0 * (native.built - native.atoms).norm(dim=-1)[native.has_atom]
    # ideal bonds and angles: a few tenths at the far ends of side chains
    assert float(error.median()) < 0.15
    assert float(error.square().mean().sqrt()) < 0.4
    assert float(native.has_atom.sum()) > 0.9 * float(
        make_packing_tables().atom_mask[native.kind].sum()
    )


def test_an_unknown_chi_hides_what_it_moves(native: SimpleNamespace) -> None:
    row = int(torch.nonzero(native.kind == 11)[0])  # a lysine
    known = native.known.clone()
    known[0, row, 6] = False  # chi2
    atoms = find_known_atoms(known, native.kind, native.segment, make_packing_tables())
    assert atoms[0, row].tolist()[:9] == [True] * 6 + [False] * 3


def test_native_atoms_cost_nothing(native: SimpleNamespace) -> None:
    built, has_atom = native.built, native.has_atom
    assert float(compute_xyz_term(built, built, has_atom)) == 0.0
    assert float(compute_local_term(built, built, has_atom, native.segment)) == 0.0
    distance, hinge = compute_pair_terms(
        built,
        built,
        has_atom,
        native.kind,
        native.segment,
        native.near,
        torch.arange(N),
        make_packing_tables(),
    )
    assert float(distance) == 0.0
    # square angstrom a residue; a crystal structure nearly has none
    assert float(hinge) < 0.1


def test_terms_are_those_of_slow_twins(native: SimpleNamespace) -> None:
    torch.manual_seed(1)
    tables = load_builder_tables()
    torsion = native.torsion + 0.3 * torch.randn_like(native.torsion)
    moved = build_atoms(
        native.ca, torsion, native.is_cis, native.kind, native.segment, tables
    )
    rows = torch.tensor([3, 17, 40])
    distance, hinge = compute_pair_terms(
        moved,
        native.built,
        native.has_atom,
        native.kind,
        native.segment,
        native.near,
        rows,
        make_packing_tables(),
    )
    packing = make_packing_tables()
    x, y = 10.0 * moved[0].double().numpy(), 10.0 * native.built[0].double().numpy()
    kind, seen = native.kind.numpy(), native.has_atom[0].numpy()
    total, errors = 0.0, []
    for i in rows.tolist():
        for j in native.near[0, i].tolist():
            if j < 0 or abs(i - j) <= 1:
                continue
            for a in range(14):
                for b in range(14):
                    if not packing.atom_mask[kind[i], a]:
                        continue
                    if not packing.atom_mask[kind[j], b]:
                        continue
                    d, goal = np.linalg.norm(x[i, a] - x[j, b]), 0.0
                    polar = float(packing.atom_polarity[kind[i], a])
                    polar *= float(packing.atom_polarity[kind[j], b])
                    least = float(packing.atom_radius[kind[i], a])
                    least += float(packing.atom_radius[kind[j], b]) - 0.02 * polar
                    total += max(0.0, 10.0 * least - d) ** 2
                    goal = np.linalg.norm(y[i, a] - y[j, b])
                    if seen[i, a] and seen[j, b] and goal < 5.0:
                        e = (d - goal) ** 2
                        errors.append(e / (1.0 + e / 4.0))
    assert float(hinge) == pytest.approx(total / 3, rel=1e-3, abs=1e-6)
    assert float(distance) == pytest.approx(np.mean(errors), rel=1e-3)
    delta = (x - y)[:, [0, 2, 3, 4, *range(5, 14)]]
    square = (delta**2).sum(-1)[seen[:, [0, 2, 3, 4, *range(5, 14)]]]
    expected = np.mean(square / (1.0 + square / 4.0))
    found = compute_xyz_term(moved, native.built, native.has_atom)
    assert float(found) == pytest.approx(expected, rel=1e-3)


def test_the_physical_term_pushes_atoms_apart(native: SimpleNamespace) -> None:
    torsion = native.torsion.clone()
    torsion[..., 5] += 2.0
    torsion.requires_grad_(True)
    arguments = (native.is_cis, native.kind, native.segment, load_builder_tables())
    packing = make_packing_tables()

    def score(angles: torch.Tensor) -> torch.Tensor:
        built = build_atoms(native.ca, angles, *arguments)
        return compute_pair_terms(
            built,
            native.built,
            native.has_atom,
            native.kind,
            native.segment,
            native.near,
            torch.arange(N),
            packing,
        )[1]

    hinge = score(torsion)
    (gradient,) = torch.autograd.grad(hinge, torsion)
    assert bool(torch.isfinite(gradient).all())
    step = 0.02 * gradient / gradient.norm()
    assert float(score(torsion - step).detach()) < float(hinge.detach())
