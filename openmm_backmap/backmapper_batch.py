"""One pass through the model: from checked beads to all atoms."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from openmm_backmap.backmapper_disulfides import notice_disulfides
from openmm_backmap.backmapper_frames import check_frame
from openmm_backmap.backmapper_pieces import cut_frame
from openmm_backmap.builder.backbone import place_terminal_oxygen
from openmm_backmap.builder.equivalent_atoms import name_equivalent_atoms
from openmm_backmap.errors import BadOutputError
from openmm_backmap.frames import AtomFrame, CGFrame
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.geometry.periodic import minimum_image, unwrap_chains
from openmm_backmap.hydrogens import HydrogenPlacer
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_mapping import find_model_slots
from openmm_backmap.mapping.coarsen import compute_bead_weights
from openmm_backmap.residues.atoms import N_SLOTS
from openmm_backmap.torch_threads import limit_torch_threads

__all__ = ["BackmapBatch", "BatchRunner", "draw_noise"]

_UNCUT_RESIDUES = 16384
"""Residues of a frame beyond which the model takes it in pieces."""

_PIECE_RESIDUES = 4096
"""Residues of a piece that are kept: they fit the caches of a core."""


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
        Distance in nm from the first bead of each residue to the same bead of
        the atoms that were built: what the projection of impossible CA
        geometry moved, or by how much a centre of mass was missed.
    seconds : float
        Wall time of the pass.
    """

    frames: list[AtomFrame]
    heavy: np.ndarray
    displacement: np.ndarray
    seconds: float


