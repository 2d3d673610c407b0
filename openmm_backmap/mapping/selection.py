"""Which residues of a topology are protein, and which particles their beads."""

from collections.abc import Sequence

import numpy as np

from openmm_backmap.errors import TopologyError
from openmm_backmap.mapping.cg_mapping import CGMapping
from openmm_backmap.mapping.nonprotein import classify_non_protein
from openmm_backmap.mapping.records import ResidueRecord
from openmm_backmap.mapping.sequence import AWSEM_NAMES
from openmm_backmap.residues.names import is_protein_residue

__all__ = ["find_beads", "select_protein"]


def select_protein(
    records: Sequence[ResidueRecord], mapping: CGMapping, has_sequence: bool
) -> tuple[list[int], list[str]]:
    """Choose the protein residues of a topology by name.

    Parameters
    ----------
    records : sequence of ResidueRecord
        All residues.
    mapping : CGMapping
        What the beads are.
    has_sequence : bool
        Whether a sequence will name the residues, so that residues of unknown
        name with the right bead count as protein; where no residue has a name of
        three letters, those of one letter, too.

    Returns
    -------
    kept : list of int
        Numbers of the protein residues.
    skipped : list of str
        Names of the others.

    Raises
    ------
    TopologyError
        If a residue of unknown name has a protein bead and there is no
        sequence.
    """
    wanted = mapping.beads[0].accepted_names
    kept, skipped = [], []
    # A, C, G and others name nucleotides, too, and K and F ions
    has_letters = has_sequence and not any(
        is_protein_residue(record.name) for record in records
    )
    for number, record in enumerate(records):
        has_bead = any(name in wanted for name in record.atom_names)
        if is_protein_residue(record.name) or (
            has_letters and has_bead and len(record.name) == 1
        ):
            kept.append(number)
        elif classify_non_protein(record.name) is not None:
            skipped.append(record.name)
        elif not has_bead:
            skipped.append(record.name)
        elif has_sequence:
            kept.append(number)
        elif record.name.upper() in AWSEM_NAMES:
            raise TopologyError(
                f"residue {record.label} has an OpenAWSEM name that hides its type: "
                "give the sequence (sequence=... or --sequence FASTA)"
            )
        else:
            raise TopologyError(
                f"residue {record.label} is not one of the twenty amino acids or a "
                f"known alias but has a bead {wanted[0]!r}: rename it, or give the "
                "sequence (sequence=... or --sequence FASTA)"
            )
    return kept, skipped


def find_beads(records: Sequence[ResidueRecord], mapping: CGMapping) -> np.ndarray:
    """Find the particle of each bead slot by its name.

    Parameters
    ----------
    records : sequence of ResidueRecord
        The protein residues. Other particles of a residue (virtual sites, all
        other atoms) are ignored.
    mapping : CGMapping
        What the beads are.

    Returns
    -------
    numpy.ndarray, shape (R, M), int64
        Particle indices, -1 where a residue has no such bead.

    Raises
    ------
    TopologyError
        If a residue lacks a bead, has one twice, or is all-atom where the bead
        is a centre of several atoms.
    """
    index = np.full((len(records), mapping.n_slots), -1, np.int64)
    for r, record in enumerate(records):
        for slot, bead in enumerate(mapping.beads):
            found = [
                particle
                for name, particle in zip(
                    record.atom_names, record.atom_index, strict=True
                )
                if name in bead.accepted_names
            ]
            if bead.center != "atom" and {"N", "CA", "C"} <= set(record.atom_names):
                raise TopologyError(
                    f"residue {record.label} is all-atom, but mapping "
                    f"{mapping.name!r} wants one particle in the centre of its atoms: "
                    "coarsen it first (openmm_backmap.mapping.coarsen)"
                )
            if len(found) == 1:
                index[r, slot] = found[0]
            elif len(found) > 1:
                raise TopologyError(
                    f"residue {record.label} has {len(found)} beads named "
                    f"{bead.name!r}: give each residue a number of its own"
                )
            elif slot == 0 or _must_have(record, bead.absent_in):
                raise TopologyError(
                    f"residue {record.label} has no bead {bead.name!r} (it has "
                    f"{', '.join(record.atom_names)}); mapping {mapping.name!r} wants "
                    f"one in each residue: name that particle {bead.name} if it is "
                    "there, or choose another mapping"
                )
    return index


def _must_have(record: ResidueRecord, absent_in: Sequence[str]) -> bool:
    """Whether a residue must have a bead; IGL is OpenAWSEM's glycine."""
    name = AWSEM_NAMES.get(record.name.upper(), record.name.upper())
    return name not in absent_in
