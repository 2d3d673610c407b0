"""Fit what the packing of a model learns: its pair energy.

It is fitted on what the model itself proposes, so that it knows how wrong
its backbones and its probabilities are.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from openmm_backmap.builder.extract import torsions_from_atoms
from openmm_backmap.errors import DataError
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.packing.pack import Packer
from openmm_backmap.training.fit_pair_energy import (
    PairCounts,
    collect_pair_counts,
    fit_pair_energy,
)
from openmm_backmap.training.prepared import MAX_BFACTOR, split_segments
from openmm_backmap.training.shards import ShardEntry, read_shard

__all__ = [
    "PackingModel",
    "choose_entries",
    "fit_model_packing",
    "make_inputs",
]

N_NEIGHBORS = 80
NEIGHBOR_CUTOFF = 1.8
MAX_RESOLUTION = 2.2
RESIDUE_RANGE = (60, 400)
FEW_ENTRIES = 50
"""With fewer of known resolution, those of unknown resolution are drawn from, too."""
DROPOUT = 0.8
N_DRAWS = 2


class PackingModel(Protocol):
    """A model that proposes candidates and packs them."""

    packer: Packer

    def propose(
        self,
        bead_positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Backbone, chi candidates and their log p."""
        ...


def choose_entries(
    shards: Sequence[Path],
    n_entries: int,
    seed: int,
    max_resolution: float | None = MAX_RESOLUTION,
    residue_range: tuple[int, int] = RESIDUE_RANGE,
) -> list[ShardEntry]:
    """Draw entries of middle size, of as many clusters as can be.

    One of every cluster comes first, in random order, then a second one of
    those that have it, and so on. Data of one's own often have no resolution: where
    fewer than 50 entries are sharp enough, those of unknown resolution come after
    them.

    Parameters
    ----------
    shards : sequence of pathlib.Path
        Shards of one split.
    n_entries : int
        Entries wanted; fewer come back where there are fewer.
    seed : int
        Of the draw.
    max_resolution : float or None
        In angstrom. If None, none is too large, and unknown ones are drawn alike.
    residue_range : tuple of int
        Smallest and largest number of residues.

    Returns
    -------
    list of ShardEntry

    Raises
    ------
    DataError
        If there is none.
    """
    good: list[ShardEntry] = []
    unknown: list[ShardEntry] = []
    low, high = residue_range
    for path in shards:
        for entry in read_shard(path):
            if not low <= len(entry.residue_type) <= high:
                continue
            if max_resolution is None or entry.resolution <= max_resolution:
                good.append(entry)
            elif np.isnan(entry.resolution):
                unknown.append(entry)
    rng = np.random.default_rng(seed)
    chosen = _draw_clusters(good, n_entries, rng)
    if len(chosen) < min(n_entries, FEW_ENTRIES):
        chosen += _draw_clusters(unknown, n_entries - len(chosen), rng)
    if not chosen:
        limit = "" if max_resolution is None else f" up to {max_resolution} A"
        raise DataError(
            f"no entry of {low} to {high} residues and of a resolution{limit} or "
            f"unknown in {', '.join(map(str, shards))}: nothing can be fitted; give "
            "--data with such entries, or --packing for fits made elsewhere"
        )
    return chosen


def _draw_clusters(
    entries: Sequence[ShardEntry], n_entries: int, rng: np.random.Generator
) -> list[ShardEntry]:
    """Up to n entries: one of every cluster, then a second one, and so on."""
    clusters: dict[int, list[ShardEntry]] = {}
    for entry in entries:
        clusters.setdefault(int(entry.cluster[0]), []).append(entry)
    chosen: list[ShardEntry] = []
    turn = 0
    while len(chosen) < n_entries:
        row = [found[turn] for found in clusters.values() if len(found) > turn]
        if not row:
            break
        chosen += [row[k] for k in rng.permutation(len(row))]
        turn += 1
    return chosen[:n_entries]


