"""All frames of one sequence, from random starts to checked heavy atoms."""

from collections import Counter
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import torch

from openmm_backmap.artifact import find_model
from openmm_backmap.builder.backbone import place_terminal_oxygen
from openmm_backmap.errors import GeometryError, ModelError
from openmm_backmap.generate.conformations import ConformationSampler
from openmm_backmap.generate.simulate import ChainSimulation, SimulationSettings
from openmm_backmap.hydrogens import HydrogenPlacer
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.metrics.bonds import compute_bond_fraction, compute_peptide_fraction
from openmm_backmap.metrics.chirality import compute_wrong_hands
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.metrics.omega import compute_omega
from openmm_backmap.metrics.rings import compute_ring_penetrations
from openmm_backmap.units import DEGREE

__all__ = ["PeptideFrames", "PeptideJob", "find_faults", "generate_peptide"]

_N_TRIES = 3  # starts drawn in place of one that fails
_MAX_TURN = 45.0 * DEGREE  # of omega out of trans; thermal ones stay below
_BOND_TOLERANCE = 0.15  # of the length


@dataclass(frozen=True)
class PeptideJob:
    """What to do for one sequence; see `generate.run.GenerationSettings`.

    Parameters
    ----------
    index : int
        Number of the sequence in the design, from 0.
    sequence : str
        One-letter codes.
    seed, n_starts, min_temperature, max_temperature, simulation
        Of the settings.
    recipe : str
        Digest of the settings.
    platform : str or None
        OpenMM platform. If None, the fastest there is.
    n_threads : int
        Threads of the CPU platform.
    """

    index: int
    sequence: str
    seed: int
    n_starts: int
    min_temperature: float
    max_temperature: float
    simulation: SimulationSettings
    recipe: str = ""
    platform: str | None = None
    n_threads: int = 1


@dataclass(frozen=True, eq=False)
class PeptideFrames:
    """What came of a sequence.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3), float32
        Heavy atoms in nm.
    temperature : numpy.ndarray, shape (F,)
        Of each frame in kelvin.
    start : numpy.ndarray, shape (F,), int64
        Number of the start of each frame.
    residue_type : numpy.ndarray, shape (R,), int64
        0 to 19.
    platform : str
        Name of the OpenMM platform used.
    faults : dict of str to int
        Starts and frames that were thrown away, by reason.
    """

    positions: np.ndarray
    temperature: np.ndarray
    start: np.ndarray
    residue_type: np.ndarray
    platform: str
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def complaint(self) -> str:
        """What to tell the user: no frame is left; else empty."""
        if len(self.positions):
            return ""
        reasons = ", ".join(f"{n} x {name}" for name, n in self.faults.items())
        return f"no frame is good ({reasons}); the sequence is left out"


@cache
def _sampler() -> ConformationSampler:
    """Sampler with the rotamer library of the packaged model `table`."""
    path = find_model("table")
    model = torch.jit.load(str(path), map_location="cpu")
    for module in model.modules():
        if module.original_name == "RotamerLibrary":
            return ConformationSampler(module)
    raise ModelError(f"{path} holds no rotamer library: install the package again")


def find_faults(positions: np.ndarray, layout: HeavyAtomLayout) -> list[str]:
    """Name what is wrong with each frame.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues.

    Returns
    -------
    list of str
        For each frame "" or the first of "not finite", "torn bond", "wrong
        hand", "not trans" (omega more than 45 degrees from 180), "pierced
        ring".
    """
    bonds = compute_bond_fraction(positions, layout, _BOND_TOLERANCE)
    peptides = compute_peptide_fraction(positions, layout, _BOND_TOLERANCE)
    omega, _ = compute_omega(positions, layout)
    is_finite = np.isfinite(positions[:, layout.mask]).all(axis=(1, 2))
    tests = {
        "not finite": ~is_finite,
        "torn bond": (bonds < 1.0) | (peptides < 1.0),
        "wrong hand": compute_wrong_hands(positions, layout) > 0,
        "not trans": (np.pi - np.abs(omega) > _MAX_TURN).any(axis=1),
        "pierced ring": compute_ring_penetrations(positions, layout) > 0,
    }
    return [
        next((name for name, found in tests.items() if found[f]), "")
        for f in range(len(positions))
    ]


def generate_peptide(job: PeptideJob) -> PeptideFrames:
    """Run all starts of a sequence.

    Parameters
    ----------
    job : PeptideJob
        Sequence, seed and settings.

    Returns
    -------
    PeptideFrames
        The same for the same job on the same platform, library versions and
        machine; with more threads than one, up to rounding.
    """
    cg = CGTopology.from_sequence(job.sequence)
    topology = AtomTopology.from_cg_topology(cg)
    layout = HeavyAtomLayout.from_residues(cg.residue_type)
    placer = HydrogenPlacer(topology)
    simulation = ChainSimulation(topology, job.simulation, job.platform, job.n_threads)
    chain = torch.from_numpy(cg.chain_index)
    slots = np.maximum(topology.slot_atom, 0)
    faults: Counter[str] = Counter()
    kept, temperatures, starts = [], [], []
    width = (job.max_temperature - job.min_temperature) / job.n_starts
    for start in range(job.n_starts):
        for attempt in range(_N_TRIES):
            rng = np.random.default_rng([job.seed, job.index, start, attempt])
            temperature = job.min_temperature + width * (start + rng.random())
            try:
                heavy = _sampler().sample(cg.residue_type, rng)[None]
            except GeometryError:
                faults["no start without clashes"] += 1
                continue
            oxt = place_terminal_oxygen(torch.from_numpy(heavy), chain).numpy()
            atoms = placer.place(heavy, oxt)[0]
            seed = int(rng.integers(1, 2**31 - 1))
            frames = simulation.run(atoms, temperature, seed)
            if frames is None:
                faults["exploded"] += 1
                continue
            found = np.where(layout.mask[..., None], frames[:, slots], 0.0)
            names = find_faults(found, layout)
            faults.update(name for name in names if name)
            good = [f for f, name in enumerate(names) if not name]
            kept.extend(found[good].astype(np.float32))
            temperatures.extend([temperature] * len(good))
            starts.extend([start] * len(good))
            if good:
                break
    shape = (-1, *layout.mask.shape, 3)
    return PeptideFrames(
        positions=np.array(kept, np.float32).reshape(shape),
        temperature=np.array(temperatures),
        start=np.array(starts, np.int64),
        residue_type=cg.residue_type,
        platform=simulation.platform,
        faults=dict(faults),
    )
