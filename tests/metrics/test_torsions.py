"""Omega, phi, psi, chi and hands against mdtraj and mirrors."""

import mdtraj
import numpy as np
import pytest

from openmm_backmap.metrics import (
    HeavyAtomLayout,
    compute_chi,
    compute_chi_accuracy,
    compute_nonproline_cis,
    compute_omega,
    compute_phi_psi,
    compute_ramachandran_outliers,
    compute_twisted_omega,
    compute_wrong_hands,
)
from openmm_backmap.residues.names import CODES
from openmm_backmap.residues.ramachandran import CLASSES, OUTLIER_MAP

TOLERANCE = 2e-4  # float32 coordinates, radians


@pytest.fixture
def layout(protein):
    return HeavyAtomLayout.from_residues(
        protein.residue_type, protein.chain_index, protein.mask
    )


@pytest.fixture
def trajectory(protein_path):
    return mdtraj.load(str(protein_path))


def angle_difference(a, b):
    return np.abs((a - b + np.pi) % (2 * np.pi) - np.pi)


def test_omega_equals_mdtraj(protein, layout, trajectory):
    omega, residue = compute_omega(protein.positions, layout)
    _, wanted = mdtraj.compute_omega(trajectory)
    assert residue.tolist() == list(range(protein.n_residues - 1))
    assert angle_difference(omega, wanted).max() < TOLERANCE


def test_phi_and_psi_equal_mdtraj(protein, layout, trajectory):
    phi, psi, residue = compute_phi_psi(protein.positions, layout)
    _, wanted_phi = mdtraj.compute_phi(trajectory)
    _, wanted_psi = mdtraj.compute_psi(trajectory)
    assert residue.tolist() == list(range(1, protein.n_residues - 1))
    # mdtraj has phi from residue 1 on and psi up to the last but one
    assert angle_difference(phi, wanted_phi[:, :-1]).max() < TOLERANCE
    assert angle_difference(psi, wanted_psi[:, 1:]).max() < TOLERANCE


def test_chi_equals_mdtraj(protein, layout, trajectory):
    chi, mask = compute_chi(protein.positions, layout)
    for k in range(4):
        index, wanted = getattr(mdtraj, f"compute_chi{k + 1}")(trajectory)
        residue = [trajectory.topology.atom(a).residue.index for a in index[:, 1]]
        order = np.argsort(residue)
        # mdtraj calls CG2 the gamma atom of no residue and knows the same chi
        assert np.flatnonzero(mask[:, k]).tolist() == np.sort(residue).tolist()
        mine = chi[:, mask[:, k], k]
        assert angle_difference(mine, wanted[:, order]).max() < TOLERANCE


def test_chi_accuracy_counts_matches(protein, layout):
    frames = np.repeat(protein.positions, 2, axis=0)
    # swap names of CD1/CD2 and CE1/CE2 in one Tyr: the same molecule
    tyrosine = np.flatnonzero(protein.residue_type == CODES.index("Y"))[0]
    frames[1, tyrosine, [6, 7, 8, 9]] = frames[0, tyrosine, [7, 6, 9, 8]]
    chi1, chi12 = compute_chi_accuracy(frames, protein.positions, layout)
    assert chi1.tolist() == chi12.tolist() == [1.0, 1.0]
    # swap CD1 and CD2 of one Leu: chi2 moves by 120 degrees, chi1 stays
    leucine = np.flatnonzero(protein.residue_type == CODES.index("L"))[0]
    frames[1, leucine, [6, 7]] = frames[0, leucine, [7, 6]]
    chi1, chi12 = compute_chi_accuracy(frames, protein.positions, layout)
    assert chi1.tolist() == [1.0, 1.0]
    assert chi12[0] == 1.0 > chi12[1] > 0.97


