"""Heavy atoms of a whole topology, phosphates and OXT too, for the clash check."""

from dataclasses import dataclass

import numpy as np

from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.metrics.layout import find_near_pairs
from openmm_backmap.residues.atoms import VDW_RADIUS_ANGSTROM
from openmm_backmap.residues.names import CODES
from openmm_backmap.units import to_nanometer

__all__ = ["HeavySites"]

_CYSTEINE = CODES.index("C")


@dataclass(frozen=True, eq=False)
class HeavySites:
    """What the clash check wants to know of the N atoms of a topology.

    The 14 slots of `HeavyAtomLayout` hold no OXT and no phosphate; here are all
    heavy atoms, with the bonds of the topology, disulfides among them.

    Parameters
    ----------
    atoms : numpy.ndarray, shape (n,), int64
        Heavy atoms.
    elements : numpy.ndarray, shape (N,), str
        Element of each atom, "" for hydrogens.
    radius : numpy.ndarray, shape (N,), float64
        Van der Waals radii in nm, 0 for hydrogens.
    near_pairs : numpy.ndarray, shape (P,), int64
        Codes ``i * N + j``, i < j, of atoms within three bonds, sorted.
    cysteines : numpy.ndarray, shape (K, 3), int64
        SG, CB and CA of each cysteine.
    """

    atoms: np.ndarray
    elements: np.ndarray
    radius: np.ndarray
    near_pairs: np.ndarray
    cysteines: np.ndarray

    @classmethod
    def from_atom_topology(cls, topology: AtomTopology) -> "HeavySites":
        """Read the heavy atoms of a topology.

        Parameters
        ----------
        topology : AtomTopology
            With or without hydrogens.

        Returns
        -------
        HeavySites
            For positions (F, N, 3) in the order of the topology.
        """
        elements = np.array(
            [
                "" if atom.element.symbol == "H" else atom.element.symbol
                for atom in topology.topology.atoms()
            ]
        )
        radius = np.zeros(len(elements))
        for element, value in VDW_RADIUS_ANGSTROM.items():
            radius[elements == element] = to_nanometer(value)
        bonds = np.array(
            [(a.index, b.index) for a, b in topology.topology.bonds()], np.int64
        ).reshape(-1, 2)
        bonds = bonds[(elements[bonds] != "").all(axis=1)]
        cysteines = topology.slot_atom[topology.cg.residue_type == _CYSTEINE]
        return cls(
            atoms=np.flatnonzero(elements != ""),
            elements=elements,
            radius=radius,
            near_pairs=find_near_pairs(bonds, len(elements)),
            cysteines=cysteines[:, [5, 4, 1]],
        )
