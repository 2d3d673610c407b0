"""The one door of the packing: backbone and rotamer candidates in, atoms out."""

from typing import NamedTuple

import torch
from torch import Tensor

from openmm_backmap.builder.side_chain import build_side_chain_rows
from openmm_backmap.builder.tables import BuilderTables, load_builder_tables
from openmm_backmap.packing import constants
from openmm_backmap.packing.atoms import (
    compute_reach,
    list_backbone,
    list_candidate_atoms,
)
from openmm_backmap.packing.candidates import drop_hopeless, select_candidates
from openmm_backmap.packing.cleanup import clean_up
from openmm_backmap.packing.contacts import find_surroundings
from openmm_backmap.packing.decide import choose_central, sum_agreeing
from openmm_backmap.packing.disulfides import join_disulfides
from openmm_backmap.packing.gibbs import sample_gibbs
from openmm_backmap.packing.interactions import (
    compute_backbone_energy,
    compute_side_chain_terms,
)
from openmm_backmap.packing.mean_field import solve_mean_field, sum_over_atoms
from openmm_backmap.packing.pair_energy import (
    EnergyWeights,
    make_empty_pair_energy,
    make_energy_grid,
)
from openmm_backmap.packing.repair import repair_side_chains
from openmm_backmap.packing.tables import PackingTables, make_packing_tables

__all__ = ["Packer", "PackingSettings", "pack"]


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
    agreement: float = 0.7  # radians of chi1 and chi2 that count as the same
    temperature: float = 1.0  # of samples
    n_cleanup_steps: int = 10
    cleanup_pull: float = 0.02
    cleanup_margin: float = 0.02  # nm
    n_repair_rounds: int = 4
    repair_limit: float = 0.03  # nm of overlap beyond the tolerance


