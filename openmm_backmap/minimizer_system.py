"""OpenMM Systems and Contexts of all-atom frames."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openmm
from openmm import app, unit

from openmm_backmap.errors import InputError
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.units import strip_unit

__all__ = [
    "SOLVENTS",
    "create_simulation",
    "create_system",
    "make_context",
    "soften_system",
]

SOLVENTS = ("vacuum", "obc", "gbn2")
"""Solvent models: none, GBSA-OBC II (`GBSAOBCForce`), GBn2 (`CustomGBForce`)."""

_PROTEIN = "amber14/protein.ff14SB.xml"
_IMPLICIT = {"obc": "implicit/obc2.xml", "gbn2": "implicit/gbn2.xml"}
_PHOSPHATES = Path(__file__).parent / "data" / "phosphates.xml"
_GPU_PLATFORMS = ("CUDA", "HIP", "OpenCL")
_PLATFORMS = (*_GPU_PLATFORMS, "CPU", "Reference")
_OBC_OFFSET = 0.009  # nm, dielectric offset of GBSAOBCForce
_SOFT_STRENGTH = 500.0  # kJ/mol at full overlap


def create_system(
    atom_topology: AtomTopology, *, solvent: str = "vacuum", cutoff: Any = 1.0
) -> openmm.System:
    """Make the System of an all-atom topology with Amber ff14SB.

    Phosphorylated residues use phosaa14SB (Raguette et al., J. Chem. Theory
    Comput. 20, 7199 (2024)). No constraints, no periodicity.

    Parameters
    ----------
    atom_topology : AtomTopology
        With hydrogens.
    solvent : str
        One of `SOLVENTS`.
    cutoff : float or Quantity or None
        Cut-off in nm; None or inf for all pairs.

    Returns
    -------
    openmm.System
        Forces in group 0.

    Raises
    ------
    InputError
        If the solvent is unknown, the topology has no hydrogens, or a chain is a
        single residue, for which the force field has no parameters.
    """
    if solvent not in SOLVENTS:
        raise InputError(f"solvent={solvent!r}: give one of {', '.join(SOLVENTS)}")
    if not atom_topology.has_hydrogens:
        raise InputError(
            "the topology has no hydrogens: a force field needs them, make it with "
            "hydrogens=True"
        )
    files = [_PROTEIN]
    if any(name in ("SEP", "TPO", "PTR") for name in atom_topology.variant):
        files.append(str(_PHOSPHATES))
    if solvent != "vacuum":
        files.append(_IMPLICIT[solvent])
    options: dict[str, Any] = {"nonbondedMethod": app.NoCutoff}
    length = float("inf")
    if cutoff is not None:
        length = float(strip_unit(cutoff, unit.nanometer))
    if not length > 0.0:
        raise InputError(f"cutoff={cutoff}: give a length above 0, or None")
    if np.isfinite(length):
        options["nonbondedMethod"] = app.CutoffNonPeriodic
        options["nonbondedCutoff"] = length * unit.nanometer
    _check_lengths(atom_topology)
    system = app.ForceField(*files).createSystem(
        atom_topology.topology, constraints=None, rigidWater=False, **options
    )
    for k, force in reversed(list(enumerate(system.getForces()))):
        if isinstance(force, openmm.CMMotionRemover):
            system.removeForce(k)
        elif solvent == "obc" and isinstance(force, openmm.CustomGBForce):
            fast = _obc_force(force)
            system.removeForce(k)
            system.addForce(fast)
    return system


def _check_lengths(atom_topology: AtomTopology) -> None:
    """Refuse chains of one residue, which is N- and C-terminal at once."""
    for chain in atom_topology.topology.chains():
        residues = list(chain.residues())
        if len(residues) == 1:
            raise InputError(
                f"chain {chain.id} is one residue ({residues[0].name} "
                f"{residues[0].id}): ff14SB has no single amino acids, so there is no "
                "force field for it. Leave the chain out (chains=, atomSubset=), or "
                "do without minimization"
            )


def create_simulation(
    atom_topology: AtomTopology,
    positions: np.ndarray,
    *,
    solvent: str,
    temperature: float,
    timestep: float,
    platform: str | openmm.Platform | None,
    cutoff: Any = 1.0,
) -> app.Simulation:
    """Make a Simulation of all atoms; see `Backmapper.to_simulation`.

    Parameters
    ----------
    atom_topology : AtomTopology
        With hydrogens.
    positions : numpy.ndarray, shape (N, 3)
        In nm.
    solvent, temperature, timestep, platform, cutoff
        See `Backmapper.to_simulation`.

    Returns
    -------
    openmm.app.Simulation
        Not periodic.

    Raises
    ------
    InputError
        If the platform is unknown, or there are not as many positions as atoms.
    """
    if np.shape(positions) != (atom_topology.n_atoms, 3):
        raise InputError(
            f"a frame of shape {np.shape(positions)} came, wanted "
            f"({atom_topology.n_atoms}, 3): all atoms of this topology, with hydrogens"
        )
    system = create_system(atom_topology, solvent=solvent, cutoff=cutoff)
    integrator = openmm.LangevinMiddleIntegrator(
        float(strip_unit(temperature, unit.kelvin)),
        1.0 / unit.picosecond,
        float(strip_unit(timestep, unit.picosecond)),
    )
    args = [] if platform is None else [_find_platforms(platform)[0]]
    topology = atom_topology.with_box(None).topology
    simulation = app.Simulation(topology, system, integrator, *args)
    simulation.context.setPositions(np.asarray(positions, np.float64))
    return simulation


def _obc_force(custom: openmm.CustomGBForce) -> openmm.GBSAOBCForce:
    """Compiled twin of implicit/obc2.xml: six times as fast on a CPU."""
    force = openmm.GBSAOBCForce()
    force.setSolventDielectric(78.5)
    force.setSoluteDielectric(1.0)
    for k in range(custom.getNumParticles()):
        # charge, radius minus offset, scale times that
        charge, reduced, scaled = custom.getParticleParameters(k)
        force.addParticle(charge, reduced + _OBC_OFFSET, scaled / reduced)
    method = custom.getNonbondedMethod()
    if method == openmm.CustomGBForce.CutoffNonPeriodic:
        force.setNonbondedMethod(openmm.GBSAOBCForce.CutoffNonPeriodic)
        force.setCutoffDistance(custom.getCutoffDistance())
    return force


def soften_system(system: openmm.System) -> openmm.System:
    """Keep the bonded forces of a System and put a soft repulsion for the others.

    Parameters
    ----------
    system : openmm.System
        Of `create_system`, with or without `restrain_shapes`.

    Returns
    -------
    openmm.System
        Its energy is finite wherever the atoms are.
    """
    soft = openmm.System()
    for k in range(system.getNumParticles()):
        soft.addParticle(system.getParticleMass(k))
    repulsion = openmm.CustomNonbondedForce(
        f"{_SOFT_STRENGTH}*max(0, 1-r/reach)^2; reach=0.42*(sigma1+sigma2)"
    )
    repulsion.addPerParticleParameter("sigma")
    repulsion.setNonbondedMethod(openmm.CustomNonbondedForce.CutoffNonPeriodic)
    repulsion.setCutoffDistance(0.4)
    bonded = (
        openmm.HarmonicBondForce,
        openmm.HarmonicAngleForce,
        openmm.PeriodicTorsionForce,
        openmm.CustomTorsionForce,
    )
    for force in system.getForces():
        if isinstance(force, bonded):
            soft.addForce(openmm.XmlSerializer.clone(force))
        elif isinstance(force, openmm.NonbondedForce):
            for k in range(force.getNumParticles()):
                sigma = force.getParticleParameters(k)[1]._value
                repulsion.addParticle([min(sigma, 0.35)])
            for k in range(force.getNumExceptions()):
                first, second = force.getExceptionParameters(k)[:2]
                repulsion.addExclusion(first, second)
    soft.addForce(repulsion)
    return soft


def make_context(
    system: openmm.System,
    platform: str | openmm.Platform | None,
    threads: int,
    properties: Mapping[str, str] | None = None,
) -> openmm.Context:
    """Make a Context on the platform asked for, or on the first that works.

    Parameters
    ----------
    system : openmm.System
        Its System.
    platform : str or openmm.Platform or None
        If None, the first of CUDA, HIP, OpenCL, CPU that works.
    threads : int
        Threads of the CPU platform.
    properties : mapping of str to str or None
        Of the platform, such as DeviceIndex. Where OpenMM is to choose it, those
        that it knows.

    Returns
    -------
    openmm.Context
        Of its own, with its own integrator.

    Raises
    ------
    InputError
        If the platform is unknown or does not work.
    """
    reason = ""
    for chosen in _find_platforms(platform):
        name = chosen.getName()
        own = {"CPU": {"Threads": str(threads)}}.get(name, {})
        if name in _GPU_PLATFORMS:
            own = {"Precision": "mixed"}
        asked = dict(properties or {})
        if platform is None:
            asked = {k: asked[k] for k in chosen.getPropertyNames() if k in asked}
        integrator = openmm.VerletIntegrator(0.001)
        try:
            return openmm.Context(system, integrator, chosen, {**own, **asked})
        except openmm.OpenMMException as error:
            reason = f"{name}: {error}"
    raise InputError(f"no OpenMM platform works for the minimizer ({reason})")


def _find_platforms(platform: str | openmm.Platform | None) -> list[openmm.Platform]:
    """Platforms to try, the best one first; one, where it was asked for."""
    known = {
        openmm.Platform.getPlatform(k).getName(): openmm.Platform.getPlatform(k)
        for k in range(openmm.Platform.getNumPlatforms())
    }
    name = platform.getName() if isinstance(platform, openmm.Platform) else platform
    if name is not None and name not in known:
        raise InputError(
            f"platform={name!r}: this OpenMM has {', '.join(sorted(known))}"
        )
    return [known[k] for k in ([name] if name else _PLATFORMS) if k in known]
