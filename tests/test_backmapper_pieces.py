"""A frame that is cut into pieces gives the atoms of the whole one."""

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from openmm_backmap import Backmapper, CGFrame, CGTopology
from openmm_backmap import backmapper_batch as batch_module
from openmm_backmap.artifact import load_engine
from openmm_backmap.backmapper_pieces import Piece, cut_frame
from openmm_backmap.errors import BadOutputError
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.metrics.summary import FrameChecker


@pytest.fixture(scope="module")
def crowd(read_protein, protein_path) -> tuple[CGTopology, np.ndarray, np.ndarray]:
    """Eight copies of 1RIS, not in order of place, in contact through the box."""
    protein = read_protein(protein_path)
    ca = protein.positions[0, :, 1]
    ca = ca - ca.mean(axis=0)
    spacing = np.ptp(ca, axis=0) + 0.1
    grid = np.stack(np.meshgrid(*[np.arange(2)] * 3), -1).reshape(-1, 3)
    grid = np.random.default_rng(1).permutation(grid)
    beads = (ca + (grid * spacing)[:, None]).reshape(-1, 3).astype(np.float32)
    sequence = "".join("ARNDCQEGHILKMFPSTWYV"[k] for k in protein.residue_type)
    topology = CGTopology.from_sequence([sequence] * len(grid))
    return topology, beads, np.diag(2.0 * spacing).astype(np.float32)


def cut(crowd, n_core: int) -> tuple[list, np.ndarray]:
    topology, beads, box = crowd
    near = find_neighbors(beads[None], 20, 1.2, box[None])[0]
    pieces = cut_frame(beads, topology.chain_index, near, box, n_core)
    return list(pieces), near


def test_every_residue_is_kept_once_and_chains_stay_whole(crowd) -> None:
    topology = crowd[0]
    pieces, _ = cut(crowd, 250)
    cores = [piece.residues[piece.is_core] for piece in pieces]
    assert len(pieces) == 4
    np.testing.assert_array_equal(
        np.sort(np.concatenate(cores)), np.arange(topology.n_residues)
    )
    for core in cores:
        chains = np.unique(topology.chain_index[core])
        assert len(core) == np.isin(topology.chain_index, chains).sum() <= 250


def test_a_core_keeps_all_of_its_neighbours_in_their_order(crowd) -> None:
    pieces, near = cut(crowd, 250)
    for piece in pieces:
        assert not piece.is_core.all()
        found = np.append(piece.residues, -1)[piece.neighbor_index]
        np.testing.assert_array_equal(
            found[piece.is_core], near[piece.residues[piece.is_core]]
        )
        for local, whole in zip(found, near[piece.residues], strict=True):
            kept = whole[np.isin(whole, piece.residues)]
            np.testing.assert_array_equal(local[: len(kept)], kept)
            assert (local[len(kept) :] == -1).all()


def test_parts_of_chains_are_not_bonded_to_one_another(crowd) -> None:
    topology = crowd[0]
    pieces, _ = cut(crowd, 100)
    assert len(pieces) == topology.n_chains
    for piece in pieces:
        is_bonded = np.diff(piece.chain_index) == 0
        assert (np.diff(piece.residues)[is_bonded] == 1).all()
        same = np.diff(topology.chain_index[piece.residues]) == 0
        adjacent = np.diff(piece.residues) == 1
        np.testing.assert_array_equal(is_bonded, same & adjacent)


def test_a_chain_longer_than_a_piece_is_not_cut(crowd) -> None:
    pieces, _ = cut(crowd, 10)
    assert [piece.is_core.sum() for piece in pieces] == [97] * 8


def group_touching(heavy: np.ndarray, chosen: np.ndarray, box) -> np.ndarray:
    """Number the groups of chosen residues whose atoms are within 0.5 nm; else -1."""
    rows = np.flatnonzero(chosen)
    group = np.full(len(heavy), -1)
    residue, slot = np.nonzero(np.abs(heavy[rows]).sum(axis=-1) > 0.0)
    points = np.mod(heavy[rows][residue, slot], np.diag(box))
    tree = cKDTree(points, boxsize=np.diag(box))
    pairs = tree.query_pairs(0.5, output_type="ndarray")
    links = coo_matrix(
        (np.ones(len(pairs)), residue[pairs].T), shape=(len(rows), len(rows))
    )
    group[rows] = connected_components(links, directed=False)[1]
    return group


def find_inner(piece: Piece, topology: CGTopology) -> np.ndarray:
    """Residues (n,) at least three from where their chain is cut by the piece."""
    segment = topology.chain_index[piece.residues]
    inner = np.ones(len(segment), bool)
    for step in (-3, -2, -1, 1, 2, 3):
        other = piece.residues + step
        inside = np.clip(other, 0, topology.n_residues - 1)
        same = (inside == other) & (topology.chain_index[inside] == segment)
        inner &= ~same | np.isin(other, piece.residues)
    return inner


