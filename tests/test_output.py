"""Journaled output: what the journal says and the file holds agree."""

import json

import mdtraj
import numpy as np
import pytest

from openmm_backmap import AtomFrame, AtomTopology, CGTopology
from openmm_backmap.errors import (
    BackmapWarning,
    InputError,
    OutputExistsError,
    TrajectoryError,
)
from openmm_backmap.output import TrajectoryOutput, journal_path
from openmm_backmap.output_topology import choose_topology_path, write_topology


@pytest.fixture(scope="module")
def topology() -> AtomTopology:
    return AtomTopology.from_cg_topology(CGTopology.from_sequence("ACDEF"))


@pytest.fixture
def frames(topology, rng) -> list[AtomFrame]:
    shape = (topology.n_atoms, 3)
    return [
        AtomFrame(
            rng.uniform(0, 3, shape).astype(np.float32), step=10 * k, time=0.1 * k
        )
        for k in range(1, 6)
    ]


def load(folder, suffix="xtc"):
    return mdtraj.load(folder / f"aa.{suffix}", top=folder / "top.pdb")


@pytest.mark.parametrize("suffix", ["xtc", "dcd"])
def test_batches_are_journaled_and_continued(
    topology, frames, tmp_path, suffix
) -> None:
    write_topology(tmp_path / "top.pdb", topology, frames[0])
    path = tmp_path / f"aa.{suffix}"
    output = TrajectoryOutput(path, topology, note={"model": "table"})
    output.write(frames[:1])
    output.write(frames[1:3])
    assert (output.n_frames, output.last_step) == (3, 30)
    output.close()
    header, *batches = map(json.loads, journal_path(path).read_text().splitlines())
    assert header["n_atoms"] == topology.n_atoms and header["model"] == "table"
    assert [batch["steps"] for batch in batches] == [[10], [20, 30]]
    again = TrajectoryOutput(path, topology, append=True, note={"model": "table"})
    assert (again.n_frames, again.last_step) == (3, 30)
    again.write(frames[3:])
    again.close()
    xyz = load(tmp_path, suffix).xyz
    np.testing.assert_allclose(
        xyz, np.stack([frame.positions for frame in frames]), atol=6e-4
    )


@pytest.mark.parametrize("suffix", ["xtc", "dcd"])
def test_frames_that_the_journal_does_not_know_are_cut_off(
    topology, frames, tmp_path, suffix
) -> None:
    write_topology(tmp_path / "top.pdb", topology, frames[0])
    path = tmp_path / f"aa.{suffix}"
    output = TrajectoryOutput(path, topology)
    for frame in frames[:3]:
        output.write([frame])
    output.close()
    # a kill between the frame and its line in the journal
    lines = journal_path(path).read_text().splitlines(keepends=True)
    journal_path(path).write_text("".join(lines[:-1]) + lines[-1][:5])
    again = TrajectoryOutput(path, topology, append=True)
    assert (again.n_frames, again.last_step) == (2, 20)
    again.write(frames[2:])
    again.close()
    assert load(tmp_path, suffix).n_frames == 5


def test_a_kill_before_the_first_frame_is_a_fresh_start(
    topology, frames, tmp_path
) -> None:
    path = tmp_path / "aa.dcd"
    output = TrajectoryOutput(path, topology)
    output.write(frames[:1])
    output.close()
    header = journal_path(path).read_text().splitlines(keepends=True)[0]
    journal_path(path).write_text(header)
    path.write_bytes(path.read_bytes()[:100])
    again = TrajectoryOutput(path, topology, append=True)
    assert again.n_frames == 0
    again.write(frames)
    again.close()
    write_topology(tmp_path / "top.pdb", topology, frames[0])
    assert load(tmp_path, "dcd").n_frames == 5


def test_a_frame_that_cannot_be_written_leaves_the_others(
    topology, frames, tmp_path
) -> None:
    write_topology(tmp_path / "top.pdb", topology, frames[0])
    output = TrajectoryOutput(tmp_path / "aa.xtc", topology)
    output.write(frames[:1])
    bad = AtomFrame(np.full((topology.n_atoms, 3), np.nan, np.float32), step=15)
    with pytest.raises(TrajectoryError, match="cannot write step 20 .*1 frames before"):
        output.write([frames[1], bad])
    assert (output.n_frames, output.last_step) == (1, 10)
    output.write(frames[1:2])
    output.close()
    np.testing.assert_allclose(load(tmp_path).time, [0.1, 0.2], atol=1e-6)


