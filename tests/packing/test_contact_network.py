"""Contacts of candidates, and the network that rates candidates by them."""

from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from openmm_backmap.packing import constants
from openmm_backmap.packing.contact_inputs import list_contacts
from openmm_backmap.packing.contact_network import ContactInputs, ContactNetwork
from openmm_backmap.packing.contact_pairs import N_CONTACT_CODES, ContactPairs
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.state import PackingState


def solve(packer: Packer, case: SimpleNamespace) -> PackingState:
    with torch.no_grad():
        return packer.solve(
            case.backbone,
            case.residue_type,
            case.chain_index,
            case.neighbor_index,
            case.box,
            case.chi,
            case.log_p,
            constants.CONTACT_CUTOFF,
        )


def rate(packer: Packer, state: PackingState) -> torch.Tensor:
    with torch.no_grad():
        return packer.rate(state)


def contacts_of(
    packer: Packer, case: SimpleNamespace
) -> tuple[PackingState, ContactPairs, ContactInputs]:
    state = solve(packer, case)
    with torch.no_grad():
        pairs, inputs = list_contacts(
            state, packer.builder(), packer.tables(), packer.settings
        )
    return state, pairs, inputs


def taught_network() -> ContactNetwork:
    """A network whose last layer is no longer zero."""
    torch.manual_seed(3)
    network = ContactNetwork().eval()
    torch.nn.init.normal_(network.candidate[-1].weight, std=3.0)
    return network.requires_grad_(False)


@pytest.fixture
def open_packer() -> Packer:
    """A packer that leaves doubts: a weak clash energy, equal candidates."""
    packer = Packer()
    packer.settings = packer.settings._replace(clash_slope=10.0)
    return packer


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


