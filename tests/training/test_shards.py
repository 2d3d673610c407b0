"""Shards come back as written, and broken ones are refused by name."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from openmm_backmap.errors import DataError
from openmm_backmap.training.prepared import load_prepared, prepare_split
from openmm_backmap.training.shards import find_shards, read_shard, write_shard


def rewrite(path: Path, **changed: np.ndarray) -> None:
    """Replace arrays of a shard."""
    with np.load(path) as archive:
        arrays = {key: archive[key] for key in archive.files}
    np.savez_compressed(path, **{**arrays, **changed})


def test_an_entry_comes_back_as_written(tmp_path: Path, make_entry: Callable) -> None:
    entry = make_entry(10, 40, "one")
    again = next(read_shard(write_shard(tmp_path / "a.npz", [entry], "train")))
    assert again.entry_id == "one"
    assert np.array_equal(again.residue_type, entry.residue_type)
    assert np.array_equal(again.mask, entry.mask)
    # coordinates are stored in thousandths of an angstrom
    error = np.abs(again.positions - entry.positions)[:, entry.mask]
    assert error.max() < 1.1e-4


def test_the_data_set_reads_as_its_readme_says(shared: Path) -> None:
    entry = next(read_shard(shared / "data" / "test.npz"))
    bond = np.linalg.norm(entry.positions[:, :, 2] - entry.positions[:, :, 1], axis=-1)
    assert abs(float(np.median(bond)) - 0.1525) < 0.001


def test_a_truncated_shard_is_refused(data_folder: Path) -> None:
    path = data_folder / "train_0.npz"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(DataError, match=r"train_0.npz cannot be read"):
        next(read_shard(path))


def test_a_shard_with_too_few_coordinates_is_refused(data_folder: Path) -> None:
    path = data_folder / "train_0.npz"
    with np.load(path) as archive:
        delta = archive["ca_delta"]
    rewrite(path, ca_delta=delta[:-5])
    with pytest.raises(DataError, match="entry piece40: the coordinate arrays end"):
        list(read_shard(path))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("aatype", lambda a: a.astype(np.float64) * np.nan, "aatype holds float64"),
        ("ca_delta", lambda a: a * np.nan, "ca_delta holds float64, wanted whole"),
        ("off_lo", lambda a: a[:-5], "off_hi is of length"),
        ("atom_mask", lambda a: a[:-4], "atom_mask is of length 116, wanted 120"),
        ("atom_mask", lambda a: a & ~np.uint16(2), "residue 0 has no CA"),
        ("chain_cluster40", lambda a: a[:1], "chain_cluster40 is of length 1, want"),
        ("entry_n_models", lambda a: a * 0, "an entry has no model"),
        ("entry_first_chain", lambda a: a[:-1], "entry_first_chain is of length 3"),
        ("entry_first_res", lambda a: a[[0, 2, 1, 3]], "entry_first_res does not rise"),
        ("chain_first_res", lambda a: a - [0, 5000, 0, 0], "chain_first_res does not"),
        ("chain_first_res", lambda a: a - [0, 1, 0, 0], "begin at different residues"),
        ("entry_resolution", lambda a: a.astype(str), "entry_resolution holds <U"),
    ],
)
def test_arrays_that_contradict_one_another_are_named(
    data_folder: Path, name: str, change: Callable, message: str
) -> None:
    path = data_folder / "train_0.npz"
    with np.load(path) as archive:
        array = archive[name]
    rewrite(path, **{name: change(array)})
    with pytest.raises(DataError, match=f"train_0.npz is inconsistent: .*{message}"):
        list(read_shard(path))


def test_an_unknown_residue_is_named(data_folder: Path) -> None:
    path = data_folder / "train_0.npz"
    with np.load(path) as archive:
        kinds = archive["aatype"].copy()
    kinds[45] = 21
    rewrite(path, aatype=kinds)
    with pytest.raises(DataError, match="entry piece20: residue 45 has the unknown"):
        next(read_shard(path))
    kinds = kinds.astype(np.int8)
    kinds[45] = -1
    rewrite(path, aatype=kinds)
    with pytest.raises(DataError, match="residue 45 has the unknown type -1"):
        next(read_shard(path))


def test_a_missing_split_is_named(data_folder: Path) -> None:
    with pytest.raises(DataError, match="no shard of split 'test'"):
        find_shards(data_folder, "test")


def test_an_empty_split_is_refused(tmp_path: Path, make_entry: Callable) -> None:
    with pytest.raises(DataError, match="the split is empty"):
        write_shard(tmp_path / "a.npz", [], "train")
    tiny = write_shard(tmp_path / "b.npz", [make_entry(3, 5, "two")], "train")
    with pytest.raises(DataError, match="the split is empty"):
        prepare_split([tiny], tmp_path / "prepared")


def test_a_prepared_split_is_reused_until_its_shards_change(
    data_folder: Path, tmp_path: Path, make_entry: Callable
) -> None:
    folder = tmp_path / "prepared"
    first = prepare_split(find_shards(data_folder, "train"), folder)
    written = (folder / "ca.npy").stat().st_mtime_ns
    prepare_split(find_shards(data_folder, "train"), folder)
    assert (folder / "ca.npy").stat().st_mtime_ns == written
    write_shard(data_folder / "train_1.npz", [make_entry(0, 60, "more")], "train")
    again = prepare_split(find_shards(data_folder, "train"), folder)
    assert again.n_entries == first.n_entries + 1
    assert again.data_hash != first.data_hash


def test_a_preparation_that_failed_leaves_no_mixture(
    data_folder: Path,
    tmp_path: Path,
    make_entry: Callable,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shards, folder = find_shards(data_folder, "train"), tmp_path / "prepared"
    before = np.array(prepare_split(shards, folder).ca)
    other = write_shard(tmp_path / "o.npz", [make_entry(5, 65, "other")], "train")
    save, count = np.save, iter(range(100))

    def save_two(path: Path, array: np.ndarray) -> None:
        if next(count) == 2:
            raise OSError("disk full")
        save(path, array)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", save_two)
        with pytest.raises(OSError, match="disk full"):
            prepare_split([other], folder)
    with pytest.raises(DataError, match="cannot be read"):
        load_prepared(folder)
    again = prepare_split(shards, folder)
    assert np.array_equal(again.ca, before)
    assert len(again.ca) == len(again.residue_type) == len(again.target)
    assert not [path for path in folder.iterdir() if path.name.count(".") > 1]


@pytest.mark.parametrize(
    ("name", "data"),
    [("info.json", b""), ("info.json", b"{}"), ("info.json", b"3"), ("ca.npy", b"x")],
)
def test_a_damaged_folder_is_prepared_anew(
    data_folder: Path, tmp_path: Path, name: str, data: bytes
) -> None:
    shards, folder = find_shards(data_folder, "train"), tmp_path / "prepared"
    before = np.array(prepare_split(shards, folder).ca)
    (folder / name).write_bytes(data)
    assert np.array_equal(prepare_split(shards, folder).ca, before)
    np.save(folder / "target.npy", np.zeros((5, 9), np.float32))
    with pytest.raises(DataError, match="target is not of the size"):
        load_prepared(folder)
    assert len(prepare_split(shards, folder).target) == len(before)


def test_a_damaged_prepared_split_is_refused(data_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "prepared"
    prepare_split(find_shards(data_folder, "train"), folder)
    (folder / "ca.npy").unlink()
    with pytest.raises(DataError, match="delete the folder"):
        load_prepared(folder)


def test_high_b_factors_are_not_learned(tmp_path: Path, make_entry: Callable) -> None:
    entry = make_entry(0, 40, "one")
    entry.bfactor[20, 5:] = 90.0
    shard = write_shard(tmp_path / "a.npz", [entry], "train")
    prepared = prepare_split([shard], tmp_path / "prepared")
    assert not prepared.known[20, 5:].any()
    assert prepared.known[21, 0]
