"""What comes into the Backmapper: topologies and frames, checked."""

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.artifact import (
    Engine,
    choose_device,
    find_model,
    list_models,
    load_engine,
)
from openmm_backmap.errors import BackmapWarning, GeometryError, InputError
from openmm_backmap.frames import CGFrame
from openmm_backmap.geometry.periodic import unwrap_chains
from openmm_backmap.mapping.bead_kind import find_com_residues
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.trajectory import read_topology

__all__ = [
    "PREFERRED_MODELS",
    "as_cg_topology",
    "check_frame",
    "choose_model",
    "share_engine",
    "warn_of_centres_of_mass",
]

PREFERRED_MODELS = ("ca", "table")
"""Packaged models for CA beads, the best one first."""


def choose_model(model: str | Path | None) -> str | Path:
    """Return the model asked for, or the best one that is installed.

    Parameters
    ----------
    model : str or Path or None
        Name or file.

    Returns
    -------
    str or Path
        `model` unless it is None.
    """
    if model is not None:
        return model
    installed = list_models()
    return next((m for m in PREFERRED_MODELS if m in installed), PREFERRED_MODELS[0])


def share_engine(model: str | Path | None, device: str) -> Engine:
    """Load a model, or give the one that is loaded already.

    The first two passes of a TorchScript model compile it, which takes more
    time than hundreds of frames; many reporters in a process share that.

    Parameters
    ----------
    model : str or Path or None
        See `choose_model`.
    device : str
        See `openmm_backmap.artifact.choose_device`.

    Returns
    -------
    Engine
        It keeps no state between passes, so threads may share it.

    Raises
    ------
    ModelError
        If there is no such model or device.
    """
    path = find_model(choose_model(model)).resolve()
    return _load(path, path.stat().st_mtime_ns, str(choose_device(device)))


@functools.lru_cache(maxsize=4)
def _load(path: Path, changed: int, device: str) -> Engine:
    """Load a model file; a file that changed is loaded anew."""
    return load_engine(path, device)


def as_cg_topology(topology: Any, **options: Any) -> CGTopology:
    """Make a CGTopology from whatever names one.

    Parameters
    ----------
    topology : openmm.app.Topology, mdtraj.Topology, CGTopology, Path or str
        An object, a topology file, or a sequence in one-letter code.
    **options
        Keywords of `CGTopology.from_openmm`: `mapping` (if None, "ca", with a
        warning where the beads look like something else), `sequence`,
        `positions`, `box`, `system`, `strict`.

    Returns
    -------
    CGTopology
        As it is where one came.
    """
    if isinstance(topology, CGTopology):
        return topology
    is_chosen = options.get("mapping") is not None
    if not is_chosen:
        options["mapping"] = "ca"
    if isinstance(topology, str | Path):
        text = str(topology)
        if "." not in text and text.isalpha() and text.isupper():
            return CGTopology.from_sequence(text, mapping=options["mapping"])
        topology, first = read_topology(topology)
        if options.get("positions") is None:
            options["positions"] = first
    if hasattr(topology, "getNumAtoms"):
        cg_topology = CGTopology.from_openmm(topology, **options)
    elif hasattr(topology, "n_atoms"):
        cg_topology = CGTopology.from_mdtraj(topology, **options)
    else:
        raise InputError(
            f"topology: {type(topology).__name__} came, wanted an OpenMM or mdtraj "
            "Topology, a CGTopology, a file or a sequence"
        )
    positions, box = options.get("positions"), options.get("box")
    if positions is not None and not is_chosen:
        if box is None and hasattr(topology, "getPeriodicBoxVectors"):
            vectors = topology.getPeriodicBoxVectors()
            box = None if vectors is None else np.array(vectors._value)
        warn_of_centres_of_mass(cg_topology, positions, box)
    return cg_topology


def warn_of_centres_of_mass(
    topology: CGTopology, positions: np.ndarray, box: np.ndarray | None
) -> None:
    """Warn if beads that are taken for CA look like centres of mass.

    CALVADOS 3 calls the centres of mass of folded domains CA, too; taken for
    CA they put the atoms about 0.1 nm off.

    Parameters
    ----------
    topology : CGTopology
        With CA beads.
    positions : numpy.ndarray, shape (B, 3)
        One frame in nm.
    box : numpy.ndarray or None, shape (3, 3)
        Its box vectors in nm.
    """
    beads = topology.bead_positions(np.asarray(positions)[None])[:, :, 0]
    if not np.isfinite(beads).all():
        return
    beads = unwrap_chains(beads, topology.chain_index, box)
    n_odd = int(find_com_residues(beads, topology.chain_index).sum())
    if n_odd:
        warnings.warn(
            f"{n_odd} of {topology.n_residues} residues: their beads lie like centres "
            "of mass, not like CA; taken for CA, which puts their atoms about 0.1 nm "
            'off. Use a model for such beads, or say mapping "ca" to go without this '
            "warning",
            BackmapWarning,
            stacklevel=4,
        )


def check_frame(frame: CGFrame, topology: CGTopology) -> None:
    """Refuse a frame whose beads do not fit the topology or are not finite.

    Parameters
    ----------
    frame : CGFrame
        The frame.
    topology : CGTopology
        What is wanted; beads that it leaves out are not looked at.

    Raises
    ------
    InputError
        If the number of beads differs.
    GeometryError
        If a bead or the box is not finite.
    """
    positions = np.asarray(frame.positions)
    n_beads = topology.n_beads
    if positions.shape != (n_beads, 3):
        raise InputError(
            f"frame at step {frame.step}: positions of shape {positions.shape} came, "
            f"wanted ({n_beads}, 3); is this the trajectory of that topology?"
        )
    used = topology.bead_index
    bad = ~np.isfinite(positions).all(axis=-1)
    if bad.any():
        rows = np.flatnonzero((bad[used] & (used >= 0)).any(axis=-1))
        if len(rows):
            row = rows[0]
            raise GeometryError(
                f"frame at step {frame.step}: bead of residue "
                f"{topology.residue_name[row]} {topology.residue_id[row]} is not "
                f"finite ({len(rows)} residues in all); did the simulation blow up?"
            )
    if frame.box is not None and not np.isfinite(frame.box).all():
        raise GeometryError(f"frame at step {frame.step}: the box is not finite")
