"""Right-handed orthonormal frames from points."""

import torch
from torch import Tensor

from openmm_backmap.geometry.vectors import normalize, perpendicular_part

__all__ = ["frame_from_axes", "to_global", "to_local"]


def frame_from_axes(x_axis: Tensor, in_plane: Tensor) -> Tensor:
    """Gram-Schmidt frame from an axis and a second direction.

    Parameters
    ----------
    x_axis : torch.Tensor, shape (..., 3)
        Direction of the first axis, any length.
    in_plane : torch.Tensor, shape (..., 3)
        A direction in the xy half plane with positive y.

    Returns
    -------
    torch.Tensor, shape (..., 3, 3)
        Rows are the unit axes x, y, z = x cross y.
    """
    x = normalize(x_axis)
    y = normalize(perpendicular_part(in_plane, x))
    z = torch.linalg.cross(x, y, dim=-1)
    return torch.stack((x, y, z), dim=-2)


def to_local(frame: Tensor, vector: Tensor) -> Tensor:
    """Express vectors in a frame.

    Parameters
    ----------
    frame : torch.Tensor, shape (..., 3, 3)
        Rows are the axes.
    vector : torch.Tensor, shape (..., 3)
        Vectors in the laboratory frame.

    Returns
    -------
    torch.Tensor, shape (..., 3)
        Components along the axes.
    """
    return (frame * vector.unsqueeze(-2)).sum(-1)


def to_global(frame: Tensor, components: Tensor) -> Tensor:
    """Inverse of `to_local`.

    Parameters
    ----------
    frame : torch.Tensor, shape (..., 3, 3)
        Rows are the axes.
    components : torch.Tensor, shape (..., 3)
        Components along the axes.

    Returns
    -------
    torch.Tensor, shape (..., 3)
        Vectors in the laboratory frame.
    """
    return (frame * components.unsqueeze(-1)).sum(-2)
