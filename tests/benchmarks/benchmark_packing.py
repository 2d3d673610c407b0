"""Time the packing against building the same side chains once.

::

    python tests/benchmarks/benchmark_packing.py [--learned]

The denominator, `build_side_chains` of one candidate a residue, is measured in
the same run, so that the ratios can be compared between machines.
"""

import argparse
import platform
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import mdtraj
import numpy as np
import torch

from openmm_backmap.builder.extract import torsions_from_atoms
from openmm_backmap.builder.side_chain import build_side_chains
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.packing.pack import Packer, PackingSettings
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS
from openmm_backmap.residues.names import residue_type_of

PROTEIN = Path(__file__).parents[2] / "openmm_backmap" / "data" / "1ris.pdb"
N_FRAMES = 32
N_CANDIDATES = 7
REPEATS = 5


def read_protein() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Heavy atoms (R, 14, 3) in nm, their mask and the residue types."""
    trajectory = mdtraj.load(str(PROTEIN))
    residues = list(trajectory.topology.residues)
    positions = np.zeros((len(residues), N_SLOTS, 3), np.float32)
    mask = np.zeros((len(residues), N_SLOTS), bool)
    types = np.array([residue_type_of(r.name) for r in residues])
    for i, residue in enumerate(residues):
        for atom in residue.atoms:
            slot = ATOM_SLOT[types[i]].get(atom.name)
            if slot is not None:
                positions[i, slot] = trajectory.xyz[0, atom.index]
                mask[i, slot] = True
    return positions, mask, types


def make_inputs(n_copies: int) -> tuple[torch.Tensor, ...]:
    """Copies of a protein side by side, as the packing takes them.

    The candidates are the native chi and turns of it: three chi1, the rest in
    chi2, about seven a residue, with log p falling by 0.7 each.
    """
    positions, mask, types = read_protein()
    n = len(types)
    # copies in contact, not merely beside one another
    offset = np.zeros((n_copies, 1, 1, 3), np.float32)
    offset[:, 0, 0, 0] = 2.6 * np.arange(n_copies)
    positions = (positions[None] + offset).reshape(-1, N_SLOTS, 3)
    generator = torch.Generator().manual_seed(0)
    native = torch.tensor(positions).unsqueeze(0).repeat(N_FRAMES, 1, 1, 1)
    native = native + 0.005 * torch.randn(
        N_FRAMES, len(positions), 1, 3, generator=generator
    )
    residue_type = torch.tensor(types).repeat(n_copies)
    chain_index = torch.arange(n_copies).repeat_interleave(n)
    known = torch.tensor(mask).repeat(n_copies, 1)
    chi = torsions_from_atoms(native, known, residue_type, chain_index).chi
    turns = torch.zeros(N_CANDIDATES, 4)
    third = 2 * torch.pi / 3
    turns[:, 0] = torch.tensor([0, third, -third, 0, third, 0, -third])
    turns[:, 1] = torch.tensor([0, 0, 0, third, third, -third, third])
    candidates = chi.unsqueeze(2) + turns
    log_p = -0.7 * torch.arange(float(N_CANDIDATES)).expand(*chi.shape[:2], -1)
    neighbors = find_neighbors(native[:, :, 1].numpy(), 40, 1.5, None)
    return (
        native[:, :, :5].contiguous(),
        residue_type,
        chain_index,
        torch.tensor(neighbors),
        torch.zeros(N_FRAMES, 3, 3),
        candidates,
        log_p.contiguous(),
    )


def time_call(call: Callable[[], object]) -> tuple[float, float]:
    """Median and spread of the processor time in ms a frame, after a warm-up."""
    call()
    call()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        times.append((time.process_time() - start) * 1000 / N_FRAMES)
    return statistics.median(times), max(times) - min(times)


def main() -> None:
    """Print one row a protein size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learned", action="store_true", help="with a pair energy")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings, table = PackingSettings(), None
    if options.learned:
        settings = settings._replace(pair_scale=0.6, log_p_weight=0.6)
        generator = torch.Generator().manual_seed(1)
        table = 0.3 * torch.randn(26, 26, 16, generator=generator)
        table = table + table.transpose(0, 1)
    plain = settings._replace(n_cleanup_steps=0, n_repair_rounds=0)
    packer = torch.jit.script(Packer(settings, table).eval())
    no_cleanup = torch.jit.script(Packer(plain, table).eval())
    builder = Packer(settings, table).builder()
    build = torch.jit.script(build_side_chains)
    print(f"torch {torch.__version__}, {platform.processor()}, one thread")
    print("residues  build  pack  +-  ratio  without clean-up  9 sweeps  peak MB")
    for n_copies in (1, 3, 12):
        inputs = make_inputs(n_copies)
        chi = inputs[5][:, :, 0].contiguous()
        noise = torch.randn(*chi.shape[:2], 10)
        with torch.no_grad():
            base, _ = time_call(lambda: build(inputs[0], inputs[1], chi, builder))
            full, spread = time_call(lambda: packer(*inputs, None))
            bare, _ = time_call(lambda: no_cleanup(*inputs, None))
            drawn, _ = time_call(lambda: packer(*inputs, noise))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
        print(
            f"{len(inputs[1]):8d} {base:6.2f} {full:6.1f} {spread:4.1f} "
            f"{full / base:6.1f} {bare / base:16.1f} {drawn / base:9.1f} {peak:8d}"
        )


if __name__ == "__main__":
    main()
