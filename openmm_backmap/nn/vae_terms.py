"""The terms of `vae`'s loss, one small function each.

The paper sums a local, a torsion, a global and a physical term and a KL term
(Yang and Gomez-Bombarelli, ICML 2023, PMLR 202:39277, section "Training").
Lengths are in angstrom in here, as in the paper, so that weights are of order 1.
"""

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.geometry.vectors import compute_angle, compute_distance
from openmm_backmap.packing.constants import POLAR_EXTRA
from openmm_backmap.packing.tables import PackingTables

__all__ = [
    "compute_kl",
    "compute_local_term",
    "compute_pair_terms",
    "compute_xyz_term",
    "count_free_bits",
    "ramp",
]

PER_NM = 10.0


def ramp(progress: Tensor, start: float, stop: float) -> Tensor:
    """Weight that rises linearly from 0 at `start` to 1 at `stop`.

    Parameters
    ----------
    progress : torch.Tensor, shape ()
        Part of the run that is done.
    start, stop : float
        0 to 1; equal for a step.

    Returns
    -------
    torch.Tensor, shape ()
        0 to 1.
    """
    return ((progress - start) / max(stop - start, 1e-6)).clamp(0.0, 1.0)


def compute_kl(
    mean: Tensor, log_variance: Tensor, prior_mean: Tensor, prior_log_variance: Tensor
) -> Tensor:
    r"""Divergence KL(q || p) of two diagonal normals, a latent.

    Parameters
    ----------
    mean, log_variance : torch.Tensor, shape (..., Z)
        Of q(z | beads, atoms).
    prior_mean, prior_log_variance : torch.Tensor, shape (..., Z)
        Of p(z | beads).

    Returns
    -------
    torch.Tensor, shape (..., Z)
        In nats.

    Notes
    -----
    .. math:: \log \frac{\sigma_p}{\sigma_q} + \frac{\sigma_q^2 + (\mu_q - \mu_p)^2}
              {2 \sigma_p^2} - \frac{1}{2}

    with the squared sigma_p that the released code of the paper lacks.
    """
    delta = mean - prior_mean
    ratio = torch.exp(log_variance - prior_log_variance)
    square = delta * delta * torch.exp(-prior_log_variance)
    return 0.5 * (prior_log_variance - log_variance + ratio + square - 1.0)


def count_free_bits(kl: Tensor, counts: Tensor, free_bits: float) -> Tensor:
    r"""Sum of KL over latents, each at least the free bits.

    Parameters
    ----------
    kl : torch.Tensor, shape (N, Z)
        Nats of each residue and latent.
    counts : torch.Tensor, shape (N,)
        1 for residues that count.
    free_bits : float
        Nats of each latent, on average over the residues, that cost nothing.

    Returns
    -------
    torch.Tensor, shape ()
        :math:`\sum_z \max(\lambda, \langle KL_z \rangle)`.

    References
    ----------
    Kingma et al., arXiv:1606.04934, eq. 15.
    """
    weight = counts / counts.sum().clamp(min=1.0)
    return (kl * weight.unsqueeze(-1)).sum(0).clamp(min=free_bits).sum()


def _masked_mean(value: Tensor, mask: Tensor) -> Tensor:
    weight = mask.to(value.dtype)
    return (value * weight).sum() / weight.sum().clamp(min=1.0)


def compute_local_term(
    built: Tensor, truth: Tensor, has_atom: Tensor, chain_index: Tensor
) -> Tensor:
    r"""Bond and angles of the backbone that the builder leaves free.

    Parameters
    ----------
    built, truth : torch.Tensor, shape (F, R, 14, 3)
        Atoms in nm.
    has_atom : torch.Tensor, shape (F, R, 14), bool
        Known atoms of the truth.
    chain_index : torch.Tensor, shape (R,), int64
        Segment of each residue.

    Returns
    -------
    torch.Tensor, shape ()
        :math:`\langle (b - \hat b)^2 \rangle + \langle (\theta - \hat \theta)^2
        \rangle` of C-N (angstrom) and of N-CA-C, CA-C-N and C-N-CA (radians); all
        other bonds and angles are constants of the builder.
    """
    known = has_atom[:, :, 0] & has_atom[:, :, 2]
    unit = has_next(chain_index).unsqueeze(0) & has_atom[:, :, 2]
    terms: list[Tensor] = []
    values: list[list[Tensor]] = []
    for atoms in (built, truth):
        nitrogen, ca, carbon = atoms[:, :, 0], atoms[:, :, 1], atoms[:, :, 2]
        next_n, next_ca = torch.roll(nitrogen, -1, 1), torch.roll(ca, -1, 1)
        values.append(
            [
                PER_NM * compute_distance(carbon, next_n),
                compute_angle(ca, carbon, next_n),
                compute_angle(carbon, next_n, next_ca),
                compute_angle(nitrogen, ca, carbon),
            ]
        )
    masks = (unit, unit, unit, known)
    for mine, theirs, mask in zip(values[0], values[1], masks, strict=True):
        terms.append(_masked_mean((mine - theirs) ** 2, mask))
    return torch.stack(terms).sum()


