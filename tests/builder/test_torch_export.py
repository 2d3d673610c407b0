"""The builder passes torch.export for any number of frames and residues.

TorchScript is legacy; this keeps the way out open. The network is exported in
tests/nn/test_ca_network.py. The packing is not: its lists of atom pairs are as
long as the structure makes them (`nonzero`), and torch.export wants sizes that
do not depend on data.
"""

import pytest
import torch
from torch import Tensor, nn

from openmm_backmap.builder.backbone import build_backbone
from openmm_backmap.builder.conditioning import project_ca
from openmm_backmap.builder.tables import BuilderTables, load_builder_tables


class Build(nn.Module):
    """Projection and backbone with the tables as buffers."""

    def __init__(self) -> None:
        super().__init__()
        for name, value in load_builder_tables()._asdict().items():
            self.register_buffer(name, value)

    def forward(
        self,
        ca: Tensor,
        alpha: Tensor,
        twist: Tensor,
        is_cis: Tensor,
        ends: Tensor,
        kind: Tensor,
        segment: Tensor,
    ) -> Tensor:
        tables = BuilderTables(*[getattr(self, k) for k in BuilderTables._fields])
        ca = project_ca(ca, kind, segment, 5)
        return build_backbone(ca, alpha, twist, is_cis, ends, kind, segment, tables)


def inputs(frames: int, residues: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(residues)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    step = torch.nn.functional.normalize(draw(frames, residues, 3), dim=-1)
    segment = torch.zeros(residues, dtype=torch.long)
    segment[residues // 2 :] = 1
    return (
        torch.cumsum(step * 0.38, 1),
        draw(frames, residues),
        0.2 * draw(frames, residues),
        torch.zeros(frames, residues, dtype=torch.bool),
        draw(frames, residues, 3),
        torch.randint(0, 20, (residues,), generator=generator),
        segment,
    )


@pytest.fixture(scope="module")
def exported():
    # torch 2.5 wants an upper bound, too
    frames = torch.export.Dim("F", min=1, max=1000)
    residues = torch.export.Dim("R", min=3, max=20000)
    wide = {0: frames, 1: residues}
    shapes = (wide, wide, wide, wide, wide, {0: residues}, {0: residues})
    return torch.export.export(Build(), inputs(3, 20), dynamic_shapes=shapes).module()


@pytest.mark.parametrize(("frames", "residues"), [(1, 4), (2, 25), (2, 26), (5, 90)])
def test_exported_builder_gives_the_same_atoms(exported, frames, residues) -> None:
    arguments = inputs(frames, residues)
    assert (exported(*arguments) - Build()(*arguments)).abs().max() < 1e-5
