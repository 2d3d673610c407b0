"""Severe overlaps give way where they are; all else stays to the bit."""

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from openmm_backmap.builder.side_chain import build_side_chain_rows
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.mapping.coarsen import compute_bead_weights
from openmm_backmap.metrics.bonds import compute_bond_fraction
from openmm_backmap.metrics.chirality import compute_wrong_hands
from openmm_backmap.metrics.clashes import CLASH_OVERLAP, find_overlaps
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.packing.relieve import ClashReliever
from openmm_backmap.packing.residue_pairs import ResiduePairs, list_near_residues
from openmm_backmap.residues.atoms import ATOM_SLOT
from openmm_backmap.residues.names import RESIDUE_NAMES


def build(case: SimpleNamespace, chi: Tensor) -> Tensor:
    """Atoms (F, R, 14, 3) of a case with ideal side chains."""
    frames, residues = case.backbone.shape[:2]
    built = build_side_chain_rows(
        case.backbone.reshape(-1, 5, 3),
        case.residue_type.repeat(frames),
        chi.expand(frames, -1, -1).reshape(-1, 4),
        load_builder_tables(),
    )
    return built.view(frames, residues, 14, 3)


def relieve(case: SimpleNamespace, positions: Tensor) -> Tensor:
    """Relieve without a box."""
    image = torch.zeros(*case.neighbor_index.shape, 3)
    image = image[: len(positions)]
    return ClashReliever().relieve(
        positions,
        case.residue_type,
        case.chain_index,
        case.neighbor_index[: len(positions)],
        image,
    )


def lay_out(case: SimpleNamespace) -> HeavyAtomLayout:
    """Layout of a case."""
    return HeavyAtomLayout.from_residues(
        case.residue_type.numpy(), case.chain_index.numpy()
    )


def find_severe(case: SimpleNamespace, positions: Tensor) -> list[np.ndarray]:
    """Severe overlaps of every frame."""
    return find_overlaps(positions.numpy(), lay_out(case), CLASH_OVERLAP)


def turn_into_others(case: SimpleNamespace) -> Tensor:
    """Native chi (1, R, 4) with three side chains turned into their neighbours."""
    chi, n_turned = case.native_chi.clone(), 0
    for k in torch.nonzero(case.chi_mask[0, :, 0]).flatten().tolist():
        trial = case.native_chi.clone()
        trial[0, k, 0] += 2.0
        n_severe = len(find_severe(case, build(case, trial)[:1])[0])
        if n_turned < 3 and 0 < n_severe < 4 and k % 3 == 0:
            chi[0, k, 0] += 2.0
            n_turned += 1
    return chi


