"""Scores in space: a perfect network is perfect, and sums are right."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from openmm_backmap.builder.extract import torsions_from_atoms
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.training.prepared import split_segments
from openmm_backmap.training.reconstruct import score_entry, summarize_scores


class Oracle(CADecoder):
    """Decoder that knows the answer, for the scores' own sake."""

    def know(self, found: object) -> None:
        """Take the true torsions."""
        self.found = found

    def decode_backbone(
        self, h: Tensor, chain_index: Tensor, is_cis: Tensor, uniform: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """True backbone torsions."""
        return self.found.alpha, self.found.twist, self.found.end_torsion

    def decode_chi(
        self, h: Tensor, backbone: Tensor, residue_type: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A wrong candidate first for even residues, the true one second."""
        chi = self.found.chi
        even = (torch.arange(chi.shape[1]) % 2 == 0).view(1, -1, 1)
        first = torch.where(even, chi + 1.0, chi)
        return torch.stack((first, chi), 2), torch.zeros(*chi.shape[:2], 2)


@pytest.fixture(scope="module")
def network() -> CANetwork:
    """Small random network."""
    torch.manual_seed(0)
    return CANetwork(width=32, n_layers=1, n_heads=4, edge_width=16).eval()


def test_true_torsions_score_as_they_should(
    network: CANetwork, make_entry: Callable
) -> None:
    entry = make_entry(0, 60, "one")
    oracle = Oracle(network)
    oracle.know(
        torsions_from_atoms(
            torch.from_numpy(entry.positions),
            torch.from_numpy(entry.mask),
            torch.from_numpy(entry.residue_type),
            torch.from_numpy(split_segments(entry)),
        )
    )
    score = summarize_scores([score_entry(oracle, entry, 8)])
    # lengths and angles are ideal, the structure's are not
    assert score["backbone_rmsd_angstrom"] < 0.15
    counts = oracle.found.chi_mask[0, :, 0].numpy() & (entry.residue_type != 14)
    odd = np.arange(60) % 2 == 1
    assert score["chi1_40"] == pytest.approx((counts & odd).sum() / counts.sum())
    assert score["chi1_any_40"] == 1.0


def test_an_untrained_network_scores_badly(
    network: CANetwork, make_entry: Callable
) -> None:
    entry = make_entry(0, 60, "one")
    score = summarize_scores([score_entry(CADecoder(network), entry, 8)])
    assert score["backbone_rmsd_angstrom"] > 0.6
    assert score["chi1_40"] < 0.6
    noisy = summarize_scores([score_entry(CADecoder(network), entry, 8, 0.03)])
    assert noisy["backbone_rmsd_angstrom"] > score["backbone_rmsd_angstrom"] * 0.8
