"""Ideal geometry as tensors, one row a residue type, in nm and radians."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS, SLOT_NAMES
from openmm_backmap.residues.ideal import (
    CB_COMPONENTS,
    CIS,
    N_CA_C_ANGLE,
    SIDE_CHAIN_GEOMETRY,
    SIDE_CHAIN_TREE,
    TRANS,
    TRANS_BEFORE_PROLINE,
)
from openmm_backmap.residues.names import N_TYPES, RESIDUE_NAMES
from openmm_backmap.residues.torsions import CHI_IS_PI_PERIODIC, N_CHI_OF_TYPE
from openmm_backmap.units import ANGSTROM, DEGREE

__all__ = ["BuilderTables", "load_builder_tables"]

UNIT_DISTANCE_RANGE = {"trans": (3.40, 4.15), "cis": (2.60, 3.40)}
"""CA-CA distances (angstrom) over which the peptide unit is fitted."""


class BuilderTables(NamedTuple):
    """Tensors the builder reads; T = 20 residue types, 14 slots.

    Attributes
    ----------
    parent : Tensor, shape (T, 14, 3), int64
        Slots of the atoms a, b, c from which a side-chain atom is placed.
    length, angle, offset : Tensor, shape (T, 14)
        Bond length (nm), bond angle and torsion offset (radians).
    chi_index : Tensor, shape (T, 14), int64
        0 to 3 for the chi that turns the atom, 4 for none.
    exists : Tensor, shape (T, 14), bool
        Whether the slot holds an atom.
    cb : Tensor, shape (T, 3)
        CB minus CA along (minus bisector, normal, tangent), nm.
    n_ca_c : Tensor, shape (T,)
        Ideal N-CA-C angle in radians.
    n_chi : Tensor, shape (T,), int64
        Number of chi.
    pi_periodic : Tensor, shape (T, 4), bool
        Chi with period pi.
    unit : Tensor, shape (3, 4, 4)
        Peptide units (trans, trans before proline, cis): cubic coefficients,
        lowest power first and in the CA-CA distance minus `unit_center`, of
        the axial and radial positions of C and N (nm).
    unit_center : Tensor, shape (3,)
        In nm.
    unit_range : Tensor, shape (3, 2)
        CA-CA distances (nm) outside which the unit is no longer adapted.
    """

    parent: Tensor
    length: Tensor
    angle: Tensor
    offset: Tensor
    chi_index: Tensor
    exists: Tensor
    cb: Tensor
    n_ca_c: Tensor
    n_chi: Tensor
    pi_periodic: Tensor
    unit: Tensor
    unit_center: Tensor
    unit_range: Tensor


def _planar_unit(
    geometry: tuple[float, ...], strain: float, is_cis: bool
) -> tuple[float, ...]:
    """CA-CA distance and (x, r) of C and N for angles widened by `strain`."""
    ca_c, c_n, n_ca, angle_c, angle_n = geometry
    theta_c = (angle_c + strain) * DEGREE
    theta_n = (angle_n + strain) * DEGREE
    carbon = np.zeros(2)
    first = np.array([ca_c, 0.0])
    nitrogen = c_n * np.array([np.cos(theta_c), np.sin(theta_c)])
    to_carbon = np.arctan2(-nitrogen[1], -nitrogen[0])
    direction = to_carbon + (theta_n if is_cis else -theta_n)
    last = nitrogen + n_ca * np.array([np.cos(direction), np.sin(direction)])
    axis = last - first
    distance = float(np.hypot(*axis))
    axis /= distance
    values = [distance]
    for atom in (carbon, nitrogen):
        along = float((atom - first) @ axis)
        values += [along, float(np.sqrt(((atom - first) ** 2).sum() - along**2))]
    return tuple(values)


def _fit_unit(geometry: tuple[float, ...], is_cis: bool) -> tuple[np.ndarray, float]:
    """Cubic fits of x_C, r_C, x_N, r_N (nm) in the CA-CA distance (nm)."""
    low, high = UNIT_DISTANCE_RANGE["cis" if is_cis else "trans"]
    rows = np.array(
        [_planar_unit(geometry, s, is_cis) for s in np.linspace(-25, 25, 401)]
    )
    rows = rows[(rows[:, 0] > low) & (rows[:, 0] < high)] * ANGSTROM
    center = (low + high) / 2 * ANGSTROM
    fits = [
        np.polynomial.polynomial.polyfit(rows[:, 0] - center, rows[:, k], 3)
        for k in range(1, 5)
    ]
    return np.array(fits), center


def load_builder_tables(
    device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> BuilderTables:
    """Make the builder's tensors from the facts in `openmm_backmap.residues`.

    Parameters
    ----------
    device : torch.device or str
        Where the tensors live.
    dtype : torch.dtype
        Floating type.

    Returns
    -------
    BuilderTables
    """
    parent = np.zeros((N_TYPES, N_SLOTS, 3), np.int64)
    length = np.zeros((N_TYPES, N_SLOTS))
    angle = np.full((N_TYPES, N_SLOTS), np.pi / 2)
    offset = np.zeros((N_TYPES, N_SLOTS))
    chi_index = np.full((N_TYPES, N_SLOTS), 4, np.int64)
    exists = np.zeros((N_TYPES, N_SLOTS), bool)
    cb = np.zeros((N_TYPES, 3))
    n_ca_c = np.zeros(N_TYPES)
    parent[..., 1] = 1
    parent[..., 2] = 4
    for k, name in enumerate(RESIDUE_NAMES):
        exists[k, : len(SLOT_NAMES[k])] = True
        cb[k] = np.array(CB_COMPONENTS.get(name, CB_COMPONENTS["ALA"])) * ANGSTROM
        n_ca_c[k] = N_CA_C_ANGLE.get(name, 111.0) * DEGREE
        tree = SIDE_CHAIN_TREE.get(name, ())
        geometry = SIDE_CHAIN_GEOMETRY.get(name, ())
        for (atom, a, b, c, chi), row in zip(tree, geometry, strict=True):
            slot = ATOM_SLOT[k][atom]
            parent[k, slot] = [ATOM_SLOT[k][x] for x in (a, b, c)]
            length[k, slot] = row[1] * ANGSTROM
            angle[k, slot] = row[2] * DEGREE
            offset[k, slot] = row[3] * DEGREE
            chi_index[k, slot] = chi - 1 if chi else 4
    units = [
        _fit_unit(TRANS, False),
        _fit_unit(TRANS_BEFORE_PROLINE, False),
        _fit_unit(CIS, True),
    ]
    unit_range = [UNIT_DISTANCE_RANGE[x] for x in ("trans", "trans", "cis")]

    def real(array: object) -> Tensor:
        return torch.as_tensor(np.asarray(array), dtype=dtype, device=device)

    def whole(array: object) -> Tensor:
        return torch.as_tensor(np.asarray(array), device=device)

    return BuilderTables(
        parent=whole(parent),
        length=real(length),
        angle=real(angle),
        offset=real(offset),
        chi_index=whole(chi_index),
        exists=whole(exists),
        cb=real(cb),
        n_ca_c=real(n_ca_c),
        n_chi=whole(np.array(N_CHI_OF_TYPE)),
        pi_periodic=whole(np.array(CHI_IS_PI_PERIODIC)),
        unit=real([fit for fit, _ in units]),
        unit_center=real([center for _, center in units]),
        unit_range=real(unit_range) * ANGSTROM,
    )
