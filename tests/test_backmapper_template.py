"""Backmapping with a reference structure: its rotamers where it still holds."""

import mdtraj
import numpy as np
import pytest

from openmm_backmap import Backmapper, CGFrame
from openmm_backmap.cli.main import main
from openmm_backmap.errors import InputError, TopologyError
from openmm_backmap.mapping.template import Template
from openmm_backmap.metrics import HeavyAtomLayout, compute_chi_accuracy, compute_rmsd

CODES = "ARNDCQEGHILKMFPSTWYV"


@pytest.fixture(scope="module")
def case(read_protein, protein_path):  # noqa: ANN201
    protein = read_protein(protein_path)
    protein.sequence = "".join(CODES[k] for k in protein.residue_type)
    protein.layout = HeavyAtomLayout.from_residues(
        protein.residue_type, None, protein.mask
    )
    return protein


def score(case, heavy: np.ndarray) -> tuple[float, float]:
    """Heavy-atom RMSD (nm) and share of right chi1."""
    reference = case.positions[:1]
    rmsd = float(compute_rmsd(heavy, reference, case.layout)[0])
    return rmsd, compute_chi_accuracy(heavy, reference, case.layout)[0].item()


@pytest.mark.parametrize("model", ["table", "ca"])
def test_template_brings_back_its_rotamers(case, protein_path, model) -> None:
    rng = np.random.default_rng(0)
    beads = case.positions[0, :, 1]
    noisy = (beads + 0.01 * rng.standard_normal(beads.shape)).astype(np.float32)
    frame = CGFrame(positions=noisy, step=0, time=0.0)
    plain = Backmapper.from_topology(case.sequence, model, threads=1)
    told = Backmapper.from_topology(
        case.sequence, model, threads=1, template=protein_path
    )
    assert told.template.n_known == len(case.residue_type)
    rmsd, chi1 = score(case, plain.backmap_batch([frame]).heavy)
    rmsd_told, chi1_told = score(case, told.backmap_batch([frame]).heavy)
    assert rmsd_told < 0.6 * rmsd
    assert chi1_told > max(chi1, 0.95)


def test_template_of_other_shape_changes_nothing(case, protein_path) -> None:
    # a left-handed helix is nowhere like a native protein
    turn = -1.745 * np.arange(len(case.residue_type))
    beads = np.stack((0.23 * np.cos(turn), 0.23 * np.sin(turn), -0.086 * turn), 1)
    frame = CGFrame(positions=beads.astype(np.float32), step=0, time=0.0)
    plain = Backmapper.from_topology(case.sequence, "table", threads=1)
    told = Backmapper.from_topology(
        case.sequence, "table", threads=1, template=protein_path
    )
    a = plain.backmap([frame])[0].positions
    b = told.backmap([frame])[0].positions
    np.testing.assert_array_equal(a, b)


def test_bad_templates_are_named(protein_path, tmp_path) -> None:
    with pytest.raises(TopologyError, match="share no stretch"):
        Backmapper.from_topology("W" * 30, "table", template=protein_path)
    with pytest.raises(InputError, match="does not exist"):
        Backmapper.from_topology("W" * 30, "table", template=tmp_path / "none.pdb")
    short = Template(np.zeros((3, 14, 3), np.float32), ())
    with pytest.raises(InputError, match="made for 3 residues"):
        Backmapper.from_topology("W" * 30, "table", template=short)


def test_a_template_of_ca_alone_is_refused(protein_path, tmp_path) -> None:
    lines = protein_path.read_text().splitlines(keepends=True)
    path = tmp_path / "ca.pdb"
    path.write_text("".join(line for line in lines if line[12:16] == " CA "))
    with pytest.raises(TopologyError, match=r"ca\.pdb: of the 97.*only CA is there"):
        Backmapper.from_topology(protein_path, "table", template=path)


def test_command_line_takes_a_template(case, protein_path, tmp_path, capsys) -> None:
    trace = mdtraj.load(str(protein_path))
    trace = trace.atom_slice(trace.topology.select("name CA"))
    trace.save_pdb(str(tmp_path / "ca.pdb"))
    output = tmp_path / "aa.pdb"
    arguments = ["backmap", str(tmp_path / "ca.pdb"), "-o", str(output), "-m", "table"]
    assert main([*arguments, "--template", str(protein_path), "--quiet"]) == 0
    text = "".join(capsys.readouterr())
    n = len(case.residue_type)
    assert f"template: {n} of {n} residues" in text
    assert mdtraj.load(str(output)).n_residues == n
