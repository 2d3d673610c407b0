"""A split as flat arrays: CA, torsion targets, masks and neighbours.

Shards are decoded once into a folder of npy files, which are memory mapped in
training. Each model of an ensemble is a frame of its own.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from openmm_backmap.builder.extract import torsions_from_atoms
from openmm_backmap.errors import DataError
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.training.config import MAX_NEIGHBORS
from openmm_backmap.training.run_lock import wait_for_lock
from openmm_backmap.training.shards import ShardEntry, read_shard

__all__ = ["N_TARGETS", "PreparedSet", "load_prepared", "prepare_split"]

PREPARED_VERSION = 3
NEIGHBOR_CUTOFF = 2.0
MAX_BFACTOR = 60.0
MAX_PEPTIDE_BOND = 0.20
CA_BOND_RANGE = (0.26, 0.42)
_INFO = "info.json"
_LOCK = "prepare.lock"
N_TARGETS = 9
"""alpha, twist, psi of first, phi and O torsion of last residues, chi1 to 4."""

_ARRAYS = {
    "ca": (np.float32, (3,)),
    "residue_type": (np.uint8, ()),
    "segment": (np.int16, ()),
    "target": (np.float32, (N_TARGETS,)),
    "known": (np.bool_, (N_TARGETS,)),
    "end_known": (np.bool_, (3,)),
    "is_cis": (np.bool_, ()),
    "neighbor": (np.int16, (MAX_NEIGHBORS,)),
}


@dataclass(frozen=True, eq=False)
class PreparedSet:
    """A prepared split; P = residues x frames of all entries.

    Parameters
    ----------
    ca : numpy.ndarray, shape (P, 3), float32
        In nm.
    residue_type : numpy.ndarray, shape (P,), uint8
        0 to 19.
    segment : numpy.ndarray, shape (P,), int16
        Bonded segment within the entry.
    target : numpy.ndarray, shape (P, 9), float32
        See `N_TARGETS`, radians; the end torsions of all residues.
    known : numpy.ndarray, shape (P, 9), bool
        Targets to learn.
    end_known : numpy.ndarray, shape (P, 3), bool
        End torsions that a residue would have if its chain were cut there.
    is_cis : numpy.ndarray, shape (P,), bool
        Cis peptide to the next residue.
    neighbor : numpy.ndarray, shape (P, 24), int16
        Nearest CAs within 2 nm, counted within the frame, -1 = none.
    first : numpy.ndarray, shape (E + 1,), int64
        First row of each entry.
    n_residues, n_models : numpy.ndarray, shape (E,), int64
        Sizes of each entry.
    weight : numpy.ndarray, shape (E,), float64
        Sampling weight: cluster size to the -0.5, times resolution.
    entry_id, method : tuple of str
        Per entry.
    data_hash : str
        sha256 of the shards.
    n_extra : int
        How many of the entries, the last ones, are of further sets.
    """

    ca: np.ndarray
    residue_type: np.ndarray
    segment: np.ndarray
    target: np.ndarray
    known: np.ndarray
    end_known: np.ndarray
    is_cis: np.ndarray
    neighbor: np.ndarray
    first: np.ndarray
    n_residues: np.ndarray
    n_models: np.ndarray
    weight: np.ndarray
    entry_id: tuple[str, ...]
    method: tuple[str, ...]
    data_hash: str
    n_extra: int = 0

    @property
    def n_entries(self) -> int:
        """Number of entries."""
        return len(self.n_residues)


def split_segments(entry: ShardEntry) -> np.ndarray:
    """Bonded segment of each residue, shape (R,).

    Residues i and i + 1 are bonded when they share a chain, C-N is at most
    2.0 A and CA-CA is 2.6 to 4.2 A in the first model.
    """
    xyz = entry.positions[0]
    peptide = np.linalg.norm(xyz[1:, 0] - xyz[:-1, 2], axis=-1)
    bond = np.linalg.norm(xyz[1:, 1] - xyz[:-1, 1], axis=-1)
    bonded = entry.chain[1:] == entry.chain[:-1]
    bonded &= (peptide <= MAX_PEPTIDE_BOND) & (bond >= CA_BOND_RANGE[0])
    bonded &= bond <= CA_BOND_RANGE[1]
    return np.concatenate(([0], np.cumsum(~bonded))).astype(np.int64)


def _prepare_entry(entry: ShardEntry) -> dict[str, np.ndarray]:
    segment = split_segments(entry)
    n_frames, n = entry.positions.shape[:2]
    sure = entry.mask & (entry.bfactor < MAX_BFACTOR)
    found = torsions_from_atoms(
        torch.from_numpy(entry.positions),
        torch.from_numpy(sure),
        torch.from_numpy(entry.residue_type),
        torch.from_numpy(segment),
    )
    unit = found.unit_mask.clone()
    # a segment of two has no third CA to count azimuths from, and the
    # flagship builds cis peptides before proline only
    length = np.bincount(segment)[segment]
    unit &= torch.from_numpy(length >= 3)
    before_proline = torch.zeros(n, dtype=torch.bool)
    before_proline[:-1] = torch.from_numpy(entry.residue_type[1:] == 14)
    unit &= ~(found.is_cis & ~before_proline)
    target = torch.cat(
        (found.alpha[..., None], found.twist[..., None], found.end_torsion, found.chi),
        dim=-1,
    )
    known = torch.cat(
        (unit[..., None], unit[..., None], found.end_mask, found.chi_mask), dim=-1
    )
    known &= torch.isfinite(target)
    end_known = found.end_known & torch.isfinite(found.end_torsion)
    target = torch.nan_to_num(target, 0.0, 0.0, 0.0)
    ca = entry.positions[:, :, 1]
    k = min(MAX_NEIGHBORS, max(n - 1, 1))
    neighbor = np.full((n_frames, n, MAX_NEIGHBORS), -1, np.int16)
    neighbor[:, :, :k] = find_neighbors(ca, k, NEIGHBOR_CUTOFF)
    flat = n_frames * n
    return {
        "ca": ca.reshape(flat, 3),
        "residue_type": np.tile(entry.residue_type, n_frames),
        "segment": np.tile(segment, n_frames),
        "target": target.reshape(flat, N_TARGETS).numpy(),
        "known": known.reshape(flat, N_TARGETS).numpy(),
        "end_known": end_known.reshape(flat, 3).numpy(),
        "is_cis": (found.is_cis & unit).reshape(flat).numpy(),
        "neighbor": neighbor.reshape(flat, MAX_NEIGHBORS),
    }


def _quality_weight(method: str, resolution: float) -> float:
    """Weight of an entry by how far its side chains can be trusted."""
    if np.isfinite(resolution):
        return float(np.clip(1.0 - 0.8 * (resolution - 2.0), 0.3, 1.0))
    return 0.8 if method in ("X-RAY", "UNKNOWN") else 0.6


def hash_files(paths: Sequence[Path]) -> str:
    """sha256 over the names and the bytes of files, hex."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def prepare_split(shards: Sequence[Path], folder: Path | str) -> PreparedSet:
    """Decode shards into a folder of flat arrays, or reuse it when it fits.

    Parameters
    ----------
    shards : sequence of pathlib.Path
        npz files of one split.
    folder : pathlib.Path or str
        Where the arrays go; made when missing.

    Returns
    -------
    PreparedSet
        Memory mapped.

    Raises
    ------
    DataError
        If a shard is broken, no entry is left, or no torsion is known.
    """
    folder = Path(folder)
    data_hash = hash_files(shards)
    found = _find_prepared(folder, data_hash)
    if found is None:
        folder.mkdir(parents=True, exist_ok=True)
        # processes that train together come here: the others find what the first made
        with wait_for_lock(folder / _LOCK):
            found = _find_prepared(folder, data_hash)
            if found is None:
                found = _prepare(shards, folder, data_hash)
    return found


