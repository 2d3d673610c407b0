"""``openmm-backmap backmap``: good input to output, bad input to one line."""

import csv
import gzip
import subprocess
import sys
from pathlib import Path

import mdtraj
import numpy as np
import pytest
from openmm import app, unit

from openmm_backmap import Backmapper
from openmm_backmap.cli.main import main
from openmm_backmap.residues.names import ONE_TO_THREE as CODE_NAMES
from openmm_backmap.testsystems import CAGoModel

MODEL = "table"
XTC_TOLERANCE_NM = 1.1e-3
HAIRPIN = "VCRLPGTPEALCA"


@pytest.fixture(scope="module")
def cg(tmp_path_factory) -> Path:
    """Make a folder with cg.pdb (1 model), ca.pdb (3 models), cg.dcd, cg.xtc (6)."""
    folder = tmp_path_factory.mktemp("cg")
    model = CAGoModel()
    with open(folder / "cg.pdb", "w") as file:
        app.PDBFile.writeFile(model.topology, model.positions, file)
    rng = np.random.default_rng(5)
    start = model.positions.value_in_unit(unit.nanometer)
    xyz = start + 0.01 * rng.standard_normal((6, *start.shape))
    topology = mdtraj.Topology.from_openmm(model.topology)
    trajectory = mdtraj.Trajectory(xyz.astype(np.float32), topology)
    trajectory.save_dcd(str(folder / "cg.dcd"))
    trajectory.save_xtc(str(folder / "cg.xtc"))
    trajectory[:3].save_pdb(str(folder / "ca.pdb"))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def backmap(*words: object) -> int:
    """Run the command; usage errors come back as their exit code, too."""
    arguments = ["backmap", "--device", "cpu", *(str(word) for word in words)]
    if "-m" not in arguments:
        arguments += ["-m", MODEL]
    try:
        return main(arguments)
    except SystemExit as error:
        return error.code


def test_a_trajectory_becomes_a_trajectory_with_its_topology(cg, here, capsys) -> None:
    assert backmap(cg / "cg.dcd", "-t", cg / "cg.pdb", "-o", "aa.xtc") == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert "aa.xtc: 6 frames, 97 residues, 1647 atoms" in err
    assert sorted(path.name for path in here.iterdir()) == ["aa.pdb", "aa.xtc"]
    trajectory = mdtraj.load("aa.xtc", top="aa.pdb")
    backmapper = Backmapper.from_topology(cg / "cg.pdb", MODEL, device="cpu")
    beads = mdtraj.load(cg / "cg.dcd", top=cg / "cg.pdb").xyz
    np.testing.assert_allclose(
        trajectory.xyz, backmapper.backmap_positions(beads), atol=XTC_TOLERANCE_NM
    )


def test_models_of_a_pdb_are_frames(cg, here) -> None:
    assert backmap(cg / "ca.pdb", "-o", "aa.pdb") == 0
    assert mdtraj.load("aa.pdb").n_frames == 3
    text = Path("aa.pdb").read_text()
    assert text.count("ENDMDL") == 3 and text.rstrip().endswith("END")
    # the confidence stands in the column of the B-factors
    factors = {line[60:66] for line in text.splitlines() if line.startswith("ATOM")}
    assert len(factors) > 5 and all(0.0 <= float(f) <= 1.0 for f in factors)


@pytest.mark.parametrize("suffix", ["dcd", "xtc", "pdb", "cif"])
def test_every_output_format_holds_the_same(cg, here, suffix) -> None:
    assert backmap(cg / "cg.xtc", "-t", cg / "cg.pdb", "-o", f"aa.{suffix}") == 0
    assert backmap(cg / "cg.xtc", "-t", cg / "cg.pdb", "-o", "reference.dcd") == 0
    reference = mdtraj.load("reference.dcd", top="reference.pdb").xyz
    if suffix == "cif":
        cif = app.PDBxFile("aa.cif")
        xyz = np.stack(
            [cif.getPositions(True, k)._value for k in range(cif.getNumFrames())]
        )
    else:
        top = {} if suffix == "pdb" else {"top": "aa.pdb"}
        xyz = mdtraj.load(f"aa.{suffix}", **top).xyz
    np.testing.assert_allclose(xyz, reference, atol=XTC_TOLERANCE_NM)


