"""Who computes in ``openmm-backmap backmap``: this process, others, or a cluster."""

import argparse
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openmm_backmap.cli.backmap_outputs import say

if TYPE_CHECKING:
    from openmm_backmap.frame_processor import StepResult
    from openmm_backmap.parallel import Chunk, Workers
    from openmm_backmap.pipeline import Pipeline

__all__ = ["compute_chunks", "open_workers"]


def compute_chunks(
    pipeline: "Pipeline", workers: "Workers | None", chunks: Iterator["Chunk"]
) -> Iterator[tuple["Chunk", Iterable["StepResult"]]]:
    """Compute chunks here, or on the workers."""
    if workers is None:
        for chunk in chunks:
            yield chunk, pipeline.processor.compute(chunk.frames, chunk.is_minimized)
        return
    from openmm_backmap.parallel import compute_in_order

    if workers.n_workers == 0:
        say(f"{pipeline.output.path}: waiting for the first worker of the scheduler")
    yield from compute_in_order(workers, chunks)


def open_workers(
    arguments: argparse.Namespace, pipeline: "Pipeline"
) -> AbstractContextManager["Workers | None"]:
    """Start local processes or join a Dask cluster, if one was asked for."""
    from openmm_backmap.parallel import ProcessorSpec, ProcessWorkers
    from openmm_backmap.parallel_dask import DaskWorkers

    if arguments.jobs == 1 and arguments.scheduler is None:
        return nullcontext(None)
    threads = arguments.threads
    if threads is None and arguments.scheduler is None:
        threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    backmapper = pipeline.backmapper
    spec = ProcessorSpec(
        backmapper.cg_topology,
        _model_of(arguments),
        arguments.device,
        {
            "hydrogens": not arguments.no_hydrogens,
            "template": backmapper.template,
            "disulfides": backmapper.atom_topology.disulfides,
            "exact_ca": arguments.exact_ca,
            "seed": arguments.seed,
            "threads": threads,
            "wrap_chains": arguments.wrap,
        },
        samples=arguments.samples,
        minimize=_minimizer_options(arguments, threads),
        has_metrics=pipeline.metrics is not None,
    )
    if arguments.scheduler is not None:
        return closing(DaskWorkers(spec, arguments.scheduler))
    return closing(ProcessWorkers(spec, arguments.jobs))


def _model_of(arguments: argparse.Namespace) -> str:
    """Return the model so that a worker in another folder finds it, too."""
    from openmm_backmap.artifact import list_models
    from openmm_backmap.backmapper_input import choose_model

    model = str(choose_model(arguments.model))
    return model if model in list_models() else str(Path(model).resolve())


def _minimizer_options(
    arguments: argparse.Namespace, threads: int | None
) -> dict[str, Any] | None:
    """Return what the minimizer of a worker is made with."""
    if not arguments.minimize:
        return None
    return {"solvent": arguments.solvent, "threads": threads}
