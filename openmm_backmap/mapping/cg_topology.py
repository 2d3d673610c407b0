"""Who is who: residues, segments and beads of a coarse-grained protein."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.errors import TopologyError, TrajectoryError
from openmm_backmap.mapping.cg_mapping import CGMapping, find_mapping
from openmm_backmap.mapping.chains import chain_name, split_segments
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

__all__ = ["CGTopology"]


@dataclass(frozen=True, eq=False)
class CGTopology:
    """Residues, bonded segments and beads of a coarse-grained protein.

    Parameters
    ----------
    residue_type : numpy.ndarray, shape (R,), int64
        Index into ARNDCQEGHILKMFPSTWYV.
    chain_index : numpy.ndarray, shape (R,), int64
        Bonded segment of each residue, 0, 1, 2, never decreasing. A topology
        chain with a gap or with several molecules has several segments.
    residue_id : tuple of str
        Residue number (and insertion code) as it came, one a residue.
    residue_name : tuple of str
        Residue name as it came ("SEP" and "MSE" are kept), one a residue.
    chain_id : tuple of str
        Chain id as it came, one a segment; copies may share one.
    bead_index : numpy.ndarray, shape (R, M), int64
        Particle of each bead slot, -1 where the residue has no such bead.
    n_beads : int
        Number of particles of a frame, B, protein or not.
    mapping : CGMapping
        What the bead slots are.
    skipped : tuple of str
        Residues left out because they are not protein, counted by name.

    Examples
    --------
    >>> from openmm_backmap.mapping.cg_topology import CGTopology
    >>> topology = CGTopology.from_sequence(["GSMASA", "GSM"])
    >>> topology.n_residues, topology.n_chains, topology.sequence(1)
    (9, 2, 'GSM')
    """

    residue_type: np.ndarray
    chain_index: np.ndarray
    residue_id: tuple[str, ...]
    residue_name: tuple[str, ...]
    chain_id: tuple[str, ...]
    bead_index: np.ndarray
    n_beads: int
    mapping: CGMapping
    skipped: tuple[str, ...] = ()

    @classmethod
    def from_openmm(
        cls,
        topology: Any,  # noqa: ANN401
        *,
        mapping: str | CGMapping = "ca",
        sequence: str | Path | Sequence[str] | None = None,
        positions: Any = None,  # noqa: ANN401
        system: Any = None,  # noqa: ANN401
        box: Any = None,  # noqa: ANN401
        strict: bool = False,
    ) -> "CGTopology":
        """Understand an OpenMM topology as a coarse-grained protein.

        Parameters
        ----------
        topology : openmm.app.Topology
            Topology of the coarse-grained system, with or without bonds.
        mapping : str or CGMapping
            What a bead stands for: "ca", "com", "awsem" or the user's own.
        sequence : str, Path, sequence of str or None
            FASTA file, one-letter sequence or one a chain, which overrides the
            residue names. If None, the names are believed.
        positions : array or Quantity or None, shape (B, 3)
            Bead positions in nm, by which breaks are found. If None, a jump in
            the residue numbers ends a segment unless the pair is bonded.
        system : openmm.System or None
            Its bonds, constraints, virtual sites and box help to find the
            segments. If None, only the topology and `positions` do.
        box : array or Quantity or None, shape (3, 3)
            Box vectors in nm. If None, those of the System or the topology.
        strict : bool
            Whether residues that are not protein are an error rather than left
            out.

        Returns
        -------
        CGTopology
            The protein part.

        Raises
        ------
        TopologyError
            If nothing is protein, a name is not known, a bead is missing or the
            sequence does not fit.
        """
        return _from_records(
            cls,
            topology,
            find_mapping(mapping),
            sequence,
            positions,
            system,
            box,
            strict,
        )

    @classmethod
    def from_mdtraj(
        cls,
        topology: Any,  # noqa: ANN401
        *,
        mapping: str | CGMapping = "ca",
        sequence: str | Path | Sequence[str] | None = None,
        positions: Any = None,  # noqa: ANN401
        system: Any = None,  # noqa: ANN401
        box: Any = None,  # noqa: ANN401
        strict: bool = False,
    ) -> "CGTopology":
        """Understand an mdtraj topology; the arguments of `from_openmm`.

        Returns
        -------
        CGTopology
            The protein part.
        """
        return cls.from_openmm(
            topology,
            mapping=mapping,
            sequence=sequence,
            positions=positions,
            system=system,
            box=box,
            strict=strict,
        )

    @classmethod
    def from_sequence(
        cls,
        sequence: str | Path | Sequence[str],
        *,
        mapping: str | CGMapping = "ca",
    ) -> "CGTopology":
        """Make a topology from sequences alone: beads in order of residues.

        Parameters
        ----------
        sequence : str, Path or sequence of str
            FASTA file, one-letter sequence (chains separated by ":"), or one
            sequence a chain.
        mapping : str or CGMapping
            What the beads are; slots a residue has follow one another.

        Returns
        -------
        CGTopology
            Residues numbered from 1 in each chain, chains A, B, C and so on.
        """
        mapping = find_mapping(mapping)
        sequences = read_sequences(sequence)
        letters = "".join(sequences)
        names = [RESIDUE_NAMES[CODES.index(letter)] for letter in letters]
        is_present = np.array(
            [[name not in bead.absent_in for bead in mapping.beads] for name in names]
        )
        bead_index = np.cumsum(is_present).reshape(is_present.shape) - 1
        bead_index[~is_present] = -1
        return cls(
            residue_type=np.array([CODES.index(c) for c in letters], np.int64),
            chain_index=np.repeat(
                np.arange(len(sequences)), [len(part) for part in sequences]
            ).astype(np.int64),
            residue_id=tuple(
                str(n + 1) for part in sequences for n in range(len(part))
            ),
            residue_name=tuple(names),
            chain_id=tuple(chain_name(n) for n in range(len(sequences))),
            bead_index=bead_index.astype(np.int64),
            n_beads=int(is_present.sum()),
            mapping=mapping,
        )

    @property
    def n_residues(self) -> int:
        """Number of protein residues, R."""
        return len(self.residue_type)

    @property
    def n_chains(self) -> int:
        """Number of bonded segments."""
        return len(self.chain_id)

    @property
    def skipped_summary(self) -> str:
        """One line about the residues left out; empty if there are none."""
        if not self.skipped:
            return ""
        return "left out, not protein: " + ", ".join(self.skipped)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of types, segments, beads and mapping, in hexadecimal."""
        digest = hashlib.sha256()
        digest.update(f"{self.mapping!r} {self.n_beads}".encode())
        for array in (self.residue_type, self.chain_index, self.bead_index):
            digest.update(np.ascontiguousarray(array, "<i8").tobytes())
        return digest.hexdigest()

    def sequence(self, segment: int) -> str:
        """Return the one-letter sequence of a segment.

        Parameters
        ----------
        segment : int
            Number of the segment, from 0.

        Returns
        -------
        str
            Its sequence.
        """
        mine = self.residue_type[self.chain_index == segment]
        return "".join(CODES[k] for k in mine)

    def bead_positions(self, positions: np.ndarray) -> np.ndarray:
        """Gather the beads of each residue from frames of particles.

        Parameters
        ----------
        positions : numpy.ndarray, shape (F, B, 3)
            Particle positions in nm.

        Returns
        -------
        numpy.ndarray, shape (F, R, M, 3), float32
            Bead positions, zeros where a residue has no such bead.

        Raises
        ------
        TrajectoryError
            If a frame has another number of particles than the topology.
        """
        positions = np.asarray(positions, np.float32)
        if positions.ndim != 3 or positions.shape[1:] != (self.n_beads, 3):
            raise TrajectoryError(
                f"positions have shape {positions.shape}, the topology wants "
                f"(frames, {self.n_beads}, 3): is the trajectory of another system?"
            )
        beads = positions[:, np.maximum(self.bead_index, 0)]
        if np.any(self.bead_index < 0):
            beads[:, self.bead_index < 0] = 0.0
        return beads

    def with_sequence(self, sequence: str | Path | Sequence[str]) -> "CGTopology":
        """Return the same topology with other residues.

        Parameters
        ----------
        sequence : str, Path or sequence of str
            See `from_openmm`; it must fit the segments there are.

        Returns
        -------
        CGTopology
            A new topology.
        """
        lengths = np.bincount(self.chain_index, minlength=self.n_chains).tolist()
        letters, _ = align_sequences(read_sequences(sequence), lengths)
        return replace(
            self,
            residue_type=np.array([CODES.index(c) for c in letters], np.int64),
            residue_name=_names_with_sequence(self.residue_name, letters),
        )


