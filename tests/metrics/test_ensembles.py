"""Populations, divergence and diversity against slow twins and limits."""

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from openmm_backmap.errors import InputError
from openmm_backmap.metrics import HeavyAtomLayout, compute_chi
from openmm_backmap.metrics.diversity import compute_diversity
from openmm_backmap.metrics.populations import (
    compute_chi_jsd,
    compute_chi_populations,
    compute_jensen_shannon,
    pool_by_type,
)
from openmm_backmap.residues.names import CODES


@pytest.fixture
def layout(protein):
    return HeavyAtomLayout.from_residues(
        protein.residue_type, protein.chain_index, protein.mask
    )


@pytest.fixture
def ensemble(protein, rng):
    """Give six frames whose atoms are shaken enough to change some rotamers."""
    shape = (6, *protein.positions.shape[1:])
    return protein.positions + rng.normal(0.0, 0.05, shape).astype(np.float32)


def test_jensen_shannon_equals_scipy(rng):
    p, q = rng.random((2, 7, 3))
    wanted = jensenshannon(p, q, base=2, axis=1) ** 2
    assert np.allclose(compute_jensen_shannon(p, q), wanted, atol=1e-12)


def test_equal_distributions_have_no_divergence_and_disjoint_ones_a_bit():
    p = np.array([[3.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert compute_jensen_shannon(p, 5 * p).tolist() == [0.0, 0.0]
    assert compute_jensen_shannon(p, np.array([0.0, 2.0, 0.0])).tolist() == [1.0, 1.0]
    assert np.isnan(compute_jensen_shannon(p, np.zeros(3))).all()


def test_populations_equal_counting_one_by_one(ensemble, layout):
    counts, residue = compute_chi_populations(ensemble, layout, chi=2)
    chi, mask = compute_chi(ensemble, layout)
    for row, r in zip(counts, residue, strict=True):
        letter = CODES[layout.residue_type[r]]
        period = 180.0 if letter in "DFY" else 360.0
        wanted = np.zeros(3)
        for angle in np.degrees(chi[:, r, 1]):
            wanted[int(angle % period // (period / 3))] += 1
        assert row.tolist() == wanted.tolist()
    assert set(residue) == {
        r for r in range(layout.n_residues)
        if mask[r, 1] and CODES[layout.residue_type[r]] != "P"
    }  # fmt: skip
    pooled = pool_by_type(counts, residue, layout)
    assert pooled.sum() == counts.sum()
    assert pooled[CODES.index("P")].sum() == 0


def test_frames_in_another_order_have_the_same_populations(ensemble, layout):
    divergence = compute_chi_jsd(ensemble[[3, 0, 5, 1, 2, 4]], ensemble, layout)
    assert np.abs(divergence).max() < 1e-12
    assert compute_chi_jsd(ensemble[:1], ensemble, layout).mean() > 0.01


def test_a_model_that_never_varies_has_diversity_one(protein, ensemble, layout):
    samples = np.repeat(ensemble[None, :2], 3, axis=0)
    reference = np.repeat(protein.positions, 2, axis=0)
    assert compute_diversity(samples, reference, layout).tolist() == [1.0, 1.0]


def test_samples_of_the_references_distribution_have_diversity_zero(
    protein, rng, layout
):
    # atoms of one Gaussian: pair and reference distances are alike
    def draw(*shape):
        size = (*shape, *protein.positions.shape[1:])
        return protein.positions + rng.normal(0.0, 0.02, size).astype(np.float32)

    score = compute_diversity(draw(8, 1), draw(1), layout)
    assert abs(score[0]) < 0.03


def test_one_sample_has_no_diversity(protein, layout):
    with pytest.raises(InputError, match="two samples"):
        compute_diversity(protein.positions[None], protein.positions, layout)
