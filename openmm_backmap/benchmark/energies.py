"""Energy before minimization, above that of the reference itself."""

from collections.abc import Callable

import numpy as np
import torch

from openmm_backmap.benchmark.evaluate_entries import EvaluationEntry
from openmm_backmap.builder.backbone import place_terminal_oxygen
from openmm_backmap.errors import InputError
from openmm_backmap.geometry.pairs import find_close_pairs
from openmm_backmap.hydrogens import HydrogenPlacer
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.minimizer import Minimizer
from openmm_backmap.residues.names import CODES
from openmm_backmap.units import ANGSTROM

__all__ = ["KCAL", "has_sound_energy", "make_energy_meter"]

KCAL = 4.184
"""kJ in a kcal."""

MAX_RESIDUES = 250
_CYSTEINE = CODES.index("C")
_DISULFIDE = 3.0 * ANGSTROM


def has_sound_energy(entry: EvaluationEntry) -> bool:
    """Whether the energy of a reference means something.

    Parameters
    ----------
    entry : EvaluationEntry
        The reference.

    Returns
    -------
    bool
        True if no heavy atom is missing, no chain is broken, no cysteines are
        bonded and there are at most 250 residues.
    """
    full = HeavyAtomLayout.from_residues(entry.residue_type)
    if entry.n_residues > MAX_RESIDUES or (full.mask & ~entry.layout.mask).any():
        return False
    chain = entry.source.chain
    is_split = np.diff(entry.layout.chain_index) != 0
    if not np.array_equal(is_split, np.diff(chain) != 0):
        return False
    sulfur = entry.reference[0, entry.residue_type == _CYSTEINE, 5]
    return len(find_close_pairs(sulfur, _DISULFIDE, None)) == 0


def make_energy_meter(
    entry: EvaluationEntry, solvent: str = "gbn2"
) -> Callable[[np.ndarray], np.ndarray]:
    """Make the function that measures energies of predicted frames.

    Hydrogens are placed by this package on reference and prediction alike.

    Parameters
    ----------
    entry : EvaluationEntry
        The reference; see `has_sound_energy`.
    solvent : str
        Of `openmm_backmap.minimizer.Minimizer`; amber14 with GBn2 by default,
        all pairs.

    Returns
    -------
    callable
        Heavy atoms (F, R, 14, 3) in nm -> energy above that of the reference,
        in kcal/mol a residue, shape (F,); nan where an atom was not built,
        infinite where all were and there is no finite energy all the same.

    Raises
    ------
    InputError
        If there is no force field for it (a chain of one residue), or the
        reference has no finite energy itself.
    """
    segment = entry.layout.chain_index
    letters = [CODES[k] for k in entry.residue_type]
    sequences = [
        "".join(letters[r] for r in np.flatnonzero(segment == k))
        for k in np.unique(segment)
    ]
    topology = AtomTopology.from_cg_topology(CGTopology.from_sequence(sequences))
    placer = HydrogenPlacer(topology)
    minimizer = Minimizer(
        topology, solvent=solvent, restraint=0.0, cutoff=None, threads=1
    )

    def measure(positions: np.ndarray) -> np.ndarray:
        heavy = np.ascontiguousarray(positions, np.float32)
        ends = place_terminal_oxygen(
            torch.from_numpy(heavy), torch.from_numpy(segment)
        ).numpy()
        atoms = placer.place(heavy, ends)
        is_whole = np.isfinite(heavy[:, entry.layout.mask]).all(axis=(1, 2))
        energies = np.array(
            [
                minimizer.energy(frame) if np.isfinite(frame).all() else np.nan
                for frame in atoms
            ]
        )
        # atoms at one place have none: the worst energy, not a missing one
        energies[is_whole & ~np.isfinite(energies)] = np.inf
        return energies / KCAL / entry.n_residues

    native = measure(entry.reference)
    if not np.isfinite(native).all():
        raise InputError(
            f"entry {entry.entry_id} has no finite energy itself, so there is none to "
            "compare with: leave it out"
        )
    return lambda positions: measure(positions) - native[: len(positions)]
