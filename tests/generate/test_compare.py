"""Populations of a set are counted right and compared as they should be."""

from dataclasses import replace

import numpy as np
import pytest

from openmm_backmap.generate.compare import compare_sets, measure_populations
from openmm_backmap.residues.names import CODES
from openmm_backmap.training.shards import ShardEntry, write_shard


@pytest.fixture
def entry(protein):
    return ShardEntry(
        entry_id="whole",
        method="X-RAY",
        resolution=1.5,
        residue_type=protein.residue_type,
        chain=np.zeros(protein.n_residues, np.int64),
        cluster=np.array([1]),
        positions=protein.positions,
        mask=protein.mask,
        bfactor=np.zeros(protein.mask.shape, np.float32),
    )


def test_regions_are_those_mdtraj_finds(entry, protein_path):
    import mdtraj

    trajectory = mdtraj.load(str(protein_path))
    phi = np.degrees(mdtraj.compute_phi(trajectory)[1][0])[:-1]
    psi = np.degrees(mdtraj.compute_psi(trajectory)[1][0])[1:]
    expected = [0, 0, 0, 0]
    for a, b in zip(phi, psi, strict=True):
        if a > 0:
            expected[3] += 1
        elif -120 < b < 50:
            expected[0] += 1
        else:
            expected[1 if a < -100 else 2] += 1
    found = measure_populations([entry])
    assert found.regions.sum(axis=0).tolist() == expected
    assert found.n_frames == 1
    # alanine and glycine have no chi1, proline is not counted
    without = [CODES.index(c) for c in "AGP"]
    n_chi = (~np.isin(entry.residue_type, without)).sum()
    assert found.chi1.sum() == n_chi


def test_a_mirrored_frame_counts_as_broken(entry):
    twice = np.concatenate((entry.positions, entry.positions * [1, 1, -1]))
    found = measure_populations([replace(entry, positions=np.float32(twice))])
    assert found.n_frames == 2
    assert found.broken["wrong_hands"] == 1
    assert found.broken["bond_fraction"] in (0, 2)  # a mirror keeps lengths


def test_equal_sets_do_not_differ_and_the_tables_say_so(entry, tmp_path):
    frames = np.repeat(entry.positions, 60, axis=0)
    many = replace(entry, positions=frames)
    write_shard(tmp_path / "own" / "train_generated.npz", [many], "train")
    others = [replace(many, entry_id=f"x{k}") for k in range(15)]
    short = replace(
        many, entry_id="md", method="MD", residue_type=many.residue_type[:50],
        chain=many.chain[:50], positions=frames[:, :50], mask=many.mask[:50],
        bfactor=many.bfactor[:50],
    )  # fmt: skip
    write_shard(tmp_path / "data" / "train.npz", [*others, short], "train")
    lines = compare_sets(tmp_path / "own", tmp_path / "data")
    rows = {line.split(" | ")[0][2:]: line for line in lines[2:5]}
    assert set(rows) == {"generated", "flexible", "crystals"}
    assert rows["crystals"].endswith("| 0.000 |")
    assert not rows["flexible"].endswith("| 0.000 |")
    assert any(
        line.startswith("| crystals | 1") and "0.000 (" in line for line in lines
    )
