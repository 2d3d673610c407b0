"""Backmap a running OpenAWSEM simulation.

    pip install openawsem "biopython<1.82"
    python examples/06_openawsem.py [PDB] [--quick] [-o FOLDER]

OpenAWSEM calls all residues NGP, IGL or IPR, so the true sequence is given.
Only the backbone terms run here: the others need files of their own.
"""

import argparse
import os
import shutil
from pathlib import Path

import openawsem
import openmm
from openawsem.functionTerms import basicTerms
from openmm import app, unit

import openmm_backmap
from openmm_backmap import BackmapReporter

s6 = Path(openmm_backmap.__file__).parent / "data" / "1ris.pdb"
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("pdb", nargs="?", type=Path, default=s6, help="one chain A")
parser.add_argument("--quick", action="store_true", help="2 frames instead of 50")
parser.add_argument("-o", "--output", type=Path, default=Path("runs/example_06"))
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
interval, n_frames = (50, 2) if arguments.quick else (1000, 50)
shutil.copy(arguments.pdb, arguments.output / "native.pdb")
os.chdir(arguments.output)  # OpenAWSEM writes beside its input

file, cleaned = openawsem.prepare_pdb("native.pdb", "A")
openawsem.ensure_atom_order(file)
sequence = openawsem.getSeqFromCleanPdb(file, chains="A")
awsem = openawsem.OpenMMAWSEMSystem(file, chains="A", seqFromPdb=sequence)
terms = ("con_term", "chain_term", "chi_term", "excl_term", "rama_term")
awsem.addForcesWithDefaultForceGroup([getattr(basicTerms, t)(awsem) for t in terms])
integrator = openmm.LangevinIntegrator(
    300 * unit.kelvin, 1 / unit.picosecond, 2 * unit.femtosecond
)
platform = openmm.Platform.getPlatform("CPU")
simulation = app.Simulation(awsem.pdb.topology, awsem.system, integrator, platform)
simulation.context.setPositions(awsem.pdb.positions)
simulation.minimizeEnergy(maxIterations=50)

with BackmapReporter("aa.xtc", interval, sequence=sequence, overwrite=True) as reporter:
    simulation.reporters.append(reporter)
    simulation.step(interval * n_frames)
    found = reporter.backmapper.cg_topology
print(f"aa.xtc: {reporter.nFrames} frames, {found.sequence(0)}")
