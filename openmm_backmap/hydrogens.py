"""HydrogenPlacer: all atoms of a frame from its heavy atoms, by template.

Positions follow from local frames (`residues.hydrogens`), for all sites of a
kind and all frames at once. Hydroxyls, thiols and phosphates, and methyls and
ammoniums without room, look at their surroundings: of a few torsions they take
that of lowest energy with the charges and contacts around them.
"""

from dataclasses import dataclass
from itertools import takewhile

import numpy as np
from scipy.spatial import cKDTree

from openmm_backmap.errors import InputError
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.residues.atoms import N_SLOTS
from openmm_backmap.residues.hydrogens import PREVIOUS_C, AddedSite
from openmm_backmap.residues.templates import ResidueTemplate

__all__ = ["HydrogenPlacer"]

_EPSILON = 1e-12  # nm^2, under the square root of every norm
_CHUNK_ATOMS = 50_000  # atoms of the frames that are placed at once

# United charges (heavy atom with its hydrogens) for choosing torsions; rounded
# ff14SB sums. Atoms not named: 0, oxygens -0.55.
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
# Distance in nm at which the repulsion of an added atom is 1 kJ/mol: from a
# hydrogen to a heavy atom and to a hydrogen, and factors of other added atoms.
_CONTACT_HEAVY, _CONTACT_HYDROGEN = 0.24, 0.20
_SCALE_POLAR, _SCALE_PHOSPHORUS = 0.8, 1.5
_STEEPEST = 5.0  # largest (contact / distance)^2; its sixth power caps the repulsion
_BARRIER = {1: 0.7, 3: 2.9}  # kJ/mol, half the threefold barrier, by added atoms
_CROWDED = 3.0  # kJ/mol of repulsion above which a staggered methyl may turn
_N_NEIGHBORS = {1: 20, 3: 14}  # nearest atoms that are looked at, by added atoms
_BONDED = 0.19  # nm; the parent and its heavy neighbours are nearer
_REACH = {1: 0.45, 3: 0.36}  # nm
_MAX_SITES = 64  # more than a residue has


@dataclass(frozen=True, eq=False)
class _SiteGroup:
    """S sites of one kind with A added atoms each, as indices of output atoms."""

    parent: np.ndarray  # (S,)
    neighbors: np.ndarray  # (2 or 3, S)
    is_rotor: bool
    added: np.ndarray  # (S, A)
    offset: np.ndarray  # (C, 3, S, A) nm along the axes, for each choice
    torsion: np.ndarray  # (C, S) radians; no choice: (0, S)
    coulomb: np.ndarray  # (S,) kJ nm/mol/e
    scale: np.ndarray  # (S,) of contact distances

    @property
    def is_free(self) -> bool:
        """Whether there is a choice of torsions."""
        return len(self.torsion) > 0


@dataclass(frozen=True, eq=False)
class _SiteRows:
    """One site of a template, in all residues that have it."""

    site: AddedSite
    order: np.ndarray  # (S,) rising with residue and site
    parent: np.ndarray  # (S,)
    neighbors: np.ndarray  # (2 or 3, S)
    added: np.ndarray  # (S, A)


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
        self._groups = _group_sites(atom_topology)
        # What free sites look at: heavy atoms, then hydrogens placed before them.
        rigid = [group.added.ravel() for group in takewhile(_is_rigid, self._groups)]
        n_rigid = sum(map(len, rigid))
        self._cloud_atom = np.concatenate((self._slot_atom, *rigid))
        self._cloud_contact = np.repeat(
            np.float32([_CONTACT_HEAVY, _CONTACT_HYDROGEN]),
            [len(self._slot_atom), n_rigid],
        )
        self._cloud_charge = np.zeros(len(self._cloud_atom), np.float32)
        heavy_charge = _united_charges(atom_topology)[self._slot_atom]
        self._cloud_charge[: len(self._slot_atom)] = heavy_charge

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
        return atoms.transpose(1, 2, 0)

    def _turn(
        self,
        position: np.ndarray,
        group: _SiteGroup,
        parent: np.ndarray,
        axes: list[np.ndarray],
        cloud: np.ndarray,
        trees: list[cKDTree],
    ) -> None:
        """Turn free sites, in place, to the torsion of lowest energy."""
        n_frames, n_cloud = cloud.shape[:2]
        n_added = group.added.shape[1]
        k = min(_N_NEIGHBORS[n_added], n_cloud)
        reach = _REACH[n_added]
        origin = parent.transpose(1, 2, 0)
        near = np.zeros((*origin.shape[:2], k), np.int64)
        is_near = np.zeros(near.shape, bool)
        for f, tree in enumerate(trees):
            if tree.n == n_cloud and np.isfinite(origin[f]).all():
                distance, index = tree.query(origin[f], k, distance_upper_bound=reach)
                is_near[f] = (distance > _BONDED) & (index < n_cloud)
                near[f] = np.where(is_near[f], index, 0)
        # all relative to the parent; n runs over frames and sites
        points = cloud[np.arange(n_frames)[:, None, None], near] - origin[:, :, None]
        points = points.reshape(-1, k, 3)
        contact = self._cloud_contact[near] * group.scale[:, None] * is_near
        contact = contact.reshape(-1, k)
        frame, site = (index.ravel() for index in np.indices(origin.shape[:2]))
        if n_added == 3:
            first = (position - parent[..., None]).reshape(3, -1, 3).transpose(1, 2, 0)
            wall, _ = _contact_energy(first, points, contact)
            crowded = np.flatnonzero(wall.sum(axis=(1, 2)) > _CROWDED)
            frame, site = frame[crowded], site[crowded]
            points, contact = points[crowded], contact[crowded]
        if not len(frame):
            return
        basis = np.stack([axis[:, frame, site] for axis in axes])  # (3, 3, n)
        offset = group.offset[:, :, site].transpose(2, 0, 3, 1)  # (n, C, A, 3)
        choice = offset.reshape(len(site), -1, 3) @ basis.transpose(2, 0, 1)
        pairs, square = _contact_energy(choice, points, contact)
        if group.coulomb.any():
            pull = self._cloud_charge[near[frame, site]] * is_near[frame, site]
            pull *= group.coulomb[site, None]
            pairs += pull[:, None] / np.sqrt(square)
        energy = pairs.reshape(len(site), -1, n_added * k).sum(axis=2)
        energy += _BARRIER[n_added] * (1.0 + np.cos(3.0 * group.torsion[:, site].T))
        best = np.argmin(np.where(np.isnan(energy), np.inf, energy), axis=1)
        choice = choice.reshape(len(site), -1, n_added, 3)
        chosen = choice[np.arange(len(best)), best]  # (n, A, 3)
        chosen += origin[frame, site, None]
        position[:, frame, site] = chosen.transpose(2, 0, 1)


