"""Soft overlap energy of heavy atoms with Bondi radii."""

import torch

from openmm_backmap.packing import constants

__all__ = ["compute_clash_energy", "compute_overlap"]


def compute_overlap(
    distance: torch.Tensor,
    radius_a: torch.Tensor,
    radius_b: torch.Tensor,
    polar: torch.Tensor,
) -> torch.Tensor:
    """Compute how much two atoms overlap beyond the tolerance.

    Parameters
    ----------
    distance : torch.Tensor, shape (N,)
        In nm.
    radius_a, radius_b : torch.Tensor, shape (N,)
        Van der Waals radii less half of `TOLERANCE`, in nm.
    polar : torch.Tensor, shape (N,)
        1 where both atoms are N, O or S, else 0.

    Returns
    -------
    torch.Tensor, shape (N,)
        In nm; negative where the atoms are apart.
    """
    return radius_a + radius_b - constants.POLAR_EXTRA * polar - distance


def compute_clash_energy(
    overlap: torch.Tensor,
    distance: torch.Tensor,
    both_disulfide: torch.Tensor,
    slope: float,
    ceiling: float,
) -> torch.Tensor:
    """Compute the soft repulsion of atom pairs.

    It rises linearly with the overlap up to a ceiling, as in SCWRL (Krivov et
    al., Proteins 77, 778 (2009)), so that atoms do not lock each other out.
    Two SG at a disulfide's distance are rewarded instead.

    Parameters
    ----------
    overlap : torch.Tensor, shape (N,)
        From `compute_overlap`, in nm.
    distance : torch.Tensor, shape (N,)
        In nm.
    both_disulfide : torch.Tensor, shape (N,)
        1 where both atoms are SG of a cysteine, else 0.
    slope : float
        Energy per overlap in nats per nm.
    ceiling : float
        Highest energy of an atom pair in nats.

    Returns
    -------
    torch.Tensor, shape (N,)
        Energy in nats.
    """
    energy = (overlap.clamp(min=0.0) * slope).clamp(max=ceiling)
    bonded = distance > constants.DISULFIDE_SHORT
    bonded = bonded & (distance < constants.DISULFIDE_LONG)
    reward = torch.full_like(energy, constants.DISULFIDE_ENERGY)
    reward = torch.where(bonded, reward, 0.2 * energy)
    return torch.where(both_disulfide > 0, reward, energy)
