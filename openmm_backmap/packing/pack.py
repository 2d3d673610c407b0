"""The one door of the packing: backbone and rotamer candidates in, atoms out."""

import torch
from torch import Tensor

from openmm_backmap.builder.tables import BuilderTables, load_builder_tables
from openmm_backmap.packing import constants
from openmm_backmap.packing.contact_inputs import correct_marginals, list_contacts
from openmm_backmap.packing.contact_network import ContactNetwork
from openmm_backmap.packing.pair_energy import make_empty_pair_energy
from openmm_backmap.packing.settle import settle_frames
from openmm_backmap.packing.state import PackingSettings, PackingState, solve_frames
from openmm_backmap.packing.tables import PackingTables, make_packing_tables

__all__ = ["Packer", "PackingSettings"]


class Packer(torch.nn.Module):
    """Packing with its constants as buffers, ready to sit in a model.

    Parameters
    ----------
    settings : PackingSettings or None
        Weights. If None, the defaults.
    pair_energy : torch.Tensor or None, shape (26, 26, 16)
        Learned pair energy in nats. If None, zero.
    contacts : ContactNetwork or None
        Rates the candidates of the mode after the mean field. If None, nothing
        does.
    """

    settings: PackingSettings

    def __init__(
        self,
        settings: PackingSettings | None = None,
        pair_energy: Tensor | None = None,
        contacts: ContactNetwork | None = None,
    ) -> None:
        super().__init__()
        self.contacts = contacts
        self.settings = PackingSettings() if settings is None else settings
        if pair_energy is None:
            pair_energy = make_empty_pair_energy()
        self.register_buffer("pair_energy", pair_energy)
        # buffers, one by one: a named tuple would not follow .to(device)
        for name, value in make_packing_tables()._asdict().items():
            self.register_buffer("packing_" + name, value, persistent=False)
        for name, value in load_builder_tables()._asdict().items():
            self.register_buffer("builder_" + name, value, persistent=False)

    def tables(self) -> PackingTables:
        """Return the packing constants on the module's device."""
        return PackingTables(
            atom_mask=self.packing_atom_mask,
            atom_radius=self.packing_atom_radius,
            atom_polarity=self.packing_atom_polarity,
            atom_type=self.packing_atom_type,
            is_disulfide=self.packing_is_disulfide,
            excluded_inside=self.packing_excluded_inside,
            excluded_before=self.packing_excluded_before,
            n_chi=self.packing_n_chi,
            chi_period=self.packing_chi_period,
            chi_depth=self.packing_chi_depth,
            chi_axis=self.packing_chi_axis,
            chi_moves=self.packing_chi_moves,
            is_proline=self.packing_is_proline,
            bonds=self.packing_bonds,
            rings=self.packing_rings,
            type_code=self.packing_type_code,
        )

    def builder(self) -> BuilderTables:
        """Return the ideal geometry on the module's device."""
        return BuilderTables(
            parent=self.builder_parent,
            length=self.builder_length,
            angle=self.builder_angle,
            offset=self.builder_offset,
            chi_index=self.builder_chi_index,
            exists=self.builder_exists,
            cb=self.builder_cb,
            n_ca_c=self.builder_n_ca_c,
            n_chi=self.builder_n_chi,
            pi_periodic=self.builder_pi_periodic,
            unit=self.builder_unit,
            unit_center=self.builder_unit_center,
            unit_range=self.builder_unit_range,
        )

    def forward(
        self,
        backbone: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        chi: Tensor,
        log_p: Tensor,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Choose one candidate a residue so that all of them fit together.

        Parameters
        ----------
        backbone : torch.Tensor, shape (F, R, 5, 3)
            N, CA, C, O and CB in nm.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type and bonded segment of each residue.
        neighbor_index : torch.Tensor, shape (F, R, K), int64
            Nearest residues by CA, -1 padded; contacts outside it are not seen.
        box : torch.Tensor, shape (F, 3, 3)
            Box vectors in nm as rows, zeros for no box.
        chi : torch.Tensor, shape (F, R, C, 4)
            Candidate side chains in radians.
        log_p : torch.Tensor, shape (F, R, C)
            Natural log of their probabilities, -inf for no candidate.
        noise : torch.Tensor or None, shape (F, R, S)
            N(0, 1) numbers that drive one mutually packed sample: a first choice
            from the marginals and S - 1 Gibbs sweeps. If None, the mode.

        Returns
        -------
        chi : torch.Tensor, shape (F, R, 4)
            The chosen side chains after the clean-up, in radians.
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm, zeros in absent slots.
        confidence : torch.Tensor, shape (F, R)
            Marginal probability of chi1 and chi2 as chosen; 1 where there is no
            choice.
        """
        if residue_type.numel() == 0:
            none = backbone.new_zeros(chi.size(0), 0, 14, 3)
            return chi[:, :, 0], none, log_p[:, :, 0]
        # samples follow the energies alone
        rates = self.contacts is not None and noise is None
        # a few thousand residues at once: they fit the caches, and memory stays flat
        n_rows = 131072 if backbone.is_cuda else 4096
        n_frames = max(1, n_rows // residue_type.numel())
        chis: list[Tensor] = []
        positions: list[Tensor] = []
        confidences: list[Tensor] = []
        for start in range(0, backbone.size(0), n_frames):
            stop = start + n_frames
            state = self.solve(
                backbone[start:stop],
                residue_type,
                chain_index,
                neighbor_index[start:stop],
                box[start:stop],
                chi[start:stop],
                log_p[start:stop],
                constants.CONTACT_CUTOFF if rates else constants.CLASH_CUTOFF + 0.11,
            )
            marginal = state.marginal
            if rates:
                marginal = self.rate(state)
            part_chi, part_positions, part_confidence = settle_frames(
                state,
                marginal,
                None if noise is None else noise[start:stop],
                self.builder(),
                self.tables(),
                self.settings,
            )
            chis.append(part_chi)
            positions.append(part_positions)
            confidences.append(part_confidence)
        shape = [backbone.size(0), residue_type.numel()]
        return (
            torch.cat(chis).view(shape[0], shape[1], 4),
            torch.cat(positions).view(shape[0], shape[1], 14, 3),
            torch.cat(confidences).view(shape[0], shape[1]),
        )

    def solve(
        self,
        backbone: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        chi: Tensor,
        log_p: Tensor,
        reach: float,
    ) -> PackingState:
        """Solve the mean field; see `solve_frames`."""
        return solve_frames(
            backbone,
            residue_type,
            chain_index,
            neighbor_index,
            box,
            chi,
            log_p,
            self.builder(),
            self.tables(),
            self.pair_energy,
            self.settings,
            reach,
        )

    def rate(self, state: PackingState) -> Tensor:
        """Marginals, corrected by the contacts that the candidates make."""
        marginal = state.marginal
        if self.contacts is not None:
            pairs, inputs = list_contacts(
                state, self.builder(), self.tables(), self.settings
            )
            summed = self.contacts.sum_contacts(pairs, inputs.code.shape[0])
            correction = self.contacts(summed, inputs)
            marginal = correct_marginals(state, inputs, correction, self.settings)
        return marginal
