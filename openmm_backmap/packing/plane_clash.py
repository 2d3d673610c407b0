"""Overlaps of backbone atoms, as energies of candidate peptide planes."""

import torch
from torch import Tensor

from openmm_backmap.packing.contacts import compute_image_shift

__all__ = ["compute_far_energy", "compute_near_energy", "overlap_energy"]

# contact distances in nm: sum of Bondi radii less 0.6 A for polar pairs, 0.4 A
# for others, as in the clash energy of side chains
_O_O: float = 0.304 - 0.06
_N_O: float = 0.307 - 0.06
_N_N: float = 0.310 - 0.06
_C_O: float = 0.322 - 0.05
_C_N: float = 0.325 - 0.05
_C_C: float = 0.340 - 0.05


def overlap_energy(
    first: Tensor, second: Tensor, contact: float, slope: float, ceiling: float
) -> Tensor:
    """Energy of two atoms that are closer than a contact distance.

    Parameters
    ----------
    first, second : torch.Tensor, shape (..., 3)
        Atoms in nm.
    contact : float
        Distance in nm from which the energy is zero.
    slope : float
        In nats per nm of overlap.
    ceiling : float
        Largest energy in nats.

    Returns
    -------
    torch.Tensor, shape (...)
        In nats.
    """
    delta = first - second
    distance = torch.sqrt((delta * delta).sum(-1).clamp(min=1e-8))
    return (slope * (contact - distance)).clamp(min=0.0, max=ceiling)


def compute_near_energy(
    before_ca: Tensor,
    before_c: Tensor,
    before_o: Tensor,
    this_c: Tensor,
    this_o: Tensor,
    cb: Tensor,
    after_ca: Tensor,
    has_cb: Tensor,
    slope: float,
    ceiling: float,
    o_o: float = _O_O,
    c_o: float = _C_O,
    c_c: float = _C_C,
) -> Tensor:
    """Overlaps between two peptide units that meet in residue i.

    Parameters
    ----------
    before_ca, before_c, before_o : torch.Tensor, shape (..., 3)
        CA, C and O of residue i - 1 in nm.
    this_c, this_o, cb : torch.Tensor, shape (..., 3)
        C, O and CB of residue i.
    after_ca : torch.Tensor, shape (..., 3)
        CA of residue i + 1.
    has_cb : torch.Tensor, shape (...)
        1 where residue i has a CB, else 0.
    slope, ceiling : float
        See `overlap_energy`.
    o_o, c_o, c_c : float
        Contact distances in nm.

    Returns
    -------
    torch.Tensor, shape (...)
        In nats.
    """
    energy = overlap_energy(before_o, this_o, o_o, slope, ceiling)
    energy = energy + overlap_energy(before_o, this_c, c_o, slope, ceiling)
    energy = energy + overlap_energy(before_c, this_o, c_o, slope, ceiling)
    beta = overlap_energy(cb, before_o, c_o, slope, ceiling)
    beta = beta + overlap_energy(cb, before_ca, c_c, slope, ceiling)
    beta = beta + overlap_energy(cb, after_ca, c_c, slope, ceiling)
    return energy + beta * has_cb


