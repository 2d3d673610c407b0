"""Phosphates, turned to where all of their atoms have room.

A phosphate has two torsions: of the phosphorus about the side chain's last bond,
and of its three oxygens about O-P. Both are tried together, against everything
that is around and against the other phosphates, which turn in their turn.
"""

import numpy as np
from scipy.spatial import cKDTree

from openmm_backmap.hydrogen_groups import SiteGroup
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.residues.names import PHOSPHORYLATED

__all__ = ["PhosphateTurner"]

_TURNS = np.radians(np.arange(0.0, 360.0, 10.0))
"""Turns of the phosphorus."""

_OXYGEN_TURNS = np.radians(np.arange(0.0, 120.0, 20.0))
"""Turns of the oxygens, which look the same after 120 degrees."""

_CONTACT = {"P": 0.36, "O": 0.31, "H": 0.25}
"""Distance in nm at which a phosphorus or an oxygen repels by 1."""

_REACH = 0.8  # nm from the side chain's oxygen
_CROWDED = 0.5  # repulsion above which a phosphate turns
_STEEPEST = 4.0  # largest (contact / distance)^2; its sixth power caps the repulsion
_CHARGE = 0.06  # nm, of (-1 e) oxygens with charges: likes apart, salt bridges
_N_ROUNDS = 3


class PhosphateTurner:
    """Turn the phosphates of a topology, frame by frame.

    Parameters
    ----------
    atom_topology : AtomTopology
        N atoms.
    groups : list of SiteGroup
        Its added atoms, see `group_sites`.
    charge : numpy.ndarray, shape (N,)
        United charges in e.
    """

    def __init__(
        self, atom_topology: AtomTopology, groups: list[SiteGroup], charge: np.ndarray
    ) -> None:
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        self._own: list[np.ndarray] = []
        self._third: list[np.ndarray] = []
        if not PHOSPHORYLATED.keys() & set(atom_topology.variant):
            return
        atoms = list(atom_topology.topology.atoms())
        symbol = [atom.element.symbol for atom in atoms]
        bonded: dict[int, set[int]] = {atom.index: set() for atom in atoms}
        for first, second in atom_topology.topology.bonds():
            bonded[first.index].add(second.index)
            bonded[second.index].add(first.index)
        self._is_hydrogen = np.array([s == "H" for s in symbol])
        self._charge = charge
        oxygens = {
            int(parent): (group, k)
            for group in groups
            for k, parent in enumerate(group.parent)
            if symbol[parent] == "P"
        }
        for group in groups:
            for k, added in enumerate(group.added):
                if symbol[added[0]] != "P":
                    continue
                last, number = oxygens[int(added[0])]
                index = np.concatenate(
                    (
                        group.neighbors[::-1, k],
                        group.parent[k : k + 1],
                        added,
                        last.added[number],
                    )
                )  # a, b, O, P and its oxygens
                self._parts.append(
                    (index, group.offset[0, :, k], last.offset[0, :, number])
                )
                self._own.append(index[1:])
                third = bonded[int(index[1])] - {int(index[2])}
                self._third.append(np.array(sorted(third)))

    @property
    def n_phosphates(self) -> int:
        """Number of phosphates of a frame."""
        return len(self._parts)

    def turn(self, atoms: np.ndarray) -> None:
        """Turn the phosphates of a frame, in place.

        Parameters
        ----------
        atoms : numpy.ndarray, shape (N, 3)
            All atoms in nm. A frame that is not finite is left alone.
        """
        if not self._parts or not np.isfinite(atoms).all():
            return
        for _ in range(_N_ROUNDS):
            tree = cKDTree(atoms)
            moved = False
            for (index, first, second), own, third in zip(
                self._parts, self._own, self._third, strict=True
            ):
                near = np.array(tree.query_ball_point(atoms[index[2]], _REACH))
                near = near[~np.isin(near, own)]
                if not len(near):
                    continue
                points = atoms[near]
                linked = np.isin(near, third)
                wall, _ = self._rate(atoms[index[3:]][None], points, near, linked)
                if wall[0] < _CROWDED:
                    continue
                choices = _make_choices(atoms[index[:3]], first, second)
                energy = sum(self._rate(choices, points, near, linked))
                best = choices[int(np.argmin(energy))]
                moved |= bool(np.abs(best - atoms[index[3:]]).max() > 1e-4)
                atoms[index[3:]] = best
            if not moved:
                break

    def _rate(
        self,
        choices: np.ndarray,
        points: np.ndarray,
        which: np.ndarray,
        linked: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Repulsion and pull (C,) of choices (C, 4, 3) among points (K, 3).

        Those `linked` (K,) are three bonds from P, which does not repel them.
        """
        flat = choices.reshape(-1, 3) - points.mean(axis=0)
        points = points - points.mean(axis=0)
        square = (flat * flat).sum(1)[:, None] + (points * points).sum(1)
        square -= 2.0 * (flat @ points.T)
        square = np.maximum(square, 1e-4).reshape(len(choices), 4, -1)
        contact = np.full((4, len(points)), _CONTACT["O"], np.float32)
        contact[0] = _CONTACT["P"]
        contact[:, self._is_hydrogen[which]] = _CONTACT["H"]
        contact[0, linked] = 0.0
        ratio = np.minimum(contact * contact / square, _STEEPEST)
        ratio = ratio * ratio * ratio
        wall = (ratio * ratio).sum(axis=(1, 2))
        pull = self._charge[which] / np.sqrt(square[:, 1:])
        return wall, -_CHARGE * pull.sum(axis=(1, 2))


def _make_choices(
    placed: np.ndarray, first: np.ndarray, second: np.ndarray
) -> np.ndarray:
    """P and its oxygens (C, 4, 3) for all torsions.

    `placed` (3, 3) are a, b and the oxygen that P is on; `first` (3, 1) is P along
    the axes of that rotor at one torsion, `second` (3, 3) the oxygens along theirs.
    """
    a, b, oxygen = placed
    phosphorus = oxygen + _turn(first, _TURNS)[..., 0] @ _axes(oxygen, b, a)
    turned = _turn(second, _OXYGEN_TURNS).transpose(0, 2, 1)  # (T, 3, 3)
    found = []
    for p in phosphorus:
        oxygens = p + turned @ _axes(p, oxygen, b)
        center = np.broadcast_to(p, (len(oxygens), 1, 3))
        found.append(np.concatenate((center, oxygens), axis=1))
    return np.concatenate(found)


def _turn(offset: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Offsets (3, A) along a rotor's axes, turned about it: (T, 3, A)."""
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
    along = np.broadcast_to(offset[0], (len(angles), offset.shape[1]))
    return np.stack(
        (
            along,
            cosine * offset[1] - sine * offset[2],
            sine * offset[1] + cosine * offset[2],
        ),
        axis=1,
    )


def _axes(parent: np.ndarray, b: np.ndarray, a: np.ndarray) -> np.ndarray:
    """Rows along b -> parent, in the half plane of a, and perpendicular."""
    along = parent - b
    along = along / max(float(np.linalg.norm(along)), 1e-6)
    arm = a - b
    arm = arm - (arm @ along) * along
    arm = arm / max(float(np.linalg.norm(arm)), 1e-6)
    return np.stack((along, arm, np.cross(along, arm)))