def _find_prepared(folder: Path, data_hash: str) -> PreparedSet | None:
    """What is prepared of the same data; None if it is cut short or not there."""
    with contextlib.suppress(DataError):
        found = load_prepared(folder)
        if found.data_hash == data_hash:
            return found
    return None


def _prepare(shards: Sequence[Path], folder: Path, data_hash: str) -> PreparedSet:
    """Decode shards into a folder, in the place of what is there."""
    parts: dict[str, list[np.ndarray]] = {key: [] for key in _ARRAYS}
    ids, methods, sizes, models, quality, clusters = [], [], [], [], [], []
    for path in shards:
        for entry in read_shard(path):
            if len(entry.residue_type) < 3:
                continue
            arrays = _prepare_entry(entry)
            for key, (dtype, shape) in _ARRAYS.items():
                parts[key].append(arrays[key].astype(dtype).reshape(-1, *shape))
            ids.append(entry.entry_id)
            methods.append(entry.method)
            sizes.append(len(entry.residue_type))
            models.append(len(entry.positions))
            quality.append(_quality_weight(entry.method, entry.resolution))
            # numbers of another folder's clusters mean other clusters
            names = [f"{path.parent}:{k}" for k in np.unique(entry.cluster)]
            clusters.append(names)
    if not ids:
        raise DataError(
            f"no entry of three residues or more in {', '.join(map(str, shards))}: "
            "the split is empty"
        )
    if not any(known.any() for known in parts["known"]):
        raise DataError(
            f"no torsion to learn in {', '.join(map(str, shards))}: atoms are missing "
            f"or their B-factors are {MAX_BFACTOR:g} and more; if the B column holds "
            "something else, set it to 0 and prepare again"
        )
    labels, counts = np.unique(np.concatenate(clusters), return_counts=True)
    size_of = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    rarity = [np.mean([size_of[c] ** -0.5 for c in cs]) for cs in clusters]
    # the information says that all arrays are there: away first, written last
    (folder / _INFO).unlink(missing_ok=True)
    for key in _ARRAYS:
        _save(folder / f"{key}.npy", np.concatenate(parts[key]))
    rows = np.asarray(sizes) * np.asarray(models)
    _save(folder / "first.npy", np.concatenate(([0], np.cumsum(rows))))
    _save(folder / "n_residues.npy", np.asarray(sizes))
    _save(folder / "n_models.npy", np.asarray(models))
    _save(folder / "weight.npy", np.asarray(rarity) * np.asarray(quality))
    info = {
        "version": PREPARED_VERSION,
        "data_hash": data_hash,
        "entry_id": ids,
        "method": methods,
    }
    fresh = folder / f"{_INFO}.{os.getpid()}.partial"
    fresh.write_text(json.dumps(info))
    os.replace(fresh, folder / _INFO)
    return load_prepared(folder)


