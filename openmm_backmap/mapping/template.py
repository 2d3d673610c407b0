"""A reference all-atom structure, laid along the residues of a CG topology."""

from collections import defaultdict
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import numpy as np

from openmm_backmap.errors import TopologyError
from openmm_backmap.mapping.disulfides import find_disulfides
from openmm_backmap.mapping.records import ResidueRecord, read_residues
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS
from openmm_backmap.residues.names import is_protein_residue, residue_type_of

if TYPE_CHECKING:
    from openmm_backmap.mapping.cg_topology import CGTopology

__all__ = ["Template", "align_template"]

_SHORTEST = 6
"""Least stretch of equal residues that is taken for the same."""

_CA = 1


@dataclass(frozen=True, eq=False)
class Template:
    """What is known of each residue from a reference structure.

    Attributes
    ----------
    positions : numpy.ndarray, shape (R, 14, 3), float32
        Heavy atoms in nm, nan where the reference does not have them.
    disulfides : tuple of tuple of int
        Pairs of cysteines (residue indices) that are bonded in it.
    """

    positions: np.ndarray
    disulfides: tuple[tuple[int, int], ...]

    @property
    def n_known(self) -> int:
        """Residues whose CA is known."""
        return int(np.isfinite(self.positions[:, _CA, 0]).sum())


def _read_slots(
    records: list[ResidueRecord], positions: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Types (N,) and heavy atoms (N, 14, 3) of the residues of a chain."""
    kinds = np.array([residue_type_of(record.name) for record in records], np.int64)
    slots = np.full((len(records), N_SLOTS, 3), np.nan, np.float32)
    for row, record in enumerate(records):
        for name, index in zip(record.atom_names, record.atom_index, strict=True):
            slot = ATOM_SLOT[kinds[row]].get(name)
            if slot is not None:
                slots[row, slot] = positions[index]
    return kinds, slots


def align_template(
    cg_topology: "CGTopology",
    topology: Any,  # noqa: ANN401
    positions: np.ndarray,
) -> Template:
    """Lay a reference structure along the residues of a CG topology.

    Each segment takes, by sequence, the chain of the reference that it shares
    most residues with (in stretches of six or more), among equals one that no
    segment has taken yet; what that chain lacks is filled from other chains.
    So one monomer serves all copies, and a dimer both its chains.

    Parameters
    ----------
    cg_topology : CGTopology
        What is to be backmapped.
    topology : openmm.app.Topology or mdtraj.Topology
        Of the reference; anything that is not protein is ignored.
    positions : numpy.ndarray, shape (A, 3)
        Its atoms in nm.

    Returns
    -------
    Template

    Raises
    ------
    TopologyError
        If the reference shares no stretch of residues with the topology.
    """
    positions = np.asarray(positions, np.float32)
    chains: dict[int, list[ResidueRecord]] = defaultdict(list)
    for record in read_residues(topology):
        if is_protein_residue(record.name):
            chains[record.chain_number].append(record)
    references = [_read_slots(records, positions) for records in chains.values()]
    wanted = cg_topology.residue_type
    found = np.full((len(wanted), N_SLOTS, 3), np.nan, np.float32)
    source = np.full(len(wanted), -1, np.int64)  # residue of the reference
    starts = np.cumsum([0] + [len(kinds) for kinds, _ in references])
    taken = [0] * len(references)
    for segment in range(cg_topology.n_chains):
        rows = np.flatnonzero(cg_topology.chain_index == segment)
        matches = []
        for number, (kinds, _) in enumerate(references):
            blocks = SequenceMatcher(
                None, wanted[rows].tolist(), kinds.tolist(), autojunk=False
            ).get_matching_blocks()
            blocks = [b for b in blocks if b.size >= min(_SHORTEST, len(rows))]
            size = sum(block.size for block in blocks)
            if size:
                matches.append((-size, taken[number], number, blocks))
        for rank, (_, _, number, blocks) in enumerate(sorted(matches)):
            taken[number] += rank == 0
            for block in blocks:
                here = rows[block.a : block.a + block.size]
                there = references[number][1][block.b : block.b + block.size]
                open_ = ~np.isfinite(found[here, _CA, 0])
                found[here[open_]] = there[open_]
                place = starts[number] + block.b + np.arange(block.size)
                source[here[open_]] = place[open_]
    template = Template(
        found, _carry_disulfides(references, source, cg_topology.chain_index)
    )
    if template.n_known == 0:
        raise TopologyError(
            f"the template's {len(references)} protein chains share no stretch of "
            f"{_SHORTEST} residues with the {cg_topology.n_chains} chains of the "
            "topology: is it another protein, or is the sequence not the true one "
            "(sequence=, --sequence)?"
        )
    return template


def _carry_disulfides(
    references: list[tuple[np.ndarray, np.ndarray]],
    source: np.ndarray,
    chain_index: np.ndarray,
) -> tuple[tuple[int, int], ...]:
    """Disulfides of the reference as pairs of the residues that took it."""
    if not references:
        return ()
    kinds = np.concatenate([kinds for kinds, _ in references])
    atoms = np.concatenate([slots for _, slots in references])
    # what is not known stands far from everything
    far = 1e3 * np.arange(1, len(atoms) + 1, dtype=float)[:, None, None]
    atoms = np.where(np.isfinite(atoms), atoms, far)
    bonds = []
    for first, second in find_disulfides(atoms, kinds):
        others = np.flatnonzero(source == second).tolist()
        for row in np.flatnonzero(source == first).tolist():
            # the partner in the same segment, else the first one left
            mine = [k for k in others if chain_index[k] == chain_index[row]] or others
            if mine:
                bonds.append((min(row, mine[0]), max(row, mine[0])))
                others.remove(mine[0])
    return tuple(sorted(bonds))