def test_overlaps_give_way_and_the_rest_stays(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    before = build(case, turn_into_others(case))
    assert sum(map(len, find_severe(case, before))) >= 3
    after = relieve(case, before)
    assert sum(map(len, find_severe(case, after))) == 0
    moved = (after - before).norm(dim=-1)
    assert 0.01 < float(moved.max()) < 0.2
    still = moved[0].amax(1) == 0
    assert int(still.sum()) > 20
    layout = lay_out(case)
    assert (
        compute_bond_fraction(after.numpy(), layout, 0.1)[0]
        >= (compute_bond_fraction(before.numpy(), layout, 0.1)[0])
    )
    assert (
        compute_wrong_hands(after.numpy(), layout)[0]
        == (compute_wrong_hands(before.numpy(), layout)[0])
    )


def measure_off_plane(case: SimpleNamespace, positions: Tensor) -> np.ndarray:
    """Farthest atom (nm) from the best plane of each flat side chain that moved."""
    groups = {
        "PHE": "CB CG CD1 CD2 CE1 CE2 CZ", "TYR": "CB CG CD1 CD2 CE1 CE2 CZ OH",
        "TRP": "CB CG CD1 CD2 NE1 CE2 CE3 CZ2 CZ3 CH2", "HIS": "CB CG ND1 CD2 CE1 NE2",
        "ASN": "CB CG OD1 ND2", "ASP": "CB CG OD1 OD2", "ARG": "CD NE CZ NH1 NH2",
        "GLN": "CG CD OE1 NE2", "GLU": "CG CD OE1 OE2",
    }  # fmt: skip
    found = []
    for kind, atoms in zip(case.residue_type.tolist(), positions[0], strict=True):
        names = groups.get(RESIDUE_NAMES[kind], "").split()
        if names:
            points = atoms[[ATOM_SLOT[kind][name] for name in names]].double().numpy()
            points -= points.mean(axis=0)
            found.append(np.abs(points @ np.linalg.svd(points)[2][2]).max())
    return np.array(found)


def test_rings_and_planes_that_are_pushed_stay_flat(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    chi = case.native_chi.clone()
    # every third ring is turned into what is around it
    is_ring = torch.isin(case.residue_type, torch.tensor([8, 13, 17, 18]))
    chi[0, torch.nonzero(is_ring).flatten()[::3], 0] += 2.0
    before = build(case, chi)
    after = relieve(case, before)
    assert measure_off_plane(case, before).max() < 0.002
    assert (after - before).norm(dim=-1)[0, is_ring].max() > 0.02
    assert measure_off_plane(case, after).max() < 0.006


def test_frames_without_overlaps_are_left_alone(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case(2)
    case.backbone[1] = case.backbone[0]
    case.neighbor_index[1] = case.neighbor_index[0]
    clean = relieve(case, build(case, case.native_chi))
    assert sum(map(len, find_severe(case, clean))) == 0
    chi = case.native_chi.repeat(2, 1, 1)
    chi[1] = turn_into_others(case)[0]
    both = build(case, chi)
    both[0] = clean[0]
    after = relieve(case, both)
    assert torch.equal(after[0], both[0])
    assert not torch.equal(after[1], both[1])
    # and a frame does not depend on its batch
    alone = SimpleNamespace(**vars(case))
    alone.neighbor_index = case.neighbor_index[1:]
    assert torch.equal(relieve(alone, both[1:])[0], after[1])


def test_an_image_overlaps_as_its_residue_does(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    """A clash across the box is relieved as the same one inside."""
    case = packing_case()
    n = 30
    first = build(case, case.native_chi)[:, :n]
    # a copy of the chain whose CA 15 lies 0.4 nm from the first one's
    shift = torch.tensor([0.0, 0.0, 0.4])
    rows = torch.arange(n)
    types = case.residue_type[:n].repeat(2)
    chain = torch.cat((torch.zeros(n), torch.ones(n))).long()
    box = torch.tensor([9.0, 0.0, 0.0])
    near = torch.cat((rows + n, rows)).view(1, -1, 1)
    results = []
    for image in (torch.zeros(3), box):
        both = torch.cat((first, first + shift - image), 1)
        sign = torch.cat((torch.ones(n), -torch.ones(n))).view(1, -1, 1, 1)
        # each round makes ten times as much of the last digits of box and image
        moved = ClashReliever().relieve(
            both, types, chain, near, sign * image, n_rounds=2
        )
        assert not torch.equal(moved, both)
        results.append(
            moved + torch.cat((0 * rows, 0 * rows + 1)).view(1, -1, 1, 1) * image
        )
    assert torch.allclose(results[0], results[1], atol=2e-4)


def test_residues_without_neighbours_are_left_alone(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    positions = build(case, case.native_chi)
    case.neighbor_index = torch.full_like(case.neighbor_index, -1)
    assert torch.equal(relieve(case, positions), positions)


def test_a_proline_gives_way_to_the_residue_before_it(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    follows = torch.zeros_like(case.chain_index, dtype=torch.bool)
    follows[1:] = case.chain_index[1:] == case.chain_index[:-1]
    proline = int(torch.nonzero(follows & (case.residue_type == 14))[0])
    # turn the peptide before it about CA-CA: phi is no proline's any more
    backbone = case.backbone.clone()
    start, end = backbone[0, proline - 1, 1], backbone[0, proline, 1]
    axis = (end - start) / (end - start).norm()
    unit = [(proline - 1, 2), (proline - 1, 3), (proline, 0)]
    angle = torch.tensor(-1.2)
    for residue, slot in unit:
        arm = backbone[0, residue, slot] - start
        along = (arm * axis).sum() * axis
        across = torch.linalg.cross(axis, arm)
        turned = along + angle.cos() * (arm - along) + angle.sin() * across
        backbone[0, residue, slot] = start + turned
    case.backbone = backbone
    before = build(case, case.native_chi)
    shape = ClashReliever().shape
    lists = (case.residue_type, case.chain_index)
    assert shape.find_strained(before, *lists)[0, proline]
    after = relieve(case, before)
    assert not shape.find_strained(after, *lists).any()
    gap = (after[0, proline, 6] - after[0, proline - 1, 2]).norm()
    assert 0.235 < float(gap) < 0.27
    far = torch.arange(len(case.residue_type)) - proline
    assert int((after == before)[0].flatten(1).all(1)[far.abs() > 20].sum()) > 20


def test_native_prolines_are_not_strained(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    strained = ClashReliever().shape.find_strained(
        build(case, case.native_chi), case.residue_type, case.chain_index
    )
    assert not strained.any()


@pytest.mark.parametrize("bond", ["peptide", "carbonyl"])
def test_strained_bonds_settle_and_nothing_else_moves(
    packing_case: Callable[..., SimpleNamespace], bond: str
) -> None:
    case = packing_case()
    built = build(case, case.native_chi)[:1]
    reliever = ClashReliever()
    share = torch.zeros(built.shape[1], 14)
    share[:, 1] = 1.0
    joined = torch.nonzero(case.chain_index[1:] == case.chain_index[:-1]).flatten()
    place = int(joined[len(joined) // 2])
    strained = built.clone()
    last = (place + 1, 0) if bond == "peptide" else (place, 3)
    gap = built[0, last[0], last[1]] - built[0, place, 2]
    if bond == "peptide":
        # the whole residue after it is pushed along C-N
        exists = (built[0, place + 1] != 0).any(-1, keepdim=True)
        strained[0, place + 1] -= 0.1 * gap * exists
    else:
        strained[0, place, 3] -= 0.1 * gap

    def mend(positions: Tensor) -> Tensor:
        return reliever.mend_bonds(
            built,
            positions,
            built[:, :, 1],
            share,
            case.residue_type,
            case.chain_index,
            24,
        )

    assert torch.equal(mend(built), built)
    mended = mend(strained)
    length = torch.linalg.vector_norm(mended[0, last[0], last[1]] - mended[0, place, 2])
    assert abs(float(length - torch.linalg.vector_norm(gap))) < 0.004
    far = (torch.arange(built.shape[1]) - place).abs() > 3
    assert torch.equal(mended[:, far], strained[:, far])
    assert compute_bond_fraction(mended.numpy(), lay_out(case))[0] == 1.0


def test_atoms_whose_hydrogens_cannot_turn_have_no_tolerance(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    touch = ClashReliever().touch
    built = build(case, case.native_chi)[:1]
    near = case.neighbor_index[:1]
    image = torch.zeros(*near.shape, 3)
    exists, reach = touch.exists[case.residue_type], touch.widest + 0.1
    pairs = list_near_residues(built, exists, near, image, reach)
    a, b, contact, _shift = touch.list_contacts(
        built, case.residue_type, case.chain_index, pairs, 0.1
    )
    radius = touch.radius[case.residue_type].reshape(-1)
    tolerance = radius[a] + radius[b] - contact
    types = case.residue_type.numpy()
    names = [
        (slots.get(k, ""), RESIDUE_NAMES[one])
        for one in types
        for slots in [{slot: name for name, slot in ATOM_SLOT[one].items()}]
        for k in range(14)
    ]
    bare = {("CG", "PHE"), ("CG", "TYR"), ("CZ", "TYR"), ("CG", "ASP"), ("CG", "ASN")}
    bare |= {("CD", "GLU"), ("CD", "GLN"), ("CZ", "ARG"), ("CG", "HIS")}
    bare |= {("CG", "TRP"), ("CD2", "TRP"), ("CE2", "TRP")}

    def is_fixed(atom: int) -> bool:
        name, residue = names[atom]
        if name == "N":
            return residue != "PRO"
        return name[:1] == "C" and name != "C" and (name, residue) not in bare

    apart = torch.div(a, 14, rounding_mode="floor") != torch.div(
        b, 14, rounding_mode="floor"
    )
    # CB and the next N are three bonds apart: their room is another matter
    turns = (b - a == 10) & (a % 14 == 4)
    a, b, tolerance = (value[apart & ~turns] for value in (a, b, tolerance))
    expected = []
    for one, two in zip(a.tolist(), b.tolist(), strict=True):
        polar = names[one][0][0] in "NOS" and names[two][0][0] in "NOS"
        n_fixed = is_fixed(one) + is_fixed(two)
        share = {0: 0.04, 1: 0.04 if polar else 0.02, 2: 0.0}[n_fixed]
        expected.append(share + 0.02 * polar)
    expected = torch.tensor(expected)
    for value in (0.0, 0.02, 0.04):
        assert int(((expected - value).abs() < 1e-6).sum()) > 5
    assert (tolerance - expected).abs().max() < 1e-6


def test_touching_residues_are_found_by_either_of_them(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    """The nearest K are not mutual: one of a pair may not list the other."""
    case = packing_case()
    built = build(case, case.native_chi)[:1]
    near = case.neighbor_index[:1]
    touch = ClashReliever().touch
    rows = torch.arange(near.shape[1]).view(1, -1, 1)
    vectors = torch.stack((near - rows, near - rows, near - rows), -1).float()
    lists = []
    image = 1e-3 * vectors
    exists, reach = touch.exists[case.residue_type], touch.widest + 0.1
    for kept in (near >= 0, near < rows, near > rows):
        pairs = list_near_residues(
            built, exists, near.masked_fill(~kept, -1), image, reach
        )
        found = zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)
        lists.append(list(found))
        assert len(lists[-1]) == len(set(lists[-1]))
        apart = pairs.first < pairs.second
        away = (pairs.second - pairs.first)[apart].unsqueeze(1).float() * 1e-3
        assert torch.allclose(pairs.shift[apart], away.expand(-1, 3), atol=1e-6)
    assert len(lists[1]) > 200
    assert set(lists[0]) == set(lists[1]) | set(lists[2])


def test_touching_residues_are_found_however_many_are_nearer(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    case = packing_case()
    built = build(case, case.native_chi)[:1]
    near = case.neighbor_index[:1]
    assert near.shape[2] > 30
    image = torch.zeros(*near.shape, 3)
    touch = ClashReliever().touch
    found = []
    exists, reach = touch.exists[case.residue_type], touch.widest + 0.1
    for order in (near, near.flip(2)):
        pairs = list_near_residues(built, exists, order, image, reach)
        found.append(set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)))
    assert found[0] == found[1]
    assert len(found[0]) > 2 * built.shape[1]


def test_an_eclipsed_side_chain_counts_as_an_overlap() -> None:
    kind, segment = torch.tensor([0, 11, 0]), torch.zeros(3, dtype=torch.long)
    backbone = torch.zeros(1, 3, 5, 3)
    turn = torch.tensor([[-0.05, 0.11, 0.0], [0.0, 0.0, 0.0], [0.145, 0.04, 0.0],
                         [0.2, -0.06, 0.0], [-0.06, -0.06, 0.12]])  # fmt: skip
    for k in range(3):
        backbone[0, k] = turn + torch.tensor([0.0, 0.0, 0.6 * k])
    touch = ClashReliever().touch
    found = []
    for chi2 in (0.0, 1.1, math.pi):
        chi = torch.tensor([[math.pi, chi2, math.pi, math.pi]]).repeat(3, 1)
        built = build_side_chain_rows(backbone[0], kind, chi, load_builder_tables())
        none = torch.zeros(3, dtype=torch.long)
        own = ResiduePairs(none, torch.arange(3), torch.arange(3), torch.zeros(3, 3))
        a, b, contact, _ = touch.list_contacts(built[None], kind, segment, own, 0.0)
        inside = zip(
            (a - 14).tolist(), (b - 14).tolist(), contact.tolist(), strict=True
        )
        found.append({(x, y): z for x, y, z in inside})
    slot = ATOM_SLOT[11]
    pair = slot["CA"], slot["CD"]
    assert found[0][pair] == pytest.approx(0.285)
    assert pair not in found[1]
    assert pair not in found[2]


@pytest.mark.parametrize(("other", "n_found"), [("CYS", 0), ("MET", 1)])
def test_disulfides_do_not_push_themselves_apart(other: str, n_found: int) -> None:
    """SG is 0.303 nm from the CB it is bridged to, and from no other one."""
    names = ("CYS", other)
    kind = torch.tensor([RESIDUE_NAMES.index(name) for name in names])
    sulfur = ATOM_SLOT[int(kind[1])]["SG" if other == "CYS" else "SD"]
    positions = torch.arange(28.0).view(1, 2, 14, 1) * torch.ones(3)
    flat = positions.view(-1, 3)
    flat[14 + sulfur] = flat[5] + torch.tensor([0.205, 0.0, 0.0])
    flat[4] = flat[14 + sulfur] + torch.tensor([0.0, 0.303, 0.0])
    none = torch.zeros(1, dtype=torch.long)
    where = ResiduePairs(none, none, none + 1, torch.zeros(1, 3))
    a, b, _contact, _ = ClashReliever().touch.list_contacts(
        positions, kind, torch.tensor([0, 1]), where, 0.0
    )
    found = set(zip(a.tolist(), b.tolist(), strict=True))
    assert len(found & {(4, 14 + sulfur)}) == n_found
    assert (5, 14 + sulfur) not in found or other == "MET"


@pytest.mark.parametrize(("apart", "counts"), [(0.15, True), (0.2, False)])
def test_no_two_sulfurs_are_nearer_than_a_disulfide(
    apart: float, counts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = ATOM_SLOT[RESIDUE_NAMES.index("CYS")]["SG"]
    kind = torch.tensor([RESIDUE_NAMES.index("CYS")] * 2)
    positions = torch.arange(28.0).view(1, 2, 14, 1) * torch.ones(3)
    flat = positions.view(-1, 3)
    flat[14 + slot] = flat[slot] + torch.tensor([apart, 0.0, 0.0])
    none = torch.zeros(1, dtype=torch.long)
    where = ResiduePairs(none, none, none + 1, torch.zeros(1, 3))
    reliever, chain = ClashReliever(), torch.tensor([0, 1])
    a, b, limit, _ = reliever.touch.list_contacts(positions, kind, chain, where, 0.0)
    found = dict(zip(zip(a.tolist(), b.tolist(), strict=True), limit, strict=True))
    pair = (slot, 14 + slot)
    assert (pair in found) == counts
    assert not counts or float(found[pair]) == pytest.approx(0.195)
    # such a pair is undone, though it overlaps by 0.045 nm only; nothing is strained
    calm = torch.zeros(1, 2, dtype=torch.bool)
    monkeypatch.setattr(reliever.shape, "find_strained", lambda *_: calm.clone())
    bad = reliever.find_bad(positions, kind, chain, where, None, 0.05, 0.01, False)
    assert bad.tolist() == [counts, counts]


@pytest.mark.parametrize("third", [0.24, 0.32])
def test_a_third_sulfur_keeps_off_a_disulfide(third: float) -> None:
    slot = ATOM_SLOT[RESIDUE_NAMES.index("CYS")]["SG"]
    kind = torch.tensor([RESIDUE_NAMES.index("CYS")] * 3)
    # two frames; in the second one the third sulfur is far away
    positions = torch.arange(84.0).view(2, 3, 14, 1) * torch.ones(3)
    flat = positions.view(2, -1, 3)
    flat[:, 14 + slot] = flat[:, slot] + torch.tensor([0.205, 0.0, 0.0])
    flat[0, 28 + slot] = flat[0, 14 + slot] + torch.tensor([0.0, third, 0.0])
    frame = torch.tensor([0, 0, 0, 1, 1, 1])
    first, second = torch.tensor([0, 0, 1] * 2), torch.tensor([1, 2, 2] * 2)
    where = ResiduePairs(frame, first, second, torch.zeros(6, 3))
    chain, touch = torch.tensor([0, 1, 2]), ClashReliever().touch
    a, b, limit, _ = touch.list_contacts(positions, kind, chain, where, 0.0)
    found = dict(zip(zip(a.tolist(), b.tolist(), strict=True), limit, strict=True))
    sulfurs = {pair: v for pair, v in found.items() if pair[0] % 14 == slot}
    assert set(sulfurs) == ({(14 + slot, 28 + slot)} if third < 0.3 else set())
    assert all(float(v) == pytest.approx(0.3) for v in sulfurs.values())


@pytest.mark.parametrize(
    ("pair", "distance"),
    [("CB-N", 0.28), ("CB-O", 0.265), ("N-CG", 0.275)],
)
def test_squeezed_angles_count_as_overlaps(pair: str, distance: float) -> None:
    """Atoms three bonds apart that are nearer than any torsion brings them."""
    kind, segment = torch.tensor([0, 11, 0]), torch.zeros(3, dtype=torch.long)
    slot = ATOM_SLOT[11]
    one, two = pair.split("-")
    first, second = 14 + slot[one], (28 if pair == "CB-N" else 14) + slot[two]
    found = []
    for gap in (distance - 0.03, distance + 0.03):
        # all atoms far apart but the two
        positions = torch.arange(3 * 14.0).view(1, 3, 14, 1) * torch.ones(3)
        flat = positions.view(-1, 3)
        flat[second] = flat[first] + torch.tensor([gap, 0.0, 0.0])
        none = torch.zeros(2, dtype=torch.long)
        where = ResiduePairs(
            none, torch.tensor([1, 1]), torch.tensor([1, 2]), torch.zeros(2, 3)
        )
        a, b, contact, _ = ClashReliever().touch.list_contacts(
            positions, kind, segment, where, 0.0
        )
        found.append(
            {
                frozenset(x): y
                for *x, y in zip(a.tolist(), b.tolist(), contact.tolist(), strict=True)
            }
        )
    assert found[0] == {frozenset((first, second)): pytest.approx(distance)}
    assert found[1] == {}


def test_beads_at_centres_of_mass_stay_near_where_they_are(
    packing_case: Callable[..., SimpleNamespace],
) -> None:
    """What is drawn back is the bead that a residue has, CA only if it is that."""
    case = packing_case()
    before = build(case, turn_into_others(case))
    weights = torch.from_numpy(compute_bead_weights("com")[:, 0]).float()
    share = weights[case.residue_type]
    target = (before * share.unsqueeze(-1)).sum(2)
    n_before = sum(map(len, find_severe(case, before)))
    image = torch.zeros(*case.neighbor_index.shape, 3)
    lists = case.residue_type, case.chain_index, case.neighbor_index, image
    missed = []
    for after in (
        ClashReliever().relieve(before, *lists),
        ClashReliever().relieve(before, *lists, target=target, share=share),
    ):
        assert sum(map(len, find_severe(case, after))) < 0.2 * n_before
        gone = (after != before).flatten(2).any(2)
        away = (after * share.unsqueeze(-1)).sum(2) - target
        missed.append(float(away.norm(dim=-1)[gone].mean()))
    assert missed[1] < 0.7 * missed[0]


@pytest.mark.parametrize("skin", [-0.01, 0.0, 0.1])
def test_no_contact_is_missed(
    packing_case: Callable[..., SimpleNamespace], skin: float
) -> None:
    """The lists against the distances of all atoms."""
    case = packing_case()
    touch = ClashReliever().touch
    built = build(case, turn_into_others(case))
    near, n = case.neighbor_index, len(case.residue_type)
    exists, image = touch.exists[case.residue_type], torch.zeros(*near.shape, 3)
    pairs = list_near_residues(built, exists, near, image, touch.widest + 0.2)
    a, b, _contact, _ = touch.list_contacts(
        built, case.residue_type, case.chain_index, pairs, skin
    )
    found = set(zip(a.tolist(), b.tolist(), strict=True))
    exists = exists.reshape(-1)
    one, two = torch.nonzero(exists.outer(exists).triu()).unbind(1)
    distance = (built.reshape(-1, 3)[one] - built.reshape(-1, 3)[two]).norm(dim=-1)
    kept = distance < touch.widest + skin
    one, two, distance = one[kept], two[kept], distance[kept]
    i, j = (torch.div(x, 14, rounding_mode="floor") for x in (one, two))
    joined = torch.zeros(n, dtype=torch.bool)
    joined[:-1] = case.chain_index[1:] == case.chain_index[:-1]
    limit, counts = touch.compute_limits(
        i, j, one % 14, two % 14, case.residue_type, joined, 0.02, 0.04
    )
    kept = counts & (distance < limit + skin)
    expected = set(zip(one[kept].tolist(), two[kept].tolist(), strict=True))
    assert len(expected) > 10
    assert found == expected
