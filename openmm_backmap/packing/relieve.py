"""Giving way where no choice of planes and rotamers fits."""

from typing import Optional

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.geometry.vectors import compute_distance
from openmm_backmap.packing.relax import BeadRelaxer
from openmm_backmap.packing.residue_pairs import (
    ResiduePairs,
    compute_room,
    keep_pairs,
    list_near_residues,
)

__all__ = ["ClashReliever"]

SEVERE: float = 0.035
"""Overlap beyond the tolerance of 0.4 A that is undone, in nm."""
SEVERE_STIFF: float = 0.01
"""The same between backbones and CB, whose hydrogens cannot turn away."""
STRAIN: float = 0.08
"""Change of a bond's length that is mended, as a share; one is broken at 10 %."""
BOND_STIFFNESS: float = 1.0
"""Springs stiffer than this are bonds, the others hold angles and planes."""
N_ROUNDS: int = 9
N_STEPS: int = 24
RESERVE: float = 0.2
"""How far, in nm, two residues may come nearer in all rounds together."""


class ClashReliever(BeadRelaxer):
    """A `BeadRelaxer` that also undoes severe overlaps where they are."""

    def relieve(
        self,
        positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        image: Tensor,
        loose: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
        target: Optional[Tensor] = None,  # noqa: UP045
        share: Optional[Tensor] = None,  # noqa: UP045
        severe: float = SEVERE,
        severe_stiff: float = SEVERE_STIFF,
        n_rounds: int = N_ROUNDS,
        n_steps: int = N_STEPS,
        reserve: float = RESERVE,
    ) -> Tensor:
        """Move the surroundings of severe overlaps until there are none.

        CA of a simulation come closer than any atoms could. All atoms near such
        a place, CA too, give way by some tenths of an angstrom; everything else
        stays as it is. A proline whose ring runs into the residue before it is
        such a place, too.

        Parameters
        ----------
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and segment.
        neighbor_index : torch.Tensor, shape (F, R, K), int64
            Nearest residues, -1 padded.
        image : torch.Tensor, shape (F, R, K, 3)
            Vectors to their nearest periodic image in nm.
        loose : torch.Tensor or None, shape (F, R), bool
            Residues of moved CA, whose hydrogens get more room than others'. If None,
            hydrogens are not looked at.
        target : torch.Tensor or None, shape (F, R, 3)
            Where the bead of each residue is drawn to, in nm. If None, its CA is drawn
            to where it is.
        share : torch.Tensor or None, shape (R, 14)
            What the bead is made of: shares of the atoms, sum 1. If None, CA.
        severe, severe_stiff : float
            Overlap beyond the tolerance that is undone, in nm: of any atoms; in the
            first two rounds, where neither is of a side chain beyond CB.
        n_rounds, n_steps : int
            Times such overlaps are looked for, and steps each time.
        reserve : float
            Pairs of residues this much (nm) beyond touching are looked at.

        Returns
        -------
        torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm.
        """
        if target is None:
            target = positions[:, :, 1]
        if share is None:
            share = torch.zeros_like(positions[0, :, :, 0])
            share[:, 1] = 1.0
        moved = positions
        exists = self.touch.exists[residue_type]
        contact = self.touch.widest + self.settings.skin
        around = list_near_residues(
            moved, exists, neighbor_index, image, contact + reserve
        )
        # hydrogens reach farther than the atoms they are on
        reach = self.touch.widest - severe_stiff
        if loose is not None:
            reach = max(reach, self.touch.room.reach - severe)
        for turn in range(n_rounds):
            room = compute_room(moved, exists, around)
            # no residue overlaps itself severely, and nothing else comes to later
            wanted = (room < reach) & (around.first < around.second)
            pairs = keep_pairs(around, wanted)
            if turn > 0:
                pairs = keep_moved(pairs, positions, moved)
            bad = self.find_bad(
                moved,
                residue_type,
                chain_index,
                pairs,
                loose,
                severe,
                severe_stiff,
                turn < 2,
            )
            if not bool(bad.any()):
                break
            pairs = keep_pairs(around, room < contact)
            moved = self.relieve_places(
                positions,
                moved,
                target,
                share,
                residue_type,
                chain_index,
                pairs,
                bad,
                turn > 1,
                n_steps,
                loose,
            )
        return self.mend_bonds(
            positions, moved, target, share, residue_type, chain_index, n_steps
        )

    def find_bad(
        self,
        positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        pairs: ResiduePairs,
        loose: Optional[Tensor],  # noqa: UP045 (TorchScript)
        severe: float,
        severe_stiff: float,
        is_strict: bool,
    ) -> Tensor:
        """Residues (F R,) that overlap severely with others or are strained.

        Backbones and CB may overlap by `severe_stiff` if `is_strict`, by `severe`
        else; see `relieve`.
        """
        a, b, apart, shift = self.touch.list_contacts(
            positions, residue_type, chain_index, pairs, -severe_stiff, loose,
            -severe, 0.0,
        )  # fmt: skip
        atoms = positions.reshape(-1, 3)
        gap = atoms.index_select(0, b) + shift - atoms.index_select(0, a)
        overlap = apart - torch.sqrt(gap.square().sum(-1))
        stiff = (torch.remainder(a, 14) < 5) & (torch.remainder(b, 14) < 5)
        # no other pair may come as near as the two of a disulfide
        stiff = (stiff & is_strict) | (apart <= self.touch.bridge)
        kept = torch.nonzero(stiff | (overlap > severe)).squeeze(-1)
        bad = self.shape.find_strained(positions, residue_type, chain_index)
        bad = bad.reshape(-1)
        bad[torch.div(a[kept], 14, rounding_mode="floor")] = True
        bad[torch.div(b[kept], 14, rounding_mode="floor")] = True
        return bad

    def mend_bonds(
        self,
        built: Tensor,
        positions: Tensor,
        target: Tensor,
        share: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        n_steps: int,
        strain: float = STRAIN,
        stiffness: float = BOND_STIFFNESS,
    ) -> Tensor:
        """Settle bonds that a struggle of overlaps has left strained.

        The residues of such a bond and their neighbours in the chain move without
        regard to overlaps until bonds are as built.

        Parameters
        ----------
        built, positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms before and after the relief, in nm.
        target, share : torch.Tensor, shapes (F, R, 3), (R, 14)
            See `relieve`.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and segment.
        n_steps : int
            Steps.
        strain : float
            Change of a length that is mended, as a share of it.
        stiffness : float
            Least stiffness of the springs that are bonds.

        Returns
        -------
        torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm.
        """
        gone = (positions != built).flatten(2).any(2).reshape(-1)
        if not bool(gone.any()):
            return positions
        a, b, weight, _rest = self.shape.list_bonds(built, residue_type, chain_index)
        one = torch.div(a, 14, rounding_mode="floor")
        two = torch.div(b, 14, rounding_mode="floor")
        kept = torch.nonzero((weight > stiffness) & (gone[one] | gone[two])).squeeze(-1)
        a, b, one, two = a[kept], b[kept], one[kept], two[kept]
        before, after = built.reshape(-1, 3), positions.reshape(-1, 3)
        length = compute_distance(before[a], before[b])
        change = (compute_distance(after[a], after[b]) - length).abs()
        strained = torch.nonzero(change > strain * length).squeeze(-1)
        if strained.numel() == 0:
            return positions
        bad = torch.zeros_like(gone)
        bad[one[strained]] = True
        bad[two[strained]] = True
        none = torch.zeros_like(residue_type[:0])
        no_pairs = ResiduePairs(none, none, none, built.new_zeros(0, 3))
        return self.relieve_places(
            built,
            positions,
            target,
            share,
            residue_type,
            chain_index,
            no_pairs,
            bad,
            False,
            n_steps,
        )

    def relieve_places(
        self,
        built: Tensor,
        positions: Tensor,
        target: Tensor,
        share: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        pairs: ResiduePairs,
        bad: Tensor,
        is_wide: bool,
        n_steps: int,
        loose: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
    ) -> Tensor:
        """Move what is near bad residues (F R,); the rest is left out.

        Those beside them in the chain give way; if that was not enough twice, all
        that touch them, too.
        """
        residues = positions.shape[1]
        joined = has_next(chain_index).repeat(positions.shape[0])
        one = pairs.frame * residues + pairs.first
        two = pairs.frame * residues + pairs.second
        mobile = bad.clone()
        if is_wide:
            mobile[one[bad[two]]] = True
            mobile[two[bad[one]]] = True
        for _step in range(2):
            mobile = grow_along(mobile, joined)
        # what they are bonded to and touch is needed, too
        pairs = keep_pairs(pairs, mobile[one] | mobile[two])
        one = pairs.frame * residues + pairs.first
        two = pairs.frame * residues + pairs.second
        needed = grow_along(mobile, joined)
        needed[one] = True
        needed[two] = True
        row = torch.nonzero(needed).squeeze(-1)
        place = torch.zeros_like(needed, dtype=torch.int64)
        place[row] = torch.arange(row.shape[0], device=row.device)
        broken = torch.ones_like(row)
        broken[1:] = (~joined[row[:-1]] | (row[1:] - row[:-1] > 1)).to(row.dtype)
        start = built.reshape(-1, 14, 3).index_select(0, row).unsqueeze(0)
        here = positions.reshape(-1, 14, 3).index_select(0, row).unsqueeze(0)
        of_chain = torch.remainder(row, residues)
        told: Optional[Tensor] = None  # noqa: UP045
        if loose is not None:
            told = loose.reshape(-1)[row].unsqueeze(0)
        here = self.draw(
            start,
            here,
            target.reshape(-1, 3).index_select(0, row).unsqueeze(0),
            share[of_chain],
            residue_type[of_chain],
            torch.cumsum(broken, 0),
            ResiduePairs(
                torch.zeros_like(one), place[one], place[two], pairs.shift
            ),
            n_steps,
            mobile[row].unsqueeze(0),
            told,
        )  # fmt: skip
        flat = positions.reshape(-1, 14, 3).index_copy(0, row, here[0])
        return flat.view_as(positions)


def keep_moved(pairs: ResiduePairs, before: Tensor, after: Tensor) -> ResiduePairs:
    """Pairs of residues of which one has moved; atoms (F, R, 14, 3)."""
    base = pairs.frame * before.shape[1]
    gone = (after != before).flatten(2).any(2).reshape(-1)
    return keep_pairs(pairs, gone[base + pairs.first] | gone[base + pairs.second])


def grow_along(chosen: Tensor, joined: Tensor) -> Tensor:
    """Add the bonded neighbours of chosen residues (N,)."""
    after = torch.roll(chosen & joined, 1, 0)
    before = torch.roll(chosen, -1, 0) & joined
    return chosen | after | before
