"""Which residues are near one another, in all frames, and by which image."""

from typing import NamedTuple

import torch

__all__ = [
    "Surroundings",
    "compute_image_shift",
    "find_surroundings",
    "is_listed",
    "keep_touching",
    "list_both_directions",
]


def compute_image_shift(vector: torch.Tensor, box: torch.Tensor) -> torch.Tensor:
    """Translate vectors to their minimum image.

    Parameters
    ----------
    vector : torch.Tensor, shape (N, 3)
        Differences j - i in nm.
    box : torch.Tensor, shape (N, 3, 3)
        Reduced periodic box vectors in nm as rows (a along x, b in the xy
        plane, as OpenMM has them); zeros where there is no box.

    Returns
    -------
    torch.Tensor, shape (N, 3)
        What must be added to j, in nm.
    """
    shift = torch.zeros_like(vector)
    for axis in (2, 1, 0):
        edge = box[:, axis, axis]
        has_box = edge > 0
        length = torch.where(has_box, edge, torch.ones_like(edge))
        turns = torch.round((vector[:, axis] + shift[:, axis]) / length)
        turns = torch.where(has_box, turns, torch.zeros_like(turns))
        shift = shift - turns.unsqueeze(1) * box[:, axis]
    return shift


def is_listed(
    lists: torch.Tensor, row: torch.Tensor, wanted: torch.Tensor
) -> torch.Tensor:
    """Tell whether numbers stand in given rows of a table.

    Parameters
    ----------
    lists : torch.Tensor, shape (N, K), int64
        The table.
    row, wanted : torch.Tensor, shape (B,), int64
        Where to look, and for what.

    Returns
    -------
    torch.Tensor, shape (B,), bool
    """
    found = torch.zeros_like(wanted, dtype=torch.bool)
    # column after column: a fifth of the time of reading whole rows
    columns = lists.t().to(torch.int32).contiguous()
    number = wanted.to(torch.int32)
    for k in range(lists.shape[1]):
        found |= columns[k].index_select(0, row) == number
    return found


class Surroundings(NamedTuple):
    """What is near what: G = frames x residues, P residue pairs.

    Each pair is listed once, in either direction, and frame after frame.
    """

    residue_type: torch.Tensor  # (G,) int64, 0 to 19
    follows: torch.Tensor  # (G,) bool: bonded to the residue before it
    first: torch.Tensor  # (P,) int64 into G
    second: torch.Tensor  # (P,) int64
    shift: torch.Tensor  # (3, P) nm, added to the second residue
    n_residues: int


def find_surroundings(
    neighbor_index: torch.Tensor,
    ca: torch.Tensor,
    box: torch.Tensor,
    residue_type: torch.Tensor,
    chain_index: torch.Tensor,
    reach: torch.Tensor,
    cutoff: float,
) -> Surroundings:
    """List the residue pairs of all frames whose atoms may come near.

    Parameters
    ----------
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        Residues near each residue, -1 padded; one direction is enough.
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    box : torch.Tensor, shape (F, 3, 3)
        Box vectors in nm, zeros for none.
    residue_type, chain_index : torch.Tensor, shape (R,), int64
        Type and bonded segment.
    reach : torch.Tensor, shape (F x R,)
        Radius around CA in nm that holds all atoms of a residue.
    cutoff : float
        Distance of atoms in nm.

    Returns
    -------
    Surroundings
        Each pair once, no residue with itself.
    """
    n_frames, n_residues, n_neighbors = neighbor_index.shape
    flat = neighbor_index.reshape(-1)
    where = torch.nonzero(flat >= 0).flatten()
    first = torch.div(where, n_neighbors, rounding_mode="floor")
    frame = torch.div(first, n_residues, rounding_mode="floor")
    second = flat.index_select(0, where) + frame * n_residues
    x, y, z = ca.reshape(-1, 3).t().contiguous().unbind(0)
    vector = torch.stack(
        [
            x.index_select(0, second) - x.index_select(0, first),
            y.index_select(0, second) - y.index_select(0, first),
            z.index_select(0, second) - z.index_select(0, first),
        ]
    )
    shift = torch.zeros_like(vector)
    if bool((box != 0).any()):
        shift = compute_image_shift(vector.t(), box.index_select(0, frame))
        shift = shift.t().contiguous()
        vector = vector + shift
    limit = reach.index_select(0, first) + reach.index_select(0, second) + cutoff
    near = (vector * vector).sum(0) < limit * limit
    # the K nearest are not mutual: keep j < i only where j does not list i
    back = torch.nonzero(near & (first > second)).flatten()
    alone = ~is_listed(
        neighbor_index.reshape(-1, n_neighbors),
        second.index_select(0, back),
        torch.remainder(first.index_select(0, back), n_residues),
    )
    near = near & (first < second)
    near = near.index_fill(0, back[alone], True)
    kept = torch.nonzero(near).flatten()
    bonded = torch.zeros_like(residue_type, dtype=torch.bool)
    bonded[1:] = chain_index[1:] == chain_index[:-1]
    return Surroundings(
        residue_type=residue_type.repeat(n_frames),
        follows=bonded.repeat(n_frames),
        first=first.index_select(0, kept),
        second=second.index_select(0, kept),
        shift=shift.index_select(1, kept),
        n_residues=n_residues,
    )


def keep_touching(near: Surroundings, chosen: torch.Tensor) -> Surroundings:
    """Keep the residue pairs of which one at least is chosen.

    Parameters
    ----------
    near : Surroundings
        Residue pairs.
    chosen : torch.Tensor, shape (G,), bool
        Residues.

    Returns
    -------
    Surroundings
    """
    one = chosen.index_select(0, near.first)
    two = chosen.index_select(0, near.second)
    kept = torch.nonzero(one | two).flatten()
    return Surroundings(
        residue_type=near.residue_type,
        follows=near.follows,
        first=near.first.index_select(0, kept),
        second=near.second.index_select(0, kept),
        shift=near.shift.index_select(1, kept),
        n_residues=near.n_residues,
    )


def list_both_directions(
    near: Surroundings,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """List each residue pair as (i, j) and as (j, i).

    Parameters
    ----------
    near : Surroundings
        Each pair once.

    Returns
    -------
    first, second : torch.Tensor, shape (2 P,), int64
        The pairs, then the pairs reversed.
    shift : torch.Tensor, shape (3, 2 P)
        Added to the second residue, in nm.
    """
    return (
        torch.cat([near.first, near.second]),
        torch.cat([near.second, near.first]),
        torch.cat([near.shift, -near.shift], 1),
    )
