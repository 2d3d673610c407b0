"""Clashes of all heavy atoms: phosphates and OXT, which no slot holds."""

from dataclasses import replace

import numpy as np
import pytest

from openmm_backmap import AtomFrame, Backmapper, CGFrame
from openmm_backmap.errors import InputError
from openmm_backmap.frame_processor import FrameProcessor
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.metrics import FrameChecker, compute_clashes_per_1000
from openmm_backmap.metrics.heavy_sites import HeavySites
from openmm_backmap.metrics_table import compute_rows
from openmm_backmap.residues.names import CODES


@pytest.fixture
def cg():
    """Phosphoserine, phosphothreonine and two bonded cysteines."""
    cg = CGTopology.from_sequence("GSATCGCAG")
    names = ("GLY", "SEP", "ALA", "TPO", "CYS", "GLY", "CYS", "ALA", "GLY")
    return replace(cg, residue_name=names)


@pytest.fixture
def topology(cg):
    return AtomTopology.from_cg_topology(cg, disulfides=[(4, 6)])


def find_atom(topology, residue, name):
    return next(
        atom.index
        for atom in topology.topology.atoms()
        if atom.residue.index == residue and atom.name == name
    )


def spread(topology):
    """Give atoms a nanometre or more apart, (1, N, 3), and their slots."""
    n = topology.n_atoms
    place = np.stack(np.unravel_index(np.arange(n), (6, 6, n)), axis=1)
    return place[None].astype(np.float32)


def to_slots(topology, positions):
    slot_atom = topology.slot_atom
    heavy = positions[:, np.maximum(slot_atom, 0)]
    return np.where((slot_atom >= 0)[..., None], heavy, 0.0)


def test_near_pairs_are_within_three_bonds_of_the_topology(topology):
    sites = HeavySites.from_atom_topology(topology)
    n = topology.n_atoms
    is_heavy = np.array([a.element.symbol != "H" for a in topology.topology.atoms()])
    assert sites.atoms.tolist() == np.flatnonzero(is_heavy).tolist()
    graph = np.full((n, n), 99)
    for a, b in topology.topology.bonds():
        if is_heavy[a.index] and is_heavy[b.index]:
            graph[a.index, b.index] = graph[b.index, a.index] = 1
    for k in range(n):  # Floyd and Warshall
        graph = np.minimum(graph, graph[:, k, None] + graph[None, k])
    i, j = np.nonzero(np.triu(graph <= 3, 1))
    assert sites.near_pairs.tolist() == (i * n + j).tolist()
    across = find_atom(topology, 4, "CB") * n + find_atom(topology, 6, "CB")
    assert across in sites.near_pairs


@pytest.mark.parametrize("residue, name", [(1, "P"), (1, "O3P"), (8, "OXT"), (0, "CA")])
def test_every_heavy_atom_can_clash(topology, residue, name):
    checker = FrameChecker.from_atom_topology(topology)
    positions = spread(topology)
    moved = positions.copy()
    atom, other = find_atom(topology, residue, name), find_atom(topology, 5, "CA")
    moved[0, atom] = moved[0, other] + np.float32(0.1)
    one = 1000.0 / len(checker.sites.atoms)
    for frame, wanted in ((positions, 0.0), (moved, one)):
        figures = checker.check(to_slots(topology, frame), None, frame)
        assert figures["clashes_per_1000"][0] == pytest.approx(wanted)
    # a hydrogen is no heavy atom, a phosphate's oxygen is no clash of its own
    moved = positions.copy()
    moved[0, find_atom(topology, 2, "H")] = moved[0, other]
    moved[0, find_atom(topology, 1, "P")] = moved[0, find_atom(topology, 1, "CB")] + 0.1
    figures = checker.check(to_slots(topology, moved), None, moved)
    assert figures["clashes_per_1000"][0] == 0.0


def test_all_atoms_and_slots_agree_where_slots_hold_all(protein):
    """1RIS shrunk, with its hydrogens and OXT far off."""
    sequence = "".join(CODES[k] for k in protein.residue_type)
    topology = AtomTopology.from_cg_topology(CGTopology.from_sequence(sequence))
    slots = protein.positions * np.float32(0.7)
    positions = spread(topology) + np.float32(50.0)
    held = topology.slot_atom >= 0
    assert np.array_equal(held, protein.mask)
    positions[:, topology.slot_atom[held]] = slots[:, held]
    checker = FrameChecker.from_atom_topology(topology)
    found = checker.check(slots, None, positions)["clashes_per_1000"]
    wanted = compute_clashes_per_1000(slots, checker.layout)
    n = len(checker.sites.atoms)
    assert n == held.sum() + 1
    assert found * n == pytest.approx(wanted * (n - 1))
    assert wanted[0] > 100.0


def test_rows_see_phosphates(cg, topology):
    checker = FrameChecker.from_atom_topology(topology)
    positions = spread(topology)[0]
    positions[find_atom(topology, 3, "P")] = positions[find_atom(topology, 0, "CA")]
    (row,) = compute_rows(
        [AtomFrame(positions)], to_slots(topology, positions[None]), checker, [{}]
    )
    assert row["clashes_per_1000"] == pytest.approx(1000.0 / len(checker.sites.atoms))
    with pytest.raises(InputError, match="from_atom_topology"):
        checker.check(to_slots(topology, positions[None]))
    with pytest.raises(InputError, match="only one of them came"):
        slots = to_slots(topology, positions[None])
        FrameChecker.from_topology(cg).check(slots, None, positions[None])


def test_the_processor_checks_all_heavy_atoms(cg, monkeypatch):
    """A phosphorus that the model put onto a CA shows in the row."""
    backmapper = Backmapper.from_topology(cg, "table")
    turn = np.radians(100.0) * np.arange(9)
    ca = np.stack([0.23 * np.cos(turn), 0.23 * np.sin(turn), 0.15 * np.arange(9)], 1)
    topology = backmapper.atom_topology
    batch = backmapper.backmap_batch

    def spoil(*asked):
        made = batch(*asked)
        positions = made.frames[0].positions
        target = positions[find_atom(topology, 8, "CA")]
        positions[find_atom(topology, 1, "P")] = target + np.float32(0.02)
        return made

    processor = FrameProcessor(backmapper, has_metrics=True)
    frame = CGFrame(ca.astype(np.float32))
    (whole,) = processor.compute([frame])
    monkeypatch.setattr(backmapper, "backmap_batch", spoil)
    (spoiled,) = processor.compute([frame])
    before, after = (r.rows[0]["clashes_per_1000"] for r in (whole, spoiled))
    assert after > before
