"""Model files are written anew with the weights they have."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from openmm_backmap.artifact.engine import load_engine
from openmm_backmap.artifact.packaged import find_model
from openmm_backmap.builder.template import encode_template
from openmm_backmap.cli.main import main
from openmm_backmap.errors import DataError, ModelError
from openmm_backmap.training.refresh import _read_protein, refresh_model


@pytest.mark.parametrize("name", ["ca", "vae", "table"])
def test_weights_and_fits_are_kept(name: str, tmp_path: Path) -> None:
    path = tmp_path / "fresh.pt"
    lines: list[str] = []
    metadata = refresh_model(name, path, report=lines.append)
    old = load_engine(find_model(name), "cpu").metadata
    assert metadata == load_engine(path, "cpu").metadata
    for field in ("name", "training_data", "calibration", "seed", "noise_width"):
        assert getattr(metadata, field) == getattr(old, field)
    for key in set(old.metrics) - {"parity_nm"}:
        assert metadata.metrics[key] == old.metrics[key]
    before = torch.jit.load(str(find_model(name)))
    after = torch.jit.load(str(path))
    parts = ("network.", "pair_energy", "contacts", "ramachandran", "certainty.",
             "peptides.", "library.", "end_torsion")  # fmt: skip
    learned = {
        k: v for k, v in before.state_dict().items() if any(p in k for p in parts)
    }
    assert len(learned) > 5
    fresh = after.state_dict()
    for key, value in learned.items():
        assert torch.equal(fresh[key], value), key
    assert (
        tuple(after.model.packer.settings)[3]
        == (tuple(before.model.packer.settings)[3])
    )
    assert len(lines) == 2


@pytest.fixture
def float64_by_default() -> Iterator[None]:
    """As in programs that compute in double precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.mark.parametrize("name", ["ca", "vae", "table"])
def test_the_default_dtype_of_a_program_changes_nothing(
    name: str, tmp_path: Path, protein: SimpleNamespace, float64_by_default: None
) -> None:
    torch.set_default_dtype(torch.float32)
    refresh_model(name, tmp_path / "fresh.pt")
    engine = load_engine(tmp_path / "fresh.pt", "cpu")
    beads, types, chain, near, box = _read_protein(engine.metadata)
    shape = (1, len(types), engine.metadata.noise_width)
    rng = torch.Generator().manual_seed(5)
    noise = torch.randn(shape, dtype=torch.float32, generator=rng)
    rough = beads + 0.05 * torch.randn(beads.shape, dtype=torch.float32, generator=rng)
    # centres of mass in the second half
    mixed = torch.cat((rough, torch.zeros_like(rough)), 2)
    mixed[:, 50:] = mixed[:, 50:].flip(2)
    chain = (torch.arange(len(types)) > 70).long()
    edge = torch.eye(3, dtype=torch.float32)[None] * 4.0
    known = torch.from_numpy(protein.positions[0])
    cases = [(beads, box, None), (rough, edge, noise), (mixed, edge, None)]
    for case in cases:
        found = []
        for dtype in (torch.float32, torch.float64):
            torch.set_default_dtype(dtype)
            template = encode_template(known, types, chain)
            found.append(
                engine.run(case[0], types, chain, near, *case[1:], template=template)
            )
        assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_fresh_file_backmaps(tmp_path: Path) -> None:
    path = tmp_path / "fresh.pt"
    assert main(["export", "table", "--refresh", "-o", str(path)]) == 0
    engine = load_engine(path, "cpu")
    inputs = _read_protein(engine.metadata)
    positions, confidence = engine.run(*inputs)
    assert positions.shape[:3] == (1, 97, 14)
    assert confidence.shape == (1, 97)
    gap = positions[:, :, 1] - inputs[0][:, :, 0]
    assert float(gap.norm(dim=-1).max()) < 0.02


def test_what_cannot_be_refreshed_is_said(tmp_path: Path) -> None:
    path = tmp_path / "fresh.pt"
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError, match="no model file"):
        refresh_model(tmp_path / "run", path)
    # another packing than the metadata tell of
    module = torch.jit.load(str(find_model("table")))
    old = load_engine(find_model("table"), "cpu").metadata
    changed = tmp_path / "changed.pt"
    text = old.to_json().replace(
        '"metrics": {', '"metrics": {"packing": {"pair_scale": 0.5}, ', 1
    )
    torch.jit.save(module, str(changed), _extra_files={"metadata.json": text})
    with pytest.raises(ModelError, match="pair_scale: 0.5 in the metadata"):
        refresh_model(changed, path)
    assert not path.exists()


def test_refresh_and_fits_exclude_each_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "ca", "--refresh", "--packing", "ca"]
    assert main([*words, "-o", str(tmp_path / "fresh.pt")]) != 0
    assert "leave out --packing" in capsys.readouterr().err
