"""What cannot be written is said before anything slow begins."""

from pathlib import Path

import pytest

from openmm_backmap.cli.main import main
from openmm_backmap.errors import InputError
from openmm_backmap.paths import check_writable, make_folder

PROC = Path("/proc")


def test_a_file_that_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.pt")
    assert not list(tmp_path.iterdir())
    old = tmp_path / "old.pt"
    old.write_bytes(b"old")
    check_writable(old)
    assert old.read_bytes() == b"old"
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert not list((tmp_path / "a" / "b").iterdir())


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none does not exist; make it"):
        check_writable(tmp_path / "none" / "a.pt")
    with pytest.raises(InputError, match="is a folder, wanted a file"):
        check_writable(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="file: is a file, wanted a folder"):
        make_folder(tmp_path / "file")
    with pytest.raises(InputError, match="cannot be made: Not a directory"):
        make_folder(tmp_path / "file" / "a")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "none", "-o", "/proc/x.pt"], "/proc/x.pt cannot be written"),
        (["export", "none", "-f", "-o", "."], "is a folder"),
        (["evaluate", "-m", "none", "--data", "none", "-o", "file"], "is a file"),
        (["evaluate", "-m", "none", "--data", "none", "-o", "/proc/x"], "be made"),
        (["prepare", ".", "-o", "file"], "is a file"),
        (["train", "c.toml", "-o", "file"], "is a file"),
    ],
)
def test_commands_say_so_before_they_look_at_their_input(
    words: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "/proc" in words[-1] and not PROC.is_dir():
        pytest.skip("wants /proc")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "broken.pdb").write_text("x")
    (tmp_path / "c.toml").write_text("[optimizer]\ntotal_steps = 1\n")
    assert main(words) == 1
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert (tmp_path / "file").read_text() == "x"
