"""Last resort for side chains that still overlap severely: a finer choice."""

import torch
from torch import Tensor

from openmm_backmap.builder.side_chain import build_side_chain_rows
from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.packing import constants
from openmm_backmap.packing.atoms import (
    BlockedPoints,
    list_candidate_atoms,
    list_side_chains,
)
from openmm_backmap.packing.clash import compute_overlap
from openmm_backmap.packing.contacts import (
    Surroundings,
    keep_touching,
    list_both_directions,
)
from openmm_backmap.packing.interactions import (
    find_allowed_backbone_pairs,
    find_side_chain_pairs,
)
from openmm_backmap.packing.present_pairs import find_present_pairs
from openmm_backmap.packing.rings import find_ring_penetrations
from openmm_backmap.packing.tables import PackingTables

__all__ = ["find_bad_residues", "list_variants", "repair_side_chains"]


def list_variants(chi: Tensor, current: Tensor, log_p: Tensor) -> tuple[Tensor, Tensor]:
    """Spread the candidates of a residue over chi1 and chi2.

    Parameters
    ----------
    chi : torch.Tensor, shape (N, C, 4)
        Candidates in radians.
    current : torch.Tensor, shape (N, 4)
        Present side chains in radians.
    log_p : torch.Tensor, shape (N, C)
        -inf for none.

    Returns
    -------
    chi : torch.Tensor, shape (N, V, 4)
        The present side chain first, then all variants, in radians.
    penalty : torch.Tensor, shape (N, V)
        In nats; inf for none.
    """
    turn = 0.28  # radians; one and a half standard deviations of a rotamer
    steps = torch.tensor([0.0, turn, -turn], dtype=chi.dtype, device=chi.device)
    delta = torch.zeros(9, 4, dtype=chi.dtype, device=chi.device)
    delta[:, 0] = steps.repeat(3)
    delta[:, 1] = steps.repeat_interleave(3)
    cost = (delta != 0).to(chi.dtype).sum(1)
    n = chi.size(0)
    present = torch.zeros(n, 1, dtype=chi.dtype, device=chi.device)
    spread = torch.cat([current.unsqueeze(1), chi], 1)
    spread_log_p = torch.cat([present, log_p], 1)
    variants = (spread.unsqueeze(2) + delta).reshape(n, -1, 4)
    penalty = (cost - spread_log_p.unsqueeze(2)).reshape(n, -1)
    return variants, penalty


def compute_steep_energy(
    overlap: Tensor, distance: Tensor, both_sulfur: Tensor
) -> Tensor:
    """Compute the steep energy of overlaps by which the repair chooses.

    Parameters
    ----------
    overlap, distance : torch.Tensor, shape (N,)
        Overlap beyond the tolerance and distance in nm.
    both_sulfur : torch.Tensor, shape (N,), bool
        Whether both atoms are the SG of a cysteine.

    Returns
    -------
    torch.Tensor, shape (N,)
        In nats: 4 at an overlap of 0.25 angstrom, 11.5 at 0.5.
    """
    depth = overlap.clamp(min=0.0)
    energy = 80.0 * depth + 3000.0 * depth * depth
    bonded = both_sulfur & (distance > constants.DISULFIDE_SHORT)
    return torch.where(bonded, torch.zeros_like(energy), energy)


