"""What comes into the Backmapper: topologies and frames, checked."""

import functools
import warnings
from collections.abc import Sequence
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
from openmm_backmap.errors import (
    BackmapWarning,
    GeometryError,
    InputError,
    ModelError,
)
from openmm_backmap.frames import CGFrame
from openmm_backmap.mapping.cg_mapping import MAPPINGS, CGMapping
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.trajectory import read_topology

__all__ = [
    "PREFERRED_MODELS",
    "as_cg_topology",
    "check_frame",
    "check_mapping",
    "check_options",
    "choose_model",
    "frames_from_positions",
    "is_mixed",
    "notice_centres_of_mass",
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
        return topology
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
    if box is None and hasattr(topology, "getPeriodicBoxVectors"):
        vectors = topology.getPeriodicBoxVectors()
        box = None if vectors is None else np.array(vectors._value)
    if frames is not None and len(frames):
        positions, box = _stack_frames(frames, box)
        if len(positions[0]) == _count_particles(topology):
            options |= {"positions": positions, "box": box}
    if hasattr(topology, "getNumAtoms"):
        found = CGTopology.from_openmm(topology, **options)
    elif hasattr(topology, "n_atoms"):
        found = CGTopology.from_mdtraj(topology, **options)
    else:
        raise InputError(
            f"topology: {type(topology).__name__} came, wanted an OpenMM or mdtraj "
            "Topology, a CGTopology, a file or a sequence"
        )
    if is_listed:
        return found.with_com_residues(mapping)
    if is_mixed(mapping):
        system = options.get("system")
        return found.with_com_residues(
            found.find_com_residues(positions, box=box, system=system)
        )
    if positions is None or mapping is not None:
        return found
    return notice_centres_of_mass(
        found, positions, box, options.get("system"), readable
    )


def _count_particles(topology: Any) -> int:
    """Number of particles of a topology of OpenMM or mdtraj."""
    if hasattr(topology, "getNumAtoms"):
        return topology.getNumAtoms()
    return getattr(topology, "n_atoms", -1)


def _stack_frames(
    frames: np.ndarray | Sequence[CGFrame], box: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Positions (F, B, 3) and boxes (F, 3, 3) of frames; `box` where one has none."""
    if not all(isinstance(frame, CGFrame) for frame in frames):
        return np.asarray(frames), box
    other = np.zeros((3, 3)) if box is None else box
    boxes = [other if frame.box is None else frame.box for frame in frames]
    return np.stack([frame.positions for frame in frames]), np.stack(boxes)


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
        If a bead or the box is not finite, or if two residues that are bonded lie
        at one point.
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
    _check_apart(frame, topology)
    if frame.box is not None and not np.isfinite(frame.box).all():
        raise GeometryError(f"frame at step {frame.step}: the box is not finite")


def _check_apart(frame: CGFrame, topology: CGTopology) -> None:
    """Refuse bonded residues at one point, between which nothing can be built."""
    rows = np.arange(topology.n_residues)
    anchor = topology.bead_index[rows, topology.anchor_slot]
    beads = np.asarray(frame.positions)[anchor]
    same = (np.abs(np.diff(beads, axis=0)) < 1e-6).all(axis=1)
    same &= np.diff(topology.chain_index) == 0
    if same.any():
        row = int(np.flatnonzero(same)[0])
        names = [
            f"{topology.residue_name[k]} {topology.residue_id[k]}"
            for k in (row, row + 1)
        ]
        raise GeometryError(
            f"frame at step {frame.step}: beads of {names[0]} and {names[1]} lie at "
            f"one point ({int(same.sum())} such pairs); were the positions ever set?"
        )


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


def frames_from_positions(
    positions: np.ndarray, box: np.ndarray | None
) -> list[CGFrame]:
    """Make frames of bead positions.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, B, 3)
        Beads in nm.
    box : numpy.ndarray or None, shape (3, 3) or (F, 3, 3)
        Box vectors in nm.

    Returns
    -------
    list of CGFrame
        Their steps count from 0.

    Raises
    ------
    InputError
        If there is no frame axis.
    """
    positions = np.asarray(positions, np.float32)
    if positions.ndim != 3 or positions.shape[-1] != 3:
        raise InputError(
            f"positions: shape {positions.shape} came, wanted (F, B, 3); "
            "add a frame axis in front with positions[None]"
        )
    if box is None:
        return [CGFrame(positions=x, step=k) for k, x in enumerate(positions)]
    boxes = np.broadcast_to(np.asarray(box, np.float32), (len(positions), 3, 3))
    return [CGFrame(positions=x, box=boxes[k], step=k) for k, x in enumerate(positions)]
