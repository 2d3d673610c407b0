"""What a reporter needs: its settings, checked, a backmapper, and frames."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openmm_backmap.errors import BackmapWarning, InputError
from openmm_backmap.frames import AtomFrame, CGFrame
from openmm_backmap.paths import check_absent, check_folder

if TYPE_CHECKING:
    from openmm_backmap.backmapper import Backmapper
    from openmm_backmap.mapping.cg_topology import CGTopology

__all__ = [
    "ReporterSettings",
    "copy_frame",
    "find_gpu",
    "make_backmapper",
]

FORMATS = (".dcd", ".xtc", ".pdb", ".cif")
"""Suffixes a trajectory may have."""

TOPOLOGY_FORMATS = (".pdb", ".cif")
"""Suffixes a topology file may have."""


@dataclass(frozen=True, kw_only=True)
class ReporterSettings:
    """Arguments of `BackmapReporter`, checked without loading a library.

    Attributes
    ----------
    file, minimized_file, metrics_file, topology_file : Path or None
        Outputs.
    interval, minimize_interval : int
        Steps between frames, and between minimized frames.
    samples : int or None
        Structures a frame.
    minimize : bool, dict or Minimizer
        See `BackmapReporter`.
    append, overwrite : bool
        What to do with existing files.
    atom_subset, chains : sequence or None
        The part wanted.
    callback : callable or None
        Called with each AtomFrame.
    model_options : mapping
        Arguments of `Backmapper.from_topology`.
    """

    file: Path
    interval: int
    samples: int | None
    minimize: Any
    minimize_interval: int
    minimized_file: Path | None
    metrics_file: Path | None
    topology_file: Path | None
    append: bool
    overwrite: bool
    atom_subset: Sequence[int] | None
    chains: Sequence[str] | None
    callback: Callable[[AtomFrame], None] | None
    model_options: Mapping[str, Any]

    def __post_init__(self) -> None:
        """Refuse what cannot work."""
        check_positive("reportInterval", self.interval)
        check_positive("minimizeInterval", self.minimize_interval)
        if self.samples is not None:
            check_positive("samples", self.samples)
        if self.callback is not None and not callable(self.callback):
            raise InputError(f"callback: {self.callback!r} came, wanted a function")
        if self.append and self.overwrite:
            raise InputError("append and overwrite were both asked for; choose one")
        if self.minimize_interval % self.interval:
            raise InputError(
                f"minimizeInterval: {self.minimize_interval} came, wanted a multiple "
                f"of reportInterval ({self.interval})"
            )
        self._check_files()

    def _check_files(self) -> None:
        """Refuse names that cannot be written."""
        names = [
            path
            for path in (
                self.file,
                self.minimized_file,
                self.metrics_file,
                self.topology_file,
            )
            if path is not None
        ]
        if len({os.path.abspath(path) for path in names}) < len(names):
            raise InputError(
                f"two outputs have one name: {', '.join(str(n) for n in names)}"
            )
        for path, formats in (
            (self.file, FORMATS),
            (self.minimized_file, FORMATS),
            (self.topology_file, TOPOLOGY_FORMATS),
        ):
            if path is not None and path.suffix.lower() not in formats:
                raise InputError(
                    f"{path}: unknown format {path.suffix!r}, wanted one of "
                    f"{', '.join(formats)}"
                )
        for path in names:
            check_folder(path)
            if not (self.append or self.overwrite):
                check_absent(path)


def make_backmapper(
    settings: ReporterSettings, simulation: Any, frame: CGFrame
) -> "Backmapper":
    """Understand the topology of a simulation, load the model and try it.

    Parameters
    ----------
    settings : ReporterSettings
        The arguments.
    simulation : openmm.app.Simulation
        The simulation.
    frame : CGFrame
        Its positions now; all zero before they are set.

    Returns
    -------
    Backmapper
        It has backmapped the frame once, if there was one.
    """
    # imported here: torch takes a second, and only a run needs it
    from openmm_backmap.backmapper import Backmapper

    options = dict(settings.model_options)
    options["device"] = _choose_device(options["device"], simulation)
    is_set = bool(np.isfinite(frame.positions).all() and frame.positions.any())
    backmapper = Backmapper.from_topology(
        simulation.topology,
        positions=frame.positions if is_set else None,
        box=frame.box,
        system=simulation.system,
        select=partial(_select, settings.chains, settings.atom_subset),
        **options,
    )
    if backmapper.cg_topology.skipped_summary:
        warnings.warn(
            backmapper.cg_topology.skipped_summary, BackmapWarning, stacklevel=5
        )
    if is_set:
        # TorchScript compiles in its first two passes: better now than beside
        # the simulation, unless the system is so large that a pass takes longer
        n_passes = 2 if backmapper.cg_topology.n_residues < 500 else 1
        for _ in range(n_passes):
            backmapper.backmap([frame], settings.samples)
    return backmapper


def _select(
    chains: Sequence[str] | None,
    atom_subset: Sequence[int] | None,
    topology: "CGTopology",
) -> "CGTopology":
    """Take the part of a topology that is wanted."""
    from openmm_backmap.mapping.subset import select_beads, select_chains

    if chains is not None:
        topology = select_chains(topology, chains)
    if atom_subset is not None:
        topology = select_beads(topology, atom_subset)
    return topology


def find_gpu(simulation: Any) -> dict[str, Any]:
    """Find the GPU that a simulation runs on.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        The simulation.

    Returns
    -------
    dict
        `platform` and `properties` of `Minimizer`, of the first device where there
        are several; empty if there is none.
    """
    context = simulation.context
    platform = context.getPlatform()
    if platform.getName() not in ("CUDA", "HIP", "OpenCL"):
        return {}
    known = platform.getPropertyNames()
    return {
        "platform": platform.getName(),
        "properties": {
            name: platform.getPropertyValue(context, name).split(",")[0]
            for name in ("OpenCLPlatformIndex", "DeviceIndex")
            if name in known
        },
    }


def _choose_device(device: str, simulation: Any) -> str:
    """Where the model runs: "auto" is the simulation's own GPU, if torch has it."""
    gpu = find_gpu(simulation)
    if device != "auto" or gpu.get("platform") != "CUDA":
        return device
    import torch

    index = int(gpu["properties"]["DeviceIndex"])
    is_there = torch.cuda.is_available() and index < torch.cuda.device_count()
    return f"cuda:{index}" if is_there else device


