"""Minimizer: relax all-atom frames with ff14SB in one reused Context."""

import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import openmm
from openmm import unit
from scipy.spatial import cKDTree

from openmm_backmap.errors import InputError
from openmm_backmap.frames import AtomFrame
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.minimizer_restraints import (
    RESTRAINT_GROUP,
    count_turned,
    list_hands,
    list_peptides,
    restrain_ca,
    restrain_shapes,
    set_peptide_sides,
)
from openmm_backmap.minimizer_system import create_system, make_context, soften_system
from openmm_backmap.units import strip_unit

__all__ = ["MinimizationResult", "Minimizer"]

_COINCIDENT = 0.03  # nm; no two atoms of a molecule are so near
_STRAINED = 500.0  # kJ/mol an atom; above it contacts are softened first
_SOFT_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class MinimizationResult:
    """What became of one frame.

    Parameters
    ----------
    frame : AtomFrame
        The relaxed frame with stage "minimized"; the frame as it came if the
        minimization failed.
    energy_before : float
        Potential energy in kJ/mol, without restraints; inf or nan where atoms
        coincide.
    energy_after : float
        The same after minimization; nan if it failed.
    displacement : float
        Root mean square displacement of heavy atoms in nm, not superposed.
    iterations : int
        L-BFGS iterations, those on softened contacts included.
    seconds : float
        Wall time.
    is_failed : bool
        Whether the frame could not be minimized.
    message : str
        Why it failed, or empty.
    n_turned : int
        Chiral centres and peptides that turned over; 0 unless the frame came
        torn to pieces.
    """

    frame: AtomFrame
    energy_before: float
    energy_after: float
    displacement: float
    iterations: int
    seconds: float
    is_failed: bool = False
    message: str = ""
    n_turned: int = 0


