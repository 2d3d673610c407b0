"""From rotamer candidates to their mean field, and what is known of it."""

from typing import NamedTuple

import torch
from torch import Tensor

from openmm_backmap.builder.side_chain import build_side_chain_rows
from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.packing.atoms import (
    BlockedPoints,
    CandidateAtoms,
    compute_reach,
    list_backbone,
    list_candidate_atoms,
)
from openmm_backmap.packing.candidates import (
    Candidates,
    drop_hopeless,
    select_candidates,
)
from openmm_backmap.packing.contacts import Surroundings, find_surroundings
from openmm_backmap.packing.disulfides import join_disulfides
from openmm_backmap.packing.interactions import (
    InteractionTerms,
    compute_backbone_energy,
    compute_side_chain_terms,
)
from openmm_backmap.packing.mean_field import solve_mean_field, sum_over_atoms
from openmm_backmap.packing.pair_energy import (
    EnergyGrid,
    EnergyWeights,
    make_energy_grid,
)
from openmm_backmap.packing.tables import PackingTables

__all__ = [
    "BuiltCandidates",
    "PackingSettings",
    "PackingState",
    "build_candidates",
    "solve_frames",
]


class PackingSettings(NamedTuple):
    """Weights and numbers of steps; the defaults suit a rotamer library.

    Energies are in nats.
    """

    max_candidates: int = 12  # a residue
    max_log_ratio: float = 7.0  # nats below the best candidate
    max_own_energy: float = 7.0  # nats above the best, with the backbone alone
    log_p_weight: float = 1.0
    clash_slope: float = 120.0  # nats per nm of overlap
    clash_ceiling: float = 10.0  # nats an atom pair
    pair_scale: float = 0.0  # weight of the learned pair energy
    n_sweeps: int = 10
    damping: float = 0.5
    choice_floor: float = 0.05  # of the likeliest's probability
    unsure_limit: float = 0.0  # see `find_unsure`; 0 for none
    unsure_reach: int = 15  # residues
    agreement: float = 0.7  # radians of chi1 and chi2 that count as the same
    temperature: float = 1.0  # of samples
    contact_share: float = 0.75  # of the contact network in the final scores
    least_marginal: float = 0.02  # of candidates that the contact network rates
    least_doubt: float = 0.04  # of residues whose candidates it rates
    least_presence: float = 0.03  # of candidates that it sees around them
    n_cleanup_steps: int = 14
    cleanup_pull: float = 0.02
    cleanup_margin: float = 0.02  # nm
    n_repair_rounds: int = 4
    repair_limit: float = 0.03  # nm of overlap beyond the tolerance


class PackingState(NamedTuple):
    """Candidates in their mean field: G = frames x residues, C candidates."""

    candidates: Candidates
    built: Tensor  # (P, 14, 3) nm, their atoms
    row_type: Tensor  # (P,) int64 residue type
    atoms: CandidateAtoms
    rows: Tensor  # (G, 5, 3) nm, the backbone
    backbone_points: BlockedPoints
    near: Surroundings
    bonded: Tensor  # (F, R) bool, held by a disulfide
    kind: Tensor  # (G,) int64 residue type
    own: Tensor  # (G, C) energy with the backbone less log p, inf for none
    terms: InteractionTerms
    marginal: Tensor  # (G, C)


class BuiltCandidates(NamedTuple):
    """Side chains of P candidates and their atoms."""

    built: Tensor  # (P, 14, 3) nm
    row_type: Tensor  # (P,) int64 residue type
    atoms: CandidateAtoms


def build_candidates(
    candidates: Candidates,
    rows: Tensor,
    kind: Tensor,
    builder: BuilderTables,
    tables: PackingTables,
) -> BuiltCandidates:
    """Build all candidates.

    Parameters
    ----------
    candidates : Candidates
        Of all frames.
    rows : torch.Tensor, shape (G, 5, 3)
        N, CA, C, O and CB in nm.
    kind : torch.Tensor, shape (G,), int64
        Residue types.
    builder : BuilderTables
        Ideal geometry.
    tables : PackingTables
        Constants.

    Returns
    -------
    BuiltCandidates
    """
    n_groups = rows.size(0)
    row_type = kind.index_select(0, candidates.residue)
    built = build_side_chain_rows(
        rows.reshape(n_groups, 15).index_select(0, candidates.residue).view(-1, 5, 3),
        row_type,
        candidates.chi.reshape(-1, 4).index_select(0, candidates.index),
        builder,
    )
    return _list_atoms(candidates, built, row_type, n_groups, tables)


