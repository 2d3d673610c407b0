"""The seam between services and models: the contract and who fulfils it."""

from pathlib import Path
from typing import Optional, Protocol

import torch
from torch import Tensor

from openmm_backmap.artifact.metadata import ModelMetadata
from openmm_backmap.artifact.packaged import find_model
from openmm_backmap.errors import ModelError

__all__ = ["Engine", "choose_device", "load_engine"]


class Engine(Protocol):
    """A loaded model on a device."""

    metadata: ModelMetadata
    device: torch.device

    def run(
        self,
        bead_positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Optional[Tensor],  # noqa: UP045
        template: Optional[Tensor] = None,  # noqa: UP045
        exact: bool = False,
    ) -> tuple[Tensor, Tensor]:
        """Backmap a batch of frames of one topology.

        Parameters
        ----------
        bead_positions : torch.Tensor, shape (F, R, M, 3)
            Bead slots in nm, each segment whole.
        residue_type, chain_index : torch.Tensor, shape (R,), int64
            Type (0 to 19) and segment of each residue.
        neighbor_index : torch.Tensor, shape (F, R, K), int64
            Nearest residues within the cutoff, by distance, -1 padded.
        box : torch.Tensor, shape (F, 3, 3)
            Periodic box vectors in nm as rows; zeros where there is none.
        noise : torch.Tensor or None, shape (F, R, Z)
            N(0, 1) numbers of one sample; None for the mode.
        template : torch.Tensor or None, shape (R, 16)
            A reference structure, see `builder.template.encode_template`.
        exact : bool
            Whether CA beads stay where they are, though no backbone fits them.

        Returns
        -------
        positions : torch.Tensor, shape (F, R, 14, 3)
            Heavy atoms in nm, zeros in absent slots.
        confidence : torch.Tensor, shape (F, R)
            0 to 1.

        Raises
        ------
        ModelError
            If the model gives positions that are not finite.
        """
        ...


def choose_device(device: str | torch.device) -> torch.device:
    """Resolve "auto" and check that a device is there.

    Parameters
    ----------
    device : str or torch.device
        "auto", "cpu", "cuda", "cuda:1", ...

    Returns
    -------
    torch.device
        With its number: a worker thread has a current CUDA device of its own.

    Raises
    ------
    ModelError
        If the device is unknown, missing, or of a kind that lacks what models need.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ModelError(
            f"device {device!r} is unknown: use auto, cpu, cuda or cuda:N"
        ) from error
    if chosen.type not in ("cpu", "cuda"):
        # mps has no float64, for one, and none of them is tested
        raise ModelError(
            f"device {device!r} cannot run the models: use auto, cpu, cuda or cuda:N"
        )
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            f"device {device!r} was asked for, but torch {torch.__version__} sees no "
            "CUDA GPU: use --device cpu, or install a CUDA build of torch"
        )
    if chosen.type == "cuda" and chosen.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    if chosen.type == "cuda" and chosen.index >= torch.cuda.device_count():
        raise ModelError(
            f"device {device!r} was asked for, but torch sees only "
            f"{torch.cuda.device_count()} GPUs, numbered from cuda:0"
        )
    return chosen


def load_engine(model: str | Path = "ca", device: str = "auto") -> Engine:
    """Load a packaged model by name or a model file by path.

    Parameters
    ----------
    model : str or pathlib.Path
        Name of a packaged model, or a file.
    device : str
        See `choose_device`.

    Returns
    -------
    Engine

    Raises
    ------
    ModelError
        If the model is not there or cannot be run.
    """
    from openmm_backmap.artifact.torchscript import TorchScriptEngine

    return TorchScriptEngine(find_model(model), choose_device(device))
