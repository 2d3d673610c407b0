"""`table`: nearest CA geometries, a rotamer library and packing. No network."""

from typing import Optional

from torch import Tensor

from openmm_backmap.nn.bead_hints import BeadHints
from openmm_backmap.nn.packed_model import PackedModel
from openmm_backmap.nn.peptide_table import PeptideTable
from openmm_backmap.nn.rotamer_library import RotamerLibrary
from openmm_backmap.nn.trace import Trace
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.planes import PlaneSettings

__all__ = ["TABLE_NOISE_WIDTH", "TableModel"]

TABLE_NOISE_WIDTH = 14
"""1 for the peptide units, 4 for the chi, 9 for the Gibbs sweeps."""
CHAIN_NOISE = 0
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

    def __init__(
        self,
        peptides: PeptideTable,
        library: RotamerLibrary,
        packer: Packer,
        end_torsion: Tensor,
        ramachandran: Tensor,
        planes: PlaneSettings | None = None,
    ) -> None:
        super().__init__(
            packer,
            ramachandran,
            PlaneSettings() if planes is None else planes,
            CHAIN_NOISE,
            FIRST_SWEEP,
            TABLE_NOISE_WIDTH,
        )
        self.peptides = peptides
        self.library = library
        self.register_buffer("end_torsion", end_torsion)

    def read(
        self,
        trace: Trace,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
    ) -> Tensor:
        """Nothing: the trace itself is looked up."""
        return trace.ca[..., :0]

    def find_vague(
        self,
        trace: Trace,
        hints: Optional[BeadHints],  # noqa: UP045 (TorchScript)
    ) -> Optional[Tensor]:  # noqa: UP045
        """None: the table's planes are as good on any trace."""
        return None

    def propose_planes(
        self,
        read: Tensor,
        trace: Trace,
        residue_type: Tensor,
        chain_index: Tensor,
        is_vague: Optional[Tensor],  # noqa: UP045 (TorchScript)
        noise: Optional[Tensor],  # noqa: UP045
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Planes of the nearest CA geometries."""
        return self.peptides(trace.ca, residue_type, chain_index)

    def adjust_planes(
        self, read: Tensor, trace: Trace, alpha: Tensor, twist: Tensor, is_free: bool
    ) -> tuple[Tensor, Tensor]:
        """Flatten cis peptides: the stored planes are trans."""
        return alpha, twist * (~trace.is_cis).to(twist.dtype)

    def place_ends(
        self,
        read: Tensor,
        trace: Trace,
        alpha: Tensor,
        twist: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
    ) -> Tensor:
        """Torsions (F, R, 3) of chain ends by type."""
        ends = self.end_torsion[residue_type].unsqueeze(0)
        return ends.expand(alpha.shape[0], -1, -1)

    def settle(
        self,
        backbone: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        is_vague: Optional[Tensor],  # noqa: UP045 (TorchScript)
    ) -> Tensor:
        """Leave the backbone (F, R, 5, 3) as it is."""
        return backbone

    def propose_side_chains(
        self,
        read: Tensor,
        trace: Trace,
        alpha: Tensor,
        twist: Tensor,
        backbone: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
    ) -> tuple[Tensor, Tensor]:
        """Rotamers (F, R, C, 4) given phi and psi, and their log p (F, R, C)."""
        chi, log_p = self.library(backbone, residue_type, chain_index, 16)
        if noise is not None:
            spread = self.library.spread[residue_type]
            chi = chi + (noise[..., 1:5] * spread).unsqueeze(2)
        return chi, log_p
