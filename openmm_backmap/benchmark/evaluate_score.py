"""The figures of a predicted structure against its reference."""

import numpy as np

from openmm_backmap.benchmark.evaluate_built import count_parts, split_by_built
from openmm_backmap.metrics.angles import compute_angle_fraction
from openmm_backmap.metrics.bond_graph import (
    compute_bond_graph_difference,
    compute_close_share,
)
from openmm_backmap.metrics.bonds import compute_bond_fraction, compute_peptide_fraction
from openmm_backmap.metrics.chi import compute_chi, compute_chi_accuracy
from openmm_backmap.metrics.chirality import compute_wrong_hands
from openmm_backmap.metrics.cis import compute_false_cis
from openmm_backmap.metrics.clashes import (
    compute_clashes_per_1000,
    compute_overlaps_per_1000,
)
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.metrics.omega import compute_twisted_omega
from openmm_backmap.metrics.ramachandran import compute_ramachandran_outliers
from openmm_backmap.metrics.rings import compute_ring_penetrations
from openmm_backmap.metrics.rmsd import compute_rmsd
from openmm_backmap.residues.names import CODES
from openmm_backmap.residues.torsions import CHI_IS_PI_PERIODIC
from openmm_backmap.units import ANGSTROM, DEGREE

__all__ = [
    "DISTANCE_FIGURES",
    "VALIDITY_FIGURES",
    "find_ends",
    "find_right_side_chains",
    "score_frames",
    "score_validity",
]

DISTANCE_FIGURES = (
    "heavy_rmsd_angstrom",
    "backbone_nco_rmsd_angstrom",
    "backbone_nco_inside_rmsd_angstrom",
    "backbone_ncocb_rmsd_angstrom",
    "side_chain_rmsd_angstrom",
    "chi1_40_percent",
    "chi12_40_percent",
    "ca_shift_angstrom",
    "false_cis",
    "bond_graph_percent",
    "missing_atoms_percent",
)
"""Figures that need the reference."""

VALIDITY_FIGURES = (
    "bonds_percent",
    "peptides_percent",
    "angles_percent",
    "wrong_hands",
    "twisted_omega_percent",
    "ring_penetrations",
    "ramachandran_outliers_percent",
    "severe_clashes_per_1000",
    "overlaps_per_1000",
    "close_pairs_percent",
)
"""Figures of a structure by itself."""

_PROLINE = CODES.index("P")
_TOLERANCE = 40.0 * DEGREE
_NCO = np.isin(np.arange(14), [0, 2, 3])
_NCOCB = np.isin(np.arange(14), [0, 2, 3, 4])
_SIDE_CHAIN = np.arange(14) >= 4


def find_ends(layout: HeavyAtomLayout) -> np.ndarray:
    """Find the first and last residue of each bonded segment.

    Parameters
    ----------
    layout : HeavyAtomLayout
        Residues and segments.

    Returns
    -------
    numpy.ndarray, shape (R,), bool
        True at ends.
    """
    linked = np.zeros(layout.n_residues + 1, bool)
    linked[layout.linked + 1] = True
    return ~(linked[:-1] & linked[1:])


def score_validity(
    positions: np.ndarray, layout: HeavyAtomLayout
) -> dict[str, np.ndarray]:
    """Compute the figures that need no reference.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Heavy atoms in nm.
    layout : HeavyAtomLayout
        Residues and known atoms.

    Returns
    -------
    dict of str to numpy.ndarray, shape (F,)
        One for each of `VALIDITY_FIGURES`; nan where the atoms for it are not
        there.
    """
    figures = {
        "bonds_percent": 100.0 * compute_bond_fraction(positions, layout),
        "peptides_percent": 100.0 * compute_peptide_fraction(positions, layout),
        "angles_percent": 100.0 * compute_angle_fraction(positions, layout),
        "wrong_hands": compute_wrong_hands(positions, layout).astype(float),
        "twisted_omega_percent": 100.0 * compute_twisted_omega(positions, layout),
        "ring_penetrations": compute_ring_penetrations(positions, layout).astype(float),
        "ramachandran_outliers_percent": 100.0
        * compute_ramachandran_outliers(positions, layout),
        "severe_clashes_per_1000": compute_clashes_per_1000(positions, layout),
        "overlaps_per_1000": compute_overlaps_per_1000(positions, layout),
        "close_pairs_percent": 100.0 * compute_close_share(positions, layout),
    }
    return _blank(figures, layout)


