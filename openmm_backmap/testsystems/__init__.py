"""Coarse-grained systems to try things on, in the manner of openmmtools.

Each has `system`, `topology` and `positions`, made of plain OpenMM forces.
"""

from openmm_backmap.testsystems.cg_system import CGTestSystem, make_ca_topology
from openmm_backmap.testsystems.go_model import CAGoModel
from openmm_backmap.testsystems.hps_model import (
    A1_LCD_SEQUENCE,
    HPSModel,
    compute_debye_hueckel,
)

__all__ = [
    "A1_LCD_SEQUENCE",
    "CAGoModel",
    "CGTestSystem",
    "HPSModel",
    "compute_debye_hueckel",
    "make_ca_topology",
]
