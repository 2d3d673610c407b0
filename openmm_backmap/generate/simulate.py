"""All-atom molecular dynamics of one chain in implicit solvent."""

from dataclasses import dataclass

import numpy as np
import openmm

from openmm_backmap.errors import InputError
from openmm_backmap.frames import AtomFrame
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.minimizer import Minimizer
from openmm_backmap.minimizer_system import create_system

__all__ = ["ChainSimulation", "SimulationSettings", "create_md_system"]

_FRICTION = 5.0  # 1/ps
_TOLERANCE = 1e-5  # of constraints
_MINIMIZER_STEPS = 150
_N_LEVELS = 10  # temperatures of annealing
_DIELECTRIC = 78.5
_FAR = 100.0  # nm; no peptide gets there in picoseconds
_LIGHT = 1.5  # dalton; lighter atoms are hydrogens


@dataclass(frozen=True)
class SimulationSettings:
    """How a chain is simulated.

    Parameters
    ----------
    solvent : str
        "obc" (GBSA-OBC II), "gbn2" or "vacuum".
    timestep : float
        In ps.
    hydrogen_mass : float
        In dalton; taken from the heavy atom the hydrogen is bonded to.
    hot_temperature : float
        At which annealing begins, in kelvin.
    annealing_time : float
        In which the temperature falls to that of sampling, with charges in a
        uniform dielectric in place of the solvent model, in ps.
    equilibration_time : float
        With the solvent model, before the first frame is due, in ps.
    interval : float
        Before each frame, in ps.
    frames_per_start : int
        Frames of one start.
    """

    solvent: str = "obc"
    timestep: float = 0.004
    hydrogen_mass: float = 3.5
    hot_temperature: float = 600.0
    annealing_time: float = 8.0
    equilibration_time: float = 1.0
    interval: float = 0.8
    frames_per_start: int = 2

    def __post_init__(self) -> None:
        """Refuse what cannot be simulated."""
        for name in ("timestep", "hydrogen_mass", "hot_temperature", "interval"):
            if not getattr(self, name) > 0.0:
                raise InputError(f"{name} = {getattr(self, name)}: give more than 0")
        for name in ("annealing_time", "equilibration_time"):
            if not getattr(self, name) >= 0.0:
                raise InputError(f"{name} = {getattr(self, name)}: give 0 or more")
        if self.frames_per_start < 1:
            raise InputError(
                f"frames_per_start = {self.frames_per_start}: give 1 or more"
            )

    @property
    def time_per_start(self) -> float:
        """Simulated time of one start in ps."""
        sampled = self.interval * self.frames_per_start
        return self.annealing_time + self.equilibration_time + sampled


def create_md_system(
    atom_topology: AtomTopology, settings: SimulationSettings, solvent: str
) -> openmm.System:
    """Amber ff14SB without cut-off, rigid bonds to hydrogen, heavy hydrogens.

    Parameters
    ----------
    atom_topology : AtomTopology
        With hydrogens.
    settings : SimulationSettings
        For the hydrogen mass.
    solvent : str
        "obc", "gbn2", "vacuum", or "dielectric": charges screened as in bulk
        water and nothing else, a fifth of the cost of "obc".

    Returns
    -------
    openmm.System
        No periodicity.
    """
    model = "vacuum" if solvent == "dielectric" else solvent
    system = create_system(atom_topology, solvent=model, cutoff=None)
    masses = [system.getParticleMass(k)._value for k in range(atom_topology.n_atoms)]
    is_light = np.array(masses) < _LIGHT
    for force in system.getForces():
        if solvent == "dielectric" and isinstance(force, openmm.NonbondedForce):
            _screen(force)
        if not isinstance(force, openmm.HarmonicBondForce):
            continue
        for k in range(force.getNumBonds()):
            i, j, length, _ = force.getBondParameters(k)
            if is_light[i] == is_light[j]:
                continue
            hydrogen, heavy = (i, j) if is_light[i] else (j, i)
            system.addConstraint(i, j, length)
            gain = settings.hydrogen_mass - system.getParticleMass(hydrogen)._value
            rest = system.getParticleMass(heavy)._value - gain
            system.setParticleMass(hydrogen, settings.hydrogen_mass)
            system.setParticleMass(heavy, rest)
    masses = [system.getParticleMass(k)._value for k in range(len(is_light))]
    if min(masses) <= 0.0:
        raise InputError(
            f"hydrogen_mass = {settings.hydrogen_mass}: a heavy atom is left with "
            f"{min(masses):.2f} dalton, give less"
        )
    return system


