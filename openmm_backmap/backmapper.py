"""The service that turns coarse-grained frames into all-atom frames."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.backmapper_batch import BackmapBatch, BatchRunner
from openmm_backmap.backmapper_beads import look_at_trajectory
from openmm_backmap.backmapper_disulfides import find_disulfides
from openmm_backmap.backmapper_frames import (
    check_frames,
    first_frames,
    frames_from_positions,
)
from openmm_backmap.backmapper_input import (
    check_mapping,
    check_options,
    is_mixed,
    read_part,
    share_engine,
)
from openmm_backmap.backmapper_template import as_template, encode_for_model
from openmm_backmap.errors import InputError
from openmm_backmap.frames import AtomFrame, CGFrame
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.trajectory import read_cg_frames

__all__ = ["Backmapper"]

_BATCH_RESIDUES = 4096
"""Residues (frames x residues) of one pass; bounds the memory of packing."""


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
    histidine, disulfides
        Protonation of histidines and bonded pairs of cysteines by residue
        index, see `AtomTopology.from_cg_topology`.
    template : Template or str or Path, optional
        A reference all-atom structure (PDB, mmCIF) of the proteins: where the
        CAs around a residue still lie as there, its rotamer, peptide plane and
        cis peptide are favoured, and its disulfides are taken unless
        `disulfides` says otherwise.
    exact_ca : bool, optional
        Whether CA beads stay where they are though no backbone fits them: their
        bonds and angles then come out as bad as the beads'. Otherwise CA
        traces that no protein could have are moved as little as it takes, and
        by how much is reported for each frame.
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
        histidine: str | Mapping[int, str] = "HIE",
        disulfides: Sequence[tuple[int, int]] | None = None,
        template: Any = None,
        exact_ca: bool = False,
        seed: int = 0,
        threads: int | None = None,
        wrap_chains: bool = False,
        batch_residues: int = _BATCH_RESIDUES,
    ) -> None:
        check_options(cg_topology, seed, threads, exact_ca)
        check_mapping(cg_topology, engine)
        self.cg_topology = cg_topology
        self.engine = engine
        self.seed = int(seed)
        self.threads = threads
        self.wrap_chains = wrap_chains
        self.hydrogens = hydrogens
        self.batch_residues = batch_residues
        self.template = None
        if template is not None:
            self.template = as_template(template, cg_topology)
        if disulfides is None:
            disulfides = () if self.template is None else self.template.disulfides
        self.atom_topology = AtomTopology.from_cg_topology(
            cg_topology,
            hydrogens=hydrogens,
            histidine=histidine,
            disulfides=disulfides,
        )
        self.exact_ca = exact_ca
        self._runner = self._make_runner()
        self._tell_beads: Callable[..., CGTopology | None] | None = None

    @classmethod
    def from_topology(
        cls,
        topology: Any,
        model: str | Path | None = None,
        *,
        device: str = "auto",
        sequence: Any = None,
        mapping: Any = None,
        positions: np.ndarray | None = None,
        box: np.ndarray | None = None,
        system: Any = None,
        frames: np.ndarray | Sequence[CGFrame] | None = None,
        strict: bool = False,
        select: Callable[[CGTopology], CGTopology] | None = None,
        **options: Any,
    ) -> "Backmapper":
        """Make a backmapper from a topology, a file or a sequence.

        Parameters
        ----------
        topology : openmm.app.Topology, mdtraj.Topology, CGTopology, Path or str
            The coarse-grained topology: an object, a file that holds one
            (PDB, mmCIF, GRO, PSF), or a sequence in one-letter code.
        model : str or Path, optional
            Name of a packaged model or the path of a model file.  If None, the
            first of "ca" and "table" that is installed.
        device : str, optional
            "cpu", "cuda", "cuda:1" ...; "auto" takes a GPU where there is one.
        sequence : str or list of str or Path, optional
            The true sequence where residue names do not tell it.
        mapping : str, CGMapping or sequence of bool, optional
            What the beads are: "ca", "com" (centres of mass of residues),
            "mixed", "awsem" (CA, CB and O), the user's own, or for each
            residue whether its bead is a centre of mass.  If None, that of
            the model; where beads named CA look like centres of mass they are
            taken for such, with a warning.
        positions : numpy.ndarray, shape (B, 3), optional
            One frame in nm; helps to split chains that share an id.
        box : numpy.ndarray, shape (3, 3), optional
            Its box vectors in nm.
        system : openmm.System, optional
            Its bonds help to split chains.
        frames : sequence of CGFrame or numpy.ndarray, shape (F, B, 3), optional
            Frames of the run in nm, by which CA are told from centres of
            mass and chain ends are found; `CGFrame` may be cut by their boxes.
            If None, `positions` or those of the topology file, until
            `backmap_trajectory` sees the first frames.
        strict : bool, optional
            Whether beads that are not protein are an error instead of being
            left out.
        select : callable, optional
            Turns the topology into the part wanted, see `mapping.subset`.
        **options
            Keywords of the constructor: `hydrogens`, `seed`, `threads`, ...
            Here `disulfides` may be "auto": the pairs that the model builds in
            all of `frames` (or in the one structure that is known).

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
        engine = share_engine(model, device)
        # CA beads are what most people have: there the mapping may go unsaid
        if mapping is None and engine.metadata.mapping != "ca":
            mapping = engine.metadata.mapping
        read = partial(
            read_part,
            topology,
            select,
            mapping=mapping,
            sequence=sequence,
            positions=positions,
            box=box,
            system=system,
            strict=strict,
            readable=engine.metadata.mappings,
        )
        found = read(frames)
        if isinstance(options.get("disulfides"), str):
            seen = first_frames(topology, options["disulfides"], frames, positions, box)
            trial = cls(
                found, engine, **{**options, "disulfides": (), "hydrogens": False}
            )
            heavy = trial.backmap_batch(seen).heavy
            options["disulfides"] = find_disulfides(heavy, found.residue_type)
        backmapper = cls(found, engine, **options)
        if frames is None and (mapping is None or is_mixed(mapping)):
            backmapper._tell_beads = partial(
                look_at_trajectory, read=read, warns=mapping is None
            )
        return backmapper

    @property
    def batch_frames(self) -> int:
        """Frames that one pass takes, at least one."""
        return max(1, self.batch_residues // max(1, self.cg_topology.n_residues))

    def backmap_batch(
        self,
        frames: Sequence[CGFrame],
        samples: int | None = None,
        at_once: int | None = None,
    ) -> BackmapBatch:
        """Backmap frames together, however many there are.

        Parameters
        ----------
        frames : sequence of CGFrame
            At least one frame.
        samples : int, optional
            Structures drawn for each frame.  If None, one: the mode.
        at_once : int, optional
            Samples of a pass: of more, each frame goes through the model in several
            passes.  If None, `batch_frames`.

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
        return self._runner.run(frames, samples, at_once or self.batch_frames)

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
        check_frames(frames)
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
        frames = frames_from_positions(positions, box)
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
        if not isinstance(path, str | Path):
            path = list(path)
        self._look_at(path, top)
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

    def _make_runner(self) -> BatchRunner:
        """Make what runs the model over the beads of the topology."""
        return BatchRunner(
            self.atom_topology,
            self.engine,
            seed=self.seed,
            threads=self.threads,
            wrap_chains=self.wrap_chains,
            template=encode_for_model(self.template, self.cg_topology),
            exact_ca=self.exact_ca,
        )

    def hush(self) -> None:
        """Say nothing of disulfides, where another process does."""
        self._runner.tells_disulfides = False

    def _look_at(self, path: Any, top: Any) -> None:
        """Let a trajectory tell what the beads are, where one structure did."""
        if self._tell_beads is None:
            return
        found = self._tell_beads(self.cg_topology, path=path, top=top)
        if found is None:
            return
        self._tell_beads = None
        if found is self.cg_topology:
            return
        check_mapping(found, self.engine)
        check_options(found, self.seed, self.threads, self.exact_ca)
        self.cg_topology = found
        self.atom_topology = replace(self.atom_topology, cg=found)
        self._runner = self._make_runner()

    def to_simulation(
        self,
        frame: AtomFrame,
        *,
        solvent: str = "obc",
        temperature: float = 300.0,
        timestep: float = 0.001,
        platform: Any = None,
        cutoff: Any = 1.0,
    ) -> Any:
        """Make an all-atom Simulation that starts from a frame.

        The force field is that of `Minimizer`, ff14SB with flexible bonds.
        Nearly all raw frames start as they are; where one does not, minimize first:
        ``simulation.minimizeEnergy()``.

        Parameters
        ----------
        frame : AtomFrame
            All atoms, with hydrogens.
        solvent : str, optional
            "vacuum", "obc" or "gbn2".
        temperature : float or Quantity, optional
            In kelvin, for the Langevin thermostat.
        timestep : float or Quantity, optional
            In ps.
        platform : str or openmm.Platform, optional
            OpenMM platform.  If None, OpenMM chooses.
        cutoff : float or Quantity or None, optional
            Of all non-bonded forces, in nm, as in `Minimizer`.  If None, all pairs
            interact, which is slower and what GB models were made for.

        Returns
        -------
        openmm.app.Simulation
            With the frame's positions; not periodic.
        """
        # OpenMM is loaded only where it is wanted
        from openmm_backmap.minimizer_system import create_simulation

        return create_simulation(
            self.atom_topology,
            frame.positions,
            solvent=solvent,
            temperature=temperature,
            timestep=timestep,
            platform=platform,
            cutoff=cutoff,
        )
