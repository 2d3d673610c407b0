"""The wwPDB entries behind the shipped weights, and fetching them again."""

import csv
import gzip
import io
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openmm_backmap.errors import DataError

__all__ = [
    "MIRROR",
    "PACKAGED_LIST",
    "ListedEntry",
    "download_entries",
    "make_packaged_list",
    "read_entry_list",
]

MIRROR = "https://files.wwpdb.org/pub/pdb/data/structures/divided/mmCIF"
"""Folder of ``xy/1xyz.cif.gz``."""

PACKAGED_LIST = Path(__file__).resolve().parent.parent / "data" / "wwpdb_entries.tsv.gz"
"""wwPDB entries of the training set, their splits and chains."""

_SPLITS = ("", "train", "val", "test")
_COLUMNS = ("pdb_id", "split", "method", "resolution", "chains")


@dataclass(frozen=True)
class ListedEntry:
    """An entry of a list.

    Parameters
    ----------
    pdb_id : str
        Four characters, lower case.
    split : str
        "train", "val" or "test"; "" if the list has none.
    chains : tuple of str
        Chains that are meant; empty for all.
    """

    pdb_id: str
    split: str
    chains: tuple[str, ...] = ()


def read_entry_list(path: Path | str) -> list[ListedEntry]:
    """Read the PDB ids of a manifest or of the packaged list.

    Parameters
    ----------
    path : pathlib.Path or str
        Tab-separated with a header and a column ``pdb_id``, gzip or not; a
        columns ``split`` and ``chains`` ("all", or ids between commas) are
        kept.

    Returns
    -------
    list of ListedEntry
        Each id once; what has no four-character id is left out.

    Raises
    ------
    DataError
        If the file has no such column or no id, or an id has two splits or an
        unknown one.
    """
    path = Path(path)
    data = path.read_bytes()
    text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
    rows = csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    if "pdb_id" not in (rows.fieldnames or ()):
        raise DataError(
            f"{path}: no column pdb_id among {', '.join(rows.fieldnames or ())}"
        )
    found: dict[str, str] = {}
    chains: dict[str, set[str]] = {}
    for row in rows:
        name = (row["pdb_id"] or "").strip().lower()
        if len(name) != 4 or not name.isalnum() or not name[0].isdigit():
            continue
        split = (row.get("split") or "").strip()
        if split not in _SPLITS:
            raise DataError(
                f"{path}: {name} is in the split {split!r}, wanted train, val, test or "
                "nothing"
            )
        if found.setdefault(name, split) != split:
            raise DataError(
                f"{path}: {name} is in the splits {found[name]} and {split}; an entry "
                "belongs to one"
            )
        chains.setdefault(name, set()).update((row.get("chains") or "all").split(","))
    if not found:
        raise DataError(f"{path}: no PDB id in it")
    return [
        ListedEntry(
            name, split, () if "all" in chains[name] else tuple(sorted(chains[name]))
        )
        for name, split in found.items()
    ]


def _chain_of(entry_id: str, pdb_id: str) -> str:
    """Chain an entry's name means: ``1abc_A``, CATH's ``1abca02``, or all.

    Docking benchmarks call the partners ``_lu`` and ``_ru``: no chain is meant.
    """
    rest = entry_id.lower().removeprefix(pdb_id).split(".")[0]
    if len(rest) == 3 and rest[1:].isdigit():
        return "all" if rest[0] == "0" else rest[0].upper()
    original = entry_id[len(pdb_id) :].split(".")[0].strip("_")
    return "all" if original in ("", "lu", "ru", "chains") else original


def make_packaged_list(manifest: Path | str, output: Path | str) -> int:
    """Write the packaged list from the manifest of a training set.

    Parameters
    ----------
    manifest : pathlib.Path or str
        ``entries.tsv``.
    output : pathlib.Path or str
        The gzip file.

    Returns
    -------
    int
        Number of wwPDB entries in it.
    """
    with Path(manifest).open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    merged: dict[str, dict[str, set[str]]] = {}
    for row in rows:
        name = row["pdb_id"].lower()
        is_open = row["licence_class"] == "cc0"
        if len(name) != 4 or not name[0].isdigit() or not is_open:
            continue
        found = merged.setdefault(name, {column: set() for column in _COLUMNS[1:]})
        for column in ("split", "method", "resolution"):
            found[column].add(row[column])
        found["chains"].add(_chain_of(row["id"], name))
    lines = ["\t".join(_COLUMNS)]
    for name in sorted(merged):
        found = merged[name]
        if "all" in found["chains"]:
            found["chains"] = {"all"}
        cells = [",".join(sorted(found[column])) for column in _COLUMNS[1:]]
        lines.append("\t".join([name, *cells]))
    # no time stamp inside: the same list gives the same file
    data = gzip.compress("\n".join([*lines, ""]).encode(), mtime=0)
    Path(output).write_bytes(data)
    return len(merged)


def download_entries(
    entries: Sequence[ListedEntry],
    folder: Path | str,
    *,
    mirror: str = MIRROR,
    timeout: float = 60.0,
    on_file: Callable[[Path], Any] | None = None,
) -> tuple[list[Path], list[str]]:
    """Fetch mmCIF files; those already there are kept.

    Parameters
    ----------
    entries : sequence of ListedEntry
        What to fetch.
    folder : pathlib.Path or str
        Where the files go; made when missing.
    mirror : str
        Address of a folder of ``xy/1xyz.cif.gz``; also ``file://``.
    timeout : float
        Longest wait for an answer in seconds.
    on_file : callable or None
        Called with each file that is there. If None, nothing is.

    Returns
    -------
    files : list of pathlib.Path
        In order of the entries.
    missing : list of str
        Ids the mirror does not have (obsolete ones).

    Raises
    ------
    DataError
        If the mirror cannot be reached.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files, missing = [], []
    for entry in entries:
        path = folder / f"{entry.pdb_id}.cif.gz"
        if not path.exists():
            address = f"{mirror}/{entry.pdb_id[1:3]}/{path.name}"
            try:
                with urllib.request.urlopen(address, timeout=timeout) as answer:
                    data = answer.read()
            except urllib.error.HTTPError as error:
                if error.code not in (404, 410):
                    raise DataError(f"{address}: {error}; try again later") from error
                missing.append(entry.pdb_id)
                continue
            except (urllib.error.URLError, OSError) as error:
                reason = getattr(error, "reason", error)
                if isinstance(reason, FileNotFoundError):
                    missing.append(entry.pdb_id)
                    continue
                raise DataError(
                    f"{address} cannot be reached ({reason}): is there a network? "
                    f"Give another --mirror, or put {path.name} into {folder}"
                ) from error
            partial = path.with_name(f"{path.name}.{os.getpid()}.part")
            partial.write_bytes(data)
            partial.replace(path)
        files.append(path)
        if on_file is not None:
            on_file(path)
    return files, missing
