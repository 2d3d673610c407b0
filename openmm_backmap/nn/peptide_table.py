"""Peptide azimuths from the nearest CA geometries of a table."""

import torch
from torch import Tensor, nn

from openmm_backmap.builder.backbone import has_next, unit_frames
from openmm_backmap.geometry.frames import to_local
from openmm_backmap.geometry.vectors import compute_angle, compute_dihedral, wrap_angle

__all__ = ["PeptideTable", "compute_far_azimuth", "compute_trace_features"]


def compute_trace_features(
    ca: Tensor, residue_type: Tensor, chain_index: Tensor
) -> Tensor:
    """Describe the CA trace about every peptide unit.

    Three virtual dihedrals and four virtual angles over residues i - 2 to
    i + 3, and whether residues i and i + 1 are glycine or proline, scaled so
    that the Euclidean distance ranks neighbours (weights chosen on the
    validation split). What reaches beyond the segment is zero.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.

    Returns
    -------
    torch.Tensor, shape (F, R, 14)
        Features of unit i.
    """
    features: list[Tensor] = []
    for first, weight in ((-2, 0.7), (-1, 1.5), (0, 0.7)):
        points: list[Tensor] = []
        for k in range(4):
            points.append(torch.roll(ca, -(first + k), 1))
        inside = torch.roll(chain_index, -first, 0) == torch.roll(
            chain_index, -(first + 3), 0
        )
        inside = inside & (torch.roll(chain_index, -first, 0) == chain_index)
        inside = inside & _in_range(chain_index, first, first + 3)
        angle = compute_dihedral(points[0], points[1], points[2], points[3])
        scale = inside.to(ca.dtype) * weight
        features.append(torch.cos(angle) * scale)
        features.append(torch.sin(angle) * scale)
    for first, weight in ((-2, 0.7), (-1, 1.5), (0, 1.5), (1, 0.7)):
        inside = torch.roll(chain_index, -first, 0) == chain_index
        inside = inside & (torch.roll(chain_index, -(first + 2), 0) == chain_index)
        inside = inside & _in_range(chain_index, first, first + 2)
        angle = compute_angle(
            torch.roll(ca, -first, 1),
            torch.roll(ca, -(first + 1), 1),
            torch.roll(ca, -(first + 2), 1),
        )
        features.append((angle - 1.9) * 2.0 * inside.to(ca.dtype) * weight)
    following = torch.roll(residue_type, -1, 0)
    for kind in (
        residue_type == 7,
        residue_type == 14,
        following == 7,
        following == 14,
    ):
        features.append((kind.to(ca.dtype) * 0.5).expand(ca.shape[0], -1))
    return torch.stack(features, -1)


def _in_range(chain_index: Tensor, low: int, high: int) -> Tensor:
    """Whether i + low and i + high lie between 0 and R - 1."""
    index = torch.arange(chain_index.shape[0], device=chain_index.device)
    return (index + low >= 0) & (index + high < chain_index.shape[0])


def compute_far_azimuth(ca: Tensor, chain_index: Tensor) -> Tensor:
    """Azimuth of CA(i+2) about unit i, the reference where CA(i-1) is missing.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    chain_index : torch.Tensor, shape (R,), int64
        Segment of each residue.

    Returns
    -------
    torch.Tensor, shape (F, R)
        Radians in the frame of the unit; 0 where there is no CA(i+2).
    """
    joined = has_next(chain_index)
    frame = unit_frames(ca, chain_index)
    local = to_local(frame, torch.roll(ca, -2, 1) - ca)
    azimuth = torch.atan2(local[..., 2], local[..., 1])
    return azimuth * (joined & torch.roll(joined, -1, 0)).to(ca.dtype)


class PeptideTable(nn.Module):
    """Kernel-weighted nearest neighbours in the space of CA traces.

    Parameters
    ----------
    features : torch.Tensor, shape (N, 14)
        `compute_trace_features` of the stored units.
    alpha, far_alpha, twist : torch.Tensor, shape (N,)
        Azimuth of C from CA(i-1) and from CA(i+2), and twist, in radians.
    n_nearest : int
        Neighbours that vote.
    n_planes : int
        Candidate planes of a unit.
    mean_log_p : float
        log p of the mean plane beside those of the neighbours.
    """

    def __init__(
        self,
        features: Tensor,
        alpha: Tensor,
        far_alpha: Tensor,
        twist: Tensor,
        n_nearest: int = 16,
        n_planes: int = 8,
        mean_log_p: float = 1.0,
    ) -> None:
        super().__init__()
        self.register_buffer("features", features.contiguous())
        self.register_buffer("square", (features * features).sum(-1))
        azimuth = torch.stack((alpha, far_alpha), -1)
        self.register_buffer("azimuth", azimuth)
        self.register_buffer("twist", twist)
        self.n_nearest = n_nearest
        self.n_planes = n_planes
        self.mean_log_p = mean_log_p

    def forward(
        self,
        ca: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Candidate planes of every unit.

        Parameters
        ----------
        ca : torch.Tensor, shape (F, R, 3)
            CA positions in nm.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and segment of each residue.

        Returns
        -------
        alpha, twist, log_p : torch.Tensor, shape (F, R, P)
            The weighted mean of all neighbours first (log p of `mean_log_p`),
            then the nearest ones by falling weight; radians.
        """
        frames, residues = ca.shape[0], ca.shape[1]
        query = compute_trace_features(ca, residue_type, chain_index)
        query = query.reshape(frames * residues, query.shape[-1])
        far = compute_far_azimuth(ca, chain_index)
        is_first = ~torch.roll(has_next(chain_index), 1, 0)
        column = is_first.long().repeat(frames)
        alphas: list[Tensor] = []
        twists: list[Tensor] = []
        log_ps: list[Tensor] = []
        start = 0
        while start < query.shape[0]:
            stop = min(start + 512, query.shape[0])
            rows = query[start:stop]
            # squared distance less the query's own square, which ranks nothing
            ranked = torch.addmm(self.square, rows, self.features.t(), alpha=-2.0)
            near, index = torch.topk(ranked, self.n_nearest, dim=1, largest=False)
            near = near + (rows * rows).sum(1, keepdim=True)
            width = near[:, :1].clamp(min=0.0) + 0.02
            weight = torch.exp(-0.5 * near / width)
            weight = weight / weight.sum(1, keepdim=True)
            azimuth = self.azimuth[index]
            azimuth = torch.where(
                column[start:stop].view(-1, 1) == 1, azimuth[..., 1], azimuth[..., 0]
            )
            twist = self.twist[index]
            alpha = torch.atan2(
                (weight * torch.sin(azimuth)).sum(1),
                (weight * torch.cos(azimuth)).sum(1),
            )
            mean_twist = (weight * twist).sum(1)
            own = self.n_planes - 1
            alpha = torch.cat((alpha.unsqueeze(1), azimuth[:, :own]), 1)
            mean_twist = torch.cat((mean_twist.unsqueeze(1), twist[:, :own]), 1)
            log_p = torch.log(weight[:, :own].clamp(min=1e-6))
            log_p = torch.cat(
                (torch.full_like(log_p[:, :1], self.mean_log_p), log_p), 1
            )
            log_ps.append(log_p)
            alphas.append(alpha)
            twists.append(mean_twist)
            start = stop
        shape = [frames, residues, self.n_planes]
        alpha = torch.cat(alphas).view(shape)
        alpha = alpha + (far * is_first.to(ca.dtype)).unsqueeze(-1)
        return (
            wrap_angle(alpha),
            torch.cat(twists).view(shape),
            torch.cat(log_ps).view(shape),
        )
