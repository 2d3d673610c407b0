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

from typing import NamedTuple

import torch
from torch import Tensor, nn

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.packing.exclusions import (
    compute_excluded_before,
    compute_excluded_inside,
)
from openmm_backmap.packing.springs import (
    BEFORE_PROLINE,
    HAND_CENTERS,
    PEPTIDE,
    compute_heights,
    list_inner_pairs,
)
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS, VDW_RADIUS_ANGSTROM
from openmm_backmap.residues.names import N_TYPES, RESIDUE_NAMES

__all__ = ["BeadRelaxer", "RelaxSettings"]

_ANGSTROM = 0.1


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
    peptide: list[tuple[int, int, float]]
    before_proline: list[tuple[int, int, float]]

    def __init__(self, settings: RelaxSettings | None = None) -> None:
        super().__init__()
        self.settings = RelaxSettings() if settings is None else settings
        self.peptide = list(PEPTIDE)
        self.before_proline = list(BEFORE_PROLINE)
        inner = [list_inner_pairs(t) for t in range(N_TYPES)]
        width = max(len(pairs) for pairs in inner)
        pair = torch.full((N_TYPES, width, 2), -1, dtype=torch.int64)
        stiffness = torch.zeros(N_TYPES, width)
        radius = torch.zeros(N_TYPES, N_SLOTS)
        polar = torch.zeros(N_TYPES, N_SLOTS)
        exists = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.bool)
        sulfur = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.bool)
        for t, pairs in enumerate(inner):
            for k, (a, b, weight) in enumerate(pairs):
                pair[t, k, 0], pair[t, k, 1] = a, b
                stiffness[t, k] = weight
            for name, slot in ATOM_SLOT[t].items():
                exists[t, slot] = True
                radius[t, slot] = VDW_RADIUS_ANGSTROM[name[0]] * _ANGSTROM
                polar[t, slot] = 0.01 if name[0] in "NOS" else 0.0
                sulfur[t, slot] = name == "SG"
        before = torch.zeros(N_TYPES, N_SLOTS, N_SLOTS, dtype=torch.bool)
        before[:, :, :5] = torch.tensor(compute_excluded_before())
        center = torch.full((N_TYPES, 4), -1, dtype=torch.int64)
        for name, slots in HAND_CENTERS.items():
            center[RESIDUE_NAMES.index(name)] = torch.tensor(slots)
        self.register_buffer("center", center, persistent=False)
        self.register_buffer("pair", pair, persistent=False)
        self.register_buffer("stiffness", stiffness, persistent=False)
        self.register_buffer("radius", radius, persistent=False)
        self.register_buffer("polar", polar, persistent=False)
        self.register_buffer("exists", exists, persistent=False)
        self.register_buffer("sulfur", sulfur, persistent=False)
        inside = torch.tensor(compute_excluded_inside())
        self.register_buffer("inside", inside, persistent=False)
        self.register_buffer("before", before, persistent=False)

    def list_bonds(
        self, positions: Tensor, residue_type: Tensor, chain_index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Pairs held at the distance they were built with: a, b, weight."""
        frames, residues = positions.shape[0], positions.shape[1]
        pair = self.pair[residue_type]
        known = pair[..., 0] >= 0
        row = torch.arange(residues, device=positions.device).unsqueeze(1) * 14
        a = [(pair[..., 0] + row)[known]]
        b = [(pair[..., 1] + row)[known]]
        weight = [self.stiffness[residue_type][known]]
        joined = torch.nonzero(has_next(chain_index)).squeeze(-1)
        to_proline = joined[residue_type[joined + 1] == 14]
        for first, second, stiff in self.peptide:
            a.append(joined * 14 + first)
            b.append((joined + 1) * 14 + second)
            weight.append(torch.full_like(weight[0][:1], stiff).expand(len(joined)))
        for first, second, stiff in self.before_proline:
            a.append(to_proline * 14 + first)
            b.append((to_proline + 1) * 14 + second)
            weight.append(torch.full_like(weight[0][:1], stiff).expand(len(to_proline)))
        base = torch.arange(frames, device=positions.device).unsqueeze(1)
        base = base * (residues * 14)
        return (
            (torch.cat(a).unsqueeze(0) + base).reshape(-1),
            (torch.cat(b).unsqueeze(0) + base).reshape(-1),
            torch.cat(weight).repeat(frames),
        )

    def listcompute_heights(
        self, frames: int, residue_type: Tensor, chain_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Quadruples (N, 4) of hands and peptide planes; which are hands (N,)."""
        residues = residue_type.shape[0]
        row = torch.arange(residues, device=residue_type.device).unsqueeze(1) * 14
        alpha = torch.tensor([1, 0, 2, 4], device=row.device) + row
        alpha = alpha[residue_type != 7]
        center = self.center[residue_type]
        second = (center + row)[center[:, 0] >= 0]
        joined = torch.nonzero(has_next(chain_index)).squeeze(-1).unsqueeze(1) * 14
        plane = torch.tensor([15, 1, 2, 3], device=row.device) + joined
        flat = torch.tensor([14, 1, 2, 3], device=row.device) + joined
        index = torch.cat((alpha, second, plane, flat))
        is_hand = torch.ones_like(index[:, 0], dtype=torch.bool)
        is_hand[alpha.shape[0] + second.shape[0] :] = False
        base = torch.arange(frames, device=row.device).view(-1, 1, 1) * (residues * 14)
        return (index.unsqueeze(0) + base).reshape(-1, 4), is_hand.repeat(frames)

    def list_contacts(
        self,
        positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        image: Tensor,
        skin: float = 0.06,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pairs that overlap or may come to: a, b, contact, image."""
        frames, residues = positions.shape[0], positions.shape[1]
        index = torch.arange(residues, device=positions.device)
        joined = has_next(chain_index)
        a: list[Tensor] = []
        b: list[Tensor] = []
        contact: list[Tensor] = []
        images: list[Tensor] = []
        reach = self.radius[residue_type]
        extra = self.polar[residue_type]
        for k in range(min(neighbor_index.shape[2], self.settings.n_near) + 1):
            if k == 0:  # a residue with itself
                other = index.view(1, -1).expand(frames, -1)
                shift = torch.zeros_like(positions[:, :, 0])
                keep = torch.ones_like(other, dtype=torch.bool)
            else:
                other = neighbor_index[:, :, k - 1]
                shift = image[:, :, k - 1]
                keep = other > index  # each pair once, from the residue before
            where = torch.nonzero(keep)
            f, i = where[:, 0], where[:, 1]
            j = other[f, i]
            moved = positions[f, j] + shift[f, i].unsqueeze(1)
            gap = positions[f, i].unsqueeze(2) - moved.unsqueeze(1)
            distance = torch.sqrt((gap * gap).sum(-1))
            limit = reach[i].unsqueeze(2) + reach[j].unsqueeze(1)
            limit = limit - self.settings.clash_tolerance
            polar = (extra[i].unsqueeze(2) > 0) & (extra[j].unsqueeze(1) > 0)
            limit = limit - 0.02 * polar.to(limit.dtype)
            near = (distance < limit + skin) & self.exists[residue_type[i]].unsqueeze(2)
            near = near & self.exists[residue_type[j]].unsqueeze(1)
            if k == 0:
                near = near & ~self.inside[residue_type[i]]
                near = near & (
                    torch.arange(14, device=f.device).view(1, 14, 1)
                    < torch.arange(14, device=f.device).view(1, 1, 14)
                )
            else:
                next_one = ((j == i + 1) & joined[i]).view(-1, 1, 1)
                excluded = self.before[residue_type[j]].transpose(1, 2)
                near = near & ~(excluded & next_one)
                ss = self.sulfur[residue_type[i]].unsqueeze(2)
                near = near & ~(ss & self.sulfur[residue_type[j]].unsqueeze(1))
            hit = torch.nonzero(near)
            r, s, t = hit[:, 0], hit[:, 1], hit[:, 2]
            a.append((f[r] * residues + i[r]) * 14 + s)
            b.append((f[r] * residues + j[r]) * 14 + t)
            contact.append(limit[r, s, t])
            images.append(shift[f[r], i[r]])
        return torch.cat(a), torch.cat(b), torch.cat(contact), torch.cat(images)

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
        if not is_last:
            return self.draw(
                positions,
                positions,
                target,
                share,
                residue_type,
                chain_index,
                neighbor_index,
                image,
                1,
                settings.n_first_steps,
            )
        moved = self.draw(
            positions,
            positions,
            target,
            share,
            residue_type,
            chain_index,
            neighbor_index,
            image,
            settings.n_lists,
            settings.n_steps,
        )
        # a frame goes on by itself, so that its batch does not matter
        missed = target - (moved * share.view(1, -1, 14, 1)).sum(2)
        far = torch.sqrt((missed * missed).sum(-1)) * (share.amax(1) < 0.99)
        more = torch.nonzero(far.amax(1) > settings.miss).squeeze(-1)
        if more.numel() == 0:
            return moved
        return moved.index_copy(
            0,
            more,
            self.draw(
                positions[more],
                moved[more],
                target[more],
                share,
                residue_type,
                chain_index,
                neighbor_index[more],
                image[more],
                settings.n_more_lists,
                settings.n_steps,
            ),
        )

    def draw(
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
        """Draw all residues to their beads for some steps.

        Parameters
        ----------
        built : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms as built, in nm: bonds, hands and planes to keep.
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms to start from, in nm.
        target, share, residue_type, chain_index, neighbor_index, image
            See `forward`.
        n_lists, n_steps : int
            Times the contacts are listed, and steps with each list.

        Returns
        -------
        torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm, zeros in absent slots.
        """
        settings = self.settings
        a, b, weight = self.list_bonds(positions, residue_type, chain_index)
        model = built.reshape(-1, 3)
        gap = model.index_select(0, b) - model.index_select(0, a)
        rest = torch.sqrt((gap * gap).sum(-1))
        stiff = torch.zeros_like(model[:, 0])
        stiff = stiff.index_add(0, a, weight).index_add(0, b, weight)
        four, is_hand = self.listcompute_heights(
            positions.shape[0], residue_type, chain_index
        )
        height, _normal, _lever = compute_heights(
            model.index_select(0, four.reshape(-1)).view(-1, 4, 3)
        )
        # a hand may flatten by a third; a peptide plane is held
        slack = torch.where(is_hand, 0.3 * height.abs(), torch.zeros_like(height))
        hold = torch.full_like(height, settings.height_weight)
        stiff = stiff.index_add(0, four[:, 0], hold).index_add(0, four[:, 2], hold)
        inverse = settings.rate / (stiff + 2.0 * settings.clash_weight)
        inverse = inverse.unsqueeze(-1)
        exists = self.exists[residue_type].to(built.dtype).view(1, -1, 14, 1)
        part = share.view(1, -1, 14, 1)
        # CA beads of a simulation are softly bound, and lie beside folded domains
        is_single = share.amax(1) > 0.99
        joined = has_next(chain_index)
        beside = joined & ~torch.roll(is_single, -1, 0)
        beside = beside | torch.roll(joined & ~is_single, 1, 0)
        soft = torch.where(beside, settings.beside_rate, settings.single_rate)
        rate = torch.where(is_single, soft, torch.ones_like(soft))
        rate = settings.bead_rate * rate.to(built.dtype).view(1, -1, 1)
        x = positions.reshape(-1, 3)
        velocity = torch.zeros_like(x)
        for _list in range(n_lists):
            near_a, near_b, contact, shift = self.list_contacts(
                x.view_as(positions), residue_type, chain_index, neighbor_index, image
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
        return x.view_as(positions) * exists
