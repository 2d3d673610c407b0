"""Raw frames of real CG simulations: all-atom MD could start from them."""

from itertools import islice
from pathlib import Path

import mdtraj
import pytest

from openmm_backmap import Backmapper, Minimizer

CASES = {
    # all-atom energies of raw frames were 1e4 to 1e9 kJ/mol in each of these once
    "calvados2_A1SLCD": ("top.pdb", "A1SLCD.dcd", 8),
    "calvados3_hnRNPA1S": ("top.pdb", "hnRNPA1S.dcd", 4),
    "openabc_moff_hp1a_dimer": ("start.pdb", "traj.dcd", 2),
}


@pytest.mark.filterwarnings("ignore::openmm_backmap.BackmapWarning")
@pytest.mark.parametrize("case", CASES)
def test_raw_frames_have_energies_below_zero(shared: Path, case: str) -> None:
    topology, trajectory, n_frames = CASES[case]
    folder = shared / "cases" / case
    if not folder.exists():
        pytest.skip(f"no case {case} beside the data")
    top = folder / topology
    first = mdtraj.load(str(folder / trajectory), top=str(top)).xyz[:10]
    backmapper = Backmapper.from_topology(top, device="cpu", frames=first)
    minimizer = Minimizer(backmapper.atom_topology, solvent="gbn2")
    frames = backmapper.backmap_trajectory(folder / trajectory, top=top)
    energies = [minimizer.energy(f.positions) for f in islice(frames, n_frames)]
    assert len(energies) == n_frames
    assert max(energies) < 0.0