def _is_rigid(group: _SiteGroup) -> bool:
    return not group.is_free


def _make_tree(points: np.ndarray) -> cKDTree:
    """Tree of one frame's points; an empty one if the frame is broken."""
    if not np.isfinite(points).all():
        points = points[:0]
    return cKDTree(points, balanced_tree=False, compact_nodes=False)


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


def _group_sites(top: AtomTopology) -> list[_SiteGroup]:
    """Collect sites by kind: rigid ones, then free ones, then added parents."""
    previous_c = np.concatenate(([-1], top.slot_atom[:-1, 2]))
    buckets: dict[tuple, list[_SiteRows]] = {}
    for template, residues in _residues_by_template(top.templates()):
        place = {name: k for k, name in enumerate(template.atom_names)}
        first = top.first_atom[residues]
        for number, site in enumerate(template.sites):
            key = (
                site.parent == "P",
                len(site.torsions),
                site.is_rotor,
                len(site.neighbors),
                len(site.names),
            )
            neighbors = [
                previous_c[residues] if name == PREVIOUS_C else first + place[name]
                for name in site.neighbors
            ]
            added = first[:, None] + np.array([place[name] for name in site.names])
            rows = _SiteRows(
                site,
                residues * _MAX_SITES + number,
                first + place[site.parent],
                np.stack(neighbors),
                added,
            )
            buckets.setdefault(key, []).append(rows)
    return [_make_group(buckets[key]) for key in sorted(buckets)]


def _residues_by_template(
    templates: list[ResidueTemplate],
) -> list[tuple[ResidueTemplate, np.ndarray]]:
    """List the residues of each template: what is common to them is done once."""
    residues: dict[int, list[int]] = {}
    for r, template in enumerate(templates):
        residues.setdefault(id(template), []).append(r)
    return [(templates[rows[0]], np.array(rows)) for rows in residues.values()]


def _make_group(parts: list[_SiteRows]) -> _SiteGroup:
    """Join the sites of a kind in the order of the residues."""
    order = np.argsort(np.concatenate([part.order for part in parts]))
    which = np.repeat(np.arange(len(parts)), [len(part.order) for part in parts])[order]
    sites = [part.site for part in parts]
    offset = np.array([site.offsets for site in sites], np.float32)  # (T, C, A, 3)
    torsion = np.array([site.torsions for site in sites], np.float32)
    polar = np.array([s.parent[0] in "NOS" and s.names[0] != "P" for s in sites])
    scale = np.where(polar, _SCALE_POLAR, 1.0)
    scale[[site.names == ("P",) for site in sites]] = _SCALE_PHOSPHORUS
    return _SiteGroup(
        parent=np.concatenate([part.parent for part in parts])[order],
        neighbors=np.concatenate([part.neighbors for part in parts], axis=1)[:, order],
        is_rotor=sites[0].is_rotor,
        added=np.concatenate([part.added for part in parts])[order],
        offset=offset[which].transpose(1, 3, 0, 2).copy(),
        torsion=torsion[which].T.copy(),
        coulomb=np.where(polar, _COULOMB, 0.0).astype(np.float32)[which],
        scale=scale.astype(np.float32)[which],
    )


def _united_charges(top: AtomTopology) -> np.ndarray:
    """Charge of every atom as seen by a polar hydrogen, shape (N,), in e."""
    known: dict[tuple[str, int], np.ndarray] = {}
    parts = []
    for variant, template in zip(top.variant, top.templates(), strict=True):
        key = variant, id(template)
        if key not in known:
            known[key] = np.float32(
                [
                    _RESIDUE_CHARGE.get(
                        (variant, name),
                        _CHARGE.get(name, -0.55 if name[0] == "O" else 0.0),
                    )
                    for name in template.atom_names
                ]
            )
        parts.append(known[key])
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
