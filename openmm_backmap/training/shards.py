"""Reading the ragged npz shards of all-atom structures (format: data README)."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openmm_backmap.errors import DataError
from openmm_backmap.residues.names import N_TYPES

__all__ = ["ShardEntry", "find_shards", "read_shard"]

_KEYS = (
    "entry_id entry_method entry_resolution entry_n_models entry_first_res "
    "entry_first_chain chain_first_res chain_cluster40 aatype atom_mask bfactor "
    "ca_delta off_lo off_hi"
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
    n = len(arrays["aatype"])
    if len(arrays["entry_id"]) == 0:
        raise DataError(f"shard {path} has no entries: the split is empty")
    if n != arrays["entry_first_res"][-1] or n != arrays["chain_first_res"][-1]:
        raise DataError(
            f"shard {path} is inconsistent: {n} residues, but the entries end at "
            f"{arrays['entry_first_res'][-1]}; copy or prepare it again"
        )
    if n and int(arrays["aatype"].max()) >= N_TYPES:
        bad = int(np.argmax(arrays["aatype"] >= N_TYPES))
        entry = int(np.searchsorted(arrays["entry_first_res"], bad, "right")) - 1
        raise DataError(
            f"shard {path}, entry {arrays['entry_id'][entry]}: residue {bad} has "
            f"the unknown type {int(arrays['aatype'][bad])}, wanted 0 to 19 in the "
            "order ARNDCQEGHILKMFPSTWYV"
        )
    return arrays


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
