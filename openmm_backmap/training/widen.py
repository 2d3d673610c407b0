"""Start a run from a narrower one's weights.

Every unit of the wide network is a copy of a unit of the narrow one, and what
reads a unit shares its weight among the copies (Net2WiderNet: Chen, Goodfellow
and Shlens, ICLR 2016), so a network twice as wide starts with the narrow
one's outputs exactly; other widths nearly (the layer norms' statistics move).
"""

from pathlib import Path

import torch
from torch import Tensor

from openmm_backmap.errors import DataError
from openmm_backmap.nn.ca_network import CANetwork
from openmm_backmap.training.checkpoint import load_checkpoint
from openmm_backmap.training.config import ModelConfig
from openmm_backmap.training.model_weights import find_model_file, read_model_weights
from openmm_backmap.training.read_config import config_from_dict

__all__ = ["load_start", "widen_state"]

# which axis of which weight counts which units: (output axis, input axis)
_AXES = {
    "trunk.node.0": ("2h", ""), "trunk.node.2": ("h", "2h"), "trunk.norm": ("h", ""),
    "norm_message": ("h", ""), "norm_node": ("h", ""),
    "here_and_there": ("mm", "h"), "layers.edge": ("m", ""),
    "attention": ("", "m"), "layers.out": ("h", "m"),
    "up": ("2h", "h"), "down": ("h", "2h"),
    "hidden": ("h", "h+"), "head.out": ("", "h"), "cis": ("", "h"),
}  # fmt: skip


def _unit_maps(old: ModelConfig, new: ModelConfig) -> dict[str, Tensor]:
    """Old unit of each new one, for each kind of axis."""
    n, w = old.width, new.width
    h = torch.arange(w) % n
    per_old, per_new = n // old.n_heads, w // new.n_heads
    head = torch.arange(w) // per_new
    message = head * per_old + (torch.arange(w) % per_new) % per_old
    return {
        "h": h,
        "2h": torch.arange(2 * w) % (2 * n),
        "m": message,
        "mm": torch.cat((message, message + n)),
    }


def _axes_of(name: str) -> tuple[str, str]:
    stem = name.rsplit(".", 1)[0]
    if "embedding" in stem or stem.startswith("trunk.edge"):
        return ("", "")
    if stem in _AXES:
        return _AXES[stem]
    part = stem.rsplit(".", 1)[-1]
    if part in ("edge", "out"):
        part = ("layers." if ".layers." in stem else "head.") + part
    return _AXES[part]


def widen_state(
    state: dict[str, Tensor], old: ModelConfig, new: ModelConfig, noise: float = 0.02
) -> dict[str, Tensor]:
    """Weights of a wider network that does what a narrower one does.

    It does exactly that if the new width is a multiple of the old one; else only
    nearly, as its layer norms count some units twice and others once.

    Parameters
    ----------
    state : dict of str to torch.Tensor
        Of a `CANetwork` of configuration `old`.
    old, new : ModelConfig
        The same but for `width` (at least as large) and the dropouts.
    noise : float
        Relative random change of every weight that sets copies apart (dropout
        does the rest). 0 = none.

    Returns
    -------
    dict of str to torch.Tensor
        State of a `CANetwork` of configuration `new`.

    Raises
    ------
    DataError
        If the configurations differ in more than can be bridged.
    """
    fixed = ("n_layers", "n_heads", "edge_width", "n_e3_layers")
    unlike = [k for k in fixed if getattr(old, k) != getattr(new, k)]
    if unlike or new.width < old.width or new.width % new.n_heads:
        raise DataError(
            "[model] start: the earlier run's network cannot be widened to this "
            f"one: width {old.width} to {new.width}, different {unlike or 'nothing'}; "
            f"keep {', '.join(fixed)} and a width of at least {old.width}"
        )
    maps = _unit_maps(old, new)
    wide: dict[str, Tensor] = {}
    for name, value in state.items():
        out_axis, in_axis = _axes_of(name)
        if out_axis:
            value = value[maps[out_axis]]
        if in_axis and value.dim() == 2:
            units = maps[in_axis.rstrip("+")]
            n_units = int(units.max()) + 1
            copies = torch.bincount(units, minlength=n_units)
            rest = value[:, n_units:]
            value = torch.cat((value[:, units] / copies[units], rest), 1)
        if noise > 0.0 and value.dim() == 2 and new.width > old.width:
            value = value * (1.0 + noise * torch.randn_like(value))
        wide[name] = value.clone()
    return wide


def load_start(network: CANetwork, model: ModelConfig) -> None:
    """Give a fresh network the averaged weights of the runs it starts from.

    Parameters
    ----------
    network : CANetwork
        Of configuration `model`, on the CPU.
    model : ModelConfig
        Names the earlier runs in `start`.

    Raises
    ------
    DataError
        If such a run or model file cannot be read or does not fit.
    """
    states = []
    for run in model.start:
        path = find_model_file(run)
        if path is None:
            state = load_checkpoint(Path(run))
            earlier = config_from_dict(state["config"], f"configuration of {run}").model
            weights = {**state["network"], **state["average"]["shadow"]}
            if earlier.name != "ca":
                raise DataError(
                    f"[model] start: {run} is a run of {earlier.name!r}, wanted one "
                    "of 'ca'"
                )
        else:
            weights, earlier = read_model_weights(path)
        states.append(widen_state(weights, earlier, model))
    mean = {k: torch.stack([s[k] for s in states]).mean(0) for k in states[0]}
    network.load_state_dict(mean)
