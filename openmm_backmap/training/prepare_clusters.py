"""Sequence clusters and splits that share none.

Pairs of chains that share many words of three letters are aligned (BLOSUM62,
affine gaps); they are joined when enough of the alignment is identical. mmseqs2
does the same for large sets and is used where it is installed.
"""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components

from openmm_backmap.errors import DataError
from openmm_backmap.residues.names import CODES, ONE_TO_THREE

__all__ = [
    "align_identity",
    "assign_splits",
    "cluster_sequences",
    "find_components",
]

_WORD = 3
_CHUNK = 512
_WINDOW = 150
_COVERAGE = 0.5
_BAND = 15


def _cut_window(short: str, long: str) -> str:
    """Part of the longer sequence that lies opposite the shorter one.

    A short sequence aligned to all of a long one is torn into pieces that match
    by chance; the diagonal with most common words says where it belongs.
    """
    place: dict[str, list[int]] = {}
    for k in range(len(short) - _WORD + 1):
        place.setdefault(short[k : k + _WORD], []).append(k)
    diagonals = [
        k - other
        for k in range(len(long) - _WORD + 1)
        for other in place.get(long[k : k + _WORD], ())
    ]
    if not diagonals:
        return long[: len(short)]
    counts = np.bincount(np.array(diagonals) + len(short))
    near = np.convolve(counts, np.ones(_BAND), "same")
    start = int(near.argmax()) - len(short)
    return long[max(start - _BAND, 0) : start + len(short) + _BAND]


def align_identity(first: str, second: str) -> tuple[float, float]:
    """Align the shorter of two sequences with its part of the longer one.

    Parameters
    ----------
    first, second : str
        One-letter sequences.

    Returns
    -------
    identity : float
        Identical share of the aligned pairs.
    coverage : float
        Aligned pairs over the length of the shorter sequence.
    """
    import gemmi

    short, long = sorted((first, second), key=len)
    long = _cut_window(short, long)
    words = [[ONE_TO_THREE[letter] for letter in s] for s in (short, long)]
    found = gemmi.align_string_sequences(*words, [], gemmi.AlignmentScoring("b"))
    pairs = int(_count_matches(found.cigar_str()))
    identity = found.match_count / max(pairs, 1)
    return identity, pairs / max(len(short), 1)


def _count_matches(cigar: str) -> int:
    """Aligned columns of a CIGAR string, gaps not counted."""
    total, number = 0, ""
    for letter in cigar:
        if letter.isdigit():
            number += letter
            continue
        total += int(number) if letter == "M" else 0
        number = ""
    return total


def _count_words(sequences: Sequence[str]) -> csr_array:
    """Which words of three letters each sequence has; (n, 8000) of 0 and 1."""
    row, column = [], []
    for k, sequence in enumerate(sequences):
        letters = np.array([CODES.index(c) for c in sequence])
        if len(letters) < _WORD:
            continue
        words = letters[:-2] * 400 + letters[1:-1] * 20 + letters[2:]
        words = np.unique(words)
        row.append(np.full(len(words), k))
        column.append(words)
    if not row:
        return csr_array((len(sequences), 8000), dtype=np.int32)
    row, column = np.concatenate(row), np.concatenate(column)
    ones = np.ones(len(row), np.int32)
    return coo_array((ones, (row, column)), shape=(len(sequences), 8000)).tocsr()


def _candidate_pairs(sequences: Sequence[str], identity: float) -> np.ndarray:
    """Pairs that share more words than strangers of their lengths, (P, 2)."""
    length = np.array([len(s) for s in sequences])
    number = np.arange(len(sequences))
    pairs = [_list_alike(sequences, number, sequences, number, identity)]
    # all of a long sequence shares words with a short one by chance: its windows
    short = number[length <= _WINDOW]
    owner, windows = _list_windows(sequences)
    pairs.append(
        _list_alike([sequences[k] for k in short], short, windows, owner, identity)
    )
    found = np.sort(np.concatenate(pairs), axis=1)
    return np.unique(found[found[:, 0] < found[:, 1]], axis=0)