def compute_xyz_term(
    built: Tensor, truth: Tensor, has_atom: Tensor, cap: float = 2.0
) -> Tensor:
    r"""Squared displacement of the atoms, bounded.

    Parameters
    ----------
    built, truth : torch.Tensor, shape (F, R, 14, 3)
        Atoms in nm.
    has_atom : torch.Tensor, shape (F, R, 14), bool
        Known atoms of the truth.
    cap : float
        Displacement c in angstrom from which the term levels off.

    Returns
    -------
    torch.Tensor, shape ()
        :math:`\langle r^2 / (1 + r^2 / c^2) \rangle` in square angstrom: the mean
        square of the paper for small r. An atom of a wrong rotamer is a matter
        of the torsion term and must not pull the others towards the middle.
    """
    delta = PER_NM * (built - truth)
    square = (delta * delta).sum(-1)
    # CA is given
    mask = has_atom.clone()
    mask[:, :, 1] = False
    return _masked_mean(square / (1.0 + square / (cap * cap)), mask)


def compute_pair_terms(
    built: Tensor,
    truth: Tensor,
    has_atom: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    neighbor_index: Tensor,
    rows: Tensor,
    tables: PackingTables,
    reach: float = 5.0,
    cap: float = 2.0,
) -> tuple[Tensor, Tensor]:
    r"""Non-bonded distances and steric hinge between neighbouring residues.

    Parameters
    ----------
    built, truth : torch.Tensor, shape (1, R, 14, 3)
        Atoms in nm.
    has_atom : torch.Tensor, shape (1, R, 14), bool
        Known atoms of the truth.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.
    neighbor_index : torch.Tensor, shape (1, R, K), int64
        Neighbours to look at, -1 = none; residues bonded to one another do not
        count.
    rows : torch.Tensor, shape (Q,), int64
        Residues to look at.
    tables : PackingTables
        Radii.
    reach : float
        Pairs of the truth within so many angstrom keep their distance.
    cap : float
        See `compute_xyz_term`.

    Returns
    -------
    distance : torch.Tensor, shape ()
        :math:`\langle e^2 / (1 + e^2 / c^2) \rangle` with
        :math:`e = d - \hat d`, over the true pairs within reach.
    hinge : torch.Tensor, shape ()
        :math:`\sum \max(0, r_a + r_b - d)^2` a residue, in square angstrom.
    """
    near = neighbor_index[0, rows]
    other = near.clamp(min=0)
    bonded = (chain_index[other] == chain_index[rows].unsqueeze(1)) & (
        (other - rows.unsqueeze(1)).abs() <= 1
    )
    pair = (near >= 0) & ~bonded
    kind = residue_type
    exists = tables.atom_mask[kind]
    wide = pair.view(-1, pair.shape[1], 1, 1)
    present = wide & exists[rows][:, None, :, None] & exists[other][:, :, None, :]
    mine, theirs = built[0, rows][:, None, :, None], built[0, other][:, :, None, :]
    distance = PER_NM * compute_distance(mine, theirs)
    radius, polar = tables.atom_radius[kind], tables.atom_polarity[kind]
    least = radius[rows][:, None, :, None] + radius[other][:, :, None, :]
    both = polar[rows][:, None, :, None] * polar[other][:, :, None, :]
    overlap = (PER_NM * (least - POLAR_EXTRA * both) - distance).clamp(min=0.0)
    # cysteines may be bonded
    sulfur = tables.is_disulfide[kind]
    apart = 1.0 - sulfur[rows][:, None, :, None] * sulfur[other][:, :, None, :]
    hinge = (overlap * overlap * apart * present).sum() / max(rows.shape[0], 1)
    with torch.no_grad():
        mine, theirs = truth[0, rows][:, None, :, None], truth[0, other][:, :, None, :]
        goal = PER_NM * compute_distance(mine, theirs)
        seen = has_atom[0]
        seen = seen[rows][:, None, :, None] & seen[other][:, :, None, :]
        close = present & seen & (goal < reach)
    error = (distance - goal) ** 2
    return _masked_mean(error / (1.0 + error / (cap * cap)), close), hinge
