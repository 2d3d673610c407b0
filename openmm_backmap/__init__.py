"""Turn coarse-grained protein simulations into all-atom structures in OpenMM.

The public names load on first use, so that ``import openmm_backmap`` imports
neither torch nor openmm and changes nothing global.

Examples
--------
>>> from openmm_backmap import CGTopology
>>> CGTopology.from_sequence("ACDEFG").n_residues
6
"""

import importlib
from typing import Any

from openmm_backmap._version import __version__

_HOME = {
    "AtomFrame": "openmm_backmap.frames",
    "AtomTopology": "openmm_backmap.mapping.atom_topology",
    "BackmapError": "openmm_backmap.errors",
    "BackmapReporter": "openmm_backmap.reporter",
    "BackmapWarning": "openmm_backmap.errors",
    "Backmapper": "openmm_backmap.backmapper",
    "CGFrame": "openmm_backmap.frames",
    "CGMapping": "openmm_backmap.mapping.cg_mapping",
    "CGTopology": "openmm_backmap.mapping.cg_topology",
    "MinimizationResult": "openmm_backmap.minimizer",
    "Minimizer": "openmm_backmap.minimizer",
    "list_models": "openmm_backmap.artifact",
    "load_engine": "openmm_backmap.artifact",
}

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """Import a public name from its module on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted(set(globals()) | set(__all__))
