"""Coarsening: bead positions from atoms."""

from pathlib import Path
from types import SimpleNamespace

import mdtraj
import numpy as np
import pytest
from openmm import app

from openmm_backmap.errors import TopologyError
from openmm_backmap.mapping.coarsen import (
    coarsen_slots,
    coarsen_topology,
    compute_bead_weights,
)
from openmm_backmap.residues.atoms import SLOT_NAMES


def test_weights_sum_to_one_where_a_residue_has_the_bead() -> None:
    for name in ("ca", "com", "awsem"):
        total = compute_bead_weights(name).sum(-1)
        assert np.all(np.isclose(total, 1.0) | (total == 0.0))
        assert np.all(total[:, 0] > 0.0)
    assert compute_bead_weights("awsem")[7, 1].sum() == 0.0  # glycine has no CB


def test_ca_beads_are_the_ca_atoms(protein: SimpleNamespace) -> None:
    beads = coarsen_slots(protein.positions, protein.residue_type, "ca")
    assert np.array_equal(beads[:, :, 0], protein.positions[:, :, 1])


def test_com_beads_agree_with_mdtraj(
    protein: SimpleNamespace, protein_path: Path
) -> None:
    beads = coarsen_slots(protein.positions, protein.residue_type, "com")
    trajectory = mdtraj.load(str(protein_path))
    for i, residue in enumerate(trajectory.topology.residues):
        slots = SLOT_NAMES[protein.residue_type[i]]
        atoms = [atom.index for atom in residue.atoms if atom.name in slots]
        golden = mdtraj.compute_center_of_mass(trajectory.atom_slice(atoms))
        assert np.allclose(beads[:, i, 0], golden, atol=1e-5)


def test_an_all_atom_file_becomes_beads(
    protein: SimpleNamespace, protein_path: Path
) -> None:
    pdb = app.PDBFile(str(protein_path))
    positions = pdb.getPositions(asNumpy=True)[None]
    for mapping in ("ca", "com", "awsem"):
        coarse, beads = coarsen_topology(pdb.topology, positions, mapping)
        assert coarse.n_beads == beads.shape[1]
        slots = coarsen_slots(protein.positions, protein.residue_type, mapping)
        assert np.allclose(coarse.bead_positions(beads), slots, atol=1e-5)


def test_a_missing_atom_is_named(protein_path: Path) -> None:
    pdb = app.PDBFile(str(protein_path))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    gone = next(a for a in modeller.topology.atoms() if a.name == "CG")
    modeller.delete([gone])
    positions = np.array(modeller.positions._value)[None]
    with pytest.raises(TopologyError, match="no atom CG"):
        coarsen_topology(modeller.topology, positions, "com")
    assert coarsen_topology(modeller.topology, positions, "ca")[1].shape[1] == 97
