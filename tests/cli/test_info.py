"""``openmm-backmap info`` says what is installed and what a file means."""

import json

import pytest

from openmm_backmap import __version__, list_models
from openmm_backmap.artifact import find_model
from openmm_backmap.cli.main import main


def test_models_versions_and_devices_are_listed(capsys) -> None:
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert __version__ in out and "openmm" in out and "Reference" in out
    for name in list_models():
        assert name in out


def test_a_topology_is_explained(protein_path, capsys) -> None:
    assert main(["info", str(protein_path)]) == 0
    out = capsys.readouterr().out
    assert "97 residues in 1 chains" in out and "1647 atoms with hydrogens" in out
    assert "MRRYEVNIVL" in "".join(out.split())


@pytest.mark.parametrize("name", ["table", str(find_model("table"))])
def test_a_model_shows_its_metadata(name, capsys) -> None:
    assert main(["info", name]) == 0
    metadata = json.loads(capsys.readouterr().out)
    assert metadata["name"] == "table" and metadata["format_version"] == 1


@pytest.mark.parametrize("name", ["no.pdb", "no.pt"])
def test_a_missing_file_is_one_line(name, capsys) -> None:
    assert main(["info", name]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and name in err


def test_rna_is_refused_by_name(shared, capsys) -> None:
    path = shared / "cases" / "calvados2_polyR30_RNA" / "top.pdb"
    assert main(["info", str(path)]) == 1
    assert "nothing to backmap" in capsys.readouterr().err
