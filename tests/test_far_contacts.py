"""Tips of long side chains whose residues are far from one another."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial import cKDTree

from openmm_backmap import Backmapper, CGFrame
from openmm_backmap.artifact import load_engine
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.residues.names import CODES
from openmm_backmap.training.shards import ShardEntry, read_shard

TOUCH = 0.40
"""Heavy atoms nearer than this, in nm, are in contact."""


def read_entry(shared: Path, name: str) -> ShardEntry:
    """One entry of the validation split."""
    return next(
        e for e in read_shard(shared / "data" / "val.npz") if e.entry_id == name
    )


def test_native_contacts_are_among_the_neighbors_that_models_ask_for(
    shared: Path,
) -> None:
    metadata = load_engine("ca", "cpu").metadata
    entry = read_entry(shared, "7oso_A")
    heavy = entry.positions[0]
    near = find_neighbors(
        heavy[None, :, 1], metadata.n_neighbors, metadata.neighbor_cutoff
    )[0]
    residue, slot = np.nonzero(entry.mask)
    pairs = cKDTree(heavy[residue, slot]).query_pairs(TOUCH, output_type="ndarray")
    first, second = residue[pairs].T
    listed = (near[first] == second[:, None]).any(1)
    listed |= (near[second] == first[:, None]).any(1) | (first == second)
    assert len(first) > 10_000
    assert listed.all()


@pytest.mark.parametrize("name", ["7oso_A", "7uyb_A"])
def test_tips_of_side_chains_do_not_run_into_one_another(
    shared: Path, name: str
) -> None:
    """ARG and TYR were 0.12 nm apart, their CA 1.26 nm and 49 others between."""
    entry = read_entry(shared, name)
    sequence = "".join(CODES[t] for t in entry.residue_type)
    topology = CGTopology.from_sequence([sequence])
    backmapper = Backmapper.from_topology(topology, device="cpu", hydrogens=False)
    frame = backmapper.backmap([CGFrame(positions=entry.positions[0, :, 1])])[0]
    first_atom = backmapper.atom_topology.first_atom
    residue = np.repeat(np.arange(len(sequence)), np.diff(first_atom))
    pairs = cKDTree(frame.positions).query_pairs(0.23, output_type="ndarray")
    apart = np.abs(residue[pairs[:, 0]] - residue[pairs[:, 1]]) > 1
    kinds = np.array(list(sequence))[residue[pairs[apart]]]
    # disulfides are bonds
    assert (kinds == "C").all()
