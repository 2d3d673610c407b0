"""A structure-based (Go) model with one bead a residue, from any structure."""

from importlib import resources
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from openmm_backmap.errors import InputError
from openmm_backmap.geometry.pairs import find_close_pairs
from openmm_backmap.residues.names import (
    CODES,
    is_protein_residue,
    residue_type_of,
)
from openmm_backmap.testsystems.cg_system import CGTestSystem, make_ca_topology

__all__ = ["CAGoModel"]

_MASS = 110.0  # dalton, an average residue
_BREAK = 0.45  # nm; consecutive CAs farther apart are not bonded
_CONTACT_CUTOFF = 0.45  # nm between heavy atoms
_CA_CONTACT_CUTOFF = 0.75  # nm between CAs, where a file has no other atoms
_EXCLUDED_RADIUS = 0.4  # nm, sigma_0 of Clementi et al.
_CUTOFF = 1.0  # nm; (0.4 / 1.0)^12 = 2e-5


def _read_structure(
    path: Path | str,
) -> tuple[list[str], list[list[str]], np.ndarray, list[np.ndarray]]:
    """Read sequences, residue ids, CAs and the heavy atoms of each residue."""
    path = Path(path)
    if not path.exists():
        raise InputError(f"structure {path} does not exist: give a PDB or mmCIF file")
    reader = app.PDBxFile if path.suffix in (".cif", ".mmcif") else app.PDBFile
    file = reader(str(path))
    positions = file.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    sequences, ids, ca, heavy = [], [], [], []
    for chain in file.topology.chains():
        codes, numbers = [], []
        for residue in chain.residues():
            atoms = {a.name: a.index for a in residue.atoms() if a.element is not None}
            if not is_protein_residue(residue.name) or "CA" not in atoms:
                continue
            codes.append(CODES[residue_type_of(residue.name)])
            numbers.append(residue.id)
            ca.append(positions[atoms["CA"]])
            heavy.append(
                positions[
                    [a.index for a in residue.atoms()
                     if a.element is not None and a.element.symbol != "H"]
                ]
            )  # fmt: skip
        if codes:
            sequences.append("".join(codes))
            ids.append(numbers)
    if not ca:
        raise InputError(f"structure {path} holds no amino acid with a CA atom")
    return sequences, ids, np.array(ca), heavy


def _find_contacts(chain: np.ndarray, heavy: list[np.ndarray]) -> np.ndarray:
    """Native pairs of residues: heavy atoms in touch, four or more apart."""
    owner = np.repeat(np.arange(len(heavy)), [len(atoms) for atoms in heavy])
    only_ca = len(owner) == len(heavy)
    cutoff = _CA_CONTACT_CUTOFF if only_ca else _CONTACT_CUTOFF
    pairs = owner[find_close_pairs(np.concatenate(heavy), cutoff)]
    pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    apart = (pairs[:, 1] - pairs[:, 0] >= 4) | (
        chain[pairs[:, 0]] != chain[pairs[:, 1]]
    )
    return pairs[apart & (pairs[:, 0] != pairs[:, 1])]


