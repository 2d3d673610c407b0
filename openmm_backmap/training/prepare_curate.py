"""Curation: what of a structure is kept, and which structures are."""

from dataclasses import dataclass

import numpy as np

from openmm_backmap.errors import DataError
from openmm_backmap.geometry.pairs import find_close_pairs
from openmm_backmap.metrics.layout import HeavyAtomLayout, flatten_atoms
from openmm_backmap.metrics.omega import compute_omega
from openmm_backmap.residues.atoms import SLOT_NAMES
from openmm_backmap.residues.names import CODES
from openmm_backmap.training.prepare_read import RawStructure
from openmm_backmap.training.shards import ShardEntry
from openmm_backmap.units import ANGSTROM, DEGREE

__all__ = ["CuratedEntry", "CurationSettings", "RejectedError", "curate"]

_CYSTEINE = CODES.index("C")
_N_HEAVY = np.array([len(names) for names in SLOT_NAMES])
_LINK = 2.0 * ANGSTROM
_CA_STEP = (2.6 * ANGSTROM, 4.2 * ANGSTROM)
_DISULFIDE = 2.5 * ANGSTROM


class RejectedError(DataError):
    """A structure that is left out of the training set, and why."""


@dataclass(frozen=True)
class CurationSettings:
    """Limits of curation; angstrom, and shares from 0 to 1.

    Parameters
    ----------
    max_resolution : float
        Worst resolution, where it is known.
    min_residues, max_residues : int
        Size of an entry; whole chains are left out beyond the maximum.
    max_copies : int
        Chains of one sequence in an entry.
    max_models : int
        Models of an entry.
    max_odd_bonds : float
        Share of bonds off by more than 0.15 A.
    max_wrong_hands : float
        Share of CA that are D-like.
    max_odd_peptides : float
        Share of peptide units off by 0.15 A in C-N, or twisted by 30 to 150
        degrees.
    max_contacts : float
        Non-bonded contacts under 2.2 A per 1000 atoms.
    min_complete : float
        Share of complete side chains.
    max_side_chain_bond : float
        A side chain with a bond off by more is masked.
    """

    max_resolution: float = 3.0
    min_residues: int = 5
    max_residues: int = 1500
    max_copies: int = 4
    max_models: int = 60
    max_odd_bonds: float = 0.03
    max_wrong_hands: float = 0.02
    max_odd_peptides: float = 0.04
    max_contacts: float = 5.0
    min_complete: float = 0.6
    max_side_chain_bond: float = 0.25


@dataclass(frozen=True, eq=False)
class CuratedEntry:
    """An entry of the training set and what its arrays do not say.

    Parameters
    ----------
    entry : ShardEntry
        Cluster numbers are not set yet.
    pdb_id, source : str
        Where it comes from.
    residue_number : numpy.ndarray, shape (R,), int64
        As in the file.
    insertion_code : tuple of str
        Of each residue.
    chain_id : tuple of str
        Of each chain.
    complete_share : float
        Share of complete side chains, 0 to 1.
    note : str
        What was left out or masked.
    """

    entry: ShardEntry
    pdb_id: str
    source: str
    residue_number: np.ndarray
    insertion_code: tuple[str, ...]
    chain_id: tuple[str, ...]
    complete_share: float
    note: str

    def sequences(self) -> list[str]:
        """One-letter sequence of each chain, without its gaps."""
        letters = np.array(list(CODES))[self.entry.residue_type]
        chains = self.entry.chain
        return ["".join(letters[chains == k]) for k in range(len(self.chain_id))]


def _split_chains(raw: RawStructure) -> np.ndarray:
    """Number the chains in order of appearance, shape (R,)."""
    names = list(dict.fromkeys(raw.chain_id))
    return np.array([names.index(name) for name in raw.chain_id], np.int64)


