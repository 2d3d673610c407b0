"""Fit the reference bond angles of `openmm_backmap.residues.bond_angles`.

Medians over well ordered residues (B below 35 square angstrom) of X-ray
entries at 1.6 A or better. Run it to print the module's table::

    python -m openmm_backmap.training.fit_angles TRAIN.npz > angles.txt
"""

import sys
from itertools import combinations
from pathlib import Path

import numpy as np

from openmm_backmap.residues.atoms import ATOM_SLOT, BONDS
from openmm_backmap.residues.names import N_TYPES, RESIDUE_NAMES
from openmm_backmap.training.prepared import split_segments
from openmm_backmap.training.shards import read_shard

__all__ = ["fit_angles", "list_angles"]

MAX_RESOLUTION = 1.6
MAX_BFACTOR = 35.0


def list_angles(residue_type: int) -> list[tuple[str, str, str]]:
    """List the bond angles whose middle atom is in a residue.

    Parameters
    ----------
    residue_type : int
        0 to 19.

    Returns
    -------
    list of tuple of str
        (first, middle, last); "-C" is C of the residue before and "+N" is N of
        the residue after.
    """
    neighbors: dict[str, list[str]] = {}
    for a, b in [*BONDS[residue_type], ("-C", "N"), ("C", "+N")]:
        neighbors.setdefault(a, []).append(b)
        neighbors.setdefault(b, []).append(a)
    return [
        (first, middle, last)
        for middle in ATOM_SLOT[residue_type]
        for first, last in combinations(sorted(neighbors[middle]), 2)
    ]


def _measure(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    u, v = a - b, c - b
    cosine = (u * v).sum(-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def fit_angles(path: Path | str) -> dict[str, list[tuple[str, str, str, float]]]:
    """Measure the median of each bond angle.

    Parameters
    ----------
    path : pathlib.Path or str
        A training shard.

    Returns
    -------
    dict of str to list
        Residue name -> rows (first, middle, last, degrees).
    """
    found: list[dict[tuple[str, str, str], list[np.ndarray]]] = [
        {angle: [] for angle in list_angles(kind)} for kind in range(N_TYPES)
    ]
    for entry in read_shard(path):
        if not entry.resolution <= MAX_RESOLUTION:
            continue
        xyz = entry.positions[0]
        seen = entry.mask & (entry.bfactor < MAX_BFACTOR)
        segment = split_segments(entry)
        for kind in range(N_TYPES):
            rows = np.flatnonzero(entry.residue_type == kind)
            for angle, parts in found[kind].items():
                points, known = [], np.ones(len(rows), bool)
                for name in angle:
                    step = {"-": -1, "+": 1}.get(name[0], 0)
                    other = np.clip(rows + step, 0, len(xyz) - 1)
                    slot = {"-C": 2, "+N": 0}.get(name, ATOM_SLOT[kind].get(name, 0))
                    known &= seen[other, slot] & (segment[other] == segment[rows])
                    known &= (other != rows) | (step == 0)
                    points.append(xyz[other, slot])
                parts.append(_measure(*(point[known] for point in points)))
    return {
        RESIDUE_NAMES[kind]: [
            (*angle, round(float(np.median(np.concatenate(parts))), 1))
            for angle, parts in found[kind].items()
        ]
        for kind in range(N_TYPES)
    }


def main(path: str) -> None:
    """Print the fitted table for a training shard."""
    for name, rows in fit_angles(path).items():
        words = [f"{a} {b} {c} {degrees}" for a, b, c, degrees in rows]
        lines, line = [], ""
        for word in words:
            if len(line) + len(word) > 64:
                lines.append(line.rstrip())
                line = ""
            line += word + ", "
        lines.append(line.rstrip(", "))
        text = "\n           ".join(
            f'"{part}{"" if part is lines[-1] else " "}"' for part in lines
        )
        sys.stdout.write(f'    "{name}": {text},\n')


if __name__ == "__main__":
    main(sys.argv[1])
