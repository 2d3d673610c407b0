"""Attach a BackmapReporter to a running coarse-grained simulation.

A structure-based model of ribosomal protein S6 runs; every 1,000 steps an
all-atom frame is written beside it, without slowing it down.

    python examples/01_attach_reporter.py [--quick] [-o FOLDER]
"""

import argparse
from pathlib import Path

import mdtraj

from openmm_backmap import BackmapReporter
from openmm_backmap.testsystems import CAGoModel

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--quick", action="store_true", help="3 frames instead of 50")
parser.add_argument("-o", "--output", type=Path, default=Path("runs/example_01"))
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
interval, n_frames = (200, 3) if arguments.quick else (1000, 50)

# Your own Simulation goes here: any OpenMM model with one bead a residue.
simulation = CAGoModel().create_simulation(temperature=300.0, seed=1)

trajectory_file = arguments.output / "aa.xtc"
with BackmapReporter(
    trajectory_file,
    interval,
    metricsFile=arguments.output / "metrics.csv",
    overwrite=True,
) as reporter:
    simulation.reporters.append(reporter)
    simulation.step(interval * n_frames)

# The topology to open it with was written beside it.
trajectory = mdtraj.load(str(trajectory_file), top=str(arguments.output / "aa.pdb"))
print(trajectory)
helix, strand = (
    (mdtraj.compute_dssp(trajectory) == letter).mean() for letter in ("H", "E")
)
print(f"helix {helix:.0%}, strand {strand:.0%} of the residues, over all frames")
