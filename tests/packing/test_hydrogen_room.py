"""Hydrogens that only heavy atoms tell of: where they are, and that they get room."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from openmm_backmap.builder.backbone import place_terminal_oxygen
from openmm_backmap.hydrogens import HydrogenPlacer
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.packing.hydrogen_room import (
    METHYL_RADIUS,
    RADIUS,
    TO_ELEMENT,
    TO_HYDROGEN,
    HydrogenRoom,
)
from openmm_backmap.packing.relieve import ClashReliever
from openmm_backmap.packing.touching import FIRM
from openmm_backmap.residues.atoms import ATOM_SLOT
from openmm_backmap.residues.names import CODES, RESIDUE_NAMES

METHYLS = {"ALA": "CB", "VAL": "CG1 CG2", "LEU": "CD1 CD2", "ILE": "CG2 CD1",
           "THR": "CG2", "MET": "CE"}  # fmt: skip


def place_all(protein: SimpleNamespace) -> tuple[AtomTopology, np.ndarray]:
    """Topology and all atoms (N, 3) in nm of the native structure."""
    letters = np.array(list(CODES))[protein.residue_type]
    chains = [
        "".join(letters[protein.chain_index == c])
        for c in np.unique(protein.chain_index)
    ]
    topology = AtomTopology.from_cg_topology(CGTopology.from_sequence(chains))
    heavy = protein.positions[:1]
    oxt = place_terminal_oxygen(
        torch.from_numpy(heavy), torch.from_numpy(protein.chain_index)
    )
    return topology, HydrogenPlacer(topology).place(heavy, oxt.numpy())[0]


def test_hydrogens_are_where_the_placer_puts_them(protein: SimpleNamespace) -> None:
    topology, atoms = place_all(protein)
    known: dict[tuple[int, str], list[np.ndarray]] = {}
    for bond in topology.topology.bonds():
        one, two = sorted(bond, key=lambda atom: atom.element.symbol != "H")
        if one.element.symbol == "H" and two.element.symbol == "C":
            key = two.residue.index, two.name
            known.setdefault(key, []).append(atoms[one.index])
    room = HydrogenRoom()
    flat = torch.tensor(protein.positions[0]).reshape(-1, 3)
    n_checked = 0
    for r, t in enumerate(protein.residue_type):
        residue = RESIDUE_NAMES[t]
        for name, slot in ATOM_SLOT[t].items():
            kind, atom = torch.tensor([t]), torch.tensor([14 * r + slot])
            first, second, is_known = room.place(flat, kind, atom)
            expected = known.get((r, name), [])
            turns = name in METHYLS.get(residue, "").split()
            assert bool(is_known) == (bool(expected) and not turns)
            if not bool(is_known):
                continue
            found = np.stack((first[0].numpy(), second[0].numpy()))
            gap = np.linalg.norm(found[:, None] - np.stack(expected)[None], axis=-1)
            # every one of ours is one of theirs, and the other way round
            assert gap.min(0).max() < 1e-4
            assert gap.min(1).max() < 1e-4
            n_checked += len(expected)
    assert n_checked > 300


def make_pair(gap: float) -> tuple[Tensor, Tensor, Tensor]:
    """Two GLY and PHE whose HA3 and HZ point at each other, `gap` nm apart."""
    glycine, phenylalanine = RESIDUE_NAMES.index("GLY"), RESIDUE_NAMES.index("PHE")
    kind = torch.tensor([glycine, phenylalanine])
    positions = torch.arange(28.0).view(2, 14, 1) * torch.ones(3)
    slot = ATOM_SLOT[glycine]
    positions[0, slot["CA"]] = torch.zeros(3)
    positions[0, slot["N"]] = torch.tensor([-0.049, 0.137, 0.0])
    positions[0, slot["C"]] = torch.tensor([-0.050, -0.068, 0.125])
    room = HydrogenRoom()
    first, second, _ = room.place(
        positions.reshape(-1, 3), kind[:1], torch.tensor([slot["CA"]])
    )
    target = max(first[0], second[0], key=lambda point: float(point[0]))
    way = target / target.norm()
    slot = ATOM_SLOT[phenylalanine]
    zeta = target + (gap + 0.108) * way
    aside = torch.linalg.cross(way, torch.tensor([0.0, 0.0, 1.0]))
    aside = aside / aside.norm()
    positions[1, slot["CZ"]] = zeta
    for sign, name in ((1.0, "CE1"), (-1.0, "CE2")):
        positions[1, slot[name]] = zeta + 0.07 * way + sign * 0.121 * aside
    return kind, positions, torch.tensor([ATOM_SLOT[glycine]["CA"], 14 + slot["CZ"]])


@pytest.mark.parametrize("gap", [0.10, 0.15, 0.25])
def test_atoms_must_part_by_what_their_hydrogens_lack(gap: float) -> None:
    kind, positions, atoms = make_pair(gap)
    room = HydrogenRoom()
    args = kind[:1], kind[1:], atoms[:1], atoms[1:]
    short = room.compute_shortfall(positions.reshape(-1, 3), *args, torch.zeros(1, 3))
    assert float(short) == pytest.approx(TO_HYDROGEN - gap, abs=1e-4)
    # an image far away has room
    shift = torch.tensor([[3.0, 0.0, 0.0]])
    assert float(room.compute_shortfall(positions.reshape(-1, 3), *args, shift)) < 0.0


def test_a_hydrogen_and_a_bare_atom() -> None:
    kind, positions, atoms = make_pair(0.10)
    kind[1] = RESIDUE_NAMES.index("ASP")
    oxygen = ATOM_SLOT[int(kind[1])]["OD1"]
    positions[1, oxygen] = positions[1, int(atoms[1]) - 14]
    short = HydrogenRoom().compute_shortfall(
        positions.reshape(-1, 3), kind[:1], kind[1:], atoms[:1],
        torch.tensor([14 + oxygen]), torch.zeros(1, 3),
    )  # fmt: skip
    assert float(short) == pytest.approx(TO_ELEMENT["O"] - 0.208, abs=1e-4)


def test_methyls_keep_their_distance_between_residues_only() -> None:
    """Where a methyl's hydrogens are is not known, so it is a sphere."""
    kind = torch.tensor([RESIDUE_NAMES.index("VAL"), RESIDUE_NAMES.index("SER")])
    slots = [ATOM_SLOT[int(t)] for t in kind]
    positions = torch.arange(28.0).view(2, 14, 1) * torch.ones(3)
    one, two = slots[0]["CG1"], slots[0]["CG2"]
    oxygen = slots[1]["OG"]
    positions[0, two] = positions[0, one] + torch.tensor([0.25, 0.0, 0.0])
    positions[1, oxygen] = positions[0, one] + torch.tensor([0.0, 0.25, 0.0])
    found = [
        float(
            HydrogenRoom().compute_shortfall(
                positions.reshape(-1, 3),
                kind[:1],
                kind[r : r + 1],
                torch.tensor([one]),
                torch.tensor([14 * r + slot]),
                torch.zeros(1, 3),
            )  # fmt: skip
        )
        for r, slot in ((0, two), (1, oxygen))
    ]
    assert found[0] < 0.0
    assert found[1] == pytest.approx(METHYL_RADIUS + RADIUS["O"] - 0.25, abs=1e-5)


