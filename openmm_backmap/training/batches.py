"""Batches of mixed proteins of one fixed size, a pure function of the step.

Batch `step` is drawn by a generator keyed by (seed, rank, step), so a resumed
run sees the same batches as an unbroken one without any sampler state. Every
batch holds the same number of residues (padded), which lets the network be
compiled once.
"""

from collections.abc import Iterator

import numpy as np
import torch

from openmm_backmap.errors import DataError
from openmm_backmap.training.batch import Batch, collate
from openmm_backmap.training.gaps import draw_gaps
from openmm_backmap.training.prepared import PreparedSet

__all__ = ["BatchSampler", "entry_batches"]

N_TRIES = 40
CRYSTAL_METHODS = ("X-RAY", "UNKNOWN")


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
