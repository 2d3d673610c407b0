"""A reference structure as the models read it: one row of numbers a residue."""

import torch
from torch import Tensor

from openmm_backmap.builder.extract import torsions_from_atoms

__all__ = ["TEMPLATE_WIDTH", "encode_template"]

TEMPLATE_WIDTH = 16
"""CA (3), has CA, chi (4), has chi (4), alpha, twist, has unit, is cis."""


def encode_template(
    positions: Tensor, residue_type: Tensor, chain_index: Tensor
) -> Tensor:
    """Put what a reference structure tells of each residue into one tensor.

    Parameters
    ----------
    positions : torch.Tensor, shape (R, 14, 3)
        Heavy atoms of the reference in nm; nan where an atom is not known.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Of the residues that are to be backmapped.

    Returns
    -------
    torch.Tensor, shape (R, 16), float32
        CA position in nm (3), 1 where CA is known, chi in radians (4), 1 where
        each is known (4), C azimuth and twist of unit i in radians, 1 where
        the unit is known, 1 where it is cis; zeros for what is not known.
    """
    mask = torch.isfinite(positions).all(-1)
    known = torch.nan_to_num(positions.float()).unsqueeze(0)
    found = torsions_from_atoms(known, mask, residue_type, chain_index)
    # the azimuth is counted from the CA before, or after at a segment's start
    has_ca = mask[:, 1]
    same = chain_index[1:] == chain_index[:-1]
    edge = torch.zeros_like(mask[:1, 1])
    before_ok = torch.cat((edge, ~same)) | torch.roll(has_ca, 1, 0)
    before_ok[0] = True
    after_ok = torch.roll(has_ca, -2, 0) | torch.roll(has_ca, 1, 0)
    unit = found.unit_mask[0] & before_ok & after_ok
    columns = [
        torch.where(has_ca.unsqueeze(1), known[0, :, 1], known.new_zeros(1)),
        has_ca.unsqueeze(1).float(),
        torch.where(found.chi_mask[0], found.chi[0], known.new_zeros(1)),
        found.chi_mask[0].float(),
        (found.alpha[0] * unit).unsqueeze(1),
        (found.twist[0] * unit).unsqueeze(1),
        unit.unsqueeze(1).float(),
        (found.is_cis[0] & unit).unsqueeze(1).float(),
    ]
    return torch.cat(columns, 1)
