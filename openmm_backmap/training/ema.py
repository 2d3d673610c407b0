"""Exponential moving average of weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """Averaged copy of a module's parameters.

    Parameters
    ----------
    module : torch.nn.Module
        Whose parameters are averaged.
    decay : float
        Of the old average at every update. Early updates use the smaller
        ``(1 + n) / (10 + n)``, so the random start is soon forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.n_updates = 0
        self._parameters = dict(module.named_parameters())
        self.shadow = {
            name: value.detach().clone() for name, value in self._parameters.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take the module's present parameters into the average."""
        n = self.n_updates
        weight = 1.0 - min(self.decay, (1.0 + n) / (10.0 + n))
        torch._foreach_lerp_(
            list(self.shadow.values()), list(self._parameters.values()), weight
        )
        self.n_updates = n + 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context the module holds the averaged parameters."""
        saved = {k: v.detach().clone() for k, v in self._parameters.items()}
        try:
            self._copy(self.shadow)
            yield
        finally:
            self._copy(saved)

    @torch.no_grad()
    def _copy(self, values: dict[str, Tensor]) -> None:
        for name, value in self._parameters.items():
            value.copy_(values[name])

    def state_dict(self) -> dict:
        """State for a checkpoint."""
        return {"n_updates": self.n_updates, "shadow": self.shadow}

    def load_state_dict(self, state: dict) -> None:
        """Take over the state of a checkpoint."""
        self.n_updates = int(state["n_updates"])
        with torch.no_grad():
            for name, value in self.shadow.items():
                value.copy_(state["shadow"][name])
