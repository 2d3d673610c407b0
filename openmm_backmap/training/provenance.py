"""Where a model file comes from: code commit and library versions."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

from openmm_backmap._version import __version__
from openmm_backmap.artifact.layout import compute_layout_hash

__all__ = ["describe_build"]


def describe_build() -> dict[str, Any]:
    """Metadata fields that say which code and libraries made a model.

    Returns
    -------
    dict
        `commit` (empty outside a git checkout), `versions` and `atom_layout`
        of `openmm_backmap.artifact.ModelMetadata`.
    """
    root = Path(__file__).resolve().parents[2]
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        commit = answer.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = ""
    return {
        "commit": commit,
        "atom_layout": compute_layout_hash(),
        "versions": {
            "openmm_backmap": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