def compute_far_energy(
    carbon: Tensor,
    oxygen: Tensor,
    nitrogen: Tensor,
    chosen: Tensor,
    ca: Tensor,
    has_unit: Tensor,
    chain_index: Tensor,
    neighbor_index: Tensor,
    box: Tensor,
    slope: float,
    ceiling: float,
    o_o: float = _O_O,
    n_o: float = _N_O,
    n_n: float = _N_N,
    c_o: float = _C_O,
    c_n: float = _C_N,
) -> Tensor:
    """Overlaps of candidate planes with the chosen planes of other units.

    Parameters
    ----------
    carbon, oxygen, nitrogen : torch.Tensor, shape (F, R, P, 3)
        C(i), O(i) and N(i+1) of each candidate in nm.
    chosen : torch.Tensor, shape (F, R)
        Candidate chosen so far, int64.
    ca : torch.Tensor, shape (F, R, 3)
        CA positions in nm.
    has_unit : torch.Tensor, shape (R,), bool
        Residues that are bonded to the next one.
    chain_index : torch.Tensor, shape (R,), int64
        Segment of each residue.
    neighbor_index : torch.Tensor, shape (F, R, K), int64
        Neighbours, -1 padded.
    box : torch.Tensor, shape (F, 3, 3)
        Box vectors as rows in nm, zeros for none.
    slope, ceiling : float
        See `overlap_energy`.
    o_o, n_o, n_n, c_o, c_n : float
        Contact distances in nm.

    Returns
    -------
    torch.Tensor, shape (F, R, P)
        In nats; units next to one another are left to `compute_near_energy`.
    """
    n_frames, n, k = neighbor_index.shape
    n_planes = carbon.shape[2]
    other = neighbor_index.clamp(min=0)
    residue = torch.arange(n, device=ca.device).view(1, n, 1)
    apart = ((other - residue).abs() > 1) | (
        chain_index[other] != chain_index.view(1, n, 1)
    )
    counts = apart & (neighbor_index >= 0) & has_unit[other] & has_unit.view(1, n, 1)
    # units whose atoms, on any candidate plane, could touch
    row = torch.nonzero(counts.reshape(-1)).squeeze(-1)
    one = torch.div(row, k, rounding_mode="floor")
    frame = torch.div(one, n, rounding_mode="floor")
    two = frame * n + other.reshape(-1).index_select(0, row)
    atoms = torch.stack((carbon, oxygen, nitrogen), 3).reshape(n_frames * n, -1, 3)
    middle = 0.5 * (ca + torch.roll(ca, -1, 1)).reshape(-1, 1, 3)
    reach = torch.sqrt((atoms - middle).square().sum(-1).amax(1))
    alphas = ca.reshape(-1, 3)
    shift = torch.zeros_like(alphas[:1])
    if bool((box != 0).any()):
        vector = alphas.index_select(0, two) - alphas.index_select(0, one)
        shift = compute_image_shift(vector, box.index_select(0, frame))
    center = middle.squeeze(1)
    gap = center.index_select(0, two) - center.index_select(0, one) + shift
    limit = reach.index_select(0, two) + reach.index_select(0, one) + c_n
    kept = torch.nonzero(gap.square().sum(-1) < limit.square()).squeeze(-1)
    one, two = one.index_select(0, kept), two.index_select(0, kept)
    if shift.shape[0] > 1:
        shift = shift.index_select(0, kept)
    atoms = atoms.view(-1, n_planes, 3, 3)
    index = chosen.reshape(-1, 1, 1, 1).expand(-1, 1, 3, 3)
    held = atoms.gather(1, index).squeeze(1).index_select(0, two) + shift.unsqueeze(1)
    other_c, other_o, other_n = held.unsqueeze(1).unbind(2)
    this_c, this_o, this_n = atoms.index_select(0, one).unbind(2)
    energy = overlap_energy(this_o, other_o, o_o, slope, ceiling)
    energy = energy + overlap_energy(this_o, other_n, n_o, slope, ceiling)
    energy = energy + overlap_energy(this_n, other_o, n_o, slope, ceiling)
    energy = energy + overlap_energy(this_o, other_c, c_o, slope, ceiling)
    energy = energy + overlap_energy(this_c, other_o, c_o, slope, ceiling)
    energy = energy + overlap_energy(this_n, other_n, n_n, slope, ceiling)
    energy = energy + overlap_energy(this_n, other_c, c_n, slope, ceiling)
    energy = energy + overlap_energy(this_c, other_n, c_n, slope, ceiling)
    total = torch.zeros_like(reach).unsqueeze(1).repeat(1, n_planes)
    return total.index_add(0, one, energy).view(n_frames, n, n_planes)
