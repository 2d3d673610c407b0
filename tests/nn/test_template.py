"""A reference structure among a model's proposals."""

import numpy as np
import pytest
import torch

from openmm_backmap.builder.backbone import build_backbone
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.builder.template import TEMPLATE_WIDTH, encode_template
from openmm_backmap.nn.template import (
    offer_cis,
    offer_planes,
    offer_side_chains,
    trust_template,
)

TABLES = load_builder_tables()
N = 24


@pytest.fixture(scope="module")
def chain() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A made-up trace with angles as in proteins, types and segments."""
    rng = np.random.default_rng(4)
    points = [np.zeros(3), np.array([0.38, 0.0, 0.0])]
    while len(points) < N:
        step = rng.normal(size=3)
        new = points[-1] + 0.38 * step / np.linalg.norm(step)
        if 0.5 < np.linalg.norm(new - points[-2]) < 0.7:
            points.append(new)
    ca = torch.tensor(np.array(points), dtype=torch.float32)[None]
    types = torch.tensor(rng.integers(0, 20, N))
    segments = torch.tensor([0] * 16 + [1] * 8)
    return ca, types, segments


@pytest.fixture(scope="module")
def template(chain: tuple) -> torch.Tensor:
    ca, types, segments = chain
    alpha = torch.linspace(-2.0, 2.0, N)[None]
    backbone = build_backbone(
        ca,
        alpha,
        0.1 * torch.ones_like(alpha),
        torch.zeros_like(alpha, dtype=torch.bool),
        torch.zeros(1, N, 3),
        types,
        segments,
        TABLES,
    )
    atoms = torch.full((N, 14, 3), float("nan"))
    atoms[:, :4] = backbone[0, :, :4]
    return encode_template(atoms, types, segments)


def test_encoding_holds_planes_and_masks(chain: tuple, template: torch.Tensor) -> None:
    _, _, segments = chain
    assert template.shape == (N, TEMPLATE_WIDTH)
    assert torch.isfinite(template).all()
    inner = torch.cat((segments[1:] == segments[:-1], torch.tensor([False])))
    assert torch.equal(template[:, 14] > 0.5, inner)
    wanted = torch.linspace(-2.0, 2.0, N)[inner]
    torch.testing.assert_close(template[inner, 12], wanted, atol=1e-3, rtol=0.0)
    torch.testing.assert_close(
        template[inner, 13], torch.full_like(wanted, 0.1), atol=1e-3, rtol=0.0
    )
    # no side chains were given
    assert not (template[:, 8:12] > 0).any()


def test_trust_is_full_for_a_moved_copy_and_none_elsewhere(
    chain: tuple, template: torch.Tensor
) -> None:
    ca, _, segments = chain
    turn, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator()))
    turn = turn * torch.sign(torch.linalg.det(turn))
    moved = ca @ turn.t() + 3.0
    trust = trust_template(moved, template, segments)
    torch.testing.assert_close(trust, torch.ones(1, N), atol=1e-5, rtol=0.0)
    # a mirror image does not superpose
    assert trust_template(-ca, template, segments).max() < 1.0
    bent = moved.clone()
    bent[:, 3] += 0.5
    partly = trust_template(bent, template, segments)
    assert (partly[0, :8] < 0.5).all()
    assert (partly[0, 8:] == 1.0).all()
    unknown = template.clone()
    unknown[5, 3] = 0.0
    assert trust_template(moved, unknown, segments)[0, 5] == 0.0


def test_offers_follow_trust(chain: tuple, template: torch.Tensor) -> None:
    _, types, _ = chain
    trust = torch.ones(1, N)
    trust[0, 10:] = 0.0
    trans = torch.zeros(1, N, dtype=torch.bool)
    planes = torch.zeros(1, N, 3)
    alpha, twist, log_p = offer_planes(planes, planes, planes, trans, template, trust)
    assert alpha.shape == (1, N, 4)
    torch.testing.assert_close(alpha[0, :, 3], template[:, 12])
    torch.testing.assert_close(twist[0, :, 3], template[:, 13])
    assert (log_p[0, :9, 3] == 6.0).all()
    assert (log_p[0, 9:, 3] < -1e3).all()
    # a trans unit of the reference is not offered to a cis one
    cis = offer_planes(planes, planes, planes, ~trans, template, trust)[2]
    assert (cis[..., 3] < -1e3).all()
    told = template.clone()
    told[:, 4:8], told[:, 8:12] = 1.5, 1.0
    told[3, 8] = 0.0
    n_chi = TABLES.n_chi[types]
    chi = torch.zeros(1, N, 2, 4)
    chi, odds = offer_side_chains(chi, torch.zeros(1, N, 2), n_chi, told, trust)
    offered = torch.isfinite(odds[0, :, 2])
    wanted = (n_chi > 0) & (trust[0] > 0)
    wanted[3] = wanted[3] & (n_chi[3] < 4)
    assert torch.equal(offered, wanted)
    assert (chi[0, :, 2] == 1.5).all()


def test_cis_is_taken_over_where_the_beads_allow_it(
    chain: tuple, template: torch.Tensor
) -> None:
    ca, _, segments = chain
    told = template.clone()
    told[4, 15] = told[15, 15] = 1.0
    trust = torch.ones(1, N)
    none = torch.zeros(1, N, dtype=torch.bool)
    assert not offer_cis(none, ca, told, trust, segments).any()
    near = ca.clone()
    near[:, 5:16] += 0.22 * (ca[:, 4:5] - ca[:, 5:6])
    near[:, 16:] += 0.3 * (near[:, 15:16] - near[:, 16:17])
    found = offer_cis(none, near, told, trust, segments)
    assert torch.nonzero(found[0]).flatten().tolist() == [4]
    assert not offer_cis(none, near, told, 0.0 * trust, segments).any()