def test_contacts_are_those_that_a_loop_over_all_atoms_finds(
    open_packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    case = packing_case()
    state, pairs, inputs = contacts_of(open_packer, case)
    tables, parent = open_packer.tables(), open_packer.builder().parent.numpy()
    n_kept = state.marginal.shape[1]
    kinds = case.residue_type.numpy()
    rows = state.rows.numpy()
    built, index = state.built.numpy(), state.candidates.index.numpy()
    marginal = state.marginal.flatten().numpy()
    types = tables.atom_type.numpy()
    # all atoms that can be touched: residue, slot, position, direction, weight
    around = []
    for j, row in enumerate(rows):
        n, ca, c, o, cb = row
        before = 0.5 * (ca + rows[j - 1, 2]) if state.near.follows[j] else ca
        sides = (n - before, ca - 0.5 * (n + c), c - ca, o - c, cb - ca)
        for slot in range(5 if kinds[j] != 7 else 4):
            around.append((j, slot, row[slot], unit(sides[slot]), 1.0))
    for p, place in enumerate(index):
        if marginal[place] < open_packer.settings.least_presence:
            continue
        j = place // n_kept
        for slot in np.flatnonzero(tables.atom_mask[kinds[j]].numpy())[5:]:
            side = unit(built[p, slot] - built[p, parent[kinds[j], slot, 2]])
            around.append((j, int(slot), built[p, slot], side, marginal[place]))
    width = (constants.CONTACT_CUTOFF - constants.CONTACT_FIRST_EDGE) / 17
    rated = torch.nonzero(inputs.is_open.flatten()).flatten().numpy()
    assert len(rated) > 20
    cells = {}
    for candidate, atom in zip(
        inputs.cell_candidate.tolist(), inputs.cell_atom.tolist(), strict=True
    ):
        cells.setdefault(candidate, []).append(atom)
    difference = total = 0.0
    for candidate in rated[::7].tolist():
        i, p = candidate // n_kept, int(np.searchsorted(index, candidate))
        wanted, found = Counter(), Counter()
        for atom in cells[candidate]:
            slot = int(inputs.code[atom]) - 14 * kinds[i]
            here = built[p, slot]
            _, b, a = parent[kinds[i], slot]
            bond = here - built[p, a]
            normal = unit(np.cross(bond, built[p, a] - built[p, b]))
            for j, other, there, side, weight in around:
                inside = tables.excluded_inside[kinds[i], slot]
                if j == i and (other > 4 or inside[other]):
                    continue
                if j == i - 1 and kinds[i] == 14 and other < 5:
                    if tables.excluded_before[kinds[i], slot, other]:
                        continue
                distance = float(np.linalg.norm(there - here))
                if distance >= constants.CONTACT_CUTOFF:
                    continue
                u = (there - here) / distance
                near = np.clip(np.floor(3 * (u @ unit(bond)) + 3), 0, 5)
                far = np.clip(np.floor(3 * -(u @ side) + 3), 0, 5)
                step = (distance - constants.CONTACT_FIRST_EDGE) / width + 1
                code = types[kinds[j], other] * 12 + 2 * near + (abs(u @ normal) > 0.5)
                code = (code * 6 + far) * 18 + np.clip(np.floor(step), 0, 17)
                wanted[slot, int(code)] += weight
            mine = pairs.atom == atom
            for code, weight in zip(
                pairs.code[mine].tolist(), pairs.weight[mine].tolist(), strict=True
            ):
                found[slot, code] += weight
        difference += sum(abs(wanted[k] - found[k]) for k in {*wanted, *found})
        total += sum(wanted.values())
    assert total > 1000
    # rounding may move a contact into the bin beside it
    assert difference < 0.002 * total
    assert int(pairs.code.min()) >= 0 and int(pairs.code.max()) < N_CONTACT_CODES


def test_contacts_do_not_depend_on_the_orientation(
    open_packer: Packer,
    packing_case: Callable[..., SimpleNamespace],
    rng: np.random.Generator,
) -> None:
    case = packing_case()
    _, pairs, _ = contacts_of(open_packer, case)
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.linalg.det(q))
    case.backbone = case.backbone @ torch.tensor(q, dtype=torch.float32) + 1.0
    _, turned, _ = contacts_of(open_packer, case)
    network = taught_network()
    n_atoms = int(pairs.atom.max()) + 1
    first = network.sum_contacts(pairs, n_atoms)
    second = network.sum_contacts(turned, n_atoms)
    same = ((first - second).abs() < 1e-4).all(1)
    # a contact on the edge between two bins may fall on either side
    assert float(same.float().mean()) > 0.98


