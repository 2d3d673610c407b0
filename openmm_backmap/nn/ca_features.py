"""What the flagship sees of a CA trace: local frames, node and edge features."""

import torch
from torch import Tensor

from openmm_backmap.geometry.frames import to_global
from openmm_backmap.geometry.internal import place_atom
from openmm_backmap.geometry.vectors import compute_dihedral, normalize

__all__ = [
    "MAX_OFFSET",
    "N_EDGE_FEATURES",
    "N_NODE_FEATURES",
    "N_OFFSETS",
    "N_RBF",
    "compute_edge_features",
    "compute_image_shift",
    "compute_local_frames",
    "compute_node_features",
    "compute_offset_index",
    "fill_neighbors",
    "shift_residues",
]

N_RBF = 16
RBF_MIN = 0.3
RBF_MAX = 2.0
MAX_OFFSET = 32
N_OFFSETS = 2 * MAX_OFFSET + 2
N_NODE_FEATURES = 40
N_EDGE_FEATURES = N_RBF + 6 + 9
# The trace is continued past its ends by a helix-like virtual CA: it only
# completes frames and is never a target.
VIRTUAL_BOND = 0.3805
VIRTUAL_ANGLE = 1.7453
VIRTUAL_DIHEDRAL = 0.8727


def shift_residues(values: Tensor, offset: int) -> Tensor:
    """Value of the residue `offset` places along, clamped at the array's ends.

    Parameters
    ----------
    values : torch.Tensor, shape (F, R, ...)
        Any per-residue values.
    offset : int
        Places along the residue axis, either sign.

    Returns
    -------
    torch.Tensor, shape (F, R, ...)
        ``values[:, clamp(i + offset)]``.
    """
    n = values.shape[1]
    index = torch.arange(n, device=values.device) + offset
    return values[:, index.clamp(min=0, max=n - 1)]


def same_segment(chain_index: Tensor, offset: int) -> Tensor:
    """Whether residue i + offset exists in the segment of i, shape (R,)."""
    n = chain_index.shape[0]
    index = torch.arange(n, device=chain_index.device) + offset
    inside = (index >= 0) & (index < n)
    other = chain_index[index.clamp(min=0, max=n - 1)]
    return inside & (other == chain_index)


def extend_trace(
    ca: Tensor,
    chain_index: Tensor,
    bond: float = VIRTUAL_BOND,
    angle: float = VIRTUAL_ANGLE,
    dihedral: float = VIRTUAL_DIHEDRAL,
) -> tuple[Tensor, Tensor]:
    """Previous and next CA of every residue, virtual beyond segment ends.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    chain_index : torch.Tensor, shape (R,)
        Bonded segment of each residue.
    bond, angle, dihedral : float
        Where a virtual CA stands, nm and radians.

    Returns
    -------
    tuple of torch.Tensor, each of shape (F, R, 3)
        CA of i - 1 and of i + 1. For segments of one or two residues the
        virtual directions are arbitrary but finite.
    """
    has_before = same_segment(chain_index, -1).view(1, -1, 1)
    has_after = same_segment(chain_index, 1).view(1, -1, 1)
    before = shift_residues(ca, -1)
    before2 = shift_residues(ca, -2)
    after = shift_residues(ca, 1)
    after2 = shift_residues(ca, 2)
    axis = torch.tensor([0.38, 0.0, 0.0], dtype=ca.dtype, device=ca.device)
    side = torch.tensor([0.1, 0.37, 0.0], dtype=ca.dtype, device=ca.device)
    # short segments: make up the missing points
    after_ = torch.where(has_after, after, ca + axis)
    has_after2 = same_segment(chain_index, 2).view(1, -1, 1)
    after2_ = torch.where(has_after2, after2, after_ + side)
    before_ = torch.where(has_before, before, ca - axis)
    has_before2 = same_segment(chain_index, -2).view(1, -1, 1)
    before2_ = torch.where(has_before2, before2, before_ + side)
    one = torch.ones_like(ca[..., 0])
    virtual_before = place_atom(
        after2_, after_, ca,
        bond * one, angle * one, dihedral * one,
    )  # fmt: skip
    virtual_after = place_atom(
        before2_, before_, ca,
        bond * one, angle * one, dihedral * one,
    )  # fmt: skip
    return (
        torch.where(has_before, before, virtual_before),
        torch.where(has_after, after, virtual_after),
    )


