"""How much the samples of one frame differ from each other."""

from itertools import combinations

import numpy as np

from openmm_backmap.errors import InputError
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.metrics.rmsd import compute_rmsd

__all__ = ["compute_diversity"]


def compute_diversity(
    samples: np.ndarray, reference: np.ndarray, layout: HeavyAtomLayout
) -> np.ndarray:
    """Diversity score of samples: 0 is as varied as they are wrong.

    ``1 - mean pair RMSD / mean RMSD to the reference`` over the heavy atoms.
    A model that always gives the same structure scores 1; samples from the
    distribution the reference was drawn from score 0.

    Parameters
    ----------
    samples : numpy.ndarray, shape (S, F, R, 14, 3)
        S samples of each of F frames, in nm.
    reference : numpy.ndarray, shape (F, R, 14, 3)
        Reference atoms in nm.
    layout : HeavyAtomLayout
        Residues and atoms present in both.

    Returns
    -------
    numpy.ndarray, shape (F,)
        At most 1; nan where all samples are the reference itself.

    Raises
    ------
    InputError
        If there are fewer than two samples.

    References
    ----------
    Jones, Shmilovich and Ferguson, J. Chem. Theory Comput. 19, 7908 (2023).
    """
    if len(samples) < 2:
        raise InputError(
            f"diversity needs two samples or more, {len(samples)} came: ask for more"
        )
    pairs = [
        compute_rmsd(samples[i], samples[j], layout)
        for i, j in combinations(range(len(samples)), 2)
    ]
    away = [compute_rmsd(sample, reference, layout) for sample in samples]
    apart, wrong = np.mean(pairs, axis=0), np.mean(away, axis=0)
    is_wrong = wrong > 0.0
    score = 1.0 - apart / np.where(is_wrong, wrong, 1.0)
    return np.where(is_wrong, score, np.nan)
