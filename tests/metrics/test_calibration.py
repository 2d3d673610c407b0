"""Calibration error, and the map that mends it."""

import numpy as np
import pytest

from openmm_backmap.errors import InputError
from openmm_backmap.metrics.calibration import (
    apply_calibration,
    compute_calibration_error,
    compute_reliability,
    fit_calibration,
    tabulate_calibration,
)


def test_error_equals_a_slow_twin(rng):
    confidence = rng.random(500)
    is_right = rng.random(500) < confidence**2
    total = 0.0
    for low in range(10):
        inside = [k for k in range(500) if int(confidence[k] * 10) == low]
        share = sum(is_right[k] for k in inside) / len(inside)
        mean = sum(confidence[k] for k in inside) / len(inside)
        total += len(inside) / 500 * abs(share - mean)
    assert abs(compute_calibration_error(confidence, is_right) - total) < 1e-12


def test_one_bin_too_sure_by_a_third():
    confidence = np.full(9, 1.0)
    is_right = np.arange(9) < 6
    assert abs(compute_calibration_error(confidence, is_right) - 1 / 3) < 1e-12
    mean, share, count = compute_reliability(confidence, is_right)[-1]
    assert (mean, round(share, 3), count) == (1.0, 0.667, 9)


def test_the_map_rises_and_mends_an_overconfident_model(rng):
    truth = rng.random(20000)
    confidence = np.sqrt(truth)
    is_right = rng.random(20000) < truth
    table = fit_calibration(confidence[:10000], is_right[:10000])
    assert np.all(np.diff(table["confidence"]) > 0)
    assert np.all(np.diff(table["probability"]) >= 0)
    before = compute_calibration_error(confidence[10000:], is_right[10000:])
    mended = apply_calibration(confidence[10000:], table)
    assert before > 0.1
    assert compute_calibration_error(mended, is_right[10000:]) < 0.03
    # and the probabilities themselves come back
    assert np.abs(mended - truth[10000:]).mean() < 0.03


def test_isotonic_regression_is_the_nearest_rising_sequence(rng):
    from scipy.optimize import minimize

    share = rng.random(6)
    confidence = np.repeat(np.linspace(0.05, 0.95, 6), 1000)
    is_right = np.concatenate([np.arange(1000) < round(s * 1000) for s in share])
    table = fit_calibration(confidence, is_right, n_knots=6)
    counts = np.round(share * 1000) / 1000
    found = minimize(
        lambda y: ((y - counts) ** 2).sum(),
        np.full(6, 0.5),
        method="SLSQP",
        constraints=[
            {"type": "ineq", "fun": lambda y, k=k: y[k + 1] - y[k]} for k in range(5)
        ],
        options={"ftol": 1e-12},
    )
    assert np.allclose(table["probability"], found.x, atol=1e-3)


def test_a_model_with_one_confidence_gets_one_answer():
    table = fit_calibration(np.full(40, 0.7), np.arange(40) % 4 == 0)
    assert table == {"confidence": [0.7], "probability": [0.25]}
    assert apply_calibration(np.array([0.1, 0.9]), table).tolist() == [0.25, 0.25]


def test_nothing_to_calibrate_is_an_error():
    with pytest.raises(InputError, match="at least one residue"):
        compute_calibration_error(np.zeros(0), np.zeros(0, bool))
    with pytest.raises(InputError, match="3 confidences and 2 outcomes"):
        fit_calibration(np.zeros(3), np.zeros(2, bool))


def test_the_grid_of_a_model_says_the_same_as_the_table():
    torch = pytest.importorskip("torch")
    from openmm_backmap.nn.confidence import calibrate

    table = {"confidence": [0.2, 0.6, 0.9], "probability": [0.1, 0.5, 0.95]}
    grid = tabulate_calibration(table)
    confidence = np.linspace(0.0, 1.0, 37)
    found = calibrate(torch.from_numpy(confidence), torch.from_numpy(grid)).numpy()
    assert np.abs(found - apply_calibration(confidence, table)).max() < 1e-3
