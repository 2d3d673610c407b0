"""The pseudo-likelihood fit finds the energy that made the data."""

from collections.abc import Callable

import numpy as np
import torch

from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_model import CAModel
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.pair_energy import N_DISTANCE_BINS
from openmm_backmap.packing.tables import N_ATOM_TYPES
from openmm_backmap.training.fit_packing import fit_model_packing, forget
from openmm_backmap.training.fit_pair_energy import PairCounts, fit_pair_energy
from openmm_backmap.training.shards import ShardEntry

N_FEATURES = 6
FEATURES = (
    torch.tensor([[0, 0], [0, 7], [5, 8], [5, 5], [6, 20], [24, 24]])
    @ torch.tensor([N_ATOM_TYPES, 1])
) * N_DISTANCE_BINS + torch.tensor([3, 5, 9, 9, 0, 1])


def draw_case(rng: np.random.Generator, truth: torch.Tensor) -> PairCounts:
    """Residues choose among three one-atom candidates by a known energy."""
    n_residues, n_candidates = 60, 3
    n_atoms = n_residues * n_candidates
    counts = torch.tensor(rng.integers(0, 3, size=(n_atoms, N_FEATURES)))
    log_p = torch.tensor(rng.normal(size=(n_residues, n_candidates))).float()
    log_p = torch.log_softmax(log_p, 1)
    energy = (counts.float() @ truth).view(n_residues, n_candidates)
    p = torch.softmax(0.5 * log_p - energy, 1).numpy()
    target = [int(rng.choice(n_candidates, p=row / row.sum())) for row in p]
    atom, feature = torch.nonzero(counts).unbind(1)
    repeats = counts[atom, feature]
    number = torch.arange(n_atoms)
    return PairCounts(
        feature=FEATURES[feature].repeat_interleave(repeats),
        atom=atom.repeat_interleave(repeats),
        clash=torch.zeros(n_atoms),
        cell_candidate=number,
        cell_atom=number,
        log_p=log_p,
        target=torch.tensor(target),
    )


def test_fit_recovers_the_energy_and_the_weight_of_log_p(
    rng: np.random.Generator,
) -> None:
    truth = torch.tensor([0.8, -0.5, 0.3, 0.0, -1.0, 0.6])
    cases = [draw_case(rng, truth) for _ in range(40)]
    table, log_p_weight, loss = fit_pair_energy(
        cases, n_epochs=40, penalty=1e-6, learning_rate=0.05
    )
    found = table.reshape(-1)[FEATURES]
    # 2400 choices: a standard error of about 0.03
    assert (found - truth).abs().max() < 0.15
    assert abs(log_p_weight - 0.5) < 0.1
    assert loss < np.log(3)
    assert torch.equal(table, table.transpose(0, 1))
    used = torch.zeros(table.numel(), dtype=torch.bool)
    used[FEATURES] = True
    used = used.view_as(table)
    # pairs never seen keep an energy of zero
    assert not table[~(used | used.transpose(0, 1))].any()


def test_a_network_forgets_while_its_candidates_are_counted() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.1)).eval()
    x = torch.ones(1, 4)
    sure = network(x)
    with forget(network, 0.8):
        outs = torch.stack([network(x) for _ in range(200)])
        assert 0.7 < float((outs == 0).float().mean()) < 0.9
    assert torch.equal(network(x), sure)
    assert network[1].p == 0.1 and not network[1].training
    with forget(object(), 0.8):  # nothing to do for a model without a network
        pass


def test_energies_beside_several_draws_are_averaged(
    make_entry: Callable[..., ShardEntry],
) -> None:
    torch.manual_seed(1)
    network = CANetwork(width=32, n_layers=1, n_heads=4, edge_width=16, dropout=0.1)
    model = CAModel(CADecoder(network), Packer(), torch.zeros(4, 36, 36)).eval()
    entries = [make_entry(0, 60, "1abc")]
    found = {}
    for n_draws in (1, 2):
        fitted = fit_model_packing(model, entries, n_draws=n_draws)
        assert fitted["n_draws"] == n_draws
        found[n_draws] = model.packer.pair_energy.clone()
        assert model.packer.settings.log_p_weight == fitted["log_p_weight"]
    assert found[1].any() and not torch.equal(found[1], found[2])
    # a pair met beside one draw only keeps half of its energy
    second = 2.0 * found[2] - found[1]
    alone = (second.abs() < 1e-6) & (found[1] != 0)
    assert alone.any() and torch.allclose(
        found[2][alone], 0.5 * found[1][alone], atol=1e-5
    )
