"""Soft overlap energy of heavy atoms with Bondi radii."""

import torch

from openmm_backmap.packing import constants
from openmm_backmap.packing.tables import PackingTables

__all__ = ["compute_clash_energy", "compute_overlap"]


def compute_overlap(
    code_a: torch.Tensor,
    code_b: torch.Tensor,
    distance: torch.Tensor,
    tables: PackingTables,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute how much two atoms overlap beyond the tolerance.

    Parameters
    ----------
    code_a, code_b : torch.Tensor, shape (N,), int64
        14 x residue type + slot of the two atoms.
    distance : torch.Tensor, shape (N,)
        In nm.
    tables : PackingTables
        Constants.

    Returns
    -------
    overlap : torch.Tensor, shape (N,)
        In nm; negative where the atoms are apart.
    both_sulfur : torch.Tensor, shape (N,), bool
        Whether both atoms are the SG of a cysteine.
    """
    radius = tables.atom_radius.reshape(-1)
    polarity = tables.atom_polarity.reshape(-1)
    sulfur = tables.is_disulfide.reshape(-1)
    contact = radius.index_select(0, code_a) + radius.index_select(0, code_b)
    polar = polarity.index_select(0, code_a) * polarity.index_select(0, code_b)
    both = sulfur.index_select(0, code_a) * sulfur.index_select(0, code_b)
    return contact - constants.POLAR_EXTRA * polar - distance, both > 0


def compute_clash_energy(
    overlap: torch.Tensor,
    distance: torch.Tensor,
    both_sulfur: torch.Tensor,
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
    both_sulfur : torch.Tensor, shape (N,), bool
        Whether both atoms are the SG of a cysteine.
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
    return torch.where(both_sulfur, reward, energy)