def _list_atoms(
    candidates: Candidates,
    built: Tensor,
    row_type: Tensor,
    n_groups: int,
    tables: PackingTables,
) -> BuiltCandidates:
    """Put candidates and the list of their atoms together."""
    atoms = list_candidate_atoms(
        built,
        candidates.index,
        candidates.residue,
        row_type,
        candidates.same_as,
        n_groups,
        8,
        tables,
    )
    return BuiltCandidates(built, row_type, atoms)


def _make_grid(
    pair_energy: Tensor, tables: PackingTables, settings: PackingSettings
) -> EnergyGrid:
    """Energy of atom pairs on a grid of distances."""
    weights = EnergyWeights(
        table=pair_energy,
        scale=settings.pair_scale,
        slope=settings.clash_slope,
        ceiling=settings.clash_ceiling,
    )
    return make_energy_grid(tables, weights)


def _drop_candidates(
    candidates: Candidates,
    listed: BuiltCandidates,
    on_atom: Tensor,
    tables: PackingTables,
    settings: PackingSettings,
) -> tuple[Candidates, BuiltCandidates, Tensor]:
    """Leave out those that the backbone rules out; own energies (G, C) of all."""
    n_kept = candidates.log_p.size(2)
    log_p = candidates.log_p.view(-1, n_kept)
    n_groups = log_p.size(0)
    own = sum_over_atoms(on_atom, listed.atoms, n_groups * n_kept)
    own = own.view(n_groups, n_kept) - settings.log_p_weight * log_p
    kept = drop_hopeless(candidates, own, settings.max_own_energy)
    own = own.masked_fill(torch.isinf(kept.log_p).view(n_groups, n_kept), float("inf"))
    alive = torch.searchsorted(candidates.index, kept.index)
    built = listed.built.index_select(0, alive)
    row_type = listed.row_type.index_select(0, alive)
    return kept, _list_atoms(kept, built, row_type, n_groups, tables), own


def solve_frames(
    backbone: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    neighbor_index: Tensor,
    box: Tensor,
    chi: Tensor,
    log_p: Tensor,
    builder: BuilderTables,
    tables: PackingTables,
    pair_energy: Tensor,
    settings: PackingSettings,
    reach: float,
) -> PackingState:
    """Solve the mean field of some frames; arguments as in `Packer.forward`.

    `reach` is the distance in nm up to which atoms may ask for one another.
    """
    chi, log_p, bonded = join_disulfides(
        backbone, residue_type, chain_index, neighbor_index, box, chi, log_p, builder
    )
    candidates = select_candidates(
        chi,
        log_p,
        residue_type,
        tables,
        settings.max_candidates,
        settings.max_log_ratio,
    )
    rows = backbone.reshape(-1, 5, 3)
    kind = residue_type.repeat(backbone.size(0))
    listed = build_candidates(candidates, rows, kind, builder, tables)
    has_beta = tables.atom_mask[:, 4].index_select(0, residue_type)
    backbone_points = list_backbone(backbone, has_beta)
    grid = _make_grid(pair_energy, tables, settings)
    near = find_surroundings(
        neighbor_index,
        backbone[:, :, 1],
        box,
        residue_type,
        chain_index,
        compute_reach(listed.atoms.points, backbone_points),
        max(grid.cutoff, reach),
    )
    on_atom = compute_backbone_energy(listed.atoms, backbone_points, near, tables, grid)
    candidates, listed, own = _drop_candidates(
        candidates, listed, on_atom, tables, settings
    )
    atoms = listed.atoms
    terms = compute_side_chain_terms(atoms, near, tables, grid)
    marginal = solve_mean_field(own, terms, atoms, settings.n_sweeps, settings.damping)
    return PackingState(
        candidates=candidates,
        built=listed.built,
        row_type=listed.row_type,
        atoms=atoms,
        rows=rows,
        backbone_points=backbone_points,
        near=near,
        bonded=bonded,
        kind=kind,
        own=own,
        terms=terms,
        marginal=marginal,
    )
