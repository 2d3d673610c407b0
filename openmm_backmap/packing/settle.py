"""From marginals to atoms: choose, clean up, repair."""

import torch
from torch import Tensor

from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.packing.cleanup import clean_up
from openmm_backmap.packing.decide import choose_central, find_unsure, sum_agreeing
from openmm_backmap.packing.gibbs import sample_gibbs
from openmm_backmap.packing.repair import repair_side_chains
from openmm_backmap.packing.state import PackingSettings, PackingState
from openmm_backmap.packing.tables import PackingTables

__all__ = ["settle_frames"]


def settle_frames(
    state: PackingState,
    marginal: Tensor,
    noise: Tensor | None,
    builder: BuilderTables,
    tables: PackingTables,
    settings: PackingSettings,
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose one candidate a residue and mend what still overlaps.

    Parameters
    ----------
    state : PackingState
        From `solve_frames`.
    marginal : torch.Tensor, shape (G, C)
        Its marginals, or corrected ones.
    noise : torch.Tensor or None, shape (F, R, S)
        See `Packer.forward`.
    builder, tables, settings
        Constants and weights.

    Returns
    -------
    chi, positions, confidence : torch.Tensor, shape (G, 4), (G, 14, 3), (G,)
        As `Packer.forward` gives them.
    """
    candidates = state.candidates
    n_groups, n_kept = marginal.size(0), marginal.size(1)
    chi = candidates.chi.reshape(n_groups, n_kept, 4)
    period = tables.chi_period.index_select(0, state.kind)
    if noise is None:
        unsure = find_unsure(
            marginal, state.near.follows, settings.unsure_limit, settings.unsure_reach
        )
        choice = choose_central(
            marginal, state.built, candidates.index, settings.choice_floor, unsure
        )
    else:
        choice = sample_gibbs(
            state.own, marginal, state.terms, state.atoms, noise, settings.temperature
        )
    confidence = sum_agreeing(marginal, chi, choice, period, settings.agreement)
    chosen = torch.arange(n_groups, device=choice.device) * n_kept + choice
    chosen_chi, positions = clean_up(
        state.rows,
        state.backbone_points,
        candidates.chi.reshape(-1, 4).index_select(0, chosen),
        state.bonded.flatten(),
        state.near,
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
            state.rows,
            state.backbone_points,
            state.near,
            candidates.chi,
            candidates.log_p,
            state.bonded.flatten(),
            builder,
            tables,
            settings.n_repair_rounds,
            settings.repair_limit,
        )
    return chosen_chi, positions, confidence
