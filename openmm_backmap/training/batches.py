"""Batches of mixed proteins of one fixed size, a pure function of the step.

The entries of 64 steps are drawn by a generator keyed by (seed, rank, number of the
64), the noise of batch `step` by one keyed by (seed, rank, step), so a resumed run
sees the same batches as an unbroken one without any sampler state. Every batch
holds the same number of residues (padded), which lets the network be compiled once.
"""

from collections.abc import Iterator

import numpy as np
import torch

from openmm_backmap.errors import DataError
from openmm_backmap.training.batch import Batch, collate
from openmm_backmap.training.fill_batches import fill_batches
from openmm_backmap.training.gaps import draw_gaps
from openmm_backmap.training.prepared import PreparedSet

__all__ = ["BatchSampler", "entry_batches"]

BLOCK_STEPS = 64
"""Batches that are filled together."""
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
        False = crystal structures and entries of a further set alone.
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
            weight = self._leave_crystals(weight)
        self._cumulative = np.cumsum(weight) / np.sum(weight)
        self._block: tuple[int, list[list[tuple[int, int, int]]]] = (-1, [])

    def _leave_crystals(self, weight: np.ndarray) -> np.ndarray:
        """Weights without the ensembles of the main set."""
        data = self.data
        is_crystal = np.array([method in CRYSTAL_METHODS for method in data.method])
        is_main = np.arange(data.n_entries) < data.n_entries - data.n_extra
        residues = weight * np.minimum(data.n_residues, self.n_residues)
        kept = residues[is_main & is_crystal].sum() / residues[is_main].sum()
        if kept == 0.0:
            raise DataError(
                "[data] ensembles = false leaves no entry: the split holds no "
                "crystal structure"
            )
        # a further set keeps its share of what is left
        return np.where(is_main, weight * is_crystal, weight * kept)

    def _draw_pieces(self, rng: np.random.Generator) -> Iterator[tuple[int, int, int]]:
        """First row, number of rows and offset in the frame, without end."""
        data = self.data
        while True:
            drawn = np.searchsorted(self._cumulative, rng.random(256), "right")
            for entry in np.minimum(drawn, data.n_entries - 1):
                n = int(data.n_residues[entry])
                row = int(data.first[entry]) + n * int(
                    rng.integers(data.n_models[entry])
                )
                start = int(rng.integers(max(n - self.n_residues, 0) + 1))
                yield row + start, min(n, self.n_residues), start

    def _draw_rows(self, step: int) -> list[tuple[int, int, int]]:
        """(first row, number of rows, offset in the frame) of each piece."""
        number, place = divmod(step, BLOCK_STEPS)
        block = self._block
        if block[0] != number:
            # the last word keeps it apart from the keys of batches
            rng = np.random.default_rng((self.seed, self.rank, number, 1))
            batches = fill_batches(self._draw_pieces(rng), BLOCK_STEPS, self.n_residues)
            # the last ones would hold more long entries than the first
            order = rng.permutation(BLOCK_STEPS)
            block = self._block = (number, [batches[k] for k in order])
        return block[1][place]

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
        pieces = self._draw_rows(step)
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
