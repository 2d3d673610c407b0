"""Sequences that cover residue types and their neighbourhoods evenly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from openmm_backmap.errors import InputError
from openmm_backmap.residues.names import CODES, N_TYPES

__all__ = ["PairCoverage", "design_sequences", "measure_coverage"]

# Percent of each type in disordered regions, in the order ARNDCQEGHILKMFPSTWYV;
# near those of DisProt: Vacic et al., BMC Bioinformatics 8, 211 (2007).
_DISORDERED = np.array(
    [8.1, 4.8, 3.8, 5.8, 0.8, 5.3, 9.9, 7.4, 1.9, 3.2, 6.2, 7.9, 1.9, 2.4, 8.1, 8.3,
     5.6, 0.7, 2.1, 5.8]
)  # fmt: skip
_N_CANDIDATES = 4  # drawn for each residue of a disordered composition
_PERIOD = 10  # sequences in which a given share is disordered


@dataclass(frozen=True, eq=False)
class PairCoverage:
    """How often each residue type and ordered pair occurs.

    Parameters
    ----------
    types : numpy.ndarray, shape (20,), int64
        Residues of each type.
    next_pairs : numpy.ndarray, shape (20, 20), int64
        Pairs (i, i + 1).
    second_pairs : numpy.ndarray, shape (20, 20), int64
        Pairs (i, i + 2).
    """

    types: np.ndarray
    next_pairs: np.ndarray
    second_pairs: np.ndarray

    def describe(self) -> str:
        """Say in one line what is covered."""
        return (
            f"{self.types.sum()} residues, {self.types.min()} to {self.types.max()} "
            f"of a type; pairs (i, i+1): {(self.next_pairs > 0).sum()} of 400, "
            f"{self.next_pairs.min()} to {self.next_pairs.max()} times; (i, i+2): "
            f"{(self.second_pairs > 0).sum()} of 400, {self.second_pairs.min()} to "
            f"{self.second_pairs.max()} times"
        )


def measure_coverage(sequences: Sequence[str]) -> PairCoverage:
    """Count types and pairs.

    Parameters
    ----------
    sequences : sequence of str
        One-letter codes.

    Returns
    -------
    PairCoverage
        Over all sequences; pairs do not reach from one to the next.
    """
    types = np.zeros(N_TYPES, np.int64)
    first = np.zeros((N_TYPES, N_TYPES), np.int64)
    second = np.zeros_like(first)
    for sequence in sequences:
        code = np.array([CODES.index(letter) for letter in sequence])
        np.add.at(types, code, 1)
        np.add.at(first, (code[:-1], code[1:]), 1)
        np.add.at(second, (code[:-2], code[2:]), 1)
    return PairCoverage(types, first, second)


def design_sequences(
    n_sequences: int,
    seed: int = 0,
    *,
    min_length: int = 8,
    max_length: int = 24,
    disordered_share: float = 0.3,
) -> list[str]:
    """Design sequences residue by residue, the rarest neighbourhood first.

    The list of a smaller number is the beginning of that of a larger one.

    Parameters
    ----------
    n_sequences : int
        How many.
    seed : int
        Of lengths and of choices between equals.
    min_length, max_length : int
        Residues of a sequence, uniformly distributed.
    disordered_share : float
        Share of the sequences with the composition of disordered regions.

    Returns
    -------
    list of str
        One-letter codes.

    Raises
    ------
    InputError
        If a number is out of range.
    """
    if n_sequences < 1 or not 3 <= min_length <= max_length:
        raise InputError(
            f"n_sequences={n_sequences}, lengths {min_length} to {max_length}: give "
            "at least one sequence of 3 residues or more"
        )
    if not 0.0 <= disordered_share <= 1.0:
        raise InputError(f"disordered_share={disordered_share}: give 0 to 1")
    rng = np.random.default_rng([seed, 20])
    # both kinds count for themselves, or the even part would make up for the other
    type_counts = np.zeros((2, N_TYPES))
    pair_counts = np.zeros((2, 2, N_TYPES, N_TYPES))
    weight = _DISORDERED / _DISORDERED.sum()
    sequences = []
    for number in range(n_sequences):
        length = int(rng.integers(min_length, max_length + 1))
        is_disordered = number % _PERIOD < round(disordered_share * _PERIOD)
        types = type_counts[int(is_disordered)]
        first, second = pair_counts[int(is_disordered)]
        code: list[int] = []
        for i in range(length):
            # counts of what each of the 20 would add; fractions break ties
            score = types / 100.0 + rng.random(N_TYPES) / 100.0
            if i > 0:
                score = score + first[code[-1]]
            if i > 1:
                score = score + 0.5 * second[code[-2]]
            if is_disordered:
                drawn = rng.choice(N_TYPES, _N_CANDIDATES, p=weight)
                chosen = int(drawn[np.argmin(score[drawn])])
            else:
                chosen = int(np.argmin(score))
            types[chosen] += 1
            if i > 0:
                first[code[-1], chosen] += 1
            if i > 1:
                second[code[-2], chosen] += 1
            code.append(chosen)
        sequences.append("".join(CODES[k] for k in code))
    return sequences