class BatchRunner:
    """Backmap frames of one topology, all of them in one pass.

    Parameters
    ----------
    atom_topology : AtomTopology
        The output, and with it the CG topology.
    engine : Engine
        A loaded model.
    seed : int
        Seed of the noise.
    threads : int or None
        torch threads during a pass.  If None, torch's own setting.
    wrap_chains : bool
        Whether whole segments are moved into the periodic box.
    uncut_residues : int
        Residues of a frame beyond which the model takes it in pieces.
    template : torch.Tensor or None, shape (R, 16)
        A reference structure, see `builder.template.encode_template`.
    exact_ca : bool
        Whether CA beads stay where they are, though no backbone fits them.
    """

    def __init__(
        self,
        atom_topology: AtomTopology,
        engine: Any,
        *,
        seed: int = 0,
        threads: int | None = None,
        wrap_chains: bool = False,
        uncut_residues: int = _UNCUT_RESIDUES,
        template: torch.Tensor | None = None,
        exact_ca: bool = False,
    ) -> None:
        cg_topology = atom_topology.cg
        self.cg_topology = cg_topology
        self.atom_topology = atom_topology
        self.engine = engine
        self.seed = seed
        self.threads = threads
        self.wrap_chains = wrap_chains
        self.uncut_residues = uncut_residues
        self._template = template
        # models of earlier versions take neither of them
        self._exact = {"exact": True} if exact_ca else {}
        self._placer = None
        if atom_topology.has_hydrogens:
            self._placer = HydrogenPlacer(atom_topology)
        self._residue_type = torch.from_numpy(
            np.ascontiguousarray(cg_topology.residue_type)
        )
        self._chain_index = torch.from_numpy(
            np.ascontiguousarray(cg_topology.chain_index)
        )
        # first residue of each segment: reduceat sums over segments from there
        self._starts = np.flatnonzero(np.diff(cg_topology.chain_index, prepend=-1) != 0)
        self._lengths = np.diff(self._starts, append=cg_topology.n_residues)
        self._anchor = cg_topology.anchor_slot
        rows = np.arange(cg_topology.n_residues)
        weights = compute_bead_weights(cg_topology.mapping)
        self._bead_weight = weights[cg_topology.residue_type, self._anchor]
        # slots in the order of the model, those it does not know left out
        mine = cg_topology.mapping.slot_names
        self._slots = [
            mine.index(name) if name in mine else -1
            for name in find_model_slots(cg_topology.mapping)
        ]
        self._rows = rows
        self.tells_disulfides = True
        self._residue_of_atom = np.repeat(
            np.arange(cg_topology.n_residues), np.diff(atom_topology.first_atom)
        )

    def run(
        self,
        frames: Sequence[CGFrame],
        samples: int | None = None,
        at_once: int | None = None,
    ) -> BackmapBatch:
        """Backmap frames; see `Backmapper.backmap_batch`."""
        if samples is None:
            return self._run_pass(frames, None)
        if at_once is None or samples <= at_once:
            return self._run_pass(frames, range(samples))
        n_passes = -(-samples // at_once)
        cuts = [k * samples // n_passes for k in range(n_passes + 1)]
        parts = [
            self._run_pass([frame], range(first, last))
            for frame in frames
            for first, last in pairwise(cuts)
        ]
        return BackmapBatch(
            [atoms for part in parts for atoms in part.frames],
            np.concatenate([part.heavy for part in parts]),
            np.concatenate([part.displacement for part in parts]),
            sum(part.seconds for part in parts),
        )

    def _run_pass(
        self, frames: Sequence[CGFrame], samples: range | None
    ) -> BackmapBatch:
        """Backmap frames in one pass, with these of their samples or the mode."""
        started = time.perf_counter()
        beads, boxes = self._gather(frames)
        beads = self._make_whole(beads, boxes)
        shift, beads = self._centre(beads, boxes)
        metadata = self.engine.metadata
        anchor = beads[:, self._rows, self._anchor]
        neighbor_index = find_neighbors(
            anchor, metadata.n_neighbors, metadata.neighbor_cutoff, boxes
        )
        copies = 1 if samples is None else len(samples)
        arrays = (self._arrange(beads), neighbor_index, boxes)
        noise = self._noise(frames, samples)
        with limit_torch_threads(self.threads):
            if self.cg_topology.n_residues > self.uncut_residues:
                heavy, confidence = self._run_pieces(*arrays, noise, anchor, copies)
            else:
                tensors = [
                    torch.from_numpy(np.repeat(array, copies, axis=0))
                    for array in arrays
                ]
                found = self.engine.run(
                    tensors[0],
                    self._residue_type,
                    self._chain_index,
                    tensors[1],
                    tensors[2],
                    noise,
                    **self._tell_template(),
                    **self._exact,
                )
                heavy, confidence = (part.detach().cpu() for part in found)
            oxt = place_terminal_oxygen(heavy, self._chain_index)
        heavy = heavy.numpy()
        name_equivalent_atoms(heavy, self.cg_topology.residue_type)
        if self.tells_disulfides:
            self.tells_disulfides = False
            notice_disulfides(heavy, self.atom_topology)
        built = np.einsum("rs,frsx->frx", self._bead_weight, heavy)
        displacement = np.linalg.norm(
            built - np.repeat(anchor, copies, axis=0), axis=-1
        ).astype(np.float32)
        atoms = self._to_atoms(heavy, oxt.numpy())
        atoms += np.repeat(shift[:, self._residue_of_atom], copies, axis=0)
        confidence = confidence.numpy()
        atom_frames = [
            AtomFrame(
                positions=atoms[i],
                box=frames[i // copies].box,
                step=frames[i // copies].step,
                time=frames[i // copies].time,
                confidence=confidence[i],
                stage="model",
                sample=0 if samples is None else samples[i % copies],
            )
            for i in range(len(atoms))
        ]
        seconds = time.perf_counter() - started
        return BackmapBatch(atom_frames, heavy, displacement, seconds)

    def _run_pieces(
        self,
        beads: np.ndarray,
        neighbor_index: np.ndarray,
        boxes: np.ndarray,
        noise: torch.Tensor | None,
        anchor: np.ndarray,
        copies: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the model over the pieces of each structure, one after the other."""
        n_frames, n_residues = len(beads) * copies, self.cg_topology.n_residues
        # whatever dtype and device are the user's defaults
        kind = {"dtype": torch.float32, "device": "cpu"}
        heavy = torch.zeros(n_frames, n_residues, N_SLOTS, 3, **kind)
        confidence = torch.zeros(n_frames, n_residues, **kind)
        for f, box in enumerate(boxes):
            pieces = cut_frame(
                anchor[f],
                self.cg_topology.chain_index,
                neighbor_index[f],
                box,
                _PIECE_RESIDUES,
            )
            for piece in pieces:
                residues = torch.from_numpy(piece.residues)
                is_core = torch.from_numpy(piece.is_core)
                core = residues[is_core]
                for row in range(f * copies, (f + 1) * copies):
                    try:
                        found, trust = self.engine.run(
                            torch.from_numpy(beads[f, piece.residues][None]),
                            self._residue_type[residues],
                            torch.from_numpy(piece.chain_index),
                            torch.from_numpy(piece.neighbor_index[None]),
                            torch.from_numpy(box[None]),
                            None if noise is None else noise[row : row + 1, residues],
                            **self._tell_template(residues),
                            **self._exact,
                        )
                    except BadOutputError as error:
                        # the model counted from the piece's first residue
                        place = int(piece.residues[error.residue])
                        raise BadOutputError(error.model, f, place) from error
                    heavy[row, core] = found[0].detach().cpu()[is_core]
                    confidence[row, core] = trust[0].detach().cpu()[is_core]
        return heavy, confidence

    def _tell_template(
        self, residues: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """Template of all or some residues as an argument of the model."""
        if self._template is None:
            return {}
        rows = self._template if residues is None else self._template[residues]
        return {"template": rows}

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
        first = beads[:, self._rows, self._anchor]
        anchor = unwrap_chains(first, self.cg_topology.chain_index, boxes)
        whole = beads.copy()
        for f in range(len(beads)):
            for slot in range(beads.shape[2]):
                offset = beads[f, :, slot] - first[f]
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
        anchor = beads[:, self._rows, self._anchor].astype(np.float64)
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

    def _arrange(self, beads: np.ndarray) -> np.ndarray:
        """Beads (F, R, slots of the model, 3), zeros where there is none."""
        if self._slots == list(range(beads.shape[2])):
            return beads
        result = np.zeros((*beads.shape[:2], len(self._slots), 3), np.float32)
        for k, slot in enumerate(self._slots):
            if slot >= 0:
                result[:, :, k] = beads[:, :, slot]
        return result

    def _noise(
        self, frames: Sequence[CGFrame], samples: range | None
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
                    for sample in samples
                ]
            )
        )

    def _to_atoms(self, heavy: np.ndarray, oxt: np.ndarray) -> np.ndarray:
        """Put heavy atoms, OXT and hydrogens in the order of the topology."""
        if self._placer is not None:
            return self._placer.place(heavy, oxt)
        topology = self.atom_topology
        atoms = np.zeros((len(heavy), topology.n_atoms, 3), np.float32)
        is_slot = topology.slot_atom >= 0
        atoms[:, topology.slot_atom[is_slot]] = heavy[:, is_slot]
        atoms[:, topology.oxt_atom] = oxt
        return atoms
