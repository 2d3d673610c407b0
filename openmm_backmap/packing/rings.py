"""Bonds that go through rings: found, so that they can be repaired."""

import torch
from torch import Tensor

from openmm_backmap.packing.close_points import expand_rows
from openmm_backmap.packing.contacts import Surroundings, list_both_directions
from openmm_backmap.packing.tables import PackingTables

__all__ = ["find_ring_penetrations"]


def list_rings(
    positions: Tensor, residue_type: Tensor, tables: PackingTables
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """List all rings with their plane.

    Parameters
    ----------
    positions : torch.Tensor, shape (G, 14, 3)
        Heavy atoms in nm.
    residue_type : torch.Tensor, shape (G,), int64
        0 to 19.
    tables : PackingTables
        Constants.

    Returns
    -------
    residue : torch.Tensor, shape (Q,), int64
        Residue of each ring.
    atom : torch.Tensor, shape (Q, 6), int64
        Its atoms as index into G x 14; five-rings repeat their last atom.
    vertex : torch.Tensor, shape (Q, 6, 3)
        Their positions in nm.
    center, normal : torch.Tensor, shape (Q, 3)
        Centroid in nm and plane normal (not of unit length).
    """
    slots = tables.rings.index_select(0, residue_type)  # (G, 2, 6)
    where = torch.nonzero(slots[:, :, 0] >= 0)
    residue = where[:, 0]
    ring = slots[residue, where[:, 1]]
    n_atoms = (ring >= 0).sum(1, keepdim=True)
    ring = torch.where(ring >= 0, ring, ring[:, 4:5])
    atom = residue.unsqueeze(1) * 14 + ring
    vertex = positions.reshape(-1, 3)[atom]
    used = torch.arange(6, device=ring.device).unsqueeze(0) < n_atoms
    weight = used.unsqueeze(2).to(positions.dtype)
    center = (vertex * weight).sum(1) / n_atoms.to(positions.dtype)
    spoke = vertex - center.unsqueeze(1)
    # Newell's normal: a repeated vertex adds nothing
    normal = torch.linalg.cross(spoke, spoke.roll(-1, 1), dim=2).sum(1)
    return residue, atom, vertex, center, normal


def find_ring_penetrations(
    positions: Tensor, near: Surroundings, tables: PackingTables
) -> tuple[Tensor, Tensor]:
    """Find covalent bonds that pass through a ring of another residue.

    Parameters
    ----------
    positions : torch.Tensor, shape (G, 14, 3)
        Heavy atoms of all residues of all frames in nm.
    near : Surroundings
        Residue pairs.
    tables : PackingTables
        Constants.

    Returns
    -------
    ring_residue, bond_residue : torch.Tensor, shape (N,), int64
        One row a penetration: whose ring and whose bond (the first of the two
        residues for a peptide bond).
    """
    residue_type = near.residue_type
    n_groups = residue_type.numel()
    residue, atom, vertex, center, normal = list_rings(positions, residue_type, tables)
    exists = tables.atom_mask.index_select(0, residue_type)
    offset = positions - positions[:, 1:2]
    reach = (offset * offset).sum(2).masked_fill(~exists, 0.0).amax(1).sqrt()
    # the rings of the first residue of each pair
    count = torch.zeros(n_groups, dtype=torch.int64, device=positions.device)
    count = count.scatter_add(0, residue, torch.ones_like(residue))
    start = count.cumsum(0) - count
    first, second, shift = list_both_directions(near)
    pair, running = expand_rows(count.index_select(0, first))
    ring = start.index_select(0, first.index_select(0, pair)) + running
    other = second.index_select(0, pair)
    move = shift.index_select(1, pair).t()
    gap = positions[:, 1].index_select(0, other) + move
    gap = gap - center.index_select(0, ring)
    # a bond can cross if its middle is within 2.5 A of the centre
    limit = reach.index_select(0, other) + 0.25 + 0.14
    close = torch.nonzero((gap * gap).sum(1) < limit * limit).flatten()
    ring, other = ring.index_select(0, close), other.index_select(0, close)
    move = move.index_select(0, close).unsqueeze(1)
    bonds = tables.bonds.index_select(0, residue_type.index_select(0, other))
    is_bond = bonds[:, :, 0] >= 0
    ends = bonds.clamp(min=0) + other.view(-1, 1, 1) * 14
    # the last column of the table is free: the peptide bond to the next residue
    after = torch.cat([near.follows[1:], torch.zeros_like(near.follows[:1])])
    is_bond[:, 15] = after.index_select(0, other)
    following = (other + 1).clamp(max=n_groups - 1)
    ends[:, 15, 0] = other * 14 + 2
    ends[:, 15, 1] = following * 14
    flat = positions.reshape(-1, 3)
    a = flat[ends[:, :, 0]] + move
    b = flat[ends[:, :, 1]] + move
    middle = 0.5 * (a + b) - center.index_select(0, ring).unsqueeze(1)
    is_near = is_bond & ((middle * middle).sum(2) < 0.0625)
    where = torch.nonzero(is_near)
    row, column = where[:, 0], where[:, 1]
    a, b, ends = a[row, column], b[row, column], ends[row, column]
    ring, other = ring.index_select(0, row), other.index_select(0, row)
    axis = normal.index_select(0, ring)
    middle = center.index_select(0, ring)
    height_a = ((a - middle) * axis).sum(1)
    height_b = ((b - middle) * axis).sum(1)
    ring_atoms = atom.index_select(0, ring).unsqueeze(2)
    shares = (ring_atoms == ends.unsqueeze(1)).any(2).any(1)
    crosses = (height_a * height_b < 0) & ~shares
    span = height_a - height_b
    span = torch.where(crosses, span, torch.ones_like(span))
    point = a + (b - a) * (height_a / span).unsqueeze(1)
    spoke = vertex.index_select(0, ring) - point.unsqueeze(1)
    turn = torch.linalg.cross(spoke, spoke.roll(-1, 1), dim=2)
    turn = (turn * axis.unsqueeze(1)).sum(2)
    inside = (turn >= 0).all(1) & crosses
    hit = torch.nonzero(inside).flatten()
    ring = ring.index_select(0, hit)
    return residue.index_select(0, ring), other.index_select(0, hit)