def check_positive(name: str, value: Any) -> int:
    """Return a whole number of at least 1, or say which argument is wrong.

    Parameters
    ----------
    name : str
        Of the argument.
    value : int
        What came.

    Returns
    -------
    int
        The number.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = 0
    if number < 1 or number != value:
        raise InputError(f"{name}: {value!r} came, wanted a whole number, 1 or more")
    return number


def check_choice(name: str, value: str, choices: Sequence[str]) -> str:
    """Return a word, or say which words there are.

    Parameters
    ----------
    name : str
        Of the argument.
    value : str
        What came.
    choices : sequence of str
        What is wanted.

    Returns
    -------
    str
        The word.

    Raises
    ------
    InputError
        If it is another one.
    """
    if value not in choices:
        raise InputError(f"{name}: {value!r} came, wanted one of {', '.join(choices)}")
    return value


def copy_frame(simulation: Any, state: Any) -> CGFrame:
    """Copy what we need out of a State, which others share.

    Parameters
    ----------
    simulation : openmm.app.Simulation
        The simulation.
    state : openmm.State
        With positions.

    Returns
    -------
    CGFrame
        Of the current step.
    """
    positions = state.getPositions(asNumpy=True)._value
    box = None
    # an unperiodic System has default box vectors, too
    if simulation.system.usesPeriodicBoundaryConditions():
        box = state.getPeriodicBoxVectors(asNumpy=True)._value
    return CGFrame(
        positions=np.array(positions, np.float32),
        box=None if box is None else np.array(box, np.float32),
        step=int(simulation.currentStep),
        time=float(state.getTime()._value),
    )
