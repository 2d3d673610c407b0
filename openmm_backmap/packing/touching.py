"""Which residues and which of their atoms touch, or may come to."""

from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn

from openmm_backmap.builder.backbone import has_next
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
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS, VDW_RADIUS_ANGSTROM
from openmm_backmap.residues.names import N_TYPES

__all__ = ["ResiduePairs", "TouchLists", "keep_pairs"]

_ANGSTROM = 0.1


class ResiduePairs(NamedTuple):
    """Residues whose atoms may come near, ``first <= second``."""

    frame: Tensor  # (P,) int64
    first: Tensor  # (P,) int64
    second: Tensor  # (P,) int64
    shift: Tensor  # (P, 3) nm, added to the second it gives its image


def keep_pairs(pairs: ResiduePairs, wanted: Tensor) -> ResiduePairs:
    """Keep the pairs that are wanted (P,)."""
    kept = torch.nonzero(wanted).squeeze(-1)
    return ResiduePairs(
        pairs.frame[kept], pairs.first[kept], pairs.second[kept], pairs.shift[kept]
    )


class TouchLists(nn.Module):
    """Lists residues and atoms that touch, all of them heavy.

    Parameters
    ----------
    clash_tolerance : float
        Overlap in nm that costs nothing.
    """

    def __init__(self, clash_tolerance: float) -> None:
        super().__init__()
        self.clash_tolerance = clash_tolerance
        radius = torch.zeros(N_TYPES, N_SLOTS)
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
        # two of the largest atoms that just touch
        self.widest = 2.0 * float(radius.max()) - clash_tolerance
        self.eclipsed_next = ECLIPSED_NEXT
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
        self.register_buffer("eclipsed", compute_eclipsed(), persistent=False)
        self.register_buffer("fixed", find_fixed_hydrogens(), persistent=False)
        self.register_buffer("inside", inside, persistent=False)
        self.register_buffer("before", before, persistent=False)

    def list_neighbors(
        self,
        positions: Tensor,
        residue_type: Tensor,
        neighbor_index: Tensor,
        image: Tensor,
        skin: float,
    ) -> ResiduePairs:
        """Residue pairs whose atoms may come near, each with itself too.

        Parameters
        ----------
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm.
        residue_type : torch.Tensor, shape (R,), int64
            0 to 19.
        neighbor_index : torch.Tensor, shape (F, R, K), int64
            Nearest residues, -1 padded.
        image : torch.Tensor, shape (F, R, K, 3)
            Vectors to their nearest periodic image in nm.
        skin : float
            Added to the contact distances, in nm.

        Returns
        -------
        ResiduePairs
            Each pair once.
        """
        frames, residues, k = neighbor_index.shape
        center, reach = self.bound_residues(positions, residue_type)
        center, reach = center.view(frames, residues, 3), reach.view(frames, residues)
        flat = neighbor_index.clamp(min=0).reshape(frames, -1)
        there = center.gather(1, flat.unsqueeze(2).expand(-1, -1, 3))
        gap = there.view(frames, residues, k, 3) + image
        gap = gap - center.unsqueeze(2)
        limit = reach.gather(1, flat).view(frames, residues, k) + reach.unsqueeze(2)
        limit = limit + (self.widest + skin)
        near = (neighbor_index >= 0) & (gap.square().sum(-1) < limit * limit)
        f, i, place = torch.nonzero(near).unbind(1)
        j = neighbor_index[f, i, place]
        # the nearest are not mutual: the later residue tells of the earlier one
        # only where that does not list it
        back = torch.nonzero(i > j).squeeze(-1)
        lists = neighbor_index[f[back], j[back]]
        alone = ~(lists == i[back].unsqueeze(1)).any(1)
        kept = torch.cat((torch.nonzero(i < j).squeeze(-1), back[alone]))
        f, i, j, place = f[kept], i[kept], j[kept], place[kept]
        moved = image[f, i, place] * torch.where(i < j, 1.0, -1.0).unsqueeze(1)
        own = torch.arange(frames * residues, device=positions.device)
        own_frame = torch.div(own, residues, rounding_mode="floor")
        own_residue = own - own_frame * residues
        return ResiduePairs(
            torch.cat((own_frame, f)),
            torch.cat((own_residue, torch.minimum(i, j))),
            torch.cat((own_residue, torch.maximum(i, j))),
            torch.cat((torch.zeros_like(center).reshape(-1, 3), moved)),
        )

    def bound_residues(
        self, positions: Tensor, residue_type: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Bound the atoms of each residue: centres (F R, 3) and radii (F R,) in nm."""
        exists = self.exists[residue_type].to(positions.dtype).unsqueeze(2)
        center = (positions * exists).sum(2) / exists.sum(1)
        away = (positions - center.unsqueeze(2)) * exists
        reach = torch.sqrt(away.square().sum(-1).amax(2))
        return center.reshape(-1, 3), reach.reshape(-1)

    def keep_touching(
        self, positions: Tensor, residue_type: Tensor, pairs: ResiduePairs, skin: float
    ) -> ResiduePairs:
        """Keep the pairs whose atoms may come near; see `list_neighbors`."""
        center, reach = self.bound_residues(positions, residue_type)
        base = pairs.frame * positions.shape[1]
        one, two = base + pairs.first, base + pairs.second
        gap = center.index_select(0, two) + pairs.shift - center.index_select(0, one)
        limit = reach.index_select(0, one) + reach.index_select(0, two)
        limit = limit + (self.widest + skin)
        return keep_pairs(pairs, gap.square().sum(-1) < limit * limit)

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
            Residues whose hydrogens are looked at, too: contact is then as far as their
            atoms must part. If None, none.
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
        blocks, atom_at = self.block_atoms(positions, residue_type)
        base = pairs.frame * residues
        reach = self.widest + skin
        if loose is not None and bool(loose.any()):
            reach = max(reach, self.room.reach + hidden_skin)
        place_i, place_j, distance, pair = find_point_pairs(
            blocks,
            blocks,
            base + pairs.first,
            base + pairs.second,
            pairs.shift.t().contiguous(),
            reach,
            residues,
            chunk,
        )
        # most pairs found are too far apart for what they are
        slot_at = torch.remainder(atom_at, 14)
        residue_at = torch.div(atom_at, 14, rounding_mode="floor")
        type_at = residue_type[torch.remainder(residue_at, residues)]
        size_at = self.size[type_at, slot_at]
        size = size_at.index_select(0, place_i) + size_at.index_select(0, place_j)
        # sizes leave 0.03 nm between any two atoms that are in contact
        near = distance < size + max(hidden_skin, skin - 0.03)
        near = torch.nonzero(near).squeeze(-1)
        place_i, place_j = place_i.index_select(0, near), place_j.index_select(0, near)
        distance, pair = distance.index_select(0, near), pair.index_select(0, near)
        a, b = atom_at.index_select(0, place_i), atom_at.index_select(0, place_j)
        i, j = pairs.first.index_select(0, pair), pairs.second.index_select(0, pair)
        limit, counts = self.compute_limits(
            i,
            j,
            slot_at.index_select(0, place_i),
            slot_at.index_select(0, place_j),
            residue_type,
            has_next(chain_index),
            polar_allowance,
            hydrogen_margin,
        )
        shift = pairs.shift.index_select(0, pair)
        if loose is not None and bool(loose.any()):
            told = loose.reshape(-1).index_select(0, residue_at)
            told = told.index_select(0, place_i) | told.index_select(0, place_j)
            # what the batch makes visible beyond the usual reach is not for all
            counts = counts & (told | (distance < self.widest + skin))
            hidden = torch.nonzero(counts & told).squeeze(-1)
            short = self.room.compute_shortfall(
                positions.reshape(-1, 3),
                type_at.index_select(0, place_i.index_select(0, hidden)),
                type_at.index_select(0, place_j.index_select(0, hidden)),
                a.index_select(0, hidden),
                b.index_select(0, hidden),
                shift.index_select(0, hidden),
            )
            wanted = limit.index_select(0, hidden)
            parted = torch.maximum(wanted, distance.index_select(0, hidden) + short)
            wanted = torch.where(short > -hidden_skin, parted, wanted)
            limit = limit.index_copy(0, hidden, wanted)
        kept = torch.nonzero(counts & (distance < limit + skin)).squeeze(-1)
        return a[kept], b[kept], limit[kept], shift[kept]

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
        some = sulfur.index_select(0, one) | sulfur.index_select(0, two)
        return limit, counts & ~(bridge & some)
