"""The demo runs, and its files are what it says."""

import mdtraj
import pytest

from openmm_backmap.benchmark.plots import read_metrics
from openmm_backmap.cli.main import main


@pytest.mark.slow
def test_the_quick_demo_leaves_trajectories_checks_and_pictures(
    tmp_path, capsys
) -> None:
    pytest.importorskip("matplotlib")
    assert main(["demo", "--quick", "-o", str(tmp_path), "-m", "table"]) == 0
    out = capsys.readouterr().out
    assert "What was measured" in out and "steps/s" in out
    for name, n_frames in (("folded", 6), ("disordered", 3)):
        trajectory = mdtraj.load(tmp_path / f"{name}.xtc", top=tmp_path / f"{name}.pdb")
        assert trajectory.n_frames == n_frames
        assert (trajectory.unitcell_vectors is not None) == (name == "disordered")
        rows = read_metrics(tmp_path / f"{name}.csv")
        assert {row["stage"] for row in rows} == {"model", "minimized"}
        for row in rows:
            assert row["bond_fraction"] == row["peptide_fraction"] == 1.0
            assert row["wrong_hands"] == 0
        assert (tmp_path / f"{name}.png").stat().st_size > 20_000


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys) -> None:
    (tmp_path / "file").write_text("")
    assert main(["demo", "-o", str(tmp_path / "file" / "x")]) == 1
    assert "cannot be made" in capsys.readouterr().err
