"""Minimizer: lower energy, small moves, no exception, nobody disturbed."""

import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import openmm
import pytest
import torch
from openmm import app, unit

from openmm_backmap import minimizer as minimizer_module
from openmm_backmap import minimizer_system
from openmm_backmap.builder.backbone import place_terminal_oxygen
from openmm_backmap.errors import InputError
from openmm_backmap.frames import AtomFrame
from openmm_backmap.hydrogens import HydrogenPlacer
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.minimizer import Minimizer
from openmm_backmap.minimizer_restraints import (
    count_turned,
    list_hands,
    list_peptides,
    restrain_shapes,
    set_peptide_sides,
)
from openmm_backmap.minimizer_system import create_system
from openmm_backmap.residues.names import CODES

N_RESIDUES = 24
"""Residues of the hairpin that is minimized; the whole protein takes longer."""


def reference_energy(system: openmm.System, positions: np.ndarray) -> float:
    """Energy in kJ/mol on the Reference platform."""
    context = openmm.Context(
        system,
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )
    context.setPositions(positions.astype(np.float64))
    return context.getState(getEnergy=True).getPotentialEnergy()._value


@pytest.fixture
def piece(protein: SimpleNamespace) -> SimpleNamespace:
    """First residues of a real protein: topology and one frame with hydrogens."""
    heavy = protein.positions[:, :N_RESIDUES]
    letters = np.array(list(CODES))[protein.residue_type[:N_RESIDUES]]
    cg = CGTopology.from_sequence("".join(letters))
    oxt = place_terminal_oxygen(
        torch.from_numpy(heavy), torch.from_numpy(cg.chain_index)
    ).numpy()
    topology = AtomTopology.from_cg_topology(cg)
    positions = HydrogenPlacer(topology).place(heavy, oxt)[0]
    box = 5.0 * np.eye(3, dtype=np.float32)
    confidence = np.linspace(0, 1, N_RESIDUES, dtype=np.float32)
    return SimpleNamespace(
        heavy=heavy,
        oxt=oxt,
        cg=cg,
        topology=topology,
        frame=AtomFrame(positions, box, 700, 1.4, confidence, sample=2),
    )


@pytest.mark.parametrize("solvent", ["vacuum", "obc", "gbn2"])
def test_minimizing_lowers_the_energy_and_keeps_ca_in_place(
    piece: SimpleNamespace, solvent: str
) -> None:
    minimizer = Minimizer(
        piece.topology, solvent=solvent, maxIterations=30, platform="CPU", threads=1
    )
    result = minimizer.minimize(piece.frame)
    assert not result.is_failed and not result.message
    assert result.energy_after < result.energy_before - 100.0
    assert 0 < result.iterations <= 30
    assert result.seconds > 0.0
    moved = result.frame.positions - piece.frame.positions
    is_heavy = np.array(
        [a.element.symbol != "H" for a in piece.topology.topology.atoms()]
    )
    wanted = np.sqrt((moved[is_heavy] ** 2).sum(1).mean())
    assert result.displacement == pytest.approx(wanted, rel=1e-3)
    assert 0.0 < result.displacement < 0.06
    assert np.linalg.norm(moved[piece.topology.ca_atom], axis=1).max() < 0.06


def test_the_frame_keeps_box_step_time_confidence_and_sample(
    piece: SimpleNamespace,
) -> None:
    minimizer = Minimizer(piece.topology, maxIterations=5, platform="CPU", threads=1)
    frame = minimizer.minimize(piece.frame).frame
    assert frame.stage == "minimized"
    assert frame.positions.dtype == np.float32
    assert frame.positions.shape == piece.frame.positions.shape
    assert (frame.step, frame.time, frame.sample) == (700, 1.4, 2)
    assert np.array_equal(frame.box, piece.frame.box)
    assert np.array_equal(frame.confidence, piece.frame.confidence)
    assert piece.frame.stage == "model"