def find_bad_residues(
    positions: Tensor,
    backbone_points: BlockedPoints,
    near: Surroundings,
    tables: PackingTables,
    limit: float,
) -> Tensor:
    """Mark residues whose side chain overlaps severely or meets a ring.

    Parameters
    ----------
    positions : torch.Tensor, shape (G, 14, 3)
        Heavy atoms in nm.
    backbone_points : BlockedPoints
        N, CA, C, O and CB of G residues.
    near : Surroundings
        Residue pairs.
    tables : PackingTables
        Constants.
    limit : float
        Overlap beyond the tolerance that counts, in nm.

    Returns
    -------
    torch.Tensor, shape (G,), bool
        True for side chains to change.
    """
    cutoff = constants.CLASH_CUTOFF - limit
    atoms = list_side_chains(positions, near.residue_type, tables)
    index = atoms.residue * 14 + torch.remainder(atoms.code, 14)
    a, b, distance, _ = find_allowed_backbone_pairs(
        atoms, backbone_points, near, tables, cutoff
    )
    a2, b2, distance2, _ = find_side_chain_pairs(atoms, near, cutoff)
    a = index.index_select(0, torch.cat([a, a2]))
    b = torch.cat([b, index.index_select(0, b2)])
    distance = torch.cat([distance, distance2])
    residue_a = torch.div(a, 14, rounding_mode="floor")
    residue_b = torch.div(b, 14, rounding_mode="floor")
    type_a = near.residue_type.index_select(0, residue_a)
    type_b = near.residue_type.index_select(0, residue_b)
    overlap, both_sulfur = compute_overlap(
        type_a * 14 + a - residue_a * 14,
        type_b * 14 + b - residue_b * 14,
        distance,
        tables,
    )
    bonded = both_sulfur & (distance > constants.DISULFIDE_SHORT)
    severe = (overlap > limit) & ~bonded
    hit = torch.nonzero(severe).flatten()
    # a backbone atom cannot be moved
    side_hit = torch.nonzero(severe & (b - residue_b * 14 >= 5)).flatten()
    ring, bond = find_ring_penetrations(positions, near, tables)
    marked = torch.cat(
        [
            residue_a.index_select(0, hit),
            residue_b.index_select(0, side_hit),
            ring,
            bond,
        ]
    )
    count = torch.zeros_like(near.residue_type)
    count = count.scatter_add(0, marked, torch.ones_like(marked))
    return (count > 0) & (tables.n_chi.index_select(0, near.residue_type) > 0)


def choose_variants(
    moving: Tensor,
    variants: Tensor,
    penalty: Tensor,
    positions: Tensor,
    backbone: Tensor,
    backbone_points: BlockedPoints,
    near: Surroundings,
    builder: BuilderTables,
    tables: PackingTables,
) -> Tensor:
    """Choose the variant that overlaps least with what is there.

    Parameters
    ----------
    moving : torch.Tensor, shape (N,), int64
        Residues to choose for, ascending.
    variants : torch.Tensor, shape (N, V, 4)
        Side chains in radians.
    penalty : torch.Tensor, shape (N, V)
        In nats; inf for none.
    positions : torch.Tensor, shape (G, 14, 3)
        Heavy atoms in nm.
    backbone : torch.Tensor, shape (G, 5, 3)
        N, CA, C, O and CB in nm.
    backbone_points : BlockedPoints
        The same as points.
    near : Surroundings
        Residue pairs.
    builder : BuilderTables
        Ideal geometry.
    tables : PackingTables
        Constants.

    Returns
    -------
    torch.Tensor, shape (N, 4)
        In radians.
    """
    n_groups, n_variants = positions.size(0), variants.size(1)
    flat = variants.reshape(-1, 4)
    candidate = torch.nonzero(torch.isfinite(penalty).reshape(-1)).flatten()
    residue = moving.index_select(
        0, torch.div(candidate, n_variants, rounding_mode="floor")
    )
    types = near.residue_type.index_select(0, residue)
    built = build_side_chain_rows(
        backbone.index_select(0, residue),
        types,
        flat.index_select(0, candidate),
        builder,
    )
    row = torch.arange(candidate.numel(), device=candidate.device)
    alone = row.unsqueeze(1).expand(-1, 4)
    atoms = list_candidate_atoms(
        built, candidate, residue, types, alone, n_groups, 8, tables
    )
    present = list_side_chains(positions, near.residue_type, tables)
    a, code, distance = find_present_pairs(
        atoms, present, backbone_points, near, tables, constants.CLASH_CUTOFF
    )
    overlap, both_sulfur = compute_overlap(
        atoms.code.index_select(0, a), code, distance, tables
    )
    energy = compute_steep_energy(overlap, distance, both_sulfur)
    on_atom = torch.zeros_like(atoms.points.x).reshape(-1).scatter_add(0, a, energy)
    total = penalty.reshape(-1).scatter_add(
        0, atoms.cell_candidate, on_atom.index_select(0, atoms.cell_atom)
    )
    best = total.view(-1, n_variants).argmin(1)
    best = best + torch.arange(moving.numel(), device=best.device) * n_variants
    return flat.index_select(0, best)


