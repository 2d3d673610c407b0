"""Bond lengths: real structures pass, broken bonds are counted one by one."""

import numpy as np
import pytest

from openmm_backmap.errors import InputError
from openmm_backmap.metrics import (
    HeavyAtomLayout,
    compute_bond_fraction,
    compute_peptide_fraction,
)
from openmm_backmap.residues.atoms import BONDS
from openmm_backmap.residues.bond_lengths import BOND_LENGTH_ANGSTROM
from openmm_backmap.residues.names import RESIDUE_NAMES
from openmm_backmap.units import ANGSTROM


@pytest.fixture
def layout(protein):
    return HeavyAtomLayout.from_residues(
        protein.residue_type, protein.chain_index, protein.mask
    )


def test_reference_lengths_agree_with_the_amber_force_field():
    """ff14SB's equilibrium lengths, read by OpenMM, within 4 %."""
    from openmm import app

    forcefield = app.ForceField("amber14/protein.ff14SB.xml")
    bonded = next(
        generator
        for generator in forcefield.getGenerators()
        if isinstance(generator, app.forcefield.HarmonicBondGenerator)
    )
    length = {}
    for k in range(len(bonded.length)):
        for a in bonded.types1[k]:
            for b in bonded.types2[k]:
                length[frozenset((a, b))] = bonded.length[k] / ANGSTROM
    n = 0
    for kind, name in enumerate(RESIDUE_NAMES):
        template = forcefield._templates["HIE" if name == "HIS" else name]
        types = {atom.name: atom.type for atom in template.atoms}
        for (a, b), mine in zip(BONDS[kind], BOND_LENGTH_ANGSTROM[kind], strict=True):
            theirs = length[frozenset((types[a], types[b]))]
            assert abs(mine / theirs - 1.0) < 0.04, (name, a, b, mine, theirs)
            n += 1
    assert n == sum(len(bonds) for bonds in BONDS)


def test_crystal_structure_has_all_bonds(protein, layout):
    assert compute_bond_fraction(protein.positions, layout)[0] == 1.0
    assert compute_bond_fraction(protein.positions, layout, 0.05)[0] > 0.99
    assert compute_peptide_fraction(protein.positions, layout)[0] == 1.0


def test_one_moved_oxygen_breaks_one_bond(protein, layout):
    n_bonds = len(layout.all_bonds)
    frames = np.repeat(protein.positions, 2, axis=0)
    frames[1, 10, 3] += 0.3 * (frames[1, 10, 3] - frames[1, 10, 2])
    fraction = compute_bond_fraction(frames, layout)
    np.testing.assert_allclose(fraction, [1.0, 1.0 - 1.0 / n_bonds])


def test_pulled_halves_break_one_peptide(protein, layout):
    frames = protein.positions.copy()
    frames[:, 50:] += 1.0
    n_peptides = protein.n_residues - 1
    fraction = compute_peptide_fraction(frames, layout)
    np.testing.assert_allclose(fraction, 1.0 - 1.0 / n_peptides)
    # two segments: nothing binds them
    chain = (np.arange(protein.n_residues) >= 50).astype(int)
    split = HeavyAtomLayout.from_residues(protein.residue_type, chain, protein.mask)
    assert compute_peptide_fraction(frames, split)[0] == 1.0


def test_atoms_that_are_not_finite_are_broken_bonds(protein, layout):
    frames = protein.positions.copy()
    frames[0, 5, 1] = np.nan
    # CA binds N, C and CB
    n_broken = (1.0 - compute_bond_fraction(frames, layout)[0]) * len(layout.all_bonds)
    assert round(n_broken) == 3


def test_number_of_bonds_equals_mdtraj(protein_path, layout):
    import mdtraj

    topology = mdtraj.load(str(protein_path)).topology
    assert len(layout.all_bonds) == topology.n_bonds


def test_single_frame_without_axis_is_refused(protein, layout):
    with pytest.raises(InputError, match="frame axis"):
        compute_bond_fraction(protein.positions[0], layout)


def test_single_residue_has_no_peptide():
    layout = HeavyAtomLayout.from_residues(np.array([7]))
    assert compute_peptide_fraction(np.zeros((3, 1, 14, 3)), layout).tolist() == [1] * 3
