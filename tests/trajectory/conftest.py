"""A small all-atom topology and frames to write."""

from collections.abc import Callable

import numpy as np
import pytest

from openmm_backmap.frames import AtomFrame
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology

TRICLINIC = np.array([[5, 0, 0], [1, 4.5, 0], [-1, 0.5, 4]], np.float32)


@pytest.fixture(scope="session")
def atom_topology() -> AtomTopology:
    """Two chains, with a disulfide between them."""
    cg = CGTopology.from_sequence(["GSCHW", "ACK"])
    return AtomTopology.from_cg_topology(cg, disulfides=((2, 6),))


@pytest.fixture
def make_frame(atom_topology: AtomTopology) -> Callable[..., AtomFrame]:
    """Give a function that makes the frame of a step."""

    def make(step: int, box: np.ndarray | None = TRICLINIC) -> AtomFrame:
        rng = np.random.default_rng(step)
        return AtomFrame(
            rng.uniform(-9.0, 9.0, (atom_topology.n_atoms, 3)).astype(np.float32),
            box,
            step,
            step * 0.01,
            rng.uniform(0, 1, atom_topology.n_residues).astype(np.float32),
        )

    return make