def _choose_chains(raw: RawStructure, settings: CurationSettings) -> np.ndarray:
    """Residues of the chains that stay: few copies, not too many residues."""
    chain = _split_chains(raw)
    copies: dict[bytes, int] = {}
    kept: list[np.ndarray] = []
    total = 0
    for k in range(chain.max(initial=-1) + 1):
        rows = np.flatnonzero(chain == k)
        sequence = raw.residue_type[rows].tobytes()
        copies[sequence] = copies.get(sequence, 0) + 1
        too_many = copies[sequence] > settings.max_copies
        if len(rows) < 3 or too_many or total + len(rows) > settings.max_residues:
            continue
        total += len(rows)
        kept.append(rows)
    return np.concatenate(kept) if kept else np.zeros(0, np.int64)


def _drop_bad_models(positions: np.ndarray, linked: np.ndarray) -> np.ndarray:
    """Leave out models whose bonded CA are torn apart, as over a box edge."""
    step = np.linalg.norm(positions[:, 1:, 1] - positions[:, :-1, 1], axis=-1)
    sane = (step >= _CA_STEP[0]) & (step <= _CA_STEP[1])
    return positions[(sane | ~linked).all(axis=1)]


def _link(positions: np.ndarray, chain: np.ndarray) -> np.ndarray:
    """Say which residues are bonded to the next, in the first model; (R - 1,)."""
    peptide = np.linalg.norm(positions[0, 1:, 0] - positions[0, :-1, 2], axis=-1)
    step = np.linalg.norm(positions[0, 1:, 1] - positions[0, :-1, 1], axis=-1)
    linked = (chain[1:] == chain[:-1]) & (peptide <= _LINK)
    return linked & (step >= _CA_STEP[0]) & (step <= _CA_STEP[1])


def _bond_deviation(
    atoms: np.ndarray, bonds: np.ndarray, length: np.ndarray
) -> np.ndarray:
    distance = np.linalg.norm(atoms[bonds[:, 0]] - atoms[bonds[:, 1]], axis=-1)
    return np.abs(distance - length)


