"""What the coarse-grained test systems share."""

from collections.abc import Sequence

import numpy as np
import openmm
from openmm import app, unit

from openmm_backmap.residues.names import ONE_TO_THREE

__all__ = ["CGTestSystem", "make_ca_topology"]


def make_ca_topology(
    sequences: Sequence[str], residue_ids: Sequence[Sequence[str]] | None = None
) -> app.Topology:
    """Make a topology with one CA a residue, bonded along each chain.

    Parameters
    ----------
    sequences : sequence of str
        One-letter codes of each chain.
    residue_ids : sequence of sequence of str or None
        Residue ids of each chain. If None, they count from 1.

    Returns
    -------
    openmm.app.Topology
        Chains A, B, ... Z, then A1, B1, ...
    """
    topology = app.Topology()
    carbon = app.Element.getBySymbol("C")
    for k, sequence in enumerate(sequences):
        letter, round_ = chr(ord("A") + k % 26), k // 26
        chain = topology.addChain(letter if round_ == 0 else f"{letter}{round_}")
        previous = None
        for i, code in enumerate(sequence):
            id_ = str(i + 1) if residue_ids is None else residue_ids[k][i]
            residue = topology.addResidue(ONE_TO_THREE[code], chain, id_)
            atom = topology.addAtom("CA", carbon, residue)
            if previous is not None:
                topology.addBond(previous, atom)
            previous = atom
    return topology


class CGTestSystem:
    """A coarse-grained system that is ready to be simulated.

    Parameters
    ----------
    system : openmm.System
        Forces and masses.
    topology : openmm.app.Topology
        One CA a residue.
    positions : numpy.ndarray, shape (R, 3)
        Start in nm.

    Attributes
    ----------
    system : openmm.System
        Forces and masses.
    topology : openmm.app.Topology
        One CA a residue.
    positions : openmm.unit.Quantity, shape (R, 3)
        Start.
    """

    def __init__(
        self, system: openmm.System, topology: app.Topology, positions: np.ndarray
    ) -> None:
        self.system = system
        self.topology = topology
        self.positions = np.asarray(positions, np.float64) * unit.nanometer

    def create_simulation(
        self,
        *,
        temperature: float = 300.0,
        timestep: float = 0.01,
        friction: float = 1.0,
        seed: int = 1,
        platform: str | None = None,
    ) -> app.Simulation:
        """Make a Langevin simulation at the start, with thermal velocities.

        Parameters
        ----------
        temperature : float
            In kelvin.
        timestep : float
            In ps.
        friction : float
            Collision rate in 1/ps.
        seed : int
            For the velocities and the thermostat; not 0, which OpenMM takes
            for "choose one".
        platform : str or None
            Name of an OpenMM platform. If None, OpenMM chooses the fastest.

        Returns
        -------
        openmm.app.Simulation
            At step 0.
        """
        integrator = openmm.LangevinMiddleIntegrator(
            temperature * unit.kelvin,
            friction / unit.picosecond,
            timestep * unit.picosecond,
        )
        integrator.setRandomNumberSeed(seed)
        chosen = [] if platform is None else [openmm.Platform.getPlatform(platform)]
        simulation = app.Simulation(self.topology, self.system, integrator, *chosen)
        simulation.context.setPositions(self.positions)
        simulation.context.setVelocitiesToTemperature(temperature * unit.kelvin, seed)
        return simulation
