"""Backmap a saved coarse-grained trajectory, and go on in all atoms.

    python examples/02_backmap_dcd.py [TRAJECTORY TOPOLOGY] [--quick] [-o FOLDER]

Without a trajectory a short one of a disordered protein (the low-complexity
domain of hnRNPA1) is made first.
"""

import argparse
from pathlib import Path

from openmm import app

from openmm_backmap import Backmapper
from openmm_backmap.output_topology import write_topology
from openmm_backmap.testsystems import HPSModel
from openmm_backmap.trajectory import open_writer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("files", nargs="*", type=Path, metavar="TRAJECTORY TOPOLOGY")
parser.add_argument("--quick", action="store_true", help="4 frames instead of 40")
parser.add_argument("-o", "--output", type=Path, default=Path("runs/example_02"))
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)

if arguments.files:
    trajectory, top = arguments.files
else:
    trajectory, top = arguments.output / "cg.dcd", arguments.output / "cg.pdb"
    model = HPSModel()
    app.PDBFile.writeFile(model.topology, model.positions, str(top))
    simulation = model.create_simulation(temperature=293.0)
    simulation.reporters.append(app.DCDReporter(str(trajectory), 500))
    simulation.step(500 * (4 if arguments.quick else 40))
    del simulation  # closes the file

backmapper = Backmapper.from_topology(top)
n_frames, last = 0, None
with open_writer(
    arguments.output / "aa.xtc", backmapper.atom_topology, overwrite=True
) as writer:
    for frame in backmapper.backmap_trajectory(trajectory, top=top):
        writer.write(frame)
        n_frames, last = n_frames + 1, frame
# The topology to open it with.
write_topology(arguments.output / "aa.pdb", backmapper.atom_topology, last)
print(f"{n_frames} frames of {backmapper.n_atoms} atoms in {arguments.output}/aa.xtc")
print(f"mean confidence of the last frame: {last.confidence.mean():.2f}")

# From any frame to an all-atom simulation (ff14SB, implicit solvent).
all_atom = backmapper.to_simulation(last, solvent="obc")
all_atom.minimizeEnergy(maxIterations=10 if arguments.quick else 200)
all_atom.step(5 if arguments.quick else 100)
energy = all_atom.context.getState(energy=True).getPotentialEnergy()
print(f"all-atom simulation is running: {energy}")
