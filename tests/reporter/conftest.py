"""Small running simulations for the reporter tests."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from openmm import app

from openmm_backmap import BackmapReporter
from openmm_backmap.testsystems import CAGoModel, HPSModel

MODEL = "table"


@pytest.fixture(scope="session")
def go_model() -> CAGoModel:
    """Folded CA protein of 97 residues, with bonds, without a box."""
    return CAGoModel()


@pytest.fixture(scope="session")
def boxed_model() -> HPSModel:
    """Two disordered chains in a periodic box."""
    return HPSModel("GSMASASSSQRGRSGSGNFG", n_copies=2, box=np.diag([12.0, 12, 12]))


@pytest.fixture
def simulation(go_model: CAGoModel) -> app.Simulation:
    """Give a simulation of the folded protein on the Reference platform."""
    return go_model.create_simulation(platform="Reference")


@pytest.fixture
def boxed_simulation(boxed_model: HPSModel) -> app.Simulation:
    """Give a simulation of the disordered chains on the Reference platform."""
    simulation = boxed_model.create_simulation(platform="Reference")
    simulation.minimizeEnergy()
    return simulation


@pytest.fixture
def make_reporter(tmp_path: Any) -> Callable[..., BackmapReporter]:
    """Make reporters of the packaged table model in a folder of their own."""

    def make(
        file: str = "aa.xtc", interval: int = 10, **options: Any
    ) -> BackmapReporter:
        for name in ("metricsFile", "minimizedFile", "topologyFile"):
            if name in options:
                options[name] = tmp_path / options[name]
        return BackmapReporter(
            tmp_path / file, interval, **{"model": MODEL, "device": "cpu", **options}
        )

    return make
