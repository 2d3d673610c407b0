"""From the residues of a topology to the fields of a `CGTopology`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from openmm_backmap.errors import TopologyError
from openmm_backmap.mapping.cg_mapping import CGMapping
from openmm_backmap.mapping.chains import split_segments
from openmm_backmap.mapping.nonprotein import summarize_skipped
from openmm_backmap.mapping.records import read_bonds, read_residues, system_bonds
from openmm_backmap.mapping.selection import find_beads, select_protein
from openmm_backmap.mapping.sequence import (
    align_sequences,
    check_awsem_names,
    read_sequences,
)
from openmm_backmap.residues.names import (
    CODES,
    RESIDUE_NAMES,
    is_protein_residue,
    residue_type_of,
)
from openmm_backmap.units import strip_unit

__all__ = ["TopologyFields", "names_with_sequence", "read_fields", "read_geometry"]


class TopologyFields(TypedDict):
    """What a `CGTopology` is made of; see there."""

    residue_type: np.ndarray
    chain_index: np.ndarray
    residue_id: tuple[str, ...]
    residue_name: tuple[str, ...]
    chain_id: tuple[str, ...]
    bead_index: np.ndarray
    n_beads: int
    mapping: CGMapping
    skipped: tuple[str, ...]


def read_fields(
    topology: Any,  # noqa: ANN401
    mapping: CGMapping,
    sequence: str | Path | Sequence[str] | None,
    positions: Any,  # noqa: ANN401
    system: Any,  # noqa: ANN401
    box: Any,  # noqa: ANN401
    strict: bool,
) -> TopologyFields:
    """Read the protein part of a topology of either library.

    Parameters
    ----------
    topology, mapping, sequence, positions, system, box, strict
        See `CGTopology.from_openmm`; the mapping is not "mixed".

    Returns
    -------
    TopologyFields
        The arguments of `CGTopology`.

    Raises
    ------
    TopologyError
        If nothing is protein, a name is not known, a bead is missing, or the
        sequence, the positions or the System do not fit.
    """
    everything = read_residues(topology)
    n_beads = sum(len(record.atom_index) for record in everything)
    kept, skipped_names = select_protein(everything, mapping, sequence is not None)
    skipped = summarize_skipped(skipped_names)
    if not kept:
        raise TopologyError(
            f"nothing to backmap: none of the {len(everything)} residues is protein "
            f"({', '.join(skipped) or 'the topology is empty'})"
        )
    if strict and skipped:
        raise TopologyError(
            f"residues that are not protein: {', '.join(skipped)}; remove them, or "
            "leave strict off and they are left out"
        )
    records = [everything[number] for number in kept]
    bead_index = find_beads(records, mapping)
    positions, box = read_geometry(topology, n_beads, positions, system, box)
    chain_index = split_segments(
        records,
        bead_index,
        is_adjacent=np.diff(kept) == 1,
        positions=positions,
        box=box,
        bonds=_bond_sources(topology, system, n_beads),
        is_fixed=None if system is None else _fixed_particles(system),
    )
    names = tuple(record.name for record in records)
    if sequence is not None:
        lengths = np.bincount(chain_index).tolist()
        letters, starts = align_sequences(read_sequences(sequence), lengths)
        check_awsem_names(names, letters, [record.label for record in records])
        is_start = np.diff(chain_index, prepend=-1) != 0
        is_start[starts] = True
        chain_index = np.cumsum(is_start).astype(np.int64) - 1
        names = names_with_sequence(names, letters)
    first = np.flatnonzero(np.diff(chain_index, prepend=-1))
    return TopologyFields(
        residue_type=np.array([residue_type_of(name) for name in names], np.int64),
        chain_index=chain_index,
        residue_id=tuple(record.full_id for record in records),
        residue_name=names,
        chain_id=tuple(records[k].chain_id for k in first),
        bead_index=bead_index,
        n_beads=n_beads,
        mapping=mapping,
        skipped=skipped,
    )


def read_geometry(
    topology: Any,  # noqa: ANN401
    n_beads: int,
    positions: Any,  # noqa: ANN401
    system: Any,  # noqa: ANN401
    box: Any,  # noqa: ANN401
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return positions and box as plain arrays.

    Parameters
    ----------
    topology : openmm.app.Topology or mdtraj.Topology
        Asked for a box if nothing else has one.
    n_beads : int
        Number of its particles.
    positions : array or Quantity or None, shape (B, 3) or (F, B, 3)
        In nm.
    system : openmm.System or None
        Asked for a box before the topology.
    box : array or Quantity or None, shape (3, 3) or (F, 3, 3)
        In nm.

    Returns
    -------
    positions : numpy.ndarray or None, shape (B, 3) or (F, B, 3), float64
        In nm.
    box : numpy.ndarray or None, shape (3, 3) or (F, 3, 3), float64
        Box vectors as rows in nm.

    Raises
    ------
    TopologyError
        If the positions are those of another number of particles.
    """
    from openmm import unit

    if positions is not None:
        positions = np.asarray(strip_unit(positions, unit.nanometer), np.float64)
        if positions.ndim not in (2, 3) or positions.shape[-2:] != (n_beads, 3):
            raise TopologyError(
                f"positions have shape {positions.shape}, the topology has {n_beads} "
                "particles: give the positions of the same system"
            )
    if box is None and system is not None and system.usesPeriodicBoundaryConditions():
        box = system.getDefaultPeriodicBoxVectors()
    if box is None and hasattr(topology, "getPeriodicBoxVectors"):
        box = topology.getPeriodicBoxVectors()
    if isinstance(box, np.ndarray):
        box = np.asarray(box, np.float64)
    elif box is not None:
        # a Quantity, or a list of three Quantities as a System returns it
        rows = [strip_unit(row, unit.nanometer) for row in box]
        box = np.array([[float(x) for x in row] for row in rows], np.float64)
    return positions, box


def _bond_sources(topology: Any, system: Any, n_beads: int) -> list[np.ndarray]:  # noqa: ANN401
    """List the bonds of the topology and of the System."""
    sources = [read_bonds(topology)]
    if system is not None:
        if system.getNumParticles() != n_beads:
            raise TopologyError(
                f"the System has {system.getNumParticles()} particles, the topology "
                f"{n_beads}: give the System of the same simulation"
            )
        sources.append(system_bonds(system))
    return sources


def _fixed_particles(system: Any) -> np.ndarray:  # noqa: ANN401
    """Return which particles are virtual sites or have no mass; (B,)."""
    from openmm import unit

    return np.array(
        [
            system.isVirtualSite(k)
            or system.getParticleMass(k).value_in_unit(unit.dalton) == 0.0
            for k in range(system.getNumParticles())
        ],
        bool,
    )


def names_with_sequence(names: Sequence[str], letters: str) -> tuple[str, ...]:
    """Rename residues by a sequence; names of the right type stay (SEP, MSE).

    Parameters
    ----------
    names : sequence of str
        Residue names as they came.
    letters : str
        Sequence of all residues, one-letter code.

    Returns
    -------
    tuple of str
        Three-letter names.
    """
    return tuple(
        name
        if is_protein_residue(name) and CODES[residue_type_of(name)] == letter
        else RESIDUE_NAMES[CODES.index(letter)]
        for name, letter in zip(names, letters, strict=True)
    )
