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
    compute_jsd_floor,
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


@pytest.mark.parametrize("n_samples", [1, 4])
def test_a_perfect_sampler_lies_on_the_floor(rng, n_samples):
    """Wells that all frames see: the floor is what such a sampler shows."""
    wells = rng.dirichlet([4.0, 4.0, 4.0], 300)
    reference = rng.multinomial(40, wells).astype(float)
    drawn = rng.multinomial(40 * n_samples, wells)
    wanted = compute_jensen_shannon(drawn, reference).mean()
    floor = compute_jsd_floor(reference, n_samples, rng).mean()
    assert floor == pytest.approx(wanted, rel=0.15)
    # two halves are no floor: fewer frames, more divergence
    halves = (rng.multinomial(20, wells) for _ in range(2))
    assert compute_jensen_shannon(*halves).mean() > 1.5 * wanted


def test_the_floor_is_zero_for_one_well_and_nan_without_frames(rng):
    floor = compute_jsd_floor(np.array([[5.0, 0, 0], [0, 0, 0]]), 3, rng)
    assert floor[0] == 0.0 and np.isnan(floor[1])


def test_the_floor_of_few_frames_is_too_low_by_as_much_as_it_says(rng):
    for n_frames, ratio in ((4, 1.6), (10, 1.2), (20, 1.1)):
        wells = rng.dirichlet([1.0, 1.0, 1.0], 20_000)
        reference = rng.multinomial(n_frames, wells).astype(float)
        drawn = rng.multinomial(4 * n_frames, wells)
        true = compute_jensen_shannon(drawn, reference).mean()
        floor = compute_jsd_floor(reference, 4, rng, n_repeats=5).mean()
        assert true / floor == pytest.approx(ratio, abs=0.1)


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
