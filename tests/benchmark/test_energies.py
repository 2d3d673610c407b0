"""Energies above the native's: zero for itself, high for a clash."""

import numpy as np

from openmm_backmap.benchmark.energies import has_sound_energy, make_energy_meter
from openmm_backmap.benchmark.evaluate_entries import EvaluationEntry


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
