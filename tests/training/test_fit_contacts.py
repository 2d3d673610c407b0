"""The contact network learns which candidate a structure has chosen."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_model import CAModel
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.packing.contact_network import ContactNetwork
from openmm_backmap.packing.pack import Packer
from openmm_backmap.training.contact_cases import (
    ContactCase,
    collect_contact_cases,
    join_cases,
)
from openmm_backmap.training.fit_contacts import (
    ContactDraw,
    compute_contact_loss,
    fit_contact_network,
    fit_model_contacts,
    load_contacts,
)
from openmm_backmap.training.shards import ShardEntry


@pytest.fixture
def model() -> CAModel:
    torch.manual_seed(1)
    network = CANetwork(width=32, n_layers=1, n_heads=4, edge_width=16, dropout=0.1)
    return CAModel(CADecoder(network), Packer(), torch.zeros(4, 36, 36)).eval()


@pytest.fixture
def cases(model: CAModel, make_entry: Callable[..., ShardEntry]) -> list[ContactCase]:
    entries = [make_entry(0, 50, "1abc"), make_entry(45, 97, "2abc")]
    return list(collect_contact_cases(model, entries, 0.5, 3))


def test_structures_joined_are_read_as_each_alone(cases: list[ContactCase]) -> None:
    torch.manual_seed(0)
    network = ContactNetwork().eval()
    torch.nn.init.normal_(network.candidate[-1].weight)
    code, start, weight, inputs, target = join_cases(cases)
    together = network(network.sum_sorted(code, start, weight), inputs)
    first = 0
    for case in cases:
        code, start, weight, inputs, own_target = join_cases([case])
        alone = network(network.sum_sorted(code, start, weight), inputs)
        rows = slice(first, first + alone.shape[0])
        torch.testing.assert_close(
            together[rows, : alone.shape[1]], alone, atol=1e-5, rtol=1e-5
        )
        assert torch.equal(target[rows], own_target)
        first += alone.shape[0]


def test_the_same_seed_forgets_the_same(
    model: CAModel, make_entry: Callable[..., ShardEntry]
) -> None:
    entries = [make_entry(0, 40, "1abc")]
    draws = [
        next(collect_contact_cases(model, entries, 0.5, seed)).inputs.log_p
        for seed in (1, 1, 2)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_the_fit_learns_what_structures_choose(cases: list[ContactCase]) -> None:
    # each residue has chosen its second candidate, against all odds
    taught = []
    for case in cases:
        second = case.inputs.is_open[:, 1]
        target = torch.where(second, torch.ones_like(case.target), -1)
        assert int((target >= 0).sum()) > 5
        taught.append(dataclasses.replace(case, target=target))
    before = float(compute_contact_loss(ContactNetwork().eval(), taught).detach())
    network, loss = fit_contact_network(taught, n_epochs=60, batch_size=2)
    after = float(compute_contact_loss(network, taught).detach())
    assert after < 0.8 * before and loss < before
    assert not network.training
    again, _ = fit_contact_network(taught, n_epochs=60, batch_size=2)
    for name, value in network.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_structures_without_a_target_give_no_loss(cases: list[ContactCase]) -> None:
    blank = [
        dataclasses.replace(c, target=torch.full_like(c.target, -1)) for c in cases
    ]
    assert float(compute_contact_loss(ContactNetwork(), blank).detach()) == 0.0


def test_a_models_network_is_fitted_and_read_back(
    model: CAModel, make_entry: Callable[..., ShardEntry], tmp_path: Path
) -> None:
    assert load_contacts(model.state_dict()) is None
    lines: list[str] = []
    entries = [make_entry(0, 50, "1abc"), make_entry(45, 97, "2abc")]
    entries[1] = dataclasses.replace(entries[1], resolution=float("nan"))
    fitted = fit_model_contacts(
        model,
        entries,
        draws=[ContactDraw(float("inf"), 0.5), ContactDraw(2.5, 0.8)],
        n_epochs=4,
        report=lines.append,
    )
    assert [draw["n_entries"] for draw in fitted["draws"]] == [2, 1]
    assert [draw["max_resolution"] for draw in fitted["draws"]] == [None, 2.5]
    assert any("nats a residue" in line for line in lines)
    again = load_contacts(torch.jit.script(model).state_dict())
    assert again is not None
    for name, value in model.packer.contacts.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
