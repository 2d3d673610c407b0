"""Cysteine pairs whose backbones hold a disulfide, chosen before the packing.

A rotamer peak is a few degrees off, and two of them together miss the 2.04 A
of the bond by half an angstrom. So the pairs of near cysteines are scanned in
both chi1, and where the geometry of a disulfide fits, both get that chi1 as
their only candidate.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.geometry.internal import place_atom
from openmm_backmap.geometry.vectors import compute_angle, compute_dihedral
from openmm_backmap.packing import constants
from openmm_backmap.packing.contacts import compute_image_shift

__all__ = ["join_disulfides", "score_disulfides"]


def score_disulfides(
    first: Tensor,
    second: Tensor,
    chi_first: Tensor,
    chi_second: Tensor,
    builder: BuilderTables,
) -> tuple[Tensor, Tensor]:
    """Strain of the disulfides of residue pairs on grids of both chi1.

    ``0.5 sum ((x - x0) / s)^2`` over the bond (2.04 A, s 0.06), the two angles
    CB-SG-SG (104 degrees, s 5) and the dihedral CB-SG-SG-CB (+-90, s 15):
    Thornton, J. Mol. Biol. 151, 261 (1981), with spreads as in well resolved
    structures.

    Parameters
    ----------
    first, second : torch.Tensor, shape (P, 5, 3)
        N, CA, C, O and CB of the two residues in nm, in one image.
    chi_first, chi_second : torch.Tensor, shape (P, A) and (P, B)
        In radians.
    builder : BuilderTables
        Ideal geometry.

    Returns
    -------
    strain : torch.Tensor, shape (P, A, B)
        In nats.
    bond : torch.Tensor, shape (P, A, B)
        SG-SG in nm.
    """
    sulfur: list[Tensor] = []
    for backbone, chi in ((first, chi_first), (second, chi_second)):
        shape = [chi.size(0), chi.size(1), 3]
        one = torch.ones_like(chi)
        code = constants.CYSTEINE
        sulfur.append(
            place_atom(
                backbone[:, 0].unsqueeze(1).expand(shape),
                backbone[:, 1].unsqueeze(1).expand(shape),
                backbone[:, 4].unsqueeze(1).expand(shape),
                builder.length[code, 5] * one,
                builder.angle[code, 5] * one,
                builder.offset[code, 5] + chi,
            )
        )
    shape = [first.size(0), chi_first.size(1), chi_second.size(1), 3]
    a = sulfur[0].unsqueeze(2).expand(shape)
    b = sulfur[1].unsqueeze(1).expand(shape)
    beta_a = first[:, 4].unsqueeze(1).unsqueeze(1).expand(shape)
    beta_b = second[:, 4].unsqueeze(1).unsqueeze(1).expand(shape)
    gap = b - a
    bond = torch.sqrt((gap * gap).sum(-1) + 1e-12)
    strain = ((bond - constants.DISULFIDE_BOND) / 0.006) ** 2
    for angle in (compute_angle(beta_a, a, b), compute_angle(beta_b, b, a)):
        strain = strain + ((angle - math.radians(104.0)) / math.radians(5.0)) ** 2
    dihedral = compute_dihedral(beta_a, a, b, beta_b).abs()
    bend = (dihedral - 0.5 * math.pi) / math.radians(15.0)
    return 0.5 * (strain + bend * bend), bond


def _peak_density(angle: Tensor, chi: Tensor, log_p: Tensor, spread: float) -> Tensor:
    """Log density (P, A) of chi1 relative to the best, from the candidates."""
    delta = angle.unsqueeze(2) - chi.unsqueeze(1)
    delta = torch.remainder(delta + math.pi, 2.0 * math.pi) - math.pi
    logs = log_p.unsqueeze(1) - 0.5 * (delta / spread) ** 2
    best = log_p.amax(1).view(-1, 1)
    return torch.logsumexp(logs, 2) - best


class CysteinePairs(NamedTuple):
    """P pairs of cysteines that stand as in a disulfide."""

    frame: Tensor  # (P,) int64
    i: Tensor  # (P,) int64 residue
    j: Tensor  # (P,) int64 residue
    shift: Tensor  # (P, 3) nm, to the image of j that is near i


def _list_pairs(
    residue_type: Tensor, chain_index: Tensor, neighbor_index: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Frame, i and j (P,) of neighbouring cysteines, i < j."""
    cysteine = torch.nonzero(residue_type == constants.CYSTEINE).flatten()
    n = residue_type.numel()
    near = neighbor_index.index_select(1, cysteine)
    kind = residue_type.index_select(0, near.clamp(min=0).flatten()).view_as(near)
    own = cysteine.view(1, -1, 1)
    chains = chain_index.index_select(0, near.clamp(min=0).flatten()).view_as(near)
    other = chains != chain_index.index_select(0, cysteine).view(1, -1, 1)
    # neighbours in a chain can hardly be bonded
    other = other | ((near - own).abs() > 1)
    found = torch.nonzero((near >= 0) & (kind == constants.CYSTEINE) & other)
    frame = found[:, 0]
    i = cysteine.index_select(0, found[:, 1])
    j = near[frame, found[:, 1], found[:, 2]]
    # each pair once, whichever of the two lists it
    code = (frame * n + torch.minimum(i, j)) * n + torch.maximum(i, j)
    code = torch.unique(code)
    rest = torch.div(code, n, rounding_mode="floor")
    frame = torch.div(rest, n, rounding_mode="floor")
    return frame, torch.remainder(rest, n), torch.remainder(code, n)


