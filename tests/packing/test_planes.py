"""Planes chosen together are the best ones, and samples follow the weights."""

import itertools
import math

import numpy as np
import torch

from openmm_backmap.builder.backbone import (
    build_units,
    has_next,
    place_carbonyl_oxygen,
)
from openmm_backmap.builder.ramachandran import compute_phi_psi
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.geometry.vectors import compute_angle, compute_dihedral
from openmm_backmap.packing.planes import (
    PlaneSettings,
    _meeting_energy,
    choose_planes,
    ramachandran_class,
)


def problem(rng: np.random.Generator, n: int, n_planes: int, frames: int = 1):
    ca = torch.zeros(frames, n, 3)
    ca[:, :, 0] = torch.arange(n) * 0.32
    ca[:, :, 1] = (torch.arange(n) % 2) * 0.2
    ca = ca + torch.from_numpy(rng.normal(size=ca.shape) * 0.01).float()
    alpha = torch.from_numpy(rng.uniform(-3, 3, (frames, n, n_planes))).float()
    twist = torch.from_numpy(rng.uniform(-0.3, 0.3, (frames, n, n_planes))).float()
    log_p = torch.from_numpy(rng.normal(size=(frames, n, n_planes))).float()
    kind = torch.from_numpy(rng.integers(0, 20, n))
    rama = torch.from_numpy(-rng.uniform(0, 4, (4, 36, 36))).float()
    return ca, alpha, twist, log_p, kind, rama


