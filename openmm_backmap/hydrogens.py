"""HydrogenPlacer: all atoms of a frame from its heavy atoms, by template.

Positions follow from local frames (`residues.hydrogens`), for all sites of a
kind and all frames at once. Only hydroxyl and thiol hydrogens and phosphates
look at their surroundings: the torsion of lowest energy in a small set of
charges and repulsions around them is taken.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from openmm_backmap.errors import InputError
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.residues.atoms import N_SLOTS
from openmm_backmap.residues.hydrogens import PREVIOUS_C, AddedSite

__all__ = ["HydrogenPlacer"]

_EPSILON = 1e-12  # nm^2, under the square root of every norm

# United charges (heavy atom with its hydrogens) for choosing polar torsions;
# rounded ff14SB sums. Atoms not named: 0, oxygens -0.55.
_CHARGE = {
    "C": 0.55, "N": -0.15, "SG": -0.15, "SD": -0.25, "NZ": 0.6, "NH1": 0.1, "NH2": 0.1,
    "OG": -0.25, "OG1": -0.25, "OH": -0.2,
}  # fmt: skip
_RESIDUE_CHARGE = {
    ("ASP", "OD1"): -0.8, ("ASP", "OD2"): -0.8, ("GLU", "OE1"): -0.8,
    ("GLU", "OE2"): -0.8, ("HID", "NE2"): -0.55, ("HIE", "ND1"): -0.55,
    ("ARG", "CZ"): 0.8, ("ASN", "CG"): 0.6, ("GLN", "CD"): 0.6, ("ASP", "CG"): 0.7,
    ("GLU", "CD"): 0.7,
}  # fmt: skip
_COULOMB = 138.935456 * 0.4  # kJ nm/mol/e, times the charge of a polar hydrogen
_CONTACT = 0.24  # nm, hydrogen to heavy atom, where repulsion is 1 kJ/mol
_CONTACT_PHOSPHORUS = 0.36
_STEEPEST = 5.0  # largest (contact / distance)^2; its sixth power caps the repulsion
_BARRIER = 0.7  # kJ/mol, half the threefold barrier of C-C-O-H (ff14SB: 0.67)
_N_NEIGHBORS = 16
_REACH = 0.5  # nm


@dataclass(frozen=True, eq=False)
class _SiteGroup:
    """Sites of one kind, as index arrays into the output atoms."""

    parent: np.ndarray  # (S,)
    neighbors: np.ndarray  # (2 or 3, S)
    is_rotor: bool
    atom: np.ndarray  # (n,) added atoms
    site: np.ndarray  # (n,) the site each belongs to
    offset: np.ndarray  # (3, n) nm along the axes; first choice of the torsion
    free: np.ndarray  # (T,) sites whose torsion is chosen
    free_offset: np.ndarray  # (T, C, 3) offsets of their choices, nm
    free_torsion: np.ndarray  # (T, C) radians, nan where a choice is repeated
    free_atom: np.ndarray  # (T,) their added atom
    is_phosphorus: np.ndarray  # (T,) bool


class HydrogenPlacer:
    """Place hydrogens, terminal oxygens and phosphates of many frames.

    Parameters
    ----------
    atom_topology : AtomTopology
        The topology whose atoms are wanted. All tables are made here, once.

    Examples
    --------
    >>> placer = HydrogenPlacer(atom_topology)  # doctest: +SKIP
    >>> positions = placer.place(heavy, oxt)  # (F, N, 3)  # doctest: +SKIP
    """

    def __init__(self, atom_topology: AtomTopology) -> None:
        self.atom_topology = atom_topology
        self._is_slot = atom_topology.slot_atom >= 0
        self._slot_atom = atom_topology.slot_atom[self._is_slot]
        self._groups = _group_sites(atom_topology)
        n_free = sum(len(group.free) for group in self._groups)
        if n_free:
            self._charge = _united_charges(atom_topology)[self._slot_atom]

    def place(self, heavy: np.ndarray, oxt: np.ndarray) -> np.ndarray:
        """Assemble the atoms of F frames.

        Parameters
        ----------
        heavy : numpy.ndarray, shape (F, R, 14, 3), float32
            Heavy atoms by slot in nm; empty slots are not read.
        oxt : numpy.ndarray, shape (F, n_chains, 3), float32
            Terminal oxygen of each chain in nm.

        Returns
        -------
        numpy.ndarray, shape (F, N, 3), float32
            All atoms in the order of the topology, in nm. Non-finite heavy
            atoms give non-finite hydrogens.

        Raises
        ------
        InputError
            If the shapes do not fit the topology.
        """
        top = self.atom_topology
        n_frames = len(heavy)
        if heavy.shape != (n_frames, top.n_residues, N_SLOTS, 3):
            raise InputError(
                f"heavy atoms have shape {heavy.shape}, wanted "
                f"(frames, {top.n_residues}, {N_SLOTS}, 3)"
            )
        if oxt.shape != (n_frames, top.n_chains, 3):
            raise InputError(
                f"terminal oxygens have shape {oxt.shape}, wanted "
                f"({n_frames}, {top.n_chains}, 3)"
            )
        # Coordinates first: all arithmetic runs over contiguous atoms.
        atoms = np.zeros((3, n_frames, top.n_atoms), np.float32)
        slots = np.asarray(heavy, np.float32)[:, self._is_slot]
        atoms[:, :, self._slot_atom] = slots.transpose(2, 0, 1)
        atoms[:, :, top.oxt_atom] = np.asarray(oxt, np.float32).transpose(2, 0, 1)
        for group in self._groups:
            self._place_group(atoms, group)
        return np.ascontiguousarray(atoms.transpose(1, 2, 0))

    def _place_group(self, atoms: np.ndarray, group: _SiteGroup) -> None:
        parent = np.take(atoms, group.parent, axis=2)
        neighbors = [np.take(atoms, index, axis=2) for index in group.neighbors]
        axes = (_rotor_axes if group.is_rotor else _apex_axes)(parent, neighbors)
        position = np.take(parent, group.site, axis=2)
        for axis, offset in zip(axes, group.offset, strict=True):
            if offset.any():
                position += np.take(axis, group.site, axis=2) * offset
        atoms[:, :, group.atom] = position
        if len(group.free):
            self._choose_torsions(atoms, group, parent, axes)

    def _choose_torsions(
        self,
        atoms: np.ndarray,
        group: _SiteGroup,
        parent: np.ndarray,
        axes: list[np.ndarray],
    ) -> None:
        """Turn free sites to the torsion of lowest energy."""
        origin = parent[:, :, group.free].transpose(1, 2, 0)
        frame = np.stack([axis[:, :, group.free] for axis in axes], axis=-1)
        # (F, T, C, 3) positions of every choice
        choice = origin[:, :, None] + np.einsum(
            "xftk,tck->ftcx", frame, group.free_offset
        )
        energy = self._torsion_energy(atoms, group, origin, choice)
        energy += _BARRIER * (1.0 + np.cos(3.0 * group.free_torsion))
        best = np.argmin(np.where(np.isnan(energy), np.inf, energy), axis=2)
        best = best[:, :, None, None]
        chosen = np.take_along_axis(choice, best, axis=2)[:, :, 0]
        atoms[:, :, group.free_atom] = chosen.transpose(2, 0, 1)

    def _torsion_energy(
        self,
        atoms: np.ndarray,
        group: _SiteGroup,
        origin: np.ndarray,
        choice: np.ndarray,
    ) -> np.ndarray:
        """Energy of each choice with the heavy atoms near it, (F, T, C) kJ/mol."""
        cloud = atoms[:, :, self._slot_atom].transpose(1, 2, 0)
        n_frames, n_heavy = cloud.shape[:2]
        k = min(_N_NEIGHBORS, n_heavy)
        near = np.full((*origin.shape[:2], k), n_heavy, np.int64)
        for f in range(n_frames):
            if np.isfinite(cloud[f]).all():
                tree = cKDTree(cloud[f], balanced_tree=False, compact_nodes=False)
                near[f] = tree.query(origin[f], k, distance_upper_bound=_REACH)[1]
        is_near = (near < n_heavy).astype(np.float32)
        near[near == n_heavy] = 0
        atom = cloud[np.arange(n_frames)[:, None, None], near]  # (F, T, K, 3)
        delta = choice[:, :, :, None] - atom[:, :, None]
        square = np.einsum("ftckx,ftckx->ftck", delta, delta) + 1e-4
        contact = np.where(group.is_phosphorus, _CONTACT_PHOSPHORUS, _CONTACT)
        ratio = np.square(contact, dtype=np.float32)[:, None, None] / square
        cube = np.minimum(ratio, _STEEPEST) ** 3
        charge = np.where(group.is_phosphorus[:, None], 0.0, self._charge[near])
        pull = (_COULOMB * charge).astype(np.float32)[:, :, None] / np.sqrt(square)
        return np.einsum("ftck,ftk->ftc", cube * cube + pull, is_near)


def _normalize(vector: np.ndarray) -> np.ndarray:
    """Unit vectors of (3, F, S); a null vector stays null."""
    square = vector[0] * vector[0]
    square += vector[1] * vector[1]
    square += vector[2] * vector[2]
    square += _EPSILON
    return vector / np.sqrt(square)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.stack(
        (
            u[1] * v[2] - u[2] * v[1],
            u[2] * v[0] - u[0] * v[2],
            u[0] * v[1] - u[1] * v[0],
        )
    )


def _apex_axes(parent: np.ndarray, neighbors: list[np.ndarray]) -> list[np.ndarray]:
    """Axes away from the neighbours and along first x second bond."""
    bonds = [_normalize(neighbor - parent) for neighbor in neighbors]
    away = _normalize(-sum(bonds[1:], start=bonds[0]))
    return [away, _normalize(_cross(bonds[0], bonds[1])), np.zeros_like(away)]


def _rotor_axes(parent: np.ndarray, neighbors: list[np.ndarray]) -> list[np.ndarray]:
    """Axes along b -> parent, in the half plane of a, and perpendicular."""
    b, a = neighbors
    along = _normalize(parent - b)
    arm = a - b
    arm = arm - (arm[0] * along[0] + arm[1] * along[1] + arm[2] * along[2]) * along
    arm = _normalize(arm)
    return [along, arm, _cross(along, arm)]


def _group_sites(top: AtomTopology) -> list[_SiteGroup]:
    """Collect the sites of all residues by kind, added parents last."""
    buckets: dict[tuple[int, bool, int], list[tuple[AddedSite, int, list, list]]] = {}
    templates = top.templates()
    previous_c = np.concatenate(([-1], top.slot_atom[:-1, 2])).tolist()
    for r, (template, first) in enumerate(
        zip(templates, top.first_atom[:-1].tolist(), strict=True)
    ):
        place = {name: first + k for k, name in enumerate(template.atom_names)}
        place[PREVIOUS_C] = previous_c[r]
        for site in template.sites:
            key = (int(site.parent == "P"), site.is_rotor, len(site.neighbors))
            neighbors = [place[name] for name in site.neighbors]
            added = [place[name] for name in site.names]
            buckets.setdefault(key, []).append(
                (site, place[site.parent], neighbors, added)
            )
    return [_make_group(buckets[key], key[1]) for key in sorted(buckets)]


def _make_group(rows: list, is_rotor: bool) -> _SiteGroup:
    n_added = [len(row[3]) for row in rows]
    free = [k for k, row in enumerate(rows) if row[0].torsions]
    n_choices = max((len(rows[k][0].torsions) for k in free), default=0)
    free_offset = np.zeros((len(free), n_choices, 3), np.float32)
    free_torsion = np.full((len(free), n_choices), np.nan, np.float32)
    for t, k in enumerate(free):
        site = rows[k][0]
        n = len(site.torsions)
        free_offset[t, :n] = np.asarray(site.offsets)[:, 0]
        free_torsion[t, :n] = site.torsions
    return _SiteGroup(
        parent=np.array([row[1] for row in rows], np.int64),
        neighbors=np.array([row[2] for row in rows], np.int64).T.copy(),
        is_rotor=is_rotor,
        atom=np.array([a for row in rows for a in row[3]], np.int64),
        site=np.repeat(np.arange(len(rows)), n_added),
        offset=np.array(
            [o for row in rows for o in row[0].offsets[0]], np.float32
        ).T.copy(),
        free=np.array(free, np.int64),
        free_offset=free_offset,
        free_torsion=free_torsion,
        free_atom=np.array([rows[k][3][0] for k in free], np.int64),
        is_phosphorus=np.array([rows[k][0].names == ("P",) for k in free], bool),
    )


def _united_charges(top: AtomTopology) -> np.ndarray:
    """Charge of every atom as seen by a polar hydrogen, shape (N,), in e."""
    charge = np.zeros(top.n_atoms, np.float32)
    rows = zip(top.variant, top.templates(), top.first_atom[:-1], strict=True)
    for variant, template, first in rows:
        for k, name in enumerate(template.atom_names):
            default = -0.55 if name[0] == "O" else 0.0
            charge[first + k] = _RESIDUE_CHARGE.get(
                (variant, name), _CHARGE.get(name, default)
            )
    return charge
