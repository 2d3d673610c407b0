"""From a folder of structures and trajectories to a training set."""

import hashlib
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openmm_backmap.errors import DataError, OutputExistsError
from openmm_backmap.geometry.superpose import superpose
from openmm_backmap.paths import make_folder
from openmm_backmap.training.prepare_clusters import (
    assign_splits,
    cluster_sequences,
    find_components,
)
from openmm_backmap.training.prepare_curate import (
    CuratedEntry,
    CurationSettings,
    RejectedError,
    curate,
)
from openmm_backmap.training.prepare_read import (
    STRUCTURE_SUFFIXES,
    TRAJECTORY_SUFFIXES,
    RawStructure,
    read_structure,
    read_trajectory,
)
from openmm_backmap.training.prepare_write import describe_entry, write_training_set
from openmm_backmap.units import ANGSTROM

__all__ = ["PreparationResult", "find_sources", "prepare_folder", "prepare_sources"]

_SAME_RMSD = 0.8 * ANGSTROM


@dataclass(frozen=True)
class PreparationResult:
    """What became of the files.

    Parameters
    ----------
    n_entries : dict of str to int
        Entries by split.
    n_residues : dict of str to int
        Residues by split.
    rejected : tuple of tuple of str
        File and reason of what was left out.
    files : tuple of pathlib.Path
        Shards, ``entries.tsv`` and ``rejected.tsv``.
    """

    n_entries: dict[str, int]
    n_residues: dict[str, int]
    rejected: tuple[tuple[str, str], ...]
    files: tuple[Path, ...]


def _suffix(path: Path) -> str:
    name = path.name.lower()
    known = (*STRUCTURE_SUFFIXES, *TRAJECTORY_SUFFIXES)
    return next((s for s in sorted(known, key=len, reverse=True) if name.endswith(s)),
                "")  # fmt: skip


