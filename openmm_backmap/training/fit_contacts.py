"""Fit the contact network of the packing to structures.

As in the fit of the pair energy, each residue chooses among its own candidates
while the others stand as the packing has them; what is learned is which choice
the structure has made.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from openmm_backmap.packing.contact_network import ContactNetwork
from openmm_backmap.training.contact_cases import (
    ContactCase,
    collect_contact_cases,
    join_cases,
)
from openmm_backmap.training.fit_packing import PackingModel
from openmm_backmap.training.shards import ShardEntry

__all__ = [
    "CONTACT_DRAWS",
    "CONTACT_RESIDUES",
    "ContactDraw",
    "compute_contact_loss",
    "fit_contact_network",
    "fit_model_contacts",
    "load_contacts",
]

SMOOTHING = 0.25
SPEED = 5.0
N_EPOCHS = 3.0


class ContactDraw(NamedTuple):
    """One packing of the training structures.

    Attributes
    ----------
    max_resolution : float
        Of the structures used, in angstrom; infinity takes those without one, too.
    dropout : float
        See `collect_contact_cases`.
    """

    max_resolution: float
    dropout: float


CONTACT_DRAWS = (ContactDraw(float("inf"), 0.65), ContactDraw(2.5, 0.8))
CONTACT_RESIDUES = (40, 1000)
"""Sizes of the structures used; the pair energy is fitted to middle ones."""


def compute_contact_loss(
    network: ContactNetwork, cases: Sequence[ContactCase]
) -> Tensor:
    """Mean negative log likelihood of the structures' own candidates.

    Parameters
    ----------
    network : ContactNetwork
        In training or evaluation mode.
    cases : sequence of ContactCase
        Structures.

    Returns
    -------
    torch.Tensor
        Nats a residue, 0 if no residue is used.
    """
    code, start, weight, inputs, target = join_cases(cases)
    correction = network(network.sum_sorted(code, start, weight), inputs)
    logits = (inputs.score + correction).masked_fill(torch.isinf(inputs.log_p), -1e9)
    used = target >= 0
    if not bool(used.any()):
        return logits.sum() * 0.0
    return functional.cross_entropy(logits[used], target[used])


def fit_contact_network(
    cases: Sequence[ContactCase],
    *,
    n_epochs: float = N_EPOCHS,
    batch_size: int = 12,
    learning_rate: float = 4e-3,
    weight_decay: float = 0.3,
    ema_decay: float = 0.995,
    seed: int = 0,
    report: Callable[[str], None] | None = None,
) -> tuple[ContactNetwork, float]:
    """Fit a contact network.

    Parameters
    ----------
    cases : sequence of ContactCase
        Structures.
    n_epochs : float
        Passes over them.
    batch_size : int
        Structures a step.
    learning_rate, weight_decay : float
        Of AdamW; the rate rises for a twentieth of the steps, then falls to zero.
    ema_decay : float
        Of the averaged weights, which are the result.
    seed : int
        Of weights, order and dropout.
    report : callable, optional
        Told the loss ten times.

    Returns
    -------
    network : ContactNetwork
        In evaluation mode.
    loss : float
        Nats a residue, mean of the last tenth of the steps.
    """
    say = report or (lambda line: None)
    generator = random.Random(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ContactNetwork(smoothing=SMOOTHING).train()
        average = {k: v.clone() for k, v in network.state_dict().items()}
        n_steps = max(1, int(n_epochs * len(cases) / batch_size))
        rest = [p for p in network.parameters() if p is not network.weight]
        # two numbers that everything depends on: they must not lag behind
        fast = SPEED * learning_rate
        optimizer = torch.optim.AdamW(
            [
                {"params": rest, "weight_decay": weight_decay},
                {"params": [network.weight], "weight_decay": 0.0},
            ],
            lr=learning_rate,
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, [learning_rate, fast], total_steps=n_steps + 1, pct_start=0.05
        )
        order: list[int] = []
        losses: list[float] = []
        part = max(1, n_steps // 10)
        for step in range(n_steps):
            if len(order) < batch_size:
                order += generator.sample(range(len(cases)), len(cases))
            batch = [cases[order.pop()] for _ in range(min(batch_size, len(cases)))]
            optimizer.zero_grad()
            loss = compute_contact_loss(network, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            losses.append(float(loss.detach()))
            decay = min(ema_decay, (step + 1) / (step + 10))
            with torch.no_grad():
                for name, value in network.state_dict().items():
                    average[name].lerp_(value, 1.0 - decay)
            if (step + 1) % part == 0:
                recent = sum(losses[-part:]) / part
                say(f"step {step + 1} of {n_steps}: {recent:.4f} nats a residue")
        network.load_state_dict(average)
        network.bake()
    recent = losses[-part:]
    return network.eval(), sum(recent) / len(recent)


def fit_model_contacts(
    model: PackingModel,
    entries: Sequence[ShardEntry],
    *,
    draws: Sequence[ContactDraw] = CONTACT_DRAWS,
    n_epochs: float = N_EPOCHS,
    report: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Fit a contact network to what a model packs and put it into its packer.

    Parameters
    ----------
    model : PackingModel
        Changed in place. Its pair energy must be fitted before.
    entries : sequence of ShardEntry
        Training structures.
    draws : sequence of ContactDraw
        Times the structures are packed, each with other features dropped.
    n_epochs : float
        Passes over all that was packed.
    report : callable, optional
        Told what is going on.

    Returns
    -------
    dict
        ``loss`` (nats a residue), ``n_epochs`` and ``draws``, of each a dict of
        ``n_entries``, ``max_resolution`` (None = any) and ``dropout``.
    """
    model.packer.contacts = None
    cases: list[ContactCase] = []
    packed: list[dict[str, Any]] = []
    for seed, draw in enumerate(draws):
        any_will_do = math.isinf(draw.max_resolution)
        chosen = [
            entry
            for entry in entries
            if any_will_do or entry.resolution <= draw.max_resolution
        ]
        cases += collect_contact_cases(model, chosen, draw.dropout, seed)
        packed.append(
            {
                "n_entries": len(chosen),
                "max_resolution": None if any_will_do else draw.max_resolution,
                "dropout": draw.dropout,
            }
        )
    network, loss = fit_contact_network(cases, n_epochs=n_epochs, report=report)
    model.packer.contacts = network
    return {"loss": loss, "n_epochs": n_epochs, "draws": packed}


def load_contacts(state: Mapping[str, Tensor]) -> ContactNetwork | None:
    """Read the contact network out of a model's weights.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        State of a whole model.

    Returns
    -------
    ContactNetwork or None
        In evaluation mode; None if the model has none.
    """
    mark = "packer.contacts."
    found = {k.split(mark)[1]: v for k, v in state.items() if mark in k}
    if not found:
        return None
    hidden, n_out = found["atom.0.weight"].shape[0], found["atom.4.weight"].shape[0]
    network = ContactNetwork(found["near"].shape[-1], hidden, n_out)
    network.load_state_dict({k: v.clone() for k, v in found.items()})
    return network.eval()
