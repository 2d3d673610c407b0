"""The builder's inverse: azimuths, twists and chi of all-atom structures."""

from typing import NamedTuple

import torch
from torch import Tensor

from openmm_backmap.builder.backbone import has_next, unit_frames
from openmm_backmap.geometry.frames import to_local
from openmm_backmap.geometry.vectors import compute_dihedral, wrap_angle
from openmm_backmap.residues.atoms import ATOM_SLOT
from openmm_backmap.residues.names import N_TYPES
from openmm_backmap.residues.torsions import CHI_ATOMS, N_CHI

__all__ = [
    "ExtractedTorsions",
    "chi_slots",
    "find_read_ends",
    "torsions_from_atoms",
]


class ExtractedTorsions(NamedTuple):
    """What the builder needs to rebuild a structure from its CA positions.

    Attributes
    ----------
    alpha, twist : Tensor, shape (F, R)
        Azimuth of C and twist of N of unit i, radians.
    is_cis : Tensor, shape (F, R), bool
        Cis units (absolute omega below 90 degrees).
    unit_mask : Tensor, shape (F, R), bool
        Units whose four atoms are known.
    end_torsion : Tensor, shape (F, R, 3)
        psi, phi and N-CA-C-O, as `build_backbone` reads them.
    end_known : Tensor, shape (F, R, 3), bool
        End torsions whose atoms are known, at ends or not.
    end_mask : Tensor, shape (F, R, 3), bool
        Those of the ends alone (psi at first, the others at last residues).
    chi : Tensor, shape (F, R, 4)
        Radians.
    chi_mask : Tensor, shape (F, R, 4), bool
        Chi whose atoms are all known.
    """

    alpha: Tensor
    twist: Tensor
    is_cis: Tensor
    unit_mask: Tensor
    end_torsion: Tensor
    end_known: Tensor
    end_mask: Tensor
    chi: Tensor
    chi_mask: Tensor


def chi_slots() -> tuple[Tensor, Tensor]:
    """Slots of the four atoms of every chi.

    Returns
    -------
    slots : torch.Tensor, shape (20, 4, 4), int64
        Residue type, chi, atom.
    has_chi : torch.Tensor, shape (20, 4), bool
        Chi that exist.
    """
    slots = torch.zeros(N_TYPES, N_CHI, 4, dtype=torch.long)
    has_chi = torch.zeros(N_TYPES, N_CHI, dtype=torch.bool)
    for kind, chis in enumerate(CHI_ATOMS):
        for k, names in enumerate(chis):
            slots[kind, k] = torch.tensor([ATOM_SLOT[kind][name] for name in names])
            has_chi[kind, k] = True
    return slots, has_chi


def find_read_ends(chain_index: Tensor) -> Tensor:
    """Find which end torsions the builder reads.

    Parameters
    ----------
    chain_index : torch.Tensor, shape (R,), int64
        Segment of each residue.

    Returns
    -------
    torch.Tensor, shape (R, 3), bool
        psi at first residues, phi and N-CA-C-O at last ones.
    """
    joined = has_next(chain_index)
    last = ~joined
    return torch.stack((~torch.roll(joined, 1, 0), last, last), dim=-1)


def torsions_from_atoms(
    positions: Tensor, mask: Tensor, residue_type: Tensor, chain_index: Tensor
) -> ExtractedTorsions:
    """Measure azimuths, twists, end torsions and chi.

    Parameters
    ----------
    positions : torch.Tensor, shape (F, R, 14, 3)
        Heavy atoms in nm; missing ones may hold anything finite.
    mask : torch.Tensor, shape (R, 14), bool
        Known atoms.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and segment of each residue.

    Returns
    -------
    ExtractedTorsions
    """
    joined = has_next(chain_index)
    joined_before = torch.roll(joined, 1, 0)
    nitrogen, ca, carbon, oxygen = [positions[:, :, k] for k in range(4)]
    next_n = torch.roll(nitrogen, -1, 1)
    next_ca = torch.roll(ca, -1, 1)
    previous_c = torch.roll(carbon, 1, 1)
    frame = unit_frames(ca, chain_index)
    c_local = to_local(frame, carbon - ca)
    n_local = to_local(frame, next_n - ca)
    alpha = torch.atan2(c_local[..., 2], c_local[..., 1])
    beta = torch.atan2(n_local[..., 2], n_local[..., 1])
    omega = compute_dihedral(ca, carbon, next_n, next_ca)
    is_cis = omega.abs() < torch.pi / 2
    is_trans = (~is_cis).to(alpha.dtype)
    twist = wrap_angle(beta - alpha - torch.pi * is_trans)
    known = mask[:, :3].all(-1)
    unit_mask = joined & known & torch.roll(mask[:, 0] & mask[:, 1], -1, 0)
    end_torsion = torch.stack(
        (
            compute_dihedral(nitrogen, ca, carbon, next_n),
            compute_dihedral(previous_c, nitrogen, ca, carbon),
            compute_dihedral(nitrogen, ca, carbon, oxygen),
        ),
        dim=-1,
    )
    end_known = torch.stack(
        (
            unit_mask,
            known & joined_before & torch.roll(mask[:, 2], 1, 0),
            known & mask[:, 3],
        ),
        dim=-1,
    )
    end_mask = end_known & find_read_ends(chain_index)
    slots, has_chi = chi_slots()
    index = slots.to(positions.device)[residue_type]
    rows = torch.arange(len(residue_type), device=positions.device)[:, None]
    chis = []
    masks = []
    for k in range(N_CHI):
        atoms = positions[:, rows, index[:, k]]
        chis.append(compute_dihedral(*[atoms[:, :, m] for m in range(4)]))
        seen = mask[rows, index[:, k]].all(-1)
        masks.append(seen & has_chi.to(positions.device)[residue_type, k])
    frames = positions.shape[0]
    return ExtractedTorsions(
        alpha=alpha,
        twist=twist,
        is_cis=is_cis & unit_mask,
        unit_mask=unit_mask.expand(frames, -1),
        end_torsion=end_torsion,
        end_known=end_known.expand(frames, -1, -1),
        end_mask=end_mask.expand(frames, -1, -1),
        chi=torch.stack(chis, -1),
        chi_mask=torch.stack(masks, -1).expand(frames, -1, -1),
    )
