"""Backmap a running OpenABC simulation with Mpipi: a disordered chain.

    pip install openabc "pandas<3"
    python examples/09_openabc_mpipi.py [SEQUENCE] [--quick] [-o FOLDER]

A piece of the low-complexity domain of hnRNPA1 starts as a straight line.
"""

import argparse
from pathlib import Path

import openmm
from openabc.forcefields import MpipiModel
from openabc.forcefields.parsers import MpipiProteinParser
from openabc.utils import build_straight_CA_chain, write_pdb
from openmm import app, unit

from openmm_backmap import BackmapReporter

a1_lcd = "GSMASASSSQRGRSGSGNFGGGRGGGFGGNDNFGRGGNFSGRGGFGGSRG"
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("sequence", nargs="?", default=a1_lcd, help="one-letter code")
parser.add_argument("--quick", action="store_true", help="2 frames instead of 50")
parser.add_argument("-o", "--output", type=Path, default=Path("runs/example_09"))
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
warm_up, interval, n_frames = (500, 20, 2) if arguments.quick else (50000, 5000, 50)

beads = arguments.output / "cg.pdb"
write_pdb(build_straight_CA_chain(arguments.sequence, r0=0.381), str(beads))
structure = app.PDBFile(str(beads))
mpipi = MpipiModel()
mpipi.append_mol(MpipiProteinParser(str(beads)))
edge = 0.4 * len(arguments.sequence) + 10.0  # nm
mpipi.create_system(structure.topology, box_a=edge, box_b=edge, box_c=edge)
mpipi.add_protein_bonds()
mpipi.add_contacts()
mpipi.add_dh_elec()
integrator = openmm.LangevinMiddleIntegrator(
    300 * unit.kelvin, 0.01 / unit.picosecond, 10 * unit.femtosecond
)
mpipi.set_simulation(integrator, platform_name="CPU", init_coord=structure.positions)
mpipi.simulation.minimizeEnergy()
mpipi.simulation.context.setVelocitiesToTemperature(300 * unit.kelvin)
mpipi.simulation.step(warm_up)

file, metrics = arguments.output / "aa.xtc", arguments.output / "metrics.csv"
with BackmapReporter(file, interval, metricsFile=metrics, overwrite=True) as reporter:
    mpipi.simulation.reporters.append(reporter)
    mpipi.simulation.step(interval * n_frames)
    found = reporter.backmapper.cg_topology
print(f"{file}: {reporter.nFrames} frames, {found.sequence(0)[:12]}")
