"""Sequences: FASTA files, one-letter strings, and how they fit a topology."""

from collections.abc import Sequence
from pathlib import Path

from openmm_backmap.errors import InputError, TopologyError
from openmm_backmap.residues.names import CODES

__all__ = [
    "AWSEM_NAMES",
    "align_sequences",
    "check_awsem_names",
    "read_fasta",
    "read_sequences",
]

AWSEM_NAMES = {"IGL": "GLY", "IPR": "PRO", "NGP": ""}
"""OpenAWSEM's residue names: glycine, proline, and neither."""

_AWSEM = {"IGL": "G", "IPR": "P"}
_REPLACED = {"U": "C", "O": "K"}


def read_fasta(text: str, source: str = "FASTA") -> list[tuple[str, str]]:
    """Read the records of a FASTA text.

    Parameters
    ----------
    text : str
        The text, with one or several records.
    source : str
        Name for messages.

    Returns
    -------
    list of tuple of str
        Title and one-letter sequence of each record.

    Raises
    ------
    InputError
        If there is no record or one is empty or has a letter that is no amino
        acid.
    """
    records: list[tuple[str, list[str]]] = []
    for line in text.splitlines():
        line = line.strip()
        if line.startswith(">"):
            records.append((line[1:].strip(), []))
        elif line and not line.startswith(";"):
            if not records:
                records.append(("", []))
            records[-1][1].append(line)
    if not records:
        raise InputError(f"{source} is empty: want at least one sequence")
    return [
        (title, _check("".join(lines), f"{source}, record {title or number + 1!r}"))
        for number, (title, lines) in enumerate(records)
    ]


def _check(sequence: str, source: str) -> str:
    """Return a sequence of the twenty codes only."""
    letters = "".join(sequence.split()).rstrip("*").upper()
    letters = "".join(_REPLACED.get(letter, letter) for letter in letters)
    if not letters:
        raise InputError(f"{source} has no sequence")
    for position, letter in enumerate(letters):
        if letter not in CODES:
            raise InputError(
                f"{source}: letter {letter!r} at position {position + 1} is not one "
                f"of the twenty amino acids ({CODES})"
            )
    return letters


def read_sequences(sequence: str | Path | Sequence[str]) -> list[str]:
    """Return one-letter sequences from whatever a user calls a sequence.

    Parameters
    ----------
    sequence : str or Path or sequence of str
        The path of a FASTA file, the text of one, a one-letter sequence (chains
        may be separated by ":"), or a list of sequences.

    Returns
    -------
    list of str
        One sequence a chain.

    Raises
    ------
    InputError
        If the file is missing or a letter is no amino acid.
    """
    if isinstance(sequence, str):
        if sequence.lstrip().startswith(">"):
            return [letters for _, letters in read_fasta(sequence)]
        if "." not in sequence and "/" not in sequence:
            parts = sequence.split(":")
            return [_check(part, f"sequence {n + 1}") for n, part in enumerate(parts)]
        sequence = Path(sequence)
    if isinstance(sequence, Path):
        if not sequence.is_file():
            raise InputError(f"sequence file {sequence} does not exist")
        text = sequence.read_text(errors="replace")
        return [letters for _, letters in read_fasta(text, str(sequence))]
    if not sequence:
        raise InputError("the list of sequences is empty")
    return [_check(part, f"sequence {n + 1}") for n, part in enumerate(sequence)]


def align_sequences(
    sequences: Sequence[str], segment_lengths: Sequence[int]
) -> tuple[str, list[int]]:
    """Lay sequences over the residues of a topology.

    Parameters
    ----------
    sequences : sequence of str
        One-letter sequences.
    segment_lengths : sequence of int
        Number of residues of each segment of the topology.

    Returns
    -------
    letters : str
        One letter for each residue.
    starts : list of int
        Residues at which a sequence starts: each also starts a segment.

    Raises
    ------
    TopologyError
        If the lengths do not fit: they must add up, or repeat over the
        segments (copies of one molecule).
    """
    n_residues = sum(segment_lengths)
    total = sum(len(letters) for letters in sequences)
    copies = 1
    if total != n_residues and total and n_residues % total == 0:
        wanted = [len(letters) for letters in sequences]
        repeats = n_residues // total
        if list(segment_lengths) == wanted * repeats:
            copies = repeats
    if total * copies != n_residues:
        lengths = ", ".join(str(len(letters)) for letters in sequences[:8])
        segments = ", ".join(str(n) for n in list(segment_lengths)[:8])
        raise TopologyError(
            f"the sequence has {total} residues ({lengths}), the topology "
            f"{n_residues} protein residues (segments of {segments}): give the "
            "sequence of exactly the residues that were simulated, one FASTA record "
            "a chain"
        )
    starts, position = [], 0
    for letters in list(sequences) * copies:
        starts.append(position)
        position += len(letters)
    return "".join(sequences) * copies, starts


def check_awsem_names(
    names: Sequence[str], letters: str, labels: Sequence[str]
) -> None:
    """Check a sequence against OpenAWSEM's names of residues.

    Parameters
    ----------
    names : sequence of str
        Residue names of the topology. IGL is glycine, IPR is proline and NGP is
        neither; other names say nothing here.
    letters : str
        One letter for each residue.
    labels : sequence of str
        Residues in words, for the message.

    Raises
    ------
    TopologyError
        If a letter contradicts a name.
    """
    for name, letter, label in zip(names, letters, labels, strict=True):
        kind = name.upper()
        if kind not in AWSEM_NAMES:
            continue
        is_right = letter not in "GP" if kind == "NGP" else letter == _AWSEM[kind]
        if not is_right:
            raise TopologyError(
                f"the sequence says {letter} where the topology has {label} (IGL is "
                "glycine, IPR proline, NGP neither): give the sequence of the chains "
                "in the order of the topology"
            )
