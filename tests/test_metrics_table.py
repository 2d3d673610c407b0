"""The metrics table: one row a structure, continued without doubles."""

import csv
from pathlib import Path

import numpy as np
import pytest

from openmm_backmap import AtomFrame
from openmm_backmap.errors import InputError
from openmm_backmap.metrics import FrameChecker
from openmm_backmap.metrics_table import COLUMNS, MetricsTable, compute_rows


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_rows_hold_the_checks_of_each_structure(protein) -> None:
    checker = FrameChecker(protein.residue_type, protein.chain_index)
    heavy = np.repeat(protein.positions[:1], 2, axis=0)
    heavy[1] *= 1.5
    frames = [
        AtomFrame(np.zeros((1, 3)), step=5, time=0.1, confidence=np.array([0.5, 1.0])),
        AtomFrame(np.zeros((1, 3)), step=6, time=0.2, box=np.eye(3) * 50.0),
    ]
    good, bad = compute_rows(frames, heavy, checker, [{"milliseconds": 2.0}, {}])
    assert good["step"] == 5 and good["confidence"] == 0.75
    assert good["milliseconds"] == 2.0 and good["status"] == "ok"
    assert good["bond_fraction"] == 1.0 and bad["bond_fraction"] < 0.1
    assert set(good) | set(bad) <= set(COLUMNS)


def test_rows_are_written_and_empty_cells_stay_empty(tmp_path) -> None:
    table = MetricsTable(tmp_path / "a.csv")
    table.write([{"step": 1, "status": "failed: a, b", "bond_fraction": 0.123456789}])
    table.close()
    (row,) = read(tmp_path / "a.csv")
    assert row["step"] == "1" and row["bond_fraction"] == "0.123457"
    assert row["status"] == "failed: a; b" and row["energy_after"] == ""


def test_a_table_without_rows_is_no_file(tmp_path) -> None:
    MetricsTable(tmp_path / "a.csv").close()
    assert not (tmp_path / "a.csv").exists()


def test_rows_beyond_the_trajectory_are_written_anew(tmp_path) -> None:
    path = tmp_path / "a.csv"
    table = MetricsTable(path)
    table.write([{"step": step, "status": "ok"} for step in (10, 20, 30)])
    table.close()
    with open(path, "a") as file:
        file.write("40,0.1,half a li")
    table = MetricsTable(path, append=True, last_step=20)
    assert table.last_step == 20
    table.write([{"step": 30, "status": "again"}])
    table.close()
    assert [(row["step"], row["status"]) for row in read(path)] == [
        ("10", "ok"), ("20", "ok"), ("30", "again"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("last_step", "n_kept"), [(20, 5), (10, 4), (30, 5), (None, 0)]
)
def test_rows_from_before_the_steps_went_back_are_kept(
    tmp_path, last_step, n_kept
) -> None:
    """As where each window of a run begins at step 0."""
    steps = [10, 20, 30, 10, 20]
    table = MetricsTable(tmp_path / "a.csv")
    table.write([{"step": step} for step in steps])
    table.close()
    table = MetricsTable(tmp_path / "a.csv", append=True, last_step=last_step)
    table.write([{"step": 99}])
    table.close()
    found = [int(row["step"]) for row in read(tmp_path / "a.csv")]
    assert found == [*steps[:n_kept], 99]


def test_a_table_of_something_else_is_refused(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("x,y\n1,2\n")
    with pytest.raises(InputError, match="not those of a metrics table"):
        MetricsTable(tmp_path / "a.csv", append=True, last_step=5)
    assert (tmp_path / "a.csv").read_text() == "x,y\n1,2\n"


def test_times_of_long_runs_are_whole(tmp_path) -> None:
    table = MetricsTable(tmp_path / "a.csv")
    table.write([{"step": 1, "time_ps": 2_000_001.0}, {"step": 2, "time_ps": 0.1}])
    table.close()
    assert [row["time_ps"] for row in read(tmp_path / "a.csv")] == ["2000001", "0.1"]
