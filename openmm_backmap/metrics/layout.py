"""Which atoms the checks look at: index arrays made once for a topology."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array

from openmm_backmap.errors import InputError
from openmm_backmap.residues.atoms import (
    ATOM_SLOT,
    BONDS,
    N_SLOTS,
    RINGS,
    SLOT_NAMES,
    VDW_RADIUS_ANGSTROM,
)
from openmm_backmap.residues.bond_lengths import (
    BOND_LENGTH_ANGSTROM,
    PEPTIDE_LENGTH_ANGSTROM,
    PEPTIDE_LENGTH_PROLINE_ANGSTROM,
)
from openmm_backmap.residues.names import CODES, N_TYPES
from openmm_backmap.units import to_nanometer

__all__ = ["HeavyAtomLayout", "find_near_pairs", "flatten_atoms"]

_CYSTEINE, _PROLINE = CODES.index("C"), CODES.index("P")


def flatten_atoms(positions: np.ndarray) -> np.ndarray:
    """View slots as one axis of atoms.

    Parameters
    ----------
    positions : numpy.ndarray or torch.Tensor, shape (F, R, 14, 3)
        Heavy atoms in nm.

    Returns
    -------
    numpy.ndarray, shape (F, R * 14, 3)
        The same numbers; slot k of residue r is atom ``14 * r + k``.

    Raises
    ------
    InputError
        If the shape is another one.
    """
    positions = np.asarray(positions)
    if positions.ndim != 4 or positions.shape[2:] != (N_SLOTS, 3):
        raise InputError(
            f"heavy atom positions have shape {positions.shape}; wanted "
            "(frames, residues, 14, 3): add the frame axis to a single frame"
        )
    return positions.reshape(len(positions), -1, 3)


def find_near_pairs(bonds: np.ndarray, n_atoms: int) -> np.ndarray:
    """Find the pairs of atoms within three bonds of each other.

    Parameters
    ----------
    bonds : numpy.ndarray, shape (n, 2)
        Atoms of each bond.
    n_atoms : int
        Number of atoms N.

    Returns
    -------
    numpy.ndarray, shape (P,), int64
        Codes ``i * N + j``, i < j, sorted.
    """
    ones = np.ones(len(bonds), np.int32)
    half = csr_array((ones, (bonds[:, 0], bonds[:, 1])), shape=(n_atoms, n_atoms))
    one = half + half.T
    two = one @ one
    i, j = (one + two + two @ one).nonzero()
    keep = i < j
    return np.unique(i[keep].astype(np.int64) * n_atoms + j[keep])


def _default_mask(residue_type: np.ndarray) -> np.ndarray:
    slots = np.array([len(names) for names in SLOT_NAMES])
    return np.arange(N_SLOTS) < slots[residue_type][:, None]


@dataclass(frozen=True, eq=False)
class HeavyAtomLayout:
    """Index arrays over the heavy-atom slots of a chain or of many chains.

    Atoms are numbered ``14 * residue + slot``; a slot that is empty or masked
    is in none of the arrays. Build one with `from_residues` and give it to
    each check.

    Parameters
    ----------
    residue_type : numpy.ndarray, shape (R,), int64
        0 to 19.
    chain_index : numpy.ndarray, shape (R,), int64
        Bonded segment of each residue.
    mask : numpy.ndarray, shape (R, 14), bool
        Atoms that are there.
    near_index : numpy.ndarray, shape (R,), int64
        Segment of each residue within which bonds excuse atoms from clashes.
    """

    residue_type: np.ndarray
    chain_index: np.ndarray
    mask: np.ndarray
    near_index: np.ndarray

    @classmethod
    def from_residues(
        cls,
        residue_type: np.ndarray,
        chain_index: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        near_index: np.ndarray | None = None,
    ) -> "HeavyAtomLayout":
        """Make a layout from what a topology says.

        Parameters
        ----------
        residue_type : numpy.ndarray, shape (R,)
            0 to 19.
        chain_index : numpy.ndarray or None, shape (R,)
            Bonded segment of each residue. If None, there is one.
        mask : numpy.ndarray or None, shape (R, 14)
            Atoms that are there. If None, all heavy atoms of each residue.
        near_index : numpy.ndarray or None, shape (R,)
            Segment of each residue within which bonds excuse atoms from
            clashes: also residues that a model was told to bond. If None,
            `chain_index`.

        Returns
        -------
        HeavyAtomLayout
            Index arrays are made on first use.
        """
        residue_type = np.asarray(residue_type, np.int64)
        if chain_index is None:
            chain_index = np.zeros(len(residue_type), np.int64)
        chain_index = np.asarray(chain_index, np.int64)
        near_index = chain_index if near_index is None else near_index
        full = _default_mask(residue_type)
        mask = full if mask is None else np.asarray(mask, bool) & full
        return cls(residue_type, chain_index, mask, np.asarray(near_index, np.int64))

    def restrict(self, mask: np.ndarray) -> "HeavyAtomLayout":
        """Leave atoms out.

        Parameters
        ----------
        mask : numpy.ndarray, shape (R, 14) or broadcastable to it, bool
            Atoms that may stay.

        Returns
        -------
        HeavyAtomLayout
            The same residues with fewer atoms.
        """
        return replace(self, mask=self.mask & mask)

    @property
    def n_residues(self) -> int:
        """Number of residues."""
        return len(self.residue_type)

    @cached_property
    def atoms(self) -> np.ndarray:
        """Atoms that are there, shape (N,)."""
        return np.flatnonzero(self.mask)

    @cached_property
    def elements(self) -> np.ndarray:
        """Element letter of each of the R * 14 slots, "" where empty."""
        table = np.array(
            [[*(n[0] for n in names), *[""] * (N_SLOTS - len(names))]
             for names in SLOT_NAMES]
        )  # fmt: skip
        return table[self.residue_type].reshape(-1)

    @cached_property
    def radius(self) -> np.ndarray:
        """Van der Waals radius of each of the R * 14 slots in nm, 0 if empty."""
        radius = np.zeros(len(self.elements))
        for element, value in VDW_RADIUS_ANGSTROM.items():
            radius[self.elements == element] = to_nanometer(value)
        return radius

    @cached_property
    def linked(self) -> np.ndarray:
        """Residues i that are bonded to i + 1, shape (P,)."""
        return np.flatnonzero(self.chain_index[1:] == self.chain_index[:-1])

    @cached_property
    def bonds(self) -> tuple[np.ndarray, np.ndarray]:
        """Bonds inside residues: atoms (n, 2) and reference length (n,) nm."""
        atoms, lengths = [], []
        for kind in range(N_TYPES):
            residues = np.flatnonzero(self.residue_type == kind)
            slots = np.array(
                [[ATOM_SLOT[kind][a], ATOM_SLOT[kind][b]] for a, b in BONDS[kind]]
            )
            length = to_nanometer(np.array(BOND_LENGTH_ANGSTROM[kind]))
            atoms.append((residues[:, None, None] * N_SLOTS + slots).reshape(-1, 2))
            lengths.append(np.tile(length, len(residues)))
        return self._present(np.concatenate(atoms), np.concatenate(lengths))

    @cached_property
    def peptides(self) -> tuple[np.ndarray, np.ndarray]:
        """Peptide bonds C(i)-N(i+1): atoms (n, 2) and length (n,) nm."""
        i = self.linked
        atoms = np.stack([i * N_SLOTS + 2, (i + 1) * N_SLOTS], axis=1)
        length = np.where(
            self.residue_type[i + 1] == _PROLINE,
            PEPTIDE_LENGTH_PROLINE_ANGSTROM,
            PEPTIDE_LENGTH_ANGSTROM,
        )
        return self._present(atoms, to_nanometer(length))

    @cached_property
    def all_bonds(self) -> np.ndarray:
        """Bonds inside residues and peptide bonds, atoms (n, 2)."""
        return np.concatenate([self.bonds[0], self.peptides[0]])

    @cached_property
    def near_pairs(self) -> np.ndarray:
        """Codes ``i * 14 R + j``, i < j, of atoms within three bonds, sorted.

        The bonds are those inside residues and between residues of one
        `near_index`, also those of atoms that are masked: what lies behind such
        an atom is bonded all the same.
        """
        whole = replace(self, mask=_default_mask(self.residue_type))
        i = np.flatnonzero(self.near_index[1:] == self.near_index[:-1])
        links = np.stack([i * N_SLOTS + 2, (i + 1) * N_SLOTS], axis=1)
        bonds = np.concatenate([whole.bonds[0], links])
        codes = find_near_pairs(bonds, N_SLOTS * self.n_residues)
        pairs = np.stack(np.divmod(codes, N_SLOTS * self.n_residues), axis=1)
        return codes[self._present(pairs, None)[1]]

    @cached_property
    def cysteines(self) -> np.ndarray:
        """SG, CB and CA of each cysteine, shape (K, 3); -1 where one is masked."""
        residue = np.flatnonzero(self.residue_type == _CYSTEINE)
        return self.select_atoms(residue, "SG", "CB", "CA")

    @cached_property
    def rings(self) -> tuple[np.ndarray, ...]:
        """Rings by size: atoms (n5, 5) and (n6, 6), in order round the ring."""
        rings: dict[int, list[np.ndarray]] = {5: [], 6: []}
        for kind in range(N_TYPES):
            residues = np.flatnonzero(self.residue_type == kind)
            for names in RINGS[kind]:
                slots = np.array([ATOM_SLOT[kind][name] for name in names])
                rings[len(names)].append(residues[:, None] * N_SLOTS + slots)
        return tuple(
            self._present(np.concatenate(rings[size]), None)[0] for size in (5, 6)
        )

    def select_atoms(self, residue: np.ndarray, *names: str) -> np.ndarray:
        """Find atoms by name.

        Parameters
        ----------
        residue : numpy.ndarray, shape (n,)
            Residue indices.
        *names : str
            Atom names.

        Returns
        -------
        numpy.ndarray, shape (n, len(names)), int64
            Atoms, -1 where a residue has none of that name or it is masked.
        """
        slot = np.array(
            [[slots.get(name, -1) for name in names] for slots in ATOM_SLOT]
        )[self.residue_type[residue]]
        atom = np.where(slot < 0, -1, np.asarray(residue)[:, None] * N_SLOTS + slot)
        return np.where(self.mask.reshape(-1)[atom] & (atom >= 0), atom, -1)

    def _present(
        self, atoms: np.ndarray, values: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Keep rows all of whose atoms are there."""
        keep = self.mask.reshape(-1)[atoms].all(axis=1)
        return atoms[keep], (values[keep] if values is not None else keep)
