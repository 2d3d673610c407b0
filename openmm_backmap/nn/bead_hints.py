"""What beads other than CA tell a model: terms for planes and side chains."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import (
    build_units,
    place_carbonyl_oxygen,
    unit_frames,
)
from openmm_backmap.builder.side_chain import build_side_chain_rows
from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.geometry.frames import to_local
from openmm_backmap.geometry.vectors import wrap_angle

__all__ = [
    "BeadHints",
    "follow_oxygen",
    "hint_awsem",
    "hint_com",
    "weigh_side_chains",
]


class BeadHints(NamedTuple):
    """Beads beside CA; each has a mask of the residues that have it."""

    mass: Tensor  # (20, 14) share of each heavy atom in the residue's mass
    com: Tensor  # (F, R, 3) centre of mass of heavy atoms, nm
    has_com: Tensor  # (F, R) bool
    com_spread: float  # nm a coordinate, how far CA may be off
    beta: Tensor  # (F, R, 3) CB, nm
    has_beta: Tensor  # (F, R) bool
    beta_spread: float  # nm a coordinate
    oxygen: Tensor  # (F, R, 3) O, nm
    has_oxygen: Tensor  # (F, R) bool
    oxygen_spread: float  # radians, of the azimuth of O
    noise: float  # nm a coordinate, of the CA that are passed


def hint_com(
    com: Tensor, is_com: Tensor, mass: Tensor, spread: float, noise: float
) -> BeadHints:
    """Hints of centres of mass alone.

    Parameters
    ----------
    com : torch.Tensor, shape (F, R, 3)
        Centres of mass in nm.
    is_com : torch.Tensor, shape (R,), bool
        Residues that have one.
    mass : torch.Tensor, shape (20, 14)
        See `BeadHints`.
    spread, noise : float
        See `BeadHints`.

    Returns
    -------
    BeadHints
    """
    has_com = is_com.unsqueeze(0).expand(com.shape[0], -1)
    none = torch.zeros_like(has_com)
    return BeadHints(mass, com, has_com, spread, com, none, 1.0, com, none, 1.0, noise)


def hint_awsem(
    beta: Tensor,
    oxygen: Tensor,
    mass: Tensor,
    beta_spread: float = 0.008,
    oxygen_spread: float = 0.06,
) -> BeadHints:
    """Hints of CB and O beads.

    Parameters
    ----------
    beta, oxygen : torch.Tensor, shape (F, R, 3)
        CB and O in nm, zeros where there is none.
    mass : torch.Tensor, shape (20, 14)
        See `BeadHints`.
    beta_spread, oxygen_spread : float
        See `BeadHints`.

    Returns
    -------
    BeadHints
    """
    has_beta = (beta != 0).any(-1)
    has_oxygen = (oxygen != 0).any(-1)
    return BeadHints(
        mass,
        beta,
        torch.zeros_like(has_beta),
        1.0,
        beta,
        has_beta,
        beta_spread,
        oxygen,
        has_oxygen,
        oxygen_spread,
        0.0,
    )


def follow_oxygen(
    hints: BeadHints,
    ca: Tensor,
    alpha: Tensor,
    twist: Tensor,
    log_p: Tensor,
    is_cis: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    tables: BuilderTables,
    twist_spread: float = 0.25,
) -> tuple[Tensor, Tensor, Tensor]:
    """Favour the planes that O beads ask for, and add some that fit exactly.

    Turning a unit about its CA-CA axis turns its O by as much, so the turn
    that brings O to the azimuth of the bead is known for any twist.

    Parameters
    ----------
    hints : BeadHints
        With O beads; units without one keep their candidates as they are.
    ca : torch.Tensor, shape (F, R, 3)
        CA in nm.
    alpha, twist, log_p : torch.Tensor, shape (F, R, P)
        Candidate planes of unit i, see `choose_planes`.
    is_cis : torch.Tensor, shape (F, R), bool
        Cis units.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.
    tables : BuilderTables
        Ideal geometry.
    twist_spread : float
        Spread of the twist in radians, the width of its prior.

    Returns
    -------
    alpha, twist, log_p : torch.Tensor, shape (F, R, P + 9)
        The candidates with the penalty of their O, and nine of evenly spaced
        twists whose O lies at the azimuth of the bead.
    """
    shape = alpha[..., :1].shape
    grid = torch.linspace(-0.6, 0.6, 9, dtype=ca.dtype, device=ca.device)
    extra_twist = grid.view(1, 1, 9).expand(shape[0], shape[1], 9)
    alphas = torch.cat((alpha, torch.zeros_like(extra_twist)), -1)
    twists = torch.cat((twist, extra_twist), -1)
    prior = -0.5 * (extra_twist / twist_spread) ** 2
    log_ps = torch.cat((log_p, prior), -1)
    frame = unit_frames(ca, chain_index)
    wanted = to_local(frame, hints.oxygen - ca)
    azimuth = torch.atan2(wanted[..., 2], wanted[..., 1]).unsqueeze(-1)
    missed: list[Tensor] = []
    for k in range(alphas.shape[-1]):
        carbon, next_n = build_units(
            ca,
            alphas[..., k],
            twists[..., k],
            is_cis,
            residue_type,
            chain_index,
            tables,
        )
        oxygen = place_carbonyl_oxygen(ca, carbon, next_n)
        local = to_local(frame, oxygen - ca)
        missed.append(torch.atan2(local[..., 2], local[..., 1]))
    miss = wrap_angle(azimuth - torch.stack(missed, -1))
    n_own = alpha.shape[-1]
    own = log_ps[..., :n_own] - 0.5 * (miss[..., :n_own] / hints.oxygen_spread) ** 2
    has = hints.has_oxygen.unsqueeze(-1)
    own = torch.where(has, own, log_p)
    exact = torch.where(has, prior, torch.full_like(prior, -1e4))
    moved = wrap_angle(alphas[..., n_own:] + miss[..., n_own:])
    return (
        torch.cat((alpha, moved), -1),
        twists,
        torch.cat((own, exact), -1),
    )


def weigh_side_chains(
    hints: BeadHints,
    backbone: Tensor,
    residue_type: Tensor,
    chi: Tensor,
    log_p: Tensor,
    tables: BuilderTables,
) -> Tensor:
    """Favour the side chains whose residue has its centre of mass at the bead.

    Parameters
    ----------
    hints : BeadHints
        With centres of mass.
    backbone : torch.Tensor, shape (F, R, 5, 3)
        N, CA, C, O, CB in nm.
    residue_type : torch.Tensor, shape (R,), int64
        0 to 19.
    chi : torch.Tensor, shape (F, R, C, 4)
        Candidates in radians.
    log_p : torch.Tensor, shape (F, R, C)
        Natural log of their probabilities, -inf for none.
    tables : BuilderTables
        Ideal geometry.

    Returns
    -------
    torch.Tensor, shape (F, R, C)
        Log of the posterior, normalised; unchanged where there is no bead.
    """
    frames, residues, n_choices = log_p.shape[0], log_p.shape[1], log_p.shape[2]
    row = torch.nonzero(
        (hints.has_com & (tables.n_chi[residue_type] > 0)).reshape(-1)
    ).squeeze(-1)
    if row.numel() == 0:
        return log_p
    kind = residue_type.repeat(frames)[row]
    many = kind.unsqueeze(1).expand(-1, n_choices).reshape(-1)
    atoms = build_side_chain_rows(
        backbone.reshape(-1, 5, 3)[row]
        .unsqueeze(1)
        .expand(-1, n_choices, -1, -1)
        .reshape(-1, 5, 3),
        many,
        chi.reshape(-1, n_choices, 4)[row].reshape(-1, 4),
        tables,
    )
    center = (atoms * hints.mass[many].unsqueeze(-1)).sum(1)
    center = center.view(-1, n_choices, 3)
    gap = center - hints.com.reshape(-1, 3)[row].unsqueeze(1)
    strain = 0.5 * (gap * gap).sum(-1) / (hints.com_spread * hints.com_spread)
    flat = log_p.reshape(-1, n_choices)
    told = torch.log_softmax((flat[row] - strain).clamp(min=-1e4), -1)
    told = torch.where(
        torch.isfinite(flat[row]), told, torch.full_like(told, -math.inf)
    )
    return flat.index_copy(0, row, told).view(frames, residues, n_choices)
