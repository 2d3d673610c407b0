"""A running CALVADOS 3 simulation: centres of mass found out, said, and met."""

from collections.abc import Callable
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
from openmm import app, unit

from openmm_backmap import AtomFrame, BackmapReporter, BackmapWarning
from openmm_backmap.mapping.coarsen import coarsen_topology


@pytest.fixture
def simulation(shared: Path) -> app.Simulation:
    """Give a simulation of hnRNPA1S from the files that CALVADOS 3 saved."""
    folder = shared / "cases" / "calvados3_hnRNPA1S"
    if not folder.exists():
        pytest.skip("no CALVADOS 3 case beside the data")
    text = (folder / "hnRNPA1S.xml").read_text(encoding="utf-8")
    top = app.PDBFile(str(folder / "top.pdb"))
    integrator = openmm.LangevinMiddleIntegrator(
        293 * unit.kelvin, 0.01 / unit.picosecond, 10 * unit.femtosecond
    )
    integrator.setRandomNumberSeed(1)
    simulation = app.Simulation(
        top.topology,
        openmm.XmlSerializer.deserialize(text),
        integrator,
        openmm.Platform.getPlatform("CPU"),
        {"Threads": "1"},
    )
    trajectory = mdtraj.load(str(folder / "hnRNPA1S.dcd"), top=str(folder / "top.pdb"))
    simulation.context.setPositions(trajectory.xyz[-1])
    simulation.context.setPeriodicBoxVectors(*trajectory.unitcell_vectors[-1])
    simulation.context.setVelocitiesToTemperature(293 * unit.kelvin, 1)
    return simulation


def test_centres_of_mass_are_found_said_and_met_in_a_running_simulation(
    simulation: app.Simulation, make_reporter: Callable[..., BackmapReporter]
) -> None:
    seen: list[AtomFrame] = []
    beads: list[np.ndarray] = []
    reporter = make_reporter(interval=20, callback=seen.append)
    simulation.reporters.append(reporter)
    with pytest.warns(BackmapWarning, match="taken for such"), reporter:
        for _ in range(2):
            simulation.step(20)
            state = simulation.context.getState(getPositions=True)
            beads.append(state.getPositions(asNumpy=True)._value)
    topology = reporter.backmapper.cg_topology
    is_com = topology.anchor_slot == 1
    wanted = np.zeros(314, bool)
    wanted[9:90] = wanted[103:180] = True
    np.testing.assert_array_equal(is_com, wanted)
    assert topology.mapping.name == "mixed"
    assert [frame.step for frame in seen] == [20, 40]
    atoms = np.stack([frame.positions for frame in seen])
    _, centers = coarsen_topology(
        reporter.backmapper.atom_topology.topology, atoms, mapping="com"
    )
    # the molecule may lie in another periodic image
    edge = np.diag(seen[0].box)
    gap = centers - np.stack(beads)
    gap = np.linalg.norm(gap - edge * np.round(gap / edge), axis=-1)[:, is_com]
    assert gap.max() < 0.02 and gap.mean() < 0.003