def nobody(frames: int, n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """No neighbours and no box: the chain alone decides."""
    return torch.full((frames, n, 1), -1), torch.zeros(frames, 3, 3)


TABLES = load_builder_tables()


def chain_score(ca, alpha, twist, log_p, kind, segment, rama, pick) -> float:
    """Score of one assignment, by the definition and not by messages."""
    index = torch.tensor(pick).view(1, -1, 1)
    a, t = alpha.gather(2, index).squeeze(2), twist.gather(2, index).squeeze(2)
    cis = torch.zeros_like(a, dtype=torch.bool)
    carbon, next_n = build_units(ca, a, t, cis, kind, segment, TABLES)
    oxygen = place_carbonyl_oxygen(ca, carbon, next_n)
    energy = _meeting_energy(
        ca, carbon[:, :, None], oxygen[:, :, None], next_n[:, :, None],
        kind, segment, rama, TABLES, PlaneSettings(),
    )  # fmt: skip
    own = log_p.gather(2, index).squeeze(2)[:, has_next(segment)].sum()
    return float(own - energy.sum())


def test_the_chosen_planes_are_the_best_of_all(rng) -> None:
    ca, alpha, twist, log_p, kind, rama = problem(rng, 6, 3)
    segment = torch.tensor([0, 0, 0, 0, 1, 1])
    args = (ca, alpha, twist, log_p, kind, segment, rama)
    best = max(
        itertools.product(range(3), repeat=6), key=lambda p: chain_score(*args, p)
    )
    a, t = choose_planes(
        ca, alpha, twist, log_p, torch.zeros(1, 6, dtype=torch.bool), kind, segment,
        *nobody(1, 6), rama, load_builder_tables(), PlaneSettings(), None,
    )  # fmt: skip
    inner = has_next(segment)
    index = torch.tensor(best).view(1, -1, 1)
    assert torch.equal(a[:, inner], alpha.gather(2, index).squeeze(2)[:, inner])
    assert torch.equal(t[:, inner], twist.gather(2, index).squeeze(2)[:, inner])


def test_samples_follow_the_weights_of_the_chain(rng) -> None:
    ca, alpha, twist, log_p, kind, rama = problem(rng, 4, 2)
    segment = torch.zeros(4, dtype=torch.long)
    args = (ca, alpha, twist, log_p, kind, segment, rama)
    picks = list(itertools.product(range(2), repeat=3))
    score = np.array([chain_score(*args, (*p, 0)) for p in picks])
    expected = np.exp(score - score.max())
    expected /= expected.sum()
    frames = 4000
    noise = torch.from_numpy(rng.normal(size=(frames, 4))).float()
    a, _ = choose_planes(
        ca.expand(frames, -1, -1), alpha.expand(frames, -1, -1),
        twist.expand(frames, -1, -1), log_p.expand(frames, -1, -1),
        torch.zeros(frames, 4, dtype=torch.bool), kind, segment,
        *nobody(frames, 4), rama, load_builder_tables(), PlaneSettings(), noise,
    )  # fmt: skip
    code = (a[:, :3, None] == alpha[:, :3]).long().argmax(-1) @ torch.tensor([4, 2, 1])
    seen = np.bincount(code.numpy(), minlength=8) / frames
    assert np.abs(seen - expected).max() < 0.03  # 4 standard errors of 4000 draws


def test_a_frame_does_not_depend_on_its_batch(rng) -> None:
    ca, alpha, twist, log_p, kind, rama = problem(rng, 30, 5, 4)
    segment = torch.tensor([0] * 12 + [1] * 18)
    tables = load_builder_tables()
    cis = torch.zeros(4, 30, dtype=torch.bool)
    noise = torch.from_numpy(rng.normal(size=(4, 30))).float()
    neighbors = torch.from_numpy(find_neighbors(ca.numpy(), 16, 1.2))
    box = torch.zeros(4, 3, 3)
    for draw in (None, noise):
        rows = [
            choose_planes(
                ca[s], alpha[s], twist[s], log_p[s], cis[s], kind, segment,
                neighbors[s], box[s], rama, tables, PlaneSettings(),
                None if draw is None else draw[s],
            )[0]
            for s in (slice(0, 4), slice(2, 3))
        ]  # fmt: skip
        assert torch.equal(rows[0][2:3], rows[1])


def test_ramachandran_classes() -> None:
    kind = torch.tensor([0, 14, 7, 0, 14, 14])
    segment = torch.tensor([0, 0, 0, 0, 1, 1])
    assert ramachandran_class(kind, segment).tolist() == [3, 2, 1, 0, 2, 2]


def test_planes_keep_off_a_strand_that_cannot_move() -> None:
    n = 8
    ca = torch.zeros(1, 2 * n, 3)
    ca[0, :n, 0] = ca[0, n:, 0] = torch.arange(n) * 0.34
    ca[0, :n, 1] = ca[0, n:, 1] = (torch.arange(n) % 2) * 0.17
    ca[0, n:, 2] = 0.45
    segment = torch.tensor([0] * n + [1] * n)
    kind = torch.zeros(2 * n, dtype=torch.long)
    alpha = torch.linspace(-3.0, 3.0, 13).expand(1, 2 * n, 13).contiguous()
    twist = torch.zeros_like(alpha)
    cis = torch.zeros(1, 2 * n, dtype=torch.bool)
    neighbors = torch.from_numpy(find_neighbors(ca.numpy(), 10, 1.2))
    tables = load_builder_tables()

    def closest(rounds: int, height: float, period: float, held: int) -> float:
        log_p = torch.zeros_like(alpha)
        log_p[:, n:] = -60.0
        log_p[:, n:, held] = 0.0  # the second strand has one plane
        place = ca.clone()
        place[:, n:, 2] = height
        box = torch.eye(3)[None] * period
        a, t = choose_planes(
            place, alpha, twist, log_p, cis, kind, segment, neighbors, box,
            torch.zeros(4, 36, 36), tables, PlaneSettings(n_rounds=rounds), None,
        )  # fmt: skip
        carbon, next_n = build_units(place, a, t, cis, kind, segment, tables)
        oxygen = place_carbonyl_oxygen(place, carbon, next_n)
        atoms = torch.cat((oxygen, carbon, next_n), 0)
        delta = atoms[:, None, : n - 1, None] - atoms[None, :, None, n : 2 * n - 1]
        if period > 0:
            delta = delta - period * torch.round(delta / period)
        return delta.norm(dim=-1).min().item()

    held = min(range(13), key=lambda k: closest(1, 0.45, 0.0, k))
    blind = closest(1, 0.45, 0.0, held)
    assert blind < 0.24
    assert closest(2, 0.45, 0.0, held) > blind + 0.02
    # the same strand, seen through the box
    assert closest(2, 0.45 - 6.0, 6.0, held) > blind + 0.02


def test_the_meeting_energy_is_what_its_angles_say(rng) -> None:
    ca, alpha, twist, _log_p, kind, rama = problem(rng, 8, 4, 2)
    segment = torch.tensor([0] * 5 + [1] * 3)
    cis = torch.zeros(2, 8, dtype=torch.bool)
    units = [
        build_units(ca, alpha[..., k], twist[..., k], cis, kind, segment, TABLES)
        for k in range(4)
    ]
    carbon = torch.stack([unit[0] for unit in units], 2)
    next_n = torch.stack([unit[1] for unit in units], 2)
    oxygen = place_carbonyl_oxygen(ca.unsqueeze(2), carbon, next_n)
    kind = torch.where(kind == 14, torch.zeros_like(kind), kind)  # no prolines
    settings = PlaneSettings(clash_slope=0.0)
    energy = _meeting_energy(
        ca, carbon, oxygen, next_n, kind, segment, rama, TABLES, settings
    )
    shape = (2, 4, 4, 3)
    for i in range(8):
        if i in (0, 4, 5, 7):  # ends
            assert not energy[:, i].any()
            continue
        center = ca[:, i, None, None].expand(shape)
        nitrogen = next_n[:, i - 1, :, None].expand(shape)
        this_c = carbon[:, i, None].expand(shape)
        strain = compute_angle(nitrogen, center, this_c) - TABLES.n_ca_c[kind[i]]
        before_c = carbon[:, i - 1, :, None].expand(shape)
        phi = compute_dihedral(before_c, nitrogen, center, this_c)
        psi = compute_dihedral(
            nitrogen, center, this_c, next_n[:, i, None].expand(shape)
        )
        row, column = (
            torch.floor((angle + math.pi) / (2.0 * math.pi) * 36).long().clamp(0, 35)
            for angle in (phi, psi)
        )
        log_p = rama[ramachandran_class(kind, segment)[i], row, column]
        log_p = log_p.clamp(min=settings.ramachandran_floor)
        expected = 0.5 * (strain / settings.angle_spread) ** 2 - log_p
        torch.testing.assert_close(energy[:, i], expected, atol=2e-3, rtol=1e-4)


def count_outliers(ca, alpha, twist, kind, segment, rama, limit: float) -> int:
    """Inner residues whose (phi, psi) bin is below a log p."""
    cis = torch.zeros_like(alpha, dtype=torch.bool)
    carbon, next_n = build_units(ca, alpha, twist, cis, kind, segment, TABLES)
    backbone = torch.stack((torch.roll(next_n, 1, 1), ca, carbon), 2)
    phi, psi, has_phi, has_psi = compute_phi_psi(backbone, segment)
    row, column = (
        ((x + math.pi) / (2 * math.pi) * 36).long().clamp(0, 35)[0] for x in (phi, psi)
    )
    log_p = rama[ramachandran_class(kind, segment), row, column]
    return int(((log_p < limit) & has_phi & has_psi).sum())


def test_traces_that_tell_little_keep_off_ramachandran_outliers(rng) -> None:
    settings = PlaneSettings(
        angle_spread=0.3, ramachandran_weight=0.25, outlier_weight=10.0
    )
    segment, cis = torch.zeros(8, dtype=torch.long), torch.zeros(1, 8, dtype=torch.bool)
    outliers = [0, 0]
    for _ in range(40):
        ca, alpha, twist, log_p, kind, rama = problem(rng, 8, 6)
        rama = 2.0 * rama
        for vague in (False, True):
            a, t = choose_planes(
                ca, alpha, twist, log_p, cis, kind, segment, *nobody(1, 8), rama,
                TABLES, settings, None, is_vague=torch.full((1, 8), vague),
            )  # fmt: skip
            outliers[vague] += count_outliers(ca, a, t, kind, segment, rama, -6.5)
            if not vague:
                alone, _ = choose_planes(
                    ca, alpha, twist, log_p, cis, kind, segment, *nobody(1, 8), rama,
                    TABLES, settings, None,
                )  # fmt: skip
                assert torch.equal(a, alone)
    assert outliers[0] > 5
    assert outliers[1] < 0.5 * outliers[0]
