"""Readers: the same frames as mdtraj, from every format, in flat memory."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import h5py
import mdtraj
import numpy as np
import pytest
from openmm import app, unit

from openmm_backmap.errors import (
    BackmapWarning,
    InputError,
    TopologyError,
    TrajectoryError,
)
from openmm_backmap.frames import CGFrame
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.trajectory import (
    CGFrameChunks,
    count_cg_frames,
    open_source,
    read_cg_frames,
    read_topology,
)

N_FRAMES, N_BEADS = 11, 12
LENGTHS, ANGLES = (6.0, 7.0, 8.0), (80.0, 95.0, 100.0)


def read_all(*args: object, **kwargs: object) -> list[CGFrame]:
    """Join the chunks."""
    return [frame for chunk in read_cg_frames(*args, **kwargs) for frame in chunk]


def make_trajectory(
    n_frames: int = N_FRAMES, has_box: bool = True
) -> mdtraj.Trajectory:
    """Make a trajectory of CA beads in two chains."""
    topology = mdtraj.Topology()
    for chain_id in "AB":
        chain = topology.add_chain(chain_id)
        for k in range(N_BEADS // 2):
            name = ("GLY", "SER", "MET")[k % 3]
            residue = topology.add_residue(name, chain, k + 1, chain_id)
            topology.add_atom("CA", mdtraj.element.carbon, residue)
    rng = np.random.default_rng(8)
    steps = rng.normal(size=(n_frames, N_BEADS, 3))
    steps *= 0.38 / np.linalg.norm(steps, axis=-1, keepdims=True)
    trajectory = mdtraj.Trajectory(
        np.cumsum(steps, axis=1), topology, time=np.arange(n_frames) * 5.0
    )
    if has_box:
        trajectory.unitcell_lengths = np.tile(LENGTHS, (n_frames, 1))
        trajectory.unitcell_angles = np.tile(ANGLES, (n_frames, 1))
    return trajectory


def save(trajectory: mdtraj.Trajectory, path: Path) -> None:
    """Write a file in the format its name says."""
    if path.suffix == ".npy":
        np.save(path, trajectory.xyz)
    elif path.suffix == ".h5":
        # the layout of mdtraj's HDF5 files, which its own writer needs pytables for
        with h5py.File(path, "w") as file:
            file["coordinates"] = trajectory.xyz
            file["time"] = trajectory.time
            file["cell_lengths"] = trajectory.unitcell_lengths
            file["cell_angles"] = trajectory.unitcell_angles
    else:
        trajectory.save(str(path))


# tolerance in nm, whether steps and times are kept
FORMATS = {
    ".dcd": (1e-6, False), ".xtc": (6e-4, True), ".trr": (1e-6, True),
    ".nc": (1e-6, True), ".h5": (1e-6, True), ".npy": (0.0, False),
    ".pdb": (6e-5, False), ".gro": (6e-4, True),
}  # fmt: skip


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_gives_the_frames_that_were_saved(
    tmp_path: Path, suffix: str
) -> None:
    tolerance, has_time = FORMATS[suffix]
    meant = make_trajectory()
    path = tmp_path / f"cg{suffix}"
    save(meant, path)
    source = open_source(path)
    assert (source.n_frames, source.n_atoms) == (N_FRAMES, N_BEADS)
    frames = read_all(path, meant.topology, chunk=4)
    assert len(frames) == N_FRAMES
    for k, frame in enumerate(frames):
        assert frame.positions.dtype == np.float32
        assert np.allclose(frame.positions, meant.xyz[k], atol=max(tolerance, 1e-7))
        if has_time:
            assert frame.time == pytest.approx(5.0 * k)
        if suffix == ".npy":
            assert frame.box is None
        else:
            assert frame.box.dtype == np.float32
            assert np.allclose(frame.box, meant.unitcell_vectors[0], atol=2e-3)
    assert len({frame.step for frame in frames}) == N_FRAMES


@pytest.mark.parametrize("suffix", FORMATS)
def test_stride_start_and_stop_are_those_of_a_slice(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"cg{suffix}"
    save(make_trajectory(), path)
    everything = read_all(path)
    for part in (slice(0, None, 3), slice(2, 9, 2), slice(10, None, 1), slice(4, 5, 7)):
        start, stop, stride = part.start, part.stop, part.step
        some = read_all(path, start=start, stop=stop, stride=stride, chunk=2)
        wanted = everything[part]
        assert [f.step for f in some] == [f.step for f in wanted]
        for mine, meant in zip(some, wanted, strict=True):
            assert np.array_equal(mine.positions, meant.positions)
        assert count_cg_frames(path, start=start, stop=stop, stride=stride) == len(
            wanted
        )


def test_several_files_are_read_as_one(tmp_path: Path) -> None:
    meant = make_trajectory()
    paths = [tmp_path / "a.dcd", tmp_path / "b.xtc", tmp_path / "c.pdb"]
    for path, part in zip(paths, (slice(0, 4), slice(4, 9), slice(9, 11)), strict=True):
        meant[part].save(str(path))
    for part in (slice(0, None, 1), slice(3, 10, 3), slice(5, None, 4)):
        frames = read_all(paths, start=part.start, stop=part.stop, stride=part.step)
        wanted = meant.xyz[part]
        assert len(frames) == len(wanted)
        chunks = CGFrameChunks(
            paths, start=part.start or 0, stop=part.stop, stride=part.step
        )
        for k, frame in enumerate(frames):
            assert np.array_equal(chunks.read_frame(k).positions, frame.positions)
        with pytest.raises(InputError, match="there is none"):
            chunks.read_frame(len(frames))
        assert np.allclose([f.positions for f in frames], wanted, atol=6e-4)


def test_dcd_without_a_cell_has_no_box(tmp_path: Path) -> None:
    for has_box in (True, False):
        path = tmp_path / f"{has_box}.dcd"
        make_trajectory(has_box=has_box).save(str(path))
        boxes = [frame.box for frame in read_all(path)]
        assert all((box is not None) == has_box for box in boxes)


def test_a_dcd_of_openmm_keeps_steps_times_and_box(tmp_path: Path) -> None:
    meant = make_trajectory()
    topology = meant.topology.to_openmm()
    topology.setPeriodicBoxVectors(meant.openmm_boxes(0))
    with open(tmp_path / "cg.dcd", "wb") as out:
        file = app.DCDFile(out, topology, 0.01 * unit.picosecond, 7000, 7000)
        for xyz in meant.xyz:
            file.writeModel(xyz * unit.nanometer)
    frames = read_all(tmp_path / "cg.dcd")
    assert [frame.step for frame in frames] == [7000 * k for k in range(1, 12)]
    assert frames[1].time == pytest.approx(140.0)
    assert np.allclose(frames[3].box, meant.unitcell_vectors[0], atol=1e-5)


def test_a_big_endian_dcd_is_read(tmp_path: Path) -> None:
    path = tmp_path / "cg.dcd"
    meant = make_trajectory(n_frames=2, has_box=False)
    meant.save(str(path))
    little = path.read_bytes()
    words = np.frombuffer(little, "<u4").byteswap().tobytes()
    # texts stay as they are
    swapped = words[:4] + b"CORD" + words[8:92]
    length = struct.unpack("<i", little[92:96])[0]
    swapped += words[92:100] + little[100 : 96 + length] + words[96 + length :]
    (tmp_path / "big.dcd").write_bytes(swapped)
    for mine, wanted in zip(read_all(tmp_path / "big.dcd"), meant.xyz, strict=True):
        assert np.allclose(mine.positions, wanted, atol=1e-6)


@pytest.mark.parametrize("suffix", [".dcd", ".xtc", ".pdb"])
def test_a_cut_off_file_gives_its_whole_frames(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cg{suffix}"
    make_trajectory().save(str(path))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.86)])
    if suffix == ".pdb":
        frames = read_all(path)
    else:
        with pytest.warns(BackmapWarning, match="cut off"):
            frames = read_all(path)
    assert len(frames) == 9
    assert np.allclose(frames[-1].positions, make_trajectory().xyz[8], atol=6e-4)


def test_topologies_come_from_pdb_mmcif_gro_and_psf(tmp_path: Path) -> None:
    meant = make_trajectory(n_frames=3)
    topology = meant.topology.to_openmm()
    for suffix in (".pdb", ".pdb.gz", ".cif", ".gro", ".psf"):
        path = tmp_path / f"cg{suffix}"
        if suffix == ".cif":
            with open(path, "w") as out:
                app.PDBxFile.writeFile(topology, meant.xyz[0] * unit.nanometer, out)
        elif suffix == ".psf":
            path.write_text(_psf(meant.topology))
        elif suffix == ".pdb.gz":
            path.write_bytes(gzip.compress((tmp_path / "cg.pdb").read_bytes()))
        else:
            meant.save(str(path))
        found, positions = read_topology(path)
        assert found.getNumAtoms() == N_BEADS
        if suffix == ".psf":
            assert positions is None
            assert found.getNumBonds() == N_BEADS - 2
        else:
            assert np.allclose(positions, meant.xyz[0], atol=6e-4)
        coarse = CGTopology.from_openmm(found, positions=positions)
        assert [coarse.sequence(k) for k in range(2)] == ["GSMGSM"] * 2


def _psf(topology: mdtraj.Topology) -> str:
    """Write the PSF of a CA model, as CHARMM does (I8, A4, ...)."""
    lines = ["PSF", "", "       1 !NTITLE", " REMARKS CA model", ""]
    lines.append(f"{topology.n_atoms:8d} !NATOM")
    for k, atom in enumerate(topology.atoms):
        residue = atom.residue
        segment = residue.chain.index
        lines.append(
            f"{k + 1:8d} P{segment:<3d} {residue.resSeq:<4d} {residue.name:<4s} "
            f"CA   CA     0.000000      100.0000           0"
        )
    bonds = [
        (k + 1, k + 2) for k in range(topology.n_atoms - 1) if k != N_BEADS // 2 - 1
    ]
    lines += ["", f"{len(bonds):8d} !NBOND: bonds"]
    flat = [index for bond in bonds for index in bond]
    for k in range(0, len(flat), 8):
        lines.append("".join(f"{index:8d}" for index in flat[k : k + 8]))
    for name in ("NTHETA: angles", "NPHI: dihedrals", "NIMPHI: impropers"):
        lines += ["", f"{0:8d} !{name}"]
    return "\n".join([*lines, "", ""])


def test_an_mmcif_with_several_models_is_several_frames(tmp_path: Path) -> None:
    meant = make_trajectory(n_frames=3)
    topology = meant.topology.to_openmm()
    with open(tmp_path / "cg.cif", "w") as out:
        app.PDBxFile.writeHeader(topology, out)
        for k, xyz in enumerate(meant.xyz):
            app.PDBxFile.writeModel(topology, xyz * unit.nanometer, out, k + 1)
    frames = read_all(tmp_path / "cg.cif", stride=2)
    assert np.allclose([f.positions for f in frames], meant.xyz[::2], atol=6e-5)


def test_a_pdb_takes_the_first_of_alternate_locations(tmp_path: Path) -> None:
    path = tmp_path / "cg.pdb"
    rows = [
        "ATOM      1  CA AGLY A   1       1.000   0.000   0.000  0.60  0.00",
        "ATOM      2  CA BGLY A   1       9.000   0.000   0.000  0.40  0.00",
        "ATOM      3  CA  SER A   2       4.800   0.000   0.000  1.00  0.00",
    ]
    path.write_text("\n".join([*rows, "END", ""]))
    (frame,) = read_all(path, path)
    assert np.allclose(frame.positions[:, 0], [0.1, 0.48])
    assert np.allclose(read_topology(path)[1], frame.positions)


BAD = [
    ("empty.dcd", b"", TrajectoryError, "is empty"),
    ("text.dcd", b"hello " * 40, TrajectoryError, "not a DCD"),
    ("text.xtc", b"hello " * 40, TrajectoryError, "cg|text.xtc"),
    ("text.npy", b"hello " * 40, TrajectoryError, "as NPY"),
    ("text.h5", b"hello " * 40, TrajectoryError, "HDF5"),
    ("text.pdb", b"hello\n" * 40, TopologyError, "no atoms|cannot read"),
    ("text.gro", b"hello\n" * 40, TrajectoryError, "number of atoms"),
    ("text.mp4", b"hello\n" * 40, InputError, "is not one of"),
    ("cg.dcd.gz", gzip.compress(b"hello", mtime=0), InputError, "compressed.*gunzip"),
    ("cg.gro.gz", gzip.compress(b"hello", mtime=0), InputError, "compressed.*gunzip"),
]


@pytest.mark.parametrize(("name", "content", "error", "message"), BAD)
def test_broken_files_are_named_with_the_reason(
    tmp_path: Path, name: str, content: bytes, error: type, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        read_cg_frames(tmp_path / name)
    assert name in str(caught.value)


def test_wrong_input_fails_before_the_first_frame_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "cg.dcd"
    make_trajectory().save(str(path))
    with pytest.raises(InputError, match="does not exist"):
        read_cg_frames(tmp_path / "no.dcd")
    with pytest.raises(TrajectoryError, match=r"has 12 particles.*has 3.*or sequence"):
        read_cg_frames(path, CGTopology.from_sequence("GSM"))
    with pytest.raises(InputError, match="only 11 frames"):
        read_cg_frames(path, start=11)
    for options in (
        {"stride": 0},
        {"start": -1},
        {"start": 3, "stop": 2},
        {"chunk": 0},
    ):
        with pytest.raises(InputError, match="want"):
            read_cg_frames(path, **options)
    with pytest.raises(InputError, match="no trajectory"):
        read_cg_frames([])


def test_bad_topology_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.fasta").write_text(">a\nGG\n")
    with pytest.raises(InputError, match="sequence, not a topology"):
        read_topology(tmp_path / "a.fasta")
    with pytest.raises(InputError, match="is not one of"):
        read_topology(_touch(tmp_path / "a.dcd"))
    with pytest.raises(TopologyError, match="cannot read"):
        read_topology(_touch(tmp_path / "a.cif"))
    with pytest.raises(InputError, match="does not exist"):
        read_topology(tmp_path / "missing.pdb")


def _touch(path: Path) -> Path:
    path.write_text("x\n")
    return path


@pytest.mark.parametrize("suffix", [".dcd", ".xtc", ".npy"])
def test_memory_does_not_grow_with_the_number_of_frames(
    tmp_path: Path, suffix: str
) -> None:
    peaks = []
    for n_frames in (200, 2000):
        path = tmp_path / f"{n_frames}{suffix}"
        save(make_trajectory(n_frames), path)
        tracemalloc.start()
        assert sum(len(chunk) for chunk in read_cg_frames(path)) == n_frames
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # 1,800 frames more would be 1,800 x 12 beads x 12 bytes = 0.26 MB at least
    assert peaks[1] - peaks[0] < 150_000


@pytest.mark.parametrize(
    "name",
    [
        "calvados2_A1SLCD", "calvados2_slab20_A1LCD", "calvados3_hnRNPA1S",
        "openabc_hps20", "openabc_moff_hp1a_dimer", "openawsem_1r69",
        "opensmog_CI2_CA",
    ],
)  # fmt: skip
def test_real_runs_are_read_as_mdtraj_reads_them(shared: Path, name: str) -> None:
    folder = shared / "cases" / name
    tops = [p for p in sorted(folder.glob("*.pdb")) if "crystal" not in p.name]
    topology, first = read_topology(tops[0])
    coarse = CGTopology.from_openmm(
        topology, positions=first, sequence=next(folder.glob("*.fasta"), None)
    )
    (path,) = folder.glob("*.dcd")
    meant = mdtraj.load(str(path), top=str(tops[0]))
    frames = read_all(path, coarse)
    assert len(frames) == meant.n_frames
    for k, frame in enumerate(frames):
        assert np.allclose(frame.positions, meant.xyz[k], atol=1e-5)
        if meant.unitcell_vectors is None:
            assert frame.box is None
        else:
            assert np.allclose(frame.box, meant.unitcell_vectors[k], atol=1e-4)
    assert np.all(np.diff([frame.step for frame in frames]) > 0)


@pytest.mark.parametrize("suffix", [".pdb", ".cif"])
def test_histidines_keep_the_names_that_say_where_protons_are(
    tmp_path: Path, suffix: str
) -> None:
    names = ["HIP", "ALA", "HSD", "HID", "HIS", "HIE"]
    topology = app.Topology()
    for _ in range(2):
        chain = topology.addChain()
        for k, name in enumerate(names):
            residue = topology.addResidue(name, chain, str(k + 1))
            topology.addAtom("CA", app.Element.getBySymbol("C"), residue)
    positions = np.arange(36).reshape(12, 3) * 0.1 * unit.nanometer
    path = tmp_path / f"cg{suffix}"
    writer = app.PDBFile if suffix == ".pdb" else app.PDBxFile
    with open(path, "w") as file:
        writer.writeFile(topology, positions, file)
    found = [residue.name for residue in read_topology(path)[0].residues()]
    assert found == names * 2
    variants = AtomTopology.from_cg_topology(
        CGTopology.from_openmm(read_topology(path)[0])
    ).variant
    assert variants == ("HIP", "ALA", "HID", "HID", "HIE", "HIE") * 2
