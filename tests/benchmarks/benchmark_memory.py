r"""Memory while a long trajectory is backmapped on the command line's path.

    python tests/benchmarks/benchmark_memory.py [--frames 10000] \
        [-- --no-hydrogens -s 6]

A DCD of that many frames of 131 disordered residues is written (three rotated,
noisy conformations) and backmapped by the code of ``openmm-backmap backmap``;
the resident memory is read every 100 frames.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import mdtraj
import numpy as np

from openmm_backmap.cli import main as command
from openmm_backmap.cli.progress import FrameProgress
from openmm_backmap.testsystems import HPSModel

_EVERY = 100


def read_resident_mib() -> float:
    """Read the resident memory of this process in MiB (Linux)."""
    text = Path("/proc/self/status").read_text()
    line = next(row for row in text.splitlines() if row.startswith("VmRSS"))
    return int(line.split()[1]) / 1024.0


def write_trajectory(folder: Path, n_frames: int) -> tuple[Path, Path]:
    """Write cg.pdb and cg.dcd, piece by piece."""
    model = HPSModel(("GSMASASSSQRGRSGSGNFGGGRGGGFGGNDNFGRGG" * 4)[:131])
    start = np.asarray(model.positions._value, np.float32)
    topology = mdtraj.Topology.from_openmm(model.topology)
    mdtraj.Trajectory(start, topology).save_pdb(str(folder / "cg.pdb"))
    rng = np.random.default_rng(7)
    with mdtraj.formats.DCDTrajectoryFile(str(folder / "cg.dcd"), "w") as file:
        for _ in range(0, n_frames, 100):
            noise = 0.005 * rng.standard_normal((100, *start.shape))
            file.write(10.0 * (start + noise).astype(np.float32))
    return folder / "cg.pdb", folder / "cg.dcd"


def main() -> None:
    """Backmap and print the memory as it goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10000)
    parser.add_argument("options", nargs="*", help="for backmap, after --")
    arguments = parser.parse_args()
    seen: list[tuple[int, float]] = []
    advance = FrameProgress.advance

    def watch(self: FrameProgress, n_frames: int) -> None:
        advance(self, n_frames)
        if not seen or self.n_done >= seen[-1][0] + _EVERY:
            before = seen[-1][0] if seen else -1
            seen.append((self.n_done, read_resident_mib()))
            if self.n_done // 500 > before // 500:
                print(f"{seen[-1][0]:6d} frames {seen[-1][1]:8.1f} MiB", flush=True)

    FrameProgress.advance = watch
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        top, trajectory = write_trajectory(folder, arguments.frames)
        words = ["backmap", trajectory, "-t", top, "-o", folder / "aa.xtc", "-q"]
        words += ["--device", "cpu", "--threads", 1, *arguments.options]
        started = time.process_time()
        code = command.main([str(word) for word in words])
        seconds = time.process_time() - started
    if code:
        sys.exit(code)
    late = [mib for done, mib in seen if done >= 500]
    n_done = seen[-1][0]
    print(f"{n_done} frames, {1000 * seconds / n_done:.1f} ms CPU a frame")
    if late:
        print(
            f"after 500 frames: first {late[0]:.1f}, largest {max(late):.1f}, last "
            f"{late[-1]:.1f} MiB ({100 * (max(late) / late[0] - 1):+.1f} %)"
        )


if __name__ == "__main__":
    main()
