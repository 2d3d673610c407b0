"""HydrogenPlacer: all atoms of a frame from its heavy atoms, by template.

Positions follow from local frames (`residues.hydrogens`), for all sites of a
kind and all frames at once. Hydroxyls, thiols and phosphates, and methyls and
ammoniums without room, look at their surroundings: of a few torsions they take
that of lowest energy with the charges and contacts around them. Of two that
turn towards each other one turns away.
"""

from itertools import takewhile

import numpy as np
from scipy.spatial import cKDTree

from openmm_backmap.errors import InputError
from openmm_backmap.hydrogen_groups import (
    SiteGroup,
    compute_united_charges,
    group_sites,
)
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.phosphates import PhosphateTurner
from openmm_backmap.residues.atoms import N_SLOTS

__all__ = ["HydrogenPlacer"]

_EPSILON = 1e-12  # nm^2, under the square root of every norm
_CHUNK_ATOMS = 50_000  # atoms of the frames that are placed at once

# Distance in nm at which the repulsion of an added atom is 1 kJ/mol: from a
# hydrogen to a heavy atom and to a hydrogen, and factors of other added atoms.
_CONTACT_HEAVY, _CONTACT_HYDROGEN = 0.24, 0.20
_STEEPEST = 5.0  # largest (contact / distance)^2; its sixth power caps the repulsion
_BARRIER = {1: 0.7, 3: 2.9}  # kJ/mol, half the threefold barrier, by added atoms
_CROWDED = 3.0  # kJ/mol of repulsion above which a staggered methyl may turn
_N_NEIGHBORS = {1: 20, 3: 14}  # nearest atoms that are looked at, by added atoms
# nm, between the bonded heavy atoms or hydrogens of a parent and any others
_BONDED_HEAVY, _BONDED_HYDROGEN = 0.19, 0.13
_REACH = {1: 0.45, 3: 0.36}  # nm
_TOO_CLOSE = 0.175  # nm, of hydrogens that turn: 5 kJ/mol
_N_ROUNDS = 2  # in which such part


