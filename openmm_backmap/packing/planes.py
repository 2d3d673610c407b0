"""Choosing the peptide planes of all chains together.

Every peptide unit comes with a few candidate planes (azimuth, twist, log p).
Two units that meet in a residue decide its N-CA-C angle, phi and psi, so the
chain is a hidden Markov model: the best planes come from the Viterbi
algorithm, a sample from forward filtering and backward sampling, both exact.
Overlaps with units far along the chain and with other chains enter in a second
round, against the planes chosen in the first.

References
----------
Rabiner, Proc. IEEE 77, 257 (1989).
"""

import math
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import (
    build_units,
    has_next,
    place_carbonyl_oxygen,
)
from openmm_backmap.builder.tables import BuilderTables
from openmm_backmap.geometry.vectors import compute_dihedrals_between, normalize
from openmm_backmap.packing.plane_clash import compute_far_energy, compute_near_energy

__all__ = ["PlaneSettings", "choose_planes", "ramachandran_class"]


class PlaneSettings(NamedTuple):
    """Weights of the terms in which two planes meet, in nats."""

    angle_spread: float = 0.06  # radians, of N-CA-C about its ideal
    vague_spread: float = 0.08  # the same in vague traces, if it is smaller
    ramachandran_weight: float = 1.0
    ramachandran_floor: float = -9.0  # lowest log p a (phi, psi) bin may have
    outlier_log_p: float = -6.0  # in vague traces a bin with less costs more:
    outlier_weight: float = 3.0  # nats for each nat that it is below
    proline_phi: float = -1.15  # radians, where its ring is without strain
    proline_slack: float = 0.35  # radians on either side that cost nothing
    proline_spread: float = 0.10  # radians beyond that
    proline_ceiling: float = 60.0  # nats
    clash_slope: float = 320.0  # nats per nm of overlap
    clash_ceiling: float = 40.0  # nats an atom pair; must outweigh a sure model
    n_rounds: int = 2  # passes over the chain; later ones see all other chains
    n_near: int = 16  # nearest residues whose backbone a plane must avoid


def ramachandran_class(residue_type: Tensor, chain_index: Tensor) -> Tensor:
    """Class of each residue in the Ramachandran energy.

    Parameters
    ----------
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.

    Returns
    -------
    torch.Tensor, shape (R,), int64
        0 general, 1 glycine, 2 proline, 3 before proline.
    """
    before = has_next(chain_index) & (torch.roll(residue_type, -1, 0) == 14)
    result = torch.where(before, 3, 0)
    result = torch.where(residue_type == 14, torch.full_like(result, 2), result)
    return torch.where(residue_type == 7, torch.ones_like(result), result)


def _torsion_energy(
    phi: Tensor,
    psi: Tensor,
    kind: Tensor,
    ramachandran: Tensor,
    settings: PlaneSettings,
    is_vague: Optional[Tensor],  # noqa: UP045 (TorchScript)
) -> Tensor:
    """Energy of phi and psi (F, R, P, P), `kind` (1, R, 1, 1) their class."""
    n_bins = ramachandran.shape[-1]
    width = 2.0 * math.pi / n_bins
    row = torch.floor((phi + math.pi) / width).long().clamp(0, n_bins - 1)
    column = torch.floor((psi + math.pi) / width).long().clamp(0, n_bins - 1)
    log_p = ramachandran.reshape(-1)[(kind * n_bins + row) * n_bins + column]
    log_p = log_p.clamp(min=settings.ramachandran_floor)
    energy = -settings.ramachandran_weight * log_p
    if is_vague is not None:
        rare = (settings.outlier_log_p - log_p).clamp(min=0.0)
        vague = is_vague.to(rare.dtype).unsqueeze(2).unsqueeze(2)
        energy = energy + settings.outlier_weight * rare * vague
    # the ring of a proline would run into the residue before it
    away = torch.remainder(phi - settings.proline_phi + math.pi, 2.0 * math.pi)
    away = (away - math.pi).abs() - settings.proline_slack
    away = away.clamp(min=0.0) / settings.proline_spread
    ring = (0.5 * away * away).clamp(max=settings.proline_ceiling)
    return energy + ring * (kind == 2).to(ring.dtype)


