"""Cysteines that are joined before the packing."""

import math

import pytest
import torch

from openmm_backmap.builder.backbone import place_cb
from openmm_backmap.builder.side_chain import build_side_chain_rows
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.geometry.internal import place_atom
from openmm_backmap.geometry.vectors import compute_angle, compute_dihedral
from openmm_backmap.packing.disulfides import join_disulfides, score_disulfides
from openmm_backmap.packing.pack import Packer, PackingSettings

TABLES = load_builder_tables()


def place(a: list, length: float, angle: float, dihedral: float) -> torch.Tensor:
    """Atom bonded to the last of three, angles in degrees."""
    one = [torch.tensor(x) for x in (length, math.radians(angle))]
    return place_atom(*a, *one, torch.tensor(math.radians(dihedral)))


def cysteine_pair(bond: float, dihedral: float, chi: float = -60.0) -> torch.Tensor:
    """Backbones (1, 2, 5, 3) that hold a disulfide when both chi1 are `chi`."""
    n, ca = torch.tensor([0.146, 0.0, 0.0]), torch.zeros(3)
    c = torch.tensor([-0.055, 0.142, 0.0])
    kind = torch.tensor([4])
    cb = place_cb(n[None], ca[None], c[None], kind, TABLES)[0]
    first = torch.stack((n, ca, c, torch.tensor([0.0, 0.24, 0.0]), cb))
    sulfur = place([n, ca, cb], 0.1806, 113.9, chi)
    other = place([ca, cb, sulfur], bond, 104.0, 80.0)
    cb2 = place([cb, sulfur, other], 0.1806, 104.0, dihedral)
    ca2 = place([sulfur, other, cb2], 0.153, 113.9, 80.0)
    n2 = place([other, cb2, ca2], 0.146, 110.0, chi)
    c2 = place([other, cb2, ca2], 0.152, 110.0, chi - 122.5)
    o2 = place([n2, ca2, c2], 0.123, 120.0, 30.0)
    return torch.stack((first, torch.stack((n2, ca2, c2, o2, cb2))))[None]


def grid(n: int = 12) -> torch.Tensor:
    chi = torch.zeros(1, 2, n, 4)
    chi[..., 0] = torch.arange(n) * 2.0 * math.pi / n - math.pi
    return chi


def join(backbone: torch.Tensor, log_p: torch.Tensor, chain: list[int]) -> tuple:
    return join_disulfides(
        backbone,
        torch.tensor([4, 4]),
        torch.tensor(chain),
        torch.tensor([[[1], [0]]]),
        torch.zeros(1, 3, 3),
        grid(),
        log_p,
        TABLES,
    )


def sulfurs(backbone: torch.Tensor, chi: torch.Tensor) -> torch.Tensor:
    kind = torch.tensor([4, 4])
    return build_side_chain_rows(backbone[0], kind, chi[0, :, 0], TABLES)[:, 4:6]


@pytest.mark.parametrize("dihedral", [-95.0, -85.0, 80.0, 100.0])
@pytest.mark.parametrize("chi", [-65.0, 60.0, 175.0])
def test_disulfide_is_found_between_backbones_that_hold_one(
    dihedral: float, chi: float
) -> None:
    backbone = cysteine_pair(0.204, dihedral, chi)
    found, log_p, joined = join(backbone, torch.zeros(1, 2, 12), [0, 1])
    assert joined.all()
    assert torch.isfinite(log_p).sum(2).tolist() == [[1, 1]]
    (beta_a, a), (beta_b, b) = sulfurs(backbone, found)
    assert float((a - b).norm()) == pytest.approx(0.204, abs=0.008)
    for angle in (compute_angle(beta_a, a, b), compute_angle(beta_b, b, a)):
        assert abs(math.degrees(float(angle)) - 104.0) < 12.0
    assert (
        60.0 < abs(math.degrees(float(compute_dihedral(beta_a, a, b, beta_b)))) < 120.0
    )


def test_strain_is_that_written_out() -> None:
    backbone = cysteine_pair(0.21, 70.0)
    one, two = torch.tensor([[0.4, 1.0]]), torch.tensor([[2.0]])
    strain, bond = score_disulfides(backbone[:, 0], backbone[:, 1], one, two, TABLES)
    for k in range(2):
        chi = torch.zeros(1, 2, 1, 4)
        chi[0, 0, 0, 0], chi[0, 1, 0, 0] = one[0, k], two[0, 0]
        (beta_a, a), (beta_b, b) = sulfurs(backbone, chi)
        length = float((a - b).norm())
        terms = [(length - 0.204) / 0.006]
        for angle in (compute_angle(beta_a, a, b), compute_angle(beta_b, b, a)):
            terms.append((math.degrees(float(angle)) - 104.0) / 5.0)
        dihedral = abs(float(compute_dihedral(beta_a, a, b, beta_b)))
        terms.append((math.degrees(dihedral) - 90.0) / 15.0)
        assert float(bond[0, k, 0]) == pytest.approx(length, abs=1e-5)
        wanted = 0.5 * sum(x * x for x in terms)
        assert float(strain[0, k, 0]) == pytest.approx(wanted, rel=1e-3)


def test_far_pairs_and_unlikely_chi_are_left_alone() -> None:
    flat = torch.zeros(1, 2, 12)
    # a bond of 3.6 A, or a flat dihedral, is none
    for backbone in (cysteine_pair(0.36, 90.0), cysteine_pair(0.26, 0.0)):
        _, log_p, joined = join(backbone, flat, [0, 1])
        assert not joined.any()
        assert torch.equal(log_p, flat)
    against = torch.zeros(1, 2, 12)
    against[0, 0, torch.cos(grid()[0, 0, :, 0] - math.radians(-60.0)) > -0.9] = -30.0
    assert join(cysteine_pair(0.204, 90.0), flat, [0, 1])[2].all()
    assert not join(cysteine_pair(0.204, 90.0), against, [0, 1])[2].any()


def test_packed_disulfide_stays_through_the_clean_up() -> None:
    _, positions, confidence = Packer(PackingSettings())(
        cysteine_pair(0.204, 90.0),
        torch.tensor([4, 4]),
        torch.tensor([0, 1]),
        torch.tensor([[[1], [0]]]),
        torch.zeros(1, 3, 3),
        grid(),
        torch.zeros(1, 2, 12),
        None,
    )
    bond = float((positions[0, 0, 5] - positions[0, 1, 5]).norm())
    assert bond == pytest.approx(0.204, abs=0.008)
    assert torch.equal(confidence, torch.ones(1, 2))
