"""Energies of candidate atoms with the backbone and with one another."""

from typing import NamedTuple

import torch

from openmm_backmap.packing import constants
from openmm_backmap.packing.atoms import BlockedPoints, CandidateAtoms
from openmm_backmap.packing.close_points import (
    chunk_size,
    cut_rows,
    find_block_pairs,
    find_close_points,
    find_point_pairs,
    make_space,
)
from openmm_backmap.packing.contacts import Surroundings
from openmm_backmap.packing.pair_energy import EnergyGrid, read_energy_grid
from openmm_backmap.packing.tables import PackingTables

__all__ = [
    "InteractionTerms",
    "compute_backbone_energy",
    "compute_side_chain_terms",
    "find_allowed_backbone_pairs",
    "find_side_chain_pairs",
    "find_special_pairs",
]


class InteractionTerms(NamedTuple):
    """Energies between side-chain atoms of different residues.

    E terms; `a` and `b` index the atoms of a `CandidateAtoms`.
    """

    a: torch.Tensor  # (E,) int64
    b: torch.Tensor  # (E,) int64
    energy: torch.Tensor  # (E,) nats


def find_special_pairs(
    atoms: CandidateAtoms,
    backbone: BlockedPoints,
    near: Surroundings,
    tables: PackingTables,
    cutoff: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find near backbone atoms where bonds exclude some pairs.

    These are the residue's own backbone and, for proline, that of the bonded
    residue before.

    Parameters
    ----------
    atoms : CandidateAtoms
        Distinct side-chain atoms.
    backbone : BlockedPoints
        N, CA, C, O and CB of G residues.
    near : Surroundings
        Residue pairs.
    tables : PackingTables
        Constants.
    cutoff : float
        Distance in nm.

    Returns
    -------
    a, b : torch.Tensor, shape (N,), int64
        Candidate atom; backbone atom as 14 x residue + slot.
    distance : torch.Tensor, shape (N,)
        In nm.
    image : torch.Tensor, shape (3, N)
        Image shift of the backbone atom: zero.
    """
    own = torch.arange(near.follows.numel(), device=near.first.device)
    proline = tables.is_proline.index_select(0, near.residue_type) & near.follows
    ring = torch.nonzero(proline).flatten()
    allowed_inside = ~tables.excluded_inside[:, :, :5]
    allowed = torch.stack([allowed_inside, ~tables.excluded_before]).reshape(-1)
    a_parts: list[torch.Tensor] = []
    b_parts: list[torch.Tensor] = []
    distances: list[torch.Tensor] = []
    for turn in range(2):
        first = own if turn == 0 else ring
        shift = torch.zeros(3, first.numel(), dtype=near.shift.dtype, device=own.device)
        a, b, distance, _ = find_point_pairs(
            atoms.points,
            backbone,
            first,
            first - turn,
            shift,
            cutoff,
            near.n_residues,
            4096,
        )
        residue_b = torch.div(b, 5, rounding_mode="floor")
        slot_b = b - residue_b * 5
        entry = (turn * 280 + atoms.code.index_select(0, a)) * 5 + slot_b
        kept = torch.nonzero(allowed.index_select(0, entry)).flatten()
        a_parts.append(a.index_select(0, kept))
        b_parts.append((residue_b * 14 + slot_b).index_select(0, kept))
        distances.append(distance.index_select(0, kept))
    a = torch.cat(a_parts)
    image = torch.zeros(3, a.numel(), dtype=near.shift.dtype, device=a.device)
    return a, torch.cat(b_parts), torch.cat(distances), image


def find_allowed_backbone_pairs(
    atoms: CandidateAtoms,
    backbone: BlockedPoints,
    near: Surroundings,
    tables: PackingTables,
    cutoff: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find backbone atoms near candidate atoms, those of their own residue too.

    Parameters
    ----------
    atoms : CandidateAtoms
        Distinct side-chain atoms.
    backbone : BlockedPoints
        N, CA, C, O and CB of G residues.
    near : Surroundings
        Residue pairs.
    tables : PackingTables
        Constants.
    cutoff : float
        Distance in nm.

    Returns
    -------
    a, b : torch.Tensor, shape (N,), int64
        Candidate atom; backbone atom as 14 x residue + slot.
    distance : torch.Tensor, shape (N,)
        In nm.
    image : torch.Tensor, shape (3, N)
        Image shift of the backbone atom in nm.
    """
    a, b, distance, image = find_special_pairs(atoms, backbone, near, tables, cutoff)
    a_parts, b_parts, distances, images = [a], [b], [distance], [image]
    proline = tables.is_proline.index_select(0, near.residue_type) & near.follows
    for turn in range(2):
        first = near.first if turn == 0 else near.second
        second = near.second if turn == 0 else near.first
        shift = near.shift if turn == 0 else -near.shift
        special = (first - second == 1) & proline.index_select(0, first)
        kept = torch.nonzero(~special).flatten()
        shift = shift.index_select(1, kept)
        a, b, distance, pair = find_point_pairs(
            atoms.points,
            backbone,
            first.index_select(0, kept),
            second.index_select(0, kept),
            shift,
            cutoff,
            near.n_residues,
            4096,
        )
        residue_b = torch.div(b, 5, rounding_mode="floor")
        a_parts.append(a)
        b_parts.append(residue_b * 9 + b)  # 14 x residue + slot
        distances.append(distance)
        images.append(shift.index_select(1, pair))
    return (
        torch.cat(a_parts),
        torch.cat(b_parts),
        torch.cat(distances),
        torch.cat(images, 1),
    )


def find_side_chain_pairs(
    atoms: CandidateAtoms, near: Surroundings, cutoff: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find side-chain atoms of different residues near each other.

    Parameters
    ----------
    atoms : CandidateAtoms
        Distinct side-chain atoms.
    near : Surroundings
        Residue pairs.
    cutoff : float
        Distance in nm.

    Returns
    -------
    a, b : torch.Tensor, shape (N,), int64
        Atoms; each pair once.
    distance : torch.Tensor, shape (N,)
        In nm.
    image : torch.Tensor, shape (3, N)
        Image shift of the second atom in nm.
    """
    a, b, distance, pair = find_point_pairs(
        atoms.points,
        atoms.points,
        near.first,
        near.second,
        near.shift,
        cutoff,
        near.n_residues,
        2048,
    )
    return a, b, distance, near.shift.index_select(1, pair)


def compute_backbone_energy(
    atoms: CandidateAtoms,
    backbone: BlockedPoints,
    near: Surroundings,
    tables: PackingTables,
    grid: EnergyGrid,
) -> torch.Tensor:
    """Compute the energy of each candidate atom with all backbone atoms.

    Parameters
    ----------
    atoms : CandidateAtoms
        Distinct side-chain atoms.
    backbone : BlockedPoints
        N, CA, C, O and CB of G residues.
    near : Surroundings
        Residue pairs.
    tables : PackingTables
        Constants.
    grid : EnergyGrid
        Energies of atom pairs.

    Returns
    -------
    torch.Tensor, shape (N,)
        In nats.
    """
    # a backbone atom's type is its slot
    kind = tables.atom_type.reshape(-1).index_select(0, atoms.code)
    kind_b = torch.arange(5, device=kind.device).repeat(near.follows.numel())
    proline = tables.is_proline.index_select(0, near.residue_type) & near.follows
    total = torch.zeros(kind.numel(), dtype=atoms.points.x.dtype, device=kind.device)
    for turn in range(2):
        first = near.first if turn == 0 else near.second
        second = near.second if turn == 0 else near.first
        shift = near.shift if turn == 0 else -near.shift
        special = (first - second == 1) & proline.index_select(0, first)
        kept = torch.nonzero(~special).flatten()
        terms = compute_terms(
            atoms.points,
            backbone,
            kind,
            kind_b,
            first.index_select(0, kept),
            second.index_select(0, kept),
            shift.index_select(1, kept),
            near.n_residues,
            grid,
            0.0,
        )
        total = total.scatter_add(0, terms.a, terms.energy)
    a, b, distance, _ = find_special_pairs(atoms, backbone, near, tables, grid.cutoff)
    energy = read_energy_grid(
        grid, kind.index_select(0, a), torch.remainder(b, 14), distance
    )
    return total.scatter_add(0, a, energy)


def compute_side_chain_terms(
    atoms: CandidateAtoms,
    near: Surroundings,
    tables: PackingTables,
    grid: EnergyGrid,
) -> InteractionTerms:
    """Compute the energies between side-chain atoms of different residues.

    Parameters
    ----------
    atoms : CandidateAtoms
        Distinct side-chain atoms.
    near : Surroundings
        Residue pairs.
    tables : PackingTables
        Constants.
    grid : EnergyGrid
        Energies of atom pairs.

    Returns
    -------
    InteractionTerms
        Pairs with an energy worth counting.
    """
    kind = tables.atom_type.reshape(-1).index_select(0, atoms.code)
    return compute_terms(
        atoms.points,
        atoms.points,
        kind,
        kind,
        near.first,
        near.second,
        near.shift,
        near.n_residues,
        grid,
        constants.LEAST_ENERGY,
    )


def compute_terms(
    source: BlockedPoints,
    target: BlockedPoints,
    kind_a: torch.Tensor,
    kind_b: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    shift: torch.Tensor,
    n_residues: int,
    grid: EnergyGrid,
    least: float,
) -> InteractionTerms:
    """Compute the energies of all near atom pairs, block by block.

    Parameters
    ----------
    source, target : BlockedPoints
        Atoms of the first and of the second groups.
    kind_a, kind_b : torch.Tensor, shape (N,) and (M,), int64
        Their types, an index into `ATOM_TYPES`.
    first, second : torch.Tensor, shape (P,), int64
        Group pairs, frame after frame.
    shift : torch.Tensor, shape (3, P)
        Translation of the second group in nm.
    n_residues : int
        Groups of a frame.
    grid : EnergyGrid
        Energies of atom pairs.
    least : float
        Weaker energies (nats) are left out.

    Returns
    -------
    InteractionTerms
        Sorted by frame.
    """
    block_a, block_b, pair = find_block_pairs(
        source, target, first, second, shift, grid.cutoff
    )
    move = shift.index_select(1, pair)
    ends = cut_rows(first.index_select(0, pair), source, n_residues, 4096)
    space = make_space(source, target, chunk_size(ends))
    a_parts = [pair[:0]]
    b_parts = [pair[:0]]
    energy_parts = [move[0, :0]]
    begin = 0
    for end in ends:
        found = find_close_points(
            source,
            target,
            block_a[begin:end],
            block_b[begin:end],
            move[:, begin:end],
            grid.cutoff,
            space,
        )
        energy = read_energy_grid(
            grid,
            kind_a.index_select(0, found.a),
            kind_b.index_select(0, found.b),
            found.square.sqrt(),
        )
        used = torch.nonzero(energy.abs() > least).flatten()
        a_parts.append(found.a.index_select(0, used))
        b_parts.append(found.b.index_select(0, used))
        energy_parts.append(energy.index_select(0, used))
        begin = end
    return InteractionTerms(
        a=torch.cat(a_parts), b=torch.cat(b_parts), energy=torch.cat(energy_parts)
    )
