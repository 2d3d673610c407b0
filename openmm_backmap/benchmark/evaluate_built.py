"""Which atoms a model built, frame by frame, and what can be measured on them."""

from collections.abc import Iterator

import numpy as np

from openmm_backmap.metrics.angles import find_angles
from openmm_backmap.metrics.chirality import find_centers
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.metrics.omega import find_units
from openmm_backmap.metrics.ramachandran import find_phi_psi_atoms

__all__ = ["count_parts", "split_by_built"]


def split_by_built(
    built: np.ndarray, layout: HeavyAtomLayout
) -> Iterator[tuple[np.ndarray, HeavyAtomLayout]]:
    """Sort frames by which of the known atoms they hold.

    Parameters
    ----------
    built : numpy.ndarray, shape (F, R, 14), bool
        Atoms that have a position.
    layout : HeavyAtomLayout
        Residues and known atoms.

    Yields
    ------
    frames : numpy.ndarray, shape (n,), int64
        Frames that hold the same atoms; each frame comes once.
    layout : HeavyAtomLayout
        Their residues, with the known atoms that were built.
    """
    held = layout.mask & built
    bits = np.packbits(held.reshape(len(held), -1), axis=1)
    _, first, kind = np.unique(bits, axis=0, return_index=True, return_inverse=True)
    for k, frame in enumerate(first):
        is_whole = np.array_equal(held[frame], layout.mask)
        # the layout itself keeps what it has already worked out
        part = layout if is_whole else layout.restrict(held[frame])
        yield np.flatnonzero(kind.reshape(-1) == k), part


def count_parts(layout: HeavyAtomLayout) -> dict[str, int]:
    """Count what each figure of validity is measured on.

    Parameters
    ----------
    layout : HeavyAtomLayout
        Residues and atoms that were built.

    Returns
    -------
    dict of str to int
        By the names of `openmm_backmap.benchmark.evaluate_score`; a figure of
        nothing, 0 here, is no figure.
    """
    n_atoms = len(layout.atoms)
    return {
        "bonds_percent": len(layout.all_bonds),
        "peptides_percent": len(layout.peptides[0]),
        "angles_percent": len(find_angles(layout)[0]),
        "wrong_hands": len(find_centers(layout)),
        "twisted_omega_percent": len(find_units(layout)[0]),
        "false_cis": len(find_units(layout)[0]),
        "ring_penetrations": sum(len(rings) for rings in layout.rings),
        "ramachandran_outliers_percent": len(find_phi_psi_atoms(layout)[0]),
        "severe_clashes_per_1000": n_atoms,
        "overlaps_per_1000": n_atoms,
        "close_pairs_percent": n_atoms,
        "bond_graph_percent": len(layout.all_bonds),
    }
