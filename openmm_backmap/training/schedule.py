"""Learning rate schedule: linear warm-up, cosine to zero."""

import math

__all__ = ["learning_rate_factor"]


def learning_rate_factor(step: int, warmup_steps: int, progress: float) -> float:
    """Factor on the peak learning rate.

    Parameters
    ----------
    step : int
        Step about to be taken, from 0.
    warmup_steps : int
        Linear warm-up over so many steps.
    progress : float
        Part of the run that is done, 0 to 1, by steps or by time.

    Returns
    -------
    float
        0 to 1; 0 at the end of the run.

    References
    ----------
    Loshchilov and Hutter, arXiv:1608.03983, eq. 5 without restarts.
    """
    warm = min(1.0, (step + 1) / max(1, warmup_steps))
    part = min(max(progress, 0.0), 1.0)
    return warm * 0.5 * (1.0 + math.cos(math.pi * part))