def find_sources(
    folder: Path | str, top: Path | str | None = None
) -> list[tuple[Path, Path | None]]:
    """Find what there is to prepare.

    Parameters
    ----------
    folder : pathlib.Path or str
        Searched with its subfolders.
    top : pathlib.Path or str or None
        Topology of all trajectories. If None, a structure file of the same
        name beside each.

    Returns
    -------
    list of tuple
        (file, topology); the topology is None for structures and for
        trajectories that have their own. A structure that serves as a topology
        is not an entry.

    Raises
    ------
    DataError
        If there is nothing, or a trajectory has no topology.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder: give one with PDB or mmCIF files")
    files = {p: _suffix(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    structures = {p: s for p, s in files.items() if s in STRUCTURE_SUFFIXES}
    used: set[Path] = set() if top is None else {Path(top).resolve()}
    found: list[tuple[Path, Path | None]] = []
    for path, suffix in files.items():
        if suffix not in TRAJECTORY_SUFFIXES:
            continue
        if suffix == ".h5":
            found.append((path, None))
            continue
        stem = path.name[: -len(suffix)]
        own = [p for p, s in structures.items()
               if p.parent == path.parent and p.name[: -len(s)] == stem]  # fmt: skip
        if top is None and not own:
            raise DataError(
                f"{path}: a trajectory needs a topology: put {stem}.pdb beside it or "
                "give --top"
            )
        found.append((path, Path(top) if top is not None else own[0]))
        used.add(found[-1][1].resolve())
    found += [(p, None) for p in structures if p.resolve() not in used]
    if not found:
        raise DataError(
            f"{folder}: no file to prepare; wanted one that ends in "
            f"{', '.join((*STRUCTURE_SUFFIXES, *TRAJECTORY_SUFFIXES))}"
        )
    return sorted(found, key=lambda item: str(item[0]))


def _keep_chains(raw: RawStructure, chains: Sequence[str]) -> RawStructure:
    """Leave out the chains that are not listed; upper and lower case are one."""
    wanted = {name.upper() for name in chains}
    rows = [r for r, name in enumerate(raw.chain_id) if name.upper() in wanted]
    if not rows:
        raise RejectedError(
            f"chains {', '.join(chains)} are listed, the file has "
            f"{', '.join(dict.fromkeys(raw.chain_id))}"
        )
    return raw.take(np.array(rows))


def _read(
    path: Path,
    top: Path | None,
    settings: CurationSettings,
    chains: Mapping[str, Sequence[str]],
) -> CuratedEntry:
    if _suffix(path) in TRAJECTORY_SUFFIXES:
        raw = read_trajectory(path, top, max_models=settings.max_models)
    else:
        raw = read_structure(path, max_models=settings.max_models)
        if chains.get(raw.pdb_id):
            raw = _keep_chains(raw, chains[raw.pdb_id])
    return curate(raw, settings)


def _superposed_rmsd(first: np.ndarray, second: np.ndarray) -> float:
    """RMSD of CA (1, R, 3) in nm after superposition."""
    mobile, target = (torch.from_numpy(x).double() for x in (first, second))
    rotation, translation = superpose(mobile, target, torch.ones_like(mobile[..., 0]))
    moved = mobile @ rotation.transpose(-1, -2) + translation.unsqueeze(-2)
    return float(((moved - target) ** 2).sum(-1).mean().sqrt())


def _find_copy(entry: CuratedEntry, others: Sequence[CuratedEntry]) -> str | None:
    """Name an earlier entry of the same sequence and conformation."""
    for other in others:
        first, second = entry.entry.positions, other.entry.positions
        if len(first) > 1 or len(second) > 1:
            continue
        if _superposed_rmsd(first[:, :, 1], second[:, :, 1]) < _SAME_RMSD:
            return other.entry.entry_id
    return None


def _unique_name(name: str, taken: set[str]) -> str:
    number, result = 1, name
    while result in taken:
        number += 1
        result = f"{name}_{number}"
    taken.add(result)
    return result


def prepare_sources(
    sources: Sequence[tuple[Path, Path | None]],
    output: Path | str,
    *,
    settings: CurationSettings | None = None,
    licence: str = "",
    splits: Mapping[str, str] | None = None,
    chains: Mapping[str, Sequence[str]] | None = None,
    fractions: tuple[float, float] = (0.05, 0.03),
    kind: str = "",
    overwrite: bool = False,
    on_file: Callable[[Path], Any] | None = None,
) -> PreparationResult:
    """Curate files, cluster and split them, and write shards and a manifest.

    Parameters
    ----------
    sources : sequence of tuple
        From `find_sources`.
    output : pathlib.Path or str
        Folder of the training set; made when missing.
    settings : CurationSettings or None
        Limits. If None, the defaults.
    licence : str
        Licence of the coordinates, for the manifest.
    splits : mapping of str to str or None
        Split of each PDB id that already has one. If None, none has; the
        others go to train then. Without any, components are divided.
    chains : mapping of str to sequence of str or None
        Chains to keep by PDB id. If None or empty, all.
    fractions : tuple of float
        Share of residues wanted in val and test.
    kind : str
        `conformer_kind` of all entries, such as "disordered". If "", "single"
        or "ensemble" by the number of models.
    overwrite : bool
        Whether a training set already there may be replaced.
    on_file : callable or None
        Called with each file that is done. If None, nothing is.

    Returns
    -------
    PreparationResult

    Raises
    ------
    DataError
        If no file is good enough, or a split is unknown.
    InputError
        If the folder cannot be written to.
    OutputExistsError
        If the folder holds shards.
    """
    settings = CurationSettings() if settings is None else settings
    output = Path(output)
    present = sorted(output.glob("*.npz"))
    if present and not overwrite:
        raise OutputExistsError(
            f"{output} holds shards already ({present[0].name}, ...): choose another "
            "folder or give --overwrite"
        )
    unknown = set((splits or {}).values()) - {"train", "val", "test"}
    if unknown:
        raise DataError(
            f"split {min(unknown)!r} is unknown: wanted train, val or test, or no "
            "splits at all"
        )
    make_folder(output)
    entries, hashes, rejected = [], [], []
    taken: set[str] = set()
    same_sequence: dict[tuple, list[CuratedEntry]] = {}
    for path, top in sources:
        try:
            entry = _read(path, top, settings, chains or {})
            key = tuple(entry.sequences())
            copy = _find_copy(entry, same_sequence.get(key, ()))
            if copy is not None:
                raise RejectedError(f"same as {copy} within 0.8 A")
        except DataError as error:
            rejected.append((path.name, " ".join(str(error).split())))
        else:
            name = _unique_name(entry.entry.entry_id, taken)
            entry = replace(entry, entry=replace(entry.entry, entry_id=name))
            same_sequence.setdefault(key, []).append(entry)
            entries.append(entry)
            hashes.append(hashlib.sha256(path.read_bytes()).hexdigest())
        if on_file is not None:
            on_file(path)
    if not entries:
        raise DataError(
            f"none of {len(rejected)} files is good enough; the first: "
            f"{rejected[0][0]}: {rejected[0][1]}"
            if rejected
            else "no file came"
        )
    table = _divide(entries, splits, fractions)
    for row, entry, digest in zip(table, entries, hashes, strict=True):
        row |= describe_entry(entry, licence, kind, digest)
    files = _replace_set(output, entries, table, rejected)
    return PreparationResult(
        {s: sum(r["split"] == s for r in table) for s in ("train", "val", "test")},
        {s: sum(r["n_res"] for r in table if r["split"] == s)
         for s in ("train", "val", "test")},
        tuple(rejected),
        tuple(files),
    )  # fmt: skip


def _replace_set(output: Path, *content: Any) -> list[Path]:
    """Write a set beside the old one, put it in its place, remove what is left."""
    with tempfile.TemporaryDirectory(prefix=".new_", dir=output) as fresh:
        written = write_training_set(Path(fresh), *content)
        files = [output / path.name for path in written]
        for old, new in zip(written, files, strict=True):
            old.replace(new)
    for path in set(output.glob("*.npz")) - set(files):
        path.unlink()
    return files


def prepare_folder(
    folder: Path | str, output: Path | str, *, top: Path | str | None = None,
    **options: Any,
) -> PreparationResult:  # fmt: skip
    """Prepare all that is in a folder.

    Parameters
    ----------
    folder : pathlib.Path or str
        Of PDB or mmCIF files, or of trajectories.
    output : pathlib.Path or str
        See `prepare_sources`.
    top : pathlib.Path or str or None
        See `find_sources`.
    **options
        See `prepare_sources`.

    Returns
    -------
    PreparationResult

    Raises
    ------
    DataError
        See `prepare_sources`.
    """
    return prepare_sources(find_sources(folder, top), output, **options)


def _divide(
    entries: Sequence[CuratedEntry],
    splits: Mapping[str, str] | None,
    fractions: tuple[float, float],
) -> list[dict[str, Any]]:
    """Clusters, component and split of each entry."""
    chains = [(k, s) for k, e in enumerate(entries) for s in e.sequences()]
    sequences = [s for _, s in chains]
    owner = np.array([k for k, _ in chains])
    cluster = {level: cluster_sequences(sequences, level / 100.0) for level in (40, 90)}
    groups = [
        [f"c{c}" for c in cluster[40][owner == k]] + [f"p{e.pdb_id or k}"]
        for k, e in enumerate(entries)
    ]
    component = find_components(groups)
    if splits:
        chosen = [splits.get(e.pdb_id, "train") for e in entries]
    else:
        sizes = np.array([len(e.entry.residue_type) for e in entries])
        names = [e.entry.entry_id for e in entries]
        chosen = assign_splits(component, sizes, names, fractions)
    return [
        {
            "split": chosen[k],
            "cluster40": cluster[40][owner == k],
            "cluster90": cluster[90][owner == k],
            "component": int(component[k]),
        }
        for k in range(len(entries))
    ]
