"""Which atoms touch, or may come to."""

from typing import Optional

import torch
from torch import Tensor, nn

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.geometry.vectors import compute_distance
from openmm_backmap.packing.atoms import BlockedPoints, block_points
from openmm_backmap.packing.close_points import find_point_pairs
from openmm_backmap.packing.crowding import (
    ECLIPSED_NEXT,
    compute_eclipsed,
    find_fixed_hydrogens,
)
from openmm_backmap.packing.exclusions import (
    compute_excluded_before,
    compute_excluded_inside,
)
from openmm_backmap.packing.hydrogen_room import HydrogenRoom
from openmm_backmap.packing.residue_pairs import ResiduePairs, keep_pairs
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS, VDW_RADIUS_ANGSTROM
from openmm_backmap.residues.names import N_TYPES

__all__ = ["BRIDGE", "TouchLists"]

_ANGSTROM = 0.1
FIRM: float = 0.02
"""How much nearer (nm) hydrogens may be where CA were not moved: few crystal structures
have any that are, and simulations without a projection do."""

BRIDGE: float = 0.195
"""SG may be as near (nm) to one another; a disulfide is 0.204 long."""
APART: float = 0.3
"""The same of SG of which one is nearer to a third."""


class TouchLists(nn.Module):
    """Lists atoms that touch, all of them heavy.

    Parameters
    ----------
    clash_tolerance : float
        Overlap in nm that costs nothing.
    """

    def __init__(self, clash_tolerance: float) -> None:
        super().__init__()
        self.clash_tolerance = clash_tolerance
        radius = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.float32)
        polar = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.bool)
        exists = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.bool)
        sulfur = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.bool)
        bridged = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.bool)
        for t, slots in enumerate(ATOM_SLOT):
            for name, slot in slots.items():
                exists[t, slot] = True
                radius[t, slot] = VDW_RADIUS_ANGSTROM[name[0]] * _ANGSTROM
                polar[t, slot] = name[0] in "NOS"
                sulfur[t, slot] = name == "SG"
                bridged[t, slot] = "SG" in slots and name in ("CB", "SG")
        before = torch.zeros(N_TYPES, N_SLOTS, N_SLOTS, dtype=torch.bool)
        before[:, :, :5] = torch.tensor(compute_excluded_before())
        inside = torch.tensor(compute_excluded_inside())
        eclipsed = compute_eclipsed()
        # two of the largest atoms that just touch
        self.widest = 2.0 * float(radius.max()) - clash_tolerance
        self.eclipsed_next = ECLIPSED_NEXT
        self.firm = FIRM
        self.bridge = BRIDGE
        self.apart = APART
        self.room = HydrogenRoom()
        # half of the distance within which a pair needs a closer look
        size = torch.where(self.room.length > 0, 0.5 * self.room.reach, 0.17)
        size = torch.where(self.room.methyl, 0.195, size)
        size = torch.where(sulfur, 0.175, size)
        self.register_buffer("size", size, persistent=False)
        self.register_buffer("radius", radius, persistent=False)
        self.register_buffer("polar", polar, persistent=False)
        self.register_buffer("exists", exists, persistent=False)
        self.register_buffer("sulfur", sulfur, persistent=False)
        self.register_buffer("bridged", bridged, persistent=False)
        self.register_buffer("eclipsed", eclipsed, persistent=False)
        self.register_buffer("fixed", find_fixed_hydrogens(), persistent=False)
        self.register_buffer("inside", inside, persistent=False)
        inner = list_inner_contacts(exists, inside & (eclipsed == 0.0))
        self.register_buffer("inner", inner, persistent=False)
        self.register_buffer("before", before, persistent=False)

    def block_atoms(
        self, positions: Tensor, residue_type: Tensor
    ) -> tuple[BlockedPoints, Tensor]:
        """Put N, CA, C, O and CB of each residue into a block, its others behind.

        Parameters
        ----------
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm.
        residue_type : torch.Tensor, shape (R,), int64
            0 to 19.

        Returns
        -------
        blocks : BlockedPoints
            Of five atoms; groups are frames x residues.
        atom : torch.Tensor, shape (5 L,), int64
            ``14 (frame R + residue) + slot`` at each place.
        """
        exists = self.exists[residue_type]
        n_side = exists[:, 5:].sum(1)
        n_blocks = torch.div(n_side + 4, 5, rounding_mode="floor") + 1
        n_blocks = n_blocks.repeat(positions.shape[0])
        first = (n_blocks.cumsum(0) - n_blocks) * 5
        atom = torch.nonzero(exists.repeat(positions.shape[0], 1).reshape(-1))
        atom = atom.squeeze(-1)
        group = torch.div(atom, 14, rounding_mode="floor")
        # the slots of a residue are filled from the first one on
        place = first.index_select(0, group) + atom - 14 * group
        points = positions.reshape(-1, 3).index_select(0, atom)
        blocks = block_points(points, place, n_blocks, 5)
        nowhere = torch.zeros_like(atom[:1]).expand(blocks.x.numel())
        return blocks, nowhere.index_copy(0, place, atom)

    def list_contacts(
        self,
        positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        pairs: ResiduePairs,
        skin: float,
        loose: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
        hidden_skin: float = 0.0,
        polar_allowance: float = 0.02,
        hydrogen_margin: float = 0.04,
        chunk: int = 1024,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Atom pairs that overlap or may come to.

        Parameters
        ----------
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and segment.
        pairs : ResiduePairs
            Where to look.
        skin : float
            Pairs this much (nm) beyond contact are listed too, unless they are farther
            apart than it and the two largest atoms without a hydrogen's margin.
        loose : torch.Tensor or None, shape (F, R), bool
            Residues of moved CA. Contact is as far as atoms must part for their
            hydrogens, which between two others may be `FIRM` nearer. If None, hydrogens
            are not looked at.
        hidden_skin : float
            The `skin` of hydrogens.
        polar_allowance : float
            Further overlap in nm that costs nothing between N, O and S.
        hydrogen_margin : float
            Overlap in nm that counts already between atoms whose hydrogens cannot turn;
            half of it if only one has such, unless both are N, O or S.
        chunk : int
            Pairs of blocks at once.

        Returns
        -------
        a, b : torch.Tensor, shape (N,), int64
            Atoms as ``14 (frame R + residue) + slot``.
        contact : torch.Tensor, shape (N,)
            Distance in nm below which they overlap.
        shift : torch.Tensor, shape (N, 3)
            Of the second atom, nm.
        """
        residues = positions.shape[1]
        reach = self.widest + skin
        hidden_reach = hidden_skin
        if loose is not None:
            if not bool(loose.any()):
                hidden_reach = hidden_skin - self.firm
            reach = max(reach, self.room.reach + hidden_reach)
        # sizes leave 0.03 nm between any two atoms that are in contact
        margin = max(hidden_reach, skin - 0.03)
        a, b, distance, shift = self.find_near_atoms(
            positions, residue_type, pairs, reach, margin, chunk
        )
        row_a = torch.div(a, 14, rounding_mode="floor")
        row_b = torch.div(b, 14, rounding_mode="floor")
        i, j = torch.remainder(row_a, residues), torch.remainder(row_b, residues)
        limit, counts = self.compute_limits(
            i,
            j,
            a - 14 * row_a,
            b - 14 * row_b,
            residue_type,
            has_next(chain_index),
            polar_allowance,
            hydrogen_margin,
        )
        limit = self.part_third_sulfurs(limit, a, b, distance, positions)
        if loose is not None:
            told = loose.reshape(-1)
            told = told.index_select(0, row_a) | told.index_select(0, row_b)
            slack = self.firm * (~told).to(distance.dtype)
            hidden = torch.nonzero(counts).squeeze(-1)
            short = self.room.compute_shortfall(
                positions.reshape(-1, 3),
                residue_type.index_select(0, i.index_select(0, hidden)),
                residue_type.index_select(0, j.index_select(0, hidden)),
                a.index_select(0, hidden),
                b.index_select(0, hidden),
                shift.index_select(0, hidden),
            )
            short = short - slack.index_select(0, hidden)
            wanted = limit.index_select(0, hidden)
            parted = torch.maximum(wanted, distance.index_select(0, hidden) + short)
            wanted = torch.where(short > -hidden_skin, parted, wanted)
            limit = limit.index_copy(0, hidden, wanted)
        kept = torch.nonzero(counts & (distance < limit + skin)).squeeze(-1)
        return a[kept], b[kept], limit[kept], shift[kept]

    def part_third_sulfurs(
        self, limit: Tensor, a: Tensor, b: Tensor, distance: Tensor, positions: Tensor
    ) -> Tensor:
        """Let each SG be bonded to one other at most, the nearest.

        Parameters
        ----------
        limit, distance : torch.Tensor, shape (N,)
            Distance below which atoms overlap, and that which they have, in nm.
        a, b : torch.Tensor, shape (N,), int64
            Atoms.
        positions : torch.Tensor, shape (F, R, 14, 3)
            All of them.

        Returns
        -------
        torch.Tensor, shape (N,)
            Limits in nm, `APART` for two SG of which one is nearer to a third.
        """
        pair = torch.nonzero(limit == self.bridge).squeeze(-1)
        if pair.shape[0] < 2:
            return limit
        one, two = a.index_select(0, pair), b.index_select(0, pair)
        length = distance.index_select(0, pair)
        nearest = torch.full_like(positions[..., 0], float("inf")).reshape(-1)
        nearest = nearest.scatter_reduce(0, one, length, "amin")
        nearest = nearest.scatter_reduce(0, two, length, "amin")
        shortest = torch.minimum(
            nearest.index_select(0, one), nearest.index_select(0, two)
        )
        kept = limit.index_select(0, pair)
        kept = torch.where(length > shortest, torch.full_like(kept, self.apart), kept)
        return limit.index_copy(0, pair, kept)

    def find_near_atoms(
        self,
        positions: Tensor,
        residue_type: Tensor,
        pairs: ResiduePairs,
        reach: float,
        margin: float,
        chunk: int,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Atom pairs that need a closer look.

        Parameters
        ----------
        positions, residue_type, pairs, chunk
            See `list_contacts`.
        reach, margin : float
            Pairs nearer than the first, and than the sum of their `size` and the
            second are found, in nm.

        Returns
        -------
        a, b : torch.Tensor, shape (N,), int64
            Atoms; of a residue's own only those that no bonds hold.
        distance : torch.Tensor, shape (N,)
            In nm.
        shift : torch.Tensor, shape (N, 3)
            Of the second atom, nm.
        """
        residues = positions.shape[1]
        size = self.size[residue_type].reshape(-1).repeat(positions.shape[0])
        row = pairs.frame * residues + pairs.first
        is_own = pairs.first == pairs.second
        own = row[is_own]
        inner = self.inner[residue_type[torch.remainder(own, residues)]]
        known = torch.nonzero(inner[:, :, 0].reshape(-1) >= 0).squeeze(-1)
        base = 14 * own[torch.div(known, inner.shape[1], rounding_mode="floor")]
        a = base + inner[:, :, 0].reshape(-1)[known]
        b = base + inner[:, :, 1].reshape(-1)[known]
        atoms = positions.reshape(-1, 3)
        distance = compute_distance(atoms.index_select(0, a), atoms.index_select(0, b))
        near = distance < size.index_select(0, a) + size.index_select(0, b) + margin
        near = torch.nonzero(near & (distance < reach)).squeeze(-1)
        a, b, distance = a[near], b[near], distance[near]
        others = keep_pairs(pairs, ~is_own)
        blocks, atom_at = self.block_atoms(positions, residue_type)
        place_i, place_j, gap, pair = find_point_pairs(
            blocks,
            blocks,
            others.frame * residues + others.first,
            others.frame * residues + others.second,
            others.shift.t().contiguous(),
            reach,
            residues,
            chunk,
        )
        # most pairs found are too far apart for what they are
        one, two = atom_at.index_select(0, place_i), atom_at.index_select(0, place_j)
        near = gap < size.index_select(0, one) + size.index_select(0, two) + margin
        near = torch.nonzero(near).squeeze(-1)
        shift = others.shift.index_select(0, pair.index_select(0, near))
        return (
            torch.cat((a, one.index_select(0, near))),
            torch.cat((b, two.index_select(0, near))),
            torch.cat((distance, gap.index_select(0, near))),
            torch.cat((shift.new_zeros(a.shape[0], 3), shift)),
        )

    def compute_limits(
        self,
        i: Tensor,
        j: Tensor,
        s: Tensor,
        t: Tensor,
        residue_type: Tensor,
        joined: Tensor,
        polar_allowance: float,
        hydrogen_margin: float,
    ) -> tuple[Tensor, Tensor]:
        """Distance below which atoms overlap, and whether they can.

        Parameters
        ----------
        i, j : torch.Tensor, shape (N,), int64
            Residues, ``i <= j``.
        s, t : torch.Tensor, shape (N,), int64
            Slots.
        residue_type : torch.Tensor, shape (R,), int64
            0 to 19.
        joined : torch.Tensor, shape (R,), bool
            Residues bonded to the next one.
        polar_allowance, hydrogen_margin : float
            See `list_contacts`.

        Returns
        -------
        limit : torch.Tensor, shape (N,)
            In nm.
        counts : torch.Tensor, shape (N,), bool
            False for pairs held by bonds, and for one half of those in a residue.
        """
        type_i = residue_type.index_select(0, i)
        type_j = residue_type.index_select(0, j)
        one, two = type_i * 14 + s, type_j * 14 + t
        radius, polar = self.radius.reshape(-1), self.polar.reshape(-1)
        limit = radius.index_select(0, one) + radius.index_select(0, two)
        both_polar = polar.index_select(0, one) & polar.index_select(0, two)
        # a hydrogen of one atom or of both that cannot turn away
        fixed = self.fixed.reshape(-1)
        first, second = fixed.index_select(0, one), fixed.index_select(0, two)
        both = first & second
        single = (first | second) & ~both & ~both_polar
        limit = (
            limit
            - self.clash_tolerance
            - polar_allowance * both_polar.to(limit.dtype)
            + hydrogen_margin * (both.to(limit.dtype) + 0.5 * single.to(limit.dtype))
        )
        counts = torch.ones_like(both)
        own = torch.nonzero(i == j).squeeze(-1)
        s_own, t_own = s.index_select(0, own), t.index_select(0, own)
        pair = one.index_select(0, own) * 14 + t_own
        barrier = self.eclipsed.reshape(-1).index_select(0, pair)
        limit = limit.index_copy(
            0, own, torch.where(barrier > 0.0, barrier, limit.index_select(0, own))
        )
        bonded = self.inside.reshape(-1).index_select(0, pair) & (barrier == 0.0)
        counts = counts.index_copy(0, own, ~bonded & (s_own < t_own))
        next_to = (j == i + 1) & joined.index_select(0, i)
        after = torch.nonzero(next_to).squeeze(-1)
        s_next, t_next = s.index_select(0, after), t.index_select(0, after)
        pair = two.index_select(0, after) * 14 + s_next
        turns = (s_next == 4) & (t_next == 0)
        barrier = torch.full_like(limit[:1], self.eclipsed_next)
        limit = limit.index_copy(
            0, after, torch.where(turns, barrier, limit.index_select(0, after))
        )
        bonded = self.before.reshape(-1).index_select(0, pair) & ~turns
        counts = counts.index_copy(0, after, ~bonded)
        # a disulfide brings SG to SG and to the other CB
        bridged, sulfur = self.bridged.reshape(-1), self.sulfur.reshape(-1)
        bridge = bridged.index_select(0, one) & bridged.index_select(0, two) & (i != j)
        first, second = sulfur.index_select(0, one), sulfur.index_select(0, two)
        both = first & second & (i != j)
        limit = torch.where(both, torch.full_like(limit, self.bridge), limit)
        return limit, counts & (both | ~(bridge & (first | second)))


def list_inner_contacts(exists: Tensor, held: Tensor) -> Tensor:
    """List the atom pairs of a residue that may come into contact.

    Parameters
    ----------
    exists : torch.Tensor, shape (20, 14), bool
        Slots of each type.
    held : torch.Tensor, shape (20, 14, 14), bool
        Pairs that bonds hold.

    Returns
    -------
    torch.Tensor, shape (20, W, 2), int64
        Slots, the lower one first; -1 behind the last pair.
    """
    free = exists.unsqueeze(2) & exists.unsqueeze(1) & ~held
    found = [torch.nonzero(torch.triu(pairs, 1)) for pairs in free]
    result = torch.full((len(found), max(len(p) for p in found), 2), -1)
    for t, pairs in enumerate(found):
        result[t, : len(pairs)] = pairs
    return result
