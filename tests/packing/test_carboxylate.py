"""Last residues turn to where both of their oxygens have room, or stay."""

from collections.abc import Callable
from types import SimpleNamespace

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import place_terminal_oxygen
from openmm_backmap.builder.side_chain import build_side_chain_rows
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.packing.carboxylate import turn_carboxylates
from openmm_backmap.packing.tables import make_packing_tables


def turn(case: SimpleNamespace, positions: Tensor) -> Tensor:
    """Turn without a box."""
    return turn_carboxylates(
        positions,
        case.residue_type,
        case.chain_index,
        case.neighbor_index[: len(positions)],
        torch.zeros(*case.neighbor_index[: len(positions)].shape, 3),
        make_packing_tables(),
    )


def find_oxygen_and_neighbor(case: SimpleNamespace) -> tuple[Tensor, int]:
    """OXT of the last residue, and a residue near to it but not in the chain."""
    oxt = place_terminal_oxygen(case.native, case.chain_index)[0, -1]
    near = [k for k in case.neighbor_index[0, -1].tolist() if k >= 0]
    return oxt, next(k for k in near if k < len(case.residue_type) - 6)


def nearest(case: SimpleNamespace, positions: Tensor) -> float:
    """Least distance (nm) of the last OXT from atoms of earlier residues."""
    oxt = place_terminal_oxygen(positions, case.chain_index)[0, -1]
    exists = make_packing_tables().atom_mask[case.residue_type].clone()
    exists[-2:] = False
    return float((positions[0][exists] - oxt).norm(dim=-1).min())


def test_an_oxygen_without_room_finds_some(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    before = case.native.clone()
    # all atoms of a neighbour come to lie on OXT
    oxt, other = find_oxygen_and_neighbor(case)
    before[0, other] = oxt + 0.02
    assert nearest(case, before) < 0.1
    after = turn(case, before)
    assert nearest(case, after) > 0.25
    assert torch.equal(after[:, :-1], before[:, :-1])
    assert torch.equal(after[0, -1, :2], before[0, -1, :2])
    # turns about N-CA and CA-C keep bonds and angles
    for a, b in ((0, 2), (1, 2), (2, 3), (1, 3), (2, 4), (1, 4), (0, 4)):
        was = (before[0, -1, a] - before[0, -1, b]).norm()
        assert torch.isclose((after[0, -1, a] - after[0, -1, b]).norm(), was, atol=1e-5)


def test_an_oxygen_that_one_atom_is_a_little_too_near_to_turns_away(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    """A carbon 0.255 nm from OXT: their hydrogens and oxygens would not fit."""
    case = packing_case()
    before = case.native.clone()
    oxt, other = find_oxygen_and_neighbor(case)
    # its CB comes along the line from C through OXT, its other atoms stand behind
    way = (oxt - before[0, -1, 2]) / (oxt - before[0, -1, 2]).norm()
    before[0, other] = oxt + 0.6 * way
    before[0, other, 4] = oxt + 0.255 * way
    assert nearest(case, before) < 0.256
    assert nearest(case, turn(case, before)) > 0.27


def test_what_has_room_stays_to_the_bit(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    assert torch.equal(turn(case, case.native), case.native)


def test_the_ring_of_a_last_proline_stays_in_its_plane(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    """A turn about N-CA would carry CD, which is bonded to N, along."""
    case = packing_case()
    proline = 14
    case.residue_type = case.residue_type.clone()
    case.residue_type[-1] = proline
    before = case.native.clone()
    builder = load_builder_tables()
    chi = torch.tensor([[0.4, -0.6, 0.0, 0.0]])
    last = before[:, -1, :5]
    ring = build_side_chain_rows(last, case.residue_type[-1:], chi, builder)
    before[:, -1] = ring
    oxt, other = find_oxygen_and_neighbor(case)
    before[0, other] = oxt + 0.02
    after = turn(case, before)
    assert nearest(case, after) > nearest(case, before)
    assert not torch.equal(after[0, -1, 3], before[0, -1, 3])
    # only O has moved, but for the rounding of a turn by nothing
    kept = [k for k in range(14) if k != 3]
    torch.testing.assert_close(
        after[0, -1, kept], before[0, -1, kept], atol=1e-5, rtol=0
    )
