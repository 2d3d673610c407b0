"""Coordinates go through no matrix product, which TF32 would round to 1e-3."""

from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from openmm_backmap.geometry.superpose import superpose
from openmm_backmap.nn.ca_features import compute_image_shift
from openmm_backmap.nn.template import trust_template


class Products(TorchDispatchMode):
    """Names of the matrix products that are taken."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, call: Any, types: Any, arguments: Any = (), options: Any = None
    ) -> Any:
        name = str(call)
        if any(word in name for word in ("aten.mm", "aten.bmm", "aten.addmm")):
            self.found.append(name)
        return call(*arguments, **(options or {}))


def test_images_are_found_without_matrix_products(rng: np.random.Generator) -> None:
    box = np.array([[3.0, 0.0, 0.0], [0.9, 2.8, 0.0], [-0.7, 0.6, 4.1]])
    beads = rng.uniform(-4.0, 4.0, (2, 30, 3))
    near = rng.integers(-1, 30, (2, 30, 6))
    with Products() as products:
        shift = compute_image_shift(
            torch.tensor(beads, dtype=torch.float32),
            torch.arange(30) // 3,
            torch.from_numpy(near),
            torch.tensor(box, dtype=torch.float32).expand(2, 3, 3),
        )
    assert products.found == []
    delta = np.stack([x[k] for x, k in zip(beads, near, strict=True)])
    delta -= beads[:, :, None]
    count = np.round(delta @ np.linalg.inv(box))
    apart = (near // 3 != np.arange(30)[:, None] // 3) & (near >= 0)
    expected = -(count @ box) * apart[..., None]
    assert np.abs(expected).max() > 3.0
    np.testing.assert_allclose(shift.numpy(), expected, atol=2e-6)


def test_templates_are_fitted_without_matrix_products(
    rng: np.random.Generator,
) -> None:
    ca = torch.from_numpy(rng.normal(size=(1, 20, 3)).astype(np.float32))
    template = torch.zeros(20, 16)
    template[:, :3] = ca[0].flip(-1) * torch.tensor([1.0, 1.0, -1.0]) + 2.0
    template[:, 3] = 1.0
    with Products() as products:
        trust = trust_template(ca, template, torch.zeros(20, dtype=torch.int64))
        superpose(ca, ca + 1.0, torch.ones(1, 20))
    assert products.found == []
    assert float(trust.min()) > 0.999
