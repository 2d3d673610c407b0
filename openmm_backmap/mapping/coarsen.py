"""From atoms to beads: the inverse of backmapping."""

from typing import Any

import numpy as np

from openmm_backmap.errors import TopologyError
from openmm_backmap.mapping.cg_mapping import CGMapping, find_mapping
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.mapping.records import read_residues
from openmm_backmap.residues.atoms import N_SLOTS, SLOT_NAMES, slot_elements
from openmm_backmap.residues.names import (
    N_TYPES,
    RESIDUE_NAMES,
    is_protein_residue,
    residue_type_of,
)
from openmm_backmap.units import strip_unit

__all__ = ["coarsen_slots", "coarsen_topology", "compute_bead_weights"]

_MASS = {"C": 12.011, "N": 14.007, "O": 15.999, "S": 32.06}
"""Standard atomic weights in dalton (IUPAC 2021, abridged)."""


def compute_bead_weights(mapping: str | CGMapping) -> np.ndarray:
    """Return by how much each heavy atom counts in each bead.

    Parameters
    ----------
    mapping : str or CGMapping
        What the beads are.

    Returns
    -------
    numpy.ndarray, shape (20, M, 14), float64
        For each residue type weights that sum to 1 over the slots of atoms, or
        zeros where the type has no such bead.

    Raises
    ------
    TopologyError
        If the mapping names an atom that the residue does not have.
    """
    mapping = find_mapping(mapping)
    weights = np.zeros((N_TYPES, mapping.n_slots, N_SLOTS))
    for kind, names in enumerate(SLOT_NAMES):
        elements = slot_elements(kind)
        for slot, bead in enumerate(mapping.beads):
            if RESIDUE_NAMES[kind] in bead.absent_in:
                continue
            atoms = [names.index(a) for a in bead.atoms or names if a in names]
            if not atoms:
                raise TopologyError(
                    f"mapping {mapping.name!r}: {RESIDUE_NAMES[kind]} has none of the "
                    f"atoms {', '.join(bead.atoms)} of bead {bead.name!r}: list the "
                    "residue in absent_in"
                )
            for a in atoms:
                is_mass = bead.center == "mass"
                weights[kind, slot, a] = _MASS[elements[a]] if is_mass else 1.0
            weights[kind, slot] /= weights[kind, slot].sum()
    return weights


def coarsen_slots(
    positions: np.ndarray, residue_type: np.ndarray, mapping: str | CGMapping
) -> np.ndarray:
    """Coarsen heavy atoms in slots to beads.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm; empty slots hold any finite value.
    residue_type : numpy.ndarray, shape (R,), int64
        Residue types.
    mapping : str or CGMapping
        What the beads are.

    Returns
    -------
    numpy.ndarray, shape (F, R, M, 3), float32
        Beads in nm, zeros where a residue has no such bead.
    """
    weights = compute_bead_weights(mapping)[np.asarray(residue_type)]
    beads = np.einsum("rms,frsx->frmx", weights, np.asarray(positions, np.float64))
    return beads.astype(np.float32)


def coarsen_topology(
    topology: Any,  # noqa: ANN401
    positions: Any,  # noqa: ANN401
    mapping: str | CGMapping = "ca",
) -> tuple[CGTopology, np.ndarray]:
    """Coarsen an all-atom structure or trajectory to beads.

    Parameters
    ----------
    topology : openmm.app.Topology or mdtraj.Topology
        All-atom topology; hydrogens, OXT, water and ligands are left out.
    positions : array or Quantity, shape (F, N, 3)
        Atom positions in nm.
    mapping : str or CGMapping
        What the beads are.

    Returns
    -------
    cg_topology : CGTopology
        Topology of the beads alone, one after the other.
    positions : numpy.ndarray, shape (F, B, 3), float32
        Beads in nm.

    Raises
    ------
    TopologyError
        If a heavy atom of a bead is missing.
    """
    from openmm import unit

    mapping = find_mapping(mapping)
    positions = np.asarray(strip_unit(positions, unit.nanometer), np.float64)
    atoms = CGTopology.from_openmm(topology, positions=positions[0])
    records = [r for r in read_residues(topology) if is_protein_residue(r.name)]
    weights = compute_bead_weights(mapping)
    slots = np.zeros((len(positions), len(records), N_SLOTS, 3))
    for r, record in enumerate(records):
        kind = residue_type_of(record.name)
        needed = np.any(weights[kind] > 0.0, axis=0)
        found = dict(zip(record.atom_names, record.atom_index, strict=True))
        for slot, name in enumerate(SLOT_NAMES[kind]):
            if name in found:
                slots[:, r, slot] = positions[:, found[name]]
            elif needed[slot]:
                raise TopologyError(
                    f"residue {record.label} has no atom {name}, which mapping "
                    f"{mapping.name!r} needs: repair the structure first (pdbfixer)"
                )
    beads = coarsen_slots(slots, atoms.residue_type, mapping)
    is_present = weights[atoms.residue_type].sum(axis=2) > 0.0
    bead_index = np.where(
        is_present, np.cumsum(is_present).reshape(is_present.shape) - 1, -1
    )
    coarse = CGTopology(
        residue_type=atoms.residue_type,
        chain_index=atoms.chain_index,
        residue_id=atoms.residue_id,
        residue_name=atoms.residue_name,
        chain_id=atoms.chain_id,
        bead_index=bead_index.astype(np.int64),
        n_beads=int(is_present.sum()),
        mapping=mapping,
        skipped=atoms.skipped,
    )
    return coarse, beads[:, is_present]
