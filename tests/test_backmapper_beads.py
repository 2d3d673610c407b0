"""Which beads are centres of mass: a trajectory tells it better than its start."""

import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import mdtraj
import numpy as np
import pytest

from openmm_backmap.backmapper import Backmapper
from openmm_backmap.cli.main import main
from openmm_backmap.errors import BackmapWarning, InputError
from openmm_backmap.mapping.coarsen import coarsen_slots


@pytest.fixture(scope="module")
def run(
    read_protein: Callable[[Path], SimpleNamespace],
    protein_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder of runs and starts, of CA and of centres of mass."""
    folder = tmp_path_factory.mktemp("run")
    protein = mdtraj.load(str(protein_path))
    trace = protein.atom_slice(protein.topology.select("name CA"))
    atoms = read_protein(protein_path)
    com = coarsen_slots(atoms.positions, atoms.residue_type, "com")[:, :, 0]
    for name, xyz in (("ca", trace.xyz), ("com", com)):
        frames = mdtraj.Trajectory(np.repeat(xyz, 3, 0), trace.topology)
        frames.save(str(folder / f"{name}.dcd"))
        frames[0].save(str(folder / f"{name}.pdb"))
    return folder


@pytest.mark.parametrize(("start", "then"), [("com", "ca"), ("ca", "com")])
def test_the_trajectory_is_believed(run: Path, start: str, then: str) -> None:
    top, path = run / f"{start}.pdb", run / f"{then}.dcd"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BackmapWarning)
        backmapper = Backmapper.from_topology(top, "table", threads=1)
        told = Backmapper.from_topology(
            top, "table", threads=1, frames=mdtraj.load(str(path), top=str(top)).xyz
        )
    assert (backmapper.cg_topology.mapping.name == "ca") == (start == "ca")
    with pytest.warns(BackmapWarning, match=r"of 97 residues: in the trajectory"):
        found = list(backmapper.backmap_trajectory(path, top=top))
    assert (backmapper.cg_topology.mapping.name == "ca") == (then == "ca")
    assert backmapper.atom_topology.cg is backmapper.cg_topology
    wanted = list(told.backmap_trajectory(path, top=top))
    assert len(found) == 3
    for one, two in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(one.positions, two.positions)


def test_what_the_user_says_stays(run: Path) -> None:
    top, path = run / "ca.pdb", run / "com.dcd"
    for mapping in ("ca", np.zeros(97, bool)):
        backmapper = Backmapper.from_topology(top, "table", threads=1, mapping=mapping)
        with warnings.catch_warnings():
            warnings.simplefilter("error", BackmapWarning)
            list(backmapper.backmap_trajectory(path, top=top))
        assert backmapper.cg_topology.mapping.name == "ca"


def test_a_run_like_its_start_says_nothing_and_mixed_is_told_quietly(run: Path) -> None:
    top = run / "ca.pdb"
    backmapper = Backmapper.from_topology(top, "table", threads=1)
    mixed = Backmapper.from_topology(top, "table", threads=1, mapping="mixed")
    assert mixed.cg_topology.mapping.name == "ca"
    with warnings.catch_warnings():
        warnings.simplefilter("error", BackmapWarning)
        list(backmapper.backmap_trajectory(run / "ca.dcd", top=top))
        list(mixed.backmap_trajectory(iter([run / "com.dcd"]), top=top))
    assert backmapper.cg_topology.mapping.name == "ca"
    assert mixed.cg_topology.mapping.name != "ca"


@pytest.mark.parametrize("mapping", [None, "mixed"])
def test_beads_wrapped_one_by_one_stay_ca(
    run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], mapping: str | None
) -> None:
    top, side = run / "ca.pdb", 2.0
    frames = mdtraj.load(str(run / "ca.dcd"), top=str(top))
    frames.xyz %= side
    frames.unitcell_lengths = np.full((3, 3), side)
    frames.unitcell_angles = np.full((3, 3), 90.0)
    steps = np.linalg.norm(np.diff(frames.xyz[0], axis=0), axis=1)
    assert (steps > 1.0).sum() > 10
    frames.save(str(tmp_path / "cut.dcd"))
    backmapper = Backmapper.from_topology(top, "table", threads=1, mapping=mapping)
    with warnings.catch_warnings():
        warnings.simplefilter("error", BackmapWarning)
        list(backmapper.backmap_trajectory(tmp_path / "cut.dcd", top=top))
    assert backmapper.cg_topology.mapping.name == "ca"
    command = ["backmap", "-t", str(top), str(tmp_path / "cut.dcd"), "-m", "table"]
    command += ["-o", str(tmp_path / "aa.xtc")]
    assert main(command + (["--mapping", mapping] if mapping else [])) == 0
    said = capfd.readouterr().err
    assert "3 frames" in said and "centres of mass" not in said


def test_a_trajectory_of_other_beads_does_not_use_up_the_look(
    run: Path, tmp_path: Path
) -> None:
    top = run / "ca.pdb"
    frames = mdtraj.load(str(run / "ca.dcd"), top=str(top))
    frames.atom_slice(range(50)).save(str(tmp_path / "part.dcd"))
    frames.atom_slice(range(50))[0].save(str(tmp_path / "part.pdb"))
    backmapper = Backmapper.from_topology(top, "table", threads=1)
    with pytest.raises(InputError, match="50"):
        list(
            backmapper.backmap_trajectory(
                tmp_path / "part.dcd", top=tmp_path / "part.pdb"
            )
        )
    with pytest.warns(BackmapWarning, match="in the trajectory"):
        list(backmapper.backmap_trajectory(run / "com.dcd", top=top))
    assert backmapper.cg_topology.mapping.name != "ca"


def test_loops_built_as_centres_of_mass_are_ca_in_the_run(shared: Path) -> None:
    folder = shared / "cases" / "calvados3_hnRNPA1S"
    with pytest.warns(BackmapWarning, match="207 of 314"):
        backmapper = Backmapper.from_topology(folder / "top.pdb", "table", threads=1)
    with pytest.warns(BackmapWarning, match=r"157 of 314 .* it was 207"):
        next(backmapper.backmap_trajectory(folder / "hnRNPA1S.dcd", folder / "top.pdb"))
    # folded domains by the force field: 10 to 91 and 104 to 181 (see test_mixed.py)
    is_com = backmapper.cg_topology.anchor_slot == 1
    assert is_com[10:89].all() and is_com[104:180].all()
    assert not is_com[:8].any() and not is_com[182:].any()
