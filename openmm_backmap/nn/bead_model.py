"""A model of CA beads that reads other beads too, in one model file.

What the beads are is told by their number:

=====  ==============  ====================================================
slots  mappings        what happens
=====  ==============  ====================================================
1      ca              the model of CA itself
2      com, mixed      (CA, centre of mass); each residue has one of them
3      awsem           (CA, CB, O)
=====  ==============  ====================================================

An absent slot holds zeros.

The centre of mass is that of the heavy atoms without OXT. CALVADOS takes all
atoms that the structure it starts from has, with MDAnalysis: heavy atoms for
crystal structures and AlphaFold models, which hold no hydrogens.
"""

import math
from typing import Optional

import torch
from torch import Tensor, nn

from openmm_backmap.mapping.coarsen import compute_bead_weights
from openmm_backmap.nn.bead_hints import BeadHints, hint_awsem, hint_com
from openmm_backmap.nn.ca_features import compute_image_shift
from openmm_backmap.nn.ca_noise import compute_shift
from openmm_backmap.nn.com_trace import ComTrace, load_com_trace
from openmm_backmap.packing.relieve import ClashReliever

__all__ = ["BEAD_MAPPINGS", "BeadModel", "sort_neighbors"]

BEAD_MAPPINGS = ("ca", "com", "mixed", "awsem")
"""Mappings that a `BeadModel` reads."""

LOOSE: float = 0.001
"""CA moved by more than this (nm, root mean square of a chain) are of a simulation."""


def sort_neighbors(
    points: Tensor, chain_index: Tensor, neighbor_index: Tensor, box: Tensor
) -> tuple[Tensor, Tensor]:
    """Sort neighbours that were found from other points anew by distance.

    Parameters
    ----------
    points : torch.Tensor, shape (F, R, 3)
        In nm.
    chain_index : torch.Tensor, shape (R,), int64
        Segment of each residue.
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        Neighbours, -1 padded.
    box : torch.Tensor, shape (F, 3, 3)
        Box vectors as rows in nm, zeros for none.

    Returns
    -------
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        Nearest first.
    image : torch.Tensor, shape (F, R, K, 3)
        Vectors to their nearest periodic image in nm.
    """
    frames, residues, k = neighbor_index.shape
    image = compute_image_shift(points, chain_index, neighbor_index, box)
    near = neighbor_index.clamp(min=0)
    base = torch.arange(frames, device=points.device).view(-1, 1, 1) * residues
    other = points.reshape(-1, 3).index_select(0, (near + base).reshape(-1))
    gap = other.view(frames, residues, k, 3) + image - points.unsqueeze(2)
    square = (gap * gap).sum(-1).masked_fill(neighbor_index < 0, 1e9)
    order = torch.argsort(square, dim=2, stable=True)
    image = image.gather(2, order.unsqueeze(-1).expand(-1, -1, -1, 3))
    return neighbor_index.gather(2, order), image


class BeadModel(nn.Module):
    """Any CA model, made to read centres of mass and AWSEM beads.

    Parameters
    ----------
    model : torch.nn.Module
        A model of CA beads with a method ``backmap(bead_positions,
        residue_type, chain_index, neighbor_index, box, noise, hints)``: `TableModel`,
        `CAModel`.
    trace : ComTrace, optional
        First guess of CA from centres of mass. If None, the one that comes
        with the package.
    com_spread : tuple of float
        How far in nm CA may be off in each round from centres of mass; the
        number of rounds.
    """

    com_spread: list[float]

    def __init__(
        self,
        model: nn.Module,
        trace: ComTrace | None = None,
        com_spread: tuple[float, ...] = (0.035, 0.0175, 0.0095),
    ) -> None:
        super().__init__()
        self.model = model
        self.trace = load_com_trace() if trace is None else trace
        self.relaxer = ClashReliever()
        self.com_spread = list(com_spread)
        self.loose = LOOSE
        mass = torch.from_numpy(compute_bead_weights("com")[:, 0]).float()
        self.register_buffer("mass", mass)

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
        n_slots = bead_positions.shape[2]
        ca = bead_positions[:, :, 0]
        if n_slots == 2 and bool((bead_positions[:, :, 1] != 0).any()):
            return self.backmap_com(
                ca,
                bead_positions[:, :, 1],
                residue_type,
                chain_index,
                neighbor_index,
                box,
                noise,
                template,
            )
        hints: Optional[BeadHints] = None  # noqa: UP045
        if n_slots == 3:
            hints = hint_awsem(
                bead_positions[:, :, 1], bead_positions[:, :, 2], self.mass
            )
        positions, confidence = self.model.backmap(
            bead_positions[:, :, :1],
            residue_type,
            chain_index,
            neighbor_index,
            box,
            noise,
            hints,
            template,
            exact,
        )
        if not exact:
            image = compute_image_shift(ca, chain_index, neighbor_index, box)
            loose = compute_shift(positions[:, :, 1], ca, chain_index) > self.loose
            positions = self.relaxer.relieve(
                positions, residue_type, chain_index, neighbor_index, image, loose
            )
            # OXT, which the relief does not know, follows C and O
            positions = self.model.turn_last_residues(
                positions, residue_type, chain_index, neighbor_index, box, hints
            )
        return positions, confidence

    def backmap_com(
        self,
        ca: Tensor,
        com: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
        template: Optional[Tensor] = None,  # noqa: UP045
    ) -> tuple[Tensor, Tensor]:
        """Backmap residues of which some are known by their centre of mass.

        Each round backmaps CA with side chains weighed by where they put the
        centre of mass, then moves all atoms until every residue lies on its
        bead; the CA of that are the next round's.

        Parameters
        ----------
        ca, com : torch.Tensor, shape (F, R, 3)
            Bead of each residue in nm in one of them, zeros in the other.
        residue_type, chain_index, neighbor_index, box, noise, template : torch.Tensor
            See `openmm_backmap.artifact.engine.Engine.run`.

        Returns
        -------
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm.
        confidence : torch.Tensor, shape (F, R)
            0 to 1.
        """
        is_com = (com != 0).any(-1).any(0)
        wide = is_com.view(1, -1, 1)
        beads = torch.where(wide, com, ca)
        trace = self.trace(beads, is_com, residue_type, chain_index)
        on_ca = torch.zeros_like(self.mass[0])
        on_ca[1] = 1.0
        share = torch.where(is_com.unsqueeze(1), self.mass[residue_type], on_ca)
        positions, confidence = ca, ca  # of the last round
        n_rounds = len(self.com_spread)
        # the packing weighs the models' log p and with it what beads add to it
        share_told = math.sqrt(self.model.packer.settings.log_p_weight)
        for k, spread in enumerate(self.com_spread):
            near, image = sort_neighbors(trace, chain_index, neighbor_index, box)
            hints = hint_com(beads, is_com, self.mass, spread * share_told, 0.02)
            positions, confidence = self.model.backmap(
                trace.unsqueeze(2),
                residue_type,
                chain_index,
                near,
                box,
                noise,
                hints,
                template,
            )
            target = torch.where(wide, beads, positions[:, :, 1])
            positions = self.relaxer(
                positions,
                target,
                share,
                residue_type,
                chain_index,
                near,
                image,
                k == n_rounds - 1,
            )
            trace = positions[:, :, 1]
            if k == n_rounds - 1:
                everywhere = torch.ones_like(trace[:, :, 0]) > 0.0
                positions = self.relaxer.relieve(
                    positions,
                    residue_type,
                    chain_index,
                    near,
                    image,
                    everywhere,
                    target,
                    share,
                )
        return positions, confidence
