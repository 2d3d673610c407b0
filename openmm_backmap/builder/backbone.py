"""Backbone atoms from CA positions and two azimuths a peptide unit.

Unit i joins residues i and i + 1. Its frame has its origin at CA(i), x along
CA(i) -> CA(i+1), y towards CA(i-1), z = x cross y. C lies at azimuth `alpha`
about x and N at ``alpha + pi + twist`` (trans) or ``alpha + twist`` (cis).
"""

import math

import torch
from torch import Tensor

from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.geometry.frames import frame_from_axes
from openmm_backmap.geometry.internal import place_atom
from openmm_backmap.geometry.vectors import (
    compute_distance,
    normalize,
    perpendicular_part,
)
from openmm_backmap.residues.ideal import (
    CA_C_O_OFFSET,
    CARBONYL_LENGTH,
    TERMINAL_CARBONYL_LENGTH,
    TRANS,
)
from openmm_backmap.units import ANGSTROM, DEGREE

__all__ = [
    "build_backbone",
    "build_units",
    "has_next",
    "place_carbonyl_oxygen",
    "place_cb",
    "place_terminal_oxygen",
    "unit_frames",
    "unit_kind",
]

# TorchScript reads module constants only as default arguments
C_O: float = CARBONYL_LENGTH * ANGSTROM
C_OXT: float = TERMINAL_CARBONYL_LENGTH * ANGSTROM
C_O_OFFSET: float = CA_C_O_OFFSET * DEGREE
TERMINAL_CA_C_O: float = 118.0 * DEGREE


def has_next(chain_index: Tensor) -> Tensor:
    """Whether residue i is bonded to residue i + 1.

    Parameters
    ----------
    chain_index : torch.Tensor, shape (R,), int64
        Segment of each residue.

    Returns
    -------
    torch.Tensor, shape (R,), bool
        False at the last residue of every segment.
    """
    joined = torch.zeros_like(chain_index, dtype=torch.bool)
    joined[:-1] = chain_index[:-1] == chain_index[1:]
    return joined


def _shift(values: Tensor, step: int) -> Tensor:
    """Values of residue i + step at i along axis 1; the ends wrap round."""
    return torch.roll(values, -step, dims=1)


def unit_frames(
    ca: Tensor,
    chain_index: Tensor,
    bond: float = 3.805 * ANGSTROM,
    angle: float = 100.0 * DEGREE,
    dihedral: float = 50.0 * DEGREE,
) -> Tensor:
    """Frames of the peptide units.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    chain_index : torch.Tensor, shape (R,), int64
        Segment of each residue.
    bond, angle, dihedral : float
        Where the virtual CA before a first residue stands (nm, radians).

    Returns
    -------
    torch.Tensor, shape (F, R, 3, 3)
        Rows x, y, z of unit i; without meaning where residue i is the last of
        its segment. Before the first residue stands a virtual CA placed from
        the first three; a segment of two residues has no third, and takes a
        fixed direction (its azimuths are then arbitrary).
    """
    joined = has_next(chain_index)
    joined_before = torch.roll(joined, 1, 0)
    joined_after = torch.roll(joined, -1, 0)
    following = _shift(ca, 1)
    third = _shift(ca, 2)
    fixed = torch.zeros_like(ca)
    fixed[..., 0] = 0.31
    fixed[..., 1] = 0.23
    fixed[..., 2] = 0.41
    third = torch.where(joined_after.unsqueeze(-1), third, following + fixed)
    one = torch.ones_like(ca[..., 0])
    virtual = place_atom(
        third,
        following,
        ca,
        one * bond,
        one * angle,
        one * dihedral,
    )
    before = torch.where(joined_before.unsqueeze(-1), _shift(ca, -1), virtual)
    axis, side = following - ca, before - ca
    # CA on a line, as only exact ones can be, leave y open: any will do
    flat = perpendicular_part(side, normalize(axis)).square().sum(-1, keepdim=True)
    across = torch.zeros_like(axis).scatter(-1, axis.abs().argmin(-1, True), 1.0)
    return frame_from_axes(axis, torch.where(flat < 1e-10, across, side))


