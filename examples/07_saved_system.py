"""Backmap a simulation of an engine that saves its System: CALVADOS 2 and 3.

    python examples/07_saved_system.py SYSTEM.xml TOP.pdb [--quick] [-o FOLDER]

CALVADOS writes both files when it starts. Without them a System of the
package's own HPS model is saved first. In CALVADOS 3 the beads of folded domains
are centres of mass that are called CA; the reporter notices and says so.
"""

import argparse
from pathlib import Path

import openmm
from openmm import app, unit

from openmm_backmap import BackmapReporter
from openmm_backmap.testsystems import HPSModel

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("files", nargs="*", type=Path, metavar="SYSTEM TOPOLOGY")
parser.add_argument("--quick", action="store_true", help="2 frames instead of 20")
parser.add_argument("-o", "--output", type=Path, default=Path("runs/example_07"))
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
interval, n_frames = (100, 2) if arguments.quick else (7000, 20)

if arguments.files:
    system_file, top = arguments.files
else:
    system_file, top = arguments.output / "system.xml", arguments.output / "top.pdb"
    model = HPSModel("GSMASASSSQRGRSGSGNFGGGRGGGFGG")
    system_file.write_text(openmm.XmlSerializer.serialize(model.system))
    app.PDBFile.writeFile(model.topology, model.positions, str(top))

structure = app.PDBFile(str(top))
system = openmm.XmlSerializer.deserialize(system_file.read_text())
integrator = openmm.LangevinMiddleIntegrator(
    293 * unit.kelvin, 0.01 / unit.picosecond, 10 * unit.femtosecond
)
platform = openmm.Platform.getPlatform("CPU")
simulation = app.Simulation(structure.topology, system, integrator, platform)
simulation.context.setPositions(structure.positions)
simulation.minimizeEnergy(maxIterations=50)

file = arguments.output / "aa.xtc"
with BackmapReporter(file, interval, overwrite=True) as reporter:
    simulation.reporters.append(reporter)
    simulation.step(interval * n_frames)
    found = reporter.backmapper.cg_topology
print(
    f"{file}: {reporter.nFrames} frames, {found.n_chains} chains, "
    f"{found.n_residues} residues"
)