def _find_close_pairs(
    backbone: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    neighbor_index: Tensor,
    box: Tensor,
) -> CysteinePairs:
    """Pairs whose CB are as far apart as a disulfide allows."""
    frame, i, j = _list_pairs(residue_type, chain_index, neighbor_index)
    gap = backbone[frame, j, 4] - backbone[frame, i, 4]
    shift = compute_image_shift(gap, box.index_select(0, frame))
    apart = chain_index.index_select(0, i) != chain_index.index_select(0, j)
    shift = shift * apart.to(shift.dtype).unsqueeze(1)
    length = torch.sqrt(((gap + shift) ** 2).sum(1))
    close = torch.nonzero(
        (length > constants.DISULFIDE_BETA_SHORT)
        & (length < constants.DISULFIDE_BETA_LONG)
    ).flatten()
    return CysteinePairs(frame[close], i[close], j[close], shift[close])


def _scan_pairs(
    backbone: Tensor,
    pairs: CysteinePairs,
    chi: Tensor,
    log_p: Tensor,
    builder: BuilderTables,
) -> tuple[Tensor, Tensor, Tensor]:
    """Best chi1 (P, 1) of i and of j, and the energy (P,) of the bond in nats."""
    frame, i, j = pairs.frame, pairs.i, pairs.j
    first = backbone[frame, i]
    second = backbone[frame, j] + pairs.shift.unsqueeze(1)
    best_a = torch.zeros(i.numel(), 1, device=chi.device, dtype=chi.dtype)
    best_b = best_a
    total = best_a
    # the whole circle, then finer scans about its best point; ten degrees move
    # SG by 0.3 A, so the coarse scans must not be steep
    for half, n_steps, steepness in (
        (math.pi, 37, 0.04),
        (math.pi / 18.0, 11, 0.5),
        (math.pi / 90.0, 11, 1.0),
    ):
        fan = torch.linspace(-half, half, n_steps, device=chi.device, dtype=chi.dtype)
        a, b = best_a + fan, best_b + fan
        strain = score_disulfides(first, second, a, b, builder)[0]
        likely_a = _peak_density(a, chi[frame, i, :, 0], log_p[frame, i], 0.3)
        likely_b = _peak_density(b, chi[frame, j, :, 0], log_p[frame, j], 0.3)
        energy = steepness * strain - likely_a.unsqueeze(2) - likely_b.unsqueeze(1)
        total, place = energy.flatten(1).min(1, keepdim=True)
        row = torch.div(place, n_steps, rounding_mode="floor")
        best_a = a.gather(1, row)
        best_b = b.gather(1, torch.remainder(place, n_steps))
    return best_a, best_b, total.squeeze(1)


def join_disulfides(
    backbone: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    neighbor_index: Tensor,
    box: Tensor,
    chi: Tensor,
    log_p: Tensor,
    builder: BuilderTables,
    ceiling: float = 8.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Leave the bonded chi1 alone to cysteines that can form a disulfide.

    Parameters
    ----------
    backbone : torch.Tensor, shape (F, R, 5, 3)
        N, CA, C, O and CB in nm.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and bonded segment.
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        Nearest residues, -1 padded.
    box : torch.Tensor, shape (F, 3, 3)
        Box vectors in nm as rows, zeros for none.
    chi : torch.Tensor, shape (F, R, C, 4)
        Candidates in radians.
    log_p : torch.Tensor, shape (F, R, C)
        Their log probabilities, -inf for none.
    builder : BuilderTables
        Ideal geometry.
    ceiling : float
        Largest strain in nats, geometry and chi1 together, of a pair that is
        joined.

    Returns
    -------
    chi, log_p : torch.Tensor
        The same, changed for joined pairs. Each cysteine joins at most one.
    joined : torch.Tensor, shape (F, R), bool
        Residues of joined pairs.
    """
    bonded = torch.zeros(log_p.shape[:2], dtype=torch.bool, device=chi.device)
    if int((residue_type == constants.CYSTEINE).sum()) < 2:
        return chi, log_p, bonded
    pairs = _find_close_pairs(backbone, residue_type, chain_index, neighbor_index, box)
    frame, i, j = pairs.frame, pairs.i, pairs.j
    if i.numel() == 0:
        return chi, log_p, bonded
    best_a, best_b, total = _scan_pairs(backbone, pairs, chi, log_p, builder)
    n = residue_type.numel()
    best = torch.full(
        [backbone.size(0) * n], float("inf"), device=chi.device, dtype=chi.dtype
    )
    rows_i, rows_j = frame * n + i, frame * n + j
    best = best.scatter_reduce(0, rows_i, total, "amin")
    best = best.scatter_reduce(0, rows_j, total, "amin")
    joined = (total <= ceiling) & (total == best[rows_i]) & (total == best[rows_j])
    taken = torch.nonzero(joined).flatten()
    chi, log_p = chi.clone(), log_p.clone()
    for residue, angle in ((i[taken], best_a[taken]), (j[taken], best_b[taken])):
        log_p[frame[taken], residue] = float("-inf")
        log_p[frame[taken], residue, 0] = 0.0
        chi[frame[taken], residue, 0, 0] = angle.squeeze(1)
        bonded[frame[taken], residue] = True
    return chi, log_p, bonded
