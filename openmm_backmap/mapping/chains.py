"""Where one chain ends and the next begins: the segment rule."""

import warnings
from collections.abc import Sequence

import numpy as np

from openmm_backmap.errors import BackmapWarning
from openmm_backmap.geometry.periodic import minimum_image
from openmm_backmap.mapping.records import ResidueRecord

__all__ = ["MAX_CONSECUTIVE", "MAX_OVER_GAP", "chain_name", "split_segments"]

MAX_CONSECUTIVE = 0.8
"""Farthest beads in nm of consecutive residues in one segment."""

MAX_OVER_GAP = 0.48
"""The same where residue numbers jump: 0.381 for CA, and room for soft bonds."""

_FAR_MEDIAN = 2.5
"""Median distance in nm of consecutive beads beyond which the unit is another one."""

MIN_BONDED = 0.3
"""Share of consecutive pairs with a bond from which a missing bond counts."""


def chain_name(number: int) -> str:
    """Return the id of a chain: A to Z, a to z, 0 to 9, then AA, AB and so on.

    Parameters
    ----------
    number : int
        Number of the chain, from 0.

    Returns
    -------
    str
        A unique id.
    """
    single = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    if number < len(single):
        return single[number]
    number -= len(single)
    letters = ""
    width = 2
    while number >= 26**width:
        number -= 26**width
        width += 1
    for _ in range(width):
        letters = single[number % 26] + letters
        number //= 26
    return letters


def split_segments(
    records: Sequence[ResidueRecord],
    bead_index: np.ndarray,
    *,
    is_adjacent: np.ndarray,
    positions: np.ndarray | None = None,
    box: np.ndarray | None = None,
    bonds: Sequence[np.ndarray] = (),
    is_fixed: np.ndarray | None = None,
) -> np.ndarray:
    """Number the bonded segments of protein residues.

    A segment ends where the topology chain ends, where the residue number goes back,
    where others are bonded but not this pair, or where the pair is too far apart. A
    bond of the topology itself holds whatever the numbers are, and so does a number
    that stays (insertion codes that the topology does not know) with near beads.

    Parameters
    ----------
    records : sequence of ResidueRecord
        The R protein residues in order.
    bead_index : numpy.ndarray, shape (R, M), int64
        Particles of each residue; the first slot measures distances.
    is_adjacent : numpy.ndarray, shape (R - 1,), bool
        Whether no other residue stands between a pair in the topology.
    positions : numpy.ndarray or None, shape (B, 3) or (F, B, 3)
        Bead positions in nm; of several frames the median distance of a pair
        counts. If None, distances are not looked at.
    box : numpy.ndarray or None, shape (3, 3) or (F, 3, 3)
        Box vectors as rows in nm, zeros for none.
    bonds : sequence of numpy.ndarray, each (n_bonds, 2)
        Particle pairs, one array for each source: the topology first, then the
        System, which may bond contacts between molecules, too.
    is_fixed : numpy.ndarray or None, shape (B,), bool
        Particles that need no bond to stay together (virtual sites, massless
        ones): for them a missing bond says nothing.

    Returns
    -------
    numpy.ndarray, shape (R,), int64
        Segment of each residue, from 0.
    """
    n_residues = len(records)
    if n_residues < 2:
        return np.zeros(n_residues, np.int64)
    chain = np.array([record.chain_number for record in records])
    jump = np.array([_number_jump(a, b) for a, b in zip(records, records[1:])])  # noqa: B905
    is_end = np.diff(chain) != 0
    is_gap = (jump > 1) | (jump == 0) | ~is_adjacent
    is_bonded, is_unbonded = _consecutive_bonds(
        bead_index, records, bonds, ~is_end, is_fixed
    )
    is_stated, _ = _consecutive_bonds(bead_index, records, bonds[:1], ~is_end, is_fixed)
    # a bond is better evidence than a number or a distance: boxes may be unknown
    is_split = is_end | is_unbonded | ((jump < 0) & ~is_stated)
    if positions is None:
        is_split |= is_gap & ~is_bonded
    else:
        distance = _median_steps(positions, bead_index[:, 0], box)
        limit = np.where(is_gap, MAX_OVER_GAP, MAX_CONSECUTIVE)
        is_split |= (distance > limit) & ~is_bonded
        is_near = distance < MAX_OVER_GAP
        is_next = is_adjacent & (jump == 1) & ~(is_end | is_unbonded | is_bonded)
        _tell_unit(distance[is_next])
        _tell_cuts(records, is_near & (jump < 0) & ~(is_end | is_stated | is_unbonded))
    return np.concatenate([[0], np.cumsum(is_split)]).astype(np.int64)