def _lead_neighbors(rank: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Residues (G,) whose rank is above 0 and that of all their neighbours."""
    rival = torch.zeros_like(rank).scatter_reduce(
        0, first, rank.index_select(0, second), "amax", include_self=True
    )
    return rank > rival


def repair_side_chains(
    chi: Tensor,
    positions: Tensor,
    backbone: Tensor,
    backbone_points: BlockedPoints,
    near: Surroundings,
    candidate_chi: Tensor,
    candidate_log_p: Tensor,
    fixed: Tensor,
    builder: BuilderTables,
    tables: PackingTables,
    n_rounds: int,
    limit: float,
) -> tuple[Tensor, Tensor]:
    """Choose anew, and more finely, for side chains that overlap severely.

    In each round bad side chains that are no neighbours of one another move, the
    rest stays: variants of all candidates are tried against what is there.

    Parameters
    ----------
    chi : torch.Tensor, shape (G, 4)
        Side chains in radians.
    positions : torch.Tensor, shape (G, 14, 3)
        Heavy atoms in nm.
    backbone : torch.Tensor, shape (G, 5, 3)
        N, CA, C, O and CB in nm.
    backbone_points : BlockedPoints
        The same as points.
    near : Surroundings
        Residue pairs.
    candidate_chi : torch.Tensor, shape (F, R, C, 4)
        Candidates in radians.
    candidate_log_p : torch.Tensor, shape (F, R, C)
        -inf for none.
    fixed : torch.Tensor, shape (G,), bool
        Side chains that stay.
    builder : BuilderTables
        Ideal geometry.
    tables : PackingTables
        Constants.
    n_rounds : int
        Rounds; they end early where nothing is bad.
    limit : float
        Overlap beyond the tolerance that counts as severe, in nm.

    Returns
    -------
    chi : torch.Tensor, shape (G, 4)
        In radians.
    positions : torch.Tensor, shape (G, 14, 3)
        In nm.
    """
    n_groups, n_residues = positions.size(0), candidate_log_p.size(1)
    n_kept = candidate_log_p.size(2)
    options = candidate_chi.reshape(n_groups, n_kept, 4)
    option_log_p = candidate_log_p.reshape(n_groups, n_kept)
    number = torch.arange(n_groups, device=chi.device)
    number = torch.remainder(number, n_residues)
    first, second, _ = list_both_directions(near)
    watched = near
    ever = torch.zeros_like(fixed)
    for turn in range(n_rounds):
        bad = find_bad_residues(positions, backbone_points, watched, tables, limit)
        # only what was bad moves, and nothing becomes bad far from it
        ever = ever | bad
        watched = keep_touching(near, ever)
        bad = bad & ~fixed
        # among bad neighbours the highest number moves, next round the lowest
        rank = number + 1 if turn % 2 == 0 else n_residues - number
        is_moving = _lead_neighbors(rank * bad.to(rank.dtype), first, second)
        moving = torch.nonzero(is_moving).flatten()
        if moving.numel() == 0:
            break
        variants, penalty = list_variants(
            options.index_select(0, moving),
            chi.index_select(0, moving),
            option_log_p.index_select(0, moving),
        )
        fresh = choose_variants(
            moving,
            variants,
            penalty,
            positions,
            backbone,
            backbone_points,
            keep_touching(near, is_moving),
            builder,
            tables,
        )
        chi = chi.index_copy(0, moving, fresh)
        rebuilt = build_side_chain_rows(
            backbone.index_select(0, moving),
            near.residue_type.index_select(0, moving),
            fresh,
            builder,
        )
        positions = positions.index_copy(0, moving, rebuilt)
    return chi, positions