def make_inputs(
    entry: ShardEntry,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Inputs of the artifact contract for the first model of an entry.

    Parameters
    ----------
    entry : ShardEntry
        A structure.

    Returns
    -------
    tuple of torch.Tensor
        Beads (CA), residue types, segments, neighbours, box.
    """
    ca = np.ascontiguousarray(entry.positions[:1, :, 1])
    neighbors = find_neighbors(ca, N_NEIGHBORS, NEIGHBOR_CUTOFF)
    return (
        torch.from_numpy(ca).unsqueeze(2),
        torch.from_numpy(entry.residue_type),
        torch.from_numpy(split_segments(entry)),
        torch.from_numpy(neighbors),
        torch.zeros(1, 3, 3, dtype=torch.float32),
    )


@contextmanager
def forget(model: object, dropout: float) -> Iterator[None]:
    """Let a network drop features while it proposes.

    A network knows the structures it was trained on better than any other. A
    pair energy fitted beside such probabilities learns to trust them, and to do
    less than it could for new structures.

    Parameters
    ----------
    model : object
        A model; without dropout layers nothing happens.
    dropout : float
        Probability.

    Yields
    ------
    None
    """
    layers = []
    if isinstance(model, torch.nn.Module):
        layers = [m for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    before = [(layer.p, layer.training) for layer in layers]
    for layer in layers:
        layer.p = dropout
        layer.train()
    try:
        yield
    finally:
        for layer, (p, training) in zip(layers, before, strict=True):
            layer.p = p
            layer.train(training)


def _count(model: PackingModel, entries: Sequence[ShardEntry]) -> Iterator[PairCounts]:
    for entry in entries:
        inputs = make_inputs(entry)
        backbone, chi, log_p = model.propose(*inputs, None)
        positions = torch.from_numpy(entry.positions[:1])
        sure = torch.from_numpy(entry.mask & (entry.bfactor < MAX_BFACTOR))
        native = torsions_from_atoms(positions, sure, inputs[1], inputs[2])
        yield collect_pair_counts(
            model.packer,
            backbone,
            positions,
            sure,
            inputs[1],
            inputs[2],
            inputs[3],
            chi,
            log_p,
            native.chi[0],
            native.chi_mask[0],
        )


def fit_model_packing(
    model: PackingModel,
    entries: Sequence[ShardEntry],
    scale: float = 0.85,
    dropout: float = DROPOUT,
    n_draws: int = N_DRAWS,
) -> dict[str, float]:
    """Fit the pair energy to a model's own candidates and put it into its packer.

    Parameters
    ----------
    model : PackingModel
        Changed in place: its packer gets the energy and the weights.
    entries : sequence of ShardEntry
        Training structures.
    scale : float
        Weight of the fitted energy; below 1 it trades a little accuracy for
        fewer overlaps (chosen on the validation split).
    dropout : float
        See `forget` (chosen on the validation split, too).
    n_draws : int
        Times the network forgets anew; the energies fitted beside each are averaged.

    Returns
    -------
    dict
        ``loss`` (nats a residue), ``log_p_weight``, ``pair_scale``,
        ``n_entries``, ``dropout`` and ``n_draws``.
    """
    tables: list[Tensor] = []
    log_p_weight = loss = 0.0
    for draw in range(n_draws):
        with torch.no_grad(), torch.random.fork_rng(devices=[]), forget(model, dropout):
            torch.manual_seed(draw)
            cases = list(_count(model, entries))
        table, weight, missed = fit_pair_energy(cases, seed=draw)
        tables.append(table)
        log_p_weight += weight / n_draws
        loss += missed / n_draws
    packer = model.packer
    packer.pair_energy = torch.stack(tables).mean(0)
    packer.settings = packer.settings._replace(
        pair_scale=scale, log_p_weight=log_p_weight
    )
    return {
        "loss": loss,
        "log_p_weight": log_p_weight,
        "pair_scale": scale,
        "n_entries": len(entries),
        "dropout": dropout,
        "n_draws": n_draws,
    }
