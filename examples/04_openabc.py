"""Backmap a running OpenABC simulation (HPS with the Urry scale).

    pip install openabc "pandas<3"
    python examples/04_openabc.py [--quick] [-o FOLDER]

Four copies of ribosomal protein S6 stand in a box. OpenABC puts all copies in
one chain and gives its Topology no box; the reporter finds both out itself.
"""

import argparse
from pathlib import Path

import numpy as np
import openmm
from openabc.forcefields import HPSModel
from openabc.forcefields.parsers import HPSParser
from openmm import app, unit

import openmm_backmap
from openmm_backmap import BackmapReporter

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--quick", action="store_true", help="2 frames instead of 50")
parser.add_argument("-o", "--output", type=Path, default=Path("runs/example_04"))
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
interval, n_frames = (20, 2) if arguments.quick else (1000, 50)

structure = Path(openmm_backmap.__file__).parent / "data" / "1ris.pdb"
protein = HPSParser.from_atomistic_pdb(
    str(structure), str(arguments.output / "s6_ca.pdb")
)
hps = HPSModel()
for _ in range(4):
    hps.append_mol(protein)
xyz = hps.atoms[["x", "y", "z"]].to_numpy(float) / 10.0  # nm
xyz += np.repeat(6.0 * np.arange(4), len(xyz) // 4)[:, None] * [1.0, 0.0, 0.0]
hps.atoms[["x", "y", "z"]] = 10.0 * xyz
hps.atoms_to_pdb(str(arguments.output / "cg.pdb"))
topology = app.PDBFile(str(arguments.output / "cg.pdb")).topology
hps.create_system(topology, box_a=30, box_b=30, box_c=30)
hps.add_protein_bonds()
hps.add_contacts("Urry", mu=1, delta=0.08)
hps.add_dh_elec()
integrator = openmm.LangevinMiddleIntegrator(
    300 * unit.kelvin, 0.01 / unit.picosecond, 10 * unit.femtosecond
)
hps.set_simulation(integrator, platform_name="CPU", init_coord=xyz)
hps.simulation.minimizeEnergy()

file = arguments.output / "aa.xtc"
with BackmapReporter(file, interval, overwrite=True) as reporter:
    hps.simulation.reporters.append(reporter)
    hps.simulation.step(interval * n_frames)
    found = reporter.backmapper.cg_topology
print(f"{file}: {reporter.nFrames} frames, {found.n_chains} chains")
