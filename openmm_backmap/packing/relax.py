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
from openmm_backmap.packing.motion import (
    Beads,
    MovingAtoms,
    Planes,
    add_plane_forces,
    add_spring_forces,
    compute_bead_pull,
    join_springs,
    order_atoms,
)
from openmm_backmap.packing.residue_pairs import ResiduePairs, list_near_residues
from openmm_backmap.packing.shape import ShapeLists
from openmm_backmap.packing.springs import compute_heights
from openmm_backmap.packing.touching import TouchLists

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
    clash_weight: float = 0.27  # stiffness of an overlap, bonds have 1
    clash_tolerance: float = 0.04  # nm of overlap that costs nothing
    skin: float = 0.06  # nm beyond contact in which pairs are listed
    single_rate: float = 0.3  # the same for a bead that is one atom, times this
    beside_rate: float = 0.05  # the same beside a centre of mass
    max_pull: float = 0.03  # nm, a farther bead draws no harder
    n_settle: int = 4  # last steps, in which the draw fades and bonds settle


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
        self.shape = ShapeLists()
        self.touch = TouchLists(self.settings.clash_tolerance)

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
        everywhere = torch.ones_like(target[:, :, 0]) > 0.0
        for _list in range(n_lists):
            pairs = list_near_residues(
                positions, self.touch.exists[residue_type], neighbor_index, image,
                self.touch.widest + skin,
            )  # fmt: skip
            positions = self.draw(
                built, positions, target, share, residue_type, chain_index,
                pairs, n_steps, None, everywhere,
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
        loose: Optional[Tensor] = None,  # noqa: UP045
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
        loose : torch.Tensor or None, shape (F, R), bool
            Residues whose hydrogens are given more room than others'. If None, no
            hydrogens are given any.

        Returns
        -------
        torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm, zeros in absent slots.
        """
        settings = self.settings
        flat = built.reshape(-1, 14, 3)
        moves: Optional[Tensor] = None  # noqa: UP045
        if mobile is not None:
            moves = mobile.reshape(-1)
        atoms = order_atoms(moves, flat[:, 0, 0])
        bonds = self.list_springs(built, positions, residue_type, chain_index, moves)
        contacts = self.touch.list_contacts(
            positions, residue_type, chain_index, pairs, settings.skin, loose,
            settings.skin,
        )  # fmt: skip
        springs = join_springs(atoms, bonds, contacts, settings.clash_weight)
        planes = self.list_planes(built, residue_type, chain_index, moves, atoms)
        beads = self.list_beads(target, share, residue_type, chain_index, atoms)
        n_moving = atoms.n_moving
        # coordinates first, and no `alpha`, which is twenty times slower
        x = positions.reshape(-1, 3).t().index_select(1, atoms.order)
        stiff = torch.zeros_like(x[0, :1]).repeat(n_moving + 1)
        weight = bonds[2]
        stiff.index_add_(0, springs.on_a[: springs.n_held], weight)
        stiff.index_add_(0, springs.on_b[: springs.n_held], weight)
        # planes pull at all of their corners; with the whole of it steps are too short
        hold = 0.5 * settings.height_weight * planes.square
        stiff.index_add_(0, planes.on_corner, hold)
        inverse = settings.rate / (stiff[:n_moving] + 2.0 * settings.clash_weight)
        y = x[:, :n_moving]
        velocity = torch.zeros_like(y)
        total = torch.zeros_like(x[:, :1]).repeat(1, n_moving + 1)
        for step in range(n_steps):
            fade = min(1.0, (n_steps - step) / settings.n_settle)
            total.zero_()
            add_spring_forces(total, x, springs)
            add_plane_forces(total, x, planes, settings.height_weight)
            velocity *= settings.momentum
            velocity.addcmul_(total[:, :n_moving], inverse)
            velocity += compute_bead_pull(y, beads, settings.max_pull, fade)
            y += velocity
        moved = x.index_select(1, atoms.column).t().reshape(positions.shape)
        if mobile is not None:
            return moved
        return moved * beads.exists.view(positions.shape[0], -1, 14, 1)

    def list_springs(
        self,
        built: Tensor,
        positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        moves: Optional[Tensor],  # noqa: UP045 (TorchScript)
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Bonds and angles of residues (F R,) that move: atoms, stiffness, nm."""
        a, b, weight, rest = self.shape.list_bonds(positions, residue_type, chain_index)
        if moves is not None:
            told = moves.unsqueeze(1).expand(-1, 14).reshape(-1)
            kept = torch.nonzero(told[a] | told[b]).squeeze(-1)
            a, b, weight, rest = a[kept], b[kept], weight[kept], rest[kept]
        model = built.reshape(-1, 3)
        gap = model.index_select(0, b) - model.index_select(0, a)
        built_with = torch.sqrt((gap * gap).sum(-1))
        opens = (b - a == 2) & (torch.remainder(a, 14) == 0)
        nearest, farthest = self.shape.n_to_c
        kept_open = built_with.clamp(min=nearest, max=farthest)
        built_with = torch.where(opens, kept_open, built_with)
        return a, b, weight, torch.where(rest > 0.0, rest, built_with)

    def list_planes(
        self,
        built: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        moves: Optional[Tensor],  # noqa: UP045 (TorchScript)
        atoms: MovingAtoms,
    ) -> Planes:
        """Hands and peptide planes of residues (F R,) that move."""
        four, is_hand = self.shape.list_heights(
            built.shape[0], residue_type, chain_index
        )
        if moves is not None:
            told = moves.unsqueeze(1).expand(-1, 14).reshape(-1)
            kept = torch.nonzero(told[four].any(1)).squeeze(-1)
            four, is_hand = four[kept], is_hand[kept]
        corner = four.t().reshape(-1)
        points = built.reshape(-1, 3).t().index_select(1, corner).view(3, 4, -1)
        height, _normal, lever = compute_heights(points)
        # a hand may flatten by a third; a peptide plane is held
        slack = torch.where(is_hand, 0.3 * height.abs(), torch.zeros_like(height))
        column = atoms.column.index_select(0, corner)
        square = (lever * lever).reshape(-1)
        on_corner = column.clamp(max=atoms.n_moving)
        return Planes(column, on_corner, height, slack, square)

    def list_beads(
        self,
        target: Tensor,
        share: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        atoms: MovingAtoms,
    ) -> Beads:
        """Beads of the residues that move, and how hard they draw."""
        settings = self.settings
        # CA beads of a simulation are softly bound, and lie beside folded domains
        is_single = share.amax(1) > 0.99
        joined = has_next(chain_index)
        beside = joined & ~torch.roll(is_single, -1, 0)
        beside = beside | torch.roll(joined & ~is_single, 1, 0)
        rate = torch.ones_like(share[:, 0])
        rate = rate.masked_fill(is_single, settings.single_rate)
        rate = rate.masked_fill(is_single & beside, settings.beside_rate)
        rate = settings.bead_rate * rate
        of_chain = torch.remainder(atoms.residue, residue_type.shape[0])
        return Beads(
            target.reshape(-1, 3).index_select(0, atoms.residue).t().contiguous(),
            share.index_select(0, of_chain),
            self.touch.exists[residue_type[of_chain]].to(target.dtype),
            rate.index_select(0, of_chain),
        )