def _list_windows(sequences: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Overlapping parts of long sequences, and which sequence each is of."""
    owner, windows = [], []
    for k, sequence in enumerate(sequences):
        if len(sequence) <= _WINDOW:
            continue
        for start in range(0, len(sequence) - _WINDOW // 2, _WINDOW // 2):
            owner.append(k)
            windows.append(sequence[start : start + _WINDOW])
    return np.array(owner, np.int64), windows


def _list_alike(
    first: Sequence[str],
    first_number: np.ndarray,
    second: Sequence[str],
    second_number: np.ndarray,
    identity: float,
) -> np.ndarray:
    """Numbers of what shares more words than by chance, (P, 2)."""
    words, others = _count_words(first), _count_words(second).T
    size = np.array([len(s) for s in first])
    other_size = np.array([len(s) for s in second])
    found = [np.zeros((0, 2), np.int64)]
    for start in range(0, len(first), _CHUNK):
        shared = (words[start : start + _CHUNK] @ others).tocoo()
        i, j = shared.row + start, shared.col
        chance = size[i] * other_size[j] / 8000.0
        # related pairs share identity**3 of the words of the covered part; a
        # fifth of that, and more than strangers do by chance (2.5 sigma)
        wanted = chance + 2.5 * np.sqrt(chance)
        short = np.minimum(size[i], other_size[j])
        wanted += 0.2 * _COVERAGE * identity**3 * short
        keep = shared.data > wanted
        rows = np.stack([first_number[i[keep]], second_number[j[keep]]], axis=1)
        found.append(rows)
    return np.concatenate(found)


def _run_mmseqs(program: str, sequences: Sequence[str], identity: float) -> np.ndarray:
    """Cluster with mmseqs2; pairs (representative, member)."""
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder) / "in.fasta"
        fasta.write_text("".join(f">{k}\n{s}\n" for k, s in enumerate(sequences)))
        command = [
            program, "easy-cluster", str(fasta), f"{folder}/out", f"{folder}/tmp",
            "--min-seq-id", str(identity), "-c", str(_COVERAGE), "--cov-mode", "1",
            "-s", "7.5",
        ]  # fmt: skip
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
            text = (Path(folder) / "out_cluster.tsv").read_text()
        except (OSError, subprocess.CalledProcessError) as error:
            raise DataError(
                f"mmseqs failed ({error}): mend it, or take it off the PATH to use "
                "the built-in clustering"
            ) from error
    return np.array([line.split() for line in text.splitlines()], np.int64)


def cluster_sequences(
    sequences: Sequence[str], identity: float, *, mmseqs: bool | None = None
) -> np.ndarray:
    """Number the clusters of sequences, by single linkage.

    Parameters
    ----------
    sequences : sequence of str
        One-letter sequences.
    identity : float
        Share of identical pairs from which two sequences are joined, if the
        alignment covers half of the shorter one.
    mmseqs : bool or None
        Whether mmseqs2 does it. If None, it does where it is installed.

    Returns
    -------
    numpy.ndarray, shape (n,), int64
        Cluster of each sequence, from 0, in order of appearance.

    Raises
    ------
    DataError
        If mmseqs was asked for and fails.
    """
    program = shutil.which("mmseqs")
    distinct = list(dict.fromkeys(sequences))
    if mmseqs or (mmseqs is None and program is not None):
        if program is None:
            raise DataError("mmseqs is not on the PATH: install mmseqs2")
        pairs = _run_mmseqs(program, distinct, identity)
    else:
        pairs = np.array(
            [
                (i, j)
                for i, j in _candidate_pairs(distinct, identity).tolist()
                if _is_related(distinct[i], distinct[j], identity)
            ],
            np.int64,
        ).reshape(-1, 2)
    label = _join(pairs, len(distinct))
    place = {sequence: k for k, sequence in enumerate(distinct)}
    return label[[place[sequence] for sequence in sequences]]


def _is_related(first: str, second: str, identity: float) -> bool:
    """Enough identical pairs over enough of the shorter sequence.

    Short alignments need more identity: the curve above which sequences share
    their fold, Rost, Protein Eng. 12, 85 (1999), eq. 2.
    """
    found, coverage = align_identity(first, second)
    length = coverage * min(len(first), len(second))
    if coverage < _COVERAGE or length < 1.0:
        return False
    curve = 4.8 * length ** (-0.32 * (1.0 + np.exp(-length / 1000.0)))
    return found >= max(identity, min(curve, 1.0))


def _join(pairs: np.ndarray, n: int) -> np.ndarray:
    """Connected components, numbered in order of appearance."""
    ones = np.ones(len(pairs))
    # csgraph of scipy before 1.11.3 gives all nodes of 64-bit indices one label
    row, column = pairs.T.astype(np.int32)
    graph = coo_array((ones, (row, column)), shape=(n, n))
    _, label = connected_components(graph, directed=False)
    _, first, place = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[place].astype(np.int64)


def find_components(groups: Sequence[Sequence[object]]) -> np.ndarray:
    """Join the entries that have something in common, directly or over others.

    Parameters
    ----------
    groups : sequence of sequence
        What each entry belongs to: clusters of its chains, its PDB id.

    Returns
    -------
    numpy.ndarray, shape (n,), int64
        Component of each entry, from 0.
    """
    names = {name: k for k, name in enumerate({g for group in groups for g in group})}
    pairs = [(k, len(groups) + names[g]) for k, group in enumerate(groups)
             for g in group]  # fmt: skip
    n = len(groups) + len(names)
    return _join(np.array(pairs, np.int64).reshape(-1, 2), n)[: len(groups)]


def assign_splits(
    component: np.ndarray,
    n_residues: np.ndarray,
    entry_id: Sequence[str],
    fractions: tuple[float, float] = (0.05, 0.03),
) -> list[str]:
    """Put whole components into train, val or test.

    The order of components is random but depends on the names of their entries
    only; components of more than half of a split's share go to train.

    Parameters
    ----------
    component : numpy.ndarray, shape (n,)
        From `find_components`.
    n_residues : numpy.ndarray, shape (n,)
        Size of each entry.
    entry_id : sequence of str
        Names.
    fractions : tuple of float
        Residues wanted in val and in test, of all.

    Returns
    -------
    list of str
        "train", "val" or "test" for each entry.
    """
    size = np.bincount(component, n_residues)
    name = [""] * len(size)
    for k, entry in zip(component, entry_id, strict=True):
        name[k] = min(name[k] or entry, entry)
    order = sorted(
        range(len(size)), key=lambda k: hashlib.sha256(name[k].encode()).hexdigest()
    )
    room = {
        split: share * size.sum()
        for split, share in zip(("val", "test"), fractions, strict=True)
    }
    most = {split: 0.5 * r for split, r in room.items()}
    chosen = {}
    for k in order:
        fits = [s for s in room if size[k] <= min(room[s], max(most[s], 0.0))]
        split = fits[0] if fits else "train"
        if split != "train":
            room[split] -= size[k]
        chosen[k] = split
    return [chosen[k] for k in component.tolist()]
