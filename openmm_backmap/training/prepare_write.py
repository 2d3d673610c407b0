"""Writing a training set: shards, manifest, and what was left out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.training.prepare_curate import CuratedEntry
from openmm_backmap.training.shards import write_shard

__all__ = ["describe_entry", "write_training_set"]

_SHARD_ROWS = 300_000
_COLUMNS = (
    "id", "pdb_id", "split", "source", "licence_class", "licence", "method",
    "resolution", "n_res", "n_models", "n_chains", "chain_lengths", "cluster40",
    "cluster90", "component", "frac_complete_sidechains", "conformer_kind", "sha256",
    "note",
)  # fmt: skip


def describe_entry(
    item: CuratedEntry, licence: str, kind: str, digest: str
) -> dict[str, Any]:
    """Fill the columns of the manifest that the clusters do not decide.

    Parameters
    ----------
    item : CuratedEntry
        The entry.
    licence : str
        Of the coordinates; "" if it is not known.
    kind : str
        `conformer_kind`; "" for "single" or "ensemble" by the models.
    digest : str
        SHA-256 of the file.

    Returns
    -------
    dict of str to object
        By column.
    """
    entry = item.entry
    is_free = licence.upper().startswith("CC0")
    return {
        "id": entry.entry_id,
        "pdb_id": item.pdb_id,
        "source": item.source,
        "licence": licence or "unknown",
        "licence_class": "cc0" if is_free else "open" if licence else "unknown",
        "method": entry.method,
        "resolution": entry.resolution,
        "n_res": len(entry.residue_type),
        "n_models": len(entry.positions),
        "n_chains": len(item.chain_id),
        "chain_lengths": np.bincount(entry.chain),
        "frac_complete_sidechains": item.complete_share,
        "conformer_kind": kind or ("single", "ensemble")[len(entry.positions) > 1],
        "sha256": digest,
        "note": item.note,
    }


def _cell(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return ",".join(str(v) for v in value)
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3g}"
    return str(value)


def _shards(
    rows: Sequence[int], entries: Sequence[CuratedEntry]
) -> Iterator[list[int]]:
    """Divide the entries of a split into shards of a readable size."""
    shard: list[int] = []
    total = 0
    for k in rows:
        shape = entries[k].entry.positions.shape
        size = shape[0] * shape[1]
        if shard and total + size > _SHARD_ROWS:
            yield shard
            shard, total = [], 0
        shard.append(k)
        total += size
    if shard:
        yield shard


def write_training_set(
    output: Path,
    entries: Sequence[CuratedEntry],
    table: Sequence[Mapping[str, Any]],
    rejected: Sequence[tuple[str, str]],
) -> list[Path]:
    """Write shards, the manifest, and the list of what was left out.

    Parameters
    ----------
    output : pathlib.Path
        Folder; made when missing.
    entries : sequence of CuratedEntry
        What was kept.
    table : sequence of mapping
        The row of each: columns of the manifest.
    rejected : sequence of tuple of str
        File and reason.

    Returns
    -------
    list of pathlib.Path
        The files.
    """
    output.mkdir(parents=True, exist_ok=True)
    files = []
    for split in ("train", "val", "test"):
        rows = [k for k, row in enumerate(table) if row["split"] == split]
        shards = list(_shards(rows, entries))
        for number, shard in enumerate(shards):
            name = f"{split}.npz" if len(shards) == 1 else f"{split}_{number}.npz"
            chosen = [
                replace(entries[k].entry, cluster=table[k]["cluster40"]) for k in shard
            ]
            extra = _extra_arrays(
                [entries[k] for k in shard], [table[k] for k in shard]
            )
            files.append(write_shard(output / name, chosen, split, extra))
    lines = ["\t".join(_COLUMNS)]
    lines += ["\t".join(_cell(row[c]) for c in _COLUMNS) for row in table]
    files.append(output / "entries.tsv")
    files[-1].write_text("\n".join([*lines, ""]), encoding="utf-8")
    lines = ["file\treason", *("\t".join(row) for row in rejected), ""]
    files.append(output / "rejected.tsv")
    files[-1].write_text("\n".join(lines), encoding="utf-8")
    return files


def _extra_arrays(
    entries: Sequence[CuratedEntry], table: Sequence[Mapping[str, Any]]
) -> dict[str, np.ndarray]:
    """Arrays of the training form that training itself does not read."""
    icode = [ord(c) if c else 0 for e in entries for c in e.insertion_code]
    return {
        "entry_pdb": np.array([e.pdb_id for e in entries]),
        "entry_licence_class": np.array([row["licence_class"] for row in table]),
        "chain_name": np.array([c for e in entries for c in e.chain_id]),
        "chain_cluster90": np.concatenate([row["cluster90"] for row in table]),
        "resnum": np.concatenate([e.residue_number for e in entries]).astype(np.int32),
        "icode": np.array(icode, np.uint8),
    }
