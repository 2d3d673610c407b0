"""Energies above the native's: zero for itself, high for a clash."""

import numpy as np
import pytest

from openmm_backmap.benchmark.energies import has_sound_energy, make_energy_meter
from openmm_backmap.benchmark.evaluate import (
    ENERGY_FIGURE,
    EvaluationSettings,
    evaluate_models,
)
from openmm_backmap.benchmark.evaluate_entries import EvaluationEntry
from openmm_backmap.benchmark.evaluate_report import make_report, write_markdown
from openmm_backmap.benchmark.evaluate_summary import ENERGY_MEDIAN
from openmm_backmap.errors import BackmapWarning


def cut(entry, n_residues):
    source = entry.source
    rows = slice(0, n_residues)
    return EvaluationEntry(
        type(source)(**{
            **vars(source),
            "residue_type": source.residue_type[rows],
            "chain": source.chain[rows],
            "positions": source.positions[:, rows],
            "mask": source.mask[rows],
            "bfactor": source.bfactor[rows],
        }),
        "xray",
    )  # fmt: skip


def test_the_reference_has_no_energy_above_itself_and_a_clash_has(entry):
    small = cut(entry, 25)
    assert has_sound_energy(small)
    meter = make_energy_meter(small)
    moved = np.repeat(small.reference, 3, axis=0)
    # the ring of a side chain onto another residue; an atom not built
    moved[1, 3, 4:] += small.reference[0, 9, 2] - small.reference[0, 3, 4]
    moved[2, 5, 2] = np.nan
    above = meter(moved[:1]), meter(moved[1:2]), meter(moved[2:])
    assert abs(above[0][0]) < 1e-3
    assert above[1][0] > 10.0
    assert np.isnan(above[2][0])


def test_atoms_at_one_place_are_an_infinite_energy_and_count_in_the_median(
    entry, make_reference
):
    small = cut(entry, 25)

    class Coincident(make_reference):
        def predict(self, entry, ca, sample):
            found = super().predict(entry, ca, sample)
            number = len(self.seen)
            if number > 1:
                found.positions[0, 5, 2] = found.positions[0, 20, 2]
            if number > 4:
                found.positions[0, 5, 2] = np.nan
            return found

    found = {}
    for n_entries in (2, 3, 5):
        scores, native = evaluate_models(
            [Coincident(name="bad")], [small] * n_entries,
            EvaluationSettings(n_energies=n_entries),
        )  # fmt: skip
        found[n_entries] = make_report(
            scores, native, {"split": "val", "n_samples": 0}, {}
        )
    group = found[5]["models"]["bad"]["groups"]["xray"]
    assert group["mode"][ENERGY_MEDIAN] == np.inf and group["n_energies"] == 4
    assert abs(group["mode"][ENERGY_FIGURE]) < 1e-3
    text = write_markdown(found[5])
    assert "| 0.0 (1 of 5) | - |" in text.replace("-0.0", "0.0")
    assert "| inf (4 of 5) | - |" in text
    # one of two: the median lies between a number and infinity
    for n_entries in (2, 3):
        mode = found[n_entries]["models"]["bad"]["groups"]["xray"]["mode"]
        assert mode[ENERGY_MEDIAN] == np.inf


def test_an_entry_without_a_force_field_has_no_energy_and_a_reason(
    entry, make_reference
):
    """A chain of one residue; the next entry has the energy in its place."""
    small = cut(entry, 25)
    chain = np.where(np.arange(25) < 24, 0, 1)
    source = type(small.source)(**{**vars(small.source), "chain": chain})
    lonely = EvaluationEntry(source, "xray")
    assert has_sound_energy(lonely)
    with pytest.warns(BackmapWarning, match="no energy of 1ris: chain B is one"):
        scores, native = evaluate_models(
            [make_reference()], [lonely, small, small], EvaluationSettings(n_energies=1)
        )
    found = [ENERGY_FIGURE in score.mode for score in scores["reference"]]
    assert found == [False, True, False] and len(native) == 3


def test_broken_or_incomplete_references_are_not_measured(entry):
    assert has_sound_energy(entry)
    source = entry.source
    mask = source.mask.copy()
    mask[12, 4] = False
    holed = EvaluationEntry(type(source)(**{**vars(source), "mask": mask}), "xray")
    assert not has_sound_energy(holed)
    positions = source.positions.copy()
    positions[:, 50:] += np.float32(1.0)
    broken = type(source)(**{**vars(source), "positions": positions})
    assert not has_sound_energy(EvaluationEntry(broken, "xray"))