def _mask_bad_side_chains(
    positions: np.ndarray, layout: HeavyAtomLayout, limit: float
) -> np.ndarray:
    """Mask, beyond CB, side chains with a bond that is far off; (R, 14)."""
    mask = layout.mask.copy()
    bonds, length = layout.bonds
    off = _bond_deviation(flatten_atoms(positions)[0], bonds, length) > limit
    beyond = (bonds % 14 > 4).any(axis=1)
    mask[np.unique(bonds[off & beyond] // 14), 5:] = False
    return mask


def _count_contacts(positions: np.ndarray, layout: HeavyAtomLayout) -> int:
    """Count pairs under 2.2 A that no bond explains."""
    atoms = flatten_atoms(positions)[0]
    pairs = np.sort(find_close_pairs(atoms[layout.atoms], 2.2 * ANGSTROM), axis=1)
    pairs = layout.atoms[pairs]
    code = pairs[:, 0] * len(atoms) + pairs[:, 1]
    pairs = pairs[~np.isin(code, layout.near_pairs)]
    is_sulfur = (pairs % 14 == 5).all(axis=1)
    is_sulfur &= (layout.residue_type[pairs // 14] == _CYSTEINE).all(axis=1)
    return int((~is_sulfur).sum())


def _check(
    positions: np.ndarray, layout: HeavyAtomLayout, settings: CurationSettings
) -> None:
    """Refuse a structure whose first model is not sound."""
    atoms = flatten_atoms(positions)[0]
    first = positions[:1]

    def refuse(share: float, limit: float, what: str) -> None:
        if share > limit:
            raise RejectedError(f"{what}: {share:.3g}, limit {limit:g}")

    off = _bond_deviation(atoms, *layout.bonds) > 0.15 * ANGSTROM
    refuse(float(off.mean()) if len(off) else 0.0, settings.max_odd_bonds, "odd bonds")
    has_cb = np.flatnonzero(layout.mask[:, :5].all(axis=1))
    n, ca, c, cb = (first[0, has_cb, k] for k in (0, 1, 2, 4))
    volume = ((n - ca) * np.cross(c - ca, cb - ca)).sum(-1)
    wrong = float((volume <= 0.0).mean()) if len(has_cb) else 0.0
    refuse(wrong, settings.max_wrong_hands, "D-like residues")
    omega, _ = compute_omega(first, layout)
    turn = np.minimum(np.abs(omega[0]), np.pi - np.abs(omega[0]))
    odd = turn > 30.0 * DEGREE
    stretched = _bond_deviation(atoms, *layout.peptides) > 0.15 * ANGSTROM
    share = (odd.sum() + stretched.sum()) / max(len(odd), 1)
    refuse(float(share), settings.max_odd_peptides, "odd peptide units")
    contacts = 1000.0 * _count_contacts(first, layout) / max(len(layout.atoms), 1)
    refuse(contacts, settings.max_contacts, "contacts under 2.2 A per 1000 atoms")


def curate(raw: RawStructure, settings: CurationSettings | None = None) -> CuratedEntry:
    """Keep what is sound of a structure, or refuse it.

    Residues without N, CA, C or O are dropped; side chains with a bond far off
    are masked beyond CB; models torn apart at a bond are dropped. The limits
    are those of `CurationSettings`.

    Parameters
    ----------
    raw : RawStructure
        A structure as it was read.
    settings : CurationSettings or None
        Limits. If None, the defaults.

    Returns
    -------
    CuratedEntry
        Centred on the mean CA of all models.

    Raises
    ------
    RejectedError
        If the structure is not good enough; the message says why.
    """
    settings = CurationSettings() if settings is None else settings
    if raw.resolution > settings.max_resolution:
        raise RejectedError(
            f"resolution: {raw.resolution:g} A, limit {settings.max_resolution:g} A"
        )
    known = np.isfinite(raw.positions).all(axis=(0, 3))
    complete = np.flatnonzero(known[:, :4].all(axis=1))
    n_dropped = len(known) - len(complete)
    raw = raw.take(complete)
    raw = raw.take(_choose_chains(raw, settings))
    if len(raw.residue_type) < settings.min_residues:
        raise RejectedError(
            f"residues with a full backbone: {len(raw.residue_type)}, wanted "
            f"{settings.min_residues}"
        )
    chain = _split_chains(raw)
    linked = _link(raw.positions, chain)
    positions = _drop_bad_models(raw.positions, linked)
    n_torn = len(raw.positions) - len(positions)
    segment = np.concatenate(([0], np.cumsum(~linked))).astype(np.int64)
    mask = np.isfinite(positions).all(axis=(0, 3))
    layout = HeavyAtomLayout.from_residues(raw.residue_type, segment, mask)
    mask = _mask_bad_side_chains(
        positions, layout, settings.max_side_chain_bond * ANGSTROM
    )
    n_masked = int((mask.sum(1) < layout.mask.sum(1)).sum())
    share = float((mask.sum(1) == _N_HEAVY[raw.residue_type]).mean())
    if share < settings.min_complete:
        raise RejectedError(
            f"complete side chains: {share:.2f}, wanted {settings.min_complete:g}"
        )
    layout = HeavyAtomLayout.from_residues(raw.residue_type, segment, mask)
    _check(positions, layout, settings)
    centre = positions[:, :, 1].mean(axis=(0, 1))
    positions = positions - centre
    filled = np.where(mask[:, :, None], positions, positions[:, :, 1:2])
    notes = {
        "non-standard residues": raw.n_skipped,
        "incomplete residues": n_dropped,
        "masked side chains": n_masked,
        "torn models": n_torn,
    }
    return CuratedEntry(
        entry=ShardEntry(
            entry_id=raw.name,
            method=raw.method,
            resolution=raw.resolution,
            residue_type=raw.residue_type,
            chain=chain,
            cluster=np.zeros(chain.max() + 1, np.int64),
            positions=filled.astype(np.float32),
            mask=mask,
            bfactor=np.where(mask, np.clip(raw.bfactor, 0, 255), 0).astype(np.float32),
        ),
        pdb_id=raw.pdb_id,
        source=raw.source,
        residue_number=raw.residue_number,
        insertion_code=raw.insertion_code,
        chain_id=tuple(dict.fromkeys(raw.chain_id)),
        complete_share=share,
        note="; ".join(f"{n} {what}" for what, n in notes.items() if n),
    )
