"""RMSD against mdtraj, and symmetric atoms."""

import mdtraj
import numpy as np
import pytest

from openmm_backmap.errors import InputError
from openmm_backmap.metrics import (
    HeavyAtomLayout,
    compute_rmsd,
    match_symmetric_atoms,
    superpose_on_reference,
)
from openmm_backmap.residues.names import CODES


@pytest.fixture
def layout(protein):
    return HeavyAtomLayout.from_residues(
        protein.residue_type, protein.chain_index, protein.mask
    )


def test_rmsd_after_superposition_equals_mdtraj(protein, layout, protein_path, rng):
    reference = mdtraj.load(str(protein_path))
    moved = mdtraj.load(str(protein_path))
    moved.xyz = moved.xyz + rng.normal(0, 0.05, moved.xyz.shape).astype(np.float32)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    moved.xyz = (moved.xyz @ turn + 1.0).astype(np.float32)

    frames = np.zeros_like(protein.positions)
    frames[:, protein.mask] = moved.xyz
    fitted = superpose_on_reference(frames, protein.positions, layout)

    ca = reference.topology.select("name CA")
    aligned = moved.superpose(reference, atom_indices=ca)
    squared = ((aligned.xyz - reference.xyz) ** 2).sum(-1)
    names = [a.name for a in reference.topology.atoms]
    chosen = {
        "CA": ca,
        "backbone": [i for i, n in enumerate(names) if n in ("N", "C", "O", "CB")],
    }
    for part, atoms in chosen.items():
        wanted = np.sqrt(squared[:, atoms].mean(axis=1))
        found = compute_rmsd(fitted, protein.positions, layout, part=part)
        np.testing.assert_allclose(found, wanted, rtol=1e-3)
    heavy = compute_rmsd(fitted, protein.positions, layout)
    # matching symmetric atoms can only lower it
    assert 0.9 * np.sqrt(squared.mean()) < heavy[0] <= np.sqrt(squared.mean()) + 1e-6


def test_swapped_names_of_symmetric_atoms_are_no_difference(protein, layout):
    swaps = {"D": [(6, 7)], "E": [(7, 8)], "R": [(9, 10)], "Y": [(6, 7), (8, 9)],
             "F": [(6, 7), (8, 9)]}  # fmt: skip
    frames = protein.positions.copy()
    n_swapped = 0
    for code, pairs in swaps.items():
        for residue in np.flatnonzero(protein.residue_type == CODES.index(code)):
            n_swapped += 1
            for a, b in pairs:
                frames[0, residue, [a, b]] = frames[0, residue, [b, a]]
    assert n_swapped > 15
    assert np.abs(frames - protein.positions).max() > 0.2
    assert compute_rmsd(frames, protein.positions, layout)[0] < 1e-6
    matched = match_symmetric_atoms(frames, protein.positions, layout)
    np.testing.assert_array_equal(matched, protein.positions)


def test_half_a_swap_is_a_difference(protein, layout):
    """CD1/CD2 swap together with CE1/CE2, or the ring would be torn."""
    tyrosine = np.flatnonzero(protein.residue_type == CODES.index("Y"))[0]
    frames = protein.positions.copy()
    frames[0, tyrosine, [6, 7]] = frames[0, tyrosine, [7, 6]]
    assert compute_rmsd(frames, protein.positions, layout)[0] > 0.01


def test_rmsd_is_one_figure_a_frame(protein, layout):
    shift = np.array([0.0, 0.3, 0.7], np.float32)
    frames = protein.positions + shift[:, None, None, None] * np.float32([1, 0, 0])
    for part in ("heavy", "CA", "backbone", "side_chain"):
        np.testing.assert_allclose(
            compute_rmsd(frames, protein.positions, layout, part=part), shift, atol=1e-6
        )


def test_unknown_part_is_refused(protein, layout):
    with pytest.raises(InputError, match="heavy"):
        compute_rmsd(protein.positions, protein.positions, layout, part="loop")
