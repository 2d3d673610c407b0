"""All saved runs of ../shared/cases by the command and by the reporter: one row each.

    python tests/benchmarks/benchmark_cases.py [CASE ...] [--frames 4] [--keep FOLDER]

The command backmaps the first frames of the trajectory; where a System was saved,
a simulation of it runs with the reporter, too. Chains, residues and frames are
counted in the PDB that was written, by mdtraj; bonds are those of the metrics
file. `--keep` leaves the PDB files for other judges.
"""

import argparse
import contextlib
import csv
import io
import tempfile
import time
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from openmm import app, unit

from openmm_backmap import BackmapReporter
from openmm_backmap.cli import main as command
from openmm_backmap.errors import BackmapError

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "cases"
# topology, trajectory, System, further words, chains, residues; 0: refused
CASES = {
    "calvados2_A1SLCD": ("top.pdb", "A1SLCD.dcd", "A1SLCD.xml", (), 1, 131),
    "calvados2_slab20_A1LCD": (
        "top.pdb", "hnRNPA1LCD.dcd", "hnRNPA1LCD.xml", (), 20, 2740,
    ),
    "calvados3_hnRNPA1S": ("top.pdb", "hnRNPA1S.dcd", "hnRNPA1S.xml", (), 1, 314),
    "openabc_hps20": ("start.pdb", "traj.dcd", "system.xml", (), 20, 2320),
    "openabc_moff_hp1a_dimer": ("start.pdb", "traj.dcd", "system.xml", (), 2, 382),
    "openawsem_1r69": (
        "final_openmm.pdb", "movie.dcd", None,
        ("--sequence", "1r69.fasta", "--mapping", "awsem"), 1, 63,
    ),
    "opensmog_CI2_CA": (
        "final_openmm.pdb", "2ci2_trajectory.dcd", None, (), 1, 65,
    ),
    "calvados2_polyR30_RNA": ("top.pdb", "polyR30.dcd", "polyR30.xml", (), 0, 0),
}  # fmt: skip


def read_output(pdb: Path, metrics: Path) -> dict:
    """Count what was written and take the worst of its checks."""
    trajectory = mdtraj.load(str(pdb))
    with open(metrics, newline="") as file:
        rows = list(csv.DictReader(file))
    return {
        "chains": trajectory.topology.n_chains,
        "residues": trajectory.topology.n_residues,
        "frames": trajectory.n_frames,
        "bonds": 100.0 * min(float(row["bond_fraction"]) for row in rows),
        "peptides": 100.0 * min(float(row["peptide_fraction"]) for row in rows),
        "moved": max(float(row["projection_nm"]) for row in rows),
        "finite": bool(np.isfinite(trajectory.xyz).all()),
    }


def run_command(name: str, pdb: Path, n_frames: int, model: str) -> dict | str:
    """Backmap the first frames of the saved trajectory."""
    top, trajectory, _, more, _, _ = CASES[name]
    folder = FOLDER / name
    more = [folder / word if word.endswith(".fasta") else word for word in more]
    metrics = pdb.with_suffix(".csv")
    words = ["backmap", folder / trajectory, "-t", folder / top, "-o", pdb, "-q"]
    words += ["--stop", n_frames, "--metrics", metrics, "--threads", 1, "-m", model]
    words += ["--device", "cpu", *more]
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        code = command.main([str(word) for word in words])
    if code:
        return said.getvalue().strip().splitlines()[-1]
    return read_output(pdb, metrics)


def run_reporter(name: str, pdb: Path, n_frames: int, model: str) -> dict | str:
    """Run the saved System with the reporter."""
    top, _, system, _, _, _ = CASES[name]
    structure = app.PDBFile(str(FOLDER / name / top))
    simulation = app.Simulation(
        structure.topology,
        openmm.XmlSerializer.deserialize((FOLDER / name / system).read_text()),
        openmm.LangevinMiddleIntegrator(
            293 * unit.kelvin, 0.01 / unit.picosecond, 10 * unit.femtosecond
        ),
        openmm.Platform.getPlatform("CPU"),
        {"Threads": "1"},
    )
    simulation.context.setPositions(structure.positions)
    simulation.minimizeEnergy(maxIterations=50)
    metrics = pdb.with_suffix(".csv")
    try:
        with BackmapReporter(
            pdb, 50, metricsFile=metrics, model=model, device="cpu"
        ) as reporter:
            simulation.reporters.append(reporter)
            simulation.step(50 * n_frames)
    except BackmapError as error:
        return str(error)
    return read_output(pdb, metrics)


def main() -> None:
    """Print a row for each case and door."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cases", nargs="*", default=list(CASES))
    parser.add_argument("--frames", type=int, default=4)
    parser.add_argument("--model", default="ca")
    parser.add_argument("--keep", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        for name in arguments.cases:
            wanted = CASES[name][4:]
            for door, run in (("command", run_command), ("reporter", run_reporter)):
                if door == "reporter" and CASES[name][2] is None:
                    continue
                started = time.process_time()
                pdb = folder / f"{name}_{door}.pdb"
                row = run(name, pdb, arguments.frames, arguments.model)
                seconds = time.process_time() - started
                if isinstance(row, str):
                    fits = "right" if wanted == (0, 0) else "WRONG"
                    print(f"{name} {door}: refused, {fits}: {row}", flush=True)
                    continue
                found = row["chains"], row["residues"], row["frames"]
                fits = found == (*wanted, arguments.frames) and row["finite"]
                print(
                    f"{name} {door}: {found[0]} chains, {found[1]} residues, "
                    f"{found[2]} frames {'right' if fits else 'WRONG'}; bonds "
                    f"{row['bonds']:.2f} %, peptides {row['peptides']:.2f} %, bead "
                    f"to atoms at most {row['moved']:.4f} nm, {seconds:.1f} CPU-s",
                    flush=True,
                )


if __name__ == "__main__":
    main()
