"""Writers: what is written is what other libraries read, also after a crash."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import gemmi
import mdtraj
import numpy as np
import pytest
from openmm import app, unit

from openmm_backmap.errors import InputError, OutputExistsError, TrajectoryError
from openmm_backmap.frames import AtomFrame
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.trajectory import choose_topology_suffix, open_writer

MakeFrame = Callable[..., AtomFrame]
SUFFIXES = [".dcd", ".xtc", ".pdb", ".cif"]
# nm: XTC and the text formats round to 0.001 nm and 0.001 angstrom
TOLERANCE = {".dcd": 1e-6, ".xtc": 5.1e-4, ".pdb": 5.1e-5, ".cif": 5.1e-5}


def load(path: Path, atoms: AtomTopology) -> mdtraj.Trajectory:
    """Read a file back with mdtraj."""
    if path.suffix in (".dcd", ".xtc"):
        return mdtraj.load(str(path), top=mdtraj.Topology.from_openmm(atoms.topology))
    return mdtraj.load(str(path))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("has_box", [True, False])
def test_mdtraj_reads_back_what_was_written(
    tmp_path: Path,
    atom_topology: AtomTopology,
    make_frame: MakeFrame,
    suffix: str,
    has_box: bool,
) -> None:
    path = tmp_path / f"aa{suffix}"
    options = {} if has_box else {"box": None}
    frames = [make_frame(step, **options) for step in (500, 700, 900)]
    with open_writer(path, atom_topology) as writer:
        for frame in frames:
            writer.write(frame)
        assert (writer.n_frames, writer.last_step) == (3, 900)
    found = load(path, atom_topology)
    wanted = np.stack([frame.positions for frame in frames])
    assert found.n_frames == 3
    assert np.allclose(found.xyz, wanted, atol=TOLERANCE[suffix])
    if not has_box:
        assert found.unitcell_vectors is None or not np.any(found.unitcell_lengths)
        return
    # CRYST1 holds 0.01 degree
    assert np.allclose(found.unitcell_vectors[0], frames[0].box, atol=2e-3)
    if suffix == ".xtc":
        assert np.allclose(found.time, [5.0, 7.0, 9.0])


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_text_files_hold_names_bonds_confidence_and_every_model(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame, suffix: str
) -> None:
    path = tmp_path / f"aa{suffix}"
    with open_writer(path, atom_topology) as writer:
        writer.write(make_frame(1))
        writer.write(make_frame(2))
    read = app.PDBFile if suffix == ".pdb" else app.PDBxFile
    file = read(str(path))
    assert file.getNumFrames() == 2
    for number, step in enumerate((1, 2)):
        positions = file.getPositions(asNumpy=True, frame=number)._value
        assert np.allclose(positions, make_frame(step).positions, atol=5.1e-5)
    wanted = list(atom_topology.topology.atoms())
    for mine, meant in zip(file.topology.atoms(), wanted, strict=True):
        assert mine.name == meant.name
        assert mine.element is meant.element
        assert mine.residue.name == meant.residue.name or suffix == ".pdb"
        assert mine.residue.id == meant.residue.id
        assert mine.residue.chain.id == meant.residue.chain.id
    assert file.topology.getNumBonds() == atom_topology.topology.getNumBonds()
    structure = gemmi.read_structure(str(path))
    assert len(structure) == 2
    b_factors = [atom.atom.b_iso for atom in structure[1].all()]
    owner = [atom.residue.index for atom in wanted]
    assert np.allclose(b_factors, make_frame(2).confidence[owner], atol=0.0051)
    # the force field finds all its templates in what was written
    app.ForceField("amber14/protein.ff14SB.xml").createSystem(file.topology)


def test_our_own_reader_gives_steps_times_and_boxes_back(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame
) -> None:
    from openmm_backmap.trajectory import read_cg_frames

    for suffix in (".dcd", ".xtc"):
        path = tmp_path / f"aa{suffix}"
        steps = [1000, 1250, 1500]
        with open_writer(path, atom_topology) as writer:
            for step in steps:
                writer.write(make_frame(step))
        (frames,) = read_cg_frames(path, atom_topology.topology)
        assert [frame.step for frame in frames] == steps
        assert np.allclose([frame.time for frame in frames], [10.0, 12.5, 15.0])
        assert np.allclose(frames[0].box, make_frame(1).box, atol=1e-5)


def test_a_box_that_changes_keeps_the_first_one_for_other_readers(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame
) -> None:
    from openmm_backmap.trajectory import read_cg_frames

    path = tmp_path / "aa.pdb"
    boxes = [np.diag([10.0 - k, 9.0, 8.0]).astype(np.float32) for k in range(3)]
    with open_writer(path, atom_topology) as writer:
        for k, box in enumerate(boxes):
            writer.write(replace(make_frame(10 * k), box=box))
    (frames,) = read_cg_frames(path)
    assert np.allclose([frame.box for frame in frames], boxes, atol=1e-4)
    # others take the last CRYST1 of a file
    assert path.read_text().count("CRYST1") == 1
    cell = app.PDBFile(str(path)).topology.getUnitCellDimensions()
    assert cell[0].value_in_unit(unit.nanometer) == pytest.approx(10.0)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_appending_equals_one_run(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame, suffix: str
) -> None:
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    with open_writer(whole, atom_topology) as writer:
        for step in range(10, 70, 10):
            writer.write(make_frame(step))
    for first in (10, 40):
        with open_writer(parts, atom_topology, append=True) as writer:
            assert writer.n_frames == (first - 10) // 10
            assert writer.last_step == (first - 10 or None)
            for step in range(first, first + 30, 10):
                writer.write(make_frame(step))
    if suffix != ".pdb":  # which repeats its CRYST1
        assert parts.read_bytes() == whole.read_bytes()
    assert np.array_equal(
        load(parts, atom_topology).xyz, load(whole, atom_topology).xyz
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_half_written_frame_is_cut_off_when_appending(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame, suffix: str
) -> None:
    path = tmp_path / f"aa{suffix}"
    writer = open_writer(path, atom_topology)
    writer.write(make_frame(10))
    writer.write(make_frame(20))
    two = path.read_bytes()
    writer.write(make_frame(30))
    three = path.read_bytes()
    writer.close()
    header = 100 if suffix == ".dcd" else 0  # its count was not yet raised
    for cut in (len(two) + 1, (len(two) + len(three)) // 2, len(three) - 1):
        path.write_bytes(two[:header] + three[header:cut])
        with open_writer(path, atom_topology, append=True) as writer:
            assert (writer.n_frames, writer.last_step) == (2, 20)
            writer.write(make_frame(30))
        found = load(path, atom_topology)
        assert found.n_frames == 3
        wanted = make_frame(30).positions
        assert np.allclose(found.xyz[2], wanted, atol=TOLERANCE[suffix])


KILLED = """
import os, signal, sys, numpy as np
from openmm_backmap.frames import AtomFrame
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.trajectory import open_writer
atoms = AtomTopology.from_cg_topology(CGTopology.from_sequence("GSCHW"))
writers = [open_writer(path, atoms) for path in sys.argv[1:]]
for step in range(1, 8):
    positions = np.full((atoms.n_atoms, 3), step / 8, np.float32)
    for writer in writers:
        writer.write(AtomFrame(positions, None, step, step * 0.1))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_every_frame_readable(tmp_path: Path) -> None:
    paths = [tmp_path / f"aa{suffix}" for suffix in SUFFIXES]
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, *map(str, paths)],
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert ended.returncode == -9
    atoms = AtomTopology.from_cg_topology(CGTopology.from_sequence("GSCHW"))
    for path in paths:
        found = load(path, atoms)
        assert found.n_frames == 7
        assert np.allclose(found.xyz[:, 0, 0], np.arange(1, 8) / 8, atol=1e-3)
        with open_writer(path, atoms, append=True) as writer:
            assert (writer.n_frames, writer.last_step) == (7, 7)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_existing_files_are_kept_unless_overwriting_is_asked_for(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame, suffix: str
) -> None:
    path = tmp_path / f"aa{suffix}"
    with open_writer(path, atom_topology) as writer:
        writer.write(make_frame(1))
    before = path.read_bytes()
    with pytest.raises(OutputExistsError, match="--force"):
        open_writer(path, atom_topology)
    assert path.read_bytes() == before
    with open_writer(path, atom_topology, overwrite=True) as writer:
        writer.write(make_frame(2))
    assert load(path, atom_topology).n_frames == 1


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_another_system_is_not_appended_to(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame, suffix: str
) -> None:
    path = tmp_path / f"aa{suffix}"
    with open_writer(path, atom_topology) as writer:
        writer.write(make_frame(1))
    before = path.read_bytes()
    other = AtomTopology.from_cg_topology(CGTopology.from_sequence("GSM"))
    with pytest.raises(TrajectoryError, match="cannot append"):
        open_writer(path, other, append=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bad_frames_are_refused_and_the_file_stays_whole(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame, suffix: str
) -> None:
    path = tmp_path / f"aa{suffix}"
    bad = make_frame(2)
    bad.positions[3] = np.nan
    with open_writer(path, atom_topology) as writer:
        writer.write(make_frame(1))
        with pytest.raises(TrajectoryError, match="not finite"):
            writer.write(bad)
        with pytest.raises(TrajectoryError, match="shape"):
            writer.write(AtomFrame(np.zeros((3, 3), np.float32)))
        writer.write(make_frame(3))
    assert load(path, atom_topology).n_frames == 2
    with pytest.raises(TrajectoryError, match="closed"):
        writer.write(make_frame(4))
    writer.close()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_says_so_and_loses_nothing(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame, suffix: str
) -> None:
    resource = pytest.importorskip("resource")
    import signal

    path = tmp_path / f"aa{suffix}"
    writer = open_writer(path, atom_topology)
    writer.write(make_frame(1))
    limit = path.stat().st_size + 300  # the next frame is longer
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
        with pytest.raises(TrajectoryError, match="1 frames before are whole"):
            writer.write(make_frame(2))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    # room again: the run goes on
    writer.write(make_frame(3))
    writer.close()
    found = load(path, atom_topology)
    assert found.n_frames == 2
    assert np.allclose(found.xyz[1], make_frame(3).positions, atol=TOLERANCE[suffix])


def test_two_writers_do_not_share_a_file(
    tmp_path: Path, atom_topology: AtomTopology
) -> None:
    path = tmp_path / "aa.dcd"
    with (
        open_writer(path, atom_topology),
        pytest.raises(InputError, match="another writer"),
    ):
        open_writer(path, atom_topology, overwrite=True)
    open_writer(path, atom_topology, overwrite=True).close()


def test_wrong_names_and_folders_are_refused(
    tmp_path: Path, atom_topology: AtomTopology
) -> None:
    with pytest.raises(InputError, match=r"\.xyz.* is not one of"):
        open_writer(tmp_path / "aa.xyz", atom_topology)
    with pytest.raises(InputError, match="does not exist"):
        open_writer(tmp_path / "no" / "aa.dcd", atom_topology)
    (tmp_path / "folder.dcd").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        open_writer(tmp_path / "folder.dcd", atom_topology)


def test_systems_too_large_for_pdb_are_sent_to_mmcif(tmp_path: Path) -> None:
    many = AtomTopology.from_cg_topology(CGTopology.from_sequence(["GG"] * 70))
    with pytest.raises(InputError, match=r"70 chains.*write mmCIF.*aa\.cif"):
        open_writer(tmp_path / "aa.pdb", many)
    assert not (tmp_path / "aa.pdb").exists()
    assert choose_topology_suffix(many) == ".cif"
    path = tmp_path / "aa.cif"
    with open_writer(path, many) as writer:
        writer.write(AtomFrame(np.zeros((many.n_atoms, 3), np.float32)))
    chains = [chain.id for chain in app.PDBxFile(str(path)).topology.chains()]
    assert chains == [chain.id for chain in many.topology.chains()]
    assert len(set(chains)) == 70
    few = AtomTopology.from_cg_topology(CGTopology.from_sequence(["GG"] * 60))
    assert choose_topology_suffix(few) == ".pdb"


def test_coordinates_beyond_pdb_columns_are_refused(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame
) -> None:
    far = make_frame(1)
    far.positions[0] = 2000.0
    with open_writer(tmp_path / "aa.pdb", atom_topology) as writer:
        with pytest.raises(TrajectoryError, match="mmCIF instead"):
            writer.write(far)
    with open_writer(tmp_path / "aa.cif", atom_topology) as writer:
        writer.write(far)
    file = app.PDBxFile(str(tmp_path / "aa.cif"))
    assert file.positions[0].x == pytest.approx(2000.0)
    assert file.positions.unit == unit.nanometer


def test_steps_beyond_32_bits_do_not_stop_a_run(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame
) -> None:
    for suffix in (".dcd", ".xtc"):
        with open_writer(tmp_path / f"aa{suffix}", atom_topology) as writer:
            for step in (3_000_000_000, 3_000_000_500):
                writer.write(make_frame(step))
        assert load(tmp_path / f"aa{suffix}", atom_topology).n_frames == 2


def test_frames_can_be_cut_off(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame
) -> None:
    for suffix in (".dcd", ".xtc"):
        path = tmp_path / f"aa{suffix}"
        with open_writer(path, atom_topology) as writer:
            for step in (10, 20, 30):
                writer.write(make_frame(step))
            writer.truncate(1, 10)
            writer.write(make_frame(40))
        with open_writer(path, atom_topology, append=True) as writer:
            assert (writer.n_frames, writer.last_step) == (2, 40)


def test_coordinates_below_the_columns_have_fewer_decimals(
    tmp_path: Path, atom_topology: AtomTopology, make_frame: MakeFrame
) -> None:
    far = make_frame(1)
    far.positions[:, 0] -= 150.0
    far.positions[0, 1] = -999.0
    with open_writer(tmp_path / "aa.pdb", atom_topology) as writer:
        writer.write(far)
    lines = (tmp_path / "aa.pdb").read_text().splitlines()
    assert {len(line) for line in lines if line.startswith("ATOM")} == {80}
    file = app.PDBFile(str(tmp_path / "aa.pdb"))
    found = np.array(file.getPositions(asNumpy=True)._value)
    # 0.01 A, and float32 at 1000 nm
    assert np.allclose(found, far.positions, atol=6e-4)
    assert np.allclose(mdtraj.load(str(tmp_path / "aa.pdb")).xyz[0], found, atol=1e-4)


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_bonds_of_phosphorylated_residues_come_back(
    tmp_path: Path, suffix: str
) -> None:
    chain = app.Topology()
    residues = chain.addChain("A")
    for k, name in enumerate(["ALA", "SEP", "GLY", "TPO", "PTR", "LYS"]):
        residue = chain.addResidue(name, residues, str(k + 1))
        chain.addAtom("CA", app.Element.getBySymbol("C"), residue)
    atoms = AtomTopology.from_cg_topology(CGTopology.from_openmm(chain))
    rng = np.random.default_rng(1)
    frame = AtomFrame(rng.normal(size=(atoms.n_atoms, 3)).astype(np.float32))
    path = tmp_path / f"aa{suffix}"
    with open_writer(path, atoms) as writer:
        writer.write(frame)
    file = (app.PDBFile if suffix == ".pdb" else app.PDBxFile)(str(path))

    def bonds(topology: app.Topology) -> set[tuple[int, int]]:
        return {tuple(sorted((a.index, b.index))) for a, b in topology.bonds()}

    assert bonds(file.topology) == bonds(atoms.topology)


def test_bonds_of_residues_with_insertion_codes_join_them(tmp_path: Path) -> None:
    cg = replace(
        CGTopology.from_sequence("GCSCG"), residue_id=("51", "52", "52A", "52B", "53")
    )
    atoms = AtomTopology.from_cg_topology(cg, disulfides=((1, 3),))
    path = tmp_path / "aa.cif"
    with open_writer(path, atoms) as writer:
        writer.write(AtomFrame(np.zeros((atoms.n_atoms, 3), np.float32), None, 0, 0.0))
    (bond,) = gemmi.read_structure(str(path)).connections
    assert [str(bond.partner1), str(bond.partner2)] == ["A/CYS 52/SG", "A/CYS 52B/SG"]
    pairs = [
        {first.residue.index, second.residue.index}
        for first, second in app.PDBxFile(str(path)).topology.bonds()
        if first.name == second.name == "SG"
    ]
    assert pairs == [{1, 3}]