def test_frames_are_chosen_by_start_stop_and_stride(cg, here) -> None:
    top = ("-t", cg / "cg.pdb")
    assert backmap(cg / "cg.dcd", *top, "-o", "all.dcd", "--chunk", 2) == 0
    some = ("--start", 1, "--stop", 6, "-s", 2)
    assert backmap(cg / "cg.dcd", *top, "-o", "some.dcd", *some, "-c", 1) == 0
    whole = mdtraj.load("all.dcd", top="all.pdb").xyz
    part = mdtraj.load("some.dcd", top="some.pdb").xyz
    np.testing.assert_allclose(part, whole[1:6:2], atol=3e-5)


def test_several_trajectories_are_read_one_after_another(cg, here, monkeypatch) -> None:
    names = [cg / "cg.dcd", cg / "cg.xtc"]
    assert backmap(*names, "-t", cg / "cg.pdb", "-o", "both.xtc") == 0
    assert mdtraj.load("both.xtc", top="both.pdb").n_frames == 12
    monkeypatch.setattr("sys.stdin", [f"{name}\n" for name in names])
    assert backmap("-", "-t", cg / "cg.pdb", "-o", "list.xtc") == 0
    assert Path("list.xtc").read_bytes() == Path("both.xtc").read_bytes()


def test_samples_follow_the_seed(cg, here) -> None:
    words = (cg / "ca.pdb", "--samples", 2)
    for name, seed in (("a.dcd", 1), ("b.dcd", 1), ("c.dcd", 2)):
        assert backmap(*words, "--seed", seed, "-o", name) == 0
    a, b, c = (
        mdtraj.load(f"{name}.dcd", top=f"{name}.pdb").xyz for name in ("a", "b", "c")
    )
    assert len(a) == 6
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 0.05 and np.abs(a[0] - a[1]).max() > 0.05


def test_minimized_frames_and_metrics_stand_beside(cg, here) -> None:
    words = ("--stop", 1, "--minimize", "--metrics", "checks.csv", "--threads", 1)
    assert backmap(cg / "ca.pdb", "-o", "aa.xtc", *words) == 0
    assert sorted(path.name for path in here.iterdir()) == [
        "aa.pdb", "aa.xtc", "aa_minimized.xtc", "checks.csv",
    ]  # fmt: skip
    with open("checks.csv", newline="") as file:
        raw, relaxed = csv.DictReader(file)
    assert (raw["stage"], relaxed["stage"]) == ("model", "minimized")
    assert float(relaxed["energy_after"]) < float(relaxed["energy_before"])
    assert mdtraj.load("aa_minimized.xtc", top="aa.pdb").n_frames == 1


def test_heavy_atoms_only_and_a_topology_elsewhere(cg, here) -> None:
    words = ("--no-hydrogens", "--output-topology", "top.cif")
    assert backmap(cg / "ca.pdb", "-o", "aa.dcd", *words) == 0
    topology = app.PDBxFile("top.cif").topology
    assert {atom.element.symbol for atom in topology.atoms()} <= set("CNOS")
    assert not Path("aa.pdb").exists()


def test_a_sequence_is_enough_for_a_trajectory(cg, here) -> None:
    sequence = Backmapper.from_topology(cg / "cg.pdb", MODEL).cg_topology.sequence(0)
    Path("s6.fasta").write_text(f">S6\n{sequence}\n")
    assert backmap(cg / "cg.dcd", "--sequence", "s6.fasta", "-o", "aa.xtc") == 0
    assert mdtraj.load("aa.xtc", top="aa.pdb").n_frames == 6


