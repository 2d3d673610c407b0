"""The command as such: help, versions, exit codes, and how fast it starts."""

import subprocess
import sys

import pytest

from openmm_backmap import __version__
from openmm_backmap.cli.main import build_parser, describe_error, main
from openmm_backmap.errors import InputError


@pytest.mark.parametrize("words", [["--help"], ["backmap", "-h"], ["info", "-h"]])
def test_help_needs_no_heavy_library(words) -> None:
    code = (
        "import sys\nfrom openmm_backmap.cli.main import main\n"
        f"try: main({words})\n"
        "except SystemExit as end: assert end.code == 0\n"
        "loaded = {'torch', 'openmm', 'mdtraj', 'matplotlib'} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert result.returncode == 0, result.stderr
    assert b"usage: openmm-backmap" in result.stdout


def test_the_version_is_that_of_the_package(capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"openmm-backmap {__version__}\n"


@pytest.mark.parametrize("words", [[], ["backmapp"], ["backmap"], ["info", "--no"]])
def test_usage_errors_exit_with_two(words, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_the_package_runs_as_a_module() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "openmm_backmap", "--version"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert result.stdout.strip().endswith(__version__)


def test_every_subcommand_has_a_function_to_run() -> None:
    for words in (["backmap", "x.pdb", "-o", "y.pdb"], ["info"], ["demo", "--quick"]):
        assert callable(build_parser().parse_args(words).run)


def test_an_error_is_one_line() -> None:
    assert describe_error(InputError("a\n  b")) == "a b"
    assert describe_error(FileNotFoundError(2, "No such file", "x")) == (
        "x: No such file"
    )
    assert describe_error(KeyError("k")).startswith("KeyError: 'k' (--verbose")


def test_ctrl_c_leaves_with_130(monkeypatch, capsys) -> None:
    from openmm_backmap.cli import info

    def interrupt(arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "run", interrupt)
    assert main(["info"]) == 130
    assert "interrupted" in capsys.readouterr().err
