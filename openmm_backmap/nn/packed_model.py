"""What all models share: proposals first, the packing after them."""

from typing import Optional

import torch
from torch import Tensor

from openmm_backmap.nn.bead_hints import BeadHints
from openmm_backmap.nn.ca_features import compute_image_shift
from openmm_backmap.nn.ca_noise import compute_shift
from openmm_backmap.nn.confidence import ConfidenceMap
from openmm_backmap.nn.proposing_model import ProposingModel
from openmm_backmap.packing.carboxylate import turn_carboxylates
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.planes import PlaneSettings

__all__ = ["PackedModel"]


class PackedModel(ProposingModel):
    """A model that proposes side chains on a backbone and packs them.

    Parameters
    ----------
    packer, ramachandran, planes, chain_noise
        See `ProposingModel`.
    first_sweep : int
        Noise column from which on the noise drives the packing.
    n_noise : int
        Noise columns of proposals and packing together.
    """

    def __init__(
        self,
        packer: Packer,
        ramachandran: Tensor,
        planes: PlaneSettings,
        chain_noise: int,
        first_sweep: int,
        n_noise: int,
    ) -> None:
        super().__init__(packer, ramachandran, planes, chain_noise)
        self.first_sweep = first_sweep
        self.n_noise = n_noise
        self.certainty = ConfidenceMap()

    def forward(
        self,
        bead_positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
        template: Optional[Tensor] = None,  # noqa: UP045
        exact: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Backmap a batch of frames; see `openmm_backmap.artifact.engine`."""
        return self.backmap(
            bead_positions,
            residue_type,
            chain_index,
            neighbor_index,
            box,
            noise,
            None,
            template,
            exact,
        )

    def backmap(
        self,
        bead_positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Optional[Tensor] = None,  # noqa: UP045 (TorchScript)
        hints: Optional[BeadHints] = None,  # noqa: UP045
        template: Optional[Tensor] = None,  # noqa: UP045
        exact: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Backmap with what other beads tell of CA, the first one."""
        backbone, chi, log_p = self.propose(
            bead_positions,
            residue_type,
            chain_index,
            neighbor_index,
            box,
            noise,
            hints,
            template,
            exact,
        )
        sweeps: Optional[Tensor] = None  # noqa: UP045
        if noise is not None:
            sweeps = noise[..., self.first_sweep : self.n_noise]
        beads = bead_positions[:, :, 0]
        shift = compute_shift(backbone[:, :, 1], beads, chain_index)
        is_told = torch.zeros_like(shift, dtype=torch.bool)
        if hints is not None:
            is_told = hints.has_com
        _, positions, confidence = self.packer(
            backbone,
            residue_type,
            chain_index,
            neighbor_index,
            box,
            chi,
            log_p,
            sweeps,
        )
        positions = self.turn_last_residues(
            positions, residue_type, chain_index, neighbor_index, box, hints
        )
        confidence = self.certainty(
            confidence, residue_type, chain_index, shift, is_told
        )
        return positions, confidence

    def turn_last_residues(
        self,
        positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        hints: Optional[BeadHints],  # noqa: UP045 (TorchScript)
    ) -> Tensor:
        """Turn last residues whose O or OXT overlaps, unless beads tell where O is.

        Parameters
        ----------
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm.
        residue_type, chain_index, neighbor_index, box, hints
            As in `backmap`.

        Returns
        -------
        torch.Tensor, shape (F, R, 14, 3)
            See `turn_carboxylates`.
        """
        if hints is not None:
            if bool(hints.has_oxygen.any()):
                return positions
        ca = positions[:, :, 1]
        image = compute_image_shift(ca, chain_index, neighbor_index, box)
        return turn_carboxylates(
            positions,
            residue_type,
            chain_index,
            neighbor_index,
            image,
            self.packer.tables(),
        )
