"""Bond angles against mdtraj and against what they should be."""

import mdtraj
import numpy as np

from openmm_backmap.metrics import HeavyAtomLayout
from openmm_backmap.metrics.angles import compute_angle_fraction, find_angles
from openmm_backmap.residues.atoms import ATOM_SLOT, BONDS, SLOT_NAMES
from openmm_backmap.residues.bond_angles import BOND_ANGLES
from openmm_backmap.residues.names import CODES, RESIDUE_NAMES


def make_layout(protein):
    return HeavyAtomLayout.from_residues(
        protein.residue_type, protein.chain_index, protein.mask
    )


def test_every_pair_of_bonds_on_an_atom_is_an_angle():
    for kind, angles in enumerate(BOND_ANGLES):
        ends = [a for bond in BONDS[kind] for a in bond] + ["N", "C"]
        degree = {a: ends.count(a) for a in SLOT_NAMES[kind]}
        assert len(angles) == sum(n * (n - 1) // 2 for n in degree.values())
        assert len({frozenset((a, m, b)) for a, m, b, _ in angles}) == len(angles)


def test_angles_equal_mdtraj(protein, protein_path):
    layout = make_layout(protein)
    atoms, reference = find_angles(layout)
    trajectory = mdtraj.load(str(protein_path))
    slot_of = np.full(trajectory.n_atoms, -1)
    for atom in trajectory.topology.atoms:
        slots = ATOM_SLOT[protein.residue_type[atom.residue.index]]
        if atom.name in slots:
            slot_of[atom.index] = 14 * atom.residue.index + slots[atom.name]
    atom_of = {slot: k for k, slot in enumerate(slot_of) if slot >= 0}
    triples = np.array([[atom_of[k] for k in row] for row in atoms])
    wanted = mdtraj.compute_angles(trajectory, triples)[0]
    share = (np.abs(wanted - reference) <= np.radians(10)).mean()
    found = compute_angle_fraction(protein.positions, layout)
    assert found.shape == (1,)
    assert abs(found[0] - share) < 1e-3
    # a real structure obeys the table: also a test of the table
    assert found[0] > 0.98
    assert np.abs(np.degrees(np.median(wanted - reference))) < 1.0


def test_the_backbone_agrees_with_engh_and_huber():
    # Acta Cryst. A47, 392 (1991), table 3, with room for today's structures
    wanted = {"C CA N": 111.2, "+N C CA": 116.2, "-C N CA": 121.7, "+N C O": 123.0}
    alanine = {f"{a} {m} {b}": d for a, m, b, d in BOND_ANGLES[CODES.index("A")]}
    for name, degrees in wanted.items():
        assert abs(alanine[name] - degrees) < 1.5


def test_a_bent_peptide_and_a_missing_atom_are_seen():
    kind = np.array([RESIDUE_NAMES.index(n) for n in ("ALA", "ALA")])
    layout = HeavyAtomLayout.from_residues(kind)
    atoms, _ = find_angles(layout)
    # 6 inside each residue but N-C-N is not one; 3 across the peptide bond
    assert len(atoms) == 2 * 4 + 3
    broken = HeavyAtomLayout.from_residues(kind, np.array([0, 1]))
    assert len(find_angles(broken)[0]) == 2 * 4
    nothing = compute_angle_fraction(np.full((2, 2, 14, 3), np.nan), layout)
    assert nothing.tolist() == [0.0, 0.0]
