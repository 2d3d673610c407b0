"""Packed structures, each residue with its candidates and what they touch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from openmm_backmap.builder.extract import torsions_from_atoms
from openmm_backmap.packing import constants
from openmm_backmap.packing.contact_inputs import list_contacts
from openmm_backmap.packing.contact_network import ContactInputs
from openmm_backmap.training.fit_packing import PackingModel, forget, make_inputs
from openmm_backmap.training.fit_pair_energy import find_targets
from openmm_backmap.training.prepared import MAX_BFACTOR
from openmm_backmap.training.shards import ShardEntry

__all__ = ["ContactCase", "collect_contact_case", "collect_contact_cases", "join_cases"]


@dataclass(frozen=True, eq=False)
class ContactCase:
    """What the fit reads of one structure: E contacts, N atoms, M cells.

    Attributes
    ----------
    code : torch.Tensor, shape (E,), int32
        Code of each contact, sorted by atom.
    weight : torch.Tensor, shape (E,), float16
        Probability of the other atom.
    n_contacts : torch.Tensor, shape (N,), int64
        Contacts of each atom.
    inputs : ContactInputs
        The candidates.
    target : torch.Tensor, shape (R,), int64
        The candidate that is right; -1 where the residue is not used.
    """

    code: Tensor
    weight: Tensor
    n_contacts: Tensor
    inputs: ContactInputs
    target: Tensor


def collect_contact_case(model: PackingModel, entry: ShardEntry) -> ContactCase:
    """Pack a structure's CA trace and list the contacts of all that is in doubt.

    Parameters
    ----------
    model : PackingModel
        Its packer has a fitted pair energy and no contact network.
    entry : ShardEntry
        A structure.

    Returns
    -------
    ContactCase
    """
    packer = model.packer
    bead_positions, residue_type, chain_index, neighbor_index, box = make_inputs(entry)
    backbone, chi, log_p = model.propose(
        bead_positions, residue_type, chain_index, neighbor_index, box, None
    )
    state = packer.solve(
        backbone,
        residue_type,
        chain_index,
        neighbor_index,
        box,
        chi,
        log_p,
        constants.CONTACT_CUTOFF,
    )
    tables = packer.tables()
    pairs, inputs = list_contacts(state, packer.builder(), tables, packer.settings)
    used = torch.zeros(inputs.code.numel(), dtype=torch.bool)
    used[inputs.cell_atom] = True
    number = torch.cumsum(used.long(), 0) - 1
    atom, order = torch.sort(number[pairs.atom], stable=True)
    positions = torch.from_numpy(entry.positions[:1])
    sure = torch.from_numpy(entry.mask & (entry.bfactor < MAX_BFACTOR))
    native = torsions_from_atoms(positions, sure, residue_type, chain_index)
    target = find_targets(
        state.candidates,
        native.chi[0],
        native.chi_mask[0],
        tables.chi_period[residue_type],
    )
    return ContactCase(
        code=pairs.code[order].to(torch.int32),
        weight=pairs.weight[order].half(),
        n_contacts=torch.bincount(atom, minlength=int(used.sum())),
        inputs=inputs._replace(
            code=inputs.code[used], cell_atom=number[inputs.cell_atom]
        ),
        target=target,
    )


def collect_contact_cases(
    model: PackingModel,
    entries: Sequence[ShardEntry],
    dropout: float,
    seed: int = 0,
) -> Iterator[ContactCase]:
    """Collect structures beside a network that forgets, see `forget`.

    Parameters
    ----------
    model : PackingModel
        As in `collect_contact_case`.
    entries : sequence of ShardEntry
        Training structures.
    dropout : float
        Share of its features that the network drops; packed structures are then
        as often right as those of proteins it does not know.
    seed : int
        Of what it drops.

    Yields
    ------
    ContactCase
        Of each entry.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]), forget(model, dropout):
        torch.manual_seed(seed)
        for entry in entries:
            yield collect_contact_case(model, entry)


def join_cases(
    cases: Sequence[ContactCase],
) -> tuple[Tensor, Tensor, Tensor, ContactInputs, Tensor]:
    """Put structures behind one another.

    Parameters
    ----------
    cases : sequence of ContactCase
        At least one.

    Returns
    -------
    code, start, weight : torch.Tensor
        As `ContactNetwork.sum_sorted` reads them.
    inputs : ContactInputs
        Of all residues.
    target : torch.Tensor
        Of all residues.
    """
    n_kept = max(case.inputs.score.shape[1] for case in cases)
    fields: dict[str, list[Tensor]] = {name: [] for name in ContactInputs._fields}
    n_atoms = n_residues = 0
    for case in cases:
        inputs = case.inputs
        n, n_own = inputs.score.shape
        residue = torch.div(inputs.cell_candidate, n_own, rounding_mode="floor")
        rank = inputs.cell_candidate - residue * n_own
        more = (0, n_kept - n_own)
        fields["code"].append(inputs.code)
        fields["cell_candidate"].append((residue + n_residues) * n_kept + rank)
        fields["cell_atom"].append(inputs.cell_atom + n_atoms)
        fields["is_open"].append(functional.pad(inputs.is_open, more))
        for name in ("score", "log_p"):
            value = functional.pad(getattr(inputs, name), more, value=float("-inf"))
            fields[name].append(value)
        fields["chi"].append(functional.pad(inputs.chi, (0, 0, *more)))
        fields["kind"].append(inputs.kind)
        n_atoms += inputs.code.numel()
        n_residues += n
    count = torch.cat([case.n_contacts for case in cases])
    return (
        torch.cat([case.code for case in cases]).long(),
        count.cumsum(0) - count,
        torch.cat([case.weight for case in cases]).float(),
        ContactInputs(**{name: torch.cat(rows) for name, rows in fields.items()}),
        torch.cat([case.target for case in cases]),
    )
