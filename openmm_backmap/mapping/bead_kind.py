"""Whether a bead named CA is a CA or the centre of mass of its residue."""

from typing import Any

import numpy as np

__all__ = ["find_com_residues", "find_rest_distances", "is_com_chain"]

CA_DISTANCE = 0.381
"""Distance in nm of the CA of consecutive residues, trans peptide."""

QUIET = 0.035
"""Largest deviation from it in nm of CA beads: two standard deviations of a
harmonic bond in CALVADOS at 300 K."""

WINDOW = 21
MEAN_LIMIT = 0.43
FAR_LIMIT = 0.5
FAR_SHARE = 0.2
QUIET_RUN = 6
MIN_RUN = 7


def is_com_chain(distance: np.ndarray) -> bool:
    """Whether consecutive distances of a chain are those of centres of mass.

    CA beads: 0.381 +- 0.016 nm; centres of mass of folded domains: 0.43 to
    0.46 +- 0.08 nm.

    Parameters
    ----------
    distance : numpy.ndarray, shape (n,)
        Distances of consecutive beads in nm.

    Returns
    -------
    bool
        True if the mean is over 0.41 nm or more than 10 % are over 0.5 nm.
    """
    distance = np.asarray(distance)
    if not len(distance):
        return False
    return bool(distance.mean() > 0.41 or (distance > FAR_LIMIT).mean() > 0.1)


def find_rest_distances(
    system: Any,  # noqa: ANN401
    particle: np.ndarray,
    chain_index: np.ndarray,
) -> np.ndarray | None:
    """Read the rest lengths of the harmonic bonds along the chains.

    Parameters
    ----------
    system : openmm.System or None
        The coarse-grained System.
    particle : numpy.ndarray, shape (R,)
        Particle of each residue.
    chain_index : numpy.ndarray, shape (R,)
        Segment of each residue.

    Returns
    -------
    numpy.ndarray or None, shape (R - 1,)
        From residue i to i + 1 in nm, 0 between segments. None if a pair has
        no such bond.
    """
    if system is None:
        return None
    from openmm import HarmonicBondForce, unit

    lengths: dict[tuple[int, int], float] = {}
    for force in system.getForces():
        if isinstance(force, HarmonicBondForce):
            for k in range(force.getNumBonds()):
                a, b, length, _ = force.getBondParameters(k)
                # the chain's own bonds come before those of elastic networks
                lengths.setdefault(
                    (min(a, b), max(a, b)), length.value_in_unit(unit.nanometer)
                )
    result = np.zeros(max(0, len(particle) - 1))
    for i in np.flatnonzero(np.diff(chain_index) == 0).tolist():
        a, b = int(particle[i]), int(particle[i + 1])
        length = lengths.get((min(a, b), max(a, b)))
        if length is None:
            return None
        result[i] = length
    return result


def find_com_residues(
    positions: np.ndarray | None,
    chain_index: np.ndarray,
    *,
    distance: np.ndarray | None = None,
) -> np.ndarray:
    """Find residues whose bead looks like a centre of mass, not a CA.

    CALVADOS 3 names the beads of folded domains CA too, but they are centres of
    mass. Their consecutive distances vary along the chain and not in time, so
    several frames tell more than one.

    Parameters
    ----------
    positions : numpy.ndarray or None, shape (F, R, 3)
        First bead of each residue in nm, segments whole (see `unwrap_chains`).
        None if there are distances.
    chain_index : numpy.ndarray, shape (R,)
        Segment of each residue.
    distance : numpy.ndarray or None, shape (R - 1,)
        Rest lengths of consecutive beads in nm, see `find_rest_distances`. If
        None, the mean distance over the frames.

    Returns
    -------
    numpy.ndarray, shape (R,), bool
        True where the bead looks like a centre of mass. Use it to warn, or to
        choose the mapping a residue; segments under 8 residues are never
        flagged.
    """
    chain_index = np.asarray(chain_index)
    has_rest = distance is not None
    if distance is None:
        steps = np.diff(np.asarray(positions, np.float64), axis=1)
        distance = np.linalg.norm(steps, axis=-1).mean(axis=0)
    is_com = np.zeros(len(chain_index), bool)
    for segment in np.unique(chain_index):
        residues = np.flatnonzero(chain_index == segment)
        if len(residues) < 8:
            continue
        flagged = _flag_pairs(distance[residues[:-1]])
        if has_rest:
            flagged = _sharpen(flagged, distance[residues[:-1]])
        is_com[residues[:-1][flagged]] = True
        is_com[residues[1:][flagged]] = True
    return is_com


def _flag_pairs(distance: np.ndarray) -> np.ndarray:
    """Flag the pairs of one segment between centres of mass; (n,)."""
    n_pairs = len(distance)
    half = min(WINDOW, n_pairs) // 2
    padded = np.pad(distance, half, mode="reflect" if n_pairs > half else "edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * half + 1)
    is_wide = windows.mean(axis=1) > MEAN_LIMIT
    is_far = (windows > FAR_LIMIT).mean(axis=1) > FAR_SHARE
    flagged = is_wide | is_far
    is_quiet = np.abs(distance - CA_DISTANCE) < QUIET
    for start, stop in _runs(is_quiet):
        if stop - start >= QUIET_RUN:
            flagged[start:stop] = False
    # the window blurs the ends of a domain: cut or stretch them to the last
    # pair that no CA would have
    for start, stop in _runs(flagged):
        while start < stop and is_quiet[start]:
            flagged[start] = False
            start += 1
        while stop > start and is_quiet[stop - 1]:
            flagged[stop - 1] = False
            stop -= 1
        while stop > start and start > 0 and not is_quiet[start - 1]:
            start -= 1
            flagged[start] = True
        while stop > start and stop < n_pairs and not is_quiet[stop]:
            flagged[stop] = True
            stop += 1
    for start, stop in _runs(flagged):
        if stop - start < MIN_RUN:
            flagged[start:stop] = False
    return flagged


def _sharpen(flagged: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Move the ends of domains to where rest lengths leave the common one; (n,).

    Force fields give all pairs of CA one rest length, and pairs of a domain
    the distances of its structure.
    """
    values, counts = np.unique(np.round(rest, 4), return_counts=True)
    if not flagged.any() or counts.max() < 4:
        return flagged
    is_own = np.abs(rest - values[counts.argmax()]) > 2e-4
    flagged = flagged & is_own
    for start, stop in _runs(flagged):
        while start > 0 and is_own[start - 1]:
            start -= 1
            flagged[start] = True
        while stop < len(rest) and is_own[stop]:
            flagged[stop] = True
            stop += 1
    return flagged


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """List the runs of True as (start, stop)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
