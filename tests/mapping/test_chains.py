"""The segment rule, one clue at a time."""

import warnings

import numpy as np
import pytest
from openmm import (
    CMMotionRemover,
    CustomCentroidBondForce,
    CustomCompoundBondForce,
    HarmonicAngleForce,
    HarmonicBondForce,
    System,
)
from openmm.app import Element, Topology

from openmm_backmap.errors import BackmapWarning
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.mapping.chains import chain_name


def make_topology(ids: list[str], chains: list[int] | None = None) -> Topology:
    """Make a CA topology of alanine with given residue ids."""
    topology = Topology()
    chain = None
    for k, residue_id in enumerate(ids):
        if chain is None or (chains and chains[k] != chains[k - 1]):
            chain = topology.addChain("A")
        code = residue_id[-1] if residue_id[-1].isalpha() else ""
        number = residue_id.rstrip("AB")
        residue = topology.addResidue("ALA", chain, number, code)
        topology.addAtom("CA", Element.getBySymbol("C"), residue)
    return topology


def straight(n: int, at: dict[int, float] | None = None) -> np.ndarray:
    """Beads on a line 0.38 nm apart, with longer steps after some beads."""
    steps = np.full(n - 1, 0.38)
    for k, length in (at or {}).items():
        steps[k] = length
    positions = np.zeros((n, 3))
    positions[1:, 0] = np.cumsum(steps)
    return positions


def make_system(n: int, bonds: list[tuple[int, int]]) -> System:
    """Make a System of n particles with harmonic bonds."""
    system, force = System(), HarmonicBondForce()
    for _ in range(n):
        system.addParticle(100.0)
    for i, j in bonds:
        force.addBond(i, j, 0.38, 1000.0)
    system.addForce(force)
    return system


NUMBERS = [str(k) for k in range(1, 9)]


def segments(*args: object, **kwargs: object) -> list[int]:
    """Return the lengths of the segments."""
    found = CGTopology.from_openmm(*args, **kwargs)
    assert np.all(np.diff(found.chain_index) >= 0)
    assert found.n_chains == found.chain_index.max() + 1
    return np.bincount(found.chain_index).tolist()


def test_a_topology_chain_ends_a_segment() -> None:
    assert segments(make_topology(NUMBERS, [0] * 5 + [1] * 3)) == [5, 3]


@pytest.mark.parametrize("ids", [["1", "2", "3", "1", "2", "3"], ["5", "6", "7", "7"]])
def test_residue_numbers_that_do_not_increase_end_a_segment(ids: list[str]) -> None:
    if ids[-1] == "7":
        # OpenMM gives two residues of one number: a new molecule
        assert segments(make_topology(ids)) == [3, 1]
    else:
        assert segments(make_topology(ids)) == [3, 3]


def test_insertion_codes_and_the_end_of_four_digits_do_not_end_a_segment() -> None:
    assert segments(make_topology(["52", "52A", "52B", "53"])) == [4]
    assert segments(make_topology(["9998", "9999", "0", "1"])) == [4]
    assert segments(make_topology(["-1", "0", "1"])) == [3]


@pytest.mark.parametrize(
    "ids",
    [
        ["200", "201", "1002", "1003", "202", "203"],
        ["6", "5", "4", "3", "2", "1"],
        ["7"] * 6,
    ],
)
def test_bonds_of_the_topology_are_better_evidence_than_numbers(ids: list[str]) -> None:
    topology = make_topology(ids)
    atoms = list(topology.atoms())
    for pair in zip(atoms[:-1], atoms[1:], strict=True):
        topology.addBond(*pair)
    bonds = [(k, k + 1) for k in range(5)]
    assert segments(topology) == [6]
    assert segments(topology, positions=straight(6)) == [6]
    assert segments(topology, system=make_system(6, bonds)) == [6]
    # but not where the topology bonds the others only
    broken = make_topology(["1", "2", "3", "1", "2", "3"])
    atoms = list(broken.atoms())
    for first, second in ((0, 1), (1, 2), (3, 4), (4, 5)):
        broken.addBond(atoms[first], atoms[second])
    assert segments(broken, positions=straight(6)) == [3, 3]


def test_a_number_that_stays_with_near_beads_is_an_insertion() -> None:
    """As mdtraj has insertion codes: it leaves out the letters."""
    topology = make_topology(["30", "30", "30", "31"])
    assert segments(topology, positions=straight(4)) == [4]
    assert segments(topology, positions=straight(4, {1: 0.6})) == [2, 2]
    assert segments(topology) == [1, 1, 2]


def test_a_cut_between_near_beads_is_said() -> None:
    topology = make_topology(["1", "2", "3", "1", "2", "3"])
    with pytest.warns(BackmapWarning, match="cut between residues 3 and 1"):
        assert segments(topology, positions=straight(6)) == [3, 3]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert segments(topology, positions=straight(6, {2: 0.7})) == [3, 3]


def test_a_far_pair_ends_a_segment_even_if_numbers_go_on() -> None:
    topology = make_topology(NUMBERS)
    assert segments(topology, positions=straight(8, {3: 0.79})) == [8]
    assert segments(topology, positions=straight(8, {3: 0.81})) == [4, 4]


