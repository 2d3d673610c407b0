"""Energies between candidate atoms and their surroundings, clash and learned."""

import torch

from openmm_backmap.packing import constants
from openmm_backmap.packing.atoms import CandidateAtoms, PointGroups
from openmm_backmap.packing.clash import compute_clash_energy, compute_overlap
from openmm_backmap.packing.contacts import find_point_pairs, keep_one_direction
from openmm_backmap.packing.mean_field import InteractionTerms
from openmm_backmap.packing.tables import N_ATOM_TYPES, PackingTables

__all__ = [
    "N_DISTANCE_BINS",
    "compute_backbone_energy",
    "compute_side_chain_terms",
    "find_allowed_backbone_pairs",
    "look_up_pair_energy",
]

N_DISTANCE_BINS = 10
"""Distance bins of the learned pair energy."""


def look_up_pair_energy(
    table: torch.Tensor,
    type_a: torch.Tensor,
    type_b: torch.Tensor,
    distance: torch.Tensor,
) -> torch.Tensor:
    """Read the learned energy of atom pairs.

    Parameters
    ----------
    table : torch.Tensor, shape (14, 14, 10)
        Energy in nats by type, type and distance bin; symmetric in the types.
    type_a, type_b : torch.Tensor, shape (N,), int64
        Index into `ATOM_TYPES`.
    distance : torch.Tensor, shape (N,)
        In nm, below `PAIR_CUTOFF`.

    Returns
    -------
    torch.Tensor, shape (N,)
        In nats.
    """
    n_types, n_bins = table.size(0), table.size(2)
    width = (constants.PAIR_CUTOFF - constants.FIRST_EDGE) / (n_bins - 1)
    bin_index = (
        torch.floor((distance - constants.FIRST_EDGE) / width).to(torch.int64) + 1
    )
    bin_index = bin_index.clamp(min=0, max=n_bins - 1)
    index = (type_a * n_types + type_b) * n_bins + bin_index
    return table.reshape(-1).index_select(0, index)