def test_crystal_structure_is_planar_and_natural(protein, layout):
    assert compute_twisted_omega(protein.positions, layout)[0] == 0.0
    assert compute_nonproline_cis(protein.positions, layout)[0] == 0
    assert compute_wrong_hands(protein.positions, layout)[0] == 0
    assert compute_ramachandran_outliers(protein.positions, layout)[0] < 0.02


def test_mirror_image_has_every_hand_wrong(protein, layout):
    mirror = protein.positions * np.array([1, 1, -1], np.float32)
    count = np.bincount(protein.residue_type, minlength=20)
    n_centers = (
        protein.n_residues
        - count[CODES.index("G")]
        + count[CODES.index("I")]
        + count[CODES.index("T")]
    )
    assert compute_wrong_hands(mirror, layout)[0] == n_centers
    # and half of its residues lie where only glycine goes
    assert compute_ramachandran_outliers(mirror, layout)[0] > 0.5


def test_swapped_threonine_is_one_wrong_hand(protein, layout):
    isoleucine = np.flatnonzero(protein.residue_type == CODES.index("I"))[0]
    frames = protein.positions.copy()
    frames[0, isoleucine, [5, 6]] = frames[0, isoleucine, [6, 5]]
    assert compute_wrong_hands(frames, layout)[0] == 1


def rotate_about(points, origin, axis, angle):
    """Rodrigues' formula."""
    axis = axis / np.linalg.norm(axis)
    v = points - origin
    return (
        origin
        + v * np.cos(angle)
        + np.cross(axis, v) * np.sin(angle)
        + axis * (v @ axis)[..., None] * (1 - np.cos(angle))
    )


@pytest.mark.parametrize(
    ("degrees", "n_twisted", "n_cis"), [(20, 0, 0), (60, 1, 0), (180, 0, 1)]
)
def test_rotation_about_a_peptide_bond(protein, layout, degrees, n_twisted, n_cis):
    frames = protein.positions.astype(np.float64)
    omega, _ = compute_omega(frames, layout)
    i = int(np.argmin(np.abs(np.abs(omega[0]) - np.pi)[5:30])) + 5
    assert protein.residue_type[i + 1] != CODES.index("P")
    c, n = frames[0, i, 2], frames[0, i + 1, 0]
    frames[0, i + 1 :] = rotate_about(frames[0, i + 1 :], c, n - c, np.radians(degrees))
    n_units = protein.n_residues - 1
    assert compute_twisted_omega(frames, layout)[0] * n_units == pytest.approx(
        n_twisted
    )
    assert compute_nonproline_cis(frames, layout)[0] == n_cis


def test_cis_before_proline_is_no_error(layout, protein):
    proline = np.flatnonzero(protein.residue_type == CODES.index("P"))[0]
    frames = protein.positions.astype(np.float64)
    c, n = frames[0, proline - 1, 2], frames[0, proline, 0]
    frames[0, proline:] = rotate_about(frames[0, proline:], c, n - c, np.pi)
    omega, _ = compute_omega(frames, layout)
    assert abs(omega[0, proline - 1]) < np.radians(30)
    assert compute_nonproline_cis(frames, layout)[0] == 0


def test_maps_hold_the_textbook_regions():
    """Alpha helix and beta sheet for all, left-handed helix not for proline."""
    column = {phi: int((phi + 180) // 10) for phi in (-65, -120, 57)}
    row = {psi: 35 - int((psi + 180) // 10) for psi in (-40, 130, 47)}
    for name in CLASSES:
        rows = OUTLIER_MAP[name]
        assert len(rows) == 36 and {len(r) for r in rows} == {36}
        assert rows[row[-40]][column[-65]] == "#"
    assert OUTLIER_MAP["general"][row[130]][column[-120]] == "#"
    assert OUTLIER_MAP["general"][row[47]][column[57]] == "#"
    assert OUTLIER_MAP["proline"][row[130]][column[-120]] == "."
    assert OUTLIER_MAP["proline"][row[47]][column[57]] == "."
