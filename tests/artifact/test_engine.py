"""Model files: loading, refusing, and what every packaged model must do."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from openmm_backmap.artifact import (
    ModelMetadata,
    choose_device,
    list_models,
    load_engine,
)
from openmm_backmap.artifact.layout import compute_layout_hash
from openmm_backmap.artifact.torchscript import save_torchscript
from openmm_backmap.builder.tables import load_builder_tables
from openmm_backmap.errors import ModelError
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.residues.atoms import SLOT_NAMES


class Echo(nn.Module):
    """Puts every atom on its bead; nan where the bead is beyond 1000 nm."""

    def forward(
        self,
        bead_positions: Tensor,
        residue_type: Tensor,
        chain_index: Tensor,
        neighbor_index: Tensor,
        box: Tensor,
        noise: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        atoms = bead_positions[:, :, :1].expand(-1, -1, 14, -1)
        atoms = torch.where(atoms > 1000.0, torch.full_like(atoms, torch.nan), atoms)
        return atoms, torch.ones_like(atoms[:, :, 0, 0])


def beads_of(protein, frames: int = 1):
    ca = np.repeat(protein.positions[:, :, 1], frames, axis=0)
    return (
        ca,
        torch.from_numpy(protein.residue_type),
        torch.from_numpy(protein.chain_index),
    )


def run(engine, ca: np.ndarray, kind: Tensor, segment: Tensor, noise=None):
    metadata = engine.metadata
    neighbors = find_neighbors(ca, metadata.n_neighbors, metadata.neighbor_cutoff)
    return engine.run(
        torch.from_numpy(ca).unsqueeze(2),
        kind,
        segment,
        torch.from_numpy(neighbors),
        torch.zeros(len(ca), 3, 3),
        noise,
    )


def test_a_written_model_is_read_with_its_metadata(tmp_path: Path) -> None:
    metadata = ModelMetadata(name="echo", noise_width=3, metrics={"a": 1.5}, seed=7)
    path = save_torchscript(Echo(), metadata, tmp_path / "echo.pt")
    engine = load_engine(path, "cpu")
    assert engine.metadata == metadata
    assert list(tmp_path.iterdir()) == [path]  # nothing half written is left


def test_other_formats_and_layouts_are_refused_with_the_remedy(tmp_path) -> None:
    path = tmp_path / "old.pt"
    save_torchscript(Echo(), ModelMetadata(name="x", format_version=0), path)
    with pytest.raises(ModelError, match="format 0.*export"):
        load_engine(path, "cpu")
    save_torchscript(Echo(), ModelMetadata(name="x", atom_layout="abc"), path)
    with pytest.raises(ModelError, match="another order of residues.*export"):
        load_engine(path, "cpu")


def test_files_that_are_no_models_are_refused(tmp_path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"not a model")
    with pytest.raises(ModelError, match="weights.pt.*not a model file"):
        load_engine(path, "cpu")
    torch.jit.save(torch.jit.script(Echo()), str(path))
    with pytest.raises(ModelError, match="metadata"):
        load_engine(path, "cpu")
    with pytest.raises(ModelError, match="neither a packaged model.*table"):
        load_engine("no-such-model", "cpu")


def test_unknown_and_missing_devices_are_named() -> None:
    with pytest.raises(ModelError, match="unknown"):
        load_engine("table", "abacus")
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="--device cpu"):
            load_engine("table", "cuda")


@pytest.mark.parametrize("device", ["mps", "xpu", "meta"])
def test_devices_that_cannot_run_a_model_are_refused(device: str) -> None:
    with pytest.raises(ModelError, match=f"{device}.* cannot run .*cuda:N"):
        choose_device(device)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_is_numbered_and_used_on_a_stream_of_its_own(tmp_path, protein) -> None:
    count = torch.cuda.device_count()
    with pytest.raises(ModelError, match=f"only {count} GPUs"):
        load_engine("table", f"cuda:{count}")
    engine = load_engine("table", "cuda")
    assert engine.device == torch.device("cuda", torch.cuda.current_device())
    before = torch.cuda.current_stream(), torch.cuda.current_device()
    ca, kind, segment = beads_of(protein, 3)
    found, _ = run(engine, ca, kind, segment)
    assert (torch.cuda.current_stream(), torch.cuda.current_device()) == before
    wanted, _ = run(load_engine("table", "cpu"), ca, kind, segment)
    moved = (found.cpu() - wanted).norm(dim=-1)
    # the backbone; sums in another order may tip a side chain over
    assert float(moved[:, :, :4].max()) < 1e-3


def test_output_that_is_not_finite_raises(tmp_path, protein) -> None:
    path = save_torchscript(Echo(), ModelMetadata(name="echo"), tmp_path / "e.pt")
    ca, kind, segment = beads_of(protein, 3)
    ca[1, 5] = 2000.0
    with pytest.raises(ModelError, match="residue 5 in frame 1"):
        run(load_engine(path, "cpu"), ca, kind, segment)


@pytest.fixture(scope="module", params=list_models())
def engine(request):
    return load_engine(request.param, "cpu")


def test_packaged_models_say_where_they_come_from(engine) -> None:
    metadata = engine.metadata
    assert metadata.atom_layout == compute_layout_hash()
    assert len(metadata.training_data) == 64
    assert len(metadata.commit) in (0, 40)
    assert metadata.versions["torch"]
    card = engine.path.with_suffix(".md")
    assert card.is_file(), f"{engine.path.name} has no model card"


def test_packaged_models_build_whole_l_residues(engine, protein) -> None:
    ca, kind, segment = beads_of(protein)
    for trace in (ca, ca * np.float32([1, 1, -1])):
        atoms, confidence = run(engine, trace, kind, segment)
        exists = torch.tensor(
            [[k < len(SLOT_NAMES[t]) for k in range(14)] for t in kind.tolist()]
        )
        assert (atoms[0][~exists] == 0).all()
        assert torch.isfinite(atoms).all()
        assert ((confidence >= 0) & (confidence <= 1)).all()
        n, c_alpha, c, cb = (atoms[:, kind != 7, k] for k in (0, 1, 2, 4))
        volume = torch.linalg.cross(n - c_alpha, c - c_alpha, dim=-1) * (cb - c_alpha)
        assert (volume.sum(-1) > 0).all()


def test_the_mode_is_near_the_crystal_structure(engine, protein) -> None:
    ca, kind, segment = beads_of(protein)
    atoms, _ = run(engine, ca, kind, segment)
    square = ((atoms.numpy() - protein.positions) ** 2).sum(-1)[0] * 100
    assert np.sqrt(square[:, [0, 2, 3]].mean()) < 0.45  # angstrom
    assert np.sqrt(square[protein.mask].mean()) < 1.6


def test_a_frame_does_not_depend_on_its_batch(engine, protein, rng) -> None:
    ca, kind, segment = beads_of(protein, 3)
    ca = ca + rng.normal(size=ca.shape).astype(np.float32) * 0.005
    width = engine.metadata.noise_width
    noise = torch.from_numpy(
        rng.standard_normal((3, len(kind), width), dtype=np.float32)
    )
    for draw in (None, noise):
        together, _ = run(engine, ca, kind, segment, draw)
        alone, _ = run(
            engine, ca[1:2], kind, segment, None if draw is None else draw[1:2]
        )
        assert (together[1:2] - alone).abs().max() < 1e-4


def test_the_mode_turns_with_the_beads(engine, protein, rng) -> None:
    ca, kind, segment = beads_of(protein)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    first, _ = run(engine, ca, kind, segment)
    moved = (ca @ rotation.T + [1.0, -2.0, 0.5]).astype(np.float32)
    second, _ = run(engine, moved, kind, segment)
    expected = first.numpy() @ rotation.T + [1.0, -2.0, 0.5]
    exists = load_builder_tables().exists[kind].numpy()
    error = np.linalg.norm(expected - second.numpy(), axis=-1)[0]
    # side chains are a discrete choice: one near-tie may fall the other way
    flipped = (error * exists).max(1) > 1e-3
    assert flipped.mean() <= 0.03
    assert (error * exists)[~flipped].max() < 1e-3
    assert error[:, :4].max() < 1e-3


def test_autocast_of_the_caller_changes_nothing(engine, protein, rng) -> None:
    ca, kind, segment = beads_of(protein)
    noisy = ca + rng.normal(size=ca.shape).astype(np.float32) * 0.01
    for trace in (ca, noisy):
        expected, _ = run(engine, trace, kind, segment)
        with torch.autocast("cpu", torch.bfloat16):
            found, _ = run(engine, trace, kind, segment)
            assert torch.is_autocast_enabled("cpu")
        assert torch.equal(expected, found)


def test_samples_differ_from_one_another(engine, protein, rng) -> None:
    ca, kind, segment = beads_of(protein, 2)
    shape = (2, len(kind), engine.metadata.noise_width)
    noise = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
    atoms, _ = run(engine, ca, kind, segment, noise)
    gap = (atoms[0] - atoms[1]).norm(dim=-1)
    assert (gap[:, 5:].max(1).values > 0.1).float().mean() > 0.1  # side chains
    again, _ = run(engine, ca, kind, segment, noise)
    assert torch.equal(atoms, again)


def test_metadata_survive_unknown_fields() -> None:
    metadata = ModelMetadata(name="x", calibration={"confidence": [0.1]})
    text = metadata.to_json().replace('"name"', '"future": 1, "name"')
    assert ModelMetadata.from_json(text, "here") == metadata
    assert replace(metadata, seed=2) != metadata
