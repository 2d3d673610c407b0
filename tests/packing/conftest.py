"""A real protein with rotamer candidates for the packing tests."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from openmm_backmap.builder.extract import torsions_from_atoms
from openmm_backmap.geometry.neighbors import find_neighbors


def make_case(protein: SimpleNamespace, n_frames: int = 1) -> SimpleNamespace:
    """Native backbone, and the native chi1 turned by 0, 120 and 240 degrees.

    Frame f is displaced by noise of its own, so frames differ. The log p are
    equal: only the surroundings can tell the native candidate.
    """
    positions = torch.tensor(protein.positions[:1])
    residue_type = torch.tensor(protein.residue_type)
    chain_index = torch.tensor(protein.chain_index)
    mask = torch.tensor(protein.mask)
    torsions = torsions_from_atoms(positions, mask, residue_type, chain_index)
    generator = torch.Generator().manual_seed(5)
    n_residues = protein.n_residues
    wobble = 0.01 * torch.randn(n_frames, n_residues, 1, 3, generator=generator)
    wobble[0] = 0.0
    backbone = positions[:, :, :5] + wobble
    turns = torch.zeros(3, 4)
    turns[:, 0] = torch.tensor([0.0, 2 * torch.pi / 3, -2 * torch.pi / 3])
    chi = torsions.chi.unsqueeze(2) + turns
    # proline keeps its ring
    chi = torch.where((residue_type == 14).view(1, -1, 1, 1), chi[:, :, :1], chi)
    chi = chi.expand(n_frames, -1, -1, -1).contiguous()
    neighbors = find_neighbors(backbone[:, :, 1].numpy(), 40, 1.5, None)
    return SimpleNamespace(
        backbone=backbone,
        residue_type=residue_type,
        chain_index=chain_index,
        neighbor_index=torch.tensor(neighbors),
        box=torch.zeros(n_frames, 3, 3),
        chi=chi,
        log_p=torch.zeros(n_frames, n_residues, 3),
        native_chi=torsions.chi,
        chi_mask=torsions.chi_mask,
        native=positions,
        mask=mask,
    )


@pytest.fixture
def packing_case(protein: SimpleNamespace) -> Callable[..., SimpleNamespace]:
    """Give a function of the number of frames that makes the packing's input."""

    def make(n_frames: int = 1) -> SimpleNamespace:
        return make_case(protein, n_frames)

    return make


@pytest.fixture
def rotation(rng: np.random.Generator) -> torch.Tensor:
    """Random rotation matrix, float32."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    q[:, 0] *= np.sign(np.linalg.det(q))
    return torch.tensor(q.astype(np.float32))