def pack_frames(
    backbone: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    neighbor_index: Tensor,
    box: Tensor,
    chi: Tensor,
    log_p: Tensor,
    noise: Tensor | None,
    builder: BuilderTables,
    tables: PackingTables,
    pair_energy: Tensor,
    settings: PackingSettings,
) -> tuple[Tensor, Tensor, Tensor]:
    """Pack some frames; see `pack`."""
    n_frames, n_residues = backbone.size(0), backbone.size(1)
    n_groups = n_frames * n_residues
    chi, log_p, bonded = join_disulfides(
        backbone,
        residue_type,
        chain_index,
        neighbor_index,
        box,
        chi,
        log_p,
        builder,
    )
    candidates = select_candidates(
        chi,
        log_p,
        residue_type,
        tables,
        settings.max_candidates,
        settings.max_log_ratio,
    )
    n_kept = candidates.log_p.size(2)
    rows = backbone.reshape(n_groups, 5, 3)
    row_type = residue_type.repeat(n_frames).index_select(0, candidates.residue)
    built = build_side_chain_rows(
        rows.reshape(n_groups, 15).index_select(0, candidates.residue).view(-1, 5, 3),
        row_type,
        candidates.chi.reshape(-1, 4).index_select(0, candidates.index),
        builder,
    )
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
    has_beta = tables.atom_mask[:, 4].index_select(0, residue_type)
    backbone_points = list_backbone(backbone, has_beta)
    weights = EnergyWeights(
        table=pair_energy,
        scale=settings.pair_scale,
        slope=settings.clash_slope,
        ceiling=settings.clash_ceiling,
    )
    grid = make_energy_grid(tables, weights)
    near = find_surroundings(
        neighbor_index,
        backbone[:, :, 1],
        box,
        residue_type,
        chain_index,
        compute_reach(atoms.points, backbone_points),
        max(grid.cutoff, constants.CLASH_CUTOFF + 0.11),
    )
    on_atom = compute_backbone_energy(atoms, backbone_points, near, tables, grid)
    own = sum_over_atoms(on_atom, atoms, n_groups * n_kept).view(n_groups, n_kept)
    own = own - settings.log_p_weight * candidates.log_p.view(n_groups, n_kept)
    listed = candidates.index
    candidates = drop_hopeless(candidates, own, settings.max_own_energy)
    own = own.masked_fill(
        torch.isinf(candidates.log_p).view(n_groups, n_kept), float("inf")
    )
    alive = torch.searchsorted(listed, candidates.index)
    atoms = list_candidate_atoms(
        built.index_select(0, alive),
        candidates.index,
        candidates.residue,
        row_type.index_select(0, alive),
        candidates.same_as,
        n_groups,
        8,
        tables,
    )
    terms = compute_side_chain_terms(atoms, near, tables, grid)
    marginal = solve_mean_field(own, terms, atoms, settings.n_sweeps, settings.damping)
    if noise is None:
        choice = choose_central(
            marginal,
            built.index_select(0, alive),
            candidates.index,
            settings.choice_floor,
        )
    else:
        choice = sample_gibbs(own, marginal, terms, atoms, noise, settings.temperature)
    kind = residue_type.repeat(n_frames)
    confidence = sum_agreeing(
        marginal,
        candidates.chi.reshape(n_groups, n_kept, 4),
        choice,
        tables.chi_period.index_select(0, kind),
        settings.agreement,
    )
    chosen = torch.arange(n_groups, device=choice.device) * n_kept + choice
    chosen_chi, positions = clean_up(
        rows,
        backbone_points,
        candidates.chi.reshape(-1, 4).index_select(0, chosen),
        bonded.flatten(),
        near,
        builder,
        tables,
        settings.n_cleanup_steps,
        settings.cleanup_pull,
        settings.cleanup_margin,
    )
    if settings.n_repair_rounds > 0:
        chosen_chi, positions = repair_side_chains(
            chosen_chi,
            positions,
            rows,
            backbone_points,
            near,
            candidates.chi,
            candidates.log_p,
            bonded.flatten(),
            builder,
            tables,
            settings.n_repair_rounds,
            settings.repair_limit,
        )
    return (
        chosen_chi.view(n_frames, n_residues, 4),
        positions.view(n_frames, n_residues, 14, 3),
        confidence.view(n_frames, n_residues),
    )


