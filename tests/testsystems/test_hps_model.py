"""The model of disordered chains: energies as CALVADOS writes them."""

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import unit

from openmm_backmap.errors import InputError
from openmm_backmap.testsystems import (
    A1_LCD_SEQUENCE,
    HPSModel,
    compute_debye_hueckel,
)


def compute_energy(system, positions):
    context = openmm.Context(
        system,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatform("Reference"),
    )
    context.setPositions(positions)
    energy = context.getState(energy=True).getPotentialEnergy()
    return energy.value_in_unit(unit.kilojoule_per_mole)


def test_energies_equal_those_of_a_calvados_system(shared):
    """System XML and trajectory of a run by CALVADOS 2 itself."""
    case = shared / "cases" / "calvados2_A1SLCD"
    if not case.exists():
        pytest.skip("no CALVADOS case beside the data")
    trajectory = mdtraj.load(str(case / "A1SLCD.dcd"), top=str(case / "top.pdb"))
    theirs = openmm.XmlSerializer.deserialize((case / "A1SLCD.xml").read_text())
    sequence = "".join(r.code for r in trajectory.topology.residues)
    # the ionic strength of that run, from its Debye length of 0.6997 nm
    _, kappa = compute_debye_hueckel(293.0, 0.15)
    ionic_strength = 0.15 * (1.4291770861306172 / kappa) ** 2
    mine = HPSModel(
        sequence,
        box=np.diag([50.0, 50.0, 50.0]),
        temperature=293.0,
        ionic_strength=ionic_strength,
    )
    energies = []
    for frame in (0, 70, 199):
        positions = trajectory.xyz[frame].astype(float)
        energies.append(
            (compute_energy(mine.system, positions), compute_energy(theirs, positions))
        )
    energies = np.array(energies)
    assert np.ptp(energies[:, 1]) > 1.0
    np.testing.assert_allclose(energies[:, 0], energies[:, 1], rtol=2e-4, atol=0.01)
    masses = [
        [system.getParticleMass(i)._value for i in range(len(sequence))]
        for system in (mine.system, theirs)
    ]
    # CALVADOS gives Phe at the end 163.18 = 147.18 + 16
    np.testing.assert_allclose(*masses)


def test_debye_length_of_physiological_salt_is_0_8_nm():
    strength, kappa = compute_debye_hueckel(293.0, 0.15)
    assert 1.0 / kappa == pytest.approx(0.79, abs=0.02)
    # Bjerrum length of water near 0.71 nm
    assert strength / (8.3145e-3 * 293.0) == pytest.approx(0.71, abs=0.01)


def test_two_thousand_steps_are_stable():
    simulation = HPSModel().create_simulation(temperature=293.0, platform="CPU")
    temperatures = []
    for _ in range(10):
        simulation.step(200)
        state = simulation.context.getState(energy=True, positions=True)
        assert np.isfinite(state.getPotentialEnergy()._value)
        temperatures.append(state.getKineticEnergy()._value / (1.5 * 137 * 8.3145e-3))
    assert np.mean(temperatures) == pytest.approx(293.0, rel=0.1)
    positions = state.getPositions(asNumpy=True)._value
    bonds = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    # sqrt(kT / k) = 0.017 nm
    assert bonds.mean() == pytest.approx(0.38, abs=0.01)
    assert bonds.std() == pytest.approx(0.017, abs=0.004)


def test_start_has_good_bonds_and_no_overlap():
    positions = HPSModel(seed=7).positions._value
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    near = np.abs(np.subtract.outer(np.arange(137), np.arange(137)))
    np.testing.assert_allclose(distance[near == 1], 0.38, atol=1e-9)
    assert distance[near > 2].min() > 0.59


def test_many_chains_of_two_kinds_in_a_box():
    box = np.diag([25.0, 25.0, 25.0])
    model = HPSModel(["GSGSGSYGSG", "EKEKEKEKEKEK"], n_copies=4, box=box)
    chains = list(model.topology.chains())
    assert [len(list(c.residues())) for c in chains] == [10] * 4 + [12] * 4
    assert [c.id for c in chains] == list("ABCDEFGH")
    positions = model.positions._value
    assert (positions > 0).all() and (positions < 25.0).all()
    assert model.system.getForce(0).getNumBonds() == 4 * 9 + 4 * 11
    simulation = model.create_simulation(platform="CPU")
    simulation.step(100)
    state = simulation.context.getState(energy=True)
    assert np.isfinite(state.getPotentialEnergy()._value)
    np.testing.assert_allclose(state.getPeriodicBoxVectors(asNumpy=True)._value, box)


def test_charges_follow_ends_and_ph():
    def charges(sequence, ph):
        model = HPSModel(sequence, ph=ph)
        force = model.system.getForce(2)
        n = force.getNumParticles()
        return [force.getParticleParameters(i)[0] for i in range(n)]

    assert charges("GKEG", 7.5) == [1.0, 1.0, -1.0, -1.0]
    assert charges("GHG", 6.0)[1] == pytest.approx(0.5)
    assert charges("GHG", 12.0)[1] < 1e-5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sequences": "GSX"}, "'X'"),
        ({"sequences": ""}, "one-letter"),
        ({"box": np.diag([7.0, 20.0, 20.0])}, "larger box"),
        ({"box": np.diag([14.0] * 3), "n_copies": 50}, "larger box"),
    ],
)
def test_bad_input_is_refused_with_the_remedy(arguments, words):
    with pytest.raises(InputError, match=words):
        HPSModel(**arguments)


def test_default_sequence_is_the_low_complexity_domain(shared):
    assert len(A1_LCD_SEQUENCE) == 137
    case = shared / "cases" / "calvados2_slab20_A1LCD" / "top.pdb"
    if not case.exists():
        pytest.skip("no CALVADOS case beside the data")
    chain = next(mdtraj.load(str(case)).topology.chains)
    assert "".join(r.code for r in chain.residues) == A1_LCD_SEQUENCE
