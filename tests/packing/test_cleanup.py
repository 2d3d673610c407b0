"""Torsion gradients, repair and rings."""

from collections.abc import Callable
from types import SimpleNamespace

import torch

from openmm_backmap.builder.side_chain import build_side_chain_rows
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.packing.atoms import list_backbone
from openmm_backmap.packing.cleanup import (
    clean_up,
    compute_torques,
    list_atom_pairs,
    list_levers,
)
from openmm_backmap.packing.contacts import Surroundings, find_surroundings
from openmm_backmap.packing.repair import find_bad_residues, repair_side_chains
from openmm_backmap.packing.rings import find_ring_penetrations
from openmm_backmap.packing.tables import make_packing_tables
from openmm_backmap.residues.names import RESIDUE_NAMES

TABLES, BUILDER = make_packing_tables(), load_builder_tables()


def prepare(case: SimpleNamespace) -> tuple[torch.Tensor, object, Surroundings]:
    has_beta = TABLES.atom_mask[:, 4][case.residue_type]
    points = list_backbone(case.backbone, has_beta)
    near = find_surroundings(
        case.neighbor_index,
        case.backbone[:, :, 1],
        case.box,
        case.residue_type,
        case.chain_index,
        torch.full((case.backbone[:, :, 0, 0].numel(),), 0.75),
        0.4,
    )
    return case.backbone.reshape(-1, 5, 3), points, near


def overlap_energy(positions: torch.Tensor, pairs: object) -> torch.Tensor:
    """Half the squared overlaps in square angstrom, written out."""
    flat = positions.reshape(-1, 3)
    gap = flat[pairs.a] - flat[pairs.b] - pairs.image.t()
    overlap = 10 * (pairs.contact - gap.norm(dim=1))
    return 0.5 * overlap.clamp(min=0).square().sum()


