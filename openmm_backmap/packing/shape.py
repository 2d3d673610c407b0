"""What holds the shape of residues while they move."""

import torch
from torch import Tensor, nn

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.geometry.vectors import compute_distance
from openmm_backmap.packing.springs import (
    BEFORE_PROLINE,
    HAND_CENTERS,
    PEPTIDE,
    list_flat_atoms,
    list_inner_pairs,
)
from openmm_backmap.residues.names import N_TYPES, RESIDUE_NAMES

__all__ = ["ShapeLists"]

CIS_BOND: float = 0.34
N_TO_C: tuple[float, float] = (0.232, 0.262)
"""Least and largest distance of N and C of a residue that is held, in nm: N-CA-C of
102 and 123 degrees. Straight CA of a simulation let it be built wider."""
N_TO_C_SLACK: float = 0.01
"""How far beyond that, in nm, counts as strained."""
PROLINE_STRAIN: float = 0.23
"""C to CD of the proline behind it in nm; 0.251 (0.003) in crystal structures."""


class ShapeLists(nn.Module):
    """Lists the springs, hands and planes of all heavy atoms."""

    n_to_c: tuple[float, float]
    peptide: list[tuple[int, int, float]]
    before_proline: list[tuple[int, int, float, float, float]]

    def __init__(self) -> None:
        super().__init__()
        self.n_to_c = N_TO_C
        self.peptide = list(PEPTIDE)
        self.before_proline = list(BEFORE_PROLINE)
        inner = [list_inner_pairs(t) for t in range(N_TYPES)]
        width = max(len(pairs) for pairs in inner)
        pair = torch.full((N_TYPES, width, 2), -1, dtype=torch.int64)
        stiffness = torch.zeros(N_TYPES, width, dtype=torch.float32)
        for t, pairs in enumerate(inner):
            for k, (a, b, weight) in enumerate(pairs):
                pair[t, k, 0], pair[t, k, 1] = a, b
                stiffness[t, k] = weight
        flat = [list_flat_atoms(t) for t in range(N_TYPES)]
        side = torch.full((N_TYPES, max(map(len, flat)), 4), -1, dtype=torch.int64)
        for t, rows in enumerate(flat):
            for k, quadruple in enumerate(rows):
                side[t, k] = torch.tensor(quadruple)
        center = torch.full((N_TYPES, 4), -1, dtype=torch.int64)
        for name, slots in HAND_CENTERS.items():
            center[RESIDUE_NAMES.index(name)] = torch.tensor(slots)
        self.register_buffer("center", center, persistent=False)
        self.register_buffer("side", side, persistent=False)
        self.register_buffer("pair", pair, persistent=False)
        self.register_buffer("stiffness", stiffness, persistent=False)

    def list_bonds(
        self,
        positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        cis_bond: float = CIS_BOND,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pairs held at a distance.

        Parameters
        ----------
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and segment.
        cis_bond : float
            CA nearer to the next one (nm) are joined by a cis peptide.

        Returns
        -------
        a, b : torch.Tensor, shape (N,), int64
            Atoms as ``14 (frame R + residue) + slot``.
        weight : torch.Tensor, shape (N,)
            Stiffness.
        rest : torch.Tensor, shape (N,)
            Distance in nm; 0 where the one they were built with is held.
        """
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
        n_built = sum([len(part) for part in a])
        rest = [torch.zeros_like(positions[:, :1, 0, 0]).expand(-1, n_built)]
        ca = positions[:, :, 1]
        gap = ca[:, to_proline + 1] - ca[:, to_proline]
        is_cis = gap.square().sum(-1) < cis_bond * cis_bond
        for first, second, stiff, trans, cis in self.before_proline:
            a.append(to_proline * 14 + first)
            b.append((to_proline + 1) * 14 + second)
            weight.append(torch.full_like(weight[0][:1], stiff).expand(len(to_proline)))
            far = torch.full_like(gap[..., 0], trans)
            rest.append(torch.where(is_cis, torch.full_like(far, cis), far))
        base = torch.arange(frames, device=positions.device).unsqueeze(1)
        base = base * (residues * 14)
        return (
            (torch.cat(a).unsqueeze(0) + base).reshape(-1),
            (torch.cat(b).unsqueeze(0) + base).reshape(-1),
            torch.cat(weight).repeat(frames),
            torch.cat(rest, 1).reshape(-1),
        )

    def find_strained(
        self,
        positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        limit: float = PROLINE_STRAIN,
        slack: float = N_TO_C_SLACK,
    ) -> Tensor:
        """Mark residues that bonds and angles strain.

        Prolines whose ring runs into the residue before, and N-CA-C that are far from
        tetrahedral.

        Parameters
        ----------
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and segment.
        limit : float
            C and CD of a proline nearer than this (nm) count.
        slack : float
            N and C of a residue this much (nm) beyond what is held count.

        Returns
        -------
        torch.Tensor, shape (F, R), bool
            Strained ones.
        """
        carbon = torch.roll(positions[:, :, 2], 1, 1)
        gap = positions[:, :, 6] - carbon
        near = gap.square().sum(-1) < limit * limit
        follows = torch.roll(has_next(chain_index), 1, 0)
        ring = near & (follows & (residue_type == 14)).unsqueeze(0)
        span = compute_distance(positions[:, :, 0], positions[:, :, 2])
        nearest, farthest = self.n_to_c
        return ring | (span < nearest - slack) | (span > farthest + slack)

    def list_heights(
        self, frames: int, residue_type: Tensor, chain_index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Quadruples (N, 4) of hands and planes; which are hands (N,)."""
        residues = residue_type.shape[0]
        row = torch.arange(residues, device=residue_type.device).unsqueeze(1) * 14
        alpha = torch.tensor([1, 0, 2, 4], device=row.device) + row
        alpha = alpha[residue_type != 7]
        center = self.center[residue_type]
        second = (center + row)[center[:, 0] >= 0]
        joined = torch.nonzero(has_next(chain_index)).squeeze(-1).unsqueeze(1) * 14
        plane = torch.tensor([15, 1, 2, 3], device=row.device) + joined
        flat = torch.tensor([14, 1, 2, 3], device=row.device) + joined
        side = self.side[residue_type]
        ring = (side + row.unsqueeze(2))[side[:, :, 0] >= 0]
        index = torch.cat((alpha, second, plane, flat, ring))
        is_hand = torch.ones_like(index[:, 0], dtype=torch.bool)
        is_hand[alpha.shape[0] + second.shape[0] :] = False
        base = torch.arange(frames, device=row.device).view(-1, 1, 1) * (residues * 14)
        return (index.unsqueeze(0) + base).reshape(-1, 4), is_hand.repeat(frames)
