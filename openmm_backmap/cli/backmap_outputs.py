"""Output files of ``openmm-backmap backmap``: partial while it runs."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from openmm_backmap.errors import InputError
from openmm_backmap.paths import check_absent, check_folder

if TYPE_CHECKING:
    from openmm_backmap.backmapper import Backmapper
    from openmm_backmap.pipeline import Pipeline

__all__ = ["BackmapOutputs", "say"]

_WRITABLE = (".dcd", ".xtc", ".pdb", ".cif")
_TOPOLOGIES = (".pdb", ".cif")
_RESUMABLE = (".dcd", ".xtc")
_ONLY_BINARY = "--resume continues .xtc and .dcd only; --force starts anew"


def say(text: str) -> None:
    """Talk to the user on stderr.

    Parameters
    ----------
    text : str
        One line.
    """
    print(f"openmm-backmap: {text}", file=sys.stderr)


class BackmapOutputs:
    """Output names; all is written beside them and moved there at the end.

    So a failed job replaces nothing, and what it wrote is kept.

    Parameters
    ----------
    arguments : argparse.Namespace
        Of the subcommand.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        output = Path(arguments.output)
        if output.suffix.lower() not in _WRITABLE:
            arguments.parser.error(
                f"{output}: unknown format {output.suffix!r}, wanted one of "
                f"{', '.join(_WRITABLE)}"
            )
        self.output = output
        self.minimized = None
        if arguments.minimize:
            if arguments.no_hydrogens:
                arguments.parser.error("--minimize needs hydrogens")
            self.minimized = output.with_stem(output.stem + "_minimized")
        self.topology: Path | None = None
        if arguments.output_topology is not None:
            self.topology = Path(arguments.output_topology)
            if self.topology.suffix.lower() not in _TOPOLOGIES:
                arguments.parser.error(
                    f"{self.topology}: unknown format {self.topology.suffix!r}, wanted "
                    f"one of {', '.join(_TOPOLOGIES)}"
                )
        self.metrics = None if arguments.metrics is None else Path(arguments.metrics)

    def paths(self) -> list[Path]:
        """Return all final names."""
        all_paths = (self.output, self.minimized, self.topology, self.metrics)
        return [path for path in all_paths if path is not None]

    def check(self) -> None:
        """Refuse output that exists, folders that do not, and input as output."""
        used = [Path(name) for name in self.arguments.trajectory]
        used += [Path(self.arguments.top)] if self.arguments.top else []
        paths = self.paths()
        names = [os.path.abspath(path) for path in paths]
        twice = [path for path in paths if names.count(os.path.abspath(path)) > 1]
        if twice:
            self.arguments.parser.error(f"two outputs have one name: {twice[0]}")
        for path in paths:
            check_folder(path)
            if any(path.exists() and u.exists() and path.samefile(u) for u in used):
                raise InputError(f"{path}: is input and output; choose another name")
            if not self.arguments.force:
                check_absent(path, "--force")
        is_text = self.output.suffix.lower() not in _RESUMABLE
        if self.arguments.resume and is_text and _partial(self.output).exists():
            raise InputError(f"{_partial(self.output)}: {_ONLY_BINARY}")
        self._check_minimized()
        if not (self.arguments.force or self.arguments.resume):
            check_absent(
                _partial(self.output),
                "--resume to continue that job, --force to start anew",
            )

    def _check_minimized(self) -> None:
        """Refuse to minimize the rest of a job that has minimized nothing."""
        if self.minimized is None or not self.arguments.resume:
            return
        begun, absent = _partial(self.output), _partial(self.minimized)
        if begun.exists() and not absent.exists():
            raise InputError(
                f"{absent}: not there, so the frames in {begun} would be computed "
                "again: leave --minimize out and minimize afterwards, or --force to "
                "start anew"
            )

    def open(self, backmapper: "Backmapper") -> "Pipeline":
        """Open the partial files."""
        from openmm_backmap.metrics_table import MetricsTable
        from openmm_backmap.minimizer import Minimizer
        from openmm_backmap.output import TrajectoryOutput
        from openmm_backmap.output_topology import choose_topology_path
        from openmm_backmap.pipeline import Pipeline
        from openmm_backmap.trajectory import check_holds

        topology = backmapper.atom_topology
        if self.topology is None:
            self.topology = choose_topology_path(self.output, topology)
            self.check()
        for path in self.paths():
            check_holds(path, topology.topology)
        minimizer = None
        if self.minimized is not None:
            minimizer = Minimizer(
                topology,
                solvent=self.arguments.solvent,
                threads=self.arguments.threads,
            )
        resume = self.arguments.resume
        outputs = [
            TrajectoryOutput(
                _partial(path),
                topology,
                append=resume,
                overwrite=not resume,
                samples=self.arguments.samples or 1,
                note={
                    "model": backmapper.engine.metadata.name,
                    "seed": backmapper.seed,
                },
            )
            for path in (self.output, self.minimized)
            if path is not None
        ]
        n_before = self._make_even(outputs)
        metrics = None
        if self.metrics is not None:
            n_rows = sum(output.n_frames for output in outputs)
            metrics = MetricsTable(_partial(self.metrics), append=resume, n_rows=n_rows)
        topology_file = None
        if self.topology is not None and not (
            n_before and _partial(self.topology).exists()
        ):
            topology_file = _partial(self.topology)
        return Pipeline(
            backmapper,
            outputs[0],
            minimizer=minimizer,
            minimized_output=outputs[1] if len(outputs) > 1 else None,
            metrics=metrics,
            topology_file=topology_file,
            samples=self.arguments.samples,
        )

    def n_before(self, pipeline: "Pipeline") -> int:
        """Return how many frames an interrupted job has written."""
        return pipeline.output.n_frames // (self.arguments.samples or 1)

    def _make_even(self, outputs: list) -> int:
        """Cut outputs back to the frames that each has; return their number.

        A job may have been killed after it wrote a frame to the one and before
        it wrote the minimized frame to the other.
        """
        samples, stride = self.arguments.samples or 1, self.arguments.minimize_stride
        n_before = outputs[0].n_frames // samples
        for output in outputs[1:]:
            n_before = min(n_before, output.n_frames // samples * stride)
            output.truncate(-(-n_before // stride) * samples)
        outputs[0].truncate(n_before * samples)
        return n_before

    def publish(self) -> None:
        """Give all files their final names."""
        for path in self.paths():
            if _partial(path).exists():
                os.replace(_partial(path), path)
            _journal(path).unlink(missing_ok=True)

    def keep_partial(self, pipeline: "Pipeline") -> None:
        """Say what is kept; remove what holds no frame."""
        n_frames = pipeline.output.n_frames
        if n_frames:
            can_resume = self.output.suffix.lower() in _RESUMABLE
            then = "--resume continues them" if can_resume else _ONLY_BINARY
            say(
                f"the {n_frames} frames written so far are kept in "
                f"{_partial(self.output)}; {then}"
            )
            return
        for path in self.paths():
            _partial(path).unlink(missing_ok=True)
            _journal(path).unlink(missing_ok=True)


def _partial(path: Path) -> Path:
    """Return the name under which a file is written."""
    return path.with_stem(path.stem + ".partial")


def _journal(path: Path) -> Path:
    """Return the journal of a partial file."""
    from openmm_backmap.output import journal_path

    return journal_path(_partial(path))