def record_pieces(backmapper, monkeypatch) -> list[tuple[Piece, np.ndarray]]:
    """Keep each piece and the atoms (n, 14, 3) of all of its residues, as they come."""
    cut_whole, run = batch_module.cut_frame, backmapper._runner.engine.run
    parts, current = [], []

    def cut_and_keep(*args):
        for piece in cut_whole(*args):
            current[:] = [piece]
            yield piece

    def run_and_keep(*args, **more):
        found = run(*args, **more)
        parts.append((current[0], found[0][0].numpy()))
        return found

    monkeypatch.setattr(batch_module, "cut_frame", cut_and_keep)
    monkeypatch.setattr(backmapper._runner.engine, "run", run_and_keep)
    return parts


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("samples", [None, 2])
def test_pieces_give_the_atoms_of_the_whole_frame(
    crowd, monkeypatch, samples, exact
) -> None:
    topology, beads, box = crowd
    backmapper = Backmapper.from_topology(topology, "table", threads=1, exact_ca=exact)
    frame = CGFrame(beads, box, step=3)
    whole = backmapper.backmap_batch([frame], samples)
    monkeypatch.setattr(batch_module, "_PIECE_RESIDUES", 200)
    backmapper._runner.uncut_residues = 200
    parts = record_pieces(backmapper, monkeypatch)
    pieces = backmapper.backmap_batch([frame], samples)
    moved = np.linalg.norm(pieces.heavy - whole.heavy, axis=-1)
    # the backbone sees the same neighbours; a side chain may be chosen anew where
    # the neighbour of a neighbour is missing, more so where a sample draws it
    assert (moved.max(axis=-1) > 0.01).mean() < (0.01 if samples is None else 0.15)
    backbone = moved[:, :, :4].max(axis=-1)
    if samples is None or exact:
        assert not (backbone > 1e-3).any()
    # unless CA are exact, backbones give way to side chains that overlap severely,
    # so they may differ beside a side chain that differs much more, and nowhere else
    ca = whole.heavy[:, :, 1]
    for f, r in np.argwhere(backbone > 1e-3):
        gap = ca[f] - ca[f, r]
        gap -= np.diag(box) * np.round(gap / np.diag(box))
        near = np.linalg.norm(gap, axis=-1) < 1.2
        assert moved[f, near, 5:].max() > 0.01
    # a little also farther away, handed on by residues that touch, from a side chain
    # that was chosen anew in the same piece, be it one of those that are not kept
    n_copies = samples or 1
    assert len(parts) == n_copies * len(list(cut(crowd, 200)[0]))
    for k, (piece, heavy) in enumerate(parts):
        reference = whole.heavy[k % n_copies, piece.residues]
        moved = np.linalg.norm(heavy - reference, axis=-1)
        backbone = np.where(piece.is_core, moved[:, :4].max(axis=-1), 0.0)
        group = group_touching(reference, moved.max(axis=-1) > 1e-5, box)
        # what lies where the piece is cut is no side chain chosen anew
        inner = find_inner(piece, topology)
        for r in np.flatnonzero(backbone > 3e-4):
            cause = moved[inner & (group == group[r]), 5:].max()
            assert cause > max(0.01, 4.0 * backbone[r])
    figures = FrameChecker.from_topology(topology).check(pieces.heavy, box[None])
    assert (figures["bond_fraction"] == 1.0).all()
    assert (figures["peptide_fraction"] == 1.0).all()
    assert (figures["wrong_hands"] == 0.0).all()
    assert [f.sample for f in pieces.frames] == [f.sample for f in whole.frames]
    assert pieces.frames[0].positions.shape == whole.frames[0].positions.shape


def test_far_chains_come_out_the_same_in_pieces(crowd, monkeypatch) -> None:
    topology, beads, _ = crowd
    apart = beads + 5.0 * topology.chain_index[:, None].astype(np.float32)
    backmapper = Backmapper.from_topology(topology, "table", threads=1)
    whole = backmapper.backmap_batch([CGFrame(apart, None, step=0)])
    monkeypatch.setattr(batch_module, "_PIECE_RESIDUES", 100)
    backmapper._runner.uncut_residues = 100
    pieces = backmapper.backmap_batch([CGFrame(apart, None, step=0)])
    np.testing.assert_allclose(pieces.heavy, whole.heavy, atol=2e-4)
    np.testing.assert_allclose(
        pieces.frames[0].confidence, whole.frames[0].confidence, atol=1e-3
    )


def test_bad_output_is_named_by_its_place_in_the_frame(crowd, monkeypatch) -> None:
    topology, beads, box = crowd
    backmapper = Backmapper.from_topology(topology, "table", threads=1)
    monkeypatch.setattr(batch_module, "_PIECE_RESIDUES", 200)
    runner = backmapper._runner
    runner.uncut_residues = 200
    run, wanted = runner.engine.run, int(cut(crowd, 200)[0][1].residues[5])

    def run_badly(positions, *rest, **more):
        calls.append(len(positions))
        if len(calls) == 2:
            raise BadOutputError("table", 0, 5)
        return run(positions, *rest, **more)

    calls: list[int] = []
    monkeypatch.setattr(runner.engine, "run", run_badly)
    frame = CGFrame(beads, box, step=3)
    with pytest.raises(BadOutputError, match=f"residue {wanted} in frame 0") as error:
        backmapper.backmap_batch([frame])
    assert error.value.residue == wanted


def test_pieces_come_together_whatever_the_default_device(crowd) -> None:
    topology, beads, box = crowd
    backmapper = Backmapper(
        topology, load_engine("table", "cpu"), hydrogens=False, threads=1
    )
    backmapper._runner.uncut_residues = 250
    frame = CGFrame(positions=beads, box=box)
    expected = backmapper.backmap([frame])[0].positions
    with torch.device("meta"):  # stands for a GPU
        found = backmapper.backmap([frame])[0].positions
    np.testing.assert_array_equal(expected, found)
