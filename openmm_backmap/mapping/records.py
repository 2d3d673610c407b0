"""Residues of an OpenMM or mdtraj topology, in one plain form."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from openmm_backmap.errors import TopologyError

__all__ = ["ResidueRecord", "read_bonds", "read_residues", "system_bonds"]


@dataclass(frozen=True)
class ResidueRecord:
    """One residue as it stands in a topology.

    Parameters
    ----------
    chain_number : int
        Number of the topology chain, from 0.
    chain_id : str
        Chain id as it came.
    residue_id : str
        Residue number as it came, without insertion code.
    insertion_code : str
        Insertion code or an empty string.
    name : str
        Residue name as it came.
    atom_names : tuple of str
        Names of its particles.
    atom_index : tuple of int
        Particle indices.
    """

    chain_number: int
    chain_id: str
    residue_id: str
    insertion_code: str
    name: str
    atom_names: tuple[str, ...]
    atom_index: tuple[int, ...]

    @property
    def full_id(self) -> str:
        """Residue number with its insertion code."""
        return f"{self.residue_id}{self.insertion_code}"

    @property
    def label(self) -> str:
        """Name, number and chain, for messages."""
        return f"{self.name} {self.full_id} of chain {self.chain_id!r}"


def read_residues(topology: Any) -> list[ResidueRecord]:  # noqa: ANN401
    """List the residues of an OpenMM or mdtraj topology.

    Parameters
    ----------
    topology : openmm.app.Topology or mdtraj.Topology
        Any topology.

    Returns
    -------
    list of ResidueRecord
        In the order of the topology.

    Raises
    ------
    TopologyError
        If the object is neither.
    """
    is_mdtraj = hasattr(topology, "n_residues")
    if not is_mdtraj and not hasattr(topology, "getNumAtoms"):
        raise TopologyError(
            f"got a {type(topology).__name__}, want an openmm.app.Topology, an "
            "mdtraj Topology, a CGTopology or the path of a structure file"
        )
    chains = topology.chains if is_mdtraj else topology.chains()
    records = []
    for number, chain in enumerate(chains):
        if is_mdtraj:
            chain_id = getattr(chain, "chain_id", None) or chr(65 + number % 26)
        else:
            chain_id = chain.id
        for residue in chain.residues if is_mdtraj else chain.residues():
            atoms = list(residue.atoms if is_mdtraj else residue.atoms())
            records.append(
                ResidueRecord(
                    number,
                    str(chain_id).strip(),
                    str(residue.resSeq if is_mdtraj else residue.id).strip(),
                    str(getattr(residue, "insertionCode", "")).strip(),
                    residue.name.strip(),
                    tuple(atom.name.strip() for atom in atoms),
                    tuple(atom.index for atom in atoms),
                )
            )
    return records


def read_bonds(topology: Any) -> np.ndarray:  # noqa: ANN401
    """List the bonds of an OpenMM or mdtraj topology.

    Parameters
    ----------
    topology : openmm.app.Topology or mdtraj.Topology
        Any topology.

    Returns
    -------
    numpy.ndarray, shape (n_bonds, 2), int64
        Pairs of particle indices.
    """
    bonds = topology.bonds
    pairs = [(bond[0].index, bond[1].index) for bond in (bonds() if callable(bonds)
             else bonds)]  # fmt: skip
    return np.array(pairs, np.int64).reshape(-1, 2)


def system_bonds(system: Any) -> np.ndarray:  # noqa: ANN401
    """List the bonds of a System: harmonic and custom bonds, and constraints.

    Parameters
    ----------
    system : openmm.System
        The coarse-grained System. Bonds that only join contacts (native pairs,
        elastic networks) are listed too; they join distant residues and do no
        harm to the chain rule.

    Returns
    -------
    numpy.ndarray, shape (n_bonds, 2), int64
        Pairs of particle indices.
    """
    pairs = []
    for force in system.getForces():
        # duck typed: HarmonicBondForce, CustomBondForce, and those of plugins
        if not hasattr(force, "getNumBonds") or not hasattr(force, "getBondParameters"):
            continue
        for k in range(force.getNumBonds()):
            first, second, *_ = force.getBondParameters(k)
            # compound and centroid bonds list tuples of particles or groups
            if not (isinstance(first, int) and isinstance(second, int)):
                break
            pairs.append((first, second))
    for k in range(system.getNumConstraints()):
        pairs.append(tuple(system.getConstraintParameters(k)[:2]))
    return np.array(pairs, np.int64).reshape(-1, 2)