def _save(path: Path, array: np.ndarray) -> None:
    """Write a new file; a run that has the old one mapped keeps it."""
    fresh = path.with_suffix(f".{os.getpid()}.npy")
    try:
        np.save(fresh, array)
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)


def load_prepared(folder: Path | str) -> PreparedSet:
    """Open a prepared split.

    Parameters
    ----------
    folder : pathlib.Path or str
        Written by `prepare_split`.

    Returns
    -------
    PreparedSet
        Arrays are memory mapped.

    Raises
    ------
    DataError
        If a file is missing or of another version, or the arrays are of other sizes
        than the entries say.
    """
    folder = Path(folder)
    try:
        info = json.loads((folder / _INFO).read_text())
        names = [*_ARRAYS, "first", "n_residues", "n_models", "weight"]
        arrays = {k: np.load(folder / f"{k}.npy", mmap_mode="r") for k in names}
        version = info["version"]
        found = PreparedSet(
            **arrays,
            entry_id=tuple(info["entry_id"]),
            method=tuple(info["method"]),
            data_hash=info["data_hash"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"prepared split {folder} cannot be read ({error}): delete the folder "
            "and prepare it again"
        ) from error
    if version != PREPARED_VERSION:
        raise DataError(
            f"prepared split {folder} is of version {version}, wanted "
            f"{PREPARED_VERSION}: delete the folder and prepare it again"
        )
    _check_sizes(found, folder)
    return found


def _check_sizes(found: PreparedSet, folder: Path) -> None:
    """Refuse arrays that are not of one set."""
    n = len(found.entry_id)
    rows = found.n_residues * found.n_models
    wanted = {"first": n + 1, "n_residues": n, "n_models": n, "weight": n, "method": n}
    wanted |= dict.fromkeys(_ARRAYS, int(rows.sum()))
    wrong = [k for k, size in wanted.items() if len(getattr(found, k)) != size]
    if wrong or not np.array_equal(np.diff(found.first), rows):
        raise DataError(
            f"prepared split {folder}: {wrong[0] if wrong else 'first'} is not of the "
            "size that its entries have: delete the folder and prepare it again"
        )