def test_verbose_shows_the_traceback_and_quiet_words_do_not(cg, here, capsys) -> None:
    words = (cg / "cg.dcd", "-t", "no.pdb", "-o", "aa.xtc")
    assert backmap(*words) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert backmap(*words, "-v") == 1
    assert "Traceback" in capsys.readouterr().err


def write_bad_input(folder: Path, cg: Path) -> None:
    """Write one file for each thing that can be wrong with input."""
    lines = (cg / "cg.pdb").read_text().splitlines(keepends=True)
    atoms = [line for line in lines if line.startswith("ATOM")]
    (folder / "short.pdb").write_text("".join(atoms[:50]) + "END\n")
    (folder / "empty.pdb").write_text("")
    (folder / "empty.dcd").write_text("")
    (folder / "noise.dcd").write_bytes(bytes(range(256)) * 40)
    unknown = "".join(atoms).replace(atoms[4][17:20], "XYZ")
    (folder / "unknown.pdb").write_text(unknown + "END\n")
    no_ca = "".join(line.replace(" CA ", " CB ") for line in atoms)
    (folder / "no_ca.pdb").write_text(no_ca + "END\n")
    water = atoms[0].replace(" CA ", " O  ").replace(atoms[0][17:20], "HOH")
    (folder / "water.pdb").write_text(water + "END\n")
    xyz = mdtraj.load(cg / "cg.dcd", top=cg / "cg.pdb").xyz
    xyz[2, 7] = np.nan
    np.save(folder / "nan.npy", xyz)