@pytest.mark.parametrize(
    ("loose", "gap", "wanted"),
    [(None, 0.12, None), (True, 0.12, 0.035), (True, 0.15, 0.035),
     (False, 0.12, 0.035 + FIRM), (False, 0.15, None)],
)  # fmt: skip
def test_hydrogens_that_run_into_each_other_part_where_they_are_looked_at(
    packing_case: Callable[..., SimpleNamespace],
    loose: bool | None,
    gap: float,
    wanted: float | None,
) -> None:
    """Two pieces of a chain whose HA point at each other.

    Nothing else of them is near, and their CA have at least 0.338 nm, so nothing else
    tells. Those of CA that were not moved may be nearer.
    """
    case = packing_case()
    native = torch.where(case.mask.unsqueeze(-1), case.native, 0.0)[0]
    room, reliever = HydrogenRoom(), ClashReliever()
    found = None
    for r in range(1, len(native) - 1):
        rows = slice(r - 1, r + 2)
        if len(case.chain_index[rows].unique()) > 1 or case.residue_type[r] == 7:
            continue
        atoms, kind, there = native[rows], case.residue_type[rows], case.mask[rows]
        point = room.place(atoms.reshape(-1, 3), kind[1:2], torch.tensor([15]))[0][0]
        way = (point - atoms[1, 1]) / (point - atoms[1, 1]).norm()
        # turned by 180 degrees about an axis across `way` the copy's HA points back
        for k in range(6):
            axis = torch.linalg.cross(way, torch.eye(3).repeat(2, 1)[k] + 0.1 * k)
            axis = axis / axis.norm()
            turn = 2.0 * axis.unsqueeze(1) * axis.unsqueeze(0) - torch.eye(3)
            copy = (atoms - point) @ turn.T + point + gap * way
            apart = torch.cdist(atoms[there], copy[there])
            room_left = float(apart.flatten().topk(2, largest=False).values[1])
            if found is None or room_left > found[0]:
                found = room_left, kind, atoms, torch.where(there[..., None], copy, 0.0)
    assert found is not None
    assert found[0] > 0.33
    _, kind, atoms, copy = found
    both = torch.stack((atoms, copy)).view(1, 6, 14, 3)
    kind, chain = kind.repeat(2), torch.tensor([0, 0, 0, 1, 1, 1])
    near = (torch.arange(6).view(-1, 1) + torch.arange(1, 6)).remainder(6)[None]
    moved = reliever.relieve(
        both,
        kind,
        chain,
        near,
        torch.zeros(1, 6, 5, 3),
        None if loose is None else torch.full((1, 6), loose),
    )
    args = kind[1:2], kind[4:5], torch.tensor([15]), torch.tensor([57])
    short = [
        float(room.compute_shortfall(x.reshape(-1, 3), *args, torch.zeros(1, 3)))
        for x in (both, moved)
    ]
    assert short[0] == pytest.approx(TO_HYDROGEN - gap, abs=1e-3)
    assert torch.equal(moved, both) == (wanted is None)
    if wanted is not None:
        assert short[1] < wanted
