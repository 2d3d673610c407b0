"""Starts are disordered, have no fault, and differ."""

import numpy as np
import pytest

from openmm_backmap.generate.peptide import _sampler, find_faults
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.metrics.ramachandran import (
    compute_phi_psi,
    compute_ramachandran_outliers,
)
from openmm_backmap.metrics.summary import FrameChecker
from openmm_backmap.residues.names import CODES

SEQUENCE = "MEYKDRWSAPQLHFTNGICV"


@pytest.fixture(scope="module")
def residue_type():
    return np.array([CODES.index(c) for c in SEQUENCE])


@pytest.fixture(scope="module")
def starts(residue_type):
    rng = np.random.default_rng(1)
    return np.stack([_sampler().sample(residue_type, rng) for _ in range(20)])


def test_starts_have_right_bonds_hands_and_planes(starts, residue_type):
    figures = FrameChecker(residue_type).check(starts)
    assert (figures["bond_fraction"] == 1.0).all()
    assert (figures["peptide_fraction"] == 1.0).all()
    assert not figures["wrong_hands"].any()
    assert not figures["twisted_omega_fraction"].any()
    assert not figures["nonproline_cis"].any()


def test_starts_are_inside_the_contours_and_in_several_basins(starts, residue_type):
    layout = HeavyAtomLayout.from_residues(residue_type)
    # the azimuths of a built chain give back the torsions it was built from
    outliers = compute_ramachandran_outliers(starts, layout)
    assert outliers.mean() < 0.02
    phi, psi, residue, *_ = compute_phi_psi(starts, layout)
    psi = np.degrees(psi)
    assert 0.1 < ((psi > -70) & (psi < 10)).mean() < 0.5
    assert 0.4 < ((psi > 90) | (psi < -150)).mean() < 0.9


def test_starts_differ_and_the_same_seed_gives_the_same(starts, residue_type):
    ends = np.linalg.norm(starts[:, -1, 1] - starts[:, 0, 1], axis=-1)
    assert ends.std() > 0.3
    again = _sampler().sample(residue_type, np.random.default_rng(1))
    assert np.array_equal(again, starts[0])


def test_each_fault_is_found_and_named(starts, residue_type):
    layout = HeavyAtomLayout.from_residues(residue_type)
    frames = np.repeat(starts[:1], 5, axis=0)
    frames[1, 3, 2] = np.nan
    frames[2, 5, 4] += 0.2
    frames[3] *= [1.0, 1.0, -1.0]
    # turn about C-N of unit 8: everything after it goes from trans to cis
    axis = frames[4, 9, 0] - frames[4, 8, 2]
    axis /= np.linalg.norm(axis)
    arm = frames[4, 9:] - frames[4, 9, 0]
    frames[4, 9:] = frames[4, 9, 0] + 2 * (arm @ axis)[..., None] * axis - arm
    names = find_faults(frames, layout)
    assert names == ["", "not finite", "torn bond", "wrong hand", "not trans"]
