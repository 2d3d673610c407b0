"""What the contact network reads of a mean field, and what it changes in it."""

import torch
from torch import Tensor

from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.packing.atoms import (
    CandidateAtoms,
    list_candidate_atoms,
    read_atoms,
)
from openmm_backmap.packing.candidates import keep_candidates
from openmm_backmap.packing.contact_network import ContactInputs
from openmm_backmap.packing.contact_pairs import (
    ContactPairs,
    compute_bond_directions,
    compute_plane_normals,
    find_contact_pairs,
)
from openmm_backmap.packing.mean_field import compute_candidate_field, compute_occupancy
from openmm_backmap.packing.state import PackingSettings, PackingState
from openmm_backmap.packing.tables import PackingTables

__all__ = ["correct_marginals", "list_contacts"]


def _list_some(
    state: PackingState, kept: Tensor, tables: PackingTables
) -> tuple[CandidateAtoms, Tensor]:
    """List the atoms of some candidates; also their rows in the state."""
    some = keep_candidates(state.candidates, kept)
    place = torch.searchsorted(state.candidates.index, some.index)
    atoms = list_candidate_atoms(
        state.built.index_select(0, place),
        some.index,
        some.residue,
        state.row_type.index_select(0, place),
        some.same_as,
        state.marginal.size(0),
        8,
        tables,
    )
    return atoms, place


def list_contacts(
    state: PackingState,
    builder: BuilderTables,
    tables: PackingTables,
    settings: PackingSettings,
) -> tuple[ContactPairs, ContactInputs]:
    """List what the contact network reads of some frames.

    Only candidates between which the mean field has left a doubt are rated.

    Parameters
    ----------
    state : PackingState
        From `solve_frames`.
    builder, tables, settings
        Constants and weights.

    Returns
    -------
    pairs : ContactPairs
        Contacts of the atoms of these candidates.
    inputs : ContactInputs
        What else the network reads.
    """
    marginal, candidates, atoms = state.marginal, state.candidates, state.atoms
    n_groups, n_kept = marginal.size(0), marginal.size(1)
    doubt = 1.0 - marginal.amax(1, keepdim=True)
    is_open = (marginal >= settings.least_marginal) & (doubt >= settings.least_doubt)
    occupancy = compute_occupancy(marginal.reshape(-1), atoms)
    field = compute_candidate_field(occupancy, state.terms, atoms, marginal.numel())
    built, parent = state.built, builder.parent
    directions = compute_bond_directions(built, state.row_type, parent)
    normals = compute_plane_normals(built, state.row_type, parent)
    rated, rows = _list_some(state, is_open, tables)
    is_present = marginal >= settings.least_presence
    around, rows_around = _list_some(state, is_present, tables)
    pairs = find_contact_pairs(
        rated,
        read_atoms(directions.index_select(0, rows), rated),
        read_atoms(normals.index_select(0, rows), rated),
        around,
        read_atoms(directions.index_select(0, rows_around), around),
        compute_occupancy(marginal.reshape(-1), around),
        state.rows,
        state.backbone_points,
        state.near,
        tables,
    )
    inputs = ContactInputs(
        code=rated.code,
        cell_candidate=rated.cell_candidate,
        cell_atom=rated.cell_atom,
        is_open=is_open,
        score=-(state.own + field.view(n_groups, n_kept)),
        log_p=candidates.log_p.view(n_groups, n_kept),
        chi=candidates.chi.view(n_groups, n_kept, 4),
        kind=state.kind,
    )
    return pairs, inputs


def correct_marginals(
    state: PackingState,
    inputs: ContactInputs,
    correction: Tensor,
    settings: PackingSettings,
    temper: float = 0.7,
) -> Tensor:
    """Take the contact network's corrections into the marginals.

    Parameters
    ----------
    state : PackingState
        From `solve_frames`.
    inputs : ContactInputs
        What the network has read.
    correction : torch.Tensor, shape (G, C)
        What it says.
    settings : PackingSettings
        Has the network's share; the rest is the mean field, which overlaps weigh on
        more heavily.
    temper : float
        Weight of the mean field's scores beside the network's: alone they are too
        sure of themselves.

    Returns
    -------
    torch.Tensor, shape (G, C)
        Probabilities of the candidates.
    """
    empty = torch.isinf(state.own)
    share = settings.contact_share
    field = inputs.score.masked_fill(empty, 0.0)
    correction = share * correction + (1.0 - share) * (temper - 1.0) * field
    score = (inputs.score + correction).masked_fill(empty, -1e9)
    return torch.softmax(score, 1).masked_fill(empty, 0.0)