def unit_kind(residue_type: Tensor, is_cis: Tensor) -> Tensor:
    """Row of `BuilderTables.unit` for every peptide unit.

    Parameters
    ----------
    residue_type : torch.Tensor, shape (R,), int64
        0 to 19.
    is_cis : torch.Tensor, shape (F, R), bool
        Cis units.

    Returns
    -------
    torch.Tensor, shape (F, R), int64
        0 trans, 1 trans before proline, 2 cis.
    """
    before_proline = (torch.roll(residue_type, -1, 0) == 14).long()  # 14 is PRO
    return torch.where(is_cis, torch.full_like(before_proline, 2), before_proline)


def build_units(
    ca: Tensor,
    alpha: Tensor,
    twist: Tensor,
    is_cis: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    tables: BuilderTables,
) -> tuple[Tensor, Tensor]:
    """Place the C and N of every peptide unit.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    alpha, twist : torch.Tensor, shape (F, R)
        Azimuth of C and twist of N in radians.
    is_cis : torch.Tensor, shape (F, R), bool
        Cis units.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.
    tables : BuilderTables
        Ideal geometry.

    Returns
    -------
    carbon, next_n : torch.Tensor, shape (F, R, 3)
        C(i) and N(i+1) in nm; C-N and its angles right for the CA-CA distance.
    """
    frame = unit_frames(ca, chain_index)
    kind = unit_kind(residue_type, is_cis)
    distance = compute_distance(ca, _shift(ca, 1))
    limits = tables.unit_range[kind]
    inside = torch.minimum(torch.maximum(distance, limits[..., 0]), limits[..., 1])
    d = (inside - tables.unit_center[kind]).unsqueeze(-1)
    k = tables.unit[kind]
    value = k[..., 0] + d * (k[..., 1] + d * (k[..., 2] + d * k[..., 3]))
    # outside the fitted range the unit keeps its shape, centred on the axis
    slack = 0.5 * (distance - inside)
    turn = torch.where(
        is_cis, torch.zeros_like(alpha), torch.full_like(alpha, torch.pi)
    )
    beta = alpha + turn + twist
    x, y, z = frame[..., 0, :], frame[..., 1, :], frame[..., 2, :]
    carbon = (
        ca
        + (value[..., 0] + slack).unsqueeze(-1) * x
        + (value[..., 1] * torch.cos(alpha)).unsqueeze(-1) * y
        + (value[..., 1] * torch.sin(alpha)).unsqueeze(-1) * z
    )
    nitrogen = (
        ca
        + (value[..., 2] + slack).unsqueeze(-1) * x
        + (value[..., 3] * torch.cos(beta)).unsqueeze(-1) * y
        + (value[..., 3] * torch.sin(beta)).unsqueeze(-1) * z
    )
    return carbon, nitrogen


def place_carbonyl_oxygen(
    ca: Tensor,
    carbon: Tensor,
    next_n: Tensor,
    length: float = C_O,
    offset: float = C_O_OFFSET,
) -> Tensor:
    """O in the plane of CA, C and the next N.

    Parameters
    ----------
    ca, carbon, next_n : torch.Tensor, shape (..., 3)
        CA(i), C(i) and N(i+1) in nm.
    length, offset : float
        C-O in nm; CA-C-O minus half of what CA-C-N leaves, in radians.

    Returns
    -------
    torch.Tensor, shape (..., 3)
        O(i) in nm, opposite to CA and N, CA-C-O 2.4 degrees smaller than
        N-C-O as in structures.
    """
    to_ca = normalize(ca - carbon)
    to_n = next_n - carbon
    side = normalize(perpendicular_part(to_n, to_ca))
    cosine = (normalize(to_n) * to_ca).sum(-1, keepdim=True).clamp(-1.0, 1.0)
    angle = torch.pi - 0.5 * torch.acos(cosine * 0.999999) + offset
    return carbon + length * (torch.cos(angle) * to_ca - torch.sin(angle) * side)


def place_cb(
    nitrogen: Tensor,
    ca: Tensor,
    carbon: Tensor,
    residue_type: Tensor,
    tables: BuilderTables,
) -> Tensor:
    """CB on the L side of N, CA and C.

    Parameters
    ----------
    nitrogen, ca, carbon : torch.Tensor, shape (F, R, 3)
        Backbone atoms in nm.
    residue_type : torch.Tensor, shape (R,), int64
        0 to 19; glycine gets a virtual CB.
    tables : BuilderTables
        Ideal geometry.

    Returns
    -------
    torch.Tensor, shape (F, R, 3)
        CB in nm. The hand is L whatever the input.
    """
    to_n = normalize(nitrogen - ca)
    to_c = normalize(carbon - ca)
    b = -normalize(to_n + to_c)
    n = normalize(torch.linalg.cross(to_n, to_c, dim=-1))
    t = torch.linalg.cross(b, n, dim=-1)
    k = tables.cb[residue_type]
    return ca + k[:, 0:1] * b + k[:, 1:2] * n + k[:, 2:3] * t


