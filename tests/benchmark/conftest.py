"""A split small enough for tests, and a model that knows the answer."""

import numpy as np
import pytest

from openmm_backmap.benchmark.evaluate_entries import EvaluationEntry
from openmm_backmap.benchmark.evaluate_predict import Prediction
from openmm_backmap.training.shards import ShardEntry


@pytest.fixture
def entry(protein):
    """Give 1RIS as an entry."""
    source = ShardEntry(
        entry_id="1ris",
        method="X-RAY",
        resolution=2.0,
        residue_type=protein.residue_type,
        chain=protein.chain_index,
        cluster=np.zeros(1, np.int64),
        positions=protein.positions,
        mask=protein.mask,
        bfactor=np.zeros(protein.mask.shape, np.float32),
    )
    return EvaluationEntry(source, "xray")


class ShakenReference:
    """The reference with noise on the atoms that are not CA."""

    can_sample = True

    def __init__(self, noise=0.0, name="reference"):
        self.noise = noise
        self.name = name
        self.seen = []

    def predict(self, entry, ca, sample):
        self.seen.append((ca, sample))
        rng = np.random.default_rng(0 if sample is None else 1 + sample)
        shape = (len(ca), *entry.reference.shape[1:])
        positions = np.broadcast_to(entry.reference[: len(ca)], shape).copy()
        shift = rng.normal(0.0, self.noise, shape).astype(np.float32)
        positions += np.where(entry.source.mask[:, :, None], shift, 0.0)
        positions[:, :, 1] = ca
        confidence = np.full(shape[:2], 0.75, np.float32)
        return Prediction(positions, confidence, 0.5, 0.6)


@pytest.fixture
def make_reference():
    """Give the class of models that know the answer."""
    return ShakenReference