def test_torques_are_the_gradient_of_the_overlap_energy(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    backbone, points, near = prepare(case)
    chi = case.chi[0, :, 1].clone().requires_grad_()  # turned: many overlaps
    built = build_side_chain_rows(backbone, near.residue_type, chi, BUILDER)
    pairs = list_atom_pairs(built.detach(), points, near, TABLES, 0.005)
    energy = overlap_energy(built, pairs)
    (gradient,) = torch.autograd.grad(energy, chi)
    turns = TABLES.chi_moves[case.residue_type].any(-1)
    turns = turns & ~TABLES.is_proline[case.residue_type].unsqueeze(1)
    rows = torch.arange(len(near.residue_type))
    levers = list_levers(rows, near.residue_type, TABLES)
    torque, stiffness = compute_torques(built.detach(), pairs, levers)
    assert energy > 1.0
    torch.testing.assert_close(-torque[turns], gradient[turns], atol=2e-3, rtol=2e-3)
    assert (stiffness >= 0).all()


def test_clean_up_lowers_overlaps_and_stays_near(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    backbone, points, near = prepare(case)
    native = case.native_chi.reshape(-1, 4)
    generator = torch.Generator().manual_seed(3)
    start = native + 0.3 * torch.randn(native.shape, generator=generator)
    free = torch.zeros(len(start), dtype=torch.bool)
    chi, cleaned = clean_up(
        backbone, points, start, free, near, BUILDER, TABLES, 12, 0.1, 0.005
    )
    built = build_side_chain_rows(backbone, near.residue_type, start, BUILDER)
    pairs = list_atom_pairs(built, points, near, TABLES, 0.0)
    before, after = overlap_energy(built, pairs), overlap_energy(cleaned, pairs)
    assert after < 0.15 * before
    assert (chi - start).abs().max() < 1.0
    rebuilt = build_side_chain_rows(backbone, near.residue_type, chi, BUILDER)
    torch.testing.assert_close(rebuilt, cleaned)


def test_proline_is_not_turned(packing_case: Callable[..., SimpleNamespace]) -> None:
    case = packing_case()
    backbone, points, near = prepare(case)
    proline = case.residue_type == RESIDUE_NAMES.index("PRO")
    start = case.chi[0, :, 1]
    fixed = torch.zeros(len(start), dtype=torch.bool)
    chi, _ = clean_up(
        backbone, points, start, fixed, near, BUILDER, TABLES, 12, 0.1, 0.005
    )
    assert proline.any()
    assert torch.equal(chi[proline], start[proline])
    moved = (chi != start).any(1)
    fixed = moved.clone()
    chi, _ = clean_up(
        backbone, points, start, fixed, near, BUILDER, TABLES, 12, 0.1, 0.005
    )
    assert moved.any()
    assert torch.equal(chi[fixed], start[fixed])


def test_repair_frees_a_side_chain_put_into_another(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    backbone, points, near = prepare(case)
    types = near.residue_type
    native = case.native_chi.reshape(-1, 4)
    built = build_side_chain_rows(backbone, types, native, BUILDER)
    none = find_bad_residues(built, points, near, TABLES, 0.05)
    # turn large buried side chains one by one into what surrounds them
    tried = 0
    for residue in torch.nonzero(TABLES.n_chi[types] >= 2).flatten().tolist():
        if bool(TABLES.is_proline[types[residue]]):
            continue
        wrong = native.clone()
        wrong[residue] = case.chi[0, residue, 1]
        built = build_side_chain_rows(backbone, types, wrong, BUILDER)
        bad = find_bad_residues(built, points, near, TABLES, 0.05)
        if not bool(bad[residue]) or bool(none[residue]):
            continue
        tried += 1
        chi, repaired = repair_side_chains(
            wrong,
            built,
            backbone,
            points,
            near,
            case.chi,
            case.log_p,
            torch.zeros(len(types), dtype=torch.bool),
            BUILDER,
            TABLES,
            6,
            0.05,
        )
        after = find_bad_residues(repaired, points, near, TABLES, 0.05)
        assert int(after.sum()) <= int(none.sum())
        if tried == 5:
            break
    assert tried == 5


def thread_ring(offset: float) -> tuple[torch.Tensor, Surroundings]:
    """A phenylalanine ring, and the CB-CG bond of a leucine through it."""
    positions = torch.zeros(2, 14, 3)
    angle = torch.arange(6) * torch.pi / 3
    ring = 0.139 * torch.stack([angle.cos(), angle.sin(), 0 * angle], 1)
    for k, slot in enumerate((5, 6, 8, 10, 9, 7)):  # CG CD1 CE1 CZ CE2 CD2
        positions[0, slot] = ring[k]
    positions[0, 4] = torch.tensor([0.29, 0.0, 0.0])
    positions[0, :4] = torch.tensor([0.43, 0.0, 0.0])
    positions[1, :4] = torch.tensor([offset, 0.0, -0.3])
    positions[1, 4] = torch.tensor([offset, 0.01, -0.08])
    positions[1, 5] = torch.tensor([offset, 0.02, 0.07])
    positions[1, 6:8] = torch.tensor([offset, 0.0, 0.2])
    near = Surroundings(
        residue_type=torch.tensor(
            [RESIDUE_NAMES.index("PHE"), RESIDUE_NAMES.index("LEU")]
        ),
        follows=torch.tensor([False, False]),
        first=torch.tensor([0]),
        second=torch.tensor([1]),
        shift=torch.zeros(3, 1),
        n_residues=2,
    )
    return positions, near


def test_a_bond_through_a_ring_is_found() -> None:
    ring, bond = find_ring_penetrations(*thread_ring(0.05), TABLES)
    assert ring.tolist() == [0] and bond.tolist() == [1]


def test_a_bond_beside_a_ring_is_not() -> None:
    ring, _ = find_ring_penetrations(*thread_ring(0.17), TABLES)
    assert ring.numel() == 0


def test_a_ring_is_found_through_the_periodic_box() -> None:
    positions, near = thread_ring(0.05)
    positions[1] += torch.tensor([3.0, 0.0, 0.0])
    shift = torch.tensor([[-3.0], [0.0], [0.0]])
    near = near._replace(shift=shift)
    ring, _ = find_ring_penetrations(positions, near, TABLES)
    assert ring.tolist() == [0]


def test_a_native_structure_has_no_ring_penetrations(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    _, _, near = prepare(case)
    ring, _ = find_ring_penetrations(case.native[0], near, TABLES)
    assert ring.numel() == 0
