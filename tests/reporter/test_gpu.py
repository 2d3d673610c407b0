"""The reporter goes where the simulation runs; GPUs are played by mocks."""

from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from openmm_backmap import minimizer
from openmm_backmap.reporter_outputs import make_minimizer
from openmm_backmap.reporter_setup import _choose_device, find_gpu


class Platform:
    """A platform of OpenMM with properties."""

    def __init__(self, name: str, **properties: str) -> None:
        self.name, self.properties = name, properties

    def getName(self) -> str:  # noqa: N802
        return self.name

    def getPropertyNames(self) -> tuple[str, ...]:  # noqa: N802
        return tuple(self.properties)

    def getPropertyValue(self, context: object, name: str) -> str:  # noqa: N802
        return self.properties[name]


def on(platform: Platform) -> SimpleNamespace:
    """A simulation on a platform."""
    return SimpleNamespace(context=SimpleNamespace(getPlatform=lambda: platform))


CUDA = on(Platform("CUDA", DeviceIndex="1,2", Precision="single"))


def test_the_first_gpu_of_a_simulation_is_found(simulation) -> None:
    assert find_gpu(CUDA) == {"platform": "CUDA", "properties": {"DeviceIndex": "1"}}
    other = on(Platform("OpenCL", DeviceIndex="0", OpenCLPlatformIndex="2"))
    assert find_gpu(other)["properties"] == {
        "DeviceIndex": "0",
        "OpenCLPlatformIndex": "2",
    }
    assert find_gpu(on(Platform("CPU", Threads="4"))) == {}
    assert find_gpu(simulation) == {}


def test_the_minimizer_runs_there_unless_told_otherwise() -> None:
    made = mock.create_autospec(minimizer.Minimizer)
    with mock.patch.object(minimizer, "Minimizer", made):
        make_minimizer(True, None, 1, find_gpu(CUDA))
        make_minimizer({"solvent": "obc"}, None, 1, find_gpu(CUDA))
        make_minimizer({"platform": "CPU"}, None, 1, find_gpu(CUDA))
        make_minimizer(True, None, 1)
    there = {"threads": 1, "platform": "CUDA", "properties": {"DeviceIndex": "1"}}
    assert [call.kwargs for call in made.call_args_list] == [
        there,
        {**there, "solvent": "obc"},
        {"threads": 1, "platform": "CPU"},
        {"threads": 1},
    ]


@pytest.mark.parametrize(
    ("count", "expected"), [(0, "auto"), (1, "auto"), (2, "cuda:1")]
)
def test_auto_is_the_gpu_of_the_simulation_if_torch_has_it(
    monkeypatch: pytest.MonkeyPatch, count: int, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert _choose_device("auto", CUDA) == expected
    assert _choose_device("cpu", CUDA) == "cpu"
    assert _choose_device("auto", on(Platform("OpenCL", DeviceIndex="1"))) == "auto"
