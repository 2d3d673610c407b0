"""CA traces as models read them: possible for a protein, their noise known."""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from openmm_backmap.builder.conditioning import find_cis, project_ca
from openmm_backmap.nn.bead_hints import BeadHints
from openmm_backmap.nn.ca_noise import compute_shift, estimate_noise
from openmm_backmap.nn.template import offer_cis, trust_template

__all__ = ["Trace", "read_trace"]


class Trace(NamedTuple):
    """F frames of R residues."""

    ca: Tensor  # (F, R, 3) nm
    is_cis: Tensor  # (F, R) bool, of the unit to the next residue
    sigma: Tensor  # (F, R) nm a coordinate, expected noise
    shift: Tensor  # (F, R) nm, root mean square move of the segment's CA
    trust: Tensor  # (F, R) 0 to 1, in a template


def read_trace(
    beads: Tensor,
    residue_type: Tensor,
    chain_index: Tensor,
    hints: Optional[BeadHints],  # noqa: UP045 (TorchScript)
    template: Optional[Tensor],  # noqa: UP045
    exact: bool,
) -> Trace:
    """Tell cis from trans units and project CAs that no protein could have.

    Parameters
    ----------
    beads : torch.Tensor, shape (F, R, 3)
        CA in nm, each segment whole.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and bonded segment of each residue.
    hints : BeadHints or None
        What other beads tell: how noisy CA are at the least.
    template : torch.Tensor or None, shape (R, 16)
        A reference structure, see `builder.template.encode_template`.
    exact : bool
        Whether CA stay where they are.

    Returns
    -------
    Trace
    """
    is_cis = find_cis(beads, residue_type, chain_index)
    sigma = estimate_noise(beads, is_cis, chain_index)
    if hints is not None:
        sigma = sigma.clamp(min=hints.noise)
    trust = torch.zeros_like(sigma)
    if template is not None:
        trust = trust_template(beads, template, chain_index)
        is_cis = offer_cis(is_cis, beads, template, trust, chain_index)
    ca = beads
    if not exact:
        ca = project_ca(beads, residue_type, chain_index, is_cis=is_cis)
    return Trace(ca, is_cis, sigma, compute_shift(ca, beads, chain_index), trust)
