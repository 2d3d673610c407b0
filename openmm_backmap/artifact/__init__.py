"""Model files: one file, one contract, one engine a backend."""

from openmm_backmap.artifact.engine import Engine, choose_device, load_engine
from openmm_backmap.artifact.metadata import FORMAT_VERSION, ModelMetadata
from openmm_backmap.artifact.packaged import (
    find_model,
    list_mappings,
    list_models,
)

__all__ = [
    "FORMAT_VERSION",
    "Engine",
    "ModelMetadata",
    "choose_device",
    "find_model",
    "list_mappings",
    "list_models",
    "load_engine",
]
