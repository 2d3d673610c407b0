"""Backmap a running OpenSMOG simulation (structure-based, CA).

    pip install opensmog
    python examples/05_opensmog.py [--quick] [-o FOLDER] [--smog FOLDER]

Chymotrypsin inhibitor 2 from the files that OpenSMOG brings along; --smog names
a folder with a smog.gro, smog.top and smog.xml of your own.
"""

import argparse
import shutil
from pathlib import Path

import OpenSMOG

from openmm_backmap import BackmapReporter

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--quick", action="store_true", help="2 frames instead of 50")
parser.add_argument("-o", "--output", type=Path, default=Path("runs/example_05"))
parser.add_argument("--smog", type=Path)
arguments = parser.parse_args()
arguments.output.mkdir(parents=True, exist_ok=True)
interval, n_frames = (100, 2) if arguments.quick else (1000, 50)

folder = arguments.smog
if folder is None:
    folder = arguments.output
    files = Path(OpenSMOG.__file__).parent / "share" / "tests" / "2ci2.CA"
    shutil.copy(files / "frame.0.gro", folder / "smog.gro")
    shutil.copy(files / "opentest.top", folder / "smog.top")
    shutil.copy(files / "opentest.xml", folder / "smog.xml")

smog = OpenSMOG.SBM(
    name="ci2", time_step=0.0005, collision_rate=1.0, r_cutoff=1.1, temperature=0.9
)
smog.setup_openmm(platform="cpu")
smog.saveFolder(str(arguments.output))
smog.loadSystem(*(str(folder / f"smog.{kind}") for kind in ("gro", "top", "xml")))
smog.createSimulation()

# Reduced units and reduced times are kept as they are.
file = arguments.output / "aa.xtc"
with BackmapReporter(file, interval, overwrite=True) as reporter:
    smog.simulation.reporters.append(reporter)
    smog.simulation.step(interval * n_frames)
    found = reporter.backmapper.cg_topology
print(f"{file}: {reporter.nFrames} frames, {found.n_residues} residues")
