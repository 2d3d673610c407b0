"""`table`: nearest CA geometries, a rotamer library and packing. No network."""

from typing import Optional

from torch import Tensor

from openmm_backmap.builder.backbone import build_backbone
from openmm_backmap.builder.conditioning import find_cis, project_ca
from openmm_backmap.nn.bead_ends import turn_ends
from openmm_backmap.nn.bead_hints import BeadHints, follow_oxygen, weigh_side_chains
from openmm_backmap.nn.packed_model import PackedModel
from openmm_backmap.nn.peptide_table import PeptideTable
from openmm_backmap.nn.rotamer_library import RotamerLibrary
from openmm_backmap.nn.template import (
    offer_cis,
    offer_planes,
    offer_side_chains,
    trust_template,
)
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.planes import PlaneSettings, choose_planes

__all__ = ["TABLE_NOISE_WIDTH", "TableModel"]

TABLE_NOISE_WIDTH = 14
"""1 for the peptide units, 4 for the chi, 9 for the Gibbs sweeps."""
FIRST_SWEEP = 5


class TableModel(PackedModel):
    """The rule-based baseline that networks must beat.

    Parameters
    ----------
    peptides : PeptideTable
        Azimuths of the peptide units.
    library : RotamerLibrary
        Rotamers given phi and psi.
    packer : Packer
        The shared packing.
    end_torsion : torch.Tensor, shape (20, 3)
        psi of first, phi and N-CA-C-O of last residues by type, in radians.
    ramachandran : torch.Tensor, shape (4, B, B)
        log p of phi and psi, see `openmm_backmap.packing.planes`.
    planes : PlaneSettings, optional
        Weights of the choice of planes. If None, their defaults.
    """

    planes: PlaneSettings

    def __init__(
        self,
        peptides: PeptideTable,
        library: RotamerLibrary,
        packer: Packer,
        end_torsion: Tensor,
        ramachandran: Tensor,
        planes: PlaneSettings | None = None,
    ) -> None:
        super().__init__(packer, FIRST_SWEEP, TABLE_NOISE_WIDTH)
        self.peptides = peptides
        self.library = library
        self.planes = PlaneSettings() if planes is None else planes
        self.register_buffer("end_torsion", end_torsion)
        self.register_buffer("ramachandran", ramachandran)

    def propose(
        self,
        bead_positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
        hints: Optional[BeadHints] = None,  # noqa: UP045
        template: Optional[Tensor] = None,  # noqa: UP045
        exact: bool = False,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Build the backbone and propose side chains.

        Parameters
        ----------
        bead_positions, residue_type, chain_index, neighbor_index, box, noise
            As in `forward`; CA is the first bead.
        hints : BeadHints or None
            What beads other than CA tell. If None, there are none.
        template : torch.Tensor or None, shape (R, 16)
            A reference structure, see `builder.template.encode_template`.
        exact : bool
            Whether CA stay where they are, though no backbone fits them.

        Returns
        -------
        backbone : torch.Tensor, shape (F, R, 5, 3)
            N, CA, C, O, CB in nm.
        chi : torch.Tensor, shape (F, R, C, 4)
            Candidate side chains in radians.
        log_p : torch.Tensor, shape (F, R, C)
            Log probability of each, -inf for none.
        """
        beads = bead_positions[:, :, 0]
        is_cis = find_cis(beads, residue_type, chain_index)
        trust: Optional[Tensor] = None  # noqa: UP045
        if template is not None:
            trust = trust_template(beads, template, chain_index)
            is_cis = offer_cis(is_cis, beads, template, trust, chain_index)
        ca = beads
        if not exact:
            ca = project_ca(beads, residue_type, chain_index, is_cis=is_cis)
        draw: Optional[Tensor] = None  # noqa: UP045
        if noise is not None:
            draw = noise[..., 0]
        alphas, twists, plane_log_p = self.peptides(ca, residue_type, chain_index)
        if template is not None and trust is not None:
            alphas, twists, plane_log_p = offer_planes(
                alphas, twists, plane_log_p, is_cis, template, trust
            )
        beta: Optional[Tensor] = None  # noqa: UP045
        has_beta: Optional[Tensor] = None  # noqa: UP045
        beta_spread = 1.0
        if hints is not None and bool(hints.has_oxygen.any()):
            beta = hints.beta
            has_beta = hints.has_beta
            beta_spread = hints.beta_spread
            alphas, twists, plane_log_p = follow_oxygen(
                hints,
                ca,
                alphas,
                twists,
                plane_log_p,
                is_cis,
                residue_type,
                chain_index,
                self.packer.builder(),
            )
        alpha, twist = choose_planes(
            ca,
            alphas,
            twists,
            plane_log_p,
            is_cis,
            residue_type,
            chain_index,
            neighbor_index,
            box,
            self.ramachandran,
            self.packer.builder(),
            self.planes,
            draw,
            beta,
            has_beta,
            beta_spread,
        )
        # the stored planes are trans; a cis peptide is flat
        twist = twist * (~is_cis).to(twist.dtype)
        ends = self.end_torsion[residue_type].unsqueeze(0).expand(ca.shape[0], -1, -1)
        backbone = build_backbone(
            ca,
            alpha,
            twist,
            is_cis,
            ends,
            residue_type,
            chain_index,
            self.packer.builder(),
        )
        if hints is not None and bool(hints.has_oxygen.any()):
            backbone = turn_ends(hints, backbone, chain_index)
        chi, log_p = self.library(backbone, residue_type, chain_index, 16)
        if noise is not None:
            spread = self.library.spread[residue_type]
            chi = chi + (noise[..., 1:5] * spread).unsqueeze(2)
        if template is not None and trust is not None:
            n_chi = self.packer.builder().n_chi[residue_type]
            chi, log_p = offer_side_chains(chi, log_p, n_chi, template, trust)
        if hints is not None:
            log_p = weigh_side_chains(
                hints, backbone, residue_type, chi, log_p, self.packer.builder()
            )
        return backbone, chi, log_p
