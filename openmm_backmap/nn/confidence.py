"""How often a side chain of such a confidence is right."""

import torch
from torch import Tensor, nn

from openmm_backmap.builder.backbone import has_next
from openmm_backmap.packing.decide import sum_stretch
from openmm_backmap.residues.names import RESIDUE_NAMES
from openmm_backmap.residues.torsions import N_CHI_OF_TYPE

__all__ = ["N_KNOTS", "N_TERMS", "ConfidenceMap", "calibrate"]

N_KNOTS = 21
N_TERMS = 12
REACH: int = 15
"""Residues of the segment on either side that make a stretch."""
CLEAN: float = 0.004
"""Up to this shift of CAs (nm) a trace counts as not moved; crystals hardly ever are
moved farther, traces of bonds without angle terms always."""
MOST: float = 0.05
"""Shifts (nm) beyond this count as this: the fit has not seen larger ones."""
UNIT: float = 0.03
"""Shift (nm) that counts as one in the regression."""
FLOOR: float = 1e-4
"""Least odds of being right, or wrong."""


def calibrate(value: Tensor, table: Tensor) -> Tensor:
    """Map a confidence through a monotone table, linearly between its points.

    Parameters
    ----------
    value : torch.Tensor, shape (...)
        0 to 1.
    table : torch.Tensor, shape (B,)
        Calibrated confidence at 0, 1 / (B - 1), ..., 1.

    Returns
    -------
    torch.Tensor, shape (...)
        0 to 1.
    """
    place = value.clamp(0.0, 1.0) * (table.shape[0] - 1)
    low = place.floor().long().clamp(max=table.shape[0] - 2)
    part = place - low.to(place.dtype)
    return table[low] * (1.0 - part) + table[low + 1] * part


class ConfidenceMap(nn.Module):
    """Turns the packing's probability of a choice into how often it is right.

    A rising table does for crystal structures. Elsewhere the same probability is
    right less often: in flexible stretches, of which a low mean confidence around a
    residue tells, on traces of simulations, by how far their CAs had to be moved, and
    where a centre of mass has chosen, as its CA is a guess. So the log odds of the
    table, those of the stretch and what is known of the trace go through a logistic
    regression (Platt, Advances in Large Margin Classifiers, 1999).

    As made, it changes nothing.
    """

    def __init__(self) -> None:
        super().__init__()
        turns = [
            n > 0 and name != "PRO"
            for name, n in zip(RESIDUE_NAMES, N_CHI_OF_TYPE, strict=True)
        ]
        weight = torch.zeros(N_TERMS, dtype=torch.float32)
        weight[1] = 1.0
        self.reach = REACH
        self.clean = CLEAN
        self.most = MOST
        self.unit = UNIT
        self.floor = FLOOR
        self.register_buffer("turns", torch.tensor(turns), persistent=False)
        self.register_buffer(
            "table", torch.linspace(0.0, 1.0, N_KNOTS, dtype=torch.float32)
        )
        self.register_buffer("weight", weight)

    def compute_terms(
        self,
        confidence: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        shift: Tensor,
        is_told: Tensor,
    ) -> Tensor:
        """What the regression sees; see `forward`.

        Returns
        -------
        torch.Tensor, shape (F, R, 12)
            One, log odds of the residue and of its stretch; the same on moved traces,
            there times the shift, and where a centre of mass is known.
        """
        frames, residues = confidence.shape[0], confidence.shape[1]
        sure = calibrate(confidence, self.table)
        turns = self.turns[residue_type].repeat(frames)
        follows = torch.roll(has_next(chain_index), 1, 0).repeat(frames)
        counted = turns.to(sure.dtype)
        values = torch.stack((sure.reshape(-1) * counted, counted))
        total = sum_stretch(values, follows, self.reach)
        mean = torch.where(
            total[1] > 0, total[0] / total[1].clamp(min=1.0), sure.view(-1)
        )
        own = torch.logit(sure, self.floor)
        around = torch.logit(mean.to(sure.dtype), self.floor).view(frames, residues)
        told = torch.stack((torch.ones_like(own), own, around), -1)
        far = (shift.clamp(max=self.most) / self.unit).unsqueeze(-1)
        mass = is_told.to(sure.dtype).unsqueeze(-1)
        moved = (shift > self.clean).to(sure.dtype).unsqueeze(-1) * (1.0 - mass)
        return torch.cat((told, moved * told, moved * far * told, mass * told), -1)

    def forward(
        self,
        confidence: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        shift: Tensor,
        is_told: Tensor,
    ) -> Tensor:
        """Map confidences.

        Parameters
        ----------
        confidence : torch.Tensor, shape (F, R)
            That of the packing, 0 to 1.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and segment of each residue.
        shift : torch.Tensor, shape (F, R)
            How far the CAs of the segment were moved, root mean square in nm.
        is_told : torch.Tensor, shape (F, R), bool
            Residues whose centre of mass is known.

        Returns
        -------
        torch.Tensor, shape (F, R)
            0 to 1.
        """
        terms = self.compute_terms(
            confidence, residue_type, chain_index, shift, is_told
        )
        return torch.sigmoid((terms * self.weight).sum(-1))
