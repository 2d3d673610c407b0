"""Analytic torsion-gradient clean-up of the overlaps a packing leaves."""

from typing import NamedTuple

import torch
from torch import Tensor

from openmm_backmap.builder.side_chain import (
    build_side_chain_rows,
    fill_side_chains,
    plan_side_chains,
)
from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.packing import constants
from openmm_backmap.packing.atoms import BlockedPoints, list_side_chains
from openmm_backmap.packing.clash import compute_overlap
from openmm_backmap.packing.contacts import Surroundings
from openmm_backmap.packing.interactions import (
    find_allowed_backbone_pairs,
    find_side_chain_pairs,
)
from openmm_backmap.packing.tables import PackingTables

__all__ = ["clean_up"]


class AtomPairs(NamedTuple):
    """Pairs that may overlap; atoms index G x 14."""

    a: Tensor  # (N,) int64, a side-chain atom
    b: Tensor  # (N,) int64
    image: Tensor  # (3, N) nm, added to b
    contact: Tensor  # (N,) nm, distance that is aimed at


class Levers(NamedTuple):
    """Which atoms a chi turns and about which axis; atoms index G x 14."""

    chi: Tensor  # (L,) int64 into G x 4
    atom: Tensor  # (L,) int64
    near: Tensor  # (L,) int64, axis from here
    far: Tensor  # (L,) int64, to here


def list_levers(residue: Tensor, residue_type: Tensor, tables: PackingTables) -> Levers:
    """List the atoms each chi of some residues turns.

    Parameters
    ----------
    residue : torch.Tensor, shape (N,), int64
        Indices of the residues.
    residue_type : torch.Tensor, shape (N,), int64
        0 to 19.
    tables : PackingTables
        Constants.

    Returns
    -------
    Levers
        Sorted by residue and chi.
    """
    where = torch.nonzero(tables.chi_moves.index_select(0, residue_type))
    row, k, slot = where[:, 0], where[:, 1], where[:, 2]
    axis = tables.chi_axis.reshape(-1, 2).index_select(
        0, residue_type.index_select(0, row) * 4 + k
    )
    group = residue.index_select(0, row)
    base = group * 14
    return Levers(
        chi=group * 4 + k,
        atom=base + slot,
        near=base + axis[:, 0],
        far=base + axis[:, 1],
    )


def list_atom_pairs(
    positions: Tensor,
    backbone: BlockedPoints,
    near: Surroundings,
    tables: PackingTables,
    margin: float,
) -> AtomPairs:
    """List the atom pairs that overlap or may come to overlap.

    Parameters
    ----------
    positions : torch.Tensor, shape (G, 14, 3)
        Heavy atoms in nm.
    backbone : BlockedPoints
        N, CA, C, O and CB of G residues.
    near : Surroundings
        Residue pairs.
    tables : PackingTables
        Constants.
    margin : float
        Added to the contact distance, in nm.

    Returns
    -------
    AtomPairs
        Pairs within 0.1 nm of contact.
    """
    skin = 0.1
    reach = constants.CLASH_CUTOFF + margin + skin
    atoms = list_side_chains(positions, near.residue_type, tables)
    index = atoms.residue * 14 + torch.remainder(atoms.code, 14)
    a, b, distance, image = find_allowed_backbone_pairs(
        atoms, backbone, near, tables, reach
    )
    a2, b2, distance2, image2 = find_side_chain_pairs(atoms, near, reach)
    a = index.index_select(0, torch.cat([a, a2]))
    b = torch.cat([b, index.index_select(0, b2)])
    distance = torch.cat([distance, distance2])
    image = torch.cat([image, image2], 1)
    slot = torch.arange(14, device=positions.device)
    code = (near.residue_type.unsqueeze(1) * 14 + slot).reshape(-1)
    overlap, both_sulfur = compute_overlap(
        code.index_select(0, a), code.index_select(0, b), distance, tables
    )
    bonded = both_sulfur & (distance < constants.DISULFIDE_LONG)
    kept = torch.nonzero((overlap > -(margin + skin)) & ~bonded).flatten()
    return AtomPairs(
        a=a.index_select(0, kept),
        b=b.index_select(0, kept),
        image=image.index_select(1, kept),
        contact=(overlap + distance + margin).index_select(0, kept),
    )