def _meeting_energy(
    ca: Tensor,
    carbon: Tensor,
    oxygen: Tensor,
    next_n: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    ramachandran: Tensor,
    tables: BuilderTables,
    settings: PlaneSettings,
    beta: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
    has_beta: Optional[Tensor] = None,  # noqa: UP045
    beta_spread: float = 1.0,
    is_vague: Optional[Tensor] = None,  # noqa: UP045
) -> Tensor:
    """Energy (F, R, P, P) of residue i for planes a of unit i - 1 and b of i."""
    joined = has_next(chain_index)
    inner = joined & torch.roll(joined, 1, 0)
    # planes a in the third place, b in the fourth
    center = ca.unsqueeze(2)
    before_c = torch.roll(carbon, 1, 1)
    nitrogen = torch.roll(next_n, 1, 1)
    to_n = normalize(nitrogen - center).unsqueeze(3)
    to_c = normalize(carbon - center).unsqueeze(2)
    cosine = (to_n * to_c).sum(-1).clamp(min=-0.999999, max=0.999999)
    ideal = tables.n_ca_c[residue_type].view(1, -1, 1, 1)
    strain = (torch.acos(cosine) - ideal) / settings.angle_spread
    if is_vague is not None:
        tight = is_vague.to(strain.dtype).unsqueeze(2).unsqueeze(2)
        more = max(1.0, settings.angle_spread / settings.vague_spread) - 1.0
        strain = strain * (1.0 + more * tight)
    phi = compute_dihedrals_between(before_c, nitrogen, center, carbon)
    psi = compute_dihedrals_between(next_n, carbon, center, nitrogen).transpose(2, 3)
    kind = ramachandran_class(residue_type, chain_index).view(1, -1, 1, 1)
    energy = 0.5 * strain * strain
    energy = energy + _torsion_energy(phi, psi, kind, ramachandran, settings, is_vague)
    # CB on the L side, as `place_cb` has it for most residues
    half = torch.rsqrt(2.0 + 2.0 * cosine).unsqueeze(-1)
    across = torch.rsqrt(1.0 - cosine * cosine).unsqueeze(-1)
    normal = torch.linalg.cross(to_n, to_c, dim=-1)
    cb = (0.1210 * across) * normal - (0.0938 * half) * (to_n + to_c)
    cb = cb + center.unsqueeze(2)
    has_cb = (residue_type != 7).to(ca.dtype).view(1, -1, 1, 1)
    if beta is not None and has_beta is not None:
        gap = (cb - beta.unsqueeze(2).unsqueeze(2)) / beta_spread
        # a bead far out of place must not outweigh the chain
        missed = (0.5 * (gap * gap).sum(-1)).clamp(max=20.0)
        told = has_beta.to(ca.dtype).unsqueeze(2).unsqueeze(2)
        energy = energy + missed * told
    energy = energy + compute_near_energy(
        torch.roll(ca, 1, 1).unsqueeze(2).unsqueeze(2),
        before_c.unsqueeze(3),
        torch.roll(oxygen, 1, 1).unsqueeze(3),
        carbon.unsqueeze(2),
        oxygen.unsqueeze(2),
        cb,
        torch.roll(ca, -1, 1).unsqueeze(2).unsqueeze(2),
        has_cb,
        settings.clash_slope,
        settings.clash_ceiling,
    )
    return energy * inner.to(ca.dtype).view(1, -1, 1, 1)


def _segment_grid(chain_index: Tensor) -> tuple[Tensor, Tensor]:
    """Residue of each place (S, L) of the segments, and which places exist."""
    joined = has_next(chain_index)
    last = torch.nonzero(~joined).squeeze(-1)
    first = torch.cat((torch.zeros_like(last[:1]), last[:-1] + 1))
    length = last - first + 1
    place = torch.arange(int(length.max()), device=chain_index.device)
    inside = place.unsqueeze(0) < length.unsqueeze(1)
    residue = torch.minimum(first.unsqueeze(1) + place.unsqueeze(0), last.unsqueeze(1))
    return residue, inside


def _find_best_path(own: Tensor, energy: Tensor) -> Tensor:
    """Best planes (F, S, L) of scores (F, S, L, P) and meeting energies: Viterbi."""
    longest = own.shape[2]
    score = own[:, :, 0]
    # the best plane before, of each plane of the second place and those after it
    before: list[Tensor] = []
    for k in range(1, longest):
        best, pick = (score.unsqueeze(-1) - energy[:, :, k]).max(2)
        before.append(pick)
        score = best + own[:, :, k]
    picks = [score.argmax(-1)]
    for back in range(1, longest):
        after = picks[back - 1].unsqueeze(-1)
        picks.append(before[longest - 1 - back].gather(2, after).squeeze(2))
    picks.reverse()
    return torch.stack(picks, -1)


def _draw_path(own: Tensor, energy: Tensor, uniform: Tensor) -> Tensor:
    """The same, sampled: forward filter, backward draws by uniform numbers."""
    longest = own.shape[2]
    score = own[:, :, 0]
    messages: list[Tensor] = [score]
    for k in range(1, longest):
        joint = score.unsqueeze(-1) - energy[:, :, k]
        score = torch.logsumexp(joint, 2) + own[:, :, k]
        messages.append(score)
    picks: list[Tensor] = []
    for back in range(longest):
        k = longest - 1 - back
        total = messages[k]
        if back > 0:
            after = picks[back - 1].unsqueeze(-1).unsqueeze(-1)
            column = energy[:, :, k + 1].gather(
                3, after.expand(-1, -1, own.shape[3], -1)
            )
            total = total - column.squeeze(3)
        below = torch.cumsum(torch.softmax(total, -1), -1) < uniform[:, :, k, None]
        picks.append(below.sum(-1).clamp(max=own.shape[3] - 1))
    picks.reverse()
    return torch.stack(picks, -1)


