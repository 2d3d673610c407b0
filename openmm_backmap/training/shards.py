"""Reading the ragged npz shards of all-atom structures (format: data README)."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openmm_backmap.errors import DataError
from openmm_backmap.residues.names import N_TYPES

__all__ = ["ShardEntry", "find_shards", "read_shard", "write_shard"]

_KEYS = (
    "entry_id entry_method entry_resolution entry_n_models entry_first_res "
    "entry_first_chain chain_first_res chain_cluster40 aatype atom_mask bfactor "
    "ca_delta off_lo off_hi"
).split()

_WHOLE = (
    "entry_n_models entry_first_res entry_first_chain chain_first_res "
    "chain_cluster40 aatype atom_mask bfactor ca_delta off_lo off_hi"
).split()


@dataclass(frozen=True, eq=False)
class ShardEntry:
    """One structure or ensemble.

    Parameters
    ----------
    entry_id : str
        Name in the manifest.
    method : str
        "X-RAY", "NMR", "MD", ...
    resolution : float
        In angstrom, nan when unknown.
    residue_type : numpy.ndarray, shape (R,), int64
        0 to 19.
    chain : numpy.ndarray, shape (R,), int64
        Chain of each residue, from 0.
    cluster : numpy.ndarray, shape (C,), int64
        40 % sequence cluster of each chain.
    positions : numpy.ndarray, shape (F, R, 14, 3), float32
        Heavy atoms in nm, one frame a model; missing atoms stand on the CA.
    mask : numpy.ndarray, shape (R, 14), bool
        Known atoms.
    bfactor : numpy.ndarray, shape (R, 14), float32
        In square angstrom; 0 = not known.
    """

    entry_id: str
    method: str
    resolution: float
    residue_type: np.ndarray
    chain: np.ndarray
    cluster: np.ndarray
    positions: np.ndarray
    mask: np.ndarray
    bfactor: np.ndarray


def find_shards(folder: Path | str, split: str) -> list[Path]:
    """Shards of a split.

    Parameters
    ----------
    folder : pathlib.Path or str
        Folder with ``<split>.npz`` or ``<split>_<k>.npz``.
    split : str
        "train", "val" or "test".

    Returns
    -------
    list of pathlib.Path
        Sorted.

    Raises
    ------
    DataError
        If there is none.
    """
    folder = Path(folder)
    shards = sorted([*folder.glob(f"{split}.npz"), *folder.glob(f"{split}_*.npz")])
    if not shards:
        raise DataError(
            f"no shard of split {split!r} in {folder}: wanted {split}.npz or "
            f"{split}_0.npz, ...; check data.folder, or prepare the data first"
        )
    return shards


def _load(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
    except Exception as error:
        raise DataError(
            f"shard {path} cannot be read ({error}): it is truncated or not an "
            "npz archive; copy it again"
        ) from error
    missing = [key for key in _KEYS if key not in arrays]
    if missing:
        raise DataError(
            f"shard {path} lacks the arrays {', '.join(missing)}: it is not in "
            "the training form; prepare it again"
        )
    if len(arrays["entry_id"]) == 0:
        raise DataError(f"shard {path} has no entries: the split is empty")
    fault = _find_fault(arrays)
    if fault:
        raise DataError(f"shard {path} is inconsistent: {fault}; prepare it again")
    wrong = (arrays["aatype"] < 0) | (arrays["aatype"] >= N_TYPES)
    if wrong.any():
        bad = int(np.argmax(wrong))
        entry = int(np.searchsorted(arrays["entry_first_res"], bad, "right")) - 1
        raise DataError(
            f"shard {path}, entry {arrays['entry_id'][entry]}: residue {bad} has "
            f"the unknown type {int(arrays['aatype'][bad])}, wanted 0 to 19 in the "
            "order ARNDCQEGHILKMFPSTWYV"
        )
    return arrays


def _find_fault(z: dict[str, np.ndarray]) -> str:
    """What arrays say against one another, "" if nothing."""
    for key in _WHOLE:
        if z[key].dtype.kind not in "iu":
            return f"{key} holds {z[key].dtype}, wanted whole numbers"
    if z["entry_resolution"].dtype.kind not in "iuf":
        return f"entry_resolution holds {z['entry_resolution'].dtype}, wanted numbers"
    n, n_entries = len(z["aatype"]), len(z["entry_id"])
    n_chains = len(z["chain_first_res"]) - 1
    sizes = {
        "atom_mask": n, "chain_cluster40": n_chains, "off_hi": len(z["off_lo"]),
        "entry_method": n_entries, "entry_resolution": n_entries,
        "entry_n_models": n_entries, "entry_first_res": n_entries + 1,
        "entry_first_chain": n_entries + 1,
    }  # fmt: skip
    for key, size in sizes.items():
        if len(z[key]) != size:
            return f"{key} is of length {len(z[key])}, wanted {size}"
    ends = {"entry_first_res": n, "chain_first_res": n, "entry_first_chain": n_chains}
    for key, last in ends.items():
        first = z[key].astype(np.int64)
        if first[0] != 0 or first[-1] != last or (np.diff(first) < 0).any():
            return f"{key} does not rise from 0 to {last}, it ends at {first[-1]}"
    if not np.array_equal(
        z["chain_first_res"][z["entry_first_chain"]], z["entry_first_res"]
    ):
        return "entries and chains begin at different residues"
    if z["entry_n_models"].min() < 1:
        return "an entry has no model (entry_n_models)"
    if not (z["atom_mask"] & 2).all():
        return f"residue {int(np.argmin(z['atom_mask'] & 2))} has no CA (atom_mask)"
    return ""


def read_shard(path: Path | str) -> Iterator[ShardEntry]:
    """Iterate over the entries of a shard.

    Parameters
    ----------
    path : pathlib.Path or str
        npz file in the training form.

    Yields
    ------
    ShardEntry
        In file order.

    Raises
    ------
    DataError
        If the shard is truncated, incomplete or inconsistent.
    """
    path = Path(path)
    z = _load(path)
    high = z["off_hi"].astype(np.uint16) << 8
    offset = (high | z["off_lo"]).view(np.int16)
    bits = ((z["atom_mask"][:, None] >> np.arange(14)) & 1).astype(bool)
    at_ca = at_offset = at_b = 0
    for e, name in enumerate(z["entry_id"]):
        a, b = (int(v) for v in z["entry_first_res"][e : e + 2])
        n_models, n = int(z["entry_n_models"][e]), b - a
        mask = bits[a:b]
        placed = mask.copy()
        placed[:, 1] = False
        n_placed, n_atoms = int(placed.sum()), int(mask.sum())
        delta = z["ca_delta"][at_ca : at_ca + n_models * n]
        moved = offset[at_offset : at_offset + n_models * n_placed]
        known = z["bfactor"][at_b : at_b + n_atoms]
        if (len(delta), len(moved), len(known)) != (
            n_models * n, n_models * n_placed, n_atoms,
        ):  # fmt: skip
            raise DataError(
                f"shard {path}, entry {name}: the coordinate arrays end early; "
                "copy or prepare the shard again"
            )
        ca = np.cumsum(delta.reshape(n_models, n, 3), axis=1, dtype=np.int64)
        xyz = np.repeat(ca[:, :, None], 14, 2)
        xyz[:, placed] += moved.reshape(n_models, n_placed, 3)
        bfactor = np.zeros((n, 14), np.float32)
        bfactor[mask] = known
        at_ca += n_models * n
        at_offset += n_models * n_placed
        at_b += n_atoms
        c0, c1 = (int(v) for v in z["entry_first_chain"][e : e + 2])
        lengths = np.diff(z["chain_first_res"][c0 : c1 + 1])
        yield ShardEntry(
            entry_id=str(name),
            method=str(z["entry_method"][e]),
            resolution=float(z["entry_resolution"][e]),
            residue_type=z["aatype"][a:b].astype(np.int64),
            chain=np.repeat(np.arange(c1 - c0), lengths),
            cluster=z["chain_cluster40"][c0:c1].astype(np.int64),
            positions=(xyz * 1e-4).astype(np.float32),
            mask=mask,
            bfactor=bfactor,
        )


def write_shard(
    path: Path | str,
    entries: Sequence[ShardEntry],
    split: str,
    extra: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Write entries in the training form.

    Parameters
    ----------
    path : pathlib.Path or str
        npz file; replaced in one step.
    entries : sequence of ShardEntry
        Structures. Coordinates are kept to 0.001 A, B-factors to 1.
    split : str
        "train", "val" or "test".
    extra : mapping of str to numpy.ndarray or None
        More arrays of the form, such as resnum. If None, there are none.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    DataError
        If there is no entry, a CA is missing, or an atom stands more than
        32 A from its CA.
    """
    path = Path(path)
    if not entries:
        raise DataError(f"no entry to write to {path}: the split is empty")
    delta, low, high, bits, factor = [], [], [], [], []
    for entry in entries:
        if not entry.mask[:, 1].all():
            raise DataError(f"entry {entry.entry_id}: a residue has no CA; drop it")
        milli = np.rint(entry.positions.astype(np.float64) * 1e4).astype(np.int64)
        ca = milli[:, :, 1]
        placed = entry.mask.copy()
        placed[:, 1] = False
        offset = (milli - ca[:, :, None])[:, placed]
        if np.abs(offset).max(initial=0) > 32000:
            raise DataError(
                f"entry {entry.entry_id}: an atom is more than 32 A from its CA; "
                "mask it"
            )
        steps = np.diff(ca, axis=1, prepend=np.zeros_like(ca[:, :1]))
        delta.append(steps.reshape(-1, 3).astype(np.int32))
        word = offset.astype(np.int16).view(np.uint16).reshape(-1, 3)
        low.append((word & 255).astype(np.uint8))
        high.append((word >> 8).astype(np.uint8))
        powers = (1 << np.arange(14)).astype(np.int64)
        bits.append((entry.mask * powers).sum(1).astype(np.uint16))
        known = np.clip(np.rint(entry.bfactor[entry.mask]), 0, 255)
        factor.append(known.astype(np.uint8))
    sizes = [len(entry.residue_type) for entry in entries]
    chains = [np.bincount(entry.chain) for entry in entries]
    lengths = np.concatenate(chains)
    arrays = {
        "entry_id": np.array([entry.entry_id for entry in entries]),
        "entry_method": np.array([entry.method for entry in entries]),
        "entry_resolution": np.array([entry.resolution for entry in entries]),
        "entry_split": np.array([split] * len(entries)),
        "entry_n_models": np.array([len(entry.positions) for entry in entries]),
        "entry_first_res": np.concatenate(([0], np.cumsum(sizes))),
        "entry_first_chain": np.concatenate(([0], np.cumsum([len(c) for c in chains]))),
        "chain_first_res": np.concatenate(([0], np.cumsum(lengths))),
        "chain_cluster40": np.concatenate([entry.cluster for entry in entries]),
        "aatype": np.concatenate([entry.residue_type for entry in entries]),
        "atom_mask": np.concatenate(bits),
        "bfactor": np.concatenate(factor),
        "ca_delta": np.concatenate(delta),
        "off_lo": np.concatenate(low),
        "off_hi": np.concatenate(high),
        **(extra or {}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez_compressed(file, **arrays)
    partial.replace(path)
    return path
