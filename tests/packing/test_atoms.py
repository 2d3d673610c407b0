"""Atoms of candidates in blocks: in order about CA-CB, and each where it was."""

import math

import torch

from openmm_backmap.geometry.vectors import compute_dihedral
from openmm_backmap.packing.atoms import (
    list_candidate_atoms,
    read_atoms,
    sort_by_azimuth,
)
from openmm_backmap.packing.tables import make_packing_tables

LEUCINE, ARGININE = 10, 1


def test_atoms_of_a_residue_run_round_its_beta_carbon() -> None:
    torch.manual_seed(0)
    positions = torch.randn(6, 14, 3)
    # candidates of one residue share their backbone
    positions[:, :5] = positions[:1, :5]
    residue = torch.tensor([0, 0, 0, 0, 2, 2])
    where = torch.arange(54).view(6, 9)[:, :4].flatten()
    order = sort_by_azimuth(positions, residue, where)
    assert torch.equal(order.sort()[0], where)
    nowhere = positions.clone()
    nowhere[1] = float("nan")
    kept = residue[sort_by_azimuth(nowhere, residue, where) // 9]
    assert torch.equal(kept, kept.sort()[0])
    row, slot = order // 9, order % 9 + 5
    assert torch.equal(residue[row], residue[row].sort()[0])
    backbone = positions[0]
    turn = compute_dihedral(
        backbone[0].expand(24, 3), backbone[1].expand(24, 3),
        backbone[4].expand(24, 3), positions[row, slot],
    )  # fmt: skip
    for one in (0, 2):
        mine = torch.remainder(turn[residue[row] == one], 2.0 * math.pi)
        rises = mine.diff() > -2.0 * math.pi / 1000.0
        falls = mine.diff() < 2.0 * math.pi / 1000.0
        assert bool(rises.all()) or bool(falls.all())


def test_listed_atoms_are_where_they_were_and_carry_their_vectors() -> None:
    torch.manual_seed(1)
    tables = make_packing_tables()
    kinds = torch.tensor([ARGININE] * 5 + [LEUCINE] * 3)
    residue = torch.tensor([0] * 5 + [1] * 3)
    positions = torch.randn(8, 14, 3)
    own = torch.arange(8)
    # the second arginine shares what chi1 and chi2 place with the first
    same = own[:, None].repeat(1, 4)
    same[1, :2] = 0
    for width in (4, 8):
        atoms = list_candidate_atoms(
            positions, own, residue, kinds, same, 2, width, tables
        )
        points = atoms.points
        flat = torch.stack([points.x.t(), points.y.t(), points.z.t()]).reshape(3, -1)
        used = flat[0] < 1000.0
        # arginine has 6 atoms beyond CB, leucine 3
        assert int(used.sum()) == 5 * 6 - 2 + 3 * 3
        assert torch.equal(read_atoms(positions, atoms)[:, used], flat[:, used])
        codes = 14 * kinds[atoms.source[used] // 14] + atoms.source[used] % 14
        assert torch.equal(atoms.code[used], codes)
        assert torch.equal(atoms.residue[used], residue[atoms.source[used] // 14])
        # cells: every candidate's atoms, shared ones from the first
        assert len(atoms.cell_atom) == 5 * 6 + 3 * 3
        for candidate, atom in zip(atoms.cell_candidate, atoms.cell_atom, strict=True):
            giver, slot = int(atoms.source[atom]) // 14, int(atoms.source[atom]) % 14
            depth = int(tables.chi_depth[kinds[candidate], slot])
            assert giver == int(same[candidate, depth - 1])
