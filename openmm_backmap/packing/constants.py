"""Lengths of the packing in nm, read by scripted functions as attributes.

TorchScript reads numbers from an imported module but not from its own
globals; hence this module.
"""

__all__ = [
    "CLASH_CUTOFF",
    "CONTACT_CUTOFF",
    "CONTACT_FIRST_EDGE",
    "CYSTEINE",
    "DISULFIDE_BETA_LONG",
    "DISULFIDE_BETA_SHORT",
    "DISULFIDE_BOND",
    "DISULFIDE_ENERGY",
    "DISULFIDE_LONG",
    "DISULFIDE_SHORT",
    "FIRST_EDGE",
    "GRID_STEP",
    "LEAST_ENERGY",
    "N_BACKBONE",
    "N_SLOTS",
    "PAIR_CUTOFF",
    "POLAR_EXTRA",
    "SEVERE_OVERLAP",
    "TOLERANCE",
]

N_BACKBONE = 5
"""Slots fixed by the backbone: N, CA, C, O and CB."""

N_SLOTS = 14
"""Heavy-atom slots of a residue."""

TOLERANCE = 0.04
"""Overlap of two van der Waals spheres that costs nothing."""

POLAR_EXTRA = 0.02
"""More of it between two of N, O and S, which may hold a hydrogen bond."""

SEVERE_OVERLAP = 0.05
"""Overlap beyond `TOLERANCE` (0.9 A in all) that no native structure shows."""

CLASH_CUTOFF = 0.32
"""Largest sum of two radii less the tolerance (S with S)."""

PAIR_CUTOFF = 0.52
"""Range of the learned pair energy."""

FIRST_EDGE = 0.22
"""Upper edge of its first distance bin; the others share the rest equally."""

CONTACT_CUTOFF = 0.55
"""Range of the contacts that the contact network is told."""

CONTACT_FIRST_EDGE = 0.24
"""Upper edge of its first distance bin; 17 others share the rest equally."""

DISULFIDE_BOND = 0.204
"""SG-SG bond length; Engh and Huber, Acta Cryst. A47, 392 (1991)."""

CYSTEINE = 4
"""Code of the residue type."""

DISULFIDE_BETA_SHORT = 0.30
"""Least CB-CB distance of two cysteines that are tried for a disulfide."""

DISULFIDE_BETA_LONG = 0.48
"""Largest; in well resolved structures it is 0.34 to 0.45 nm."""

DISULFIDE_SHORT = 0.17
"""Least SG-SG distance taken for a disulfide."""

DISULFIDE_LONG = 0.25
"""Largest SG-SG distance taken for a disulfide."""

DISULFIDE_ENERGY = -2.0
"""Energy of such a pair in nats."""

GRID_STEP = 0.005
"""Distance step of tabulated energies."""

LEAST_ENERGY = 0.08
"""Interactions of side-chain atoms weaker than this (nats) are left out."""
