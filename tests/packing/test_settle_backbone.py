"""Backbones on CA where no protein has them get possible angles; others stay."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from openmm_backmap.packing.settle_backbone import BackboneSettler


def compute_angle(backbone: Tensor) -> Tensor:
    """N-CA-C (F, R) in degrees."""
    one = backbone[:, :, 0] - backbone[:, :, 1]
    two = backbone[:, :, 2] - backbone[:, :, 1]
    cosine = torch.nn.functional.cosine_similarity(one, two, dim=-1)
    return torch.rad2deg(torch.acos(cosine))


@pytest.fixture
def opened(packing_case: Callable[..., SimpleNamespace]) -> SimpleNamespace:
    """Two frames; in the second a plane is turned, which opens N-CA-C of `wide`.

    It is the residue of the straightest CA.
    """
    case = packing_case(2)
    backbone = case.backbone[:1].repeat(2, 1, 1, 1)
    span = (backbone[0, 12:40, 1] - backbone[0, 10:38, 1]).norm(dim=-1)
    k = 11 + int(span.argmax())
    start, end = backbone[1, k, 1].clone(), backbone[1, k + 1, 1].clone()
    axis = (end - start) / (end - start).norm()
    widest = backbone.clone()
    for angle in torch.arange(0.0, 6.3, 0.1):
        turned = backbone.clone()
        for residue, slot in ((k, 2), (k, 3), (k + 1, 0)):
            arm = backbone[1, residue, slot] - start
            along = (arm * axis).sum() * axis
            across = torch.linalg.cross(axis, arm)
            point = along + angle.cos() * (arm - along) + angle.sin() * across
            turned[1, residue, slot] = start + point
        if compute_angle(turned)[1, k] > compute_angle(widest)[1, k]:
            widest = turned
    case.backbone, case.wide = widest, k
    return case


def test_a_wide_angle_closes_and_bonds_stay(opened: SimpleNamespace) -> None:
    mobile = torch.ones(2, len(opened.residue_type), dtype=torch.bool)
    before = compute_angle(opened.backbone)
    assert float(before[1, opened.wide]) > 135.0
    settled = BackboneSettler().settle(
        opened.backbone, opened.residue_type, opened.chain_index, mobile
    )
    after = compute_angle(settled)
    assert float((before - after)[1, opened.wide]) > 5.0
    native = before[0]
    kept = (native > 106.0) & (native < 116.0)
    assert float((after[0] - native)[kept].abs().max()) < 3.0
    # nothing else is torn: peptide bonds of the frame
    joined = opened.chain_index[1:] == opened.chain_index[:-1]
    gap = (settled[:, 1:, 0] - settled[:, :-1, 2]).norm(dim=-1)[:, joined]
    was = (opened.backbone[:, 1:, 0] - opened.backbone[:, :-1, 2]).norm(dim=-1)
    assert float((gap / was[:, joined] - 1.0).abs().max()) < 0.05


def test_what_may_not_move_stays_to_the_bit(opened: SimpleNamespace) -> None:
    mobile = torch.zeros(2, len(opened.residue_type), dtype=torch.bool)
    settler = BackboneSettler()
    lists = opened.residue_type, opened.chain_index
    assert torch.equal(settler.settle(opened.backbone, *lists, mobile), opened.backbone)
    mobile[1, 5:45] = True
    settled = settler.settle(opened.backbone, *lists, mobile)
    assert torch.equal(settled[0], opened.backbone[0])
    assert torch.equal(settled[1, :5], opened.backbone[1, :5])
    assert torch.equal(settled[1, 45:], opened.backbone[1, 45:])
    assert not torch.equal(settled[1, opened.wide], opened.backbone[1, opened.wide])


def test_a_frame_does_not_depend_on_its_batch(opened: SimpleNamespace) -> None:
    mobile = torch.ones(2, len(opened.residue_type), dtype=torch.bool)
    settler = BackboneSettler()
    lists = opened.residue_type, opened.chain_index
    both = settler.settle(opened.backbone, *lists, mobile)
    alone = settler.settle(opened.backbone[1:], *lists, mobile[1:])
    assert torch.allclose(both[1:], alone, atol=1e-6)