def _blank(
    figures: dict[str, np.ndarray], layout: HeavyAtomLayout
) -> dict[str, np.ndarray]:
    """Put nan for figures of nothing."""
    counts = count_parts(layout)
    return {
        key: values if counts.get(key, 1) else np.full(len(values), np.nan)
        for key, values in figures.items()
    }


def score_frames(
    positions: np.ndarray, reference: np.ndarray, layout: HeavyAtomLayout
) -> dict[str, np.ndarray]:
    """Compute all figures of predicted frames.

    Averages over atoms are within a frame, over the atoms that were built in
    that frame; nothing is superposed. Only chi1 and chi2 are of all side
    chains that the reference knows: one that was not built is not right.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Predicted heavy atoms in nm; nan where an atom was not built.
    reference : numpy.ndarray, shape (F, R, 14, 3)
        Reference atoms in nm.
    layout : HeavyAtomLayout
        Residues, known atoms and true bonds of the reference.

    Returns
    -------
    dict of str to numpy.ndarray, shape (F,)
        One for each of `DISTANCE_FIGURES` and `VALIDITY_FIGURES`; nan where
        there is nothing to measure.
    """
    built = np.isfinite(positions).all(axis=-1)
    missing = (layout.mask & ~built).sum(axis=(1, 2)) / max(layout.mask.sum(), 1)
    chi1, chi12 = compute_chi_accuracy(positions, reference, layout)
    result = {
        key: np.full(len(positions), np.nan)
        for key in (*DISTANCE_FIGURES, *VALIDITY_FIGURES)
    }
    result |= {
        "chi1_40_percent": 100.0 * chi1,
        "chi12_40_percent": 100.0 * chi12,
        "missing_atoms_percent": 100.0 * missing,
    }
    for frames, part in split_by_built(built, layout):
        found = _score_distances(positions[frames], reference[frames], part)
        found |= score_validity(positions[frames], part)
        for key, values in found.items():
            result[key][frames] = values
    return result


def _score_distances(
    positions: np.ndarray, reference: np.ndarray, layout: HeavyAtomLayout
) -> dict[str, np.ndarray]:
    """Compare the atoms of a layout, all of them built in all frames."""
    inside = ~find_ends(layout)[:, None]
    shift = np.linalg.norm(positions[:, :, 1] - reference[:, :, 1], axis=-1)
    has_ca = np.isfinite(shift)
    farthest = np.where(has_ca, shift, -np.inf).max(axis=1) / ANGSTROM

    def rmsd(atoms: np.ndarray) -> np.ndarray:
        part = layout.restrict(atoms)
        return compute_rmsd(positions, reference, part) / ANGSTROM

    figures = {
        "heavy_rmsd_angstrom": compute_rmsd(positions, reference, layout) / ANGSTROM,
        "backbone_nco_rmsd_angstrom": rmsd(_NCO),
        "backbone_nco_inside_rmsd_angstrom": rmsd(_NCO & inside),
        "backbone_ncocb_rmsd_angstrom": rmsd(_NCOCB),
        "side_chain_rmsd_angstrom": rmsd(_SIDE_CHAIN),
        "ca_shift_angstrom": np.where(has_ca.any(axis=1), farthest, np.nan),
        "false_cis": compute_false_cis(positions, reference, layout).astype(float),
        "bond_graph_percent": 100.0
        * compute_bond_graph_difference(positions, reference, layout),
    }
    return _blank(figures, layout)


def find_right_side_chains(
    positions: np.ndarray, reference: np.ndarray, layout: HeavyAtomLayout
) -> tuple[np.ndarray, np.ndarray]:
    """Say of each residue whether chi1, and chi2 if it has one, are right.

    A side chain that was not built is not right, as in `score_frames`.

    Parameters
    ----------
    positions : numpy.ndarray, shape (F, R, 14, 3)
        Predicted heavy atoms in nm; nan where an atom was not built.
    reference : numpy.ndarray, shape (F, R, 14, 3)
        Reference atoms in nm.
    layout : HeavyAtomLayout
        Residues and known atoms.

    Returns
    -------
    is_right : numpy.ndarray, shape (F, R), bool
        All within 40 degrees.
    counts : numpy.ndarray, shape (R,), bool
        Residues with a known chi1, without proline.
    """
    chi, mask = compute_chi(positions, layout)
    target, _ = compute_chi(reference, layout)
    half = np.array(CHI_IS_PI_PERIODIC)[layout.residue_type]
    period = np.where(half, np.pi, 2.0 * np.pi)
    off = np.abs((chi - target + period / 2) % period - period / 2)
    near = (off <= _TOLERANCE) | ~mask
    counts = mask[:, 0] & (layout.residue_type != _PROLINE)
    return near[..., 0] & near[..., 1], counts
