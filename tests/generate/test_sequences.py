"""Designed sequences cover every neighbourhood, and the same ones every time."""

import numpy as np
import pytest

from openmm_backmap.errors import InputError
from openmm_backmap.generate.sequences import design_sequences, measure_coverage
from openmm_backmap.residues.names import CODES


def test_150_sequences_hold_every_type_and_every_pair_about_evenly():
    sequences = design_sequences(150)
    assert len(set(sequences)) == 150
    assert {len(s) for s in sequences} <= set(range(8, 25))
    coverage = measure_coverage(sequences)
    assert coverage.types.sum() == sum(map(len, sequences))
    assert coverage.types.max() < 1.5 * coverage.types.min()
    assert coverage.next_pairs.min() >= 2
    assert coverage.second_pairs.min() >= 2
    assert coverage.next_pairs.max() <= 10


def test_coverage_is_what_a_slow_count_finds():
    sequences = ["GASG", "GAG", "PP"]
    coverage = measure_coverage(sequences)
    g, a, s, p = (CODES.index(c) for c in "GASP")
    assert coverage.types[[g, a, s, p]].tolist() == [4, 2, 1, 2]
    assert coverage.next_pairs[g, a] == 2
    assert coverage.next_pairs[a, g] == 1
    assert coverage.next_pairs[p, p] == 1
    assert coverage.second_pairs[g, s] == 1
    assert coverage.second_pairs[g, g] == 1
    assert coverage.next_pairs.sum() == 3 + 2 + 1
    assert coverage.second_pairs.sum() == 2 + 1


def test_a_shorter_list_is_the_beginning_of_a_longer_one():
    assert design_sequences(20, 3) == design_sequences(60, 3)[:20]
    assert design_sequences(20, 3) != design_sequences(20, 4)


def test_the_disordered_part_has_its_composition_and_the_other_is_even():
    all_disordered = measure_coverage(design_sequences(100, disordered_share=1.0))
    even = measure_coverage(design_sequences(100, disordered_share=0.0))
    share = {
        name: c.types / c.types.sum()
        for name, c in (("even", even), ("disordered", all_disordered))
    }
    rare, common = [CODES.index(c) for c in "WC"], [CODES.index(c) for c in "EPS"]
    assert np.abs(share["even"] - 0.05).max() < 0.01
    assert (share["disordered"][rare] < share["disordered"][common].min()).all()


@pytest.mark.parametrize(
    "options",
    [{"n_sequences": 0}, {"min_length": 2}, {"min_length": 9, "max_length": 8},
     {"disordered_share": 1.5}],
)  # fmt: skip
def test_impossible_designs_are_refused(options):
    with pytest.raises(InputError):
        design_sequences(**{"n_sequences": 3, **options})
