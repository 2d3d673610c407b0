"""Generating frames of many sequences: one file each, resumable, then a shard."""

import hashlib
import json
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path

from openmm_backmap.errors import BackmapWarning, InputError
from openmm_backmap.generate.peptide import PeptideJob, generate_peptide
from openmm_backmap.generate.sequences import design_sequences
from openmm_backmap.generate.simulate import SimulationSettings
from openmm_backmap.generate.store import is_done, write_peptide, write_text
from openmm_backmap.worker_process import end_with_parent

__all__ = ["GenerationSettings", "generate", "write_recipe"]

RECIPE_VERSION = 1
_RECIPE = "recipe.json"


@dataclass(frozen=True)
class GenerationSettings:
    """What is generated; with these numbers the frames are the same every time.

    Parameters
    ----------
    seed : int
        Of everything.
    n_starts : int
        Independent conformations a sequence begins from.
    min_length, max_length, disordered_share
        See `generate.sequences.design_sequences`.
    min_temperature, max_temperature : float
        In kelvin; the starts of a sequence are spread over this range.
    simulation : SimulationSettings
        How each start is simulated.
    """

    seed: int = 0
    n_starts: int = 4
    min_length: int = 8
    max_length: int = 24
    disordered_share: float = 0.3
    min_temperature: float = 300.0
    max_temperature: float = 450.0
    simulation: SimulationSettings = field(default_factory=SimulationSettings)

    def __post_init__(self) -> None:
        """Refuse what cannot be run."""
        if not 0.0 < self.min_temperature <= self.max_temperature:
            raise InputError(
                f"temperatures {self.min_temperature} to {self.max_temperature} K: "
                "give two above 0, the lower one first"
            )
        if self.n_starts < 1 or self.seed < 0:
            raise InputError(
                f"n_starts = {self.n_starts}, seed = {self.seed}: give at least one "
                "start and a seed of 0 or more"
            )


def write_recipe(folder: Path | str, settings: GenerationSettings) -> None:
    """State the settings in a folder, or check that they are the same.

    Parameters
    ----------
    folder : pathlib.Path or str
        Made when missing.
    settings : GenerationSettings
        Of this run.

    Raises
    ------
    InputError
        If the folder holds frames of other settings.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / _RECIPE
    recipe = {"version": RECIPE_VERSION, **asdict(settings)}
    if not path.exists():
        write_text(path, json.dumps(recipe, indent=1) + "\n")
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}): delete it to begin anew"
        ) from error
    if found != recipe:
        flat, old = _flatten(recipe), _flatten(found)
        names = sorted(k for k in {*flat, *old} if flat.get(k) != old.get(k))
        raise InputError(
            f"{folder} was begun with {names[0]} = {old.get(names[0])}, now it is "
            f"{flat.get(names[0])}: give the same options or another folder"
        )


def _flatten(recipe: dict) -> dict:
    inner = recipe.get("simulation", {})
    return {**{k: v for k, v in recipe.items() if k != "simulation"}, **inner}


def _digest(settings: GenerationSettings) -> str:
    text = json.dumps(asdict(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _work(job: PeptideJob, folder: Path) -> tuple[Path, str]:
    """Make one file; what was missed, or "" if nothing."""
    result = generate_peptide(job)
    return write_peptide(folder, job, result), result.complaint


def generate(
    folder: Path | str,
    n_sequences: int,
    settings: GenerationSettings | None = None,
    *,
    platform: str | None = None,
    n_jobs: int = 1,
    n_threads: int = 1,
    time_limit: float | None = None,
    on_sequence: Callable[[Path], None] | None = None,
) -> int:
    """Generate what is not yet in a folder.

    A sequence is written when it is finished, in one step, so the work can be
    stopped in any way and goes on when this is called again. The frames of a
    sequence depend on the settings and its number only.

    Parameters
    ----------
    folder : pathlib.Path or str
        Where the files go.
    n_sequences : int
        Sequences wanted in all.
    settings : GenerationSettings or None
        If None, the defaults.
    platform : str or None
        OpenMM platform. If None, the fastest there is.
    n_jobs : int
        Processes.
    n_threads : int
        Threads a process on the CPU platform.
    time_limit : float or None
        Seconds after which no sequence is begun. If None, there is no limit.
    on_sequence : callable or None
        Called with the file of each sequence, also of those that were there.

    Returns
    -------
    int
        Sequences that are done, earlier ones included.

    Raises
    ------
    InputError
        If the folder holds frames of other settings, or the platform does not
        work.
    """
    settings = settings or GenerationSettings()
    folder = Path(folder)
    sequences = design_sequences(
        n_sequences,
        settings.seed,
        min_length=settings.min_length,
        max_length=settings.max_length,
        disordered_share=settings.disordered_share,
    )
    write_recipe(folder, settings)
    jobs = [
        PeptideJob(
            index=k,
            sequence=sequence,
            seed=settings.seed,
            n_starts=settings.n_starts,
            min_temperature=settings.min_temperature,
            max_temperature=settings.max_temperature,
            simulation=settings.simulation,
            recipe=_digest(settings),
            platform=platform,
            n_threads=n_threads,
        )
        for k, sequence in enumerate(sequences)
    ]
    stop = None if time_limit is None else time.monotonic() + time_limit
    left = []
    for job in jobs:
        path = is_done(folder, job)
        if path is None:
            left.append(job)
        elif on_sequence is not None:
            on_sequence(path)
    n_done = len(jobs) - len(left)
    for path, complaint in _run_jobs(left, folder, n_jobs, stop):
        n_done += 1
        if complaint:
            warnings.warn(f"{path.stem}: {complaint}", BackmapWarning, 2)
        if on_sequence is not None:
            on_sequence(path)
    return n_done


def _run_jobs(
    jobs: list[PeptideJob], folder: Path, n_jobs: int, stop: float | None
) -> Iterator[tuple[Path, str]]:
    """Work off the jobs, here or in processes, until the time is over."""

    def is_late() -> bool:
        return stop is not None and time.monotonic() > stop

    if n_jobs == 1:
        for job in jobs:
            if is_late():
                return
            yield _work(job, folder)
        return
    context = get_context("spawn")
    with ProcessPoolExecutor(n_jobs, context, initializer=end_with_parent) as pool:
        waiting = iter(jobs)
        running = set()
        try:
            while True:
                while len(running) < n_jobs and not is_late():
                    job = next(waiting, None)
                    if job is None:
                        break
                    running.add(pool.submit(_work, job, folder))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        finally:
            pool.shutdown(cancel_futures=True)