def _solve_chain(
    own: Tensor,
    energy: Tensor,
    grid: Tensor,
    inside: Tensor,
    noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
) -> Tensor:
    """Best or sampled planes (F, R) of unary scores and meeting energies."""
    there = inside.to(own.dtype).unsqueeze(-1)
    step_own = own[:, grid] * there  # (F, S, L, P)
    step_energy = energy[:, grid] * there.unsqueeze(-1)  # (F, S, L, P, P)
    if noise is None:
        found = _find_best_path(step_own, step_energy)
    else:
        uniform = 0.5 * (1.0 + torch.erf(noise * 0.7071067811865476))
        found = _draw_path(step_own, step_energy, uniform[:, grid])
    choice = torch.zeros(
        own.shape[0], own.shape[1], dtype=torch.long, device=own.device
    )
    choice[:, grid[inside]] = found[:, inside]
    return choice


def _build_planes(
    ca: Tensor,
    alpha: Tensor,
    twist: Tensor,
    is_cis: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    tables: BuilderTables,
) -> tuple[Tensor, Tensor]:
    """C of i and N of i + 1 on all candidate planes, each (F, R, P, 3)."""
    frames, residues, n_planes = alpha.shape[0], alpha.shape[1], alpha.shape[2]
    wide_ca = ca.unsqueeze(1).expand(-1, n_planes, -1, -1).reshape(-1, residues, 3)
    wide_cis = is_cis.unsqueeze(1).expand(-1, n_planes, -1).reshape(-1, residues)
    carbon, next_n = build_units(
        wide_ca,
        alpha.transpose(1, 2).reshape(-1, residues),
        twist.transpose(1, 2).reshape(-1, residues),
        wide_cis,
        residue_type,
        chain_index,
        tables,
    )
    carbon = carbon.view(frames, n_planes, residues, 3).transpose(1, 2)
    next_n = next_n.view(frames, n_planes, residues, 3).transpose(1, 2)
    return carbon, next_n


def choose_planes(
    ca: Tensor,
    alpha: Tensor,
    twist: Tensor,
    log_p: Tensor,
    is_cis: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    neighbor_index: Tensor,
    box: Tensor,
    ramachandran: Tensor,
    tables: BuilderTables,
    settings: PlaneSettings,
    noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
    beta: Optional[Tensor] = None,  # noqa: UP045
    has_beta: Optional[Tensor] = None,  # noqa: UP045
    beta_spread: float = 1.0,
    is_vague: Optional[Tensor] = None,  # noqa: UP045
) -> tuple[Tensor, Tensor]:
    """Choose one plane a unit so that the whole chain is most probable.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    alpha, twist : torch.Tensor, shape (F, R, P)
        Candidate planes of unit i in radians.
    log_p : torch.Tensor, shape (F, R, P)
        Natural log of their probabilities; very negative for no candidate.
    is_cis : torch.Tensor, shape (F, R), bool
        Cis units.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        Nearest residues by CA, -1 padded.
    box : torch.Tensor, shape (F, 3, 3)
        Box vectors as rows in nm, zeros for none.
    ramachandran : torch.Tensor, shape (4, B, B)
        log p of phi (row) and psi relative to its maximum, by class.
    tables : BuilderTables
        Ideal geometry.
    settings : PlaneSettings
        Weights.
    noise : torch.Tensor or None, shape (F, R)
        N(0, 1) numbers that draw one sample. If None, the best planes.
    beta : torch.Tensor or None, shape (F, R, 3)
        Where CB beads are, in nm. If None, there are none.
    has_beta : torch.Tensor or None, shape (F, R), bool
        Residues that have one.
    beta_spread : float
        Spread of CB about its bead, nm a coordinate.
    is_vague : torch.Tensor or None, shape (F, R), bool
        Residues on traces that were far from any protein's: what the model reads in
        them counts less against Ramachandran outliers. If None, none.

    Returns
    -------
    alpha, twist : torch.Tensor, shape (F, R)
        Radians.
    """
    carbon, next_n = _build_planes(
        ca, alpha, twist, is_cis, residue_type, chain_index, tables
    )
    oxygen = place_carbonyl_oxygen(ca.unsqueeze(2), carbon, next_n)
    energy = _meeting_energy(
        ca,
        carbon,
        oxygen,
        next_n,
        residue_type,
        chain_index,
        ramachandran,
        tables,
        settings,
        beta,
        has_beta,
        beta_spread,
        is_vague,
    )
    joined = has_next(chain_index)
    own = log_p * joined.to(log_p.dtype).view(1, -1, 1)
    grid, inside = _segment_grid(chain_index)
    choice = _solve_chain(own, energy, grid, inside, noise)
    near = neighbor_index[:, :, : settings.n_near]
    for _ in range(settings.n_rounds - 1):
        far = compute_far_energy(
            carbon,
            oxygen,
            next_n,
            choice,
            ca,
            joined,
            chain_index,
            near,
            box,
            settings.clash_slope,
            settings.clash_ceiling,
        )
        choice = _solve_chain(own - far, energy, grid, inside, noise)
    index = choice.unsqueeze(-1)
    return alpha.gather(2, index).squeeze(2), twist.gather(2, index).squeeze(2)
