"""A small network that rates packed candidates by the contacts of their atoms.

The pair energy of the packing adds up atom pairs; what a polar atom without a
partner costs, or how full a pocket is, are no sums over pairs. Here the contacts
of each atom are summed into a few features first, which the network then reads
atom by atom and candidate by candidate (in the manner of Behler and Parrinello,
Phys. Rev. Lett. 98, 146401 (2007)). Invariant under rotation and translation.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from openmm_backmap.packing.contact_pairs import ContactPairs

__all__ = ["ContactInputs", "ContactNetwork"]

N_TYPES = 26
N_SIDES = 12
N_OTHER_SIDES = 6
N_DISTANCES = 18
N_ATOM_CODES = 280
LOWEST = -15.0
PAIRS_AT_ONCE = 65536


class ContactInputs(NamedTuple):
    """What the network reads besides contacts: G residues, C candidates.

    N atoms, M cells (a candidate that is rated, an atom of it).
    """

    code: Tensor  # (N,) int64, 14 x residue type + slot
    cell_candidate: Tensor  # (M,) int64 into G x C
    cell_atom: Tensor  # (M,) int64 into N
    is_open: Tensor  # (G, C) bool: candidates that are rated
    score: Tensor  # (G, C) minus the energy in the mean field, nats; -inf for none
    log_p: Tensor  # (G, C) of the model, -inf for none
    chi: Tensor  # (G, C, 4) radians
    kind: Tensor  # (G,) int64 residue type


def smooth_distances(value: Tensor, share: float) -> Tensor:
    """Mix what is learned for each distance with both neighbours.

    Parameters
    ----------
    value : torch.Tensor, shape (T, A, B, D, W)
        D distances.
    share : float
        Taken from each neighbour; the ends stand in for what is beyond them.

    Returns
    -------
    torch.Tensor, shape (T, A, B, D, W)
    """
    before = torch.cat((value[:, :, :, :1], value[:, :, :, :-1]), 3)
    after = torch.cat((value[:, :, :, 1:], value[:, :, :, -1:]), 3)
    return (1.0 - 2.0 * share) * value + share * (before + after)


class ContactNetwork(nn.Module):
    """Corrections to the scores of candidates, from their contacts.

    Parameters
    ----------
    width : int
        Features a contact adds to.
    hidden : int
        Width of the hidden layers.
    n_out : int
        Features of an atom, summed over a candidate.
    dropout : float
        Training only.
    smoothing : float
        Share that what a contact adds takes from either distance beside its own
        (0 to 0.5): neighbouring distances are learned together. For fits, see `bake`.
    """

    def __init__(
        self,
        width: int = 24,
        hidden: int = 64,
        n_out: int = 48,
        dropout: float = 0.2,
        smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.width = width
        self.smoothing = smoothing
        # TorchScript reads attributes, not globals
        self.lowest = LOWEST
        self.pairs_at_once = PAIRS_AT_ONCE
        shape = (N_TYPES, 1, 1, N_DISTANCES, width)
        self.near = nn.Parameter(0.05 * torch.randn(shape, dtype=torch.float32))
        shape = (N_TYPES, N_SIDES, 1, N_DISTANCES, width)
        self.here = nn.Parameter(0.02 * torch.randn(shape, dtype=torch.float32))
        shape = (N_TYPES, 1, N_OTHER_SIDES, N_DISTANCES, width)
        self.there = nn.Parameter(0.02 * torch.randn(shape, dtype=torch.float32))
        self.atom_code = nn.Embedding(N_ATOM_CODES, 24)
        self.residue_kind = nn.Embedding(20, 16)
        self.dropout = nn.Dropout(dropout)
        self.atom = nn.Sequential(
            nn.Linear(width + 24, hidden),
            nn.SiLU(),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, n_out),
        )
        self.candidate = nn.Sequential(
            nn.Linear(2 * n_out + 36, hidden),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, hidden),
            nn.SiLU(),
            nn.Linear(hidden, 1),
        )
        last = self.candidate[-1]
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        # near where fits end: the network replaces most of the mean field's scores
        self.weight = nn.Parameter(torch.tensor([0.2, 0.6], dtype=torch.float32))

    def table(self) -> Tensor:
        """What a contact of each code adds, shape (N_CONTACT_CODES, width)."""
        near, here, there = self.near, self.here, self.there
        if self.smoothing > 0.0:
            near = smooth_distances(near, self.smoothing)
            here = smooth_distances(here, self.smoothing)
            there = smooth_distances(there, self.smoothing)
        return (near + here + there).reshape(-1, self.width)

    @torch.jit.unused
    def bake(self) -> None:
        """Write the smoothing into the weights, so that it need not be repeated."""
        with torch.no_grad():
            for value in (self.near, self.here, self.there):
                value.copy_(smooth_distances(value, self.smoothing))
        self.smoothing = 0.0

    def sum_sorted(self, code: Tensor, start: Tensor, weight: Tensor) -> Tensor:
        """Sum what the contacts add to each atom, with a gradient.

        Parameters
        ----------
        code, weight : torch.Tensor, shape (E,)
            As in `ContactPairs`, sorted by atom.
        start : torch.Tensor, shape (N,), int64
            First contact of each atom.

        Returns
        -------
        torch.Tensor, shape (N, width)
        """
        return functional.embedding_bag(
            code, self.table(), start, mode="sum", per_sample_weights=weight
        )

    def sum_contacts(self, pairs: ContactPairs, n_atoms: int) -> Tensor:
        """Sum what the contacts add to each atom, without a gradient.

        Parameters
        ----------
        pairs : ContactPairs
            In any order.
        n_atoms : int
            Number of atoms N.

        Returns
        -------
        torch.Tensor, shape (N, width)
        """
        table = self.table()
        total = table.new_zeros(n_atoms, self.width)
        for first in range(0, pairs.atom.shape[0], self.pairs_at_once):
            last = first + self.pairs_at_once
            rows = table.index_select(0, pairs.code[first:last])
            rows = rows * pairs.weight[first:last].unsqueeze(1)
            total.index_add_(0, pairs.atom[first:last], rows)
        return total

    def forward(self, contacts: Tensor, inputs: ContactInputs) -> Tensor:
        """Correct the scores of candidates.

        Parameters
        ----------
        contacts : torch.Tensor, shape (N, width)
            Sum over the contacts of each atom.
        inputs : ContactInputs
            The candidates.

        Returns
        -------
        torch.Tensor, shape (G, C)
            What is added to the scores, in nats. Candidates that are not rated get
            what score and log p weigh differently beside the network.
        """
        n_groups, n_kept = inputs.score.shape
        rows = torch.nonzero(inputs.is_open.reshape(-1)).flatten()
        group = torch.div(rows, n_kept, rounding_mode="floor")
        code = self.atom_code(inputs.code)
        x = self.atom(torch.cat((self.dropout(contacts), code), 1))
        row_of = torch.cumsum(inputs.is_open.reshape(-1).to(torch.int64), 0) - 1
        cell_row = row_of.index_select(0, inputs.cell_candidate)
        z = x.new_zeros(rows.shape[0], x.shape[1])
        z = z.index_add(0, cell_row, x.index_select(0, inputs.cell_atom))
        exists = torch.isfinite(inputs.log_p)
        score = inputs.score.masked_fill(~exists, -1e9)
        score = (score - score.amax(1, keepdim=True)).clamp(min=self.lowest)
        log_p = inputs.log_p.masked_fill(~exists, self.lowest).clamp(min=self.lowest)
        all_p = torch.softmax(score, 1)
        p = all_p.reshape(-1).index_select(0, rows).unsqueeze(1)
        mean = z.new_zeros(n_groups, x.shape[1])
        mean = mean.index_add(0, group, z * p)
        chi = inputs.chi.reshape(-1, 4).index_select(0, rows)
        here = score.reshape(-1).index_select(0, rows).unsqueeze(1)
        own = log_p.reshape(-1).index_select(0, rows).unsqueeze(1)
        told = torch.cat(
            (
                z,
                mean.index_select(0, group),
                torch.sin(chi),
                torch.cos(chi),
                torch.sin(2.0 * chi),
                torch.cos(2.0 * chi),
                self.residue_kind(inputs.kind.index_select(0, group)),
                0.2 * here,
                0.2 * own,
                p,
                0.2 * torch.log(p + 1e-3),
            ),
            1,
        )
        rated = self.candidate(told).squeeze(1)
        blank = torch.zeros(n_groups * n_kept, dtype=rated.dtype, device=rated.device)
        rated = blank.index_copy(0, rows, rated).view(n_groups, n_kept)
        return rated + (self.weight[0] - 1.0) * score + self.weight[1] * log_p