def test_sums_agree_sorted_or_not(
    open_packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    _, pairs, inputs = contacts_of(open_packer, packing_case())
    network = taught_network()
    n_atoms = inputs.code.numel()
    atom, order = torch.sort(pairs.atom, stable=True)
    count = torch.bincount(atom, minlength=n_atoms)
    in_order = network.sum_sorted(
        pairs.code[order], count.cumsum(0) - count, pairs.weight[order]
    )
    torch.testing.assert_close(network.sum_contacts(pairs, n_atoms), in_order)


def test_a_network_that_has_learned_nothing_only_weighs(
    open_packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    state, _, inputs = contacts_of(open_packer, packing_case())
    assert torch.equal(rate(open_packer, state), state.marginal)
    open_packer.contacts = ContactNetwork().eval()
    share = open_packer.settings.contact_share
    exists = torch.isfinite(state.own)
    score = inputs.score - inputs.score.amax(1, keepdim=True)
    log_p = inputs.log_p.clamp(min=-15.0)
    # 0.2 of the score and 0.6 of log p for it; what is hopeless stays so
    told = 0.6 * log_p - 0.8 * score.clamp(min=-15.0)
    score = score + share * told - 0.3 * (1.0 - share) * score
    wanted = torch.softmax(score.masked_fill(~exists, -1e9), 1)
    wanted = wanted.masked_fill(~exists, 0.0)
    torch.testing.assert_close(rate(open_packer, state), wanted)


def test_only_candidates_in_doubt_are_rated(
    open_packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    state, _, inputs = contacts_of(open_packer, packing_case())
    settings = open_packer.settings
    sure = state.marginal.amax(1) > 1.0 - settings.least_doubt
    assert sure.any() and not inputs.is_open[sure].any()
    assert (state.marginal[inputs.is_open] >= settings.least_marginal).all()
    open_rows = torch.unique(inputs.cell_candidate)
    wanted = torch.nonzero(inputs.is_open.flatten()).flatten()
    has_atoms = torch.isin(wanted, open_rows)
    assert has_atoms.all()


@pytest.mark.parametrize("draws", [False, True])
def test_rated_frames_are_alike_alone_and_scripted(
    open_packer: Packer, packing_case: Callable[..., SimpleNamespace], draws: bool
) -> None:
    case = packing_case(3)
    open_packer.contacts = taught_network()
    scripted = torch.jit.script(open_packer.eval())
    noise = None
    if draws:
        generator = torch.Generator().manual_seed(2)
        noise = torch.randn(3, len(case.residue_type), 6, generator=generator)

    def run(packer: torch.nn.Module, frames: slice) -> torch.Tensor:
        with torch.no_grad():
            return packer(
                case.backbone[frames],
                case.residue_type,
                case.chain_index,
                case.neighbor_index[frames],
                case.box[frames],
                case.chi[frames],
                case.log_p[frames],
                None if noise is None else noise[frames],
            )[1]

    together = run(open_packer, slice(0, 3))
    torch.testing.assert_close(run(scripted, slice(0, 3)), together)
    alone = run(open_packer, slice(1, 2))
    torch.testing.assert_close(alone, together[1:2], atol=1e-5, rtol=0)


def test_what_the_network_favours_becomes_more_probable(
    open_packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    state, pairs, inputs = contacts_of(open_packer, packing_case())
    open_packer.settings = open_packer.settings._replace(contact_share=1.0)
    network = open_packer.contacts = taught_network()
    rated = rate(open_packer, state)
    lift = network(network.sum_contacts(pairs, inputs.code.numel()), inputs)
    exists = torch.isfinite(state.own)
    span = lift.masked_fill(~exists, -1e9).amax(1) - lift.masked_fill(
        ~exists, 1e9
    ).amin(1)
    rows = torch.nonzero(span > 0.5).flatten()
    assert len(rows) > 10
    best = lift.masked_fill(~exists, -1e9)[rows].argmax(1)
    assert (rated[rows, best] > state.marginal[rows, best] - 0.02).all()
    total = rated.sum(1)[exists.any(1)]
    torch.testing.assert_close(total, torch.ones_like(total))


def test_samples_follow_the_energies_alone(
    open_packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    case = packing_case()
    noise = torch.randn(
        1, len(case.residue_type), 6, generator=torch.Generator().manual_seed(2)
    )
    found = []
    for network in (None, taught_network()):
        open_packer.contacts = network
        with torch.no_grad():
            found.append(
                open_packer(
                    case.backbone,
                    case.residue_type,
                    case.chain_index,
                    case.neighbor_index,
                    case.box,
                    case.chi,
                    case.log_p,
                    noise,
                )[1]
            )
    assert torch.equal(found[0], found[1])


def test_baked_smoothing_gives_the_same_table() -> None:
    torch.manual_seed(0)
    network = ContactNetwork(width=3, smoothing=0.25)
    plain = (network.near + network.here + network.there).detach()
    smooth = network.table().detach().view_as(plain)
    wanted = 0.5 * plain[..., 4, :] + 0.25 * (plain[..., 3, :] + plain[..., 5, :])
    torch.testing.assert_close(smooth[..., 4, :], wanted)
    torch.testing.assert_close(
        smooth[..., 0, :], 0.75 * plain[..., 0, :] + 0.25 * plain[..., 1, :]
    )
    network.bake()
    assert network.smoothing == 0.0
    torch.testing.assert_close(network.table().detach().view_as(plain), smooth)