def build_backbone(
    ca: Tensor,
    alpha: Tensor,
    twist: Tensor,
    is_cis: Tensor,
    end_torsion: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    tables: BuilderTables,
    n_ca: float = TRANS[2] * ANGSTROM,
    ca_c: float = TRANS[0] * ANGSTROM,
    terminal_c_o: float = C_OXT,
    terminal_angle: float = TERMINAL_CA_C_O,
) -> Tensor:
    """All backbone atoms and CB.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm, each segment whole.
    alpha, twist : torch.Tensor, shape (F, R)
        Azimuth of C and twist of N of unit i in radians; unused at the last
        residue of a segment.
    is_cis : torch.Tensor, shape (F, R), bool
        Cis units.
    end_torsion : torch.Tensor, shape (F, R, 3)
        psi (N-CA-C-N) read at first residues, phi (C-N-CA-C) and the torsion
        N-CA-C-O read at last residues, in radians.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.
    tables : BuilderTables
        Ideal geometry.
    n_ca, ca_c, terminal_c_o : float
        Bond lengths at the ends of segments in nm.
    terminal_angle : float
        CA-C-O of the carboxylate in radians.

    Returns
    -------
    torch.Tensor, shape (F, R, 5, 3)
        N, CA, C, O and CB in nm (a virtual CB for glycine).
    """
    joined = has_next(chain_index).unsqueeze(-1)
    joined_before = torch.roll(joined, 1, 0)
    carbon, next_n = build_units(
        ca, alpha, twist, is_cis, residue_type, chain_index, tables
    )
    one = torch.ones_like(ca[..., 0])
    tau = tables.n_ca_c[residue_type] * one
    # a segment of one residue has neither unit: a fixed direction stands in
    lonely = ~joined & ~joined_before
    step = torch.zeros_like(ca)
    step[..., 0] = ca_c
    carbon = torch.where(lonely, ca + step, carbon)
    aside = torch.zeros_like(ca)
    aside[..., 1] = ca_c
    anchor = torch.where(lonely, carbon + aside, next_n)
    first_n = place_atom(anchor, carbon, ca, one * n_ca, tau, end_torsion[..., 0])
    nitrogen = torch.where(joined_before, _shift(next_n, -1), first_n)
    previous_c = _shift(carbon, -1)
    last_c = place_atom(previous_c, nitrogen, ca, one * ca_c, tau, end_torsion[..., 1])
    carbon = torch.where(joined | lonely, carbon, last_c)
    oxygen = place_carbonyl_oxygen(ca, carbon, next_n)
    last_o = place_atom(
        nitrogen,
        ca,
        carbon,
        one * terminal_c_o,
        one * terminal_angle,
        end_torsion[..., 2],
    )
    oxygen = torch.where(joined, oxygen, last_o)
    cb = place_cb(nitrogen, ca, carbon, residue_type, tables)
    return torch.stack((nitrogen, ca, carbon, oxygen, cb), dim=2)


def place_terminal_oxygen(
    positions: Tensor,
    chain_index: Tensor,
    length: float = C_OXT,
    angle: float = TERMINAL_CA_C_O,
) -> Tensor:
    """OXT of the last residue of every segment.

    Parameters
    ----------
    positions : torch.Tensor, shape (F, R, S, 3) with S at least 4
        Slots N, CA, C, O first, in nm.
    chain_index : torch.Tensor, shape (R,), int64
        Segment of each residue.
    length, angle : float
        C-OXT in nm and CA-C-OXT in radians.

    Returns
    -------
    torch.Tensor, shape (F, n_segments, 3)
        OXT in nm, in the plane of CA, C and O, in the order of segments.
    """
    last = torch.nonzero(~has_next(chain_index)).squeeze(-1)
    ca = positions[:, last, 1]
    carbon = positions[:, last, 2]
    oxygen = positions[:, last, 3]
    to_ca = normalize(ca - carbon)
    side = normalize(perpendicular_part(oxygen - carbon, to_ca))
    return carbon + length * (math.cos(angle) * to_ca - math.sin(angle) * side)
