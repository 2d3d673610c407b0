"""Disulfides are found where sulfurs are at bonding distance."""

from pathlib import Path

import numpy as np
import pytest

from openmm_backmap.mapping.disulfides import find_disulfides
from openmm_backmap.residues.names import CODES
from openmm_backmap.training.shards import read_shard


def test_the_three_disulfides_of_crambin_are_found(shared: Path) -> None:
    """PDB 1CRN: 3-40, 4-32 and 16-26 (residue ids from 1)."""
    entry = next(
        e for e in read_shard(shared / "data" / "val.npz") if e.entry_id == "1crn_A"
    )
    found = find_disulfides(entry.positions[0], entry.residue_type)
    assert found == ((2, 39), (3, 31), (15, 25))


@pytest.mark.parametrize(
    ("code", "gap", "wanted"),
    [("C", 0.2, ((0, 1),)), ("C", 0.31, ()), ("M", 0.2, ()), ("C", np.nan, ())],
)
def test_only_near_sulfurs_of_cysteines_are_bonded(
    code: str, gap: float, wanted: tuple
) -> None:
    positions = np.zeros((2, 14, 3))
    positions[1, 5] = [gap, 0.0, 0.0]
    residue_type = np.array([CODES.index("C"), CODES.index(code)])
    assert find_disulfides(positions, residue_type) == wanted


def test_the_shortest_bond_wins_where_three_sulfurs_meet() -> None:
    positions = np.zeros((3, 14, 3))
    positions[:, 5, 0] = [0.0, 0.25, 0.45]
    assert find_disulfides(positions, np.full(3, CODES.index("C"))) == ((1, 2),)