class HydrogenPlacer:
    """Place hydrogens, terminal oxygens and phosphates of many frames.

    Parameters
    ----------
    atom_topology : AtomTopology
        The topology whose atoms are wanted. All tables are made here, once.

    Examples
    --------
    >>> from openmm_backmap.mapping.cg_topology import CGTopology
    >>> cg_topology = CGTopology.from_sequence("GAG")
    >>> placer = HydrogenPlacer(AtomTopology.from_cg_topology(cg_topology))
    >>> heavy = np.random.default_rng(0).normal(size=(2, 3, 14, 3))
    >>> oxt = np.ones((2, 1, 3))
    >>> placer.place(heavy, oxt).shape
    (2, 27, 3)
    """

    def __init__(self, atom_topology: AtomTopology) -> None:
        self.atom_topology = atom_topology
        self._is_slot = atom_topology.slot_atom >= 0
        self._slot_atom = atom_topology.slot_atom[self._is_slot]
        self._groups = group_sites(atom_topology)
        # What free sites look at: heavy atoms, then hydrogens placed before them.
        rigid = [group.added.ravel() for group in takewhile(_is_rigid, self._groups)]
        heavy = np.concatenate((self._slot_atom, atom_topology.oxt_atom))
        self._cloud_atom = np.concatenate((heavy, *rigid))
        n_atoms = atom_topology.n_atoms
        self._contact = np.full(n_atoms, _CONTACT_HYDROGEN, np.float32)
        self._contact[heavy] = _CONTACT_HEAVY
        bonded = np.full(n_atoms, _BONDED_HYDROGEN)
        bonded[heavy] = _BONDED_HEAVY
        self._charge = np.zeros(n_atoms, np.float32)
        united = compute_united_charges(atom_topology)
        self._charge[heavy] = united[heavy]
        self._phosphates = PhosphateTurner(atom_topology, self._groups, united)
        # hydrogens that turn and the numbers of their sites, those of methyls first
        turning = [g for g in self._groups if g.is_free and g.adds_hydrogens]
        self._turning = sorted(turning, key=lambda group: -group.added.shape[1])
        self._first_site = np.cumsum([0] + [len(g.parent) for g in self._turning])
        atoms, sites = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for first, group in zip(self._first_site[:-1], self._turning, strict=True):
            atoms.append(group.added.ravel())
            number = first + np.arange(len(group.parent))
            sites.append(np.repeat(number, group.added.shape[1]))
        self._turning_atom = np.concatenate(atoms)
        self._turning_site = np.concatenate(sites)
        self._cloud_bonded = bonded[self._cloud_atom]
        self._turning_bonded = bonded[self._turning_atom]

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
        atoms = np.zeros((n_frames, top.n_atoms, 3), np.float32)
        step = max(1, _CHUNK_ATOMS // top.n_atoms)
        for k in range(0, n_frames, step):
            atoms[k : k + step] = self._place_chunk(
                heavy[k : k + step], oxt[k : k + step]
            )
        return atoms

    def _place_chunk(self, heavy: np.ndarray, oxt: np.ndarray) -> np.ndarray:
        top = self.atom_topology
        # Coordinates first: all arithmetic runs over contiguous atoms.
        atoms = np.zeros((3, len(heavy), top.n_atoms), np.float32)
        slots = np.asarray(heavy, np.float32)[:, self._is_slot]
        atoms[:, :, self._slot_atom] = slots.transpose(2, 0, 1)
        atoms[:, :, top.oxt_atom] = np.asarray(oxt, np.float32).transpose(2, 0, 1)
        cloud, trees = None, []
        for group in self._groups:
            parent = np.take(atoms, group.parent, axis=2)
            neighbors = [np.take(atoms, index, axis=2) for index in group.neighbors]
            axes = (_rotor_axes if group.is_rotor else _apex_axes)(parent, neighbors)
            # first choice everywhere: (3, F, S, A)
            position = np.repeat(parent[..., None], group.added.shape[1], axis=3)
            for axis, offset in zip(axes, group.offset[0], strict=True):
                if offset.any():
                    position += axis[..., None] * offset
            if group.is_free:
                if cloud is None:
                    cloud = np.take(atoms, self._cloud_atom, axis=2).transpose(1, 2, 0)
                    cloud = np.ascontiguousarray(cloud)
                    trees = [_make_tree(points) for points in cloud]
                self._turn(position, group, parent, axes, cloud, trees)
            atoms[:, :, group.added] = position
        self._part(atoms, trees)
        whole = atoms.transpose(1, 2, 0)
        if self._phosphates.n_phosphates:
            whole = np.ascontiguousarray(whole)
            for frame in whole:
                self._phosphates.turn(frame)
        return whole

    def _turn(
        self,
        position: np.ndarray,
        group: SiteGroup,
        parent: np.ndarray,
        axes: list[np.ndarray],
        cloud: np.ndarray,
        trees: list[cKDTree],
    ) -> None:
        """Turn free sites, in place, to the torsion of lowest energy."""
        n_added = group.added.shape[1]
        origin = parent.transpose(1, 2, 0)
        frame, site = (index.ravel() for index in np.indices(origin.shape[:2]))
        near = [
            _find_near(tree, points, n_added, self._cloud_bonded)
            for tree, points in zip(trees, origin, strict=True)
        ]
        near, is_near = (np.concatenate(part) for part in zip(*near, strict=True))
        # all relative to the parent; n runs over frames and sites
        points = cloud[frame[:, None], near] - origin[frame, site][:, None]
        atom = self._cloud_atom[near]
        if n_added == 3:
            first = (position - parent[..., None]).reshape(3, -1, 3).transpose(1, 2, 0)
            contact = self._contact[atom] * group.scale[site, None] * is_near
            wall, _ = _contact_energy(first, points, contact)
            crowded = np.flatnonzero(wall.sum(axis=(1, 2)) > _CROWDED)
            frame, site = frame[crowded], site[crowded]
            points, atom, is_near = points[crowded], atom[crowded], is_near[crowded]
        if not len(frame):
            return
        basis = np.stack([axis[:, frame, site] for axis in axes])  # (3, 3, n)
        chosen = self._choose(group, site, basis, points, atom, is_near)
        chosen += origin[frame, site, None]
        position[:, frame, site] = chosen.transpose(2, 0, 1)

    def _choose(
        self,
        group: SiteGroup,
        site: np.ndarray,
        basis: np.ndarray,
        points: np.ndarray,
        atom: np.ndarray,
        is_near: np.ndarray,
    ) -> np.ndarray:
        """Added atoms (n, A, 3) of lowest energy, relative to the parents.

        Of n sites with axes (3, 3, n) and the K atoms around each: where, which, and
        whether they are there.
        """
        n_sites, n_added = len(site), group.added.shape[1]
        offset = group.offset[:, :, site].transpose(2, 0, 3, 1)  # (n, C, A, 3)
        choice = offset.reshape(n_sites, -1, 3) @ basis.transpose(2, 0, 1)
        contact = self._contact[atom] * group.scale[site, None] * is_near
        pairs, square = _contact_energy(choice, points, contact)
        if group.coulomb.any():
            pull = self._charge[atom] * is_near * group.coulomb[site, None]
            pairs += pull[:, None] / np.sqrt(square)
        energy = pairs.reshape(n_sites, len(group.torsion), -1).sum(axis=2)
        energy += _BARRIER[n_added] * (1.0 + np.cos(3.0 * group.torsion[:, site].T))
        best = np.argmin(np.where(np.isnan(energy), np.inf, energy), axis=1)
        choice = choice.reshape(n_sites, -1, n_added, 3)
        return choice[np.arange(n_sites), best]

    def _part(self, atoms: np.ndarray, trees: list[cKDTree]) -> None:
        """Turn hydrogens (3, F, N) away from each other that did not know of it.

        The trees are those of the cloud.
        """
        for f, tree in enumerate(trees):
            for turn in range(_N_ROUNDS):
                turning = _make_tree(atoms[:, f, self._turning_atom].T)
                pairs = turning.query_pairs(_TOO_CLOSE, output_type="ndarray")
                sites = self._turning_site[pairs]
                sites = sites[sites[:, 0] != sites[:, 1]]
                if not len(sites):
                    break
                # one of both, then the other one
                sites = np.unique(np.sort(sites, axis=1)[:, turn % 2])
                self._turn_away(atoms[:, f], sites, tree, turning)

    def _turn_away(
        self, atoms: np.ndarray, sites: np.ndarray, cloud: cKDTree, turning: cKDTree
    ) -> None:
        """Turn sites of a frame (3, N), in place, with those that turn around them."""
        for k, group in enumerate(self._turning):
            first, end = self._first_site[k : k + 2]
            site = sites[(sites >= first) & (sites < end)] - first
            if not len(site):
                continue
            parent = atoms[:, group.parent[site]]
            neighbors = [atoms[:, index[site]] for index in group.neighbors]
            axes = (_rotor_axes if group.is_rotor else _apex_axes)(parent, neighbors)
            origin = parent.T[:, None]
            n_added = group.added.shape[1]
            rest, is_rest = _find_near(cloud, parent.T, n_added, self._cloud_bonded)
            other, is_other = _find_near(
                turning, parent.T, n_added, self._turning_bonded
            )
            atom = np.concatenate(
                (self._cloud_atom[rest], self._turning_atom[other]), axis=1
            )
            is_near = np.concatenate((is_rest, is_other), axis=1)
            points = atoms.T[atom] - origin
            chosen = self._choose(group, site, np.stack(axes), points, atom, is_near)
            atoms[:, group.added[site]] = (chosen + origin).transpose(2, 0, 1)


def _is_rigid(group: SiteGroup) -> bool:
    return not group.is_free


def _make_tree(points: np.ndarray) -> cKDTree:
    """Tree of one frame's points; an empty one if the frame is broken."""
    if not np.isfinite(points).all():
        points = points[:0]
    return cKDTree(points, balanced_tree=False, compact_nodes=False)


def _find_near(
    tree: cKDTree, origin: np.ndarray, n_added: int, bonded: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest points (S, K) of parents (S, 3) that are not bonded, and which exist.

    Bonded ones are nearer than `bonded`, in nm, of each point.
    """
    k = _N_NEIGHBORS[n_added]
    near = np.zeros((len(origin), k), np.int64)
    is_near = np.zeros(near.shape, bool)
    if tree.n > 0 and np.isfinite(origin).all():
        distance, index = tree.query(
            origin, np.arange(1, k + 1), distance_upper_bound=_REACH[n_added]
        )
        near = np.where(index < tree.n, index, 0)
        is_near = (index < tree.n) & (distance > bonded[near])
    return near, is_near


def _contact_energy(
    atoms: np.ndarray, points: np.ndarray, contact: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Repulsion in kJ/mol and squared distance, both (n, C, K).

    Of atoms (n, C, 3) with points (n, K, 3) whose contact distances are
    (n, K); all in nm.
    """
    square = atoms @ points.transpose(0, 2, 1)
    square *= -2.0
    square += np.einsum("ncx,ncx->nc", atoms, atoms)[:, :, None]
    square += np.einsum("nkx,nkx->nk", points, points)[:, None]
    np.maximum(square, 1e-4, out=square)
    ratio = np.minimum((contact * contact)[:, None] / square, _STEEPEST)
    energy = ratio * ratio
    energy *= ratio
    energy *= energy
    return energy, square


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