def compute_torques(
    positions: Tensor, pairs: AtomPairs, levers: Levers, ramp: float = 0.05
) -> tuple[Tensor, Tensor]:
    """Compute torques of the overlaps about all chi axes, and their stiffness.

    The energy is half the squared overlap; lengths in angstrom.

    Parameters
    ----------
    positions : torch.Tensor, shape (G, 14, 3)
        Heavy atoms in nm.
    pairs : AtomPairs
        What may overlap.
    levers : Levers
        What turns.
    ramp : float
        Overlap in angstrom from which a contact counts fully in the stiffness.

    Returns
    -------
    torque : torch.Tensor, shape (G, 4)
        Negative energy gradient in square angstrom per radian.
    stiffness : torch.Tensor, shape (G, 4)
        Bound of the Gauss-Newton diagonal, square angstrom per square radian.
    """
    flat = positions.reshape(-1, 3)
    x = flat[:, 0] * 10.0
    y = flat[:, 1] * 10.0
    z = flat[:, 2] * 10.0
    dx = x.index_select(0, pairs.a) - x.index_select(0, pairs.b)
    dy = y.index_select(0, pairs.a) - y.index_select(0, pairs.b)
    dz = z.index_select(0, pairs.a) - z.index_select(0, pairs.b)
    dx = dx - 10.0 * pairs.image[0]
    dy = dy - 10.0 * pairs.image[1]
    dz = dz - 10.0 * pairs.image[2]
    distance = (dx * dx + dy * dy + dz * dz).clamp(min=1e-6).sqrt()
    overlap = 10.0 * pairs.contact - distance
    hit = torch.nonzero(overlap > 0).flatten()
    push = overlap.index_select(0, hit) / distance.index_select(0, hit)
    fx = push * dx.index_select(0, hit)
    fy = push * dy.index_select(0, hit)
    fz = push * dz.index_select(0, hit)
    ends = torch.cat([pairs.a.index_select(0, hit), pairs.b.index_select(0, hit)])
    zero = torch.zeros_like(x)
    force_x = zero.scatter_add(0, ends, torch.cat([fx, -fx]))
    force_y = zero.scatter_add(0, ends, torch.cat([fy, -fy]))
    force_z = zero.scatter_add(0, ends, torch.cat([fz, -fz]))
    # an overlap of nothing is as stiff as none: contacts that come and go in turn
    # would make of rounding another side chain
    share = (overlap.index_select(0, hit) / ramp).clamp(max=1.0)
    n_hits = zero.scatter_add(0, ends, torch.cat([share, share]))
    far, atom = levers.far, levers.atom
    ux = x.index_select(0, far) - x.index_select(0, levers.near)
    uy = y.index_select(0, far) - y.index_select(0, levers.near)
    uz = z.index_select(0, far) - z.index_select(0, levers.near)
    rx = x.index_select(0, atom) - x.index_select(0, far)
    ry = y.index_select(0, atom) - y.index_select(0, far)
    rz = z.index_select(0, atom) - z.index_select(0, far)
    # velocity of the atom under a turn of one radian: u x r
    norm = 1.0 / (ux * ux + uy * uy + uz * uz).clamp(min=1e-6).sqrt()
    vx = norm * (uy * rz - uz * ry)
    vy = norm * (uz * rx - ux * rz)
    vz = norm * (ux * ry - uy * rx)
    work = vx * force_x.index_select(0, atom)
    work = work + vy * force_y.index_select(0, atom)
    work = work + vz * force_z.index_select(0, atom)
    stiff = (vx * vx + vy * vy + vz * vz) * n_hits.index_select(0, atom)
    none = torch.zeros(positions.size(0) * 4, dtype=x.dtype, device=x.device)
    torque = none.scatter_add(0, levers.chi, work)
    stiffness = none.scatter_add(0, levers.chi, stiff)
    return torque.view(-1, 4), stiffness.view(-1, 4)


