"""What does minimization add to the raw model output?

    python examples/03_compare_with_minimization.py [--quick]

Frames of a running structure-based simulation are backmapped, checked, and
minimized in the same force field.
"""

import argparse

import numpy as np

from openmm_backmap import Backmapper, CGFrame, Minimizer
from openmm_backmap.metrics import FrameChecker
from openmm_backmap.testsystems import CAGoModel

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--quick", action="store_true", help="2 frames instead of 10")
arguments = parser.parse_args()

model = CAGoModel()
simulation = model.create_simulation(temperature=300.0, seed=1)
beads = []
for k in range(2 if arguments.quick else 10):
    simulation.step(500)
    state = simulation.context.getState(positions=True)
    xyz = state.getPositions(asNumpy=True)._value.astype(np.float32)
    beads.append(CGFrame(xyz, step=500 * (k + 1)))

backmapper = Backmapper.from_topology(model.topology)
raw = backmapper.backmap(beads)
minimizer = Minimizer(backmapper.atom_topology, maxIterations=100)
results = [minimizer.minimize(frame) for frame in raw]

checker = FrameChecker.from_atom_topology(backmapper.atom_topology)
slots = backmapper.atom_topology.slot_atom  # (R, 14), -1 where there is no atom
print(f"{'':26}{'raw':>12}{'minimized':>12}")
stages = {"raw": raw, "minimized": [result.frame for result in results]}
atoms = [np.stack([frame.positions for frame in frames]) for frames in stages.values()]
figures = [checker.check(stage[:, slots], atoms=stage) for stage in atoms]
for name in figures[0]:
    before, after = (float(f[name].mean()) for f in figures)
    print(f"{name:26}{before:12.3f}{after:12.3f}")
before = np.mean([result.energy_before for result in results])
after = np.mean([result.energy_after for result in results])
print(f"{'energy (kJ/mol)':26}{before:12.0f}{after:12.0f}")
moved = np.mean([result.displacement for result in results]) * 10.0
seconds = np.mean([result.seconds for result in results])
print(
    f"minimization moved heavy atoms by {moved:.2f} A and took {seconds:.1f} s a frame"
)