def pack(
    backbone: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    neighbor_index: Tensor,
    box: Tensor,
    chi: Tensor,
    log_p: Tensor,
    noise: Tensor | None,
    builder: BuilderTables,
    tables: PackingTables,
    pair_energy: Tensor,
    settings: PackingSettings,
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose one candidate a residue so that all of them fit together.

    Parameters
    ----------
    backbone : torch.Tensor, shape (F, R, 5, 3)
        N, CA, C, O and CB in nm.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and bonded segment of each residue.
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        Nearest residues by CA, -1 padded; contacts outside it are not seen.
    box : torch.Tensor, shape (F, 3, 3)
        Box vectors in nm as rows, zeros for no box.
    chi : torch.Tensor, shape (F, R, C, 4)
        Candidate side chains in radians.
    log_p : torch.Tensor, shape (F, R, C)
        Natural log of their probabilities, -inf for no candidate.
    noise : torch.Tensor or None, shape (F, R, S)
        N(0, 1) numbers that drive one mutually packed sample: a first choice
        from the marginals and S - 1 Gibbs sweeps. If None, the mode.
    builder : BuilderTables
        Ideal geometry.
    tables : PackingTables
        Constants of the packing.
    pair_energy : torch.Tensor, shape (26, 26, 16)
        Learned pair energy in nats.
    settings : PackingSettings
        Weights.

    Returns
    -------
    chi : torch.Tensor, shape (F, R, 4)
        The chosen side chains after the clean-up, in radians.
    positions : torch.Tensor, shape (F, R, 14, 3)
        Heavy atoms in nm, zeros in absent slots.
    confidence : torch.Tensor, shape (F, R)
        Marginal probability of chi1 and chi2 as chosen; 1 where there is no
        choice.
    """
    if residue_type.numel() == 0:
        return chi[:, :, 0], backbone.new_zeros(chi.size(0), 0, 14, 3), log_p[:, :, 0]
    # a few thousand residues at once: they fit the caches, and memory stays flat
    n_rows = 131072 if backbone.is_cuda else 4096
    n_frames = max(1, n_rows // residue_type.numel())
    chis: list[Tensor] = []
    positions: list[Tensor] = []
    confidences: list[Tensor] = []
    for start in range(0, backbone.size(0), n_frames):
        stop = start + n_frames
        part_chi, part_positions, part_confidence = pack_frames(
            backbone[start:stop],
            residue_type,
            chain_index,
            neighbor_index[start:stop],
            box[start:stop],
            chi[start:stop],
            log_p[start:stop],
            None if noise is None else noise[start:stop],
            builder,
            tables,
            pair_energy,
            settings,
        )
        chis.append(part_chi)
        positions.append(part_positions)
        confidences.append(part_confidence)
    return torch.cat(chis), torch.cat(positions), torch.cat(confidences)


class Packer(torch.nn.Module):
    """Packing with its constants as buffers, ready to sit in a model.

    Parameters
    ----------
    settings : PackingSettings or None
        Weights. If None, the defaults.
    pair_energy : torch.Tensor or None, shape (26, 26, 16)
        Learned pair energy in nats. If None, zero.
    """

    settings: PackingSettings

    def __init__(
        self,
        settings: PackingSettings | None = None,
        pair_energy: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.settings = PackingSettings() if settings is None else settings
        if pair_energy is None:
            pair_energy = make_empty_pair_energy()
        self.register_buffer("pair_energy", pair_energy)
        # buffers, one by one: a named tuple would not follow .to(device)
        for name, value in make_packing_tables()._asdict().items():
            self.register_buffer("packing_" + name, value, persistent=False)
        for name, value in load_builder_tables()._asdict().items():
            self.register_buffer("builder_" + name, value, persistent=False)

    def tables(self) -> PackingTables:
        """Return the packing constants on the module's device."""
        return PackingTables(
            atom_mask=self.packing_atom_mask,
            atom_radius=self.packing_atom_radius,
            atom_polarity=self.packing_atom_polarity,
            atom_type=self.packing_atom_type,
            is_disulfide=self.packing_is_disulfide,
            excluded_inside=self.packing_excluded_inside,
            excluded_before=self.packing_excluded_before,
            n_chi=self.packing_n_chi,
            chi_period=self.packing_chi_period,
            chi_depth=self.packing_chi_depth,
            chi_axis=self.packing_chi_axis,
            chi_moves=self.packing_chi_moves,
            is_proline=self.packing_is_proline,
            bonds=self.packing_bonds,
            rings=self.packing_rings,
            type_code=self.packing_type_code,
        )

    def builder(self) -> BuilderTables:
        """Return the ideal geometry on the module's device."""
        return BuilderTables(
            parent=self.builder_parent,
            length=self.builder_length,
            angle=self.builder_angle,
            offset=self.builder_offset,
            chi_index=self.builder_chi_index,
            exists=self.builder_exists,
            cb=self.builder_cb,
            n_ca_c=self.builder_n_ca_c,
            n_chi=self.builder_n_chi,
            pi_periodic=self.builder_pi_periodic,
            unit=self.builder_unit,
            unit_center=self.builder_unit_center,
            unit_range=self.builder_unit_range,
        )

    def forward(
        self,
        backbone: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        chi: Tensor,
        log_p: Tensor,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Choose one candidate a residue; see `pack`."""
        return pack(
            backbone,
            residue_type,
            chain_index,
            neighbor_index,
            box,
            chi,
            log_p,
            noise,
            self.builder(),
            self.tables(),
            self.pair_energy,
            self.settings,
        )