@pytest.mark.parametrize("suffix", ["xtc", "dcd"])
@pytest.mark.parametrize("place", ["_note", "_write_frame"])
def test_an_interrupt_leaves_file_and_journal_of_one_mind(
    topology, frames, tmp_path, monkeypatch, suffix, place
) -> None:
    """As by ctrl-C or a notebook, in a reporter without a worker thread."""
    write_topology(tmp_path / "top.pdb", topology, frames[0])
    path = tmp_path / f"aa.{suffix}"
    output = TrajectoryOutput(path, topology)
    output.write(frames[:2])
    target = output if place == "_note" else output._writer
    whole = getattr(target, place)

    def interrupt(value) -> None:
        if place == "_write_frame":
            whole(value)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(target, place, interrupt)
        with pytest.raises(KeyboardInterrupt):
            output.write(frames[2:3])
    output.write(frames[3:4])
    output.close()
    again = TrajectoryOutput(path, topology, append=True)
    again.write(frames[4:])
    again.close()
    expected = np.stack([frames[k].positions for k in (0, 1, 3, 4)])
    np.testing.assert_allclose(load(tmp_path, suffix).xyz, expected, atol=6e-4)


def test_nothing_is_touched_before_the_first_frame(topology, frames, tmp_path) -> None:
    (tmp_path / "aa.xtc").write_text("precious")
    with pytest.raises(OutputExistsError):
        TrajectoryOutput(tmp_path / "aa.xtc", topology)
    TrajectoryOutput(tmp_path / "aa.xtc", topology, overwrite=True).close()
    assert (tmp_path / "aa.xtc").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["aa.xtc"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"journal": 99}\n', "not a journal of version 1"),
        ("what?\n", "damaged"),
        ("", "has no journal"),
    ],
)
def test_a_journal_that_is_none_is_refused(topology, tmp_path, text, words) -> None:
    (tmp_path / "aa.xtc").write_text("precious")
    (tmp_path / "aa.xtc.journal").write_text(text)
    with pytest.raises(InputError, match=words):
        TrajectoryOutput(tmp_path / "aa.xtc", topology, append=True)
    assert (tmp_path / "aa.xtc").read_text() == "precious"


def test_the_topology_goes_where_it_fits(topology, tmp_path) -> None:
    many = AtomTopology.from_cg_topology(CGTopology.from_sequence(["ACD"] * 70))
    assert choose_topology_path(tmp_path / "aa.xtc", topology).name == "aa.pdb"
    assert choose_topology_path(tmp_path / "aa.dcd", many).name == "aa.cif"
    assert choose_topology_path(tmp_path / "aa.pdb", topology) is None


def test_a_topology_far_from_the_origin_fits_into_pdb(
    topology, frames, tmp_path
) -> None:
    far = AtomFrame(frames[0].positions + np.float32(5000.0))
    write_topology(tmp_path / "top.pdb", topology, far)
    assert mdtraj.load(tmp_path / "top.pdb").n_atoms == topology.n_atoms


def test_a_kill_while_frames_are_taken_back_loses_none(
    topology, frames, tmp_path
) -> None:
    write_topology(tmp_path / "top.pdb", topology, frames[0])
    path = tmp_path / "aa.xtc"
    output = TrajectoryOutput(path, topology)
    output.write(frames[:4])
    output.close()
    lines = journal_path(path).read_bytes()
    again = TrajectoryOutput(path, topology, append=True)
    again.truncate(2)
    again.close()
    # whatever was there before is there still, and one line says what counts
    assert journal_path(path).read_bytes().startswith(lines)
    third = TrajectoryOutput(path, topology, append=True)
    assert (third.n_frames, third.last_step) == (2, int(frames[1].step))
    third.write(frames[2:])
    third.close()
    assert load(tmp_path).n_frames == 5
    last = TrajectoryOutput(path, topology, append=True)
    assert (last.n_frames, last.resumed_step) == (5, int(frames[4].step))
    last.close()


def test_samples_in_dcd_are_warned_of(topology, tmp_path) -> None:
    with pytest.warns(BackmapWarning, match="DCD holds no steps.*2 samples"):
        TrajectoryOutput(tmp_path / "aa.dcd", topology, samples=2).close()
