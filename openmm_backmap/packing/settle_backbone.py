"""Backbones whose CA are not where a protein could have them, made possible ones."""

import torch
from torch import Tensor

from openmm_backmap.packing.relax import BeadRelaxer
from openmm_backmap.packing.residue_pairs import ResiduePairs

__all__ = ["BackboneSettler"]

N_TO_C_TIGHT: tuple[float, float] = (0.238, 0.253)
"""Least and largest distance of N and C of a residue in nm: N-CA-C of 106 and 116
degrees."""
N_STEPS: int = 12
"""More of them close N-CA-C further, but turn planes away from where the model has
them (CA noise of 0.3 A: heavy RMSD 1.278 A with 12, 1.291 A with 24 steps)."""


class BackboneSettler(BeadRelaxer):
    """A `BeadRelaxer` of backbones alone, before side chains are put on them.

    Peptide planes stand as the model wants them, CA where a simulation has them;
    where both do not fit, N-CA-C is the angle that gives. All backbone atoms then
    move a little, CA too, until it is one a protein can have.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shape.n_to_c = N_TO_C_TIGHT

    def settle(
        self,
        backbone: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        mobile: Tensor,
        n_steps: int = N_STEPS,
    ) -> Tensor:
        """Settle the backbones that may move.

        Parameters
        ----------
        backbone : torch.Tensor, shape (F, R, 5, 3)
            N, CA, C, O, CB in nm.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and segment of each residue.
        mobile : torch.Tensor, shape (F, R), bool
            Residues that may move.
        n_steps : int
            Steps.

        Returns
        -------
        torch.Tensor, shape (F, R, 5, 3)
            Settled.
        """
        frames = torch.nonzero(mobile.any(1)).squeeze(-1)
        if frames.numel() == 0:
            return backbone
        chosen = backbone[frames]
        absent = torch.zeros_like(chosen[:, :, :1]).expand(-1, -1, 9, -1)
        built = torch.cat((chosen, absent), 2)
        # alanines, but for glycines
        bare = torch.where(residue_type == 7, residue_type, 0)
        share = torch.zeros_like(built[0, :, :, 0])
        share[:, 1] = 1.0
        none = residue_type[:0]
        moved = self.draw(
            built,
            built,
            built[:, :, 1],
            share,
            bare,
            chain_index,
            ResiduePairs(none, none, none, built.new_zeros(0, 3)),
            n_steps,
            mobile[frames],
        )
        return backbone.index_copy(0, frames, moved[:, :, :5])
