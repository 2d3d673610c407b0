"""Real runs of a few short peptides: physics, resuming, killing, packing."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import openmm
import pytest

from openmm_backmap.cli.main import main
from openmm_backmap.errors import DataError, InputError
from openmm_backmap.generate import (
    GenerationSettings,
    SimulationSettings,
    design_sequences,
    generate,
    pack,
)
from openmm_backmap.generate.simulate import create_md_system
from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.minimizer_system import create_system
from openmm_backmap.training.prepared import prepare_split
from openmm_backmap.training.shards import find_shards, read_shard

QUICK = GenerationSettings(
    seed=5,
    n_starts=2,
    min_length=8,
    max_length=8,
    simulation=SimulationSettings(
        annealing_time=0.2, equilibration_time=0.04, interval=0.04, frames_per_start=2
    ),
)
OPTIONS = (
    "--seed 5 --starts 2 --frames 4 --min-length 8 --max-length 8 --annealing 0.2 "
    "--equilibration 0.04 --interval 0.04 --platform CPU -q"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generated")
    assert generate(path, 2, QUICK, platform="CPU") == 2
    return path


def arrays_of(folder: Path) -> dict[str, list]:
    """Positions by file name."""
    return {
        path.name: next(iter(read_shard(path))).positions
        for path in sorted((folder / "sequences").glob("*.npz"))
    }


def test_the_system_has_rigid_hydrogens_and_the_mass_it_had():
    topology = AtomTopology.from_cg_topology(CGTopology.from_sequence("GWPKCMY"))
    plain = create_system(topology, solvent="obc", cutoff=None)
    system = create_md_system(topology, SimulationSettings(), "obc")
    n = topology.n_atoms
    mass, before = (
        np.array([s.getParticleMass(k)._value for k in range(n)])
        for s in (system, plain)
    )
    is_hydrogen = before < 1.5
    assert np.allclose(mass[is_hydrogen], 3.5)
    assert np.isclose(mass.sum(), before.sum())
    assert system.getNumConstraints() == is_hydrogen.sum()
    assert mass.min() > 3.0


def test_the_dielectric_system_has_screened_charges_only():
    topology = AtomTopology.from_cg_topology(CGTopology.from_sequence("KEK"))
    energies = {}
    rng = np.random.default_rng(0)
    points = rng.normal(size=(topology.n_atoms, 3)) * 2.0
    for solvent in ("dielectric", "vacuum"):
        system = create_md_system(topology, SimulationSettings(), solvent)
        for force in system.getForces():
            if not isinstance(force, openmm.NonbondedForce):
                continue
            for k in range(force.getNumParticles()):
                charge, sigma, _ = force.getParticleParameters(k)
                force.setParticleParameters(k, charge, sigma, 0.0)
            for k in range(force.getNumExceptions()):
                i, j, product, sigma, _ = force.getExceptionParameters(k)
                force.setExceptionParameters(k, i, j, product, sigma, 0.0)
            force.setForceGroup(7)
        context = openmm.Context(
            system,
            openmm.VerletIntegrator(0.001),
            openmm.Platform.getPlatformByName("Reference"),
        )
        context.setPositions(points)
        state = context.getState(energy=True, groups={7})
        energies[solvent] = state.getPotentialEnergy()._value
    assert energies["vacuum"] == pytest.approx(78.5 * energies["dielectric"], rel=1e-6)


def test_frames_are_whole_peptides_that_moved(folder):
    for path, sequence in zip(
        sorted((folder / "sequences").iterdir()),
        design_sequences(2, 5, min_length=8, max_length=8),
        strict=True,
    ):
        entry = next(iter(read_shard(path)))
        assert path.stem.endswith(sequence)
        assert entry.positions.shape[:2] == (4, 8)
        assert entry.method == "MD-GEN"
        assert entry.mask.sum() == entry.mask[:, :4].sum() + entry.mask[:, 4:].sum()
        bond = np.linalg.norm(np.diff(entry.positions[:, :, 1], axis=1), axis=-1)
        assert (bond > 0.35).all() and (bond < 0.42).all()
        # frames of a start differ by thermal motion, starts by much more
        gap = entry.positions[:, None, :, 1] - entry.positions[None, :, :, 1]
        gap = np.sqrt((gap**2).sum(-1).mean(-1))
        assert 0.001 < gap[0, 1] < gap[0, 2]


def test_provenance_says_how_each_frame_was_made(folder):
    path = sorted((folder / "sequences").iterdir())[0]
    with np.load(path) as archive:
        story = json.loads(str(archive["entry_provenance"][0]))
    assert path.stem.endswith(story["sequence"])
    assert story["seed"] == 5
    assert story["platform"] == "CPU"
    assert story["licence"] == "CC0-1.0"
    assert "ff14SB" in story["force_field"]
    assert story["versions"]["openmm"] == openmm.version.version
    # the starts share out the range of temperatures
    assert story["start"] == [0, 0, 1, 1]
    low, high = story["temperature"][0], story["temperature"][2]
    assert 300.0 <= low < 375.0 <= high < 450.0


def test_a_second_call_makes_only_what_is_missing_and_the_same(folder, tmp_path):
    paths = sorted((folder / "sequences").iterdir())
    before = {p.name: (p.stat().st_mtime_ns, p.read_bytes()) for p in paths}
    seen = []
    generate(folder, 2, QUICK, platform="CPU", on_sequence=seen.append)
    assert [p.name for p in seen] == list(before)
    assert all(p.stat().st_mtime_ns == before[p.name][0] for p in paths)
    # one is lost, and comes back the same
    copy = tmp_path / "copy"
    (copy / "sequences").mkdir(parents=True)
    (copy / "recipe.json").write_bytes((folder / "recipe.json").read_bytes())
    (copy / "sequences" / paths[1].name).write_bytes(before[paths[1].name][1])
    generate(copy, 2, QUICK, platform="CPU")
    again, first = arrays_of(copy), arrays_of(folder)
    assert list(again) == list(first)
    assert all(np.array_equal(again[k], first[k]) for k in first)


def test_a_killed_run_goes_on_where_it_was(folder, tmp_path):
    command = [sys.executable, "-m", "openmm_backmap", "generate", "-n", "2"]
    command += [*OPTIONS, "-o", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("sequences/0001_*.npz")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    # what a kill in the middle of writing leaves behind
    (tmp_path / "sequences" / "0002_X.npz.partial").write_bytes(b"PK half of a fi")
    assert main([*command[3:]]) == 0
    resumed, unbroken = arrays_of(tmp_path), arrays_of(folder)
    assert list(resumed) == list(unbroken)
    assert all(np.array_equal(resumed[k], unbroken[k]) for k in unbroken)
    assert (tmp_path / "train_generated.npz").exists()


def test_two_processes_make_the_same_as_one(folder, tmp_path):
    generate(tmp_path, 2, QUICK, platform="CPU", n_jobs=2)
    several, one = arrays_of(tmp_path), arrays_of(folder)
    assert list(several) == list(one)
    assert all(np.array_equal(several[k], one[k]) for k in one)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="wants /proc")
def test_processes_end_when_their_parent_is_killed(tmp_path):
    command = [sys.executable, "-m", "openmm_backmap", "generate", "-n", "40"]
    command += [*OPTIONS, "-o", str(tmp_path), "--jobs", "2"]
    parent = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("sequences/*.npz")):
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.02)
    workers = [Path(f"/proc/{pid}") for pid in children.read_text().split()]
    assert len(workers) >= 2
    parent.terminate()
    parent.wait()
    deadline = time.monotonic() + 30
    while any(map(is_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [worker for worker in workers if is_alive(worker)]
    for worker in left:
        os.kill(int(worker.name), signal.SIGKILL)
    assert not left


def is_alive(process: Path) -> bool:
    """Whether a process is there; one that waits to be read is not."""
    try:
        return process.joinpath("stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_the_packed_shard_is_a_training_set(folder, tmp_path):
    packed = pack(folder)
    assert packed.n_frames == 8 and packed.n_residues == 64 and packed.n_failed == 0
    shards = find_shards(folder, "train")
    assert shards == [packed.path]
    single = list(arrays_of(folder).values())
    for entry, positions in zip(read_shard(packed.path), single, strict=True):
        assert np.array_equal(entry.positions, positions)
    data = prepare_split(shards, tmp_path / "prepared")
    assert data.n_entries == 2
    assert data.ca.shape == (64, 3)
    assert not data.is_cis.any()
    # every unit but the last, phi and psi of the ends, and chi are known
    assert data.known[:, 0].sum() == 8 * 7
    lines = (folder / "entries.tsv").read_text().splitlines()
    assert len(lines) == 3 and lines[0].startswith("id\tsplit\tsource")


def test_the_command_packs_part_of_a_set(folder, capsys):
    assert main(["generate", "-o", str(folder), "--pack-only"]) == 0
    said = capsys.readouterr().out
    assert "2 sequences, 8 frames" in said
    assert "(i, i+1): " in said


def test_a_time_limit_of_nothing_begins_nothing(tmp_path):
    assert generate(tmp_path, 2, QUICK, platform="CPU", time_limit=0.0) == 0
    with pytest.raises(DataError, match="no generated sequence"):
        pack(tmp_path)


def test_other_settings_in_the_same_folder_are_refused(folder):
    other = replace(QUICK, simulation=replace(QUICK.simulation, timestep=0.002))
    with pytest.raises(InputError, match=r"timestep = 0\.004, now it is 0\.002"):
        generate(folder, 2, other)
    with pytest.raises(InputError, match="seed = 5"):
        generate(folder, 2, replace(QUICK, seed=6))


def test_a_broken_file_is_named(folder, tmp_path):
    (tmp_path / "sequences").mkdir()
    (tmp_path / "sequences" / "0001_GG.npz").write_bytes(b"half")
    with pytest.raises(DataError, match="0001_GG.npz.*delete it"):
        pack(tmp_path)


def test_frames_that_starts_do_not_divide_are_said(tmp_path, capsys):
    words = ["generate", "-n", "1", "--frames", "3", "--starts", "2", "-q"]
    # nothing is begun, so there is nothing to pack
    assert main([*words, "--time-limit", "0", "-o", str(tmp_path)]) == 1
    assert "2 of each, 4 of a sequence" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--platform", "Quantum"], "Quantum"),
        (["--temperature-min", "500"], "500.0 to 450.0 K"),
        (["--timestep", "0"], "timestep"),
        (["--disordered", "2"], "disordered_share"),
    ],
)
def test_wrong_options_are_one_line(words, message, tmp_path, capsys):
    assert main(["generate", "-n", "1", *words, "-o", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_a_run_that_explodes_is_thrown_away_with_its_reason(tmp_path):
    wild = replace(QUICK, simulation=replace(QUICK.simulation, timestep=0.05))
    with pytest.warns(UserWarning, match="no frame is good .*exploded"):
        generate(tmp_path, 1, wild, platform="CPU")
    told = json.loads(next((tmp_path / "sequences").glob("*.json")).read_text())
    assert told["faults"] == {"exploded": 6}
    seen = []
    generate(tmp_path, 1, wild, platform="CPU", on_sequence=seen.append)
    assert len(seen) == 1 and seen[0].name.endswith(".failed.json")
