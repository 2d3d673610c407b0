"""The packing as a whole: what a model relies on."""

import io
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import torch

from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.tables import make_packing_tables

TABLES = make_packing_tables()


def run(
    packer: torch.nn.Module, case: SimpleNamespace, noise: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    with torch.no_grad():
        return packer(
            case.backbone,
            case.residue_type,
            case.chain_index,
            case.neighbor_index,
            case.box,
            case.chi,
            case.log_p,
            noise,
        )


def take(case: SimpleNamespace, frames: list[int]) -> SimpleNamespace:
    fields = dict(vars(case))
    for name in ("backbone", "neighbor_index", "box", "chi", "log_p"):
        fields[name] = fields[name][frames]
    return SimpleNamespace(**fields)


@pytest.fixture
def packer() -> Packer:
    return Packer()


def test_surroundings_tell_the_native_rotamer(
    packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    case = packing_case()
    chi, positions, confidence = run(packer, case)
    free = case.chi_mask[0, :, 0] & (case.residue_type != 14)
    error = torch.remainder(chi - case.native_chi + torch.pi, 2 * torch.pi) - torch.pi
    right = (error[0, free, 0].abs() < 0.7).float().mean()
    assert right > 0.6  # one in three by chance
    assert torch.equal(positions[:, :, :5][..., :4, :], case.backbone[..., :4, :])
    assert confidence.min() > 0 and confidence.max() <= 1
    # a marginal says how often the choice is right
    assert abs(float(confidence[0, free].mean()) - float(right)) < 0.25


def test_packed_side_chains_do_not_overlap_severely(
    packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    case = packing_case()
    _, positions, _ = run(packer, case)
    mask = TABLES.atom_mask[case.residue_type]
    where = torch.nonzero(mask)
    xyz = positions[0][mask].double()
    radius = TABLES.atom_radius[case.residue_type][mask] + 0.02
    distance = (xyz[:, None] - xyz[None]).norm(dim=2)
    overlap = radius[:, None] + radius[None] - distance
    # away from bonded neighbours nothing is closer than 0.9 A of overlap
    apart = (where[:, None, 0] - where[None, :, 0]).abs() > 1
    assert overlap[apart].max() < 0.09


def test_a_frame_does_not_depend_on_the_frames_beside_it(
    packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    case = packing_case(4)
    noise = torch.randn(4, len(case.residue_type), 5)
    for drawn in (None, noise):
        together = run(packer, case, drawn)
        for f in range(4):
            alone = run(
                packer, take(case, [f]), None if drawn is None else drawn[f : f + 1]
            )
            for x, y in zip(together, alone, strict=True):
                assert torch.equal(x[f], y[0])


def test_the_mode_is_reproducible_and_samples_follow_their_noise(
    packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    case = packing_case()
    first, second = run(packer, case), run(packer, case)
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
    noise = torch.randn(2, 1, len(case.residue_type), 5)
    samples = [run(packer, case, noise[k])[0] for k in (0, 0, 1)]
    assert torch.equal(samples[0], samples[1])
    assert not torch.equal(samples[0], samples[2])


def test_scripted_packing_equals_the_eager_one(
    packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    case = packing_case(2)
    buffer = io.BytesIO()
    torch.jit.save(torch.jit.script(packer.eval()), buffer)
    buffer.seek(0)
    scripted = torch.jit.load(buffer)
    noise = torch.randn(2, len(case.residue_type), 4)
    for drawn in (None, noise):
        for x, y in zip(
            run(packer, case, drawn), run(scripted, case, drawn), strict=True
        ):
            torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-4)


def test_a_rotated_backbone_gives_rotated_atoms(
    packer: Packer,
    packing_case: Callable[..., SimpleNamespace],
    rotation: torch.Tensor,
) -> None:
    case = packing_case()
    chi, positions, _ = run(packer, case)
    move = torch.tensor([1.0, -2.0, 0.5])
    turned = SimpleNamespace(**vars(case))
    turned.backbone = case.backbone @ rotation.t() + move
    chi_turned, positions_turned, _ = run(packer, turned)
    # twelve clean-up steps amplify the rounding of float32 a little
    torch.testing.assert_close(chi_turned, chi, atol=2e-2, rtol=0.0)
    mask = TABLES.atom_mask[case.residue_type].unsqueeze(0)
    expected = positions @ rotation.t() + move
    torch.testing.assert_close(
        positions_turned[mask], expected[mask], atol=5e-3, rtol=0.0
    )


def test_contacts_through_the_box_count_like_direct_ones(
    packer: Packer, packing_case: Callable[..., SimpleNamespace]
) -> None:
    case = packing_case()
    half = len(case.residue_type) // 2
    case.chain_index = (torch.arange(len(case.residue_type)) >= half).long()
    chi, positions, _ = run(packer, case)
    edge = torch.tensor([7.0, 8.0, 9.0])
    away = SimpleNamespace(**vars(case))
    away.box = torch.diag(edge).unsqueeze(0)
    away.backbone = case.backbone.clone()
    away.backbone[:, half:] += edge * torch.tensor([1.0, -2.0, 1.0])
    chi_away, _, _ = run(packer, away)
    torch.testing.assert_close(chi_away, chi, atol=2e-2, rtol=0.0)
    # without the box the two halves do not feel each other
    away.box = torch.zeros(1, 3, 3)
    assert not torch.allclose(run(packer, away)[0], chi, atol=2e-2)


def test_one_residue_and_glycines_are_packed(packer: Packer) -> None:
    backbone = torch.randn(2, 1, 5, 3)
    for kind in (7, 0, 1):
        _, positions, confidence = packer(
            backbone,
            torch.tensor([kind]),
            torch.tensor([0]),
            torch.full((2, 1, 4), -1),
            torch.zeros(2, 3, 3),
            torch.zeros(2, 1, 3, 4),
            torch.zeros(2, 1, 3),
            None,
        )
        assert torch.isfinite(positions).all() and torch.isfinite(confidence).all()