def _from_records(
    cls: type[CGTopology],
    topology: Any,  # noqa: ANN401
    mapping: CGMapping,
    sequence: str | Path | Sequence[str] | None,
    positions: Any,  # noqa: ANN401
    system: Any,  # noqa: ANN401
    box: Any,  # noqa: ANN401
    strict: bool,
) -> CGTopology:
    """Build a `CGTopology` from a topology of either library."""
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
    positions, box = _plain_geometry(topology, n_beads, positions, system, box)
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
        names = _names_with_sequence(names, letters)
    first = np.flatnonzero(np.diff(chain_index, prepend=-1))
    return cls(
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


def _plain_geometry(
    topology: Any,  # noqa: ANN401
    n_beads: int,
    positions: Any,  # noqa: ANN401
    system: Any,  # noqa: ANN401
    box: Any,  # noqa: ANN401
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return positions and box as plain arrays in nm."""
    from openmm import unit

    if positions is not None:
        positions = np.asarray(strip_unit(positions, unit.nanometer), np.float64)
        if positions.ndim == 3:
            positions = positions[0]
        if positions.shape != (n_beads, 3):
            raise TopologyError(
                f"positions have shape {positions.shape}, the topology has {n_beads} "
                "particles: give the positions of the same system"
            )
    if box is None and system is not None and system.usesPeriodicBoundaryConditions():
        box = system.getDefaultPeriodicBoxVectors()
    if box is None and hasattr(topology, "getPeriodicBoxVectors"):
        box = topology.getPeriodicBoxVectors()
    if box is not None:
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


def _names_with_sequence(names: Sequence[str], letters: str) -> tuple[str, ...]:
    """Rename residues by a sequence; names of the right type stay (SEP, MSE)."""
    return tuple(
        name
        if is_protein_residue(name) and CODES[residue_type_of(name)] == letter
        else RESIDUE_NAMES[CODES.index(letter)]
        for name, letter in zip(names, letters, strict=True)
    )