def _tell_cuts(records: Sequence[ResidueRecord], is_cut: np.ndarray) -> None:
    """Warn where a chain is cut by numbers alone."""
    if not is_cut.any():
        return
    k = int(np.argmax(is_cut))
    before, after = records[k], records[k + 1]
    warnings.warn(
        f"chain {before.chain_id} is cut between residues {before.full_id} and "
        f"{after.full_id} ({int(is_cut.sum())} such places), as the number goes back "
        "there, though their beads are as near as bonded ones. If they are bonded, let "
        "the numbers grow, or give the bonds (system=, or a topology that has them)",
        BackmapWarning,
        stacklevel=2,
    )


def _tell_unit(distance: np.ndarray) -> None:
    """Warn where most pairs that ought to be bonded are as far as in angstrom."""
    median = float(np.median(distance)) if len(distance) else 0.0
    if median <= _FAR_MEDIAN:
        return
    warnings.warn(
        f"consecutive residues are {median:.3g} nm apart (median of {len(distance)} "
        "pairs), so each becomes a chain of its own; bonded beads have about 0.38: is "
        "the unit right (angstrom in PDB and mmCIF files, nm in NPY files and Python)?",
        BackmapWarning,
        stacklevel=2,
    )


def _median_steps(
    positions: np.ndarray, beads: np.ndarray, box: np.ndarray | None
) -> np.ndarray:
    """Distance (R - 1,) of consecutive beads (R,), the median of all frames.

    Soft bonds are long now and then, and strangers near.
    """
    frames = np.asarray(positions, np.float64).reshape(-1, *np.shape(positions)[-2:])
    boxes = np.zeros((1, 3, 3)) if box is None else np.asarray(box, np.float64)
    boxes = np.broadcast_to(boxes.reshape(-1, 3, 3), (len(frames), 3, 3))
    steps = np.diff(frames[:, beads], axis=1)
    for k, vectors in enumerate(boxes):
        if np.any(vectors):
            steps[k] = minimum_image(np.nan_to_num(steps[k]), vectors)
    return np.median(np.linalg.norm(steps, axis=2), axis=0)


def _number_jump(before: ResidueRecord, after: ResidueRecord) -> int:
    """Return by how much the residue number grows; 0 or less ends a segment."""
    try:
        first, second = int(before.residue_id), int(after.residue_id)
    except ValueError:
        # hybrid-36 and other numbers that are no integers: only equality counts
        return int(before.full_id != after.full_id)
    if first == second:
        return int(before.insertion_code != after.insertion_code)
    # PDB numbers have four digits and go round
    if first in (9999, 99999) and second in (0, 1):
        return 1
    return second - first


def _consecutive_bonds(
    bead_index: np.ndarray,
    records: Sequence[ResidueRecord],
    bonds: Sequence[np.ndarray],
    is_candidate: np.ndarray,
    is_fixed: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which pairs are bonded and which lack a bond others have."""
    n_pairs = len(is_candidate)
    is_bonded = np.zeros(n_pairs, bool)
    is_unbonded = np.zeros(n_pairs, bool)
    n_particles = max(max(record.atom_index) for record in records) + 1
    owner = np.full(n_particles, -2, np.int64)
    for number, record in enumerate(records):
        owner[list(record.atom_index)] = number
    for pairs in bonds:
        if not len(pairs):
            continue
        pairs = pairs[np.all(pairs < n_particles, axis=1)]
        first, second = np.sort(owner[pairs], axis=1).T
        keep = (first >= 0) & (second == first + 1)
        mine = np.zeros(n_pairs, bool)
        mine[first[keep]] = True
        mine &= is_candidate
        if mine.sum() < MIN_BONDED * is_candidate.sum():
            continue
        is_bonded |= mine
        is_unbonded |= ~mine
    is_unbonded &= ~is_bonded
    if is_fixed is not None:
        fixed = is_fixed[bead_index[:, 0]]
        is_unbonded &= ~(fixed[:-1] | fixed[1:])
    return is_bonded, is_unbonded
