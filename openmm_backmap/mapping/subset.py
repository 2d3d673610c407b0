"""A part of a coarse-grained topology."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from openmm_backmap.errors import InputError
from openmm_backmap.mapping.cg_topology import CGTopology

__all__ = ["select_beads", "select_chains", "select_residues"]


def select_residues(topology: CGTopology, keep: np.ndarray) -> CGTopology:
    """Keep some residues; frames still hold all particles.

    Parameters
    ----------
    topology : CGTopology
        The whole.
    keep : numpy.ndarray, shape (R,), bool
        Residues wanted.

    Returns
    -------
    CGTopology
        Residues that were neighbours in a segment still are; a gap ends one.

    Raises
    ------
    InputError
        If nothing is left.
    """
    rows = np.flatnonzero(keep)
    if len(rows) == 0:
        raise InputError("the selection holds no protein residue; widen it")
    old = topology.chain_index[rows]
    is_start = (np.diff(old, prepend=-1) != 0) | (np.diff(rows, prepend=-2) != 1)
    return replace(
        topology,
        residue_type=topology.residue_type[rows],
        chain_index=np.cumsum(is_start).astype(np.int64) - 1,
        residue_id=tuple(topology.residue_id[k] for k in rows),
        residue_name=tuple(topology.residue_name[k] for k in rows),
        chain_id=tuple(topology.chain_id[k] for k in old[is_start]),
        bead_index=topology.bead_index[rows],
    )


def select_beads(topology: CGTopology, beads: Sequence[int]) -> CGTopology:
    """Keep the residues all of whose beads are selected.

    Parameters
    ----------
    topology : CGTopology
        The whole.
    beads : sequence of int, or of bool
        Particle indices, or whether each particle is wanted.

    Returns
    -------
    CGTopology
        See `select_residues`.

    Raises
    ------
    InputError
        If an index is not that of a particle, if a mask is not of the length of
        the topology, or if nothing is left.
    """
    chosen = np.zeros(topology.n_beads + 1, bool)
    index = np.asarray(list(beads))
    if index.dtype == bool:
        if len(index) != topology.n_beads:
            raise InputError(
                f"atomSubset: a mask of {len(index)} particles came, the topology has "
                f"{topology.n_beads}"
            )
        index = np.flatnonzero(index)
    elif len(index) and not np.issubdtype(index.dtype, np.integer):
        raise InputError(
            f"atomSubset: {index[0]!r} came, wanted particle indices (whole numbers)"
        )
    index = index.astype(np.int64)
    outside = index[(index < 0) | (index >= topology.n_beads)]
    if len(outside):
        raise InputError(
            f"atomSubset: particle {outside[0]} came, the topology has "
            f"{topology.n_beads} (0 to {topology.n_beads - 1})"
        )
    chosen[index] = True
    chosen[-1] = True  # an empty slot, -1, asks for nothing
    return select_residues(topology, chosen[topology.bead_index].all(axis=1))


def select_chains(topology: CGTopology, chain_ids: Sequence[str]) -> CGTopology:
    """Keep the residues of some chains.

    Parameters
    ----------
    topology : CGTopology
        The whole.
    chain_ids : sequence of str
        Chain ids as they came.

    Returns
    -------
    CGTopology
        See `select_residues`.

    Raises
    ------
    InputError
        If there is no such chain.
    """
    known = np.array(topology.chain_id)
    for chain_id in chain_ids:
        if chain_id not in known:
            raise InputError(
                f"chain {chain_id!r}: not in the topology, which has "
                f"{', '.join(dict.fromkeys(topology.chain_id))}"
            )
    wanted = np.isin(known, list(chain_ids))
    return select_residues(topology, wanted[topology.chain_index])