def compute_local_frames(before: Tensor, ca: Tensor, after: Tensor) -> Tensor:
    """Frame of each residue from three consecutive CAs.

    Parameters
    ----------
    before, ca, after : torch.Tensor, shape (F, R, 3)
        CA positions of i - 1, i and i + 1 in nm.

    Returns
    -------
    torch.Tensor, shape (F, R, 3, 3)
        Rows: x along before -> after, y along the bisector, z = x cross y.
    """
    x = normalize(after - before)
    bisector = 2.0 * ca - before - after
    # a straight trace has no bisector: the tiny constant keeps y finite
    y = bisector - (bisector * x).sum(-1, keepdim=True) * x
    y = normalize(y + 1e-6)
    y = normalize(y - (y * x).sum(-1, keepdim=True) * x)
    z = torch.linalg.cross(x, y, dim=-1)
    return torch.stack((x, y, z), dim=-2)


def compute_node_features(
    ca: Tensor, before: Tensor, after: Tensor, chain_index: Tensor, sigma: Tensor
) -> Tensor:
    """Invariant description of the trace around each residue.

    Parameters
    ----------
    ca, before, after : torch.Tensor, shape (F, R, 3)
        CA of i, i - 1 and i + 1 in nm (see `extend_trace`).
    chain_index : torch.Tensor, shape (R,)
        Bonded segment of each residue.
    sigma : torch.Tensor, shape (F, R)
        Expected CA noise in nm a coordinate, 0 = exact.

    Returns
    -------
    torch.Tensor, shape (F, R, 40)
        Bond lengths, virtual angles of i - 1, i, i + 1, harmonics of the two
        virtual dihedrals about i-1..i and i..i+1, distances to i +- 2, i +- 3
        and i +- 4, existence flags, sigma.
    """
    n_frames = ca.shape[0]
    before2 = shift_residues(before, -1)
    after2 = shift_residues(after, 1)
    has = [
        same_segment(chain_index, k).to(ca.dtype) for k in (-4, -3, -2, -1, 1, 2, 3, 4)
    ]  # noqa: E501
    features: list[Tensor] = []
    b0 = before - before2
    b1 = ca - before
    b2 = after - ca
    b3 = after2 - after
    one_flag = torch.ones_like(has[3])
    for bond, w in ((b0, has[3]), (b1, one_flag), (b2, one_flag), (b3, has[4])):
        length = torch.sqrt((bond * bond).sum(-1).clamp(min=1e-8))
        stretch = ((length - 0.38) * 20.0).clamp(-5.0, 5.0)
        # beyond the segment's end stands another one: as far as can be told
        features.append(5.0 + (stretch - 5.0) * w)
    for u, v, w in ((b0, b1, has[2]), (b1, b2, has[3] * has[4]), (b2, b3, has[5])):
        c = (normalize(u) * normalize(v)).sum(-1)
        features.append(c * w)
        features.append((2.0 * c * c - 1.0) * w)
    one = compute_dihedral(before2, before, ca, after)
    two = compute_dihedral(before, ca, after, after2)
    for phi, w in ((one, has[2]), (two, has[5])):
        for k in (1.0, 2.0, 3.0):
            features.append(torch.sin(k * phi) * w)
            features.append(torch.cos(k * phi) * w)
    for offset, w in (
        (-4, has[0]),
        (-3, has[1]),
        (-2, has[2]),
        (2, has[5]),
        (3, has[6]),
        (4, has[7]),
    ):  # noqa: E501
        delta = shift_residues(ca, offset) - ca
        length = torch.sqrt((delta * delta).sum(-1).clamp(min=1e-8))
        features.append(((length - 0.8) * 3.0).clamp(-3.0, 3.0) * w)
    # twist of the trace over four steps: the product of the two dihedrals' sines
    features.append(torch.sin(one + two) * has[2] * has[5])
    features.append(torch.cos(one + two) * has[2] * has[5])
    for flag in has:
        features.append(flag.view(1, -1).expand(n_frames, -1))
    features.append(sigma * 30.0)
    features.append(torch.exp(-sigma * 60.0))
    return torch.stack(features, dim=-1)


def compute_image_shift(
    ca: Tensor, chain_index: Tensor, neighbor_index: Tensor, box: Tensor
) -> Tensor:
    """Vectors to the nearest periodic image of neighbours in other segments.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm, each segment whole.
    chain_index : torch.Tensor, shape (R,)
        Bonded segment of each residue.
    neighbor_index : torch.Tensor, shape (F, R, K)
        Neighbours, -1 = none.
    box : torch.Tensor, shape (F, 3, 3)
        Reduced box vectors as rows in nm, zeros for no box.

    Returns
    -------
    torch.Tensor, shape (F, R, K, 3)
        Added to the neighbour's position it gives the image; zero within a
        segment and without a box.
    """
    n_frames, n, k = neighbor_index.shape
    has_box = (box.abs().sum(-1).sum(-1) > 0).view(-1, 1, 1)
    identity = torch.eye(3, dtype=box.dtype, device=box.device).expand_as(box)
    vectors = torch.where(has_box, box, identity)
    near = neighbor_index.clamp(min=0)
    base = torch.arange(n_frames, device=ca.device).view(-1, 1, 1) * n
    other = ca.reshape(-1, 3).index_select(0, (near + base).reshape(-1))
    delta = other.view(n_frames, n, k, 3) - ca.unsqueeze(2)
    # no matrix products: where TF32 is allowed they round a box to 1e-3
    vectors = vectors.view(n_frames, 1, 1, 3, 3)
    part = to_global(torch.linalg.inv(vectors), delta)
    shift = -to_global(vectors, torch.round(part))
    apart = chain_index[near] != chain_index.view(1, n, 1)
    moves = apart & has_box & (neighbor_index >= 0)
    return shift * moves.unsqueeze(-1).to(shift.dtype)


