"""Batches of mixed proteins of one fixed size, a pure function of the step.

Batch `step` is drawn by a generator keyed by (seed, rank, step), so a resumed
run sees the same batches as an unbroken one without any sampler state. Every
batch holds the same number of residues (padded), which lets the network be
compiled once.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from openmm_backmap.builder.backbone import unit_frames
from openmm_backmap.builder.conditioning import project_ca
from openmm_backmap.builder.extract import find_read_ends
from openmm_backmap.errors import DataError
from openmm_backmap.training.gaps import draw_gaps, hide_gaps, number_segments
from openmm_backmap.training.prepared import PreparedSet

__all__ = [
    "Batch",
    "BatchSampler",
    "entry_batches",
]

N_TRIES = 40
CRYSTAL_METHODS = ("X-RAY", "UNKNOWN")
PADDING = 100000  # segments from here on hold nothing


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


class BatchSampler:
    """Draws batches of a prepared split.

    Parameters
    ----------
    data : PreparedSet
        Where entries come from.
    n_residues : int
        Residues of a batch R, padding included.
    n_neighbors : int
        Neighbours K.
    noise_max : float
        Largest CA noise in nm a coordinate.
    noise_share : float
        Share of entries that get noise.
    seed, rank : int
        Keys of the generator; ranks draw different batches.
    neighbor_dropout : float
        Probability that a neighbour is hidden from a residue.
    ensembles : bool
        False = crystal structures alone.
    gap_share : float
        Share of entries that get gaps (see `training.gaps`).

    Raises
    ------
    DataError
        If no entry is left.
    """

    def __init__(
        self,
        data: PreparedSet,
        n_residues: int = 1024,
        n_neighbors: int = 16,
        noise_max: float = 0.03,
        noise_share: float = 0.5,
        seed: int = 0,
        rank: int = 0,
        neighbor_dropout: float = 0.0,
        ensembles: bool = True,
        gap_share: float = 0.0,
    ) -> None:
        self.data = data
        self.gap_share = gap_share
        self.neighbor_dropout = neighbor_dropout
        self.n_residues = n_residues
        self.n_neighbors = n_neighbors
        self.noise_max = noise_max
        self.noise_share = noise_share
        self.seed = seed
        self.rank = rank
        weight = np.array(data.weight, np.float64)
        if not ensembles:
            crystal = [method in CRYSTAL_METHODS for method in data.method]
            weight = weight * np.array(crystal)
            if not weight.any():
                raise DataError(
                    "[data] ensembles = false leaves no entry: the split holds no "
                    "crystal structure"
                )
        self._cumulative = np.cumsum(weight) / np.sum(weight)

    def _draw_rows(self, rng: np.random.Generator) -> list[tuple[int, int, int]]:
        """(first row, number of rows, offset in the frame) of each piece."""
        data = self.data
        left = self.n_residues
        pieces: list[tuple[int, int, int]] = []
        drawn = np.searchsorted(self._cumulative, rng.random(N_TRIES), "right")
        for entry in drawn:
            entry = min(int(entry), data.n_entries - 1)
            n = int(data.n_residues[entry])
            model = int(rng.integers(data.n_models[entry]))
            row = int(data.first[entry]) + model * n
            if n <= left:
                pieces.append((row, n, 0))
                left -= n
            elif n > self.n_residues and not pieces:
                start = int(rng.integers(n - left + 1))
                pieces.append((row + start, left, start))
                left = 0
            if left < 16:
                break
        return pieces

    def batch(self, step: int) -> Batch:
        """Draw the batch of a step.

        Parameters
        ----------
        step : int
            Number of the step.

        Returns
        -------
        Batch
            The same for the same (seed, rank, step).
        """
        rng = np.random.default_rng((self.seed, self.rank, step))
        pieces = self._draw_rows(rng)
        sigma = [
            self.noise_max * rng.random() if rng.random() < self.noise_share else 0.0
            for _ in pieces
        ]
        noise = rng.standard_normal((self.n_residues, 3), dtype=np.float32)
        gaps: list[tuple[int, int]] = []
        if self.gap_share > 0.0:
            gaps = draw_gaps(rng, [n for _, n, _ in pieces], self.gap_share)
        batch = collate(
            self.data, pieces, sigma, noise, self.n_residues, self.n_neighbors, gaps
        )
        if self.neighbor_dropout > 0.0:
            shape = batch.neighbor_index.shape
            hidden = rng.random(shape, dtype=np.float32) < self.neighbor_dropout
            batch.neighbor_index[torch.from_numpy(hidden)] = -1
        return batch


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
    # padding: far apart from everything, one residue a segment
    nowhere = np.zeros((n_residues, 3), np.float32)
    nowhere[:, 0] = np.arange(n_residues) * 5.0
    ca = nowhere.copy()
    residue_type = np.zeros(n_residues, np.int64)
    chain = PADDING + np.arange(n_residues)
    neighbor = np.full((n_residues, n_neighbors), -1, np.int64)
    level = np.zeros(n_residues, np.float32)
    target = np.zeros((n_residues, data.target.shape[1]), np.float32)
    known = np.zeros((n_residues, data.target.shape[1]), bool)
    end_known = np.zeros((n_residues, 3), bool)
    is_cis = np.zeros(n_residues, bool)
    at = n_chains = 0
    for (row, n, offset), s in zip(pieces, sigma, strict=True):
        rows, here = slice(row, row + n), slice(at, at + n)
        ca[here] = data.ca[rows]
        residue_type[here] = data.residue_type[rows]
        segment = data.segment[rows].astype(np.int64)
        chain[here] = segment - segment[0] + n_chains
        n_chains = int(chain[at + n - 1]) + 1
        near = data.neighbor[rows, :n_neighbors].astype(np.int64)
        inside = (near >= offset) & (near < offset + n)
        neighbor[here] = np.where(inside, near - offset + at, -1)
        level[here] = s
        target[here] = data.target[rows]
        known[here] = data.known[rows]
        is_cis[here] = data.is_cis[rows]
        end_known[here] = data.end_known[rows]
        # the azimuths of a first unit are counted from the CA before
        if offset > 0:
            known[at, :2], end_known[at, 0] = False, False
        at += n
    clean = torch.from_numpy(ca)[None]
    types = torch.from_numpy(residue_type)
    whole, chain_index = torch.from_numpy(chain), torch.from_numpy(chain)
    if gaps:
        hidden = hide_gaps(chain, gaps)
        cut = number_segments(chain, hidden)
        nothing = hidden | (chain >= PADDING)
        cut[nothing] = PADDING + np.flatnonzero(nothing)
        chain_index = torch.from_numpy(cut)
        ca = np.where(hidden[:, None], nowhere, ca)
        known[hidden], end_known[hidden], level[hidden] = False, False, 0.0
        neighbor[hidden] = -1
        neighbor[(neighbor >= 0) & hidden[neighbor.clip(0)]] = -1
    read = find_read_ends(chain_index).numpy()
    known[:, 2:5] = end_known & read
    # an end has no unit to the next residue
    known[read[:, 1], :2], is_cis[read[:, 1]] = False, False
    moved = torch.from_numpy(ca + noise * level[:, None])[None]
    moved = project_ca(moved, types, chain_index)
    goal = torch.from_numpy(target)[None]
    goal[..., 0] = turn_azimuth(goal[..., 0], clean, moved, whole, chain_index)
    return Batch(
        ca=moved,
        residue_type=types,
        chain_index=chain_index,
        neighbor_index=torch.from_numpy(neighbor)[None],
        sigma=torch.from_numpy(level)[None],
        target=goal,
        known=torch.from_numpy(known)[None],
        is_cis=torch.from_numpy(is_cis)[None],
    )


def entry_batches(
    data: PreparedSet,
    n_residues: int,
    n_neighbors: int,
    sigma: float = 0.0,
    max_batches: int | None = None,
) -> Iterator[Batch]:
    """First models of all entries in file order, for validation.

    Parameters
    ----------
    data : PreparedSet
        The split.
    n_residues, n_neighbors : int
        R and K; longer entries are cut.
    sigma : float
        CA noise in nm, from a generator keyed by the batch.
    max_batches : int, optional
        Stop after so many. If None, all.

    Yields
    ------
    Batch
    """
    pieces: list[tuple[int, int, int]] = []
    left, count = n_residues, 0
    order = range(data.n_entries)
    for e in [*order, -1]:
        n = min(int(data.n_residues[e]), n_residues)
        if e < 0 or n > left:
            rng = np.random.default_rng((7, count))
            noise = rng.standard_normal((n_residues, 3), dtype=np.float32)
            levels = [sigma] * len(pieces)
            yield collate(data, pieces, levels, noise, n_residues, n_neighbors)
            count += 1
            pieces, left = [], n_residues
            if e < 0 or (max_batches is not None and count >= max_batches):
                return
        pieces.append((int(data.first[e]), n, 0))
        left -= n
