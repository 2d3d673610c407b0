"""One batch: pieces of several entries, noised, cut and padded to one size."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openmm_backmap.builder.backbone import unit_frames
from openmm_backmap.builder.conditioning import project_ca
from openmm_backmap.builder.extract import find_read_ends
from openmm_backmap.training.gaps import hide_gaps, number_segments
from openmm_backmap.training.prepared import PreparedSet

__all__ = ["PADDING", "Batch", "collate", "turn_azimuth"]

PADDING = 100000
"""Segments from here on hold nothing."""


@dataclass(frozen=True, eq=False)
class Batch:
    """One frame of R residues out of several entries.

    Parameters
    ----------
    ca : torch.Tensor, shape (1, R, 3)
        Noisy, projected CA positions in nm.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        As the network reads them; padding has segments of its own.
    neighbor_index : torch.Tensor, shape (1, R, K), int64
        Neighbours within the same entry.
    sigma : torch.Tensor, shape (1, R)
        Noise in nm.
    target : torch.Tensor, shape (1, R, 9)
        Torsions, the C azimuth in the frame of the noisy CAs.
    known : torch.Tensor, shape (1, R, 9), bool
        Targets that count.
    is_cis : torch.Tensor, shape (1, R), bool
        Cis units.
    """

    ca: Tensor
    residue_type: Tensor
    chain_index: Tensor
    neighbor_index: Tensor
    sigma: Tensor
    target: Tensor
    known: Tensor
    is_cis: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(**{k: v.to(device) for k, v in vars(self).items()})


def turn_azimuth(
    alpha: Tensor,
    clean: Tensor,
    noisy: Tensor,
    chain_index: Tensor,
    cut_index: Tensor | None = None,
) -> Tensor:
    """C azimuth that keeps its direction in space when the CAs move.

    Parameters
    ----------
    alpha : torch.Tensor, shape (F, R)
        Azimuth in the frames of `clean`, radians.
    clean, noisy : torch.Tensor, shape (F, R, 3)
        CA positions in nm before and after the noise.
    chain_index : torch.Tensor, shape (R,)
        Bonded segments.
    cut_index : torch.Tensor, shape (R,), optional
        Bonded segments of `noisy`. If None, those of `clean`.

    Returns
    -------
    torch.Tensor, shape (F, R)
        Azimuth in the frames of `noisy`.
    """
    before = unit_frames(clean, chain_index)
    after = unit_frames(noisy, chain_index if cut_index is None else cut_index)
    cosine, sine = torch.cos(alpha)[..., None], torch.sin(alpha)[..., None]
    direction = cosine * before[..., 1, :] + sine * before[..., 2, :]
    return torch.atan2(
        (direction * after[..., 2, :]).sum(-1), (direction * after[..., 1, :]).sum(-1)
    )


def collate(
    data: PreparedSet,
    pieces: list[tuple[int, int, int]],
    sigma: list[float],
    noise: np.ndarray,
    n_residues: int,
    n_neighbors: int,
    gaps: list[tuple[int, int]] | None = None,
) -> Batch:
    """Join pieces of a prepared split into one padded frame.

    Parameters
    ----------
    data : PreparedSet
        The split.
    pieces : list of tuple of int
        First row, number of rows and offset of the first row in its frame.
    sigma : list of float
        Noise of each piece in nm.
    noise : numpy.ndarray, shape (R, 3)
        Standard normal numbers.
    n_residues, n_neighbors : int
        R and K.
    gaps : list of tuple of int, optional
        First row and length of the gaps to cut.

    Returns
    -------
    Batch
    """
    rows = _gather_rows(data, pieces, sigma, n_residues, n_neighbors)
    whole = torch.from_numpy(rows.chain.copy())
    clean = torch.from_numpy(rows.ca.copy())[None]
    if gaps:
        _cut_gaps(rows, gaps)
    types, chain_index = torch.from_numpy(rows.type), torch.from_numpy(rows.chain)
    read = find_read_ends(chain_index).numpy()
    rows.known[:, 2:5] = rows.end_known & read
    # an end has no unit to the next residue
    rows.known[read[:, 1], :2], rows.is_cis[read[:, 1]] = False, False
    moved = torch.from_numpy(rows.ca + noise * rows.sigma[:, None])[None]
    moved = project_ca(moved, types, chain_index)
    goal = torch.from_numpy(rows.target)[None]
    goal[..., 0] = turn_azimuth(goal[..., 0], clean, moved, whole, chain_index)
    return Batch(
        ca=moved,
        residue_type=types,
        chain_index=chain_index,
        neighbor_index=torch.from_numpy(rows.neighbor)[None],
        sigma=torch.from_numpy(rows.sigma)[None],
        target=goal,
        known=torch.from_numpy(rows.known)[None],
        is_cis=torch.from_numpy(rows.is_cis)[None],
    )


@dataclass(eq=False)
class _Rows:
    """The R rows of a batch while it is put together; see `Batch`."""

    ca: np.ndarray  # (R, 3)
    type: np.ndarray  # (R,)
    chain: np.ndarray  # (R,)
    neighbor: np.ndarray  # (R, K)
    sigma: np.ndarray  # (R,)
    target: np.ndarray  # (R, T)
    known: np.ndarray  # (R, T)
    end_known: np.ndarray  # (R, 3)
    is_cis: np.ndarray  # (R,)


def _make_nowhere(n_residues: int) -> np.ndarray:
    """Positions (R, 3) of padding: far apart from everything."""
    nowhere = np.zeros((n_residues, 3), np.float32)
    nowhere[:, 0] = np.arange(n_residues) * 5.0
    return nowhere


def _gather_rows(
    data: PreparedSet,
    pieces: list[tuple[int, int, int]],
    sigma: list[float],
    n_residues: int,
    n_neighbors: int,
) -> _Rows:
    """Copy pieces behind one another; arguments as in `collate`."""
    rows = _Rows(
        ca=_make_nowhere(n_residues),
        type=np.zeros(n_residues, np.int64),
        # padding is one residue a segment
        chain=PADDING + np.arange(n_residues),
        neighbor=np.full((n_residues, n_neighbors), -1, np.int64),
        sigma=np.zeros(n_residues, np.float32),
        target=np.zeros((n_residues, data.target.shape[1]), np.float32),
        known=np.zeros((n_residues, data.target.shape[1]), bool),
        end_known=np.zeros((n_residues, 3), bool),
        is_cis=np.zeros(n_residues, bool),
    )
    at = n_chains = 0
    for (row, n, offset), level in zip(pieces, sigma, strict=True):
        there, here = slice(row, row + n), slice(at, at + n)
        rows.ca[here] = data.ca[there]
        rows.type[here] = data.residue_type[there]
        segment = data.segment[there].astype(np.int64)
        rows.chain[here] = segment - segment[0] + n_chains
        n_chains = int(rows.chain[at + n - 1]) + 1
        near = data.neighbor[there, :n_neighbors].astype(np.int64)
        inside = (near >= offset) & (near < offset + n)
        rows.neighbor[here] = np.where(inside, near - offset + at, -1)
        rows.sigma[here] = level
        rows.target[here] = data.target[there]
        rows.known[here] = data.known[there]
        rows.is_cis[here] = data.is_cis[there]
        rows.end_known[here] = data.end_known[there]
        # the azimuths of a first unit are counted from the CA before
        if offset > 0:
            rows.known[at, :2], rows.end_known[at, 0] = False, False
        at += n
    return rows


def _cut_gaps(rows: _Rows, gaps: list[tuple[int, int]]) -> None:
    """Take residues out of chains, in place: first row and length of each gap."""
    hidden = hide_gaps(rows.chain, gaps)
    nothing = hidden | (rows.chain >= PADDING)
    rows.chain = number_segments(rows.chain, hidden)
    rows.chain[nothing] = PADDING + np.flatnonzero(nothing)
    rows.ca[hidden] = _make_nowhere(len(hidden))[hidden]
    rows.known[hidden], rows.end_known[hidden] = False, False
    rows.sigma[hidden] = 0.0
    rows.neighbor[hidden] = -1
    lost = (rows.neighbor >= 0) & hidden[rows.neighbor.clip(0)]
    rows.neighbor[lost] = -1
