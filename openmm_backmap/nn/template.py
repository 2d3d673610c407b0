"""What a reference structure adds to a model's proposals (scriptable).

Where the CAs around a residue still lie as in the reference, its rotamer, its
peptide plane and its cis peptide are likely still the same; where they do not,
the reference is ignored.
"""

import torch
from torch import Tensor

from openmm_backmap.geometry.frames import to_local
from openmm_backmap.geometry.superpose import superpose
from openmm_backmap.geometry.vectors import compute_distance
from openmm_backmap.nn.ca_features import same_segment, shift_residues

__all__ = [
    "offer_cis",
    "offer_planes",
    "offer_side_chains",
    "trust_template",
]

FULL_TRUST = 0.06
NO_TRUST = 0.12


def trust_template(
    ca: Tensor,
    template: Tensor,
    chain_index: Tensor,
    reach: int = 4,
    full: float = FULL_TRUST,
    none: float = NO_TRUST,
) -> Tensor:
    """How far each residue's surroundings are those of the reference.

    The window of residues i - 4 to i + 4 is superposed by its CAs (Kabsch);
    trust falls from 1 to 0 between an RMSD of 0.6 and 1.2 A.

    Parameters
    ----------
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm, each segment whole.
    template : torch.Tensor, shape (R, 16)
        See `builder.template.encode_template`.
    chain_index : torch.Tensor, shape (R,), int64
        Bonded segments; a window ends with its segment.
    reach : int
        Residues on either side.
    full, none : float
        RMSD in nm up to which trust is 1, and from which on it is 0.

    Returns
    -------
    torch.Tensor, shape (F, R)
        0 to 1; 0 where fewer than four residues of the window are known.
    """
    frames, n = ca.shape[0], ca.shape[1]
    reference = template[:, :3].unsqueeze(0).expand(frames, -1, -1)
    known = template[:, 3]
    mobile: list[Tensor] = []
    target: list[Tensor] = []
    weight: list[Tensor] = []
    for offset in range(-reach, reach + 1):
        mobile.append(shift_residues(ca, offset))
        target.append(shift_residues(reference, offset))
        place = (torch.arange(n, device=ca.device) + offset).clamp(0, n - 1)
        there = known[place]
        if offset != 0:
            there = there * same_segment(chain_index, offset).to(known.dtype)
        weight.append(there)
    points = torch.stack(mobile, 2).reshape(frames * n, -1, 3)
    goals = torch.stack(target, 2).reshape(frames * n, -1, 3)
    w = torch.stack(weight, 1).unsqueeze(0).expand(frames, -1, -1)
    w = w.reshape(frames * n, -1)
    rotation, translation = superpose(points, goals, w)
    moved = to_local(rotation.unsqueeze(1), points) + translation.unsqueeze(1)
    square = ((moved - goals) ** 2).sum(-1)
    count = w.sum(-1)
    rmsd = torch.sqrt((square * w).sum(-1) / count.clamp(min=1.0))
    trust = ((none - rmsd) / (none - full)).clamp(0.0, 1.0)
    trust = trust * (count >= 4.0).to(trust.dtype)
    return trust.view(frames, n) * known.unsqueeze(0)


def offer_cis(
    is_cis: Tensor, ca: Tensor, template: Tensor, trust: Tensor, chain_index: Tensor
) -> Tensor:
    """Add the cis peptides of the reference where the bead distance allows one.

    Parameters
    ----------
    is_cis : torch.Tensor, shape (F, R), bool
        Cis units as the CAs alone tell.
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    template : torch.Tensor, shape (R, 16)
        The reference.
    trust : torch.Tensor, shape (F, R)
        See `trust_template`.
    chain_index : torch.Tensor, shape (R,), int64
        Bonded segments.

    Returns
    -------
    torch.Tensor, shape (F, R), bool
        Cis units; a CA-CA distance of 3.45 A or more stays trans.
    """
    distance = compute_distance(ca, torch.roll(ca, -1, 1))
    both = torch.minimum(trust, torch.roll(trust, -1, 1))
    told = (template[:, 15] > 0.5) & same_segment(chain_index, 1)
    return is_cis | (told.unsqueeze(0) & (both > 0.5) & (distance < 0.345))


def offer_planes(
    alpha: Tensor,
    twist: Tensor,
    log_p: Tensor,
    is_cis: Tensor,
    template: Tensor,
    trust: Tensor,
    bonus: float = 6.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Add the peptide plane of the reference to the candidates.

    Parameters
    ----------
    alpha, twist, log_p : torch.Tensor, shape (F, R, P)
        Candidate planes of unit i, radians and nats.
    is_cis : torch.Tensor, shape (F, R), bool
        Cis units; a reference unit of the other kind is not offered.
    template : torch.Tensor, shape (R, 16)
        The reference.
    trust : torch.Tensor, shape (F, R)
        See `trust_template`.
    bonus : float
        Nats above the best candidate at full trust.

    Returns
    -------
    alpha, twist, log_p : torch.Tensor, shape (F, R, P + 1)
        With log p of -1e4 where the reference tells nothing.
    """
    both = torch.minimum(trust, torch.roll(trust, -1, 1))
    told = (template[:, 14] > 0.5).unsqueeze(0) & (both > 0.0)
    told = told & ((template[:, 15] > 0.5).unsqueeze(0) == is_cis)
    best = log_p.amax(-1)
    offered = torch.where(told, best + bonus * both, torch.full_like(best, -1e4))
    shape = alpha[..., :1].shape
    extra_alpha = template[:, 12].view(1, -1, 1).expand(shape)
    extra_twist = template[:, 13].view(1, -1, 1).expand(shape)
    return (
        torch.cat((alpha, extra_alpha), -1),
        torch.cat((twist, extra_twist), -1),
        torch.cat((log_p, offered.unsqueeze(-1)), -1),
    )


def offer_side_chains(
    chi: Tensor,
    log_p: Tensor,
    n_chi: Tensor,
    template: Tensor,
    trust: Tensor,
    bonus: float = 5.0,
) -> tuple[Tensor, Tensor]:
    """Put the rotamer of the reference among the candidates.

    Parameters
    ----------
    chi : torch.Tensor, shape (F, R, C, 4)
        Candidate side chains in radians.
    log_p : torch.Tensor, shape (F, R, C)
        Their log probabilities, -inf for none.
    n_chi : torch.Tensor, shape (R,), int64
        Chi of each residue.
    template : torch.Tensor, shape (R, 16)
        The reference; residues whose side chain it does not know whole are
        left as they are.
    trust : torch.Tensor, shape (F, R)
        See `trust_template`.
    bonus : float
        Nats above the best candidate at full trust.

    Returns
    -------
    chi : torch.Tensor, shape (F, R, C + 1, 4)
        The reference's chi last.
    log_p : torch.Tensor, shape (F, R, C + 1)
        -inf where the reference tells nothing.
    """
    whole = template[:, 8:12].sum(1) >= n_chi.to(template.dtype)
    told = (whole & (n_chi > 0)).unsqueeze(0) & (trust > 0.0)
    best = log_p.amax(-1)
    none = torch.full_like(best, -float("inf"))
    offered = torch.where(told, best + bonus * trust, none)
    shape = chi[:, :, :1].shape
    extra = template[:, 4:8].view(1, -1, 1, 4).expand(shape)
    return torch.cat((chi, extra), 2), torch.cat((log_p, offered.unsqueeze(-1)), 2)