def find_allowed_backbone_pairs(
    atoms: CandidateAtoms,
    backbone: PointGroups,
    first: torch.Tensor,
    second: torch.Tensor,
    shift: torch.Tensor,
    follows: torch.Tensor,
    tables: PackingTables,
    cutoff: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Find backbone atoms near candidate atoms, those of their own residue too.

    Parameters
    ----------
    atoms : CandidateAtoms
        Distinct side-chain atoms.
    backbone : PointGroups
        N, CA, C, O and CB of G residues.
    first, second : torch.Tensor, shape (P,), int64
        Residue pairs, in every direction that counts.
    shift : torch.Tensor, shape (3, P)
        Image shift of the second in nm.
    follows : torch.Tensor, shape (G,), bool
        Whether a residue is bonded to the one before it in the list.
    tables : PackingTables
        Constants.
    cutoff : float
        Distance in nm.

    Returns
    -------
    a, b : torch.Tensor, shape (N,), int64
        Candidate atom; backbone atom as 5 x residue + slot.
    distance : torch.Tensor, shape (N,)
        In nm.
    image : torch.Tensor, shape (3, N)
        Image shift of the backbone atom in nm.
    """
    own = torch.arange(follows.numel(), device=first.device)
    no_shift = torch.zeros(3, own.numel(), dtype=shift.dtype, device=shift.device)
    first, second = torch.cat([first, own]), torch.cat([second, own])
    shift = torch.cat([shift, no_shift], 1)
    a, b, distance, pair = find_point_pairs(
        atoms.points, backbone, first, second, shift, cutoff, 2048
    )
    residue_b = torch.div(b, 5, rounding_mode="floor")
    residue_a = atoms.residue.index_select(0, a)
    code_a = (atoms.residue_type * 14 + atoms.slot).index_select(0, a)
    # 0 inside a residue, 1 with the bonded one before, 2 with any other
    step = residue_a - residue_b
    before = (step == 1) & follows.index_select(0, residue_a)
    kind = torch.where(before, torch.ones_like(step), torch.full_like(step, 2))
    kind = torch.where(step == 0, torch.zeros_like(step), kind)
    allowed = torch.stack(
        [
            ~tables.excluded_inside[:, :, :5],
            ~tables.excluded_before,
            torch.ones_like(tables.excluded_before),
        ]
    )
    entry = (kind * 280 + code_a) * 5 + b - residue_b * 5
    kept = torch.nonzero(allowed.reshape(-1).index_select(0, entry)).flatten()
    return (
        a.index_select(0, kept),
        b.index_select(0, kept),
        distance.index_select(0, kept),
        shift.index_select(1, pair.index_select(0, kept)),
    )


def compute_backbone_energy(
    atoms: CandidateAtoms,
    backbone: PointGroups,
    first: torch.Tensor,
    second: torch.Tensor,
    shift: torch.Tensor,
    residue_type: torch.Tensor,
    follows: torch.Tensor,
    tables: PackingTables,
    table: torch.Tensor,
    scale: float,
    slope: float,
    ceiling: float,
) -> torch.Tensor:
    """Compute the energy of each candidate atom with all backbone atoms.

    Parameters
    ----------
    atoms : CandidateAtoms
        Distinct side-chain atoms.
    backbone : PointGroups
        N, CA, C, O and CB of G residues.
    first, second : torch.Tensor, shape (P,), int64
        Residue pairs, in every direction that counts.
    shift : torch.Tensor, shape (3, P)
        Image shift of the second in nm.
    residue_type : torch.Tensor, shape (G,), int64
        0 to 19.
    follows : torch.Tensor, shape (G,), bool
        Whether a residue is bonded to the one before it in the list.
    tables : PackingTables
        Constants.
    table : torch.Tensor, shape (14, 14, 10)
        Learned pair energy in nats.
    scale : float
        Weight of the learned energy; 0 leaves it out.
    slope, ceiling : float
        Of the soft overlap energy.

    Returns
    -------
    torch.Tensor, shape (N,)
        In nats.
    """
    cutoff = constants.PAIR_CUTOFF if scale != 0.0 else constants.CLASH_CUTOFF
    a, b, distance, _ = find_allowed_backbone_pairs(
        atoms, backbone, first, second, shift, follows, tables, cutoff
    )
    residue_b = torch.div(b, 5, rounding_mode="floor")
    code_a = (atoms.residue_type * 14 + atoms.slot).index_select(0, a)
    code_b = residue_type.index_select(0, residue_b) * 14 + b - residue_b * 5
    radius, polarity = tables.atom_radius.reshape(-1), tables.atom_polarity.reshape(-1)
    polar = polarity.index_select(0, code_a) * polarity.index_select(0, code_b)
    overlap = compute_overlap(
        distance,
        radius.index_select(0, code_a),
        radius.index_select(0, code_b),
        polar,
    )
    energy = compute_clash_energy(
        overlap, distance, torch.zeros_like(overlap), slope, ceiling
    )
    if scale != 0.0:
        kinds = tables.atom_type.reshape(-1)
        energy = energy + scale * look_up_pair_energy(
            table,
            kinds.index_select(0, code_a),
            kinds.index_select(0, code_b),
            distance,
        )
    return torch.zeros_like(atoms.points.x).scatter_add(0, a, energy)


def compute_side_chain_terms(
    atoms: CandidateAtoms,
    first: torch.Tensor,
    second: torch.Tensor,
    shift: torch.Tensor,
    neighbor_index: torch.Tensor,
    tables: PackingTables,
    table: torch.Tensor,
    scale: float,
    slope: float,
    ceiling: float,
) -> InteractionTerms:
    """Compute the energies between side-chain atoms of different residues.

    Parameters
    ----------
    atoms : CandidateAtoms
        Distinct side-chain atoms.
    first, second : torch.Tensor, shape (P,), int64
        Residue pairs as listed by `find_residue_pairs`.
    shift : torch.Tensor, shape (3, P)
        Image shift of the second in nm.
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        The list the pairs came from.
    tables : PackingTables
        Constants.
    table : torch.Tensor, shape (14, 14, 10)
        Learned pair energy in nats.
    scale : float
        Weight of the learned energy; 0 leaves it out.
    slope, ceiling : float
        Of the soft overlap energy.

    Returns
    -------
    InteractionTerms
        Pairs with an energy other than zero.
    """
    kept = keep_one_direction(first, second, neighbor_index)
    first, second = first.index_select(0, kept), second.index_select(0, kept)
    cutoff = constants.PAIR_CUTOFF if scale != 0.0 else constants.CLASH_CUTOFF
    a, b, distance, _ = find_point_pairs(
        atoms.points,
        atoms.points,
        first,
        second,
        shift.index_select(1, kept),
        cutoff,
        4096,
    )
    code = atoms.residue_type * 14 + atoms.slot
    code_a, code_b = code.index_select(0, a), code.index_select(0, b)
    radius, polarity = tables.atom_radius.reshape(-1), tables.atom_polarity.reshape(-1)
    disulfide = tables.is_disulfide.reshape(-1)
    polar = polarity.index_select(0, code_a) * polarity.index_select(0, code_b)
    overlap = compute_overlap(
        distance,
        radius.index_select(0, code_a),
        radius.index_select(0, code_b),
        polar,
    )
    both = disulfide.index_select(0, code_a) * disulfide.index_select(0, code_b)
    energy = compute_clash_energy(overlap, distance, both, slope, ceiling)
    if scale != 0.0:
        kinds = tables.atom_type.reshape(-1)
        energy = energy + scale * look_up_pair_energy(
            table,
            kinds.index_select(0, code_a),
            kinds.index_select(0, code_b),
            distance,
        )
    used = torch.nonzero(energy).flatten()
    return InteractionTerms(
        a=a.index_select(0, used),
        b=b.index_select(0, used),
        energy=energy.index_select(0, used),
    )


def make_empty_pair_energy() -> torch.Tensor:
    """Make a pair energy that is zero everywhere.

    Returns
    -------
    torch.Tensor, shape (14, 14, 10)
        In nats.
    """
    return torch.zeros(N_ATOM_TYPES, N_ATOM_TYPES, N_DISTANCE_BINS)
