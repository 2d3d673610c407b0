"""Vectors, angles and dihedrals: batched, differentiable, scriptable torch."""

import torch
from torch import Tensor

__all__ = [
    "compute_angle",
    "compute_dihedral",
    "compute_dihedrals_between",
    "compute_distance",
    "normalize",
    "perpendicular_part",
    "turn_about",
    "wrap_angle",
]


def normalize(vector: Tensor, eps: float = 1e-8) -> Tensor:
    """Scale vectors to unit length.

    Parameters
    ----------
    vector : torch.Tensor, shape (..., 3)
        Any vectors.
    eps : float
        Squared lengths below ``eps**2`` are treated as ``eps**2``, so a zero
        vector stays zero and its gradient stays finite.

    Returns
    -------
    torch.Tensor, shape (..., 3)
        Unit vectors.
    """
    square = (vector * vector).sum(-1, keepdim=True)
    return vector * torch.rsqrt(square.clamp(min=eps * eps))


def perpendicular_part(vector: Tensor, axis: Tensor) -> Tensor:
    """Remove from `vector` its part along the unit vector `axis`.

    Parameters
    ----------
    vector, axis : torch.Tensor, shape (..., 3)
        `axis` has unit length.

    Returns
    -------
    torch.Tensor, shape (..., 3)
        The part of `vector` perpendicular to `axis`.
    """
    return vector - (vector * axis).sum(-1, keepdim=True) * axis


def compute_distance(first: Tensor, second: Tensor) -> Tensor:
    """Euclidean distance of points.

    Parameters
    ----------
    first, second : torch.Tensor, shape (..., 3)
        Points in nm.

    Returns
    -------
    torch.Tensor, shape (...)
        Distances in nm.
    """
    delta = first - second
    return torch.sqrt((delta * delta).sum(-1).clamp(min=1e-12))


def compute_angle(first: Tensor, vertex: Tensor, last: Tensor) -> Tensor:
    """Angle first-vertex-last.

    Parameters
    ----------
    first, vertex, last : torch.Tensor, shape (..., 3)
        Points in nm.

    Returns
    -------
    torch.Tensor, shape (...)
        Angles in radians, 0 to pi. By atan2, which stays exact and
        differentiable near 0 and pi where acos does not.
    """
    u = first - vertex
    v = last - vertex
    sine = torch.linalg.cross(u, v, dim=-1)
    sine_norm = torch.sqrt((sine * sine).sum(-1).clamp(min=1e-24))
    return torch.atan2(sine_norm, (u * v).sum(-1))


def compute_dihedral(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Dihedral angle a-b-c-d.

    Parameters
    ----------
    a, b, c, d : torch.Tensor, shape (..., 3)
        Points in nm.

    Returns
    -------
    torch.Tensor, shape (...)
        Dihedrals in radians, -pi to pi, IUPAC sign.

    References
    ----------
    IUPAC-IUB, Biochemistry 9, 3471 (1970); the atan2 form is Blondel and
    Karplus, J. Comput. Chem. 17, 1132 (1996), eq. 6.
    """
    b1 = b - a
    b2 = c - b
    b3 = d - c
    n1 = torch.linalg.cross(b1, b2, dim=-1)
    n2 = torch.linalg.cross(b2, b3, dim=-1)
    b2_norm = torch.sqrt((b2 * b2).sum(-1).clamp(min=1e-24))
    return torch.atan2((b1 * n2).sum(-1) * b2_norm, (n1 * n2).sum(-1))


def compute_dihedrals_between(a: Tensor, b: Tensor, c: Tensor, d: Tensor) -> Tensor:
    """Dihedral angles a-b-c-d of every a-b-c with every d.

    Parameters
    ----------
    a, b, c : torch.Tensor, shape (..., N, 3)
        Points in nm; `c` may have one place instead of N.
    d : torch.Tensor, shape (..., M, 3)
        Points in nm.

    Returns
    -------
    torch.Tensor, shape (..., N, M)
        As `compute_dihedral` gives them, from one frame of axes for each a-b-c.
    """
    axis = normalize(c - b)
    side = normalize(perpendicular_part(a - b, axis))
    up = torch.linalg.cross(axis, side, dim=-1)
    arm = d.unsqueeze(-3) - c.unsqueeze(-2)
    return torch.atan2(
        (arm * up.unsqueeze(-2)).sum(-1), (arm * side.unsqueeze(-2)).sum(-1)
    )


def wrap_angle(angle: Tensor) -> Tensor:
    """Map angles to [-pi, pi).

    Parameters
    ----------
    angle : torch.Tensor, shape (...)
        Angles in radians.

    Returns
    -------
    torch.Tensor, shape (...)
        The same angles in [-pi, pi).
    """
    return torch.remainder(angle + torch.pi, 2.0 * torch.pi) - torch.pi


def turn_about(
    points: Tensor, origin: Tensor, axis: Tensor, sine: Tensor, cosine: Tensor
) -> Tensor:
    """Turn points about an axis, right-handed.

    Parameters
    ----------
    points : torch.Tensor, shape (..., 3)
        What turns, in nm.
    origin, axis : torch.Tensor, shape (..., 3)
        A point of the axis in nm, and its direction as a unit vector.
    sine, cosine : torch.Tensor, shape (..., 1)
        Of the angle. All shapes broadcast.

    Returns
    -------
    torch.Tensor, shape (..., 3)
        In nm.

    References
    ----------
    Rodrigues' formula: Goldstein, Classical Mechanics, 3rd ed. (2002), eq. 4.62.
    """
    arm = points - origin
    along = (arm * axis).sum(-1, keepdim=True) * axis
    across = torch.linalg.cross(axis.expand_as(arm), arm, dim=-1)
    return origin + along + cosine * (arm - along) + sine * across
