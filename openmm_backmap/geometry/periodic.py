"""Minimum images and whole chains in periodic boxes, triclinic too."""

import numpy as np

__all__ = [
    "box_from_lengths_and_angles",
    "compute_lengths_and_angles",
    "is_orthorhombic",
    "minimum_image",
    "unwrap_chains",
    "wrap_positions",
]


def _image_shift(difference: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the lattice vectors that take differences to their minimum image.

    The box is turned until its vectors are lower triangular, the form in which
    rounding z, then y, then x finds the image inside the brick around the
    origin (the rule of OpenMM and GROMACS).
    """
    turn, upper = np.linalg.qr(np.asarray(box, np.float64).T)
    lower = upper.T
    rest = difference @ turn
    start = rest.copy()
    for axis in (2, 1, 0):
        count = np.round(rest[..., axis : axis + 1] / lower[axis, axis])
        rest -= count * lower[axis]
    return (rest - start) @ turn.T


def minimum_image(difference: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the shortest periodic image of difference vectors.

    Parameters
    ----------
    difference : numpy.ndarray, shape (..., 3)
        Vectors between two points in nm.
    box : numpy.ndarray, shape (3, 3)
        Box vectors as rows in nm.

    Returns
    -------
    numpy.ndarray, shape (..., 3), float64
        The image inside the brick around the origin: the shortest one for any
        vector shorter than half of the box's smallest width.
    """
    difference = np.asarray(difference, np.float64)
    return difference + _image_shift(difference, box)


_SKEW = 1e-6
"""Off-diagonal elements, over the largest one, that mean a right angle."""


def is_orthorhombic(box: np.ndarray) -> bool:
    """Whether a box has three right angles along the axes.

    Parameters
    ----------
    box : numpy.ndarray, shape (3, 3)
        Box vectors as rows.

    Returns
    -------
    bool
        True if all off-diagonal elements are zero, but for the rounding of
        formats that keep lengths and angles.
    """
    box = np.asarray(box)
    rest = np.abs(box - np.diag(np.diagonal(box)))
    return bool(rest.max() <= _SKEW * np.abs(box).max())


def wrap_positions(positions: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Wrap every point into the parallelepiped that starts at the origin.

    Parameters
    ----------
    positions : numpy.ndarray, shape (..., 3)
        Points in nm.
    box : numpy.ndarray, shape (3, 3)
        Box vectors as rows in nm.

    Returns
    -------
    numpy.ndarray, shape (..., 3), float64
        The same points with fractional coordinates in [0, 1).
    """
    box = np.asarray(box, np.float64)
    fraction = np.asarray(positions, np.float64) @ np.linalg.inv(box)
    fraction -= np.floor(fraction)
    # -1e-17 becomes exactly 1.0 above
    fraction[fraction >= 1.0] = 0.0
    return fraction @ box


def unwrap_chains(
    positions: np.ndarray, chain_index: np.ndarray, box: np.ndarray | None
) -> np.ndarray:
    """Make every segment whole: minimum image from residue to residue.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 3)
        Residue positions in nm.
    chain_index : numpy.ndarray, shape (R,)
        Segment of each residue.
    box : numpy.ndarray or None, shape (F, 3, 3) or (3, 3)
        Box vectors as rows in nm; a frame of zeros has no box. If None, no
        frame has one.

    Returns
    -------
    numpy.ndarray, shape (F, R, 3), same dtype as `positions`
        Positions moved by whole box vectors; the first residue of a segment
        stays where it is.
    """
    positions = np.asarray(positions)
    if box is None or positions.shape[1] < 2:
        return positions
    box = np.broadcast_to(np.asarray(box), (len(positions), 3, 3))
    chain_index = np.asarray(chain_index)
    start = np.flatnonzero(np.diff(chain_index, prepend=chain_index[0] - 1))
    # for each residue, the first residue of its segment
    first = start[np.searchsorted(start, np.arange(len(chain_index)), "right") - 1]
    unwrapped = positions.copy()
    for f, frame in enumerate(positions):
        if not np.any(box[f]):
            continue
        step = np.diff(frame.astype(np.float64), axis=0)
        shift = np.zeros(frame.shape, np.float64)
        shift[1:] = _image_shift(step, box[f])
        if not np.any(np.abs(shift) > 1e-6):
            continue
        total = np.cumsum(shift, axis=0)
        unwrapped[f] = frame + (total - total[first])
    return unwrapped


def box_from_lengths_and_angles(
    lengths: np.ndarray, angles: np.ndarray
) -> np.ndarray | None:
    """Return box vectors from unit cell lengths and angles.

    Parameters
    ----------
    lengths : numpy.ndarray, shape (3,)
        a, b and c in nm.
    angles : numpy.ndarray, shape (3,)
        alpha, beta and gamma in radians.

    Returns
    -------
    numpy.ndarray or None, shape (3, 3), float32
        Lower triangular box vectors as rows in nm, or None where the cell is
        no cell (a length of zero or one that is not finite).
    """
    lengths = np.asarray(lengths, np.float64)
    angles = np.asarray(angles, np.float64)
    if not (np.all(np.isfinite(lengths)) and np.all(lengths > 1e-6)):
        return None
    if not (np.all(np.isfinite(angles)) and np.all(angles > 1e-3)):
        angles = np.full(3, np.pi / 2)
    cosine = np.cos(angles)
    cosine[np.abs(cosine) < 1e-7] = 0.0
    alpha, beta, gamma = cosine
    sine = np.sqrt(1.0 - gamma**2)
    box = np.zeros((3, 3))
    box[0, 0] = lengths[0]
    box[1, :2] = lengths[1] * gamma, lengths[1] * sine
    box[2, 0] = lengths[2] * beta
    box[2, 1] = lengths[2] * (alpha - beta * gamma) / sine
    height = lengths[2] ** 2 - box[2, 0] ** 2 - box[2, 1] ** 2
    if height <= 0.0:
        return None
    box[2, 2] = np.sqrt(height)
    return box.astype(np.float32)


def compute_lengths_and_angles(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return unit cell lengths and angles from box vectors.

    Parameters
    ----------
    box : numpy.ndarray, shape (3, 3)
        Box vectors as rows in nm.

    Returns
    -------
    lengths : numpy.ndarray, shape (3,), float64
        a, b and c in nm.
    angles : numpy.ndarray, shape (3,), float64
        alpha, beta and gamma in radians.
    """
    box = np.asarray(box, np.float64)
    lengths = np.linalg.norm(box, axis=1)
    cosine = [
        box[i] @ box[j] / (lengths[i] * lengths[j]) for i, j in ((1, 2), (0, 2), (0, 1))
    ]
    return lengths, np.arccos(np.clip(cosine, -1.0, 1.0))