def test_energies_are_those_of_the_force_field_without_restraints(
    piece: SimpleNamespace,
) -> None:
    """Against a System made by openmm.app alone, before and after."""
    field = app.ForceField("amber14-all.xml")
    system = field.createSystem(
        piece.topology.topology,
        nonbondedMethod=app.CutoffNonPeriodic,
        nonbondedCutoff=1.0 * unit.nanometer,
    )
    minimizer = Minimizer(
        piece.topology, maxIterations=20, restraint=5000.0, platform="CPU", threads=1
    )
    result = minimizer.minimize(piece.frame)
    for energy, positions in (
        (result.energy_before, piece.frame.positions),
        (result.energy_after, result.frame.positions),
    ):
        assert energy == pytest.approx(reference_energy(system, positions), abs=0.5)
        assert minimizer.energy(positions) == pytest.approx(energy, abs=0.5)


@pytest.mark.parametrize("cutoff", [1.0, None])
def test_the_fast_obc_force_is_that_of_openmm_app(
    piece: SimpleNamespace, cutoff: float | None
) -> None:
    options = {"nonbondedMethod": app.NoCutoff}
    if cutoff:
        options = {
            "nonbondedMethod": app.CutoffNonPeriodic,
            "nonbondedCutoff": cutoff * unit.nanometer,
        }
    field = app.ForceField("amber14-all.xml", "implicit/obc2.xml")
    slow = field.createSystem(piece.topology.topology, **options)
    fast = create_system(piece.topology, solvent="obc", cutoff=cutoff)
    names = {force.getName() for force in fast.getForces()}
    assert "GBSAOBCForce" in names and "CustomGBForce" not in names
    positions = piece.frame.positions
    assert reference_energy(fast, positions) == pytest.approx(
        reference_energy(slow, positions), abs=0.05
    )


def test_a_stronger_restraint_holds_ca_better(piece: SimpleNamespace) -> None:
    moves = []
    for restraint in (0.0, 1000.0, 100_000.0):
        minimizer = Minimizer(
            piece.topology, restraint=restraint, platform="CPU", threads=1
        )
        frame = minimizer.minimize(piece.frame).frame
        moved = (frame.positions - piece.frame.positions)[piece.topology.ca_atom]
        moves.append(float(np.sqrt((moved**2).sum(1).mean())))
    assert moves[0] > moves[1] > moves[2]
    assert moves[2] < 0.005


def test_frames_are_independent_of_what_was_minimized_before(
    piece: SimpleNamespace, rng: np.random.Generator
) -> None:
    minimizer = Minimizer(
        piece.topology, maxIterations=10, platform="Reference", threads=1
    )
    alone = minimizer.minimize(piece.frame)
    shaken = piece.frame.positions + rng.normal(0, 0.02, piece.frame.positions.shape)
    shaken = shaken.astype(np.float32) + np.float32([3.0, -2.0, 1.0])
    other = minimizer.minimize(replace(piece.frame, positions=shaken))
    assert other.energy_after < other.energy_before
    again = minimizer.minimize(piece.frame)
    assert np.array_equal(again.frame.positions, alone.frame.positions)
    assert again.energy_after == alone.energy_after


def test_a_frame_far_from_the_origin_is_minimized_as_well(
    piece: SimpleNamespace,
) -> None:
    minimizer = Minimizer(piece.topology, maxIterations=20, platform="CPU", threads=1)
    far = replace(piece.frame, positions=piece.frame.positions + np.float32(300.0))
    result = minimizer.minimize(far)
    near = minimizer.minimize(piece.frame)
    # float32 leaves 3e-5 nm at 300 nm
    assert result.energy_after == pytest.approx(near.energy_after, abs=50.0)
    moved = result.frame.positions - far.positions
    assert np.abs(moved[piece.topology.ca_atom]).max() < 0.05


@pytest.mark.parametrize("sigma", [0.03, 0.1])
def test_clashes_are_resolved(
    piece: SimpleNamespace, rng: np.random.Generator, sigma: float
) -> None:
    noise = rng.normal(0, sigma, piece.frame.positions.shape).astype(np.float32)
    frame = replace(piece.frame, positions=piece.frame.positions + noise)
    minimizer = Minimizer(piece.topology, platform="CPU", threads=1)
    result = minimizer.minimize(frame)
    assert not result.is_failed
    assert result.energy_before > 1e5
    assert result.energy_after < 5e3


