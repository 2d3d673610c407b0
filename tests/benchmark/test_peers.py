"""Files for and from other tools; running them where they are installed."""

import mdtraj
import numpy as np
import pytest

from openmm_backmap.benchmark.evaluate import EvaluationSettings, evaluate_entry
from openmm_backmap.benchmark.evaluate_entries import EvaluationEntry
from openmm_backmap.benchmark.peers import (
    PEERS,
    PeerPredictor,
    find_peer,
    read_slots,
    write_ca_pdb,
)
from openmm_backmap.cli.main import main
from openmm_backmap.errors import BackmapError, InputError
from openmm_backmap.residues.names import RESIDUE_NAMES


def test_beads_are_written_as_chains_numbered_from_one(protein, tmp_path):
    segment = np.repeat([3, 4], [40, 57])
    path = tmp_path / "ca.pdb"
    write_ca_pdb(path, protein.positions[0, :, 1], protein.residue_type, segment)
    found = mdtraj.load(str(path))
    assert np.allclose(found.xyz[0], protein.positions[0, :, 1], atol=6e-5)
    names = [r.name for r in found.topology.residues]
    assert names == [RESIDUE_NAMES[k] for k in protein.residue_type]
    chains = [[r.resSeq for r in c.residues] for c in found.topology.chains]
    assert chains == [list(range(1, 41)), list(range(1, 58))]


def test_a_file_comes_back_in_slots(protein, protein_path):
    positions = read_slots(protein_path, protein.residue_type)
    known = np.isfinite(positions).all(-1)
    assert np.array_equal(known, protein.mask)
    assert np.allclose(positions[known], protein.positions[0][known], atol=1e-5)
    with pytest.raises(BackmapError, match="97 residues came back, wanted the 96"):
        read_slots(protein_path, protein.residue_type[1:])


def test_unknown_and_missing_peers_are_errors(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="'scwrl' is unknown"):
        find_peer("scwrl")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(InputError, match="pip install openmm-backmap"):
        PeerPredictor("pulchra")


def test_command_skips_a_peer_that_is_not_installed(
    shared, monkeypatch, tmp_path, capsys
):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    words = ["evaluate", "--data", str(shared / "data"), "--peers", "pulchra"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "peer pulchra is left out, it is not installed" in said
    assert "nothing to evaluate" in said


@pytest.mark.parametrize("name", sorted(PEERS))
def test_a_peer_rebuilds_a_small_structure(name, entry):
    if find_peer(name) is None:
        pytest.skip(f"{name} is not installed")
    source = entry.source
    part = type(source)(**{
        **vars(source),
        "residue_type": source.residue_type[:30],
        "chain": source.chain[:30],
        "positions": source.positions[:, :30],
        "mask": source.mask[:30],
        "bfactor": source.bfactor[:30],
    })  # fmt: skip
    score = evaluate_entry(
        PeerPredictor(name), EvaluationEntry(part, "xray"), EvaluationSettings()
    )
    assert score.mode["missing_atoms_percent"] == 0.0
    assert score.mode["heavy_rmsd_angstrom"] < 3.0
    assert score.cpu_seconds > 0.0


def test_a_program_that_fails_is_an_error(monkeypatch, tmp_path, entry):
    program = tmp_path / "pulchra"
    program.write_text("#!/bin/sh\necho 'out of order' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(BackmapError, match="pulchra failed: out of order"):
        PeerPredictor("pulchra").predict(entry, entry.ca, None)
    program.write_text("#!/bin/sh\nexit 0\n")
    with pytest.raises(BackmapError, match="wrote no structure"):
        PeerPredictor("pulchra").predict(entry, entry.ca, None)
