"""Lines are added as a whole or not at all."""

import subprocess
import sys

import pytest

from openmm_backmap.errors import InputError
from openmm_backmap.line_file import LineFile


def test_lines_are_read_back(tmp_path) -> None:
    file = LineFile(tmp_path / "a.txt")
    file.add("one\n")
    file.add("two\nthree\n")
    assert file.read_lines() == [b"one\n", b"two\n", b"three\n"]
    file.add("four\n")
    file.close()
    assert (tmp_path / "a.txt").read_text() == "one\ntwo\nthree\nfour\n"


def test_half_a_line_is_cut_off(tmp_path) -> None:
    (tmp_path / "a.txt").write_text("one\ntw")
    file = LineFile(tmp_path / "a.txt")
    assert file.read_lines() == [b"one\n"]
    file.add("two\n")
    file.close()
    assert (tmp_path / "a.txt").read_text() == "one\ntwo\n"


def test_a_full_disk_leaves_no_half_line(tmp_path) -> None:
    pytest.importorskip("resource")
    code = (
        "import resource\nfrom pathlib import Path\n"
        "from openmm_backmap.line_file import LineFile\n"
        "file = LineFile(Path('a.txt'))\n"
        "file.add('0123456789\\n')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (15, 15))\n"
        "for text in ('abcdefghij\\n', 'k\\n'):\n"
        "    try:\n        file.add(text)\n"
        "    except OSError as error:\n        print('full')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True
    )
    assert result.stdout.split() == [b"full"]
    assert (tmp_path / "a.txt").read_text() == "0123456789\nk\n"


def test_a_second_writer_is_refused_until_the_first_closes(tmp_path) -> None:
    pytest.importorskip("fcntl")
    first = LineFile(tmp_path / "a.txt", is_locked=True)
    with pytest.raises(InputError, match="another reporter or process"):
        LineFile(tmp_path / "a.txt", is_locked=True)
    first.close()
    LineFile(tmp_path / "a.txt", is_locked=True).close()


def test_a_file_that_cannot_be_opened_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="no.*a.txt: cannot be written"):
        LineFile(tmp_path / "no" / "a.txt")
