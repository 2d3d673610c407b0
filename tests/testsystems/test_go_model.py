"""The structure-based model: its ground state is the structure it came from."""

import numpy as np
import openmm
import pytest
from openmm import unit

from openmm_backmap.errors import InputError
from openmm_backmap.testsystems import CAGoModel


def compute_energies(model, positions):
    """Potential energy of each force in kJ/mol, on the Reference platform."""
    for k, force in enumerate(model.system.getForces()):
        force.setForceGroup(k)
    context = openmm.Context(
        model.system,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatform("Reference"),
    )
    context.setPositions(positions)
    return [
        context.getState(energy=True, groups={k})
        .getPotentialEnergy()
        .value_in_unit(unit.kilojoule_per_mole)
        for k in range(model.system.getNumForces())
    ]


def test_native_structure_is_the_ground_state():
    model = CAGoModel(contact_energy=2.0)
    bonds, angles, dihedrals, contacts, excluded = compute_energies(
        model, model.positions
    )
    assert abs(bonds) + abs(angles) + abs(dihedrals) < 1e-3
    # 5 - 6 = -1 times e a contact
    assert contacts == pytest.approx(-2.0 * len(model.contacts), rel=1e-5)
    assert 0.0 <= excluded < 0.2 * abs(contacts)
    assert model.compute_native_fraction(model.positions._value[None])[0] == 1.0


def test_stretched_bond_costs_what_the_formula_says():
    """100 e (dr / A)^2: the last bead of a straight pull, other terms aside."""
    model = CAGoModel(contact_energy=2.0)
    positions = np.array(model.positions._value)
    direction = positions[-1] - positions[-2]
    positions[-1] += 0.02 * direction / np.linalg.norm(direction)
    bonds = compute_energies(model, positions)[0]
    assert bonds == pytest.approx(100.0 * 2.0 * 0.2**2, rel=1e-3)


@pytest.mark.parametrize(
    ("atoms", "force"), [((0, 1, 2), 1), ((0, 1, 2, 3), 2)], ids=["angle", "dihedral"]
)
def test_angle_and_dihedral_rest_at_their_native_values(atoms, force):
    """Moved beads raise the energy on both sides of the native value."""
    model = CAGoModel()
    start = np.array(model.positions._value)
    u, v = start[1] - start[0], start[2] - start[1]
    normal = np.cross(u, v) / np.linalg.norm(np.cross(u, v))
    across = np.cross(normal, u) / np.linalg.norm(u)
    direction = across if force == 1 else normal
    for sign in (-1.0, 1.0):
        moved = start.copy()
        moved[0] += sign * 0.03 * direction
        assert compute_energies(model, moved)[force] > 0.02


def test_native_contacts_are_kept_at_low_temperature():
    model = CAGoModel()
    simulation = model.create_simulation(temperature=150.0, platform="CPU")
    fractions = []
    for _ in range(4):
        simulation.step(500)
        state = simulation.context.getState(positions=True, energy=True)
        assert np.isfinite(state.getPotentialEnergy()._value)
        positions = state.getPositions(asNumpy=True)._value
        fractions.append(model.compute_native_fraction(positions[None])[0])
    assert min(fractions) > 0.95
    # and lost far above the folding temperature
    hot = model.create_simulation(temperature=900.0, platform="CPU")
    hot.step(2000)
    positions = hot.context.getState(positions=True).getPositions(asNumpy=True)._value
    assert model.compute_native_fraction(positions[None])[0] < 0.5


def test_same_seed_gives_the_same_run():
    ends = []
    for seed in (3, 3, 4):
        simulation = CAGoModel().create_simulation(seed=seed, platform="Reference")
        simulation.step(50)
        state = simulation.context.getState(positions=True)
        ends.append(state.getPositions(asNumpy=True)._value)
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.abs(ends[0] - ends[2]).max() > 1e-3


def test_topology_tells_residues_ids_and_bonds(protein):
    topology = CAGoModel().topology
    residues = list(topology.residues())
    assert [r.id for r in residues] == [str(i) for i in range(1, 98)]
    assert [r.name for r in residues[:3]] == ["MET", "ARG", "ARG"]
    assert topology.getNumAtoms() == protein.n_residues
    assert topology.getNumBonds() == protein.n_residues - 1


def test_two_chains_in_a_box_hold_each_other(tmp_path, protein_path):
    """A dimer by a copy of the chain: contacts across, no bond across."""
    atoms = [x for x in protein_path.read_text().splitlines() if x[:4] == "ATOM"]
    shifted = [
        f"{x[:21]}B{x[22:30]}{float(x[30:38]) + 24.0:8.3f}{x[38:]}" for x in atoms
    ]
    path = tmp_path / "dimer.pdb"
    path.write_text("\n".join([*atoms, "TER", *shifted, "TER", "END", ""]))
    box = np.diag([12.0, 10.0, 10.0])
    model = CAGoModel(path, box=box)
    assert model.topology.getNumChains() == 2
    assert model.topology.getNumBonds() == 2 * 96
    chain = model.contacts // 97
    n_across = int((chain[:, 0] != chain[:, 1]).sum())
    assert n_across > 0
    assert model.system.usesPeriodicBoundaryConditions()
    vectors = model.topology.getPeriodicBoxVectors().value_in_unit(unit.nanometer)
    np.testing.assert_allclose(np.array(vectors), box)
    simulation = model.create_simulation(temperature=100.0, platform="CPU")
    simulation.step(200)
    state = simulation.context.getState(positions=True)
    positions = state.getPositions(asNumpy=True)._value
    assert model.compute_native_fraction(positions[None])[0] > 0.9


def test_gap_in_the_chain_is_not_bonded(tmp_path, protein_path):
    lines = [
        x
        for x in protein_path.read_text().splitlines()
        if x[:4] != "ATOM" or not 40 <= int(x[22:26]) <= 44
    ]
    path = tmp_path / "gap.pdb"
    path.write_text("\n".join([*lines, ""]))
    model = CAGoModel(path)
    assert model.topology.getNumResidues() == 92
    bonds = model.system.getForce(0)
    pairs = {tuple(bonds.getBondParameters(k)[:2]) for k in range(bonds.getNumBonds())}
    assert (38, 39) not in pairs and len(pairs) == 90


def test_structure_of_cas_only_gives_contacts_too(tmp_path, protein_path):
    lines = [x for x in protein_path.read_text().splitlines() if x[12:16] == " CA "]
    path = tmp_path / "ca.pdb"
    path.write_text("\n".join([*lines, "END", ""]))
    full, bare = CAGoModel(), CAGoModel(path)
    assert 0.5 < len(bare.contacts) / len(full.contacts) < 2.0


@pytest.mark.parametrize("text", [None, "HETATM    1  O   HOH A   1       1.0     2.0"])
def test_file_without_protein_is_refused(tmp_path, text):
    path = tmp_path / "x.pdb"
    if text is not None:
        path.write_text(
            "HETATM    1  O   HOH A   1       1.000   2.000   3.000  1.00  0.00"
            "           O\nEND\n"
        )
    with pytest.raises(InputError, match="x.pdb"):
        CAGoModel(path)
