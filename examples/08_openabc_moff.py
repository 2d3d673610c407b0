"""Backmap a running OpenABC simulation with MOFF.

    pip install openabc "pandas<3"
    python examples/08_openabc_moff.py [PDB] [--quick] [-o FOLDER]

MOFF holds the fold with native pairs and its bonds are soft: CA-CA distances of
2 to 5 A occur. The reporter first moves such beads to where CA of a protein can
be and says by how much (column projection_nm of the metrics).
"""

import argparse
from pathlib import Path

import openmm
from openabc.forcefields import MOFFMRGModel
from openabc.forcefields.parsers import MOFFParser
from openmm import app, unit

import openmm_backmap
from openmm_backmap import BackmapReporter

s6 = Path(openmm_backmap.__file__).parent / "data" / "1ris.pdb"
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("pdb", nargs="?", type=Path, default=s6, help="all-atom protein")
parser.add_argument("--quick", action="store_true", help="2 frames instead of 50")
parser.add_argument("-o", "--output", type=Path, default=Path("runs/example_08"))
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
interval, n_frames = (20, 2) if arguments.quick else (1000, 50)

beads = arguments.output / "cg.pdb"
moff = MOFFMRGModel()
moff.append_mol(MOFFParser.from_atomistic_pdb(str(arguments.pdb), str(beads)))
structure = app.PDBFile(str(beads))
moff.create_system(structure.topology, box_a=30, box_b=30, box_c=30)
moff.add_protein_bonds()
moff.add_protein_angles(verbose=False)
moff.add_protein_dihedrals()
moff.add_native_pairs()
moff.add_contacts()
moff.add_elec_switch(82 * unit.millimolar, 300 * unit.kelvin)
integrator = openmm.LangevinMiddleIntegrator(
    300 * unit.kelvin, 1 / unit.picosecond, 10 * unit.femtosecond
)
moff.set_simulation(integrator, platform_name="CPU", init_coord=structure.positions)
moff.simulation.minimizeEnergy()

file, metrics = arguments.output / "aa.xtc", arguments.output / "metrics.csv"
with BackmapReporter(file, interval, metricsFile=metrics, overwrite=True) as reporter:
    moff.simulation.reporters.append(reporter)
    moff.simulation.step(interval * n_frames)
    found = reporter.backmapper.cg_topology
print(f"{file}: {reporter.nFrames} frames, {found.n_residues} residues")
