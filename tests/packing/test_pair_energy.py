"""Energies of atom pairs: definition, tabulation, fusion and fit."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from openmm_backmap.builder.side_chain import build_side_chain_rows
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.packing import constants
from openmm_backmap.packing.atoms import list_backbone, list_side_chains
from openmm_backmap.packing.contacts import find_surroundings
from openmm_backmap.packing.interactions import (
    compute_backbone_energy,
    compute_side_chain_terms,
)
from openmm_backmap.packing.pair_energy import (
    EnergyWeights,
    compute_atom_energy,
    make_empty_pair_energy,
    make_energy_grid,
    read_energy_grid,
)
from openmm_backmap.packing.tables import make_packing_tables
from openmm_backmap.residues.atoms import ATOM_SLOT, VDW_RADIUS_ANGSTROM
from openmm_backmap.residues.names import RESIDUE_NAMES

TABLES, BUILDER = make_packing_tables(), load_builder_tables()


def code_of(residue: str, atom: str) -> int:
    kind = RESIDUE_NAMES.index(residue)
    return 14 * kind + ATOM_SLOT[kind][atom]


def clash(first: tuple[str, str], second: tuple[str, str], distance: float) -> float:
    weights = EnergyWeights(make_empty_pair_energy(), 0.0, 100.0, 9.0)
    a, b = torch.tensor([code_of(*first)]), torch.tensor([code_of(*second)])
    return float(compute_atom_energy(a, b, torch.tensor([distance]), TABLES, weights))


@pytest.mark.parametrize(
    ("first", "second", "tolerance"),
    [
        (("LEU", "CD1"), ("PHE", "CZ"), 0.4),
        (("LYS", "NZ"), ("PHE", "CZ"), 0.4),
        (("LYS", "NZ"), ("ASP", "OD1"), 0.6),
        (("CYS", "SG"), ("SER", "OG"), 0.6),
    ],
)
def test_overlaps_cost_beyond_their_tolerance(
    first: tuple[str, str], second: tuple[str, str], tolerance: float
) -> None:
    radii = [VDW_RADIUS_ANGSTROM[atom[0]] for _, atom in (first, second)]
    contact = 0.1 * (sum(radii) - tolerance)
    assert clash(first, second, contact + 0.001) == 0.0
    assert clash(first, second, contact - 0.02) == pytest.approx(2.0, abs=1e-3)
    assert clash(first, second, 0.05) == 9.0


def test_disulfide_distances_are_rewarded() -> None:
    sulfur = ("CYS", "SG")
    assert clash(sulfur, sulfur, 0.204) < 0
    assert clash(sulfur, sulfur, 0.10) > 0
    assert clash(sulfur, ("MET", "SD"), 0.204) > 0


def test_tabulated_energies_follow_the_definition(rng: np.random.Generator) -> None:
    table = torch.tensor(rng.normal(size=(26, 26, 16))).float()
    weights = EnergyWeights(table + table.transpose(0, 1), 0.5, 80.0, 10.0)
    grid = make_energy_grid(TABLES, weights)
    # middles of the steps, where both must agree
    step = torch.tensor(rng.integers(0, 104, size=500))
    distance = (step + 0.5) * constants.GRID_STEP
    kind_a = torch.tensor(rng.integers(0, 26, size=500))
    kind_b = torch.tensor(rng.integers(0, 26, size=500))
    expected = compute_atom_energy(
        TABLES.type_code[kind_a], TABLES.type_code[kind_b], distance, TABLES, weights
    )
    found = read_energy_grid(grid, kind_a, kind_b, distance)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_sums_over_blocks_are_those_over_all_atom_pairs(
    packing_case: Callable[..., SimpleNamespace], rng: np.random.Generator
) -> None:
    case = packing_case()
    n = len(case.residue_type)
    table = torch.tensor(rng.normal(size=(26, 26, 16))).float()
    weights = EnergyWeights(table + table.transpose(0, 1), 0.5, 80.0, 10.0)
    grid = make_energy_grid(TABLES, weights)
    chi = case.native_chi[0]
    built = build_side_chain_rows(case.backbone[0], case.residue_type, chi, BUILDER)
    points = list_backbone(case.backbone, TABLES.atom_mask[:, 4][case.residue_type])
    near = find_surroundings(
        case.neighbor_index,
        case.backbone[:, :, 1],
        case.box,
        case.residue_type,
        case.chain_index,
        torch.full((n,), 0.75),
        constants.PAIR_CUTOFF,
    )
    atoms = list_side_chains(built, case.residue_type, TABLES)
    on_atom = compute_backbone_energy(atoms, points, near, TABLES, grid)
    terms = compute_side_chain_terms(atoms, near, TABLES, grid)
    # every pair of heavy atoms, by brute force
    where = torch.nonzero(TABLES.atom_mask[case.residue_type])
    residue, slot = where[:, 0], where[:, 1]
    xyz = built[residue, slot]
    kind = TABLES.atom_type[case.residue_type[residue], slot]
    i, j = torch.triu_indices(len(where), len(where), offset=1)
    distance = (xyz[i] - xyz[j]).norm(dim=1)
    is_side = slot >= 5
    inside = residue[i] == residue[j]
    excluded = TABLES.excluded_inside[case.residue_type[residue[i]], slot[i], slot[j]]
    one_side = is_side[i] ^ is_side[j]
    keep = one_side & ~(inside & excluded) & (distance < constants.PAIR_CUTOFF)
    # the later residue of a bonded pair may be a proline
    before = (residue[j] - residue[i] == 1) & is_side[j]
    ring = TABLES.excluded_before[
        case.residue_type[residue[j]], slot[j], slot[i].clamp(max=4)
    ]
    keep &= ~(before & ring & ~is_side[i])
    energy = read_energy_grid(grid, kind[i], kind[j], distance)
    assert float(on_atom.sum()) == pytest.approx(float(energy[keep].sum()), rel=1e-4)
    both = is_side[i] & is_side[j] & ~inside & (distance < constants.PAIR_CUTOFF)
    strong = both & (energy.abs() > constants.LEAST_ENERGY)
    assert len(terms.energy) == int(strong.sum())
    assert float(terms.energy.sum()) == pytest.approx(
        float(energy[strong].sum()), rel=1e-4
    )
