"""First and last residues are turned to their beads, and nothing else moves."""

from types import SimpleNamespace

import numpy as np
import torch

from openmm_backmap.nn.bead_ends import turn_ends
from openmm_backmap.nn.bead_hints import hint_awsem


def test_turned_ends_come_back_to_their_beads(
    protein: SimpleNamespace, rng: np.random.Generator
) -> None:
    native = torch.from_numpy(protein.positions[:, :, :5]).double()
    chain = torch.zeros(97, dtype=torch.int64)
    chain[40:] = 1
    mass = torch.zeros(20, 14)
    far = native + torch.from_numpy(rng.normal(0, 0.1, native.shape))
    wrong = hint_awsem(far[:, :, 4], far[:, :, 3], mass)
    moved = turn_ends(wrong, native, chain)
    gap = (moved - native).norm(dim=-1)[0]
    ends = torch.tensor([0, 39, 40, 96])
    inner = torch.ones(97, dtype=torch.bool)
    inner[ends] = False
    assert gap[inner].max() == 0.0
    assert (gap[ends].max(dim=1).values > 0.01).all()
    # bonds N-CA, CA-C, C-O and CA-CB, and the angles between them
    for a, b in ((0, 1), (1, 2), (2, 3), (1, 4), (0, 2), (1, 3), (2, 4), (0, 4)):
        before = (native[:, :, a] - native[:, :, b]).norm(dim=-1)
        after = (moved[:, :, a] - moved[:, :, b]).norm(dim=-1)
        torch.testing.assert_close(after, before, atol=1e-9, rtol=0)
    right = hint_awsem(native[:, :, 4], native[:, :, 3], mass)
    back = turn_ends(right, moved, chain)
    torch.testing.assert_close(back, native, atol=1e-6, rtol=0)


def test_an_end_without_beads_stays(protein: SimpleNamespace) -> None:
    native = torch.from_numpy(protein.positions[:, :, :5])
    none = torch.zeros_like(native[:, :, 4])
    hints = hint_awsem(none, none, torch.zeros(20, 14))
    chain = torch.from_numpy(protein.chain_index)
    assert torch.equal(turn_ends(hints, native, chain), native)
    torch.jit.script(turn_ends)
