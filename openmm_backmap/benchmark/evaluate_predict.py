"""Running a model on the CA positions of an entry, and timing it."""

import time
import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from openmm_backmap.artifact.engine import Engine
from openmm_backmap.benchmark.evaluate_entries import EvaluationEntry
from openmm_backmap.errors import InputError
from openmm_backmap.geometry.neighbors import find_neighbors

__all__ = ["EnginePredictor", "Prediction", "Predictor", "draw_noise", "make_rng"]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model made of the frames of an entry.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm; nan where an atom was not built.
    confidence : numpy.ndarray or None, shape (F, R)
        0 to 1. None for models that give none.
    cpu_seconds : float
        CPU time of all frames, all threads.
    seconds : float
        Wall time of all frames.
    """

    positions: np.ndarray
    confidence: np.ndarray | None
    cpu_seconds: float
    seconds: float


class Predictor(Protocol):
    """A model of ours, or a peer."""

    name: str

    @property
    def can_sample(self) -> bool:
        """Whether samples differ from the mode."""
        ...

    def predict(
        self, entry: EvaluationEntry, ca: np.ndarray, sample: int | None
    ) -> Prediction:
        """Backmap.

        Parameters
        ----------
        entry : EvaluationEntry
            Residue types and segments; its atoms must not be looked at.
        ca : numpy.ndarray, shape (F, R, 3)
            Beads in nm.
        sample : int or None
            Number of the sample; None for the mode.

        Returns
        -------
        Prediction
        """
        ...


def make_rng(seed: int, *key: str | int) -> np.random.Generator:
    """Make a generator that depends on nothing but the key.

    Parameters
    ----------
    seed : int
        Of the evaluation.
    *key : str or int
        What the numbers are for.

    Returns
    -------
    numpy.random.Generator
        A new one.
    """
    words = [k if isinstance(k, int) else zlib.crc32(k.encode()) for k in key]
    return np.random.default_rng([seed, *words])


def draw_noise(seed: int, *key: str | int, shape: tuple[int, ...]) -> np.ndarray:
    """Draw normal numbers that depend on nothing but the key.

    Parameters
    ----------
    seed : int
        Of the evaluation.
    *key : str or int
        What the numbers are for.
    shape : tuple of int
        Of the result.

    Returns
    -------
    numpy.ndarray, float32
        N(0, 1).
    """
    return make_rng(seed, *key).standard_normal(shape, dtype=np.float32)


class EnginePredictor:
    """A model of ours.

    Parameters
    ----------
    name : str
        What the report calls it.
    engine : Engine
        The loaded model; its mapping must be "ca".
    seed : int
        Of the samples.
    max_rows : int
        Largest number of residues x frames in one call.

    Raises
    ------
    InputError
        If the model reads other beads than CA.
    """

    def __init__(
        self, name: str, engine: Engine, seed: int = 0, max_rows: int = 3000
    ) -> None:
        if engine.metadata.mapping != "ca":
            raise InputError(
                f"model {name} reads the mapping {engine.metadata.mapping!r}; the "
                "evaluation knows CA positions only: use a model for CA"
            )
        self.name = name
        self.engine = engine
        self.seed = seed
        self.max_rows = max_rows
        self._warm_up()

    @property
    def can_sample(self) -> bool:
        """Whether the model takes noise."""
        return self.engine.metadata.noise_width > 0

    def _warm_up(self) -> None:
        """Run a helix twice: the first calls of TorchScript compile."""
        turn = np.radians(100.0) * np.arange(20)
        helix = np.stack([0.23 * np.cos(turn), 0.23 * np.sin(turn)], -1)
        helix = np.concatenate([helix, 0.15 * np.arange(20)[:, None]], -1)
        ca = helix[None].astype(np.float32)
        for _ in range(2):
            self._run(ca, np.arange(20), np.zeros(20, np.int64), None)

    def _run(
        self,
        ca: np.ndarray,
        residue_type: np.ndarray,
        segment: np.ndarray,
        noise: np.ndarray | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        metadata = self.engine.metadata
        near = find_neighbors(ca, metadata.n_neighbors, metadata.neighbor_cutoff)
        positions, confidence = self.engine.run(
            torch.from_numpy(ca[:, :, None]),
            torch.from_numpy(residue_type),
            torch.from_numpy(segment),
            torch.from_numpy(near),
            torch.zeros(len(ca), 3, 3, dtype=torch.float32),
            None if noise is None else torch.from_numpy(noise),
        )
        return positions.cpu().numpy(), confidence.cpu().numpy()

    def predict(
        self, entry: EvaluationEntry, ca: np.ndarray, sample: int | None
    ) -> Prediction:
        """Backmap; see `Predictor.predict`."""
        n_frames, n_residues = ca.shape[:2]
        noise = None
        if sample is not None:
            shape = (n_frames, n_residues, self.engine.metadata.noise_width)
            noise = draw_noise(self.seed, entry.entry_id, "sample", sample, shape=shape)
        step = max(1, self.max_rows // n_residues)
        parts = []
        wall, cpu = time.perf_counter(), time.process_time()
        for first in range(0, n_frames, step):
            rows = slice(first, first + step)
            parts.append(
                self._run(
                    np.ascontiguousarray(ca[rows]),
                    entry.residue_type,
                    entry.bead_segment,
                    None if noise is None else noise[rows],
                )
            )
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        positions, confidence = (np.concatenate(x) for x in zip(*parts, strict=True))
        return Prediction(positions, confidence, cpu, wall)
