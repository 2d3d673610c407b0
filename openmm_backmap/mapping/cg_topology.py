"""Who is who: residues, segments and beads of a coarse-grained protein."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.errors import InputError, TrajectoryError
from openmm_backmap.geometry.periodic import unwrap_chains
from openmm_backmap.mapping.bead_kind import find_com_residues, find_rest_distances
from openmm_backmap.mapping.cg_mapping import MAPPINGS, CGMapping, find_mapping
from openmm_backmap.mapping.chains import chain_name
from openmm_backmap.mapping.reading import (
    names_with_sequence,
    read_fields,
    read_geometry,
)
from openmm_backmap.mapping.sequence import align_sequences, read_sequences
from openmm_backmap.residues.names import CODES, RESIDUE_NAMES

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
            What a bead stands for: "ca", "com", "awsem", the user's own, or
            "mixed": CA or centre of mass, see `find_com_residues`.
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
        kind = find_mapping(mapping)
        is_mixed = kind.name == "mixed"
        if is_mixed:
            kind = MAPPINGS["com"]
        found = cls(
            **read_fields(topology, kind, sequence, positions, system, box, strict)
        )
        if not is_mixed:
            return found
        first, box = read_geometry(topology, found.n_beads, positions, system, box)
        is_com = found.find_com_residues(first, box=box, system=system)
        return found.with_com_residues(is_com)

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
        if mapping.name == "mixed":
            raise InputError(
                "mapping 'mixed': a sequence does not tell which beads are centres of "
                "mass; make the topology with 'com', then use `with_com_residues`"
            )
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
        beads = self.bead_index
        if self.mapping.name == "mixed":
            # which residues are centres of mass may be read off a frame, and
            # must not keep a run from going on from another one
            beads = beads.max(axis=1)
        for array in (self.residue_type, self.chain_index, beads):
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

    @cached_property
    def anchor_slot(self) -> np.ndarray:
        """First bead slot that each residue has, shape (R,), int64."""
        return (self.bead_index >= 0).argmax(axis=1)

    def find_com_residues(
        self,
        positions: Any = None,  # noqa: ANN401
        *,
        box: np.ndarray | None = None,
        system: Any = None,  # noqa: ANN401
    ) -> np.ndarray:
        """Find residues whose bead looks like a centre of mass, not a CA.

        Parameters
        ----------
        positions : numpy.ndarray or None, shape (B, 3) or (F, B, 3)
            Frames in nm. If None, only the System is asked.
        box : numpy.ndarray or None, shape (3, 3) or (F, 3, 3)
            Box vectors in nm, zeros for none.
        system : openmm.System or None
            Where it has harmonic bonds along the chains, their rest lengths
            decide, which are the same at any moment. If None, the frame does.

        Returns
        -------
        numpy.ndarray, shape (R,), bool
            See `openmm_backmap.mapping.bead_kind`.

        Raises
        ------
        InputError
            If there is neither.
        """
        particle = self.bead_index.max(axis=1)
        distance = find_rest_distances(system, particle, self.chain_index)
        if distance is not None:
            return find_com_residues(None, self.chain_index, distance=distance)
        if positions is None:
            raise InputError(
                "which beads are centres of mass cannot be told without positions: "
                "give a frame, or list the residues"
            )
        frames = np.asarray(positions, np.float32).reshape(-1, self.n_beads, 3)
        beads = frames[:, particle]
        if not np.isfinite(beads).all():
            return np.zeros(self.n_residues, bool)
        beads = unwrap_chains(beads, self.chain_index, box)
        return find_com_residues(beads, self.chain_index)

    def with_com_residues(self, is_com: Sequence[bool] | np.ndarray) -> "CGTopology":
        """Return the same topology, told which beads are centres of mass.

        Parameters
        ----------
        is_com : sequence of bool, shape (R,)
            True for residues whose one bead is the centre of mass of their
            heavy atoms, False for CA.

        Returns
        -------
        CGTopology
            Of the mapping "ca", "com" or "mixed".

        Raises
        ------
        InputError
            If the length is wrong or a residue has several beads.
        """
        flags = np.asarray(is_com, bool)
        if flags.shape != (self.n_residues,):
            raise InputError(
                f"mapping: {flags.size} values came, the topology has "
                f"{self.n_residues} residues: give one for each, True for a centre "
                "of mass and False for CA"
            )
        if np.any((self.bead_index >= 0).sum(axis=1) != 1):
            raise InputError(
                f"mapping {self.mapping.name!r} has several beads a residue; only "
                "single beads can be CA here and a centre of mass there"
            )
        particle = self.bead_index.max(axis=1)
        if flags.all() or not flags.any():
            mapping = MAPPINGS["com" if flags.all() else "ca"]
            return replace(self, bead_index=particle[:, None], mapping=mapping)
        beads = np.stack(
            (np.where(flags, -1, particle), np.where(flags, particle, -1)), axis=1
        )
        return replace(self, bead_index=beads, mapping=MAPPINGS["mixed"])

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
            residue_name=names_with_sequence(self.residue_name, letters),
        )