def _screen(force: openmm.NonbondedForce) -> None:
    """Divide all charge products by the dielectric constant of water."""
    for k in range(force.getNumParticles()):
        charge, sigma, epsilon = force.getParticleParameters(k)
        force.setParticleParameters(k, charge / _DIELECTRIC**0.5, sigma, epsilon)
    for k in range(force.getNumExceptions()):
        i, j, product, sigma, epsilon = force.getExceptionParameters(k)
        force.setExceptionParameters(k, i, j, product / _DIELECTRIC, sigma, epsilon)


class _Walker:
    """A Context with its thermostat."""

    def __init__(
        self, system: openmm.System, timestep: float, platform: str, threads: int
    ) -> None:
        self._timestep = timestep
        self._integrator = openmm.LangevinMiddleIntegrator(300.0, _FRICTION, timestep)
        self._integrator.setConstraintTolerance(_TOLERANCE)
        properties = {}
        if platform == "CPU":
            properties = {"Threads": str(threads), "DeterministicForces": "true"}
        self.context = openmm.Context(
            system,
            self._integrator,
            openmm.Platform.getPlatformByName(platform),
            properties,
        )

    def start(self, positions: np.ndarray, temperature: float, seed: int) -> None:
        """Begin from positions in nm with new velocities and a new noise."""
        self._integrator.setRandomNumberSeed(seed)
        self.context.reinitialize()  # a seed takes effect with a new context
        self._integrator.setTemperature(temperature)
        self.context.setPositions(positions)
        self.context.applyConstraints(_TOLERANCE)
        self.context.setVelocitiesToTemperature(temperature, seed)

    def walk(self, time: float, temperature: float) -> np.ndarray:
        """Go on for a time in ps; positions (N, 3) in nm."""
        self._integrator.setTemperature(temperature)
        self._integrator.step(round(time / self._timestep))
        return self.context.getState(positions=True).getPositions(asNumpy=True)._value


class ChainSimulation:
    """Runs short trajectories of one chain from many starts.

    Parameters
    ----------
    atom_topology : AtomTopology
        The chain, with hydrogens.
    settings : SimulationSettings
        Times and force field.
    platform : str or None
        OpenMM platform. If None, the fastest there is.
    threads : int
        Threads of the CPU platform.

    Raises
    ------
    InputError
        If the platform does not work, or a setting is out of range.
    """

    def __init__(
        self,
        atom_topology: AtomTopology,
        settings: SimulationSettings,
        platform: str | None = None,
        threads: int = 1,
    ) -> None:
        self.atom_topology = atom_topology
        self.settings = settings
        self._minimizer = Minimizer(
            atom_topology,
            solvent="vacuum",
            maxIterations=_MINIMIZER_STEPS,
            restraint=0.0,
            cutoff=None,
            platform=platform,
            threads=threads,
        )
        self.platform = self._minimizer.platform
        self._annealer, self._sampler = (
            _Walker(
                create_md_system(atom_topology, settings, solvent),
                settings.timestep,
                self.platform,
                threads,
            )
            for solvent in ("dielectric", settings.solvent)
        )

    def run(
        self, positions: np.ndarray, temperature: float, seed: int
    ) -> np.ndarray | None:
        """Minimize, anneal, equilibrate and sample from one start.

        Parameters
        ----------
        positions : numpy.ndarray, shape (N, 3)
            All atoms in nm.
        temperature : float
            Of equilibration and sampling, in kelvin.
        seed : int
            Of velocities and noise, 1 to 2**31 - 1.

        Returns
        -------
        numpy.ndarray, shape (F, N, 3), float32, or None
            Frames in nm; None if the run exploded.
        """
        settings = self.settings
        relaxed = self._minimizer.minimize(AtomFrame(np.float32(positions)))
        if relaxed.is_failed:
            return None
        try:
            position = relaxed.frame.positions.astype(np.float64)
            hot = max(settings.hot_temperature, temperature)
            self._annealer.start(position, hot, seed)
            for level in np.linspace(hot, temperature, _N_LEVELS):
                time = settings.annealing_time / _N_LEVELS
                position = self._annealer.walk(time, float(level))
            self._sampler.start(position, temperature, seed)
            self._sampler.walk(settings.equilibration_time, temperature)
            frames = [
                self._sampler.walk(settings.interval, temperature)
                for _ in range(settings.frames_per_start)
            ]
        except openmm.OpenMMException as error:
            if any(word in str(error).lower() for word in ("nan", "constraint")):
                return None
            raise
        if not (np.abs(frames) < _FAR).all():  # nan is not below either
            return None
        return np.array(frames, np.float32)