def test_atoms_on_one_point_are_no_error(piece: SimpleNamespace) -> None:
    positions = piece.frame.positions.copy()
    positions[100] = positions[300]
    positions[50:55] = positions[50]
    minimizer = Minimizer(piece.topology, platform="CPU", threads=1)
    result = minimizer.minimize(replace(piece.frame, positions=positions))
    assert not result.is_failed
    assert not np.isfinite(result.energy_before) or result.energy_before > 1e6
    assert result.energy_after < 5e3


def test_a_residue_of_the_wrong_hand_is_turned_back(piece: SimpleNamespace) -> None:
    topology = piece.topology
    positions = piece.frame.positions.copy()
    residue = 5
    n, ca, c = positions[topology.slot_atom[residue, :3]]
    normal = np.cross(n - ca, c - ca)
    normal /= np.linalg.norm(normal)
    first, last = topology.first_atom[residue : residue + 2]
    atoms = np.arange(first, last)
    mirrored = atoms[~np.isin(atoms, topology.slot_atom[residue, :4])]
    names = [atom.name for atom in topology.topology.atoms()]
    mirrored = mirrored[[names[k] != "H" for k in mirrored]]
    height = (positions[mirrored] - ca) @ normal
    positions[mirrored] -= 2.0 * height[:, None] * normal
    hands, peptides = list_hands(topology), list_peptides(topology)
    frame = replace(piece.frame, positions=positions)
    result = Minimizer(topology, maxIterations=300, threads=1).minimize(frame)
    assert not result.is_failed and result.n_turned == 0
    relaxed = result.frame.positions
    assert count_turned(piece.frame.positions, positions, hands, peptides) >= 1
    assert count_turned(piece.frame.positions, relaxed, hands, peptides) == 0


def test_what_turned_over_is_counted(piece: SimpleNamespace) -> None:
    positions = piece.frame.positions
    hands, peptides = list_hands(piece.topology), list_peptides(piece.topology)
    mirrored = positions * np.float32([1.0, 1.0, -1.0])
    assert count_turned(positions, positions, hands, peptides) == 0
    assert count_turned(positions, mirrored, hands, peptides) == len(hands)
    # moving CA to the other side of its C-N bond makes a peptide cis
    turned = positions.copy()
    here, carbon, nitrogen, _ = positions[peptides[3]]
    axis = (nitrogen - carbon) / np.linalg.norm(nitrogen - carbon)
    lever = here - carbon
    turned[peptides[3, 0]] = carbon + 2.0 * (lever @ axis) * axis - lever
    assert count_turned(positions, turned, hands[:0], peptides[3:4]) == 1


def test_a_broken_frame_is_flagged_and_passed_on(piece: SimpleNamespace) -> None:
    positions = piece.frame.positions.copy()
    positions[7] = np.nan
    frame = replace(piece.frame, positions=positions)
    minimizer = Minimizer(piece.topology, maxIterations=5, platform="CPU", threads=1)
    result = minimizer.minimize(frame)
    assert result.is_failed
    assert "not finite" in result.message
    assert result.frame is frame
    assert np.isnan(result.energy_after)
    assert not minimizer.minimize(piece.frame).is_failed


