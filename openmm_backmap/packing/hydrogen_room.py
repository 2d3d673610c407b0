"""Hydrogens of carbons, while only heavy atoms move.

Where the hydrogens of a carbon point decides whether it has room: two carbons 3.4 A
apart are in contact as their hydrogens lie beside one another, and too near by an
angstrom where they point at each other. Their places follow from the heavy atoms
(`residues.hydrogens`). Those of methyls turn; methyls keep away from atoms of other
residues as spheres.
"""

import torch
from torch import Tensor, nn

from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS
from openmm_backmap.residues.hydrogens import added_sites
from openmm_backmap.residues.names import N_TYPES, RESIDUE_NAMES

__all__ = ["HydrogenRoom"]

TO_HYDROGEN: float = 0.195
"""Distance in nm that hydrogens of two carbons shall have (Amber ff14SB: 0.297 nm where
they attract most, 9 kJ/mol of repulsion here)."""
TO_ELEMENT: dict[str, float] = {"C": 0.24, "N": 0.23, "O": 0.22, "S": 0.26}
"""The same of a hydrogen and a heavy atom."""
TO_METHYL: float = 0.27
"""The same of a hydrogen and the carbon of a methyl."""
METHYL_RADIUS: float = 0.18
RADIUS: dict[str, float] = {"C": 0.16, "N": 0.14, "O": 0.13, "S": 0.17}
"""Radii in nm whose sum a methyl and an atom without such a hydrogen shall keep."""


