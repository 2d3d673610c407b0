"""A reference structure, laid along the topology and told to the model."""

from typing import Any

import numpy as np

from openmm_backmap.errors import InputError, TopologyError
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.mapping.template import Template, align_template
from openmm_backmap.residues.atoms import ATOM_SLOT
from openmm_backmap.trajectory import read_topology

__all__ = ["as_template", "encode_for_model"]


def as_template(template: Any, cg_topology: CGTopology) -> Template:
    """Lay a reference structure along the topology.

    Parameters
    ----------
    template : Template or str or Path
        Aligned already, or the structure file (PDB, mmCIF, GRO).
    cg_topology : CGTopology
        What is to be backmapped.

    Returns
    -------
    Template

    Raises
    ------
    InputError
        If a template of another size came.
    TopologyError
        If the file cannot be read, is of another protein or holds CA alone.
    """
    if isinstance(template, Template):
        if len(template.positions) != cg_topology.n_residues:
            raise InputError(
                f"template: made for {len(template.positions)} residues, the topology "
                f"has {cg_topology.n_residues}; make it with align_template for this "
                "topology"
            )
        return template
    topology, positions = read_topology(template)
    if positions is None:
        raise InputError(
            f"template {template}: the file holds no positions; give a PDB or mmCIF "
            "file"
        )
    try:
        found = align_template(cg_topology, topology, positions)
    except TopologyError as error:
        raise TopologyError(f"template {template}: {error}") from error
    if not np.isfinite(np.delete(found.positions, ATOM_SLOT[0]["CA"], 1)).any():
        raise TopologyError(
            f"template {template}: of the {found.n_known} residues found only CA is "
            "there, so it tells nothing of rotamers, peptides and disulfides; give "
            "the all-atom structure"
        )
    return found


def encode_for_model(template: Template | None, cg_topology: CGTopology) -> Any:
    """Make the tensor by which a model reads a template, or None.

    Parameters
    ----------
    template : Template or None
        As `as_template` gives it.
    cg_topology : CGTopology
        What is to be backmapped.

    Returns
    -------
    torch.Tensor or None, shape (R, 16)
        See `builder.template.encode_template`.
    """
    if template is None:
        return None
    # torch is loaded only where it is wanted
    import torch

    from openmm_backmap.builder.template import encode_template

    return encode_template(
        torch.from_numpy(template.positions),
        torch.from_numpy(np.ascontiguousarray(cg_topology.residue_type)),
        torch.from_numpy(np.ascontiguousarray(cg_topology.chain_index)),
    )
