"""Which entries of a split are evaluated, and how each is looked at."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from openmm_backmap.errors import DataError, InputError
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.training.prepared import split_segments
from openmm_backmap.training.shards import ShardEntry, find_shards, read_shard

__all__ = [
    "GROUPS",
    "GROUP_TITLES",
    "EvaluationEntry",
    "group_of",
    "iterate_entries",
    "read_kinds",
]

GROUPS = ("xray", "nmr", "md", "disordered")
GROUP_TITLES = {
    "xray": "X-ray, EM or unknown method",
    "nmr": "NMR",
    "md": "molecular dynamics",
    "disordered": "disordered (PED, Monte Carlo)",
}
_DISORDERED_METHODS = ("PED", "MC-ABSINTH", "MD-GEN")
MAX_CA_STEP = 0.48
"""Farthest CA in nm that the beads alone call bonded, as over gaps in
`openmm_backmap.mapping.chains`."""


def group_of(method: str, kind: str = "") -> str:
    """Say in which part of the report an entry counts.

    Parameters
    ----------
    method : str
        "X-RAY", "NMR", "MD", "PED", ...
    kind : str
        Column `conformer_kind` of the manifest; "" if it is not known.

    Returns
    -------
    str
        One of `GROUPS`.
    """
    if method in _DISORDERED_METHODS or "disorder" in kind.lower():
        return "disordered"
    return {"NMR": "nmr", "MD": "md"}.get(method, "xray")


def read_kinds(folder: Path | str) -> dict[str, str]:
    """Read the kind of each entry from the manifest beside the shards.

    Parameters
    ----------
    folder : pathlib.Path or str
        Folder of the shards.

    Returns
    -------
    dict of str to str
        Entry id -> `conformer_kind`; empty without an ``entries.tsv``.

    Raises
    ------
    DataError
        If the file has no such columns.
    """
    path = Path(folder) / "entries.tsv"
    if not path.exists():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    header = lines[0].split("\t")
    try:
        name, kind = header.index("id"), header.index("conformer_kind")
    except ValueError as error:
        raise DataError(
            f"{path}: wanted columns id and conformer_kind, found "
            f"{', '.join(header)}; prepare the data again"
        ) from error
    rows = [line.split("\t") for line in lines[1:]]
    return {row[name]: row[kind] for row in rows if len(row) > max(name, kind)}


@dataclass(frozen=True, eq=False)
class EvaluationEntry:
    """A structure or ensemble, as the model and as the metrics see it.

    Parameters
    ----------
    source : ShardEntry
        All-atom reference with the chosen frames only.
    group : str
        One of `GROUPS`.
    """

    source: ShardEntry
    group: str

    @property
    def entry_id(self) -> str:
        """Name in the manifest."""
        return self.source.entry_id

    @property
    def reference(self) -> np.ndarray:
        """Heavy atoms in nm, shape (F, R, 14, 3)."""
        return self.source.positions

    @property
    def ca(self) -> np.ndarray:
        """CA positions in nm, shape (F, R, 3)."""
        return self.source.positions[:, :, 1]

    @property
    def residue_type(self) -> np.ndarray:
        """Shape (R,), 0 to 19."""
        return self.source.residue_type

    @property
    def n_residues(self) -> int:
        """Number of residues."""
        return len(self.source.residue_type)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.source.positions)

    @cached_property
    def bead_segment(self) -> np.ndarray:
        """Segments as the beads show them, shape (R,): chain and CA step."""
        step = np.linalg.norm(np.diff(self.ca[0], axis=0), axis=-1)
        chain = self.source.chain
        split = (np.diff(chain) != 0) | (step > MAX_CA_STEP)
        return np.concatenate(([0], np.cumsum(split))).astype(np.int64)

    @cached_property
    def layout(self) -> HeavyAtomLayout:
        """Known atoms and true bonds, for the metrics.

        For clashes residues count as bonded as well where the beads say so:
        the model was told to build that bond.
        """
        true, told = split_segments(self.source), self.bead_segment
        split = (np.diff(true) != 0) & (np.diff(told) != 0)
        either = np.concatenate(([0], np.cumsum(split)))
        return HeavyAtomLayout.from_residues(
            self.residue_type, true, self.source.mask, either
        )


def _choose_frames(entry: ShardEntry, max_frames: int) -> ShardEntry:
    n = len(entry.positions)
    if n <= max_frames:
        return entry
    chosen = np.unique(np.linspace(0, n - 1, max_frames).round().astype(int))
    values = {**vars(entry), "positions": entry.positions[chosen]}
    return ShardEntry(**values)


def _order(name: str) -> str:
    """Key that puts names in an order that is random but always the same."""
    return hashlib.sha256(name.encode()).hexdigest()


def iterate_entries(
    folder: Path | str,
    split: str,
    *,
    max_entries: int | None = None,
    max_frames: int = 10,
    max_residues: int = 1500,
    groups: Sequence[str] = GROUPS,
    kinds: Mapping[str, str] | None = None,
) -> Iterator[EvaluationEntry]:
    """Iterate over the entries of a split.

    Parameters
    ----------
    folder : pathlib.Path or str
        Folder of shards.
    split : str
        "train", "val" or "test".
    max_entries : int or None
        Largest number of entries of each group; the same ones every time. If
        None, all.
    max_frames : int
        Largest number of models of an entry, evenly spaced.
    max_residues : int
        Larger entries are left out.
    groups : sequence of str
        Which of `GROUPS`.
    kinds : mapping of str to str or None
        See `read_kinds`. If None, they are read.

    Yields
    ------
    EvaluationEntry
        In file order.

    Raises
    ------
    DataError
        If a shard is missing or broken, or no entry is left.
    InputError
        If a group is unknown.
    """
    unknown = [group for group in groups if group not in GROUPS]
    if unknown:
        raise InputError(f"group {unknown[0]!r} is unknown: use {', '.join(GROUPS)}")
    kinds = read_kinds(folder) if kinds is None else kinds
    shards = find_shards(folder, split)
    candidates: dict[str, list[str]] = {group: [] for group in groups}
    for path in shards:
        with np.load(path, allow_pickle=False) as archive:
            sizes = np.diff(archive["entry_first_res"])
            names, methods = archive["entry_id"], archive["entry_method"]
        for name, method, size in zip(names, methods, sizes, strict=True):
            group = group_of(str(method), kinds.get(str(name), ""))
            if group in candidates and 3 <= size <= max_residues:
                candidates[group].append(str(name))
    chosen = {
        name: group
        for group, names in candidates.items()
        for name in sorted(names, key=_order)[:max_entries]
    }
    if not chosen:
        raise DataError(
            f"split {split!r} in {folder} has no entry of 3 to {max_residues} residues "
            f"in the groups {', '.join(groups)}: choose other groups or a larger limit"
        )
    for path in shards:
        for source in read_shard(path):
            if source.entry_id in chosen:
                yield EvaluationEntry(
                    _choose_frames(source, max_frames), chosen[source.entry_id]
                )
