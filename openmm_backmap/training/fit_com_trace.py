"""Fit the shift from a residue's centre of mass to its CA.

::

    python -m openmm_backmap.training.fit_com_trace DATA_FOLDER -o com_trace.npz

X-ray structures at 2.2 A or better, residues with all heavy atoms and B below
60 A^2; ridge regression by residue type.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from openmm_backmap.geometry.frames import to_local
from openmm_backmap.mapping.coarsen import coarsen_slots
from openmm_backmap.nn.com_trace import (
    N_SHIFT_FEATURES,
    compute_shift_features,
    trace_frames,
)
from openmm_backmap.residues.atoms import N_SLOTS, SLOT_NAMES
from openmm_backmap.residues.names import N_TYPES
from openmm_backmap.training.prepared import hash_files, split_segments
from openmm_backmap.training.shards import ShardEntry, find_shards, read_shard

__all__ = ["fit_com_trace"]

MAX_RESOLUTION = 2.2
MAX_BFACTOR = 60.0
RIDGE = 10.0


def _is_whole(entry: ShardEntry) -> np.ndarray:
    """Whether a residue has all its heavy atoms, (R,)."""
    wanted = np.zeros((N_TYPES, N_SLOTS), bool)
    for kind, names in enumerate(SLOT_NAMES):
        wanted[kind, : len(names)] = True
    return (entry.mask == wanted[entry.residue_type]).all(1)


def fit_com_trace(
    shards: Sequence[Path], max_entries: int | None = None
) -> dict[str, np.ndarray]:
    """Fit the arguments of `openmm_backmap.nn.com_trace.ComTrace`.

    Parameters
    ----------
    shards : sequence of pathlib.Path
        Training shards.
    max_entries : int, optional
        Stop after so many entries. If None, all are read.

    Returns
    -------
    dict of str to numpy.ndarray
        ``coefficients`` (20, 53, 3), float32; ``residual`` (20,), root mean
        square of what the map leaves, nm.
    """
    k = N_SHIFT_FEATURES
    gram = np.zeros((N_TYPES, k, k))
    moment = np.zeros((N_TYPES, k, 3))
    square = np.zeros(N_TYPES)
    count = np.zeros(N_TYPES)
    seen = 0
    for path in shards:
        for entry in read_shard(path):
            if not entry.resolution <= MAX_RESOLUTION or seen == max_entries:
                continue
            seen += 1
            kind = torch.from_numpy(entry.residue_type)
            segment = torch.from_numpy(split_segments(entry))
            atoms = np.nan_to_num(entry.positions[:1])
            com = torch.from_numpy(coarsen_slots(atoms, entry.residue_type, "com"))
            com = com[:, :, 0]
            ca = torch.from_numpy(atoms[:, :, 1])
            x = compute_shift_features(com, kind, segment)[0].double().numpy()
            y = to_local(trace_frames(com, segment), ca - com)[0].double().numpy()
            good = _is_whole(entry) & (entry.bfactor < MAX_BFACTOR).all(1)
            # neighbours whose atoms are missing have no true centre of mass
            whole = _is_whole(entry)
            good &= np.roll(whole, 1) & np.roll(whole, -1)
            good &= np.isfinite(x).all(1) & np.isfinite(y).all(1)
            for t in range(N_TYPES):
                rows = good & (entry.residue_type == t)
                gram[t] += x[rows].T @ x[rows]
                moment[t] += x[rows].T @ y[rows]
                square[t] += (y[rows] ** 2).sum()
                count[t] += rows.sum()
    penalty = RIDGE * np.eye(k)
    penalty[0, 0] = 1e-6
    solution = np.linalg.solve(gram + penalty, moment)
    left = square - 2 * (solution * moment).sum((1, 2))
    left += np.einsum("tkx,tkl,tlx->t", solution, gram, solution)
    return {
        "coefficients": solution.astype(np.float32),
        "residual": np.sqrt(left / np.maximum(count, 1)).astype(np.float32),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Fit and write the arrays."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--max-entries", type=int)
    options = parser.parse_args(arguments)
    shards = find_shards(options.data, "train")
    arrays = fit_com_trace(shards, options.max_entries)
    np.savez(options.output, data_hash=hash_files(shards), **arrays)


if __name__ == "__main__":
    main()
