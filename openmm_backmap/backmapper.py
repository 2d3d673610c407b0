"""The service that turns coarse-grained frames into all-atom frames."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openmm_backmap.artifact import load_engine
from openmm_backmap.builder import place_terminal_oxygen
from openmm_backmap.errors import GeometryError, InputError
from openmm_backmap.frames import AtomFrame, CGFrame
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.geometry.periodic import minimum_image, unwrap_chains
from openmm_backmap.hydrogens import HydrogenPlacer
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.torch_threads import limit_torch_threads
from openmm_backmap.trajectory import read_cg_frames, read_topology

__all__ = ["BackmapBatch", "Backmapper", "draw_noise"]

_CA_SLOT = 1
"""Slot of CA among the 14 heavy-atom slots (N, CA, C, O, CB, ...)."""

_BATCH_RESIDUES = 4096
"""Residues (frames x residues) of one pass; bounds the memory of packing."""


def draw_noise(
    seed: int, step: int, sample: int, n_residues: int, width: int
) -> np.ndarray:
    """Draw the noise of one sample of one frame.

    The generator is keyed by (seed, step, sample), so the same frame gets the
    same atoms whatever the batch, the order of the frames or a restart.

    Parameters
    ----------
    seed : int
        The user's seed, not negative.
    step : int
        Step of the frame, not negative.
    sample : int
        Number of the sample, from 0.
    n_residues : int
        Residues R.
    width : int
        Noise entries Z of a residue.

    Returns
    -------
    numpy.ndarray, shape (R, Z), float32
        Independent N(0, 1) entries.
    """
    generator = np.random.default_rng(np.random.SeedSequence((seed, step, sample)))
    return generator.standard_normal((n_residues, width), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class BackmapBatch:
    """Frames of one pass, with what the checks want to know.

    Attributes
    ----------
    frames : list of AtomFrame
        All-atom frames, frame-major, then by sample.
    heavy : numpy.ndarray, shape (F, R, 14, 3), float32
        Heavy atoms in slots in nm, one entry for each of `frames`.
    displacement : numpy.ndarray, shape (F, R), float32
        Distance in nm from the anchor bead to the CA that was built: what
        the projection of impossible CA geometry moved.
    seconds : float
        Wall time of the pass.
    """

    frames: list[AtomFrame]
    heavy: np.ndarray
    displacement: np.ndarray
    seconds: float = field(default=0.0)


class Backmapper:
    """Turn frames of coarse-grained beads into all-atom frames.

    Parameters
    ----------
    cg_topology : CGTopology
        Who is who among the beads.
    engine : Engine
        A loaded model, see `openmm_backmap.artifact.load_engine`.
    hydrogens : bool, optional
        Whether hydrogens (pH 7 templates) are added.
    seed : int, optional
        Seed of the noise of samples; the mode (`samples` None) uses none.
    threads : int, optional
        torch threads during a pass; the user's value is restored after it.
        If None, torch's own setting is left alone.
    wrap_chains : bool, optional
        Whether whole segments are moved into the periodic box.  Otherwise
        they stay where their first bead is.
    batch_residues : int, optional
        Residues (frames times residues) of one pass; bounds the memory.

    Examples
    --------
    >>> import numpy as np
    >>> from openmm_backmap import Backmapper
    >>> helix = np.array(
    ...     [
    ...         [0.23 * np.cos(1.745 * i), 0.23 * np.sin(1.745 * i), 0.15 * i]
    ...         for i in range(8)
    ...     ]
    ... )
    >>> backmapper = Backmapper.from_topology("AAAAAAAA", model="table")
    >>> backmapper.backmap_positions(helix[None]).shape
    (1, 83, 3)
    """

    def __init__(
        self,
        cg_topology: CGTopology,
        engine: Any,
        *,
        hydrogens: bool = True,
        seed: int = 0,
        threads: int | None = None,
        wrap_chains: bool = False,
        batch_residues: int = _BATCH_RESIDUES,
    ) -> None:
        if seed < 0:
            raise InputError(f"seed: {seed} came, wanted 0 or more")
        if threads is not None and threads < 1:
            raise InputError(f"threads: {threads} came, wanted 1 or more, or None")
        self.cg_topology = cg_topology
        self.engine = engine
        self.seed = int(seed)
        self.threads = threads
        self.wrap_chains = wrap_chains
        self.hydrogens = hydrogens
        self.batch_residues = batch_residues
        self.atom_topology = AtomTopology.from_cg_topology(
            cg_topology, hydrogens=hydrogens
        )
        self._placer = HydrogenPlacer(self.atom_topology) if hydrogens else None
        self._residue_type = torch.from_numpy(
            np.ascontiguousarray(cg_topology.residue_type)
        )
        self._chain_index = torch.from_numpy(
            np.ascontiguousarray(cg_topology.chain_index)
        )
        # first residue of each segment: reduceat sums over segments from there
        self._starts = np.flatnonzero(
            np.diff(cg_topology.chain_index, prepend=-1) != 0
        )
        self._lengths = np.diff(self._starts, append=cg_topology.n_residues)

    @classmethod
    def from_topology(
        cls,
        topology: Any,
        model: str | Path = "ca",
        *,
        device: str = "auto",
        sequence: Any = None,
        mapping: Any = None,
        positions: np.ndarray | None = None,
        system: Any = None,
        strict: bool = False,
        **options: Any,
    ) -> "Backmapper":
        """Make a backmapper from a topology, a file or a sequence.

        Parameters
        ----------
        topology : openmm.app.Topology, mdtraj.Topology, CGTopology, Path or str
            The coarse-grained topology: an object, a file that holds one
            (PDB, mmCIF, GRO, PSF), or a sequence in one-letter code.
        model : str or Path, optional
            Name of a packaged model or the path of a model file.
        device : str, optional
            "cpu", "cuda", "cuda:1" ...; "auto" takes a GPU where there is one.
        sequence : str or list of str or Path, optional
            The true sequence where residue names do not tell it.
        mapping : str or CGMapping, optional
            The CG mapping.  If None, that of the model.
        positions : numpy.ndarray, shape (B, 3), optional
            One frame in nm; helps to split chains that share an id.
        system : openmm.System, optional
            Its bonds help to split chains.
        strict : bool, optional
            Whether beads that are not protein are an error instead of being
            left out.
        **options
            Keywords of the constructor: `hydrogens`, `seed`, `threads`, ...

        Returns
        -------
        Backmapper
            Ready to run.

        Raises
        ------
        TopologyError
            If the topology cannot be understood.
        ModelError
            If the model is unknown or meant for another mapping.
        """
        engine = load_engine(model, device)
        cg_topology = as_cg_topology(
            topology,
            mapping=engine.metadata.mapping if mapping is None else mapping,
            sequence=sequence,
            positions=positions,
            system=system,
            strict=strict,
        )
        return cls(cg_topology, engine, **options)

    @property
    def batch_frames(self) -> int:
        """Frames that one pass takes, at least one."""
        return max(1, self.batch_residues // max(1, self.cg_topology.n_residues))

    def backmap_batch(
        self, frames: Sequence[CGFrame], samples: int | None = None
    ) -> BackmapBatch:
        """Backmap frames in one pass, without bounding the memory.

        Parameters
        ----------
        frames : sequence of CGFrame
            At least one frame.
        samples : int, optional
            Structures drawn for each frame.  If None, one: the mode.

        Returns
        -------
        BackmapBatch
            The frames and what the checks want.

        Raises
        ------
        GeometryError
            If a bead is not finite.
        InputError
            If a frame has another number of beads than the topology.
        ModelError
            If the model gives positions that are not finite.
        """
        started = time.perf_counter()
        beads, boxes = self._gather(frames)
        beads = self._make_whole(beads, boxes)
        shift, beads = self._centre(beads, boxes)
        metadata = self.engine.metadata
        neighbor_index = find_neighbors(
            beads[:, :, 0], metadata.n_neighbors, metadata.neighbor_cutoff, boxes
        )
        copies = 1 if samples is None else samples
        tensors = [
            torch.from_numpy(np.repeat(array, copies, axis=0))
            for array in (beads, neighbor_index, boxes)
        ]
        noise = self._noise(frames, samples)
        with limit_torch_threads(self.threads):
            positions, confidence = self.engine.run(
                tensors[0],
                self._residue_type,
                self._chain_index,
                tensors[1],
                tensors[2],
                noise,
            )
            heavy = positions.detach().cpu()
            oxt = place_terminal_oxygen(heavy, self._chain_index)
        heavy = heavy.numpy()
        displacement = np.linalg.norm(
            heavy[:, :, _CA_SLOT] - tensors[0].numpy()[:, :, 0], axis=-1
        )
        shift = np.repeat(shift, copies, axis=0)
        atoms = self._to_atoms(heavy, oxt.numpy(), shift)
        confidence = confidence.detach().cpu().numpy()
        atom_frames = [
            AtomFrame(
                positions=atoms[i],
                box=frames[i // copies].box,
                step=frames[i // copies].step,
                time=frames[i // copies].time,
                confidence=confidence[i],
                stage="model",
                sample=i % copies,
            )
            for i in range(len(atoms))
        ]
        seconds = time.perf_counter() - started
        return BackmapBatch(atom_frames, heavy, displacement, seconds)

    def backmap(
        self, frames: Sequence[CGFrame], samples: int | None = None
    ) -> list[AtomFrame]:
        """Backmap frames, in passes of bounded memory.

        Parameters
        ----------
        frames : sequence of CGFrame
            Frames with the beads of the topology, in nm.
        samples : int, optional
            Structures drawn for each frame.  If None, one: the mode.

        Returns
        -------
        list of AtomFrame
            Frame-major, then by sample.
        """
        atoms: list[AtomFrame] = []
        for chunk in self.split(frames, samples):
            atoms.extend(self.backmap_batch(chunk, samples).frames)
        return atoms

    def split(
        self, frames: Sequence[CGFrame], samples: int | None = None
    ) -> Iterator[Sequence[CGFrame]]:
        """Cut frames into passes of bounded memory.

        Parameters
        ----------
        frames : sequence of CGFrame
            Any number of frames.
        samples : int, optional
            Structures drawn for each frame.

        Yields
        ------
        sequence of CGFrame
            Frames of one pass.
        """
        if samples is not None and samples < 1:
            raise InputError(f"samples: {samples} came, wanted 1 or more, or None")
        size = max(1, self.batch_frames // (samples or 1))
        for first in range(0, len(frames), size):
            yield frames[first : first + size]

    def backmap_positions(
        self, positions: np.ndarray, box: np.ndarray | None = None
    ) -> np.ndarray:
        """Backmap bead positions; the mode, numbers in and out.

        Parameters
        ----------
        positions : numpy.ndarray, shape (F, B, 3)
            Beads in nm.
        box : numpy.ndarray, shape (3, 3) or (F, 3, 3), optional
            Box vectors in nm.

        Returns
        -------
        numpy.ndarray, shape (F, N, 3), float32
            Atoms in nm, in the order of `atom_topology`.
        """
        positions = np.asarray(positions, np.float32)
        if positions.ndim != 3 or positions.shape[-1] != 3:
            raise InputError(
                f"positions: shape {positions.shape} came, wanted (F, B, 3); "
                "add a frame axis in front with positions[None]"
            )
        boxes = None
        if box is not None:
            boxes = np.broadcast_to(
                np.asarray(box, np.float32), (len(positions), 3, 3)
            )
        frames = [
            CGFrame(
                positions=positions[i],
                box=None if boxes is None else boxes[i],
                step=i,
                time=0.0,
            )
            for i in range(len(positions))
        ]
        atoms = [frame.positions for frame in self.backmap(frames)]
        return np.stack(atoms) if atoms else np.zeros((0, self.n_atoms, 3), np.float32)

    @property
    def n_atoms(self) -> int:
        """Atoms of an output frame."""
        return self.atom_topology.n_atoms

    def backmap_trajectory(
        self,
        path: Path | str | Iterable[Path | str],
        top: Any = None,
        *,
        stride: int = 1,
        start: int = 0,
        stop: int | None = None,
        chunk: int | None = None,
        samples: int | None = None,
    ) -> Iterator[AtomFrame]:
        """Backmap a trajectory file, streaming.

        Parameters
        ----------
        path : Path or str or iterable of them
            Trajectory of the beads.
        top : Path or str, optional
            Topology file where the trajectory holds none.
        stride, start, stop : int, optional
            Which frames, as in a slice.
        chunk : int, optional
            Frames read at a time.  If None, what one pass takes.
        samples : int, optional
            Structures drawn for each frame.  If None, one: the mode.

        Yields
        ------
        AtomFrame
            In the order of the trajectory, then by sample.
        """
        chunks = read_cg_frames(
            path,
            top,
            stride=stride,
            start=start,
            stop=stop,
            chunk=chunk or self.batch_frames,
        )
        for frames in chunks:
            yield from self.backmap(frames, samples)

    def _gather(self, frames: Sequence[CGFrame]) -> tuple[np.ndarray, np.ndarray]:
        """Stack checked beads (F, R, M, 3) and boxes (F, 3, 3), zeros for none."""
        for frame in frames:
            check_frame(frame, self.cg_topology)
        beads = self.cg_topology.bead_positions(
            np.stack([np.asarray(frame.positions, np.float32) for frame in frames])
        )
        boxes = np.zeros((len(frames), 3, 3), np.float32)
        for box, frame in zip(boxes, frames, strict=True):
            if frame.box is not None:
                box[:] = frame.box
        return beads, boxes

    def _make_whole(self, beads: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """Unwrap segments along the chain, and beads of a residue to its anchor."""
        anchor = unwrap_chains(beads[:, :, 0], self.cg_topology.chain_index, boxes)
        whole = beads.copy()
        whole[:, :, 0] = anchor
        for f in range(len(beads)):
            for slot in range(1, beads.shape[2]):
                offset = beads[f, :, slot] - beads[f, :, 0]
                if boxes[f].any():
                    offset = minimum_image(offset, boxes[f])
                whole[f, :, slot] = anchor[f] + offset
        return whole

    def _centre(
        self, beads: np.ndarray, boxes: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Move segments near the origin, where float32 is fine-grained.

        Returns the vector (F, R, 3) that brings each residue to the place
        where it is written, and the moved beads.
        """
        anchor = beads[:, :, 0].astype(np.float64)
        sums = np.add.reduceat(anchor, self._starts, axis=1)
        centre = sums / self._lengths[:, None]
        shift = np.zeros_like(anchor)
        for f, box in enumerate(boxes):
            if box.any():
                count = np.floor(centre[f] @ np.linalg.inv(box.astype(np.float64)))
                shift[f] = np.repeat(count @ box, self._lengths, axis=0)
            else:
                shift[f] = anchor[f].mean(axis=0)
        moved = (beads - shift[:, :, None]).astype(np.float32)
        moved[:, self.cg_topology.bead_index < 0] = 0.0
        if self.wrap_chains:
            shift[boxes.any(axis=(1, 2))] = 0.0
        return shift.astype(np.float32), moved

    def _noise(
        self, frames: Sequence[CGFrame], samples: int | None
    ) -> torch.Tensor | None:
        """Draw noise (F * samples, R, Z), or None for the mode."""
        if samples is None:
            return None
        shape = (self.cg_topology.n_residues, self.engine.metadata.noise_width)
        return torch.from_numpy(
            np.stack(
                [
                    draw_noise(self.seed, max(0, frame.step), sample, *shape)
                    for frame in frames
                    for sample in range(samples)
                ]
            )
        )

    def _to_atoms(
        self, heavy: np.ndarray, oxt: np.ndarray, shift: np.ndarray
    ) -> np.ndarray:
        """Put heavy atoms, OXT and hydrogens in the order of the topology."""
        heavy = heavy + shift[:, :, None]
        ends = self._starts + self._lengths - 1
        oxt = oxt + shift[:, ends]
        if self._placer is not None:
            return self._placer.place(heavy, oxt)
        atoms = np.zeros((len(heavy), self.n_atoms, 3), np.float32)
        slot_atom = self.atom_topology.slot_atom
        present = slot_atom >= 0
        atoms[:, slot_atom[present]] = heavy[:, present]
        oxt_atom = self.atom_topology.oxt_atom
        atoms[:, oxt_atom[oxt_atom >= 0]] = oxt[:, oxt_atom >= 0]
        return atoms


def as_cg_topology(topology: Any, **options: Any) -> CGTopology:
    """Make a CGTopology from whatever names one.

    Parameters
    ----------
    topology : openmm.app.Topology, mdtraj.Topology, CGTopology, Path or str
        An object, a topology file, or a sequence in one-letter code.
    **options
        Keywords of `CGTopology.from_openmm`: `mapping`, `sequence`,
        `positions`, `system`, `strict`.

    Returns
    -------
    CGTopology
        As it is where one came.
    """
    if isinstance(topology, CGTopology):
        return topology
    if isinstance(topology, str | Path):
        text = str(topology)
        if "." not in text and text.isalpha() and text.isupper():
            return CGTopology.from_sequence(text)
        topology, first = read_topology(topology)
        if options.get("positions") is None:
            options["positions"] = first
    if hasattr(topology, "getNumAtoms"):
        return CGTopology.from_openmm(topology, **options)
    if hasattr(topology, "n_atoms"):
        return CGTopology.from_mdtraj(topology, **options)
    raise InputError(
        f"topology: {type(topology).__name__} came, wanted an OpenMM or mdtraj "
        "Topology, a CGTopology, a file or a sequence"
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
