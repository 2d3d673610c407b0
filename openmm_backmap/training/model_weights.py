"""The network inside of a model file, to go on from it or to mix it with others."""

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from openmm_backmap.artifact.metadata import METADATA_FILE, ModelMetadata
from openmm_backmap.artifact.packaged import find_model, list_models
from openmm_backmap.errors import DataError
from openmm_backmap.training.config import ModelConfig

__all__ = ["find_model_file", "read_model_info", "read_model_weights"]

_MARK = "decoder.network."


def _read_metadata(path: Path) -> str | None:
    """Text of a model file's metadata, None if it is no such file."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.namelist():
                if member.endswith("/" + METADATA_FILE):
                    return archive.read(member).decode()
    except (OSError, zipfile.BadZipFile):
        pass
    return None


def find_model_file(source: Path | str) -> Path | None:
    """Tell model files from runs.

    Parameters
    ----------
    source : pathlib.Path or str
        Name of a packaged model, model file, run folder or checkpoint.

    Returns
    -------
    pathlib.Path or None
        The model file; None if it is something else.
    """
    if str(source) in list_models():
        return find_model(source)
    path = Path(source)
    return path if path.is_file() and _read_metadata(path) is not None else None


def read_model_info(path: Path) -> dict[str, Any]:
    """How the network of a model file was trained.

    Parameters
    ----------
    path : pathlib.Path
        Model file.

    Returns
    -------
    dict
        What its metadata say of the training, and ``data_hash``.
    """
    metadata = ModelMetadata.from_json(_read_metadata(path) or "", str(path))
    training = dict(metadata.metrics.get("training", {}))
    return {**training, "data_hash": metadata.training_data}


def read_model_weights(path: Path) -> tuple[dict[str, Tensor], ModelConfig]:
    """Read the network out of a model file.

    Parameters
    ----------
    path : pathlib.Path
        Model file of "ca".

    Returns
    -------
    weights : dict of str to torch.Tensor
        State of a `CANetwork`.
    config : ModelConfig
        Its sizes, as its weights show them.

    Raises
    ------
    DataError
        If the file holds another kind of network.
    """
    metadata = ModelMetadata.from_json(_read_metadata(path) or "", str(path))
    if metadata.name != "ca":
        raise DataError(
            f"{path} is of {metadata.name!r}: only a network of 'ca' can be read "
            "back out of its model file"
        )
    state = torch.jit.load(str(path), map_location="cpu").state_dict()
    weights = {k.split(_MARK)[1]: v.clone() for k, v in state.items() if _MARK in k}
    if "trunk.norm.weight" not in weights or any(".stem." in k for k in weights):
        raise DataError(
            f"{path} does not hold a network of 'ca' that can be read back out of it"
        )
    layers = {k.split(".")[2] for k in weights if k.startswith("trunk.layers.")}
    config = dataclasses.replace(
        ModelConfig(),
        width=weights["trunk.norm.weight"].shape[0],
        n_layers=len(layers),
        n_heads=weights["trunk.layers.0.attention.weight"].shape[0],
        edge_width=weights["trunk.edge.2.bias"].shape[0],
    )
    return weights, config
