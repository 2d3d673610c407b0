"""Analytic torsion-gradient clean-up of the overlaps a packing leaves."""

import torch
from torch import Tensor

from openmm_backmap.builder.side_chain import build_side_chain_rows
from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.packing import constants
from openmm_backmap.packing.atoms import list_backbone, list_candidate_atoms
from openmm_backmap.packing.clash import compute_overlap
from openmm_backmap.packing.contacts import find_point_pairs, keep_one_direction
from openmm_backmap.packing.pair_energy import find_allowed_backbone_pairs
from openmm_backmap.packing.tables import PackingTables

__all__ = ["clean_up"]


def list_levers(
    residue_type: Tensor, tables: PackingTables
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """List which atoms each chi of each residue turns, and about which axis.

    Parameters
    ----------
    residue_type : torch.Tensor, shape (G,), int64
        0 to 19; proline has no levers, its ring stays as it is.
    tables : PackingTables
        Constants.

    Returns
    -------
    chi : torch.Tensor, shape (L,), int64
        Index into G x 4.
    atom, near, far : torch.Tensor, shape (L,), int64
        Turned atom and the two ends of the axis, into G x 14.
    """
    moves = tables.chi_moves.index_select(0, residue_type) > 0
    moves = moves & ~tables.is_proline.index_select(0, residue_type).view(-1, 1, 1)
    where = torch.nonzero(moves)
    group, k, slot = where[:, 0], where[:, 1], where[:, 2]
    axis = tables.chi_axis.reshape(-1, 2).index_select(
        0, residue_type.index_select(0, group) * 4 + k
    )
    base = group * constants.N_SLOTS
    return group * 4 + k, base + slot, base + axis[:, 0], base + axis[:, 1]


def clean_up(
    backbone: Tensor,
    chi: Tensor,
    residue_type: Tensor,
    follows: Tensor,
    first: Tensor,
    second: Tensor,
    shift: Tensor,
    neighbor_index: Tensor,
    builder: BuilderTables,
    tables: PackingTables,
    n_steps: int,
    pull: float,
    margin: float,
) -> tuple[Tensor, Tensor]:
    """Turn side chains a little to undo overlaps, and build them.

    Minimises half the squared overlaps (angstrom) plus a pull to the chi that
    came in, by damped diagonal Gauss-Newton steps on all chi at once. Forces on
    atoms become torques about the chi axes; the list of atom pairs is made
    once.

    Parameters
    ----------
    backbone : torch.Tensor, shape (F, R, 5, 3)
        N, CA, C, O and CB in nm.
    chi : torch.Tensor, shape (F, R, 4)
        Chosen side chains in radians.
    residue_type : torch.Tensor, shape (R,), int64
        0 to 19.
    follows : torch.Tensor, shape (F x R,), bool
        Whether a residue is bonded to the one before it.
    first, second : torch.Tensor, shape (P,), int64
        Residue pairs as listed by `find_residue_pairs`.
    shift : torch.Tensor, shape (3, P)
        Image shift of the second in nm.
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        The list the pairs came from.
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
    chi : torch.Tensor, shape (F, R, 4)
        In radians.
    positions : torch.Tensor, shape (F, R, 14, 3)
        Heavy atoms in nm, zeros in absent slots.
    """
    n_frames, n_residues = backbone.size(0), backbone.size(1)
    n_groups = n_frames * n_residues
    types = residue_type.repeat(n_frames)
    rows = backbone.reshape(n_groups, 5, 3)
    start = chi.reshape(n_groups, 4)
    positions = build_side_chain_rows(rows, types, start, builder)
    if n_steps == 0:
        return chi, positions.view(n_frames, n_residues, 14, 3)
    all_rows = torch.arange(n_groups, device=chi.device)
    atoms = list_candidate_atoms(
        positions,
        all_rows,
        all_rows,
        types,
        all_rows.unsqueeze(1).expand(-1, 4),
        n_groups,
        tables,
    )
    has_beta = tables.atom_mask[:, 4].index_select(0, residue_type)
    reach = constants.CLASH_CUTOFF + margin + 0.1
    a, b, _, image = find_allowed_backbone_pairs(
        atoms,
        list_backbone(backbone, has_beta),
        first,
        second,
        shift,
        follows,
        tables,
        reach,
    )
    atom_index = atoms.residue * constants.N_SLOTS + atoms.slot
    residue_b = torch.div(b, 5, rounding_mode="floor")
    a_index = atom_index.index_select(0, a)
    b_index = residue_b * 9 + b  # 14 residue + slot
    kept = keep_one_direction(first, second, neighbor_index)
    shift = shift.index_select(1, kept)
    a, b, distance, pair = find_point_pairs(
        atoms.points,
        atoms.points,
        first.index_select(0, kept),
        second.index_select(0, kept),
        shift,
        reach,
        4096,
    )
    a_index = torch.cat([a_index, atom_index.index_select(0, a)])
    b_index = torch.cat([b_index, atom_index.index_select(0, b)])
    image = torch.cat([image, shift.index_select(1, pair)], 1)
    code = types.unsqueeze(1) * constants.N_SLOTS
    code = (code + torch.arange(constants.N_SLOTS, device=chi.device)).reshape(-1)
    a_code, b_code = code.index_select(0, a_index), code.index_select(0, b_index)
    radius, polarity = tables.atom_radius.reshape(-1), tables.atom_polarity.reshape(-1)
    polar = polarity.index_select(0, a_code) * polarity.index_select(0, b_code)
    contact = compute_overlap(
        torch.zeros_like(polar),
        radius.index_select(0, a_code),
        radius.index_select(0, b_code),
        polar,
    )
    contact = contact + margin
    chi_index, lever, near, far = list_levers(types, tables)
    current = start
    for _step in range(n_steps):
        flat = positions.reshape(-1, 3)
        x = flat[:, 0].contiguous()
        y = flat[:, 1].contiguous()
        z = flat[:, 2].contiguous()
        dx = x.index_select(0, a_index) - x.index_select(0, b_index) - image[0]
        dy = y.index_select(0, a_index) - y.index_select(0, b_index) - image[1]
        dz = z.index_select(0, a_index) - z.index_select(0, b_index) - image[2]
        distance = (dx * dx + dy * dy + dz * dz).clamp(min=1e-8).sqrt()
        overlap = contact - distance
        hit = torch.nonzero(overlap > 0).flatten()
        overlap = overlap.index_select(0, hit)
        push = 10.0 * overlap / distance.index_select(0, hit)
        ia, ib = a_index.index_select(0, hit), b_index.index_select(0, hit)
        both = torch.cat([ia, ib])
        zero = torch.zeros_like(x)
        fx = push * dx.index_select(0, hit)
        fy = push * dy.index_select(0, hit)
        fz = push * dz.index_select(0, hit)
        force_x = zero.scatter_add(0, both, torch.cat([fx, -fx]))
        force_y = zero.scatter_add(0, both, torch.cat([fy, -fy]))
        force_z = zero.scatter_add(0, both, torch.cat([fz, -fz]))
        n_hits = zero.scatter_add(0, both, torch.ones_like(both).to(x.dtype))
        # torque of each force about each axis, in square angstrom
        ux = x.index_select(0, far) - x.index_select(0, near)
        uy = y.index_select(0, far) - y.index_select(0, near)
        uz = z.index_select(0, far) - z.index_select(0, near)
        norm = 1.0 / (ux * ux + uy * uy + uz * uz).clamp(min=1e-8).sqrt()
        rx = 10.0 * (x.index_select(0, lever) - x.index_select(0, far))
        ry = 10.0 * (y.index_select(0, lever) - y.index_select(0, far))
        rz = 10.0 * (z.index_select(0, lever) - z.index_select(0, far))
        # velocity of the atom under a turn: u x r
        vx = norm * (uy * rz - uz * ry)
        vy = norm * (uz * rx - ux * rz)
        vz = norm * (ux * ry - uy * rx)
        work = vx * force_x.index_select(0, lever)
        work = work + vy * force_y.index_select(0, lever)
        work = work + vz * force_z.index_select(0, lever)
        stiff = (vx * vx + vy * vy + vz * vz) * n_hits.index_select(0, lever)
        none = torch.zeros(n_groups * 4, dtype=x.dtype, device=x.device)
        torque = none.scatter_add(0, chi_index, work).view(n_groups, 4)
        stiffness = none.scatter_add(0, chi_index, stiff).view(n_groups, 4)
        step = (torque - pull * (current - start)) / (0.7 * stiffness + pull + 0.05)
        current = current + step.clamp(min=-0.2, max=0.2)
        positions = build_side_chain_rows(rows, types, current, builder)
    shape = [n_frames, n_residues]
    return current.view(shape + [4]), positions.view(shape + [14, 3])
