"""Every example runs, says what it says, and is short."""

import os
import subprocess
import sys
from pathlib import Path

import mdtraj
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def run_example(name, *arguments):
    out = subprocess.run(
        [sys.executable, str(EXAMPLES / name), "--quick", *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "OPENMM_CPU_THREADS": "1"},
    )
    assert out.returncode == 0, out.stderr
    return out.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.name)
def test_example_is_numbered_and_under_sixty_lines(path):
    assert path.name[:2].isdigit()
    assert len(path.read_text().splitlines()) < 60


def test_reporter_example_writes_a_trajectory(tmp_path):
    out = run_example("01_attach_reporter.py", "-o", tmp_path)
    trajectory = mdtraj.load(str(tmp_path / "aa.xtc"), top=str(tmp_path / "aa.pdb"))
    assert trajectory.n_frames == 3
    assert trajectory.n_residues == 97
    assert "helix" in out
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 4
    # a second run writes over the first
    run_example("01_attach_reporter.py", "-o", tmp_path)


def test_trajectory_example_ends_in_an_all_atom_simulation(tmp_path):
    out = run_example("02_backmap_dcd.py", "-o", tmp_path)
    assert "4 frames" in out
    assert "all-atom simulation is running: " in out and "nan" not in out
    trajectory = mdtraj.load(str(tmp_path / "aa.xtc"), top=str(tmp_path / "aa.pdb"))
    assert trajectory.n_frames == 4


def test_trajectory_example_takes_files_of_the_user(tmp_path, shared):
    case = shared / "cases" / "opensmog_CI2_CA"
    if not case.exists():
        pytest.skip("no OpenSMOG case beside the data")
    out = run_example(
        "02_backmap_dcd.py",
        case / "2ci2_trajectory.dcd",
        case / "final_openmm.pdb",
        "-o",
        tmp_path,
    )
    assert "frames of" in out


def test_minimization_example_lowers_the_energy(tmp_path):
    out = run_example("03_compare_with_minimization.py")
    line = next(x for x in out.splitlines() if x.startswith("energy"))
    before, after = (float(word) for word in line.split()[-2:])
    assert after < before


@pytest.mark.parametrize(
    ("engine", "name", "words"),
    [
        ("openabc", "04_openabc.py", "2 frames, 4 chains"),
        ("OpenSMOG", "05_opensmog.py", "2 frames, 65 residues"),
        ("openawsem", "06_openawsem.py", "2 frames, MRRYEVNIVL"),
        ("openabc", "08_openabc_moff.py", "2 frames, 97 residues"),
        ("openabc", "09_openabc_mpipi.py", "2 frames, GSMASASSSQRG"),
    ],
)
def test_engine_example_backmaps_a_running_simulation(tmp_path, engine, name, words):
    pytest.importorskip(engine, exc_type=ImportError)
    assert words in run_example(name, "-o", tmp_path)
    assert mdtraj.load(str(tmp_path / "aa.xtc"), top=str(tmp_path / "aa.pdb")).n_frames


def test_saved_system_example_makes_its_own_system(tmp_path):
    out = run_example("07_saved_system.py", "-o", tmp_path)
    assert "2 frames, 1 chains, 29 residues" in out


@pytest.mark.parametrize(
    ("case", "xml", "words"),
    [
        ("calvados2_A1SLCD", "A1SLCD.xml", "1 chains, 131 residues"),
        ("calvados3_hnRNPA1S", "hnRNPA1S.xml", "1 chains, 314 residues"),
    ],
)
def test_saved_system_example_runs_calvados(tmp_path, shared, case, xml, words):
    folder = shared / "cases" / case
    if not folder.exists():
        pytest.skip("no CALVADOS case beside the data")
    out = run_example(
        "07_saved_system.py", folder / xml, folder / "top.pdb", "-o", tmp_path
    )
    assert words in out
