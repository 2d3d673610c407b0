"""Seconds and memory of one frame against the number of chains.

    python tests/benchmarks/benchmark_chains.py [CHAINS ...] [--model ca] [--length 137]

Each count runs in a process of its own, so that the peak of memory is its own.
The chains are disordered ones of 137 residues (the low-complexity domain of
hnRNPA1, or its first residues) side by side in a periodic box, 1 in 8 touching
the next.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

A1_LCD = (
    "GSMASASSSQRGRSGSGNFGGGRGGGFGGNDNFGRGGNFSGRGGFGGSRGGGGYGGSGDGYNGFGNDGSNFGGGGSYND"
    "FGNYNNQSSNFGPMKGGNFGGRSSGGSGGGGQYFAKPRNQGGYGGSSSSSSYGSGRRF"
)
"""Hydrogen-bonding domain of hnRNPA1, 137 residues (UniProt P09651)."""


def grow_chain(n_residues: int, seed: int) -> np.ndarray:
    """Grow a chain that avoids itself: steps of 0.38 nm, angles of 90 to 150."""
    rng = np.random.default_rng(seed)
    chain = [np.zeros(3), np.array([0.38, 0.0, 0.0])]
    while len(chain) < n_residues:
        last = (chain[-1] - chain[-2]) / 0.38
        for _ in range(200):
            side = np.cross(last, rng.standard_normal(3))
            side /= np.linalg.norm(side)
            turn = np.radians(rng.uniform(30.0, 90.0))
            bead = chain[-1] + 0.38 * (np.cos(turn) * last + np.sin(turn) * side)
            if np.linalg.norm(np.array(chain[:-1]) - bead, axis=1).min() > 0.48:
                break
        chain.append(bead)
    return np.array(chain, np.float32)


def make_system(n_chains: int, length: int = len(A1_LCD)) -> tuple:
    """Make the topology, beads in nm and box of chains on a grid."""
    from openmm_backmap.mapping.cg_topology import CGTopology

    kinds = [grow_chain(length, seed) for seed in range(8)]
    kinds = [chain - chain.mean(axis=0) for chain in kinds]
    spacing = max(np.ptp(chain, axis=0).max() for chain in kinds) * 0.8
    n_side = int(np.ceil(n_chains ** (1.0 / 3.0)))
    grid = np.stack(np.meshgrid(*[np.arange(n_side)] * 3), -1).reshape(-1, 3)
    beads = [kinds[k % 8] + grid[k] * spacing for k in range(n_chains)]
    box = np.eye(3) * spacing * n_side
    if n_side * spacing < 2.0 * spacing:
        box *= 2.0
    topology = CGTopology.from_sequence([A1_LCD[:length]] * n_chains)
    return topology, np.concatenate(beads), box.astype(np.float32)


def measure(n_chains: int, length: int, model: str, no_hydrogens: bool) -> dict:
    """Backmap one frame, twice, and write it once in each format."""
    from openmm_backmap import Backmapper, CGFrame
    from openmm_backmap.metrics.summary import FrameChecker
    from openmm_backmap.trajectory import open_writer

    row = {"chains": n_chains}

    def timed(name: str, function, *arguments):
        wall, cpu = time.perf_counter(), time.process_time()
        result = function(*arguments)
        row[name] = time.process_time() - cpu
        row[name + "_wall"] = time.perf_counter() - wall
        return result

    small = Backmapper.from_topology("A" * 10, model, device="cpu")
    for _ in range(2):  # compiles the model
        small.backmap([CGFrame(grow_chain(10, 1), step=0)])
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    topology, beads, box = timed("cg_topology", make_system, n_chains, length)
    backmapper = timed(
        "setup",
        lambda: Backmapper(
            topology, small.engine, hydrogens=not no_hydrogens, threads=1
        ),
    )
    frame = CGFrame(beads, box, step=1)
    timed("first_frame", backmapper.backmap_batch, [frame])
    batch = timed("frame", backmapper.backmap_batch, [frame])
    row["residues"], row["atoms"] = topology.n_residues, backmapper.n_atoms
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    row["MiB"], row["MiB_before"] = peak, base
    checker = FrameChecker.from_topology(topology)
    timed("metrics", checker.check, batch.heavy, box[None])
    with tempfile.TemporaryDirectory() as folder:
        # text of millions of atoms takes minutes and tells nothing new
        suffixes = ("xtc", "dcd", "cif") if n_chains <= 1000 else ("xtc", "dcd")
        for suffix in suffixes:
            path = Path(folder) / f"aa.{suffix}"
            with open_writer(path, backmapper.atom_topology) as writer:
                timed("write_" + suffix, writer.write, batch.frames[0])
    return row


def main() -> None:
    """Measure each count in a process of its own and fit the slope."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chains", nargs="*", type=int, default=[1, 10, 100, 1000])
    parser.add_argument("--length", type=int, default=len(A1_LCD))
    parser.add_argument("--model", default="ca")
    parser.add_argument("--no-hydrogens", action="store_true")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        row = measure(
            arguments.chains[0],
            arguments.length,
            arguments.model,
            arguments.no_hydrogens,
        )
        print(json.dumps(row))
        return
    rows = []
    for n_chains in arguments.chains:
        words = [sys.executable, __file__, str(n_chains), "--one"]
        words += ["--model", arguments.model, "--length", str(arguments.length)]
        words += ["--no-hydrogens"] * arguments.no_hydrogens
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        out = subprocess.run(words, capture_output=True, text=True, env=env)
        if out.returncode:
            print(f"{n_chains} chains: {out.stderr.strip().splitlines()[-1:]}")
            continue
        rows.append(json.loads(out.stdout.splitlines()[-1]))
        print(
            "  ".join(
                f"{name} {value:.3f}" if isinstance(value, float) else f"{name} {value}"
                for name, value in rows[-1].items()
                if not name.endswith("_wall") or name == "frame_wall"
            ),
            flush=True,
        )
    if len(rows) > 1:
        counts = np.log([row["chains"] for row in rows])
        for name in ("frame", "setup", "metrics", "write_xtc"):
            seconds = np.log([max(row[name], 1e-6) for row in rows])
            print(f"log-log slope of {name}: {np.polyfit(counts, seconds, 1)[0]:.2f}")


if __name__ == "__main__":
    main()