class HydrogenRoom(nn.Module):
    """Tells how far atoms must part for the hydrogens on them to have room."""

    to_hydrogen: float
    reach: float

    def __init__(self) -> None:
        super().__init__()
        beside = torch.zeros(N_TYPES, N_SLOTS, 3, dtype=torch.int64)
        n_beside = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.float32)
        along = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.float32)
        across = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.float32)
        to_heavy = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.float32)
        radius = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.float32)
        methyl = torch.zeros(N_TYPES, N_SLOTS, dtype=torch.bool)
        for t, residue in enumerate(RESIDUE_NAMES):
            slots = ATOM_SLOT[t]
            for name, slot in slots.items():
                to_heavy[t, slot] = TO_ELEMENT[name[0]]
                radius[t, slot] = RADIUS[name[0]]
            for site in added_sites(residue):
                if site.parent[0] != "C":
                    continue
                slot = slots[site.parent]
                if site.is_rotor:
                    methyl[t, slot] = True
                    to_heavy[t, slot] = TO_METHYL
                    radius[t, slot] = METHYL_RADIUS
                    continue
                for k, name in enumerate(site.neighbors):
                    beside[t, slot, k] = slots[name]
                n_beside[t, slot] = len(site.neighbors)
                along[t, slot] = site.offsets[0][0][0]
                # the second of two hydrogens is the image of the first
                across[t, slot] = site.offsets[0][0][1]
        length = torch.sqrt(along.square() + across.square())
        self.to_hydrogen = TO_HYDROGEN
        self.reach = TO_HYDROGEN + 2.0 * float(length.max())
        self.register_buffer("length", length, persistent=False)
        self.register_buffer("beside", beside, persistent=False)
        self.register_buffer("n_beside", n_beside, persistent=False)
        self.register_buffer("along", along, persistent=False)
        self.register_buffer("across", across, persistent=False)
        self.register_buffer("to_heavy", to_heavy, persistent=False)
        self.register_buffer("radius", radius, persistent=False)
        self.register_buffer("methyl", methyl, persistent=False)

    def place(
        self, atoms: Tensor, kind: Tensor, atom: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Place the hydrogens of some atoms.

        Parameters
        ----------
        atoms : torch.Tensor, shape (14 N, 3)
            Heavy atoms of N residues in nm.
        kind, atom : torch.Tensor, shape (M,), int64
            Type of its residue and number of each atom.

        Returns
        -------
        first, second : torch.Tensor, shape (M, 3)
            Both hydrogens in nm, the same place twice for a single one.
        known : torch.Tensor, shape (M,), bool
            Whether the atom has any.
        """
        slot = torch.remainder(atom, 14)
        count = self.n_beside[kind, slot]
        other = (atom - slot).unsqueeze(1) + self.beside[kind, slot]
        origin = atoms.index_select(0, atom)
        bond = atoms.index_select(0, other.reshape(-1)).view(-1, 3, 3)
        bond = bond - origin.unsqueeze(1)
        bond = bond / torch.sqrt(bond.square().sum(-1, keepdim=True) + 1e-12)
        third = bond[:, 2] * (count > 2).to(bond.dtype).unsqueeze(1)
        away = -(bond[:, 0] + bond[:, 1] + third)
        away = away / torch.sqrt(away.square().sum(-1, keepdim=True) + 1e-12)
        aside = torch.linalg.cross(bond[:, 0], bond[:, 1], dim=-1)
        aside = aside / torch.sqrt(aside.square().sum(-1, keepdim=True) + 1e-12)
        away = away * self.along[kind, slot].unsqueeze(1)
        aside = aside * self.across[kind, slot].unsqueeze(1)
        return origin + away + aside, origin + away - aside, count > 0

    def compute_shortfall(
        self, atoms: Tensor, kind_a: Tensor, kind_b: Tensor, a: Tensor, b: Tensor,
        shift: Tensor,
    ) -> Tensor:  # fmt: skip
        """Compute how much nearer than they should be the hydrogens of pairs are.

        Parameters
        ----------
        atoms : torch.Tensor, shape (14 N, 3)
            Heavy atoms in nm.
        kind_a, kind_b : torch.Tensor, shape (M,), int64
            Types of the residues of both atoms of each pair.
        a, b : torch.Tensor, shape (M,), int64
            Both atoms of each pair.
        shift : torch.Tensor, shape (M, 3)
            Of the second atom, nm.

        Returns
        -------
        torch.Tensor, shape (M,)
            In nm, of the worst of a pair's hydrogens; negative where there is room, and
            where neither atom has hydrogens. Methyls count between residues only.
        """
        a1, a2, has_a = self.place(atoms, kind_a, a)
        b1, b2, has_b = self.place(atoms, kind_b, b)
        b1, b2 = b1 + shift, b2 + shift
        at_a = atoms.index_select(0, a)
        at_b = atoms.index_select(0, b) + shift
        near = torch.minimum(square(a1 - b1), square(a1 - b2))
        near = torch.minimum(near, torch.minimum(square(a2 - b1), square(a2 - b2)))
        both = self.to_hydrogen - torch.sqrt(near)
        of_a = self.to_heavy[kind_b, torch.remainder(b, 14)] - torch.sqrt(
            torch.minimum(square(a1 - at_b), square(a2 - at_b))
        )
        of_b = self.to_heavy[kind_a, torch.remainder(a, 14)] - torch.sqrt(
            torch.minimum(square(b1 - at_a), square(b2 - at_a))
        )
        none = torch.full_like(both, -1.0)
        both = torch.where(has_a & has_b, both, none)
        of_a = torch.where(has_a, of_a, none)
        of_b = torch.where(has_b, of_b, none)
        short = torch.maximum(both, torch.maximum(of_a, of_b))
        slot_a, slot_b = torch.remainder(a, 14), torch.remainder(b, 14)
        turns = self.methyl[kind_a, slot_a] | self.methyl[kind_b, slot_b]
        turns = turns & ~has_a & ~has_b & (a - slot_a != b - slot_b)
        sphere = self.radius[kind_a, slot_a] + self.radius[kind_b, slot_b]
        sphere = sphere - torch.sqrt(square(at_a - at_b))
        return torch.where(turns, torch.maximum(short, sphere), short)


def square(vector: Tensor) -> Tensor:
    """Squared lengths of vectors (M, 3)."""
    return vector.square().sum(-1)