def test_a_context_that_finds_no_memory_flags_the_frame(
    piece: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The softened one is made when a frame needs it, beside a simulation."""
    minimizer = Minimizer(piece.topology, threads=1)

    def refuse(*arguments: object) -> None:
        raise InputError("no OpenMM platform works for the minimizer (CUDA: memory)")

    monkeypatch.setattr(minimizer_module, "make_context", refuse)
    monkeypatch.setattr(minimizer_module, "_STRAINED", -np.inf)
    result = minimizer.minimize(piece.frame)
    assert result.is_failed and "CUDA: memory" in result.message
    assert result.frame is piece.frame


def test_a_running_simulation_is_not_disturbed(piece: SimpleNamespace) -> None:
    """Same positions with and without a Minimizer between its steps."""
    system = create_system(piece.topology)
    platform = openmm.Platform.getPlatformByName("Reference")
    before = {
        name: platform.getPropertyDefaultValue(name)
        for name in platform.getPropertyNames()
    }
    ends = []
    for is_between in (False, True):
        integrator = openmm.LangevinIntegrator(300.0, 1.0, 0.001)
        integrator.setRandomNumberSeed(11)
        simulation = app.Simulation(
            piece.topology.topology, system, integrator, platform
        )
        simulation.context.setPositions(piece.frame.positions)
        simulation.context.setVelocitiesToTemperature(300.0, 5)
        for _ in range(2):
            simulation.step(3)
            if is_between:
                minimizer = Minimizer(piece.topology, maxIterations=3, threads=1)
                minimizer.minimize(piece.frame)
        state = simulation.context.getState(getPositions=True)
        ends.append(state.getPositions(asNumpy=True)._value)
    assert np.array_equal(*ends)
    assert before == {
        name: platform.getPropertyDefaultValue(name)
        for name in platform.getPropertyNames()
    }


def test_phosphorylated_residues_are_minimized(piece: SimpleNamespace) -> None:
    swap = {"SER": "SEP", "THR": "TPO", "TYR": "PTR"}
    cg = replace(
        piece.cg, residue_name=tuple(swap.get(n, n) for n in piece.cg.residue_name)
    )
    topology = AtomTopology.from_cg_topology(cg)
    assert {"SEP", "PTR"} & {*topology.variant}
    placer = HydrogenPlacer(topology)
    frame = AtomFrame(placer.place(piece.heavy, piece.oxt)[0])
    minimizer = Minimizer(topology, solvent="obc", platform="CPU", threads=1)
    result = minimizer.minimize(frame)
    assert not result.is_failed
    assert result.energy_after < result.energy_before
    assert result.energy_after < 0.0


def test_phosphorylated_residues_carry_two_charges_wherever_they_are() -> None:
    cg = CGTopology.from_sequence(["SGSGS", "TGTGT", "YGYGY"])
    swap = {"SER": "SEP", "THR": "TPO", "TYR": "PTR"}
    names = tuple(swap.get(name, name) for name in cg.residue_name)
    topology = AtomTopology.from_cg_topology(replace(cg, residue_name=names))
    system = create_system(topology)
    force = next(f for f in system.getForces() if isinstance(f, openmm.NonbondedForce))
    charge = [force.getParticleParameters(k)[0]._value for k in range(topology.n_atoms)]
    for c in range(3):
        start, end = topology.first_atom[5 * c], topology.first_atom[5 * c + 5]
        assert sum(charge[start:end]) == pytest.approx(-6.0, abs=1e-4)


def test_arguments_that_make_no_sense_are_refused(piece: SimpleNamespace) -> None:
    for options, text in (
        ({"solvent": "water"}, "vacuum, obc, gbn2"),
        ({"maxIterations": -1}, "maxIterations"),
        ({"restraint": -1.0}, "restraint"),
        ({"tolerance": 0.0}, "tolerance"),
        ({"threads": 0}, "threads"),
        ({"platform": "Abacus"}, "CPU"),
    ):
        with pytest.raises(InputError, match=text):
            Minimizer(piece.topology, **options)
    heavy = AtomTopology.from_cg_topology(piece.cg, hydrogens=False)
    with pytest.raises(InputError, match="hydrogens"):
        Minimizer(heavy)
    minimizer = Minimizer(piece.topology, platform="CPU", threads=1)
    short = replace(piece.frame, positions=piece.frame.positions[:-1])
    with pytest.raises(InputError, match="step 700"):
        minimizer.minimize(short)


def test_quantities_are_understood(piece: SimpleNamespace) -> None:
    kilocalorie = unit.kilocalorie_per_mole / unit.angstrom**2
    plain = Minimizer(
        piece.topology, restraint=418.4, cutoff=0.9, platform="CPU", threads=1
    )
    dressed = Minimizer(
        piece.topology,
        restraint=1.0 * kilocalorie,
        cutoff=9.0 * unit.angstrom,
        platform=openmm.Platform.getPlatformByName("CPU"),
        threads=1,
    )
    one, two = (m.minimize(piece.frame).energy_after for m in (plain, dressed))
    assert one == pytest.approx(two, rel=1e-3)


def test_a_cis_peptide_stays_cis_and_the_others_trans(piece: SimpleNamespace) -> None:
    topology = piece.topology
    peptides = list_peptides(topology)
    force = restrain_shapes(topology)[1]
    positions = piece.frame.positions
    assert not set_peptide_sides(force, positions, peptides)
    turned = positions.copy()
    here, carbon, nitrogen, _ = positions[peptides[3]]
    axis = (nitrogen - carbon) / np.linalg.norm(nitrogen - carbon)
    lever = here - carbon
    turned[peptides[3, 0]] = carbon + 2.0 * (lever @ axis) * axis - lever
    assert set_peptide_sides(force, turned, peptides)
    sides = [force.getTorsionParameters(k)[-1][0] for k in range(len(peptides))]
    # the CA that moved is in the peptide before, too
    assert sides[3] == 1.0
    assert set(sides[:2] + sides[4:]) == {-1.0}
    assert set_peptide_sides(force, positions, peptides)
    # on the other side there is no minimum, only a way back
    system = openmm.System()
    for _ in range(topology.n_atoms):
        system.addParticle(1.0)
    system.addForce(force)
    context = openmm.Context(
        system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatform("Reference")
    )
    energies = []
    for x in (positions, turned):
        context.setPositions(x.astype(float))
        energies.append(context.getState(getEnergy=True).getPotentialEnergy()._value)
    assert energies[0] < 1.0
    assert energies[1] > 300.0 * 0.8**2  # that of 90 degrees


def test_two_threads_may_share_a_minimizer(piece: SimpleNamespace) -> None:
    minimizer = Minimizer(piece.topology, maxIterations=20, platform="CPU", threads=1)
    wanted = minimizer.minimize(piece.frame).energy_after
    found: list[float] = []

    def work() -> None:
        for _ in range(3):
            found.append(minimizer.minimize(piece.frame).energy_after)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert not any(thread.is_alive() for thread in threads)
    np.testing.assert_allclose(found, wanted, rtol=1e-3)
    assert len(found) == 6


@pytest.mark.parametrize("cutoff", [0.0, -1.0, float("nan")])
def test_cutoffs_that_are_none_are_refused(
    piece: SimpleNamespace, cutoff: float
) -> None:
    with pytest.raises(InputError, match="cutoff="):
        Minimizer(piece.topology, cutoff=cutoff)


def test_an_infinite_cutoff_is_none(piece: SimpleNamespace) -> None:
    energies = [
        Minimizer(piece.topology, cutoff=cutoff, platform="Reference").energy(
            piece.frame.positions
        )
        for cutoff in (None, float("inf"))
    ]
    assert energies[0] == pytest.approx(energies[1], rel=1e-6)


def test_properties_reach_the_platform(piece) -> None:
    for platform in ("CPU", openmm.Platform.getPlatformByName("CPU")):
        minimizer = Minimizer(
            piece.topology, platform=platform, threads=2, properties={"Threads": "1"}
        )
        context = minimizer._context
        assert context.getPlatform().getPropertyValue(context, "Threads") == "1"
    with pytest.raises(InputError, match="CPU.*DeviceIndx"):
        Minimizer(piece.topology, platform="CPU", properties={"DeviceIndx": "1"})


def test_properties_of_another_platform_do_not_hinder_the_choice(
    piece, monkeypatch
) -> None:
    monkeypatch.setattr(minimizer_system, "_PLATFORMS", ("CPU",))
    properties = {"DeviceIndex": "1", "Threads": "1"}
    minimizer = Minimizer(piece.topology, maxIterations=2, properties=properties)
    assert minimizer.platform == "CPU"
    pressed = replace(piece.frame, positions=piece.frame.positions * 0.7)
    # softened first, in a second Context
    assert minimizer.minimize(pressed).iterations > 2
