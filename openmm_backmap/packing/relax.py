"""Moving built atoms onto the beads they must stand for, bonds kept.

After a residue is built its centre of mass lies near its bead and not on it.
All atoms then move a little: springs hold bond lengths, bond angles, peptide
planes and rings as they were built, torsions are free, overlaps push, and
every residue is drawn to its bead. Accelerated Jacobi steps on all atoms at
once, in the manner of position-based dynamics.

References
----------
Mueller et al., J. Vis. Commun. Image R. 18, 109 (2007).
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor, nn

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.packing.shape import ResiduePairs, ShapeLists
from openmm_backmap.packing.springs import compute_heights

__all__ = ["BeadRelaxer", "RelaxSettings"]


class RelaxSettings(NamedTuple):
    """Weights and numbers of steps."""

    n_steps: int = 60  # a list of contacts
    n_lists: int = 2  # times the contacts are listed
    n_first_steps: int = 30  # of rounds before the last
    n_more_lists: int = 2  # for frames with a bead that is missed
    miss: float = 0.008  # nm from a centre of mass to its bead
    momentum: float = 0.9
    rate: float = 0.5
    bead_rate: float = 0.12  # share of the way to the bead a step
    height_weight: float = 1.0  # stiffness of hands and peptide planes
    clash_weight: float = 0.3  # stiffness of an overlap, bonds have 1
    clash_tolerance: float = 0.04  # nm of overlap that costs nothing
    skin: float = 0.06  # nm beyond contact in which pairs are listed
    single_rate: float = 0.3  # the same for a bead that is one atom, times this
    beside_rate: float = 0.05  # the same beside a centre of mass
    max_pull: float = 0.03  # nm, a farther bead draws no harder
    n_settle: int = 4  # last steps, in which the draw fades and bonds settle
    n_near: int = 24  # neighbours searched for overlaps


class BeadRelaxer(nn.Module):
    """Move all heavy atoms so that each residue lies on its bead.

    Parameters
    ----------
    settings : RelaxSettings, optional
        If None, the defaults.
    """

    settings: RelaxSettings

    def __init__(self, settings: RelaxSettings | None = None) -> None:
        super().__init__()
        self.settings = RelaxSettings() if settings is None else settings
        self.shape = ShapeLists(self.settings.clash_tolerance, self.settings.n_near)

    def forward(
        self,
        positions: Tensor,
        target: Tensor,
        share: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        image: Tensor,
        is_last: bool = True,
    ) -> Tensor:
        """Relax a batch of frames.

        Parameters
        ----------
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms as built, in nm.
        target : torch.Tensor, shape (F, R, 3)
            Bead of each residue in nm.
        share : torch.Tensor, shape (R, 14)
            What the bead is made of: shares of the atoms, sum 1.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and segment of each residue.
        neighbor_index : torch.Tensor, shape (F, R, K), int64
            Nearest residues, -1 padded.
        image : torch.Tensor, shape (F, R, K, 3)
            Vectors to their nearest periodic image in nm.
        is_last : bool
            Otherwise few steps do: another round follows.

        Returns
        -------
        torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm, zeros in absent slots.
        """
        settings = self.settings
        n_lists = settings.n_lists if is_last else 1
        n_steps = settings.n_steps if is_last else settings.n_first_steps
        moved = self.draw_often(
            positions, positions, target, share, residue_type, chain_index,
            neighbor_index, image, n_lists, n_steps,
        )  # fmt: skip
        if not is_last:
            return moved
        # a frame goes on by itself, so that its batch does not matter
        missed = target - (moved * share.view(1, -1, 14, 1)).sum(2)
        far = torch.sqrt((missed * missed).sum(-1)) * (share.amax(1) < 0.99)
        more = torch.nonzero(far.amax(1) > settings.miss).squeeze(-1)
        if more.numel() == 0:
            return moved
        further = self.draw_often(
            positions[more], moved[more], target[more], share, residue_type,
            chain_index, neighbor_index[more], image[more],
            settings.n_more_lists, settings.n_steps,
        )  # fmt: skip
        return moved.index_copy(0, more, further)

    def draw_often(
        self,
        built: Tensor,
        positions: Tensor,
        target: Tensor,
        share: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        image: Tensor,
        n_lists: int,
        n_steps: int,
    ) -> Tensor:
        """Draw, with the contacts listed anew `n_lists` times; see `draw`."""
        skin = self.settings.skin
        for _list in range(n_lists):
            pairs = self.shape.list_neighbors(
                positions, residue_type, neighbor_index, image, skin
            )
            positions = self.draw(
                built, positions, target, share, residue_type, chain_index,
                pairs, n_steps,
            )  # fmt: skip
        return positions

    def draw(
        self,
        built: Tensor,
        positions: Tensor,
        target: Tensor,
        share: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        pairs: ResiduePairs,
        n_steps: int,
        mobile: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
    ) -> Tensor:
        """Draw all residues to their beads for some steps.

        Parameters
        ----------
        built : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms as built, in nm: bonds, hands and planes to keep.
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms to start from, in nm.
        target, share, residue_type, chain_index
            See `forward`.
        pairs : ResiduePairs
            Residues whose atoms may touch.
        n_steps : int
            Steps.
        mobile : torch.Tensor or None, shape (F, R), bool
            Residues that may move. If None, all.

        Returns
        -------
        torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm, zeros in absent slots.
        """
        settings = self.settings
        a, b, weight, rest = self.shape.list_bonds(positions, residue_type, chain_index)
        four, is_hand = self.shape.list_heights(
            positions.shape[0], residue_type, chain_index
        )
        exists = self.shape.exists[residue_type].to(built.dtype).view(1, -1, 14, 1)
        moves: Optional[Tensor] = None  # noqa: UP045 (TorchScript)
        if mobile is not None:
            moves = mobile.unsqueeze(2).expand(-1, -1, 14).reshape(-1)
            kept = torch.nonzero(moves[a] | moves[b]).squeeze(-1)
            a, b, weight, rest = a[kept], b[kept], weight[kept], rest[kept]
            kept = torch.nonzero(moves[four].any(1)).squeeze(-1)
            four, is_hand = four[kept], is_hand[kept]
        model = built.reshape(-1, 3)
        gap = model.index_select(0, b) - model.index_select(0, a)
        rest = torch.where(rest > 0.0, rest, torch.sqrt((gap * gap).sum(-1)))
        stiff = torch.zeros_like(model[:, 0])
        stiff = stiff.index_add(0, a, weight).index_add(0, b, weight)
        height, _normal, _lever = compute_heights(
            model.index_select(0, four.reshape(-1)).view(-1, 4, 3)
        )
        # a hand may flatten by a third; a peptide plane is held
        slack = torch.where(is_hand, 0.3 * height.abs(), torch.zeros_like(height))
        hold = torch.full_like(height, settings.height_weight)
        stiff = stiff.index_add(0, four[:, 0], hold).index_add(0, four[:, 2], hold)
        inverse = settings.rate / (stiff + 2.0 * settings.clash_weight)
        inverse = inverse.unsqueeze(-1)
        part = share.view(1, -1, 14, 1)
        # CA beads of a simulation are softly bound, and lie beside folded domains
        is_single = share.amax(1) > 0.99
        joined = has_next(chain_index)
        beside = joined & ~torch.roll(is_single, -1, 0)
        beside = beside | torch.roll(joined & ~is_single, 1, 0)
        soft = torch.where(beside, settings.beside_rate, settings.single_rate)
        rate = torch.where(is_single, soft, torch.ones_like(soft))
        rate = settings.bead_rate * rate.to(built.dtype).view(1, -1, 1)
        if moves is not None:
            inverse = inverse * moves.unsqueeze(1).to(inverse.dtype)
            exists = exists * moves.view(built.shape[0], -1, 14, 1).to(exists.dtype)
        x = positions.reshape(-1, 3)
        velocity = torch.zeros_like(x)
        near_a, near_b, contact, shift = self.shape.list_contacts(
            positions, residue_type, chain_index, pairs, settings.skin
        )
        for step in range(n_steps):
            fade = min(1.0, (n_steps - step) / settings.n_settle)
            gap = x.index_select(0, b) - x.index_select(0, a)
            distance = torch.sqrt((gap * gap).sum(-1).clamp(min=1e-8))
            force = (weight * (1.0 - rest / distance)).unsqueeze(-1) * gap
            total = torch.zeros_like(x).index_add(0, a, force)
            total = total.index_add(0, b, force, alpha=-1.0)
            gap = x.index_select(0, near_b) - x.index_select(0, near_a) + shift
            distance = torch.sqrt((gap * gap).sum(-1).clamp(min=1e-8))
            push = (1.0 - contact / distance).clamp(max=0.0)
            force = (settings.clash_weight * push).unsqueeze(-1) * gap
            total = total.index_add(0, near_a, force)
            total = total.index_add(0, near_b, force, alpha=-1.0)
            now, normal, lever = compute_heights(
                x.index_select(0, four.reshape(-1)).view(-1, 4, 3)
            )
            off = now - height
            off = off.sign() * (off.abs() - slack).clamp(min=0.0)
            turn = (-settings.height_weight * off).view(-1, 1, 1) * (
                lever.unsqueeze(2) * normal.unsqueeze(1)
            )
            total = total.index_add(0, four.reshape(-1), turn.reshape(-1, 3))
            missed = target - (x.view_as(positions) * part).sum(2)
            far = torch.sqrt((missed * missed).sum(-1, keepdim=True).clamp(1e-8))
            missed = missed * (settings.max_pull / far).clamp(max=1.0)
            missed = missed * (fade * rate)
            pull = (missed.unsqueeze(2) * exists).reshape(-1, 3)
            velocity = settings.momentum * velocity + inverse * total
            velocity = velocity + pull
            x = x + velocity
        if moves is not None:
            return x.view_as(positions)
        return x.view_as(positions) * exists
