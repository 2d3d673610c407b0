"""Raw frames of real CG simulations: all-atom MD could start from them."""

from collections.abc import Callable
from itertools import islice
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit
from scipy.spatial.distance import cdist

from openmm_backmap import Backmapper, Minimizer

CASES = {
    "calvados2_A1SLCD": ("top.pdb", "A1SLCD.dcd"),
    "calvados3_hnRNPA1S": ("top.pdb", "hnRNPA1S.dcd"),
    "openabc_moff_hp1a_dimer": ("start.pdb", "traj.dcd"),
    "opensmog_CI2_CA": ("final_openmm.pdb", "2ci2_trajectory.dcd"),
}

pytestmark = pytest.mark.filterwarnings("ignore::openmm_backmap.BackmapWarning")


@pytest.fixture
def find_case(shared: Path) -> Callable[[str], tuple[Path, Path]]:
    """Topology and trajectory of a case by its name; skips where there is none."""

    def find(case: str) -> tuple[Path, Path]:
        folder = shared / "cases" / case
        if not folder.exists():
            pytest.skip(f"no case {case} beside the data")
        return folder / CASES[case][0], folder / CASES[case][1]

    return find


@pytest.mark.parametrize(
    ("case", "n_frames"),
    [
        # all-atom energies of raw frames were 1e4 to 1e9 kJ/mol in each of these once
        ("calvados2_A1SLCD", 8),
        ("calvados3_hnRNPA1S", 4),
        ("openabc_moff_hp1a_dimer", 2),
    ],
)
def test_raw_frames_have_energies_below_zero(
    find_case: Callable, case: str, n_frames: int
) -> None:
    top, trajectory = find_case(case)
    first = mdtraj.load(str(trajectory), top=str(top)).xyz[:10]
    backmapper = Backmapper.from_topology(top, device="cpu", frames=first)
    minimizer = Minimizer(backmapper.atom_topology, solvent="gbn2")
    frames = backmapper.backmap_trajectory(trajectory, top=top)
    energies = [minimizer.energy(f.positions) for f in islice(frames, n_frames)]
    assert len(energies) == n_frames
    assert max(energies) < 0.0


@pytest.mark.parametrize(
    ("case", "chosen"),
    [
        # these went to infinity once
        ("calvados2_A1SLCD", (0, 5, 6)),
        # hydrogens of two methyls were 0.135 nm apart
        ("opensmog_CI2_CA", (19,)),
    ],
)
def test_dynamics_start_from_raw_frames(
    find_case: Callable, case: str, chosen: tuple[int, ...]
) -> None:
    """Steps of 2 fs, no minimization."""
    top, trajectory = find_case(case)
    backmapper = Backmapper.from_topology(top, device="cpu")
    topology = backmapper.atom_topology.topology
    field = app.ForceField("amber14-all.xml", "implicit/gbn2.xml")
    system = field.createSystem(topology, constraints=app.HBonds)
    n_free = 3 * system.getNumParticles() - system.getNumConstraints()
    integrator = openmm.LangevinMiddleIntegrator(300.0, 5.0, 0.002)
    integrator.setRandomNumberSeed(1)
    platform = openmm.Platform.getPlatformByName("CPU")
    simulation = app.Simulation(topology, system, integrator, platform)
    frames = backmapper.backmap_trajectory(trajectory, top=top)
    frames = islice(frames, chosen[-1] + 1)
    for frame in (f for k, f in enumerate(frames) if k in chosen):
        simulation.context.setPositions(np.asarray(frame.positions))
        simulation.context.applyConstraints(1e-6)
        simulation.context.setVelocitiesToTemperature(300.0, 1)
        for _ in range(5):
            simulation.step(8)
            state = simulation.context.getState(energy=True)
            kinetic = state.getKineticEnergy() / unit.kilojoule_per_mole
            assert 2.0 * kinetic / (8.314e-3 * n_free) < 500.0


@pytest.mark.parametrize(
    ("case", "n_frames"),
    [
        # three of these had OXT 0.22 nm from a nitrogen
        ("opensmog_CI2_CA", 20),
        # the last one had OXT 0.155 nm from a hydrogen, and was lost in dynamics
        ("calvados2_A1SLCD", 9),
    ],
)
def test_oxygens_of_a_chain_end_have_room_in_frames_of_a_simulation(
    find_case: Callable, case: str, n_frames: int
) -> None:
    top, trajectory = find_case(case)
    backmapper = Backmapper.from_topology(top, device="cpu")
    atoms = list(backmapper.atom_topology.topology.atoms())
    last = atoms[-1].residue
    others = [a.index for a in atoms if a.residue is not last]
    is_hydrogen = np.array([atoms[k].element.symbol == "H" for k in others])
    # those of N and O may be bonded to these oxygens
    polar = {b[1].index for b in backmapper.atom_topology.topology.bonds()
             if b[0].element.symbol in "NO"}  # fmt: skip
    is_apolar = is_hydrogen & np.array([k not in polar for k in others])
    oxygens = [a.index for a in last.atoms() if a.name in ("O", "OXT")]
    assert len(oxygens) == 2
    frames = backmapper.backmap_trajectory(trajectory, top=top)
    for frame in islice(frames, n_frames):
        positions = np.asarray(frame.positions)
        distance = cdist(positions[oxygens], positions[others])
        assert distance[:, ~is_hydrogen].min() > 0.235
        assert distance[:, is_hydrogen].min() > 0.14
        assert distance[:, is_apolar].min() > 0.18
