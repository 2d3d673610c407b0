"""Validation in space: the mode, built into atoms and compared."""

import numpy as np
import torch
from torch import Tensor

from openmm_backmap.builder.backbone import build_backbone, has_next
from openmm_backmap.builder.conditioning import find_cis, project_ca
from openmm_backmap.builder.extract import torsions_from_atoms
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.training.prepared import NEIGHBOR_CUTOFF, split_segments
from openmm_backmap.training.shards import ShardEntry

__all__ = ["ReconstructionScore", "score_entry", "summarize_scores"]

NEAR = float(np.cos(np.radians(40.0)))


class ReconstructionScore(dict):
    """Summed squares and counts of one entry; see `summarize_scores`."""


def _chi_hits(
    chi: Tensor, truth: Tensor, known: Tensor, residue_type: Tensor
) -> tuple[Tensor, Tensor]:
    """Chi within 40 degrees and chi that count, without proline, (F, R, 4)."""
    flips = load_builder_tables().pi_periodic[residue_type]
    cosine = torch.cos(chi - truth)
    cosine = torch.where(flips, cosine.abs(), cosine)
    counts = known & (residue_type != 14).view(1, -1, 1)
    return (cosine > NEAR) & counts, counts


@torch.no_grad()
def score_entry(
    decoder: CADecoder,
    entry: ShardEntry,
    n_neighbors: int,
    sigma: float = 0.0,
    seed: int = 0,
) -> ReconstructionScore:
    """Backmap the first model of an entry and compare, before any packing.

    Parameters
    ----------
    decoder : CADecoder
        Trained network.
    entry : ShardEntry
        All-atom structure.
    n_neighbors : int
        Neighbours K of the network.
    sigma : float
        CA noise in nm a coordinate.
    seed : int
        Of the noise.

    Returns
    -------
    ReconstructionScore
        ``ends`` and ``inside``: squared error of N, C and O in nm^2 and
        number of atoms; ``chi1``, ``chi12``: hits and chances of the mode;
        ``chi1_any``: hits of the best candidate.
    """
    tables = load_builder_tables()
    segment = torch.from_numpy(split_segments(entry))
    kind = torch.from_numpy(entry.residue_type)
    truth = torch.from_numpy(entry.positions[:1])
    mask = torch.from_numpy(entry.mask & (entry.bfactor < 60.0))
    noise = np.random.default_rng(seed).standard_normal(truth[:, :, 1].shape)
    ca = truth[:, :, 1] + sigma * torch.from_numpy(noise.astype(np.float32))
    near = find_neighbors(ca.numpy(), n_neighbors, NEIGHBOR_CUTOFF)
    is_cis = find_cis(ca, kind, segment)
    ca = project_ca(ca, kind, segment)
    level = torch.full_like(ca[..., 0], sigma)
    h = decoder.network(ca, kind, segment, torch.from_numpy(near), None, level)
    alpha, twist, end = decoder.decode_backbone(h, segment, is_cis, None)
    built = build_backbone(ca, alpha, twist, is_cis, end, kind, segment, tables)
    backbone = decoder.encode_backbone(alpha, twist, is_cis, segment)
    chi, log_p = decoder.decode_chi(h, backbone, kind)
    slots = torch.tensor([0, 2, 3])
    error = ((built[:, :, slots] - truth[:, :, slots]) ** 2).sum(-1)[0]
    seen = mask[:, slots]
    joined = has_next(segment)
    end_residue = ~joined | ~torch.roll(joined, 1, 0)
    found = torsions_from_atoms(truth, mask, kind, segment)
    hit, counts = _chi_hits(chi[:, :, 0], found.chi, found.chi_mask, kind)
    both = counts[..., 0] & counts[..., 1]
    any_hit = torch.stack(
        [
            _chi_hits(chi[:, :, c], found.chi, found.chi_mask, kind)[0][..., 0]
            & torch.isfinite(log_p[:, :, c])
            for c in range(chi.shape[2])
        ]
    ).any(0)

    def total(values: Tensor) -> float:
        return float(values.sum())

    ends, inside = seen & end_residue[:, None], seen & ~end_residue[:, None]
    return ReconstructionScore(
        ends=(total(error[ends]), total(ends)),
        inside=(total(error[inside]), total(inside)),
        chi1=(total(hit[..., 0]), total(counts[..., 0])),
        chi12=(total(hit[..., 0] & hit[..., 1] & both), total(both)),
        chi1_any=(total(any_hit), total(counts[..., 0])),
    )


def summarize_scores(scores: list[ReconstructionScore]) -> dict[str, float]:
    """Means over entries, each an entry's own root mean square or share.

    Parameters
    ----------
    scores : list of ReconstructionScore
        One an entry.

    Returns
    -------
    dict of str to float
        ``backbone_rmsd_angstrom`` (N, C, O, ends included),
        ``inside_rmsd_angstrom``, ``chi1_40``, ``chi12_40``,
        ``chi1_any_40`` (shares), ``n_entries``.
    """
    backbone, inside = [], []
    shares: dict[str, list[float]] = {"chi1": [], "chi12": [], "chi1_any": []}
    for s in scores:
        n = s["ends"][1] + s["inside"][1]
        backbone.append(10.0 * np.sqrt((s["ends"][0] + s["inside"][0]) / max(n, 1)))
        inside.append(10.0 * np.sqrt(s["inside"][0] / max(s["inside"][1], 1)))
        for key, values in shares.items():
            if s[key][1] > 0:
                values.append(s[key][0] / s[key][1])
    return {
        "backbone_rmsd_angstrom": float(np.mean(backbone)),
        "inside_rmsd_angstrom": float(np.mean(inside)),
        **{f"{k}_40": float(np.mean(v)) if v else 0.0 for k, v in shares.items()},
        "n_entries": float(len(scores)),
    }
