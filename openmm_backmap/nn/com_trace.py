"""CA positions from a trace that holds centres of mass of residues."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.builder.conditioning import project_ca
from openmm_backmap.geometry.frames import frame_from_axes, to_global, to_local

__all__ = [
    "N_SHIFT_FEATURES",
    "ComTrace",
    "compute_shift_features",
    "load_com_trace",
    "trace_frames",
]

N_SHIFT_FEATURES = 53
"""1, local positions of four neighbours (12), types of two (2 x 20)."""


def trace_frames(points: Tensor, chain_index: Tensor) -> Tensor:
    """Local frame of every residue from the points of its neighbours.

    Parameters
    ----------
    points : torch.Tensor, shape (F, R, 3)
        One point a residue in nm.
    chain_index : torch.Tensor, shape (R,), int64
        Segment of each residue.

    Returns
    -------
    torch.Tensor, shape (F, R, 3, 3)
        Rows x (from the residue before to the one after), y (away from
        both), z. The first and the last residue of a segment take the frame
        of the residue beside them.
    """
    joined = has_next(chain_index)
    joined_before = torch.roll(joined, 1, 0)
    before = torch.roll(points, 1, 1)
    after = torch.roll(points, -1, 1)
    frame = frame_from_axes(after - before, points - 0.5 * (before + after))
    first = (joined & ~joined_before).view(1, -1, 1, 1)
    last = (joined_before & ~joined).view(1, -1, 1, 1)
    frame = torch.where(first, torch.roll(frame, -1, 1), frame)
    return torch.where(last, torch.roll(frame, 1, 1), frame)


def compute_shift_features(
    beads: Tensor, residue_type: Tensor, chain_index: Tensor
) -> Tensor:
    """Describe the surroundings of a bead along the chain.

    Parameters
    ----------
    beads : torch.Tensor, shape (F, R, 3)
        One bead a residue in nm.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.

    Returns
    -------
    torch.Tensor, shape (F, R, 53)
        1; the beads of residues i - 2, i - 1, i + 1, i + 2 in the frame of
        `trace_frames`, in units of 0.4 nm; the types of residues i - 1 and
        i + 1, one hot. Zeros beyond the segment.
    """
    frame = trace_frames(beads, chain_index)
    joined = has_next(chain_index)
    parts: list[Tensor] = [torch.ones_like(beads[..., :1])]
    hot = torch.zeros(residue_type.shape[0], 20, dtype=beads.dtype, device=beads.device)
    hot = hot.scatter(1, residue_type.unsqueeze(1), 1.0)
    one = joined
    two = joined & torch.roll(joined, -1, 0)
    minus_one = torch.roll(joined, 1, 0)
    minus_two = minus_one & torch.roll(joined, 2, 0)
    for offset, inside in ((-2, minus_two), (-1, minus_one), (1, one), (2, two)):
        local = to_local(frame, torch.roll(beads, -offset, 1) - beads)
        parts.append(local / 0.4 * inside.to(beads.dtype).view(1, -1, 1))
    for offset, inside in ((-1, minus_one), (1, one)):
        kind = torch.roll(hot, -offset, 0) * inside.to(beads.dtype).unsqueeze(1)
        parts.append(kind.unsqueeze(0).expand(beads.shape[0], -1, -1))
    return torch.cat(parts, -1)


class ComTrace(nn.Module):
    """CA trace of beads some of which are centres of mass.

    Parameters
    ----------
    coefficients : torch.Tensor, shape (20, 53, 3)
        For each residue type the linear map from `compute_shift_features` to
        CA - bead in nm in the local frame of the beads.
    """

    def __init__(self, coefficients: Tensor) -> None:
        super().__init__()
        self.register_buffer("coefficients", coefficients)

    def forward(
        self,
        beads: Tensor,
        is_com: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
    ) -> Tensor:
        """Guess the CA of every residue from the beads alone.

        Parameters
        ----------
        beads : torch.Tensor, shape (F, R, 3)
            Centre of mass or CA of each residue in nm.
        is_com : torch.Tensor, shape (R,), bool
            True for centres of mass.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and segment of each residue.

        Returns
        -------
        torch.Tensor, shape (F, R, 3)
            CA in nm, in the range in which a backbone can be built.
        """
        features = compute_shift_features(beads, residue_type, chain_index)
        map_ = self.coefficients[residue_type].to(beads.dtype)
        shift = torch.einsum("frk,rkx->frx", features, map_)
        moved = beads + to_global(trace_frames(beads, chain_index), shift)
        is_com = is_com.view(1, -1, 1)
        ca = torch.where(is_com, moved, beads)
        return project_ca(ca, residue_type, chain_index)


def load_com_trace() -> ComTrace:
    """Load the map that comes with the package.

    Returns
    -------
    ComTrace
        Made by `openmm_backmap.training.fit_com_trace` from X-ray structures
        at 2.2 A or better of the training split.
    """
    path = Path(__file__).resolve().parents[1] / "data" / "com_trace.npz"
    with np.load(path) as archive:
        return ComTrace(torch.from_numpy(archive["coefficients"]))
