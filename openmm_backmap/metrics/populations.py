"""Rotamer populations of ensembles, and how far two of them are apart."""

import numpy as np

from openmm_backmap.metrics.chi import compute_chi
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.residues.names import CODES, N_TYPES
from openmm_backmap.residues.torsions import CHI_IS_PI_PERIODIC

__all__ = [
    "compute_chi_jsd",
    "compute_chi_populations",
    "compute_jensen_shannon",
    "compute_jsd_floor",
    "pool_by_type",
]

_PROLINE = CODES.index("P")


def compute_chi_populations(
    positions: np.ndarray,
    layout: HeavyAtomLayout,
    *,
    chi: int = 1,
    n_bins: int = 3,
) -> tuple[np.ndarray, np.ndarray]:
    """Count in which bin a torsion lies over the frames of an ensemble.

    The bins begin at 0 degrees, so that three of them are the wells g+, t
    and g- of sp3 torsions. Torsions of period pi count modulo pi.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and present atoms.
    chi : int
        1 to 4.
    n_bins : int
        Bins over one period.

    Returns
    -------
    counts : numpy.ndarray, shape (n, n_bins)
        Frames in each bin; torsions that are not finite are in none.
    residue : numpy.ndarray, shape (n,), int64
        Residues with this torsion, without proline.
    """
    angle, mask = compute_chi(positions, layout)
    residue = np.flatnonzero(
        mask[:, chi - 1] & (np.asarray(layout.residue_type) != _PROLINE)
    )
    angle = angle[:, residue, chi - 1]
    is_half = np.array(CHI_IS_PI_PERIODIC)[layout.residue_type[residue], chi - 1]
    period = np.where(is_half, np.pi, 2.0 * np.pi)
    scaled = np.where(np.isfinite(angle), angle % period / period * n_bins, -1.0)
    bins = np.minimum(scaled.astype(np.int64), n_bins - 1)
    is_in = (bins[..., None] == np.arange(n_bins)) & (scaled >= 0.0)[..., None]
    return is_in.sum(axis=0).astype(np.float64), residue


def pool_by_type(
    counts: np.ndarray, residue: np.ndarray, layout: HeavyAtomLayout
) -> np.ndarray:
    """Add up the counts of all residues of a type.

    Parameters
    ----------
    counts : numpy.ndarray, shape (n, n_bins)
        From `compute_chi_populations`.
    residue : numpy.ndarray, shape (n,)
        From `compute_chi_populations`.
    layout : HeavyAtomLayout
        The same as there.

    Returns
    -------
    numpy.ndarray, shape (20, n_bins)
        Zeros for types that do not occur.
    """
    pooled = np.zeros((N_TYPES, counts.shape[1]))
    np.add.at(pooled, layout.residue_type[residue], counts)
    return pooled


def compute_jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence of two distributions, in bits.

    ``JSD = H((p + q) / 2) - (H(p) + H(q)) / 2`` with the entropy
    ``H(p) = -sum p log2 p``: 0 for equal, 1 for disjoint distributions.

    Parameters
    ----------
    first, second : numpy.ndarray, shape (..., n_bins)
        Counts or probabilities; each row is normalised.

    Returns
    -------
    numpy.ndarray, shape (...)
        0 to 1; nan where a row is empty.

    References
    ----------
    Lin, IEEE Trans. Inf. Theory 37, 145 (1991), eq. 4.1.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        p = first / first.sum(axis=-1, keepdims=True)
        q = second / second.sum(axis=-1, keepdims=True)

    def entropy(x: np.ndarray) -> np.ndarray:
        return -(x * np.log2(np.where(x > 0.0, x, 1.0))).sum(axis=-1)

    return np.maximum(entropy(0.5 * (p + q)) - 0.5 * (entropy(p) + entropy(q)), 0.0)


def compute_chi_jsd(
    positions: np.ndarray,
    reference: np.ndarray,
    layout: HeavyAtomLayout,
    *,
    chi: int = 1,
) -> np.ndarray:
    """Divergence of the rotamer populations of two ensembles, by residue.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms of one ensemble in nm.
    reference : numpy.ndarray, shape (G, R, 14, 3)
        Heavy atoms of the other; any number of frames.
    layout : HeavyAtomLayout
        Residues and atoms present in both.
    chi : int
        1 to 4.

    Returns
    -------
    numpy.ndarray, shape (n,)
        In bits, 0 to 1, for each residue with this torsion. Ensembles of n and m
        frames of one distribution differ by about ``(1 / n + 1 / m) / (4 ln 2)``
        for three equal wells: compare with `compute_jsd_floor`.
    """
    counts, _ = compute_chi_populations(positions, layout, chi=chi)
    wanted, _ = compute_chi_populations(reference, layout, chi=chi)
    return compute_jensen_shannon(counts, wanted)


def compute_jsd_floor(
    counts: np.ndarray,
    n_samples: int,
    rng: np.random.Generator,
    *,
    n_repeats: int = 200,
) -> np.ndarray:
    """Divergence that small numbers alone give a perfect sampler.

    Of a reference of F frames, F frames and ``n_samples * F`` samples are drawn
    from its own populations; the mean divergence of the two is returned. It is
    too low, as wells that a few frames miss are never drawn: a perfect sampler
    of random populations of three wells has 1.6, 1.2 and 1.1 times as much with
    4, 10 and 20 frames. Samples and frames are independent here; those that
    share a frame's CA may agree better.

    Parameters
    ----------
    counts : numpy.ndarray, shape (n, n_bins)
        Frames of the reference in each bin, from `compute_chi_populations`.
    n_samples : int
        Samples of each frame.
    rng : numpy.random.Generator
        Draws frames and samples.
    n_repeats : int
        Over how many draws the mean is taken.

    Returns
    -------
    numpy.ndarray, shape (n,)
        In bits, 0 to 1; nan where the reference has no frame.
    """
    n_frames = counts.sum(axis=1)
    # a row without frames draws none
    share = (counts + (n_frames == 0)[:, None]) / np.where(
        n_frames == 0, counts.shape[1], n_frames
    )[:, None]
    size = (n_repeats, len(counts))
    frames, samples = (
        rng.multinomial((k * n_frames).astype(np.int64), share, size=size)
        for k in (1, n_samples)
    )
    return compute_jensen_shannon(samples, frames).mean(axis=0)