class CAGoModel(CGTestSystem):
    """Structure-based CA model: the given structure is its ground state.

    The energy is ::

        sum_bonds 100 e (r - r0)^2 / A^2  +  sum_angles 20 e (theta - theta0)^2
        + sum_dihedrals e [1 - cos(phi - phi0)] + 0.5 e [1 - cos 3(phi - phi0)]
        + sum_native e [5 (s / r)^12 - 6 (s / r)^10]
        + sum_others e (4 A / r)^12

    with all r0, theta0, phi0 and s from the structure. Native pairs are
    residues at least four apart, or in different chains, with two heavy atoms
    within 4.5 A (CAs within 7.5 A where the file has nothing else).

    Parameters
    ----------
    structure : Path or str or None
        PDB or mmCIF file; every chain of amino acids is taken. If None, the
        packaged ribosomal protein S6 (1RIS, 97 residues).
    contact_energy : float
        e in kJ/mol. The default keeps S6 folded but lively at 300 K.
    box : numpy.ndarray or None, shape (3, 3)
        Box vectors in nm. If None, there is no box.

    Attributes
    ----------
    contacts : numpy.ndarray, shape (C, 2), int64
        Native pairs of residues.
    contact_distances : numpy.ndarray, shape (C,)
        Their distances in nm.

    Raises
    ------
    InputError
        If the file does not exist or holds no protein.

    References
    ----------
    Clementi, Nymeyer and Onuchic, J. Mol. Biol. 298, 937 (2000).

    Examples
    --------
    >>> model = CAGoModel()
    >>> model.topology.getNumResidues()
    97
    >>> simulation = model.create_simulation(temperature=300.0)
    >>> simulation.step(10)
    """

    def __init__(
        self,
        structure: Path | str | None = None,
        *,
        contact_energy: float = 3.0,
        box: np.ndarray | None = None,
    ) -> None:
        if structure is None:
            packaged = resources.files("openmm_backmap.data") / "1ris.pdb"
            with resources.as_file(packaged) as path:
                sequences, ids, ca, heavy = _read_structure(path)
        else:
            sequences, ids, ca, heavy = _read_structure(structure)
        topology = make_ca_topology(sequences, ids)
        chain = np.repeat(np.arange(len(sequences)), [len(s) for s in sequences])
        self.contacts = _find_contacts(chain, heavy)
        self.contact_distances = np.linalg.norm(
            ca[self.contacts[:, 1]] - ca[self.contacts[:, 0]], axis=1
        )
        step = np.linalg.norm(np.diff(ca, axis=0), axis=1)
        linked = (chain[1:] == chain[:-1]) & (step < _BREAK)

        system = openmm.System()
        for _ in ca:
            system.addParticle(_MASS)
        for force in (
            *_make_bonded_forces(ca, linked, contact_energy),
            self._make_contact_force(contact_energy),
            self._make_excluded_volume(len(ca), linked, contact_energy, box),
        ):
            if box is not None and hasattr(force, "setUsesPeriodicBoundaryConditions"):
                force.setUsesPeriodicBoundaryConditions(True)
            system.addForce(force)
        if box is not None:
            topology.setPeriodicBoxVectors(np.asarray(box) * unit.nanometer)
            system.setDefaultPeriodicBoxVectors(*np.asarray(box, float))
        super().__init__(system, topology, ca)

    def _make_contact_force(self, energy: float) -> openmm.Force:
        force = openmm.CustomBondForce("e * (5 * (s / r)^12 - 6 * (s / r)^10)")
        force.setName("NativeContacts")
        force.addGlobalParameter("e", energy)
        force.addPerBondParameter("s")
        for (i, j), s in zip(self.contacts, self.contact_distances, strict=True):
            force.addBond(int(i), int(j), [s])
        return force

    def _make_excluded_volume(
        self, n: int, linked: np.ndarray, energy: float, box: np.ndarray | None
    ) -> openmm.Force:
        force = openmm.CustomNonbondedForce(f"{energy} * (s0 / r)^12")
        force.setName("ExcludedVolume")
        force.addGlobalParameter("s0", _EXCLUDED_RADIUS)
        for _ in range(n):
            force.addParticle([])
        excluded = {(int(i), int(j)) for i, j in self.contacts}
        for reach in (1, 2, 3):
            for i in range(n - reach):
                if linked[i : i + reach].all():
                    excluded.add((i, i + reach))
        for i, j in sorted(excluded):
            force.addExclusion(i, j)
        force.setCutoffDistance(_CUTOFF)
        force.setNonbondedMethod(
            force.CutoffNonPeriodic if box is None else force.CutoffPeriodic
        )
        return force

    def compute_native_fraction(
        self, positions: np.ndarray, tolerance: float = 1.2
    ) -> np.ndarray:
        """Fraction of native pairs that are near their native distance, Q.

        Parameters
        ----------
        positions : numpy.ndarray, shape (F, R, 3)
            Beads in nm, molecules whole.
        tolerance : float
            A pair counts within this many times its native distance.

        Returns
        -------
        numpy.ndarray, shape (F,)
            0 to 1.
        """
        positions = np.asarray(positions)
        i, j = self.contacts.T
        distance = np.linalg.norm(positions[:, j] - positions[:, i], axis=-1)
        return (distance < tolerance * self.contact_distances).mean(axis=1)


def _make_bonded_forces(
    ca: np.ndarray, linked: np.ndarray, energy: float
) -> tuple[openmm.Force, openmm.Force, openmm.Force]:
    """Bonds, angles and dihedrals at rest in the native structure."""
    bonds = openmm.HarmonicBondForce()
    angles = openmm.HarmonicAngleForce()
    dihedrals = openmm.PeriodicTorsionForce()
    for i in range(len(ca) - 1):
        if linked[i]:
            r0 = np.linalg.norm(ca[i + 1] - ca[i])
            # OpenMM's k is twice that of K (r - r0)^2; 100 / A^2 = 10^4 / nm^2
            bonds.addBond(i, i + 1, r0, 2.0 * 100.0 * energy * 100.0)
        if linked[i : i + 2].sum() == 2:
            u, v = ca[i] - ca[i + 1], ca[i + 2] - ca[i + 1]
            cosine = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
            angles.addAngle(i, i + 1, i + 2, np.arccos(cosine), 2.0 * 20.0 * energy)
        if linked[i : i + 3].sum() == 3:
            b1, b2, b3 = np.diff(ca[i : i + 4], axis=0)
            n1, n2 = np.cross(b1, b2), np.cross(b2, b3)
            phi0 = np.arctan2((b1 @ n2) * np.linalg.norm(b2), n1 @ n2)
            for n, k in ((1, energy), (3, 0.5 * energy)):
                # k (1 - cos n (phi - phi0)) = k (1 + cos(n phi - n phi0 - pi))
                dihedrals.addTorsion(i, i + 1, i + 2, i + 3, n, n * phi0 + np.pi, k)
    return bonds, angles, dihedrals
