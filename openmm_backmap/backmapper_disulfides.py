"""Disulfides that a model has built, and that the topology should have, too."""

import warnings
from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from openmm_backmap.errors import BackmapWarning
from openmm_backmap.frames import AtomFrame
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.residues.atoms import ATOM_SLOT
from openmm_backmap.residues.names import RESIDUE_NAMES

__all__ = ["MAX_BOND", "find_disulfides", "notice_disulfides", "notice_in_frames"]

MAX_BOND = 0.25
"""Farthest sulphurs in nm of a disulfide that was built; thiols are at 0.33."""

_CYSTEINE = RESIDUE_NAMES.index("CYS")
_SULPHUR = ATOM_SLOT[_CYSTEINE]["SG"]
_MOST_NAMED = 6


def find_disulfides(
    heavy: np.ndarray, residue_type: np.ndarray
) -> list[tuple[int, int]]:
    """Find the disulfides that were built in all frames.

    Parameters
    ----------
    heavy : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    residue_type : numpy.ndarray, shape (R,)
        0 to 19.

    Returns
    -------
    list of tuple of int
        Pairs of residue indices; none is in two of them.
    """
    cysteine = np.flatnonzero(residue_type == _CYSTEINE)
    if len(cysteine) < 2 or not len(heavy):
        return []
    sulphur = heavy[:, cysteine, _SULPHUR].astype(np.float64)
    pairs = cKDTree(sulphur[0]).query_pairs(MAX_BOND, output_type="ndarray")
    length = np.linalg.norm(sulphur[:, pairs[:, 0]] - sulphur[:, pairs[:, 1]], axis=2)
    order = np.argsort(length.max(axis=0))
    found: list[tuple[int, int]] = []
    for k in order[length.max(axis=0)[order] < MAX_BOND]:
        first, second = (int(cysteine[a]) for a in pairs[k])
        if not any(first in pair or second in pair for pair in found):
            found.append((first, second))
    return sorted(found)


def notice_disulfides(heavy: np.ndarray, topology: AtomTopology) -> None:
    """Warn of disulfides that were built, but are thiols in the topology.

    Parameters
    ----------
    heavy : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    topology : AtomTopology
        With its disulfides. Where it has no hydrogens, nobody starts MD from it.
    """
    if not topology.has_hydrogens:
        return
    cg = topology.cg
    bonded = {residue for pair in topology.disulfides for residue in pair}
    pairs = [
        pair
        for pair in find_disulfides(heavy, cg.residue_type)
        if not bonded & set(pair)
    ]
    if not pairs:
        return
    warnings.warn(
        f"{_name_pairs(pairs, cg)}: they stand as in a disulfide, but are "
        "thiols in the topology, so all-atom MD drives them apart. Say "
        "disulfides='auto' (--disulfides on the command line), or list the pairs, to "
        "bond them",
        BackmapWarning,
        stacklevel=5,
    )


def notice_in_frames(frames: Sequence[AtomFrame], topology: AtomTopology) -> None:
    """Do the same for frames that were written.

    Parameters
    ----------
    frames : sequence of AtomFrame
        Of the topology, at least one.
    topology : AtomTopology
        With its disulfides.
    """
    heavy = [frame.positions[topology.slot_atom] for frame in frames]
    notice_disulfides(np.stack(heavy), topology)


def _name_pairs(pairs: Sequence[tuple[int, int]], cg: CGTopology) -> str:
    """Names of pairs, the first ones of many, with chains where there are several."""
    chain = [cg.chain_id[k] if cg.n_chains > 1 else "" for k in cg.chain_index]
    names = [
        f"CYS {chain[i]}{cg.residue_id[i]} and {chain[j]}{cg.residue_id[j]}"
        for i, j in pairs
    ]
    more = len(names) - _MOST_NAMED
    text = ", ".join(names[:_MOST_NAMED])
    return f"{text} and {more} more pairs" if more > 0 else text