def find_active_residues(positions: Tensor, pairs: AtomPairs) -> Tensor:
    """Find the residues that overlap, and those they may be pushed into.

    Parameters
    ----------
    positions : torch.Tensor, shape (G, 14, 3)
        Heavy atoms in nm.
    pairs : AtomPairs
        What may overlap.

    Returns
    -------
    torch.Tensor, shape (G,), bool
        True for residues that may turn.
    """
    flat = positions.reshape(-1, 3)
    gap = flat.index_select(0, pairs.a) - flat.index_select(0, pairs.b)
    gap = gap - pairs.image.t()
    overlap = pairs.contact - (gap * gap).sum(1).sqrt()
    residue_a = torch.div(pairs.a, 14, rounding_mode="floor")
    residue_b = torch.div(pairs.b, 14, rounding_mode="floor")
    hit = (overlap > 0).to(torch.int64)
    none = torch.zeros(positions.size(0), dtype=torch.int64, device=gap.device)
    pushed = none.scatter_add(0, residue_a, hit).scatter_add(0, residue_b, hit)
    close = (overlap > -0.03).to(torch.int64)
    spread = none.scatter_add(0, residue_a, close * pushed.index_select(0, residue_b))
    spread = spread.scatter_add(0, residue_b, close * pushed.index_select(0, residue_a))
    return (pushed + spread) > 0


def clean_up(
    backbone: Tensor,
    backbone_points: BlockedPoints,
    chi: Tensor,
    fixed: Tensor,
    near: Surroundings,
    builder: BuilderTables,
    tables: PackingTables,
    n_steps: int,
    pull: float,
    margin: float,
) -> tuple[Tensor, Tensor]:
    """Turn side chains a little to undo overlaps, and build them.

    Minimises half the squared overlaps plus a pull to the chi that came in, by
    damped diagonal Gauss-Newton steps on all chi at once. Forces on atoms
    become torques about the chi axes; the list of atom pairs is made once.
    Proline keeps its ring.

    Parameters
    ----------
    backbone : torch.Tensor, shape (G, 5, 3)
        N, CA, C, O and CB in nm.
    backbone_points : BlockedPoints
        The same as points.
    chi : torch.Tensor, shape (G, 4)
        Side chains in radians.
    fixed : torch.Tensor, shape (G,), bool
        Side chains that do not turn.
    near : Surroundings
        Residue pairs.
    builder : BuilderTables
        Ideal geometry.
    tables : PackingTables
        Constants.
    n_steps : int
        Steps; 0 only builds.
    pull : float
        Force constant to the incoming chi in square angstrom per square radian.
    margin : float
        Overlaps are pushed to this far (nm) inside the tolerance.

    Returns
    -------
    chi : torch.Tensor, shape (G, 4)
        In radians.
    positions : torch.Tensor, shape (G, 14, 3)
        Heavy atoms in nm, zeros in absent slots.
    """
    types = near.residue_type
    positions = build_side_chain_rows(backbone, types, chi, builder)
    if n_steps == 0:
        return chi, positions
    pairs = list_atom_pairs(positions, backbone_points, near, tables, margin)
    turns = (tables.n_chi > 0) & ~tables.is_proline
    active = find_active_residues(positions, pairs)
    active = active & turns.index_select(0, types) & ~fixed
    moved = active.index_select(0, torch.div(pairs.a, 14, rounding_mode="floor"))
    moved = moved | active.index_select(
        0, torch.div(pairs.b, 14, rounding_mode="floor")
    )
    kept = torch.nonzero(moved).flatten()
    pairs = AtomPairs(
        a=pairs.a.index_select(0, kept),
        b=pairs.b.index_select(0, kept),
        image=pairs.image.index_select(1, kept),
        contact=pairs.contact.index_select(0, kept),
    )
    rows = torch.nonzero(active).flatten()
    row_types = types.index_select(0, rows)
    row_backbone = backbone.index_select(0, rows)
    plan = plan_side_chains(row_types, builder)
    levers = list_levers(rows, row_types, tables)
    start = chi.index_select(0, rows)
    current = start
    for _step in range(n_steps):
        torque, stiffness = compute_torques(positions, pairs, levers)
        torque = torque.index_select(0, rows) - pull * (current - start)
        stiffness = stiffness.index_select(0, rows)
        step = torque / (0.7 * stiffness + pull + 0.05)
        current = current + step.clamp(min=-0.2, max=0.2)
        built = fill_side_chains(row_backbone, current, plan)
        positions = positions.index_copy(0, rows, built)
    return chi.index_copy(0, rows, current), positions
