"""All checks that need no reference, for a row of figures a frame."""

from typing import Any

import numpy as np

from openmm_backmap.errors import InputError
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.metrics.bonds import compute_bond_fraction, compute_peptide_fraction
from openmm_backmap.metrics.chirality import compute_wrong_hands
from openmm_backmap.metrics.clashes import (
    compute_clashes_per_1000,
    compute_site_clashes_per_1000,
)
from openmm_backmap.metrics.heavy_sites import HeavySites
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.metrics.omega import compute_nonproline_cis, compute_twisted_omega
from openmm_backmap.metrics.rings import compute_ring_penetrations

__all__ = ["FRAME_METRICS", "FrameChecker"]

FRAME_METRICS = (
    "bond_fraction",
    "peptide_fraction",
    "wrong_hands",
    "twisted_omega_fraction",
    "nonproline_cis",
    "clashes_per_1000",
    "ring_penetrations",
)
"""Names of the figures, in the order of the columns of a metrics file."""


class FrameChecker:
    """Check the heavy atoms of frame after frame of one topology.

    Parameters
    ----------
    residue_type : numpy.ndarray, shape (R,)
        0 to 19.
    chain_index : numpy.ndarray or None, shape (R,)
        Bonded segment of each residue. If None, there is one.
    mask : numpy.ndarray or None, shape (R, 14)
        Atoms that are there. If None, all heavy atoms of each residue.

    Examples
    --------
    >>> import numpy as np
    >>> checker = FrameChecker(np.array([0, 7, 0]))
    >>> figures = checker.check(np.zeros((2, 3, 14, 3), np.float32))
    >>> figures["bond_fraction"]
    array([0., 0.])
    """

    def __init__(
        self,
        residue_type: np.ndarray,
        chain_index: np.ndarray | None = None,
        mask: np.ndarray | None = None,
    ) -> None:
        self.layout = HeavyAtomLayout.from_residues(residue_type, chain_index, mask)
        self.sites: HeavySites | None = None

    @classmethod
    def from_topology(cls, topology: Any) -> "FrameChecker":
        """Make a checker for the residues of a topology.

        Parameters
        ----------
        topology : CGTopology
            Anything with `residue_type` and `chain_index`.

        Returns
        -------
        FrameChecker
            For all heavy atoms of these residues.
        """
        return cls(topology.residue_type, topology.chain_index)

    @classmethod
    def from_atom_topology(cls, topology: AtomTopology) -> "FrameChecker":
        """Make a checker that finds clashes of all heavy atoms.

        Parameters
        ----------
        topology : AtomTopology
            Atoms of the frames, phosphates and OXT among them.

        Returns
        -------
        FrameChecker
            Its `check` wants all atoms as well.
        """
        checker = cls(topology.cg.residue_type, topology.cg.chain_index)
        checker.sites = HeavySites.from_atom_topology(topology)
        return checker

    def check(
        self,
        positions: np.ndarray,
        box: np.ndarray | None = None,
        atoms: np.ndarray | None = None,
    ) -> dict[str, np.ndarray]:
        """Compute the figures of some frames.

        Parameters
        ----------
        positions : numpy.ndarray, shape (F, R, 14, 3)
            Heavy atoms in nm.
        box : numpy.ndarray or None, shape (F, 3, 3) or (3, 3)
            Box vectors in nm; zeros mean no box. If None, there is no box.
        atoms : numpy.ndarray or None, shape (F, N, 3)
            All atoms of the topology in nm, for checkers made by
            `from_atom_topology`. If None, the checker is of another kind, and
            clashes are those of the slots.

        Returns
        -------
        dict of str to numpy.ndarray, shape (F,)
            One array for each name in `FRAME_METRICS`; fractions are 0 to 1.

        Raises
        ------
        InputError
            If there are all atoms, but the checker does not know them, or the
            other way round.
        """
        positions = np.asarray(positions)
        layout = self.layout
        if (atoms is None) != (self.sites is None):
            raise InputError(
                "clashes of all atoms need FrameChecker.from_atom_topology(topology) "
                "and check(positions, box, atoms); only one of them came"
            )
        if self.sites is None:
            clashes = compute_clashes_per_1000(positions, layout, box)
        else:
            clashes = compute_site_clashes_per_1000(atoms, self.sites, box)
        return {
            "bond_fraction": compute_bond_fraction(positions, layout),
            "peptide_fraction": compute_peptide_fraction(positions, layout),
            "wrong_hands": compute_wrong_hands(positions, layout),
            "twisted_omega_fraction": compute_twisted_omega(positions, layout),
            "nonproline_cis": compute_nonproline_cis(positions, layout),
            "clashes_per_1000": clashes,
            "ring_penetrations": compute_ring_penetrations(positions, layout, box),
        }