def test_positions_in_another_unit_are_said() -> None:
    topology = make_topology(NUMBERS)
    with pytest.warns(BackmapWarning, match=r"3.8 nm apart \(median of 7 pairs\)"):
        assert segments(topology, positions=10.0 * straight(8)) == [1] * 8
    bonded = make_system(8, [(k, k + 1) for k in range(7)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert segments(topology, positions=straight(8, {3: 9.0})) == [4, 4]
        found = segments(topology, positions=10.0 * straight(8), system=bonded)
        assert found == [8]


def test_a_gap_in_the_numbers_is_judged_by_its_distance() -> None:
    topology = make_topology(["1", "2", "3", "10", "11"])
    assert segments(topology) == [3, 2]
    assert segments(topology, positions=straight(5)) == [5]
    assert segments(topology, positions=straight(5, {2: 0.6})) == [3, 2]


def test_pairs_over_a_box_edge_are_not_far() -> None:
    positions = straight(8)
    positions[:, 0] %= 1.5
    topology = make_topology(NUMBERS)
    assert segments(topology, positions=positions) == [4, 4]
    assert segments(topology, positions=positions, box=np.eye(3) * 1.5) == [8]
    # the box of the System serves too
    system = make_system(8, [])
    system.setDefaultPeriodicBoxVectors(*np.eye(3) * 1.5)
    system.getForce(0).setUsesPeriodicBoundaryConditions(True)
    assert segments(topology, positions=positions, system=system) == [8]


def test_a_bond_the_others_have_and_this_pair_lacks_ends_a_segment() -> None:
    topology = make_topology(NUMBERS)
    bonds = [(k, k + 1) for k in range(7) if k != 4]
    assert segments(topology, system=make_system(8, bonds)) == [5, 3]
    # also where the two ends touch
    assert segments(topology, positions=straight(8), system=make_system(8, bonds)) == [
        5,
        3,
    ]
    for i, j in bonds:
        atoms = list(topology.atoms())
        topology.addBond(atoms[i], atoms[j])
    assert segments(topology) == [5, 3]


def test_contacts_between_molecules_do_not_join_them() -> None:
    topology = make_topology(["1", "2", "3", "4"] * 2)
    bonds = [(k, k + 1) for k in range(7)] + [(0, 4), (1, 6), (3, 7)]
    assert segments(topology, system=make_system(8, bonds)) == [4, 4]


def test_forces_of_every_kind_do_no_harm() -> None:
    system = make_system(8, [(k, k + 1) for k in range(7) if k != 3])
    compound = CustomCompoundBondForce(3, "distance(p1, p3)")
    compound.addBond([0, 1, 2])
    centroid = CustomCentroidBondForce(2, "distance(g1, g2)")
    centroid.addGroup([0, 1])
    centroid.addGroup([4, 5])
    centroid.addBond([0, 1])
    for force in (compound, centroid, HarmonicAngleForce(), CMMotionRemover()):
        system.addForce(force)
    assert segments(make_topology(NUMBERS), system=system) == [4, 4]


def test_constraints_are_bonds_too() -> None:
    system = make_system(8, [])
    for k in (0, 1, 2, 4, 5, 6):
        system.addConstraint(k, k + 1, 0.38)
    assert segments(make_topology(NUMBERS), system=system) == [4, 4]


def test_a_bonded_pair_stays_together_over_any_distance() -> None:
    # coordinates wrapped in a box nobody wrote down (OpenABC)
    topology = make_topology(NUMBERS)
    system = make_system(8, [(k, k + 1) for k in range(7)])
    assert segments(topology, positions=straight(8, {3: 50.0}), system=system) == [8]


def test_rigid_parts_without_bonds_stay_together() -> None:
    system = make_system(8, [(k, k + 1) for k in range(4)])
    for k in range(5, 8):
        system.setParticleMass(k, 0.0)
    topology = make_topology(NUMBERS)
    assert segments(topology, positions=straight(8), system=system) == [8]


def test_chain_names_are_unique_beyond_all_letters() -> None:
    names = [chain_name(k) for k in range(20000)]
    assert len(set(names)) == 20000
    assert names[:2] == ["A", "B"]
    assert names[61:63] == ["9", "AA"]


def test_frames_of_the_run_tell_chain_ends_by_the_median() -> None:
    topology = make_topology(["1", "2", "3", "4"])
    apart, cut = straight(4, {2: 0.9}), straight(4)
    assert segments(topology, positions=apart) == [3, 1]
    # soft bonds: what is far in one frame is near in another
    assert segments(topology, positions=np.stack([apart, cut, cut])) == [4]
    # and strangers that touch once are no chain
    assert segments(topology, positions=np.stack([apart, cut, apart])) == [3, 1]
    assert segments(topology, positions=np.stack([apart, apart])) == [3, 1]
    boxes = np.stack([np.diag([1.0, 9.0, 9.0]), np.zeros((3, 3))])
    wrapped = np.stack([straight(4) % np.array([1.0, 9.0, 9.0]), cut])
    assert segments(topology, positions=wrapped, box=boxes) == [4]