def fill_neighbors(neighbor_index: Tensor) -> Tensor:
    """Put the residue itself where it has no further neighbour.

    So a residue that has none at all sees nothing of others.

    Parameters
    ----------
    neighbor_index : torch.Tensor, shape (F, R, K)
        Neighbours, -1 = none.

    Returns
    -------
    torch.Tensor, shape (F, R, K), int64
        Without -1.
    """
    n = neighbor_index.shape[1]
    own = torch.arange(n, device=neighbor_index.device).view(1, n, 1)
    return torch.where(neighbor_index < 0, own, neighbor_index)


def compute_offset_index(
    chain_index: Tensor, neighbor_index: Tensor, max_offset: int = MAX_OFFSET
) -> Tensor:
    """Row of the sequence-offset embedding of every edge.

    Parameters
    ----------
    chain_index : torch.Tensor, shape (R,)
        Bonded segment of each residue.
    neighbor_index : torch.Tensor, shape (F, R, K)
        Neighbours, -1 = none.
    max_offset : int
        Where offsets are clipped.

    Returns
    -------
    torch.Tensor, shape (F, R, K), int64
        ``clip(j - i, +-32) + 32``, or 65 for another segment.
    """
    n = chain_index.shape[0]
    j = neighbor_index.clamp(min=0)
    i = torch.arange(n, device=chain_index.device).view(1, n, 1)
    offset = (j - i).clamp(min=-max_offset, max=max_offset) + max_offset
    same = chain_index[j] == chain_index.view(1, n, 1)
    return torch.where(same, offset, torch.full_like(offset, 2 * max_offset + 1))


def compute_edge_features(
    ca: Tensor,
    frames: Tensor,
    neighbor_index: Tensor,
    shift: Tensor | None,
    n_rbf: int = N_RBF,
    rbf_min: float = RBF_MIN,
    rbf_max: float = RBF_MAX,
) -> Tensor:
    """Invariant description of every residue pair.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    frames : torch.Tensor, shape (F, R, 3, 3)
        Local frames.
    neighbor_index : torch.Tensor, shape (F, R, K)
        Neighbours, -1 = none.
    shift : torch.Tensor, shape (F, R, K, 3), optional
        Periodic image of the neighbour in nm, added to its position. If
        None, no box.

    Returns
    -------
    torch.Tensor, shape (F, R, K, 31)
        RBF of the distance, unit offset in both frames, relative orientation.
    """
    n_frames, n, k = neighbor_index.shape
    base = torch.arange(n_frames, device=ca.device).view(-1, 1, 1) * n
    flat = (neighbor_index.clamp(min=0) + base).reshape(-1)
    other = ca.reshape(-1, 3).index_select(0, flat).view(n_frames, n, k, 3)
    delta = other - ca.unsqueeze(2)
    if shift is not None:
        delta = delta + shift
    distance = torch.sqrt((delta * delta).sum(-1, keepdim=True).clamp(min=1e-8))
    unit = delta / distance
    centers = torch.linspace(rbf_min, rbf_max, n_rbf, dtype=ca.dtype, device=ca.device)
    width = (rbf_max - rbf_min) / n_rbf
    z = (distance - centers) / width
    # the tails would be denormal numbers, which slow products thirtyfold
    rbf = torch.exp(-(0.5 * z * z).clamp(max=30.0))
    other_frame = frames.reshape(-1, 9).index_select(0, flat).view(n_frames, n, k, 3, 3)
    here = frames.unsqueeze(2)
    mine = (here * unit.unsqueeze(-2)).sum(-1)
    theirs = (other_frame * unit.unsqueeze(-2)).sum(-1)
    relative = torch.matmul(
        here.expand(n_frames, n, k, 3, 3), other_frame.transpose(-1, -2)
    )
    return torch.cat((rbf, mine, theirs, relative.reshape(n_frames, n, k, 9)), dim=-1)
