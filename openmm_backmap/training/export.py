"""From a run folder to a trained network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from openmm_backmap.errors import DataError
from openmm_backmap.nn.torsion_heads import TorsionHeads
from openmm_backmap.training.checkpoint import load_checkpoint
from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.model_weights import find_model_file, read_model_weights
from openmm_backmap.training.read_config import config_from_dict
from openmm_backmap.training.resume import list_data_hashes
from openmm_backmap.training.step import build_network

__all__ = ["load_network", "load_run_info", "load_run_network", "mix_networks"]


def load_network(run: Path | str, *, averaged: bool = True) -> TorsionHeads:
    """Network of a run, or of a model file.

    Parameters
    ----------
    run : pathlib.Path or str
        The name of a packaged model or a model file, of `ca` both; or see
        `load_run_network`.
    averaged : bool
        Take the averaged weights, which are the better ones, or the last. A model
        file has but one kind.

    Returns
    -------
    TorsionHeads
        `CANetwork` or `VAENetwork`, on the CPU, in evaluation mode, without gradients.

    Raises
    ------
    DataError
        If there is no checkpoint, it is broken, or it fits another network.
    """
    path = find_model_file(run)
    if path is None:
        return load_run_network(run, averaged=averaged)
    weights, config = read_model_weights(path)
    return _fill(build_network(config), weights, run)


def load_run_network(run: Path | str, *, averaged: bool = True) -> TorsionHeads:
    """Network of a run's last checkpoint; the run may still be training.

    Parameters
    ----------
    run : pathlib.Path or str
        Run folder or checkpoint file. It may bear the name of a packaged model.
    averaged : bool
        Take the averaged weights, which are the better ones, or the last.

    Returns
    -------
    TorsionHeads
        See `load_network`.

    Raises
    ------
    DataError
        If there is no checkpoint, it is broken, or it fits another network.
    """
    state = load_checkpoint(run)
    weights = dict(state["network"])
    if averaged:
        weights.update(state["average"]["shadow"])
    return _fill(build_network(config_from_dict(state["config"]).model), weights, run)


def _fill(
    network: TorsionHeads, weights: dict[str, torch.Tensor], run: Path | str
) -> TorsionHeads:
    """Give a network its weights, for use."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise DataError(
            f"checkpoint of {run} does not fit this version's network ({error}); "
            "export it with the version that trained it"
        ) from error
    if not all(bool(torch.isfinite(v).all()) for v in weights.values()):
        raise DataError(f"checkpoint of {run} holds weights that are not finite")
    return network.eval().requires_grad_(False)


def mix_networks(
    networks: Sequence[TorsionHeads], share: float | None = None
) -> TorsionHeads:
    """Average the weights of networks that were trained on from one of them.

    Wortsman et al., PMLR 162:23965 (ICML 2022, model soups) and CVPR 2022
    (WiSE-FT): such an average often does better than any of its parts.

    Parameters
    ----------
    networks : sequence of TorsionHeads
        Of one configuration.
    share : float, optional
        Weight of the first one, 0 to 1; the others have equal parts of the rest. If
        None, all have equal parts.

    Returns
    -------
    TorsionHeads
        The first one, changed.

    Raises
    ------
    DataError
        If they do not have the same weights.
    """
    states = [network.state_dict() for network in networks]
    shapes = [{k: v.shape for k, v in state.items()} for state in states]
    if any(shape != shapes[0] for shape in shapes):
        raise DataError(
            "the runs' networks differ in size: only a run and those that started "
            "from it ([model] start) can be mixed"
        )
    first = 1.0 / len(states) if share is None else share
    rest = (1.0 - first) / max(len(states) - 1, 1)
    parts = [first] + [rest] * (len(states) - 1)
    mean = {
        k: sum(part * s[k] for part, s in zip(parts, states, strict=True))
        for k in states[0]
    }
    networks[0].load_state_dict(mean)
    return networks[0]


def load_run_info(run: Path | str) -> tuple[TrainingConfig, dict[str, Any]]:
    """How a checkpoint was trained, for the metadata of a model file.

    Parameters
    ----------
    run : pathlib.Path or str
        Run folder or checkpoint file.

    Returns
    -------
    config : TrainingConfig
        Of the run.
    info : dict
        ``steps``, ``residues`` (seen in training), ``seconds``,
        ``data_hash`` and ``data_hashes``, of the last data and of all.

    Raises
    ------
    DataError
        If there is no checkpoint, it is broken, or it is a model file.
    """
    if not Path(run).is_dir() and find_model_file(run) is not None:
        raise DataError(
            f"{run} is a model file, wanted a training run; --refresh writes a model "
            "file anew"
        )
    state = load_checkpoint(run)
    info = {
        "steps": state["step"],
        "residues": state["residues"],
        "seconds": state["seconds"],
        "data_hash": state["data_hash"],
        "data_hashes": list_data_hashes(state),
    }
    return config_from_dict(state["config"]), info
