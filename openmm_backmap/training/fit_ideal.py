"""Fit the ideal geometry of `openmm_backmap.residues.ideal` from structures.

Medians (circular means for torsion offsets) over well ordered residues of
X-ray entries at 1.6 A or better. Run it to print the module's tables::

    python -m openmm_backmap.training.fit_ideal TRAIN.npz > ideal.txt
"""

import sys

import numpy as np

from openmm_backmap.residues.atoms import ATOM_SLOT
from openmm_backmap.residues.ideal import SIDE_CHAIN_TREE
from openmm_backmap.residues.names import RESIDUE_NAMES
from openmm_backmap.units import ANGSTROM

__all__ = ["fit_side_chains"]


def _dihedral(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    b1, b2, b3 = b - a, c - b, d - c
    n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
    return np.arctan2(
        (b1 * n2).sum(-1) * np.linalg.norm(b2, axis=-1), (n1 * n2).sum(-1)
    )


def _angle(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    u, v = a - b, c - b
    cosine = (u * v).sum(-1) / np.linalg.norm(u, axis=-1) / np.linalg.norm(v, axis=-1)
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def fit_side_chains(
    positions: np.ndarray, residue_type: np.ndarray, mask: np.ndarray
) -> dict[str, tuple]:
    """Median bond lengths, angles and torsion offsets of side-chain atoms.

    Parameters
    ----------
    positions : numpy.ndarray, shape (R, 14, 3)
        Heavy atoms in angstrom.
    residue_type : numpy.ndarray, shape (R,)
        0 to 19.
    mask : numpy.ndarray, shape (R, 14), bool
        Atoms to be used.

    Returns
    -------
    dict
        Residue name -> rows (atom, length in angstrom, angle in degrees,
        torsion offset in degrees).
    """
    result: dict[str, tuple] = {}
    for k, name in enumerate(RESIDUE_NAMES):
        chosen = residue_type == k
        xyz, seen = positions[chosen], mask[chosen]
        slot = ATOM_SLOT[k]
        rows = []
        chi_atom: dict[int, tuple] = {}
        for atom, a, b, c, chi in SIDE_CHAIN_TREE.get(name, ()):
            index = [slot[x] for x in (a, b, c, atom)]
            if chi and chi not in chi_atom:
                chi_atom[chi] = index
            reference = chi_atom[chi] if chi else index
            ok = seen[:, index].all(1) & seen[:, reference].all(1)
            p = [xyz[ok, i] for i in index]
            length = np.median(np.linalg.norm(p[3] - p[2], axis=-1))
            angle = np.median(_angle(p[1], p[2], p[3]))
            torsion = _dihedral(*p)
            if chi:
                torsion = torsion - _dihedral(*[xyz[ok, i] for i in reference])
            offset = np.degrees(np.angle(np.exp(1j * torsion).mean()))
            rows.append((atom, round(length, 3), round(angle, 1), round(offset, 1)))
        result[name] = tuple(rows)
    return result


def main(path: str) -> None:
    """Print the fitted table for a training shard."""
    from openmm_backmap.training.shards import read_shard

    xyz, kind, mask = [], [], []
    for entry in read_shard(path):
        if not entry.resolution <= 1.6:
            continue
        xyz.append(entry.positions[0] / ANGSTROM)
        kind.append(entry.residue_type)
        mask.append(entry.mask & (entry.bfactor < 35))
    table = fit_side_chains(
        np.concatenate(xyz), np.concatenate(kind), np.concatenate(mask)
    )
    for name, rows in table.items():
        sys.stdout.write(f'    "{name}": {rows},\n')


if __name__ == "__main__":
    main(sys.argv[1])
