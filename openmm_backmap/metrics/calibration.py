"""Confidence against how often it is right, and a map that mends it."""

import numpy as np

from openmm_backmap.errors import InputError

__all__ = [
    "apply_calibration",
    "compute_calibration_error",
    "compute_reliability",
    "fit_calibration",
    "tabulate_calibration",
]


def _check(confidence: np.ndarray, is_right: np.ndarray) -> None:
    if len(confidence) == 0 or len(confidence) != len(is_right):
        raise InputError(
            f"{len(confidence)} confidences and {len(is_right)} outcomes came; wanted "
            "one of each for at least one residue"
        )


def compute_reliability(
    confidence: np.ndarray, is_right: np.ndarray, n_bins: int = 10
) -> np.ndarray:
    """Mean confidence and share of right residues in bins of confidence.

    Parameters
    ----------
    confidence : numpy.ndarray, shape (n,)
        0 to 1.
    is_right : numpy.ndarray, shape (n,), bool
        What came true.
    n_bins : int
        Bins of equal width over 0 to 1.

    Returns
    -------
    numpy.ndarray, shape (n_bins, 3)
        Mean confidence, share of right ones, and number in each bin; nan where
        a bin is empty.

    Raises
    ------
    InputError
        If there is nothing, or not one outcome a confidence.
    """
    _check(confidence, is_right)
    place = np.clip((np.asarray(confidence) * n_bins).astype(int), 0, n_bins - 1)
    count = np.bincount(place, minlength=n_bins).astype(float)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(place, confidence, n_bins) / count
        share = np.bincount(place, np.asarray(is_right, float), n_bins) / count
    return np.stack([mean, share, count], axis=1)


def compute_calibration_error(
    confidence: np.ndarray, is_right: np.ndarray, n_bins: int = 10
) -> float:
    """Expected calibration error, weighted by the bins' sizes.

    ``sum_b n_b / n |share right in b - mean confidence in b|``.

    Parameters
    ----------
    confidence : numpy.ndarray, shape (n,)
        0 to 1.
    is_right : numpy.ndarray, shape (n,), bool
        What came true.
    n_bins : int
        Bins of equal width over 0 to 1.

    Returns
    -------
    float
        0 to 1.

    References
    ----------
    Guo et al., PMLR 70, 1321 (2017), eq. 3.
    """
    mean, share, count = compute_reliability(confidence, is_right, n_bins).T
    used = count > 0
    gap = np.abs(share[used] - mean[used])
    return float((gap * count[used]).sum() / count.sum())


def _make_rising(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Nearest rising sequence in weighted least squares (pool adjacent violators)."""
    blocks: list[tuple[float, float, int]] = []  # mean, weight, length
    for value, weight in zip(values, weights, strict=True):
        blocks.append((float(value), float(weight), 1))
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            (a, m, k), (b, n, j) = blocks[-2:]
            blocks[-2:] = [((a * m + b * n) / (m + n), m + n, k + j)]
    return np.concatenate([np.full(length, mean) for mean, _, length in blocks])


def fit_calibration(
    confidence: np.ndarray, is_right: np.ndarray, n_knots: int = 16
) -> dict[str, list[float]]:
    """Fit a rising map from raw confidence to the share that is right.

    Isotonic regression over bins of equal numbers, as a table to interpolate
    in.

    Parameters
    ----------
    confidence : numpy.ndarray, shape (n,)
        0 to 1.
    is_right : numpy.ndarray, shape (n,), bool
        What came true.
    n_knots : int
        Bins, at most.

    Returns
    -------
    dict
        ``confidence`` and ``probability``, each a rising list, for
        `apply_calibration` and the metadata of a model.

    References
    ----------
    Zadrozny and Elkan, KDD 2002, 694.
    """
    _check(confidence, is_right)
    order = np.argsort(confidence, kind="stable")
    parts = np.array_split(order, min(n_knots, len(order)))
    x = np.array([confidence[part].mean() for part in parts])
    y = np.array([np.mean(is_right[part]) for part in parts])
    weights = np.array([len(part) for part in parts], float)
    # equal confidences must not have two answers
    knots, place = np.unique(x.round(5), return_inverse=True)
    total = np.bincount(place, weights)
    share = np.bincount(place, weights * y) / total
    fitted = _make_rising(share, total)
    return {
        "confidence": [round(float(v), 5) for v in knots],
        "probability": [round(float(v), 5) for v in fitted],
    }


def apply_calibration(
    confidence: np.ndarray, table: dict[str, list[float]]
) -> np.ndarray:
    """Look confidences up in a calibration table.

    Parameters
    ----------
    confidence : numpy.ndarray, any shape
        Raw, 0 to 1.
    table : dict
        From `fit_calibration`; linear between its knots, constant outside.

    Returns
    -------
    numpy.ndarray, same shape
        Calibrated.
    """
    return np.interp(confidence, table["confidence"], table["probability"])


def tabulate_calibration(
    table: dict[str, list[float]], n_points: int = 101
) -> np.ndarray:
    """Evaluate a calibration table on an even grid, as models keep it.

    Parameters
    ----------
    table : dict
        From `fit_calibration`. If it was fitted to the output of a model that
        is calibrated already, look the model's own table up in it instead:
        ``apply_calibration(own, table)``.
    n_points : int
        Points B.

    Returns
    -------
    numpy.ndarray, shape (B,), float32
        Calibrated confidence at 0, 1 / (B - 1), ..., 1.
    """
    grid = np.linspace(0.0, 1.0, n_points)
    return apply_calibration(grid, table).astype(np.float32)
