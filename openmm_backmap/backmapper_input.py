"""What comes into the Backmapper: topologies and frames, checked."""

import functools
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.artifact import (
    Engine,
    choose_device,
    find_model,
    list_mappings,
    list_models,
    load_engine,
)
from openmm_backmap.backmapper_frames import stack_frames
from openmm_backmap.errors import (
    BackmapWarning,
    InputError,
    ModelError,
)
from openmm_backmap.frames import CGFrame
from openmm_backmap.mapping.bead_kind import find_rest_distances
from openmm_backmap.mapping.cg_mapping import MAPPINGS, CGMapping
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.trajectory import read_topology
from openmm_backmap.units import strip_lengths

__all__ = [
    "PREFERRED_MODELS",
    "as_cg_topology",
    "check_mapping",
    "check_options",
    "choose_model",
    "is_mixed",
    "notice_centres_of_mass",
    "read_part",
    "share_engine",
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


def is_mixed(mapping: Any) -> bool:
    """Whether the positions are to tell which beads are centres of mass."""
    is_named = isinstance(mapping, str | CGMapping)
    return is_named and mapping in ("mixed", MAPPINGS["mixed"])


def as_cg_topology(
    topology: Any,
    *,
    mapping: Any = None,
    readable: Sequence[str] | None = None,
    frames: np.ndarray | Sequence[CGFrame] | None = None,
    **options: Any,
) -> CGTopology:
    """Make a CGTopology from whatever names one.

    Parameters
    ----------
    topology : openmm.app.Topology, mdtraj.Topology, CGTopology, Path or str
        An object, a topology file, or a sequence in one-letter code.
    mapping : str, CGMapping or sequence of bool, optional
        What the beads are: a mapping, or for each residue whether its bead is
        a centre of mass. If None, CA; where beads lie like centres of mass
        they are taken for such, with a warning.
    readable : sequence of str, optional
        Mappings that the model reads. If None, all.
    frames : sequence of CGFrame or numpy.ndarray, shape (F, B, 3), optional
        Frames of the run in nm, by which CA are told from centres of mass and
        chain ends are found where nothing is bonded; those of a box may be cut by
        it. If None, `positions` are asked, or those of the topology file.
    **options
        Keywords of `CGTopology.from_openmm`: `sequence`, `positions`, `box`,
        `system`, `strict`.

    Returns
    -------
    CGTopology
        As it is where one came.
    """
    if isinstance(topology, CGTopology):
        said = mapping.name if isinstance(mapping, CGMapping) else mapping
        if isinstance(said, str) and said not in (topology.mapping.name, "mixed"):
            raise InputError(
                f"mapping: {said!r} came, but this CGTopology was made with "
                f"{topology.mapping.name!r}; say it when that is made"
            )
        return topology
    options |= {k: strip_lengths(options.get(k)) for k in ("positions", "box")}
    is_listed = mapping is not None and not isinstance(mapping, str | CGMapping)
    options["mapping"] = mapping
    if mapping is None:
        options["mapping"] = "ca"
    elif is_listed or is_mixed(mapping):
        options["mapping"] = "com"
    if isinstance(topology, str | Path):
        text = str(topology)
        if "." not in text and text.isalpha() and text.isupper():
            found = CGTopology.from_sequence(text, mapping=options["mapping"])
            return found.with_com_residues(mapping) if is_listed else found
        topology, first = read_topology(topology)
        if options.get("positions") is None:
            options["positions"] = first
    positions, box = options.get("positions"), options.get("box")
    system = options.get("system")
    if box is None and system is not None and system.usesPeriodicBoundaryConditions():
        box = strip_lengths(system.getDefaultPeriodicBoxVectors())
    if box is None and hasattr(topology, "getPeriodicBoxVectors"):
        box = strip_lengths(topology.getPeriodicBoxVectors())
    if frames is not None and len(frames):
        positions, box = stack_frames(frames, box)
        if len(positions[0]) == _count_particles(topology):
            options |= {"positions": positions, "box": box}
    if hasattr(topology, "getNumAtoms"):
        found = CGTopology.from_openmm(topology, **options)
    elif hasattr(topology, "n_atoms") and hasattr(topology, "chains"):
        found = CGTopology.from_mdtraj(topology, **options)
    else:
        raise InputError(
            f"topology: {type(topology).__name__} came, wanted an OpenMM or mdtraj "
            "Topology (often its .topology), a CGTopology, a file or a sequence"
        )
    if is_listed:
        return found.with_com_residues(mapping)
    if is_mixed(mapping):
        return found.with_com_residues(
            found.find_com_residues(positions, box=box, system=system)
        )
    if mapping is not None:
        return found
    if positions is None and not _has_rest_lengths(found, system):
        return found
    return notice_centres_of_mass(found, positions, box, system, readable)


def read_part(
    topology: Any,
    select: Callable[[CGTopology], CGTopology] | None,
    frames: np.ndarray | Sequence[CGFrame] | None,
    **options: Any,
) -> CGTopology:
    """Make a CGTopology of the part that is wanted.

    A function of the module, so that what calls it later can be pickled.

    Parameters
    ----------
    topology, frames, **options
        See `as_cg_topology`.
    select : callable or None
        Turns the topology into that part. If None, all of it is wanted.

    Returns
    -------
    CGTopology
    """
    found = as_cg_topology(topology, frames=frames, **options)
    return found if select is None else select(found)


def _has_rest_lengths(topology: CGTopology, system: Any) -> bool:
    """Whether the bonds of a System tell CA from centres of mass."""
    particle = topology.bead_index.max(axis=1)
    return find_rest_distances(system, particle, topology.chain_index) is not None


def _count_particles(topology: Any) -> int:
    """Number of particles of a topology of OpenMM or mdtraj."""
    if hasattr(topology, "getNumAtoms"):
        return topology.getNumAtoms()
    return getattr(topology, "n_atoms", -1)


def check_mapping(topology: CGTopology, engine: Engine) -> None:
    """Refuse beads that the model does not read.

    Parameters
    ----------
    topology : CGTopology
        With its mapping.
    engine : Engine
        The loaded model.

    Raises
    ------
    ModelError
        If the model was made for other beads; says which models there are.
    """
    mapping, metadata = topology.mapping, engine.metadata
    if mapping.name in MAPPINGS and mapping != MAPPINGS[mapping.name]:
        raise ModelError(
            f"mapping {mapping.name!r}: this is the name of a built-in mapping of "
            "other beads; give your own another name, the one its model has"
        )
    if mapping.name in metadata.mappings:
        return
    installed = list_mappings()
    models = "; ".join(f"{n}: {', '.join(m)}" for n, m in installed.items())
    fitting = [n for n, m in installed.items() if mapping.name in m]
    advice = (
        f"use model {' or '.join(repr(n) for n in fitting)}"
        if fitting
        else "coarsen to one of these, or train a model for it and give its file"
    )
    raise ModelError(
        f"mapping {mapping.name!r} (beads {', '.join(mapping.slot_names)}): model "
        f"{metadata.name!r} was not trained for it and reads "
        f"{', '.join(metadata.mappings)}. Installed models and what they read: "
        f"{models or 'none'}; {advice}"
    )


def notice_centres_of_mass(
    topology: CGTopology,
    positions: np.ndarray,
    box: np.ndarray | None,
    system: Any = None,
    readable: Sequence[str] | None = None,
) -> CGTopology:
    """Warn where beads named CA look like centres of mass, and take them for it.

    CALVADOS 3 calls the centres of mass of folded domains CA, too; taken for
    CA they put the atoms about 0.1 nm off.

    Parameters
    ----------
    topology : CGTopology
        With CA beads.
    positions : numpy.ndarray, shape (B, 3) or (F, B, 3)
        Frames in nm.
    box : numpy.ndarray or None, shape (3, 3) or (F, 3, 3)
        Box vectors in nm, zeros for none.
    system : openmm.System or None
        Rest lengths of its bonds tell more than a frame.
    readable : sequence of str or None
        Mappings that the model reads. If None, all.

    Returns
    -------
    CGTopology
        Of mapping "mixed" (or "com") where there are centres of mass and the
        model reads them; else as it came.
    """
    is_com = topology.find_com_residues(positions, box=box, system=system)
    if not is_com.any():
        return topology
    found = topology.with_com_residues(is_com)
    is_readable = readable is None or found.mapping.name in readable
    taken = (
        'taken for such. Say mapping "mixed" to go without this warning, "ca" if '
        "they are CA after all"
        if is_readable
        else "taken for CA, which puts their atoms about 0.1 nm off, because the "
        'model does not read centres of mass. Use one that does, or say mapping "ca" '
        "to go without this warning"
    )
    warnings.warn(
        f"{is_com.sum()} of {topology.n_residues} residues: their beads lie like "
        f"centres of mass, not like CA; {taken}",
        BackmapWarning,
        stacklevel=4,
    )
    return found if is_readable else topology


def check_options(
    topology: CGTopology, seed: int, threads: int | None, exact_ca: bool
) -> None:
    """Refuse options of a `Backmapper` that make no sense.

    Parameters
    ----------
    topology : CGTopology
        With its mapping.
    seed, threads, exact_ca
        See `Backmapper`.

    Raises
    ------
    InputError
        If a number is out of range, or CA are to stay that are not known.
    """
    if seed < 0:
        raise InputError(f"seed: {seed} came, wanted 0 or more")
    if threads is not None and threads < 1:
        raise InputError(f"threads: {threads} came, wanted 1 or more, or None")
    if exact_ca and "COM" in topology.mapping.slot_names:
        raise InputError(
            "exact_ca: some beads are centres of mass, whose CA are not known; "
            "leave exact_ca out, or state mapping='ca'"
        )
