"""Fit the learned pair energy of the packing by pseudo-likelihood.

Each residue in turn chooses among its candidates while all others stand as they
are in the structure; the energy is linear in counts of atom pairs by type and
distance, so the fit is a convex one (Besag, J. R. Stat. Soc. B 36, 192 (1974)).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from openmm_backmap.packing import constants
from openmm_backmap.packing.atoms import (
    compute_reach,
    list_backbone,
    list_side_chains,
)
from openmm_backmap.packing.candidates import Candidates, select_candidates
from openmm_backmap.packing.clash import compute_clash_energy, compute_overlap
from openmm_backmap.packing.contacts import find_surroundings
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.pair_energy import N_DISTANCE_BINS, compute_distance_bin
from openmm_backmap.packing.present_pairs import find_present_pairs
from openmm_backmap.packing.state import build_candidates
from openmm_backmap.packing.tables import N_ATOM_TYPES

__all__ = ["PairCounts", "collect_pair_counts", "find_targets", "fit_pair_energy"]

GLYCINE = 7


@dataclass(frozen=True, eq=False)
class PairCounts:
    """What the fit reads of one structure: P pairs, N atoms, M cells.

    Attributes
    ----------
    feature : torch.Tensor, shape (P,), int64
        Type, type and distance bin of each pair as one index.
    atom : torch.Tensor, shape (P,), int64
        Candidate atom of each pair.
    clash : torch.Tensor, shape (N,)
        Overlap energy of each candidate atom in nats.
    cell_candidate, cell_atom : torch.Tensor, shape (M,), int64
        The atoms of each candidate.
    log_p : torch.Tensor, shape (R, C)
        Of the candidates; -inf for none.
    target : torch.Tensor, shape (R,), int64
        The candidate that is right; -1 where the residue is not used.
    """

    feature: Tensor
    atom: Tensor
    clash: Tensor
    cell_candidate: Tensor
    cell_atom: Tensor
    log_p: Tensor
    target: Tensor


def find_targets(
    candidates: Candidates,
    native_chi: Tensor,
    chi_mask: Tensor,
    period: Tensor,
    tolerance: float = 0.7,
) -> Tensor:
    """Find the candidate nearest to the native side chain.

    Parameters
    ----------
    candidates : Candidates
        Of one frame.
    native_chi : torch.Tensor, shape (R, 4)
        In radians.
    chi_mask : torch.Tensor, shape (R, 4), bool
        Known chi.
    period : torch.Tensor, shape (R, 4)
        Period of each chi in radians.
    tolerance : float
        chi1 and chi2 must be this near (radians).

    Returns
    -------
    torch.Tensor, shape (R,), int64
        -1 where no candidate is near or there is nothing to choose.
    """
    error = candidates.chi[0] - native_chi.unsqueeze(1)
    half = 0.5 * period.unsqueeze(1)
    error = (torch.remainder(error + half, period.unsqueeze(1)) - half).abs()
    error = error * chi_mask.unsqueeze(1)
    # earlier chi move more atoms
    cost = (error * error.new_tensor([4.0, 2.0, 1.0, 0.5])).sum(2)
    exists = torch.isfinite(candidates.log_p[0])
    best = cost.masked_fill(~exists, float("inf")).argmin(1)
    nearest = error.gather(1, best.view(-1, 1, 1).expand(-1, 1, 4)).squeeze(1)
    usable = (nearest[:, :2] < tolerance).all(1) & chi_mask[:, 0]
    return torch.where(usable & (exists.sum(1) > 1), best, torch.full_like(best, -1))


def collect_pair_counts(
    packer: Packer,
    backbone: Tensor,
    native: Tensor,
    mask: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    neighbor_index: Tensor,
    chi: Tensor,
    log_p: Tensor,
    native_chi: Tensor,
    chi_mask: Tensor,
) -> PairCounts:
    """Count the atom pairs of all candidates of one structure.

    Parameters
    ----------
    packer : Packer
        Gives constants and settings.
    backbone : torch.Tensor, shape (1, R, 5, 3)
        Where the candidates are built, in nm: native or, better, predicted.
    native : torch.Tensor, shape (1, R, 14, 3)
        The structure in nm; its side chains are the surroundings.
    mask : torch.Tensor, shape (R, 14), bool
        Known atoms; a side chain that lacks one is left out.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment.
    neighbor_index : torch.Tensor, shape (1, R, K), int64
        Nearest residues.
    chi, log_p : torch.Tensor, shape (1, R, C, 4) and (1, R, C)
        Candidates.
    native_chi, chi_mask : torch.Tensor, shape (R, 4)
        Native side chains in radians, and which chi are known.

    Returns
    -------
    PairCounts
    """
    tables, settings = packer.tables(), packer.settings
    candidates = select_candidates(
        chi,
        log_p,
        residue_type,
        tables,
        settings.max_candidates,
        settings.max_log_ratio,
    )
    atoms = build_candidates(
        candidates, backbone[0], residue_type, packer.builder(), tables
    ).atoms
    points = list_backbone(backbone, tables.atom_mask[:, 4][residue_type])
    near = find_surroundings(
        neighbor_index,
        backbone[:, :, 1],
        torch.zeros(1, 3, 3, dtype=torch.float32),
        residue_type,
        chain_index,
        compute_reach(atoms.points, points) + 0.1,
        constants.PAIR_CUTOFF,
    )
    whole = (mask | ~tables.atom_mask[residue_type]).all(1)
    present_type = torch.where(whole, residue_type, GLYCINE)
    present = list_side_chains(native[0], present_type, tables)
    a, code_b, distance = find_present_pairs(
        atoms, present, points, near, tables, constants.PAIR_CUTOFF
    )
    code_a = atoms.code[a]
    overlap, both_sulfur = compute_overlap(code_a, code_b, distance, tables)
    clash = compute_clash_energy(
        overlap, distance, both_sulfur, settings.clash_slope, settings.clash_ceiling
    )
    kinds = tables.atom_type.reshape(-1)
    low = torch.minimum(kinds[code_a], kinds[code_b])
    high = torch.maximum(kinds[code_a], kinds[code_b])
    feature = (low * N_ATOM_TYPES + high) * N_DISTANCE_BINS
    return PairCounts(
        feature=feature + compute_distance_bin(distance, N_DISTANCE_BINS),
        atom=a,
        clash=torch.zeros_like(atoms.points.x).reshape(-1).index_add(0, a, clash),
        cell_candidate=atoms.cell_candidate,
        cell_atom=atoms.cell_atom,
        log_p=candidates.log_p[0],
        target=find_targets(
            candidates, native_chi, chi_mask, tables.chi_period[residue_type]
        ),
    )


def _join(cases: Sequence[PairCounts]) -> PairCounts:
    """Put structures behind one another."""
    n_kept = max(case.log_p.shape[1] for case in cases)
    parts: dict[str, list[Tensor]] = {name: [] for name in PairCounts.__annotations__}
    n_atoms = n_residues = 0
    for case in cases:
        n_own = case.log_p.shape[1]
        log_p = case.log_p.new_full((case.log_p.shape[0], n_kept), float("-inf"))
        log_p[:, :n_own] = case.log_p
        residue = torch.div(case.cell_candidate, n_own, rounding_mode="floor")
        rank = case.cell_candidate - residue * n_own
        parts["feature"].append(case.feature)
        parts["atom"].append(case.atom + n_atoms)
        parts["clash"].append(case.clash)
        parts["cell_candidate"].append((residue + n_residues) * n_kept + rank)
        parts["cell_atom"].append(case.cell_atom + n_atoms)
        parts["log_p"].append(log_p)
        parts["target"].append(case.target)
        n_atoms += case.clash.numel()
        n_residues += case.log_p.shape[0]
    return PairCounts(**{name: torch.cat(rows) for name, rows in parts.items()})


def _compute_loss(batch: PairCounts, table: Tensor, log_p_weight: Tensor) -> Tensor:
    """Mean negative log pseudo-likelihood of the native candidates."""
    on_atom = batch.clash.index_add(0, batch.atom, table[batch.feature])
    field = torch.zeros_like(batch.log_p.reshape(-1)).index_add(
        0, batch.cell_candidate, on_atom[batch.cell_atom]
    )
    empty = torch.isinf(batch.log_p)
    # the gradient of a weight times -inf would be nan
    logits = log_p_weight * batch.log_p.masked_fill(empty, 0.0)
    logits = (logits - field.view_as(logits)).masked_fill(empty, -1e9)
    used = batch.target >= 0
    return torch.nn.functional.cross_entropy(logits[used], batch.target[used])


def fit_pair_energy(
    cases: Sequence[PairCounts],
    *,
    n_epochs: int = 20,
    batch_size: int = 8,
    learning_rate: float = 0.02,
    penalty: float = 1e-6,
    seed: int = 0,
) -> tuple[Tensor, float, float]:
    """Fit the pair energy and the weight of log p.

    Parameters
    ----------
    cases : sequence of PairCounts
        Structures.
    n_epochs : int
        Passes over them.
    batch_size : int
        Structures a step.
    learning_rate : float
        Of Adam; falls to zero.
    penalty : float
        Of the sum of squared energies, against pairs seen too rarely.
    seed : int
        Orders the batches.

    Returns
    -------
    table : torch.Tensor, shape (26, 26, 16)
        Symmetric, in nats.
    log_p_weight : float
        Weight of log p beside it.
    loss : float
        Mean negative log pseudo-likelihood over the last pass.
    """
    n_types, n_bins = N_ATOM_TYPES, N_DISTANCE_BINS
    flat = torch.zeros(
        n_types * n_types * n_bins, dtype=torch.float32, requires_grad=True
    )
    log_p_weight = torch.ones((), dtype=torch.float32, requires_grad=True)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(cases), generator=generator).tolist()
    batches = [
        _join([cases[k] for k in order[start : start + batch_size]])
        for start in range(0, len(order), batch_size)
    ]
    optimizer = torch.optim.Adam([flat, log_p_weight], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
        optimizer, n_epochs * len(batches)
    )
    total = 0.0
    for _ in range(n_epochs):
        total = 0.0
        for k in torch.randperm(len(batches), generator=generator).tolist():
            optimizer.zero_grad()
            loss = _compute_loss(batches[k], flat, log_p_weight)
            (loss + penalty * flat.square().sum()).backward()
            optimizer.step()
            schedule.step()
            total += float(loss.detach()) / len(batches)
    table = flat.detach().view(n_types, n_types, n_bins)
    upper = torch.triu(table.new_ones(n_types, n_types)).unsqueeze(2)
    table = table * upper
    strict = torch.triu(table.new_ones(n_types, n_types), diagonal=1).unsqueeze(2)
    table = table + (table * strict).transpose(0, 1)
    return table, float(log_p_weight.detach()), total