class Minimizer:
    """Minimize the energy of all-atom frames of one topology.

    The force field is Amber ff14SB; all bonds are flexible. Restraints that are
    zero in relaxed structures keep the hands of chiral centres and peptides from
    turning over, whatever is crowded. The System and the Context are made once,
    and belong to this object: a running Simulation, its platform properties and
    its threads are not touched. Periodic boxes are kept in the frames but not
    used: chains are expected whole, and contacts with periodic images are not
    relaxed. A frame that cannot be minimized is flagged in the result and never
    raises.

    Parameters
    ----------
    atomTopology : AtomTopology
        Topology of the frames, with hydrogens.
    solvent : str
        "vacuum" (default; the fastest), "obc" or "gbn2", see
        `openmm_backmap.minimizer_system`.
    maxIterations : int
        Limit of L-BFGS iterations; 0 runs until `tolerance` is met.
    tolerance : float or Quantity
        Root mean square force at which to stop, in kJ/mol/nm.
    restraint : float or Quantity
        Force constant of harmonic restraints of CA atoms to where they came, in
        kJ/mol/nm^2; 0 for none.
    cutoff : float or Quantity or None
        Cut-off of non-bonded forces in nm. If None, all pairs. Pairs interact
        with a reaction field in vacuum, without one in implicit solvent.
    platform : str or openmm.Platform, optional
        If None, the first of CUDA, HIP, OpenCL, CPU that works.
    threads : int, optional
        Threads of the CPU platform. If None, half of the cores.
    properties : mapping of str to str, optional
        Properties of the platform, such as ``{"DeviceIndex": "1"}``.

    Raises
    ------
    InputError
        If an argument is out of range, the topology has no hydrogens, or the
        platform does not work.

    Examples
    --------
    >>> from openmm_backmap import Backmapper, CGFrame
    >>> angle = np.radians(100.0) * np.arange(8)
    >>> helix = np.stack([0.23 * np.cos(angle), 0.23 * np.sin(angle),
    ...                   0.15 * np.arange(8)], axis=1)
    >>> backmapper = Backmapper.from_topology("GASRKLEF", model="table")
    >>> frame = backmapper.backmap([CGFrame(helix)])[0]
    >>> minimizer = Minimizer(backmapper.atom_topology, maxIterations=20, threads=1)
    >>> result = minimizer.minimize(frame)
    >>> result.energy_after < result.energy_before
    True
    >>> result.frame.stage
    'minimized'
    """

    def __init__(
        self,
        atomTopology: AtomTopology,
        *,
        solvent: str = "vacuum",
        maxIterations: int = 100,
        tolerance: Any = 10.0,
        restraint: Any = 1000.0,
        cutoff: Any = 1.0,
        platform: str | openmm.Platform | None = None,
        threads: int | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        if maxIterations < 0:
            raise InputError(f"maxIterations={maxIterations}: give 0 or more")
        if threads is not None and threads < 1:
            raise InputError(f"threads={threads}: give 1 or more, or None")
        force_unit = unit.kilojoule_per_mole / unit.nanometer
        self._tolerance = float(strip_unit(tolerance, force_unit))
        strength = float(strip_unit(restraint, force_unit / unit.nanometer))
        if not self._tolerance > 0.0 or not strength >= 0.0:
            raise InputError(
                f"tolerance={tolerance}, restraint={restraint}: the tolerance must be "
                "above 0 and the restraint not below"
            )
        self.atom_topology = atomTopology
        self.solvent = solvent
        self.max_iterations = maxIterations
        self._threads = threads or max(1, (os.cpu_count() or 1) // 2)
        self._system = create_system(atomTopology, solvent=solvent, cutoff=cutoff)
        self._restraint = None
        if strength > 0.0:
            self._restraint = restrain_ca(atomTopology, strength)
            self._system.addForce(self._restraint)
        hands, self._peptide_restraint = restrain_shapes(atomTopology)
        self._system.addForce(hands)
        self._system.addForce(self._peptide_restraint)
        self._hands = list_hands(atomTopology)
        self._peptides = list_peptides(atomTopology)
        self._properties = dict(properties or {})
        self._context = make_context(
            self._system, platform, self._threads, self._properties
        )
        self._soft_context: openmm.Context | None = None
        mass = [self._system.getParticleMass(k)._value for k in range(self.n_atoms)]
        self._is_heavy = np.array(mass) > 2.0
        # two reporters may share one: OpenMM's minimizer does not wait for itself
        self._lock = threading.RLock()

    @property
    def n_atoms(self) -> int:
        """Number of atoms of the frames."""
        return self.atom_topology.n_atoms

    @property
    def platform(self) -> str:
        """Name of the OpenMM platform in use."""
        return self._context.getPlatform().getName()

    def energy(self, positions: np.ndarray) -> float:
        """Compute the potential energy of one frame, without restraints.

        Parameters
        ----------
        positions : numpy.ndarray, shape (N, 3)
            Positions in nm.

        Returns
        -------
        float
            Energy in kJ/mol; nan if it cannot be computed.
        """
        with self._lock:
            self._context.setPositions(np.asarray(positions, np.float64))
            return self._energy()

    def minimize(self, frame: AtomFrame) -> MinimizationResult:
        """Minimize one frame.

        Parameters
        ----------
        frame : AtomFrame
            Frame of the topology, chains whole.

        Returns
        -------
        MinimizationResult
            With `is_failed` set, and the frame as it came, if positions were
            not finite or the minimizer broke down.

        Raises
        ------
        InputError
            If the frame has another number of atoms.
        """
        start = time.perf_counter()
        came = np.asarray(frame.positions, np.float64)
        if came.shape != (self.n_atoms, 3):
            raise InputError(
                f"frame at step {frame.step} has positions of shape {came.shape}, "
                f"wanted ({self.n_atoms}, 3)"
            )
        before = after = float("nan")
        counter = _IterationCounter()
        message = ""
        positions = came
        if not np.isfinite(came).all():
            message = f"{int((~np.isfinite(came)).any(1).sum())} atoms are not finite"
        else:
            try:
                with self._lock:
                    before, after, positions = self._relax(came, counter)
            except (openmm.OpenMMException, InputError) as error:
                message = str(error)  # no memory for the softened Context, too
            if not message and not np.isfinite([after, *positions.ravel()]).all():
                message = "the energy is not finite after minimization"
        seconds = time.perf_counter() - start
        if message:
            return MinimizationResult(
                frame, before, float("nan"), 0.0, counter.n, seconds, True, message
            )
        moved = (positions - came)[self._is_heavy]
        relaxed = replace(
            frame, positions=positions.astype(np.float32), stage="minimized"
        )
        return MinimizationResult(
            relaxed,
            before,
            after,
            float(np.sqrt((moved**2).sum(1).mean())),
            counter.n,
            seconds,
            n_turned=count_turned(came, positions, self._hands, self._peptides),
        )

    def _relax(
        self, came: np.ndarray, counter: "_IterationCounter"
    ) -> tuple[float, float, np.ndarray]:
        """Energies before and after, and relaxed positions in nm."""
        # Far from the origin float32 platforms lose digits.
        centre = came.mean(axis=0)
        positions = came - centre
        if self._restraint is not None:
            anchors = positions[self.atom_topology.ca_atom].tolist()
            for k, (atom, anchor) in enumerate(
                zip(self.atom_topology.ca_atom.tolist(), anchors, strict=True)
            ):
                self._restraint.setParticleParameters(k, atom, anchor)
            self._restraint.updateParametersInContext(self._context)
        if set_peptide_sides(self._peptide_restraint, came, self._peptides):
            self._peptide_restraint.updateParametersInContext(self._context)
            self._soft_context = None  # made anew when it is wanted
        before = self.energy(positions)
        positions = _separate(positions)
        if not before < _STRAINED * self.n_atoms:
            positions = self._soften(positions, counter)
        self._context.setPositions(positions)
        openmm.LocalEnergyMinimizer.minimize(
            self._context, self._tolerance, self.max_iterations, counter
        )
        state = self._context.getState(getPositions=True)
        relaxed = state.getPositions(asNumpy=True)._value
        return before, self._energy(), relaxed + centre

    def _soften(
        self, positions: np.ndarray, counter: "_IterationCounter"
    ) -> np.ndarray:
        """Push overlapping atoms apart with a repulsion that stays finite."""
        if self._soft_context is None:
            system = soften_system(self._system)
            known = self._context.getPlatform()
            asked = self._properties.items()
            self._soft_context = make_context(
                system,
                known,
                self._threads,
                {k: v for k, v in asked if k in known.getPropertyNames()},
            )
        self._soft_context.setPositions(positions)
        openmm.LocalEnergyMinimizer.minimize(
            self._soft_context, self._tolerance, _SOFT_ITERATIONS, counter
        )
        state = self._soft_context.getState(getPositions=True)
        return state.getPositions(asNumpy=True)._value

    def _energy(self) -> float:
        groups = {k for k in range(32) if k != RESTRAINT_GROUP}
        try:
            state = self._context.getState(getEnergy=True, groups=groups)
        except openmm.OpenMMException:
            return float("nan")
        return state.getPotentialEnergy()._value


class _IterationCounter(openmm.MinimizationReporter):
    """Count L-BFGS iterations, and stop when the energy is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def report(self, iteration: int, x: Any, grad: Any, args: Any) -> bool:
        self.n += 1
        return not np.isfinite(args["system energy"])


def _separate(positions: np.ndarray) -> np.ndarray:
    """Move atoms that coincide a little apart, in directions that never vary."""
    pairs = cKDTree(positions).query_pairs(_COINCIDENT, output_type="ndarray")
    if not len(pairs):
        return positions
    atoms = np.unique(pairs)
    direction = np.random.default_rng(0).normal(size=(len(atoms), 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    positions = positions.copy()
    positions[atoms] += _COINCIDENT * direction
    return positions
