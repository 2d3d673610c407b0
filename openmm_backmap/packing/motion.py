"""Forces on atoms that move among others that stay.

Coordinates are kept first, and those of atoms that move before all others, so that a
step changes them in place.
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from openmm_backmap.packing.springs import compute_heights

__all__ = [
    "Beads",
    "MovingAtoms",
    "Planes",
    "Springs",
    "add_plane_forces",
    "add_spring_forces",
    "compute_bead_pull",
    "join_springs",
    "order_atoms",
]


class MovingAtoms(NamedTuple):
    """Which of 14 N atoms move: those of M of N residues."""

    residue: Tensor  # (M,) int64
    order: Tensor  # (14 N,) int64: the atom in each column
    column: Tensor  # (14 N,) int64: the column of each atom
    n_moving: int  # 14 M: the columns of atoms that move


class Springs(NamedTuple):
    """S springs; the first ones hold a distance, the others only push."""

    a: Tensor  # (S,) int64, column
    b: Tensor  # (S,) int64
    on_a: Tensor  # (S,) int64: where the force on it goes, n_moving if nowhere
    on_b: Tensor  # (S,) int64
    rest: Tensor  # (S,) nm
    weight: Tensor  # (S,) stiffness
    shift: Tensor  # (3, C) nm, of the second atom of those that push
    n_held: int


class Planes(NamedTuple):
    """P points that keep their height over the plane of three others."""

    corner: Tensor  # (4 P,) int64: columns of all first points, then second, ...
    on_corner: Tensor  # (4 P,) int64, as in `Springs`
    height: Tensor  # (P,) nm
    slack: Tensor  # (P,) nm: off by this costs nothing
    square: Tensor  # (4 P,) squared change of the height with each corner


class Beads(NamedTuple):
    """What draws M residues."""

    position: Tensor  # (3, M) nm
    part: Tensor  # (M, 14) shares of the atoms
    exists: Tensor  # (M, 14) 1 for atoms there are
    rate: Tensor  # (M,) share of the way a step


def order_atoms(
    mobile: Optional[Tensor],  # noqa: UP045 (TorchScript)
    like: Tensor,
) -> MovingAtoms:
    """Put the atoms of residues that move first.

    Parameters
    ----------
    mobile : torch.Tensor or None, shape (N,), bool
        Residues that move. If None, all.
    like : torch.Tensor, shape (N,)
        Anything of the residues, for their number and device.

    Returns
    -------
    MovingAtoms
    """
    residue = torch.arange(like.shape[0], device=like.device)
    everyone = residue
    if mobile is not None:
        residue = torch.nonzero(mobile).squeeze(-1)
        everyone = torch.cat((residue, torch.nonzero(~mobile).squeeze(-1)))
    slot = torch.arange(14, device=like.device)
    order = (everyone.unsqueeze(1) * 14 + slot).reshape(-1)
    number = torch.arange(order.shape[0], device=like.device)
    column = torch.zeros_like(order).index_copy(0, order, number)
    return MovingAtoms(residue, order, column, 14 * residue.shape[0])


def join_springs(
    atoms: MovingAtoms,
    bonds: tuple[Tensor, Tensor, Tensor, Tensor],
    contacts: tuple[Tensor, Tensor, Tensor, Tensor],
    clash_weight: float,
) -> Springs:
    """Make springs of bonds and of contacts.

    Parameters
    ----------
    atoms : MovingAtoms
        Who moves.
    bonds : tuple of torch.Tensor, each of shape (B,)
        Two atoms, stiffness and distance in nm.
    contacts : tuple of torch.Tensor, shapes (C,), (C,), (C,), (C, 3)
        Two atoms, the distance below which they push and the shift of the second in nm.
    clash_weight : float
        Stiffness of a push.

    Returns
    -------
    Springs
    """
    a = atoms.column.index_select(0, torch.cat((bonds[0], contacts[0])))
    b = atoms.column.index_select(0, torch.cat((bonds[1], contacts[1])))
    push = torch.full_like(contacts[2], clash_weight)
    return Springs(
        a,
        b,
        a.clamp(max=atoms.n_moving),
        b.clamp(max=atoms.n_moving),
        torch.cat((bonds[3], contacts[2])),
        torch.cat((bonds[2], push)),
        contacts[3].t().contiguous(),
        bonds[0].shape[0],
    )


def add_spring_forces(total: Tensor, x: Tensor, springs: Springs) -> None:
    """Add the forces of springs.

    Parameters
    ----------
    total : torch.Tensor, shape (3, n_moving + 1)
        Forces, changed in place; the last column is of atoms that stay.
    x : torch.Tensor, shape (3, 14 N)
        Coordinates in nm.
    springs : Springs
        The springs.
    """
    gap = x.index_select(1, springs.b)
    gap -= x.index_select(1, springs.a)
    gap[:, springs.n_held :] += springs.shift
    distance = torch.sqrt((gap * gap).sum(0).clamp(min=1e-8))
    strain = 1.0 - springs.rest / distance
    strain[springs.n_held :].clamp_(max=0.0)
    gap *= springs.weight * strain
    total.index_add_(1, springs.on_a, gap)
    total.index_add_(1, springs.on_b, gap.neg_())


def add_plane_forces(
    total: Tensor, x: Tensor, planes: Planes, stiffness: float
) -> None:
    """Add the forces that hold hands and peptide planes; see `add_spring_forces`."""
    corners = x.index_select(1, planes.corner).view(3, 4, -1)
    now, normal, lever = compute_heights(corners)
    off = now - planes.height
    off = off.sign() * (off.abs() - planes.slack).clamp(min=0.0)
    turn = (-stiffness * off) * lever
    force = normal.unsqueeze(1) * turn.unsqueeze(0)
    total.index_add_(1, planes.on_corner, force.reshape(3, -1))


def compute_bead_pull(y: Tensor, beads: Beads, max_pull: float, fade: float) -> Tensor:
    """Compute the move of atoms towards the beads of their residues.

    Parameters
    ----------
    y : torch.Tensor, shape (3, 14 M)
        Coordinates of the atoms that move, in nm.
    beads : Beads
        The beads.
    max_pull : float
        A bead farther away than this (nm) draws no harder.
    fade : float
        Share of the full draw.

    Returns
    -------
    torch.Tensor, shape (3, 14 M)
        In nm.
    """
    at = y.view(3, -1, 14)
    missed = beads.position - (at * beads.part).sum(2)
    far = torch.sqrt((missed * missed).sum(0).clamp(1e-8))
    missed = missed * ((max_pull / far).clamp(max=1.0) * (fade * beads.rate))
    return (missed.unsqueeze(2) * beads.exists).reshape(3, -1)
