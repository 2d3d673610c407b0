"""The energy of an atom pair: soft overlap and a learned table, over distance."""

from typing import NamedTuple

import torch

from openmm_backmap.packing import constants
from openmm_backmap.packing.clash import compute_clash_energy, compute_overlap
from openmm_backmap.packing.tables import N_ATOM_TYPES, PackingTables

__all__ = [
    "N_DISTANCE_BINS",
    "EnergyGrid",
    "EnergyWeights",
    "compute_atom_energy",
    "compute_distance_bin",
    "look_up_pair_energy",
    "make_empty_pair_energy",
    "make_energy_grid",
    "read_energy_grid",
]

N_DISTANCE_BINS = 16
"""Distance bins of the learned pair energy: below 2.2 A, then 0.2 A each."""


class EnergyWeights(NamedTuple):
    """The energy of an atom pair: soft overlap plus scaled learned energy."""

    table: torch.Tensor  # (26, 26, 16) nats by atom types and distance bin
    scale: float  # of the table; 0 leaves it out
    slope: float  # nats per nm of overlap
    ceiling: float  # nats, highest overlap energy of an atom pair


class EnergyGrid(NamedTuple):
    """Energies of atom pairs, tabulated for speed."""

    energy: torch.Tensor  # (26 x 26 x n_steps,) nats by type, type and distance
    n_steps: int
    cutoff: float  # nm


def make_empty_pair_energy() -> torch.Tensor:
    """Make a pair energy that is zero everywhere.

    Returns
    -------
    torch.Tensor, shape (26, 26, 16)
        In nats.
    """
    return torch.zeros(N_ATOM_TYPES, N_ATOM_TYPES, N_DISTANCE_BINS, dtype=torch.float32)


def compute_distance_bin(distance: torch.Tensor, n_bins: int) -> torch.Tensor:
    """Find the bin of the learned pair energy.

    Parameters
    ----------
    distance : torch.Tensor, shape (N,)
        In nm.
    n_bins : int
        Number of bins; the first one ends at 0.22 nm, the last at 0.52 nm.

    Returns
    -------
    torch.Tensor, shape (N,), int64
        0 to n_bins - 1.
    """
    width = (constants.PAIR_CUTOFF - constants.FIRST_EDGE) / (n_bins - 1)
    position = (distance - constants.FIRST_EDGE) / width
    return torch.floor(position + 1.0).to(torch.int64).clamp(min=0, max=n_bins - 1)


def look_up_pair_energy(
    table: torch.Tensor,
    type_a: torch.Tensor,
    type_b: torch.Tensor,
    distance: torch.Tensor,
) -> torch.Tensor:
    """Read the learned energy of atom pairs.

    Parameters
    ----------
    table : torch.Tensor, shape (26, 26, 16)
        Energy in nats by type, type and distance bin; symmetric in the types.
    type_a, type_b : torch.Tensor, shape (N,), int64
        Index into `ATOM_TYPES`.
    distance : torch.Tensor, shape (N,)
        In nm, below 0.52.

    Returns
    -------
    torch.Tensor, shape (N,)
        In nats.
    """
    n_types, n_bins = table.size(0), table.size(2)
    row = (type_a * n_types + type_b) * n_bins
    return table.reshape(-1).index_select(
        0, row + compute_distance_bin(distance, n_bins)
    )


def compute_atom_energy(
    code_a: torch.Tensor,
    code_b: torch.Tensor,
    distance: torch.Tensor,
    tables: PackingTables,
    weights: EnergyWeights,
) -> torch.Tensor:
    """Compute the energy of atom pairs.

    Parameters
    ----------
    code_a, code_b : torch.Tensor, shape (N,), int64
        14 x residue type + slot of the two atoms.
    distance : torch.Tensor, shape (N,)
        In nm.
    tables : PackingTables
        Constants.
    weights : EnergyWeights
        What counts how much.

    Returns
    -------
    torch.Tensor, shape (N,)
        In nats.
    """
    overlap, both_sulfur = compute_overlap(code_a, code_b, distance, tables)
    energy = compute_clash_energy(
        overlap, distance, both_sulfur, weights.slope, weights.ceiling
    )
    if weights.scale != 0.0:
        kinds = tables.atom_type.reshape(-1)
        learned = look_up_pair_energy(
            weights.table,
            kinds.index_select(0, code_a),
            kinds.index_select(0, code_b),
            distance,
        )
        energy = energy + weights.scale * learned
    return energy


def make_energy_grid(tables: PackingTables, weights: EnergyWeights) -> EnergyGrid:
    """Tabulate the energy of all pairs of atom types over the distance.

    Parameters
    ----------
    tables : PackingTables
        Constants.
    weights : EnergyWeights
        What counts how much.

    Returns
    -------
    EnergyGrid
        In steps of 0.05 angstrom.
    """
    n_types = tables.type_code.numel()
    learned = weights.scale != 0.0
    cutoff = constants.PAIR_CUTOFF if learned else constants.CLASH_CUTOFF
    step = constants.GRID_STEP
    n_steps = int(round(cutoff / step))
    device = tables.type_code.device
    number = torch.arange(n_steps, device=device)
    middle = (number.to(weights.table.dtype) + 0.5) * step
    shape = [n_types, n_types, n_steps]
    energy = compute_atom_energy(
        tables.type_code.view(-1, 1, 1).expand(shape).reshape(-1),
        tables.type_code.view(1, -1, 1).expand(shape).reshape(-1),
        middle.view(1, 1, -1).expand(shape).reshape(-1),
        tables,
        weights,
    )
    return EnergyGrid(energy=energy, n_steps=n_steps, cutoff=cutoff)


def read_energy_grid(
    grid: EnergyGrid, type_a: torch.Tensor, type_b: torch.Tensor, distance: torch.Tensor
) -> torch.Tensor:
    """Read the energy of atom pairs.

    Parameters
    ----------
    grid : EnergyGrid
        From `make_energy_grid`.
    type_a, type_b : torch.Tensor, shape (N,), int64
        Index into `ATOM_TYPES`.
    distance : torch.Tensor, shape (N,)
        In nm, below the cut-off.

    Returns
    -------
    torch.Tensor, shape (N,)
        In nats.
    """
    step = (distance * (1.0 / constants.GRID_STEP)).to(torch.int64)
    step = step.clamp(max=grid.n_steps - 1)
    index = (type_a * 26 + type_b) * grid.n_steps + step
    return grid.energy.index_select(0, index)
