"""Checks of all-atom frames: validity, and distance to a reference.

Every check takes positions (F, R, 14, 3) in nm and a `HeavyAtomLayout`, and
gives one figure a frame.
"""

from openmm_backmap.metrics.bonds import compute_bond_fraction, compute_peptide_fraction
from openmm_backmap.metrics.chi import compute_chi, compute_chi_accuracy
from openmm_backmap.metrics.chirality import compute_wrong_hands
from openmm_backmap.metrics.clashes import (
    compute_clashes_per_1000,
    compute_overlaps_per_1000,
    find_overlaps,
)
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.metrics.omega import (
    compute_nonproline_cis,
    compute_omega,
    compute_twisted_omega,
)
from openmm_backmap.metrics.ramachandran import (
    compute_phi_psi,
    compute_ramachandran_outliers,
)
from openmm_backmap.metrics.rings import compute_ring_penetrations
from openmm_backmap.metrics.rmsd import (
    compute_rmsd,
    match_symmetric_atoms,
    superpose_on_reference,
)
from openmm_backmap.metrics.summary import FRAME_METRICS, FrameChecker

__all__ = [
    "FRAME_METRICS",
    "FrameChecker",
    "HeavyAtomLayout",
    "compute_bond_fraction",
    "compute_chi",
    "compute_chi_accuracy",
    "compute_clashes_per_1000",
    "compute_nonproline_cis",
    "compute_omega",
    "compute_overlaps_per_1000",
    "compute_peptide_fraction",
    "compute_phi_psi",
    "compute_ramachandran_outliers",
    "compute_ring_penetrations",
    "compute_rmsd",
    "compute_twisted_omega",
    "compute_wrong_hands",
    "find_overlaps",
    "match_symmetric_atoms",
    "superpose_on_reference",
]
