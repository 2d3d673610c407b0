"""Decoding: peaks, samples and beams against slow twins."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_loss import make_soft_labels
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.nn.torsion_bins import (
    decode_mean,
    decode_peak,
    find_peaks,
    sample_bins,
)
from openmm_backmap.nn.torsion_heads import TWIST_RANGE

N = 72


def wrapped_normal(center: float, sd: float = 0.15) -> Tensor:
    """Log density of a wrapped normal over the bins."""
    angle = -math.pi + (torch.arange(N) + 0.5) * 2 * math.pi / N
    delta = torch.remainder(angle - center + math.pi, 2 * math.pi) - math.pi
    return -0.5 * (delta / sd) ** 2


@pytest.mark.parametrize("center", [0.3, -3.1, 3.12, math.pi, 1.234])
def test_a_peak_is_found_between_bins_and_across_the_seam(center: float) -> None:
    angle = float(decode_peak(wrapped_normal(center)[None], math.pi, True))
    assert math.cos(angle - center) > math.cos(math.radians(0.6))


def test_a_peak_at_the_edge_of_an_open_range_stays_there() -> None:
    logits = torch.full((1, N), -20.0)
    logits[0, 0] = 0.0
    angle = float(decode_peak(logits, 1.0, False))
    assert angle == pytest.approx(-1.0 + 1.0 / N, abs=1e-3)


def test_samples_follow_the_distribution() -> None:
    rng = np.random.default_rng(3)
    mix = torch.logaddexp(wrapped_normal(-1.0), wrapped_normal(2.0) + math.log(0.25))
    uniform = torch.from_numpy(rng.random(20000))
    drawn = sample_bins(mix.double().expand(20000, N), uniform, math.pi)
    share = float((drawn > 0.5).float().mean())
    assert share == pytest.approx(0.2, abs=0.01)  # 3 sd of 20,000 draws
    near = drawn[drawn < 0.5]
    assert float(near.mean()) == pytest.approx(-1.0, abs=0.01)
    # spread of the density, plus a bin's own
    assert float(near.std()) == pytest.approx(0.15, abs=0.01)


def test_a_cold_sample_is_the_mode() -> None:
    uniform = torch.linspace(0.01, 0.99, 50)
    drawn = sample_bins(wrapped_normal(0.7).expand(50, N), uniform, math.pi, 0.01)
    assert float((drawn - 0.7).abs().max()) < 2 * math.pi / N


def test_peaks_come_in_order_with_their_shares() -> None:
    weights = {-1.1: 0.6, 3.1: 0.3, 1.1: 0.1}
    p = sum(w * torch.softmax(wrapped_normal(c, 0.12), 0) for c, w in weights.items())
    angle, log_p, spread = find_peaks(p.log()[None], torch.tensor([False]))
    for k, (center, weight) in enumerate(weights.items()):
        assert math.cos(float(angle[0, k]) - center) > math.cos(0.02)
        assert float(log_p[0, k].exp()) == pytest.approx(weight, abs=0.02)
        # 0.12, and a bin's own width of 0.087 / sqrt(12)
        assert float(spread[0, k]) == pytest.approx(0.123, abs=0.01)


def test_both_sides_of_a_pi_periodic_torsion_are_one_peak() -> None:
    both = torch.logaddexp(wrapped_normal(1.3), wrapped_normal(1.3 - math.pi))
    angle, log_p, spread = find_peaks(both[None], torch.tensor([True]))
    assert abs(math.cos(float(angle[0, 0]) - 1.3)) > math.cos(0.02)
    assert float(log_p[0, 0].exp()) == pytest.approx(1.0, abs=0.02)
    assert float(log_p[0, 1]) < -5.0


@pytest.mark.parametrize("two_sided", [False, True])
def test_peaks_are_those_of_looking_at_one_bin_after_the_other(
    two_sided: bool,
) -> None:
    torch.manual_seed(3)
    logits = torch.randn(40, 72).cumsum(-1)
    found = find_peaks(logits, torch.full((40,), two_sided))
    width = 2.0 * np.pi / 72
    for row, p in enumerate(torch.softmax(logits.double(), -1).numpy()):
        if two_sided:
            p = p + np.roll(p, 36)
        score = np.roll(p, 1) + p + np.roll(p, -1)
        if two_sided:
            score[36:] = -1.0
        for turn in range(3):
            top = int(score.argmax())
            basin = [(top + k) % 72 for k in range(-6, 7)]
            steps, mass = np.arange(-6, 7), p[basin]
            near = mass[3:10]
            shift = (near * steps[3:10]).sum() / max(near.sum(), 1e-12)
            away = (mass * (steps - shift) ** 2).sum() / max(mass.sum(), 1e-12)
            if mass.sum() > 1e-4:
                angle = -np.pi + (top + 0.5 + shift) * width
                assert float(found[0][row, turn]) == pytest.approx(angle, abs=1e-3)
                assert float(found[1][row, turn]) == pytest.approx(
                    np.log(mass.sum()), abs=1e-3
                )
                assert float(found[2][row, turn]) == pytest.approx(
                    width * np.sqrt(away), abs=1e-3
                )
            p = p.copy()
            for side in (0, 36) if two_sided else (0,):
                p[[(k + side) % 72 for k in basin]] = 0.0
                score[[(top + k + side) % 72 for k in range(-8, 9)]] = -1.0


def test_soft_labels_are_normal_and_centred() -> None:
    labels = make_soft_labels(math.pi, math.radians(4.0), True)
    assert torch.allclose(labels.sum(-1), torch.ones(len(labels)), atol=1e-5)
    row = labels[16 * 10 + 8]  # the middle of bin 10
    assert int(row.argmax()) == 10
    assert float(row[9]) == pytest.approx(float(row[11]), rel=0.2)
    seam = labels[0]
    assert float(seam[0]) == pytest.approx(float(seam[-1]), rel=0.2)


@pytest.fixture(scope="module")
def decoder() -> CADecoder:
    """Decoder of a random network."""
    torch.manual_seed(1)
    network = CANetwork(width=32, n_layers=1, n_heads=4, edge_width=16).eval()
    with torch.no_grad():  # sharper than at the start
        for head in (network.chi1, network.chi2, network.chi3, network.chi4):
            head.out.weight *= 30.0
    return CADecoder(network)


def slow_beam(decoder: CADecoder, h: Tensor, backbone: Tensor, kind: int) -> dict:
    """All combinations of peaks of one residue, by recursion."""
    tables = load_builder_tables()
    found = {}

    def extend(chi: list[float], log_p: float, k: int) -> None:
        if k == int(tables.n_chi[kind]):
            found[tuple(round(c, 3) for c in chi)] = log_p
            return
        told = torch.tensor([*chi, *[0.0] * (4 - k)])
        logits = decoder.network.chi_logits(h, backbone, told, k)
        angle, gain, _ = find_peaks(logits[None], tables.pi_periodic[kind, k].view(1))
        for a, g in zip(angle[0].tolist(), gain[0].tolist(), strict=True):
            extend([*chi, a], log_p + g, k + 1)

    extend([], 0.0, 0)
    return found


def test_the_beam_holds_the_best_combinations(decoder: CADecoder) -> None:
    rng = np.random.default_rng(4)
    kinds = torch.arange(20)
    flips = load_builder_tables().pi_periodic.numpy()
    h = torch.from_numpy(rng.normal(size=(1, 20, 32)).astype(np.float32))
    backbone = torch.from_numpy(rng.normal(size=(1, 20, 14)).astype(np.float32))
    with torch.no_grad():
        chi, log_p = decoder.decode_chi(h, backbone, kinds)
        for r in range(20):
            slow = slow_beam(decoder, h[0, r], backbone[0, r], r)
            n_chi = int(load_builder_tables().n_chi[r])
            best = max(slow.values())
            # the sharpened random weights amplify float32 rounding
            assert float(log_p[0, r, 0]) == pytest.approx(best, abs=0.02), r
            for c in range(12):
                if not torch.isfinite(log_p[0, r, c]):
                    continue
                mine = chi[0, r, c, :n_chi].double().numpy()
                others = np.array(list(slow))
                # a pi-periodic chi may come out on either side
                period = np.where(flips[r, :n_chi], np.pi, 2 * np.pi)
                apart = np.abs((others - mine + period / 2) % period - period / 2)
                assert n_chi == 0 or apart.max(1).min() < 0.02, (r, c)
                assert float(log_p[0, r, c]) >= best - decoder.max_log_ratio - 0.02
            if n_chi <= 2:  # nothing is lost before the width of the beam
                kept = sum(v >= best - decoder.max_log_ratio for v in slow.values())
                assert int(torch.isfinite(log_p[0, r]).sum()) == kept


def test_residues_without_chi_have_one_sure_candidate(decoder: CADecoder) -> None:
    kinds = torch.tensor([0, 7])  # ALA, GLY
    with torch.no_grad():
        chi, log_p = decoder.decode_chi(
            torch.zeros(2, 2, 32), torch.zeros(2, 2, 14), kinds
        )
    assert torch.equal(log_p[..., 0], torch.zeros(2, 2))
    assert bool(torch.isinf(log_p[..., 1:]).all())
    assert bool((chi == 0).all())


def test_a_sample_depends_on_its_own_numbers_alone(decoder: CADecoder) -> None:
    """Frames share nothing: the same uniforms give the same torsions."""
    rng = np.random.default_rng(5)
    h = torch.from_numpy(rng.normal(size=(3, 9, 32)).astype(np.float32))
    uniform = torch.from_numpy(rng.random((3, 9, 5)).astype(np.float32))
    chain = torch.tensor([0] * 5 + [1] * 4)
    cis = torch.zeros(3, 9, dtype=torch.bool)
    with torch.no_grad():
        together = decoder.decode_backbone(h, chain, cis, uniform)
        alone = decoder.decode_backbone(h[1:2], chain, cis[1:2], uniform[1:2])
    for a, b in zip(together, alone, strict=True):
        assert torch.allclose(a[1:2], b, atol=1e-5)


def test_mean_direction_is_that_of_least_squared_distance() -> None:
    # two thirds at one angle, one third at another: between them, nearer the first
    one, two = wrapped_normal(0.5).softmax(-1), wrapped_normal(1.7).softmax(-1)
    mixed = (2.0 * one / 3.0 + two / 3.0).log()
    angle = float(decode_mean(mixed))
    bins = -math.pi + (np.arange(N) + 0.5) * 2 * math.pi / N
    p = mixed.exp().numpy()
    grid = np.linspace(-math.pi, math.pi, 7201)
    square = (p * (2.0 - 2.0 * np.cos(grid[:, None] - bins))).sum(-1)
    assert angle == pytest.approx(grid[square.argmin()], abs=2e-3)
    assert 0.5 < angle < 1.1
    # across the seam of the circle
    seam = float(decode_mean(wrapped_normal(math.pi - 0.01)))
    assert math.cos(seam - math.pi + 0.01) > 0.9999


@pytest.mark.parametrize("center", [0.4, 3.1])
def test_a_chosen_plane_moves_to_the_mean_about_it(
    decoder: CADecoder, center: float
) -> None:
    # a skewed peak, and a likelier one on the other side that must not matter
    one, tail = wrapped_normal(center, 0.1), wrapped_normal(center + 0.3, 0.1)
    other = wrapped_normal(center + math.pi, 0.1)
    logits = torch.logaddexp(one, torch.logaddexp(tail - 1.0, other + 2.0))
    logits = logits.view(1, 1, N)
    h, cis = torch.zeros(1, 1, 32), torch.zeros(1, 1, dtype=torch.bool)
    with torch.no_grad():
        alpha, twist = decoder.center_planes(h, logits, cis, torch.full((1, 1), center))
    share = math.exp(-1.0) / (1.0 + math.exp(-1.0))
    assert float(alpha) == pytest.approx(center + 0.3 * share, abs=5e-3)
    with torch.no_grad():
        same = decoder._central_twist(h, cis, alpha.unsqueeze(0))[0]
        told = decoder.network.twist_logits(h, cis, alpha)
    assert torch.equal(twist, same)
    expected = decode_peak(told, TWIST_RANGE, False, window=16)
    assert torch.allclose(twist, expected, atol=1e-5)


def test_twists_of_many_planes_are_those_of_each(decoder: CADecoder) -> None:
    generator = torch.Generator().manual_seed(9)
    h = torch.randn(2, 6, 32, generator=generator)
    cis = torch.rand(2, 6, generator=generator) < 0.3
    alpha = 6.0 * torch.rand(4, 2, 6, generator=generator) - 3.0
    with torch.no_grad():
        together = decoder.network.spread_twist_logits(h, cis, alpha)
        for one, angle in zip(together, alpha, strict=True):
            alone = decoder.network.twist_logits(h, cis, angle)
            assert torch.allclose(one, alone, atol=1e-5)
        other = decoder.network.twist_logits(h, ~cis, alpha[0])
    assert not torch.allclose(together[0], other, atol=1e-3)


def test_vague_units_are_offered_planes_beside_all_peaks(decoder: CADecoder) -> None:
    """And a unit that is not has the same choice beside them as alone."""
    generator = torch.Generator().manual_seed(8)
    h = torch.randn(2, 6, 32, generator=generator)
    cis = torch.zeros(2, 6, dtype=torch.bool)
    vague = cis.clone()
    vague[1, 3:] = True
    with torch.no_grad():
        logits = decoder.azimuth_logits(h, cis)
        plain = decoder.spread_planes(h, logits, cis)
        mixed = decoder.spread_planes(h, logits, cis, vague)
    assert plain[0].shape == (2, 6, 5)
    assert mixed[0].shape == (2, 6, 9)
    kept = [0, 1, 2, 3, 6]
    for one, two in zip(plain, mixed, strict=True):
        assert torch.allclose(one, two[..., kept], atol=1e-6)
    beside = mixed[2][..., [4, 5, 7, 8]]
    assert bool((beside[~vague] < -1000.0).all())
    assert bool((beside[vague] > -100.0).all())
    # on both sides of the second and the third peak
    for peak, low, high in ((1, 4, 7), (2, 5, 8)):
        for column, step in ((low, -0.2), (high, 0.2)):
            turn = mixed[0][..., column] - mixed[0][..., peak] - step
            assert torch.allclose(torch.cos(turn), torch.ones(2, 6), atol=1e-6)
