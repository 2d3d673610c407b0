"""How every model proposes: planes for each unit, a chain of them, side chains."""

from typing import Optional

from torch import Tensor, nn

from openmm_backmap.builder.backbone import build_backbone
from openmm_backmap.nn.bead_ends import turn_ends
from openmm_backmap.nn.bead_hints import BeadHints, follow_oxygen, weigh_side_chains
from openmm_backmap.nn.template import offer_planes, offer_side_chains
from openmm_backmap.nn.trace import Trace, read_trace
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.planes import PlaneSettings, choose_planes

__all__ = ["ProposingModel"]


class ProposingModel(nn.Module):
    """A model that builds a backbone on CA and proposes side chains for it.

    What a template and other beads tell is the same for all models and is done
    here. A model has the methods

    - ``read(trace, residue_type, chain_index, neighbor_index, box, noise)``:
      whatever its other methods want to know, their first argument;
    - ``find_vague(trace, hints)``: residues (F, R) of traces that tell planes badly,
      or None;
    - ``propose_planes(read, trace, residue_type, chain_index, is_vague, noise)``:
      azimuth, twist and log p (F, R, P) of the planes of each unit;
    - ``adjust_planes(read, trace, alpha, twist, is_free)``: the chosen ones
      (F, R), moved a little; `is_free` if CA alone have told them, and no noise;
    - ``place_ends(read, trace, alpha, twist, residue_type, chain_index, noise)``:
      torsions (F, R, 3) of chain ends;
    - ``settle(backbone, residue_type, chain_index, is_vague)``: the backbone, as it
      is or moved a little;
    - ``propose_side_chains(read, trace, alpha, twist, backbone, residue_type,
      chain_index, noise)``: chi (F, R, C, 4) and their log p (F, R, C).

    Parameters
    ----------
    packer : Packer
        The shared packing; its geometry is that of the backbone, too.
    ramachandran : torch.Tensor, shape (4, B, B)
        See `openmm_backmap.packing.planes`.
    planes : PlaneSettings
        Weights of the choice of planes.
    chain_noise : int
        Noise column that draws the planes of a chain.
    """

    planes: PlaneSettings

    def __init__(
        self,
        packer: Packer,
        ramachandran: Tensor,
        planes: PlaneSettings,
        chain_noise: int,
    ) -> None:
        super().__init__()
        self.packer = packer
        self.planes = planes
        self.chain_noise = chain_noise
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
            As in `PackedModel.forward`; CA is the first bead.
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
        builder = self.packer.builder()
        trace = read_trace(
            bead_positions[:, :, 0], residue_type, chain_index, hints, template, exact
        )
        read = self.read(trace, residue_type, chain_index, neighbor_index, box, noise)
        is_vague = self.find_vague(trace, hints)
        alpha, twist = self.choose_chain(
            self.propose_planes(
                read, trace, residue_type, chain_index, is_vague, noise
            ),
            trace,
            residue_type,
            chain_index,
            neighbor_index,
            box,
            noise,
            hints,
            template,
            is_vague,
        )  # fmt: skip
        is_free = noise is None and template is None and hints is None
        alpha, twist = self.adjust_planes(read, trace, alpha, twist, is_free)
        ends = self.place_ends(
            read, trace, alpha, twist, residue_type, chain_index, noise
        )
        backbone = build_backbone(
            trace.ca,
            alpha,
            twist,
            trace.is_cis,
            ends,
            residue_type,
            chain_index,
            builder,
        )
        if hints is not None and bool(hints.has_oxygen.any()):
            backbone = turn_ends(hints, backbone, chain_index)
        if hints is None and not exact:
            backbone = self.settle(backbone, residue_type, chain_index, is_vague)
        chi, log_p = self.propose_side_chains(
            read, trace, alpha, twist, backbone, residue_type, chain_index, noise
        )
        if template is not None:
            n_chi = builder.n_chi[residue_type]
            chi, log_p = offer_side_chains(chi, log_p, n_chi, template, trace.trust)
        if hints is not None:
            log_p = weigh_side_chains(
                hints, backbone, residue_type, chi, log_p, builder
            )
        return backbone, chi, log_p

    def choose_chain(
        self,
        offered: tuple[Tensor, Tensor, Tensor],
        trace: Trace,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Optional[Tensor],  # noqa: UP045 (TorchScript)
        hints: Optional[BeadHints],  # noqa: UP045
        template: Optional[Tensor],  # noqa: UP045
        is_vague: Optional[Tensor],  # noqa: UP045
    ) -> tuple[Tensor, Tensor]:
        """Choose one plane a unit, with those of a template and of O beads.

        Parameters
        ----------
        offered : tuple of torch.Tensor, each of shape (F, R, P)
            Azimuth and twist in radians and log p of what the model proposes.
        trace, residue_type, chain_index, neighbor_index, box, noise
            See `propose`.
        hints, template, is_vague
            See `propose` and the class.

        Returns
        -------
        alpha, twist : torch.Tensor, shape (F, R)
            Radians.
        """
        alphas, twists, log_p = offered
        if template is not None:
            alphas, twists, log_p = offer_planes(
                alphas, twists, log_p, trace.is_cis, template, trace.trust
            )
        builder = self.packer.builder()
        beta: Optional[Tensor] = None  # noqa: UP045
        has_beta: Optional[Tensor] = None  # noqa: UP045
        beta_spread = 1.0
        if hints is not None and bool(hints.has_oxygen.any()):
            beta = hints.beta
            has_beta = hints.has_beta
            beta_spread = hints.beta_spread
            alphas, twists, log_p = follow_oxygen(
                hints,
                trace.ca,
                alphas,
                twists,
                log_p,
                trace.is_cis,
                residue_type,
                chain_index,
                builder,
            )
        draw: Optional[Tensor] = None  # noqa: UP045
        if noise is not None:
            draw = noise[..., self.chain_noise]
        return choose_planes(
            trace.ca,
            alphas,
            twists,
            log_p,
            trace.is_cis,
            residue_type,
            chain_index,
            neighbor_index,
            box,
            self.ramachandran,
            builder,
            self.planes,
            draw,
            beta,
            has_beta,
            beta_spread,
            is_vague,
        )