BAD = {
    "missing topology": (["CG/cg.dcd"], 2, "holds no topology: say which one with -t"),
    "no such topology": (["CG/cg.dcd", "-t", "no.pdb"], 1, "no.pdb: no such file"),
    "no such trajectory": (["no.dcd", "-t", "CG/cg.pdb"], 1, "no.dcd: no such file"),
    "another atom count": (["CG/cg.dcd", "-t", "short.pdb"], 1, "97 particles"),
    "NaN beads": (["nan.npy", "-t", "CG/cg.pdb"], 1, "step 2: bead of residue"),
    "unknown residue": (["unknown.pdb"], 1, "XYZ"),
    "no CA bead": (["no_ca.pdb"], 1, "CA"),
    "nothing but water": (["water.pdb"], 1, "HOH"),
    "an empty structure": (["empty.pdb"], 1, "empty"),
    "an empty trajectory": (["empty.dcd", "-t", "CG/cg.pdb"], 1, "empty"),
    "no trajectory at all": (["noise.dcd", "-t", "CG/cg.pdb"], 1, "not a DCD file"),
    "no frame left": (["CG/cg.dcd", "-t", "CG/cg.pdb", "--start", "9"], 1, "9"),
    "an unknown model": (["CG/ca.pdb", "-m", "cg2all"], 1, "cg2all"),
    "an unknown chain": (["CG/ca.pdb", "--chains", "Q"], 1, "chain 'Q'"),
    "an unknown device": (["CG/ca.pdb", "--device", "tpu9"], 1, "tpu9"),
    "a sequence that does not fit": (["CG/ca.pdb", "--sequence", "ACD"], 1, "97"),
    "an unknown output": (["CG/ca.pdb", "-o", "aa.trr"], 2, "unknown format '.trr'"),
    "an unknown folder": (["CG/ca.pdb", "-o", "no/aa.pdb"], 1, "no does not exist"),
    "no samples": (["CG/ca.pdb", "--samples", "0"], 2, "'0' came, wanted a whole"),
    "a negative seed": (["CG/ca.pdb", "--seed", "-1"], 2, "--seed"),
    "minimizing without hydrogens": (
        ["CG/ca.pdb", "--minimize", "--no-hydrogens"], 2, "needs hydrogens",
    ),
    "no output": (["CG/ca.pdb", "-o"], 2, "-o"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gets_one_clear_line(cg, here, capsys, case) -> None:
    words, code, text = BAD[case]
    write_bad_input(here, cg)
    before = {path.name for path in here.iterdir()}
    words = [word.replace("CG", str(cg)) for word in words]
    if "-o" not in words:
        words += ["-o", "aa.xtc"]
    assert backmap(*words, "-q") == code
    out, err = capsys.readouterr()
    assert out == ""
    errors = [line for line in err.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert text in errors[0]
    assert "Traceback" not in err
    left = {path.name for path in here.iterdir()} - before
    assert left <= {"aa.partial.xtc", "aa.partial.xtc.journal", "aa.partial.pdb"}


@pytest.mark.parametrize("existing", ["aa.xtc", "aa.pdb", "checks.csv"])
def test_existing_output_is_refused_without_force(cg, here, capsys, existing) -> None:
    Path(existing).write_text("precious")
    words = (cg / "ca.pdb", "-o", "aa.xtc", "--metrics", "checks.csv")
    assert backmap(*words) == 1
    assert f"{existing}: exists already" in capsys.readouterr().err
    assert Path(existing).read_text() == "precious"
    assert [path.name for path in here.iterdir()] == [existing]
    assert backmap(*words, "--force") == 0
    assert mdtraj.load("aa.xtc", top="aa.pdb").n_frames == 3


def test_a_job_that_fails_replaces_nothing_and_keeps_what_it_wrote(
    cg, here, capsys
) -> None:
    write_bad_input(here, cg)
    Path("aa.xtc").write_text("precious")
    words = ("-t", cg / "cg.pdb", "-o", "aa.xtc", "--force", "-c", 1)
    assert backmap("nan.npy", *words) == 1
    err = capsys.readouterr().err
    assert "bead of residue" in err and "kept in aa.partial.xtc" in err
    assert Path("aa.xtc").read_text() == "precious"
    assert mdtraj.load("aa.partial.xtc", top="aa.partial.pdb").n_frames == 2


def test_input_is_never_replaced(cg, here, capsys) -> None:
    ca = Path("ca.pdb")
    ca.write_bytes((cg / "ca.pdb").read_bytes())
    before = ca.read_bytes()
    assert backmap("ca.pdb", "-o", "ca.pdb", "--force") == 1
    assert "is input and output" in capsys.readouterr().err
    # the topology beside ca.xtc would be ca.pdb, too
    assert backmap("ca.pdb", "-o", "ca.xtc", "--force") == 1
    assert ca.read_bytes() == before


def test_an_interrupted_job_is_resumed(cg, here, capsys) -> None:
    words = (cg / "cg.dcd", "-t", cg / "cg.pdb", "-c", 1, "--samples", 2)
    assert backmap(*words, "-o", "whole.xtc", "--metrics", "whole.csv") == 0
    code = (
        "import os, sys\n"
        "from openmm_backmap import pipeline\n"
        "from openmm_backmap.cli.main import main\n"
        "step = pipeline.Pipeline.write\n"
        "def stop(self, *rest):\n"
        "    step(self, *rest)\n"
        "    if self.n_frames == 4: os.kill(os.getpid(), 9)\n"
        "pipeline.Pipeline.write = stop\n"
        "main(sys.argv[1:])\n"
    )
    rest = [*map(str, words), "-o", "aa.xtc", "--metrics", "aa.csv", "-m", MODEL]
    killed = subprocess.run([sys.executable, "-c", code, "backmap", *rest])
    assert killed.returncode == -9
    assert not Path("aa.xtc").exists()
    capsys.readouterr()
    assert backmap(*words, "-o", "aa.xtc", "--metrics", "aa.csv") == 1
    assert "--resume to continue that job" in capsys.readouterr().err
    assert backmap(*words, "-o", "aa.xtc", "--metrics", "aa.csv", "--resume") == 0
    assert "continuing after 4 of 6 frames" in capsys.readouterr().err
    a, b = (mdtraj.load(f"{name}.xtc", top=f"{name}.pdb") for name in ("aa", "whole"))
    np.testing.assert_allclose(a.xyz, b.xyz, atol=XTC_TOLERANCE_NM)
    columns = [
        [(row["step"], row["sample"]) for row in csv.DictReader(open(name))]
        for name in ("aa.csv", "whole.csv")
    ]
    assert columns[0] == columns[1]
    assert not list(here.glob("*partial*"))


def test_the_rest_of_a_raw_job_is_not_minimized(cg, here, capsys) -> None:
    words = (cg / "cg.dcd", "-t", cg / "cg.pdb", "-c", 1, "-o", "aa.xtc")
    assert backmap(*words, "--stop", 2) == 0
    Path("aa.xtc").rename("aa.partial.xtc")
    before = Path("aa.partial.xtc").read_bytes()
    Path("aa.pdb").unlink()
    capsys.readouterr()
    assert backmap(*words, "--minimize", "--resume") == 1
    assert "leave --minimize out" in capsys.readouterr().err
    assert Path("aa.partial.xtc").read_bytes() == before


def test_a_finished_job_can_not_be_resumed_over(cg, here, capsys) -> None:
    words = (cg / "ca.pdb", "-o", "aa.xtc")
    assert backmap(*words) == 0
    assert backmap(*words, "--resume") == 1
    assert "exists already" in capsys.readouterr().err


def test_a_cut_off_trajectory_is_warned_of_once(cg, here, capsys) -> None:
    data = (cg / "cg.dcd").read_bytes()
    Path("cut.dcd").write_bytes(data[:-200])
    assert backmap("cut.dcd", "-t", cg / "cg.pdb", "-o", "aa.xtc") == 0
    assert capsys.readouterr().err.count("5 whole frames are read") == 1


def test_a_compressed_structure_holds_its_topology(cg, here) -> None:
    Path("cg.pdb.gz").write_bytes(gzip.compress((cg / "ca.pdb").read_bytes()))
    assert backmap("cg.pdb.gz", "-o", "aa.xtc") == 0
    assert backmap(cg / "ca.pdb", "-o", "bb.xtc") == 0
    assert Path("aa.xtc").read_bytes() == Path("bb.xtc").read_bytes()


@pytest.mark.parametrize("other", [["--stride", 2], ["--start", 1], ["--stop", 1]])
def test_a_job_is_not_continued_with_other_frames(cg, here, capsys, other) -> None:
    write_bad_input(here, cg)
    words = ("-t", cg / "cg.pdb", "-o", "aa.xtc", "-c", 1)
    assert backmap("nan.npy", *words) == 1  # its third frame is not finite
    kept = Path("aa.partial.xtc").read_bytes()
    good = np.load("nan.npy")
    good[2] = good[1]
    np.save("nan.npy", good)
    capsys.readouterr()
    assert backmap("nan.npy", *words, *other, "--resume") == 1
    err = capsys.readouterr().err
    assert "cannot continue" in err and "--stride of the interrupted job" in err
    assert Path("aa.partial.xtc").read_bytes() == kept
    assert backmap("nan.npy", *words, "--resume") == 0
    assert len(mdtraj.load("aa.xtc", top="aa.pdb")) == len(good)


def test_chain_ends_are_those_of_the_run(cg, here) -> None:
    lines = (cg / "cg.pdb").read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.startswith(("ATOM", "TER", "END"))]
    wide = []
    for k, line in enumerate(kept):
        if line.startswith("ATOM"):
            line = f"{line[:30]}{10.0 * k:8.3f}{0.0:8.3f}{0.0:8.3f}{line[54:]}"
        wide.append(line)
    Path("wide.pdb").write_text("".join(wide))
    assert backmap(cg / "cg.dcd", "-t", "wide.pdb", "-o", "aa.xtc") == 0
    assert backmap(cg / "cg.dcd", "-t", cg / "cg.pdb", "-o", "bb.xtc") == 0
    found, wanted = mdtraj.load_topology("aa.pdb"), mdtraj.load_topology("bb.pdb")
    assert found.n_chains == wanted.n_chains == 1
    assert found.n_atoms == wanted.n_atoms


@pytest.mark.parametrize("suffix", ["pdb", "cif"])
def test_text_output_is_not_promised_to_be_resumed(cg, here, capsys, suffix) -> None:
    write_bad_input(here, cg)
    words = ("nan.npy", "-t", cg / "cg.pdb", "-o", f"aa.{suffix}", "-c", 1)
    assert backmap(*words) == 1
    err = capsys.readouterr().err
    assert "--resume continues .xtc and .dcd only" in err
    assert backmap(*words, "--resume") == 1
    assert "--force starts anew" in capsys.readouterr().err


def test_what_pdb_cannot_hold_is_said_with_the_users_file(cg, here, capsys) -> None:
    Path("many.fasta").write_text("".join(f">{k}\nACD\n" for k in range(70)))
    xyz = np.random.default_rng(0).normal(size=(1, 210, 3)) * 5
    np.save("many.npy", xyz.astype(np.float32))
    assert backmap("many.npy", "--sequence", "many.fasta", "-o", "aa.pdb") == 1
    assert "aa.pdb cannot hold this system: 70 chains" in capsys.readouterr().err
    words = ("many.npy", "--sequence", "many.fasta", "-o", "aa.xtc")
    assert backmap(*words, "--output-topology", "top.gro") == 2
    assert "top.gro: unknown format '.gro'" in capsys.readouterr().err


@pytest.mark.parametrize("letters", ["NLKTEWPELVGK", "GAGAAGGA"])
def test_residues_of_one_letter_are_named_by_a_sequence(cg, here, letters) -> None:
    rows = [
        f"ATOM  {k + 1:5d}  CA    {letter} A{k + 1:4d}    "
        f"{3.0 * k:8.3f}{2.3 * (k % 2):8.3f}{0.0:8.3f}  1.00  0.00           C\n"
        for k, letter in enumerate(letters)
    ]
    Path("one.pdb").write_text("".join(rows) + "END\n")
    Path("one.fasta").write_text(f">one\n{letters}\n")
    assert backmap("one.pdb", "--sequence", "one.fasta", "-o", "aa.pdb") == 0
    found = mdtraj.load("aa.pdb").topology
    assert "".join(residue.code for residue in found.residues) == letters


def write_hairpin(ca: np.ndarray) -> None:
    """CA of a piece of crambin with a disulfide, as a run of three frames."""
    xyz = np.stack([ca] * 3)
    np.save("hairpin.npy", xyz)
    rows = [
        f"ATOM  {k + 1:5d}  CA  {CODE_NAMES[letter]} A{k + 1:4d}    "
        f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00           C\n"
        for k, (letter, (x, y, z)) in enumerate(zip(HAIRPIN, xyz[0] * 10, strict=True))
    ]
    Path("hairpin.pdb").write_text("".join(rows) + "END\n")


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("top", [("-t", "hairpin.pdb"), ("--sequence", HAIRPIN)])
def test_disulfides_are_bonded_on_request_and_said_else(
    here, hairpin, capsys, jobs, top
) -> None:
    write_hairpin(hairpin)
    words = ("hairpin.npy", *top, "-j", jobs, "-c", 1, "-m", "ca")
    assert backmap(*words, "-o", "bonded.xtc", "--disulfides") == 0
    assert "stand as in a disulfide" not in capsys.readouterr().err
    assert backmap(*words, "-o", "thiols.xtc") == 0
    err = capsys.readouterr().err
    assert err.count("CYS 2 and 12: they stand as in a disulfide") == 1
    assert "BackmapWarning" not in err
    bonded, thiols = (mdtraj.load_topology(f"{n}.pdb") for n in ("bonded", "thiols"))
    assert thiols.n_atoms - bonded.n_atoms == 2
    assert sum({a.name, b.name} == {"SG"} for a, b in bonded.bonds) == 1


def test_a_mapping_goes_with_a_sequence(cg, here, capsys) -> None:
    words = (cg / "cg.dcd", "--sequence", "A" * 97, "-o", "aa.xtc")
    assert backmap(*words, "--mapping", "mixed") == 2
    assert "needs a topology" in capsys.readouterr().err
    assert backmap(*words, "--mapping", "com", "--stop", 1) == 0
