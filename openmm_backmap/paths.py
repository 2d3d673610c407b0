"""Checks of output paths, before anything slow begins."""

import tempfile
from pathlib import Path

from openmm_backmap.errors import InputError, OutputExistsError

__all__ = ["check_absent", "check_folder", "check_writable", "make_folder"]


def check_folder(path: Path) -> None:
    """Refuse a path whose folder is missing.

    Parameters
    ----------
    path : Path
        A file to be written.

    Raises
    ------
    InputError
        With the folder's name.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: the folder {path.parent} does not exist; make it")
    if path.is_dir():
        raise InputError(f"{path}: is a folder, wanted a file name")


def check_writable(path: Path) -> None:
    """Refuse a path that no file can be written to.

    Parameters
    ----------
    path : Path
        A file to be written.

    Raises
    ------
    InputError
        With what the system says.
    """
    check_folder(path)
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.exists():
            path.open("ab").close()
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}") from error


def make_folder(path: Path) -> None:
    """Make a folder that files can be written to, where there is none.

    Parameters
    ----------
    path : Path
        A folder.

    Raises
    ------
    InputError
        If there is a file of this name, or nothing can be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise InputError(f"{path}: is a file, wanted a folder") from error
    except OSError as error:
        raise InputError(f"folder {path} cannot be made: {error.strerror}") from error
    check_writable(path / "any")


def check_absent(path: Path, remedy: str | None = None) -> None:
    """Refuse a path where a file stands already.

    Parameters
    ----------
    path : Path
        A file to be written.
    remedy : str, optional
        What to say instead. If None, ``overwrite=True``, and ``append=True`` where
        the format can be continued.

    Raises
    ------
    OutputExistsError
        If there is a file that is not empty.
    """
    if path.exists() and path.stat().st_size > 0:
        if remedy is None:
            is_text = path.suffix.lower() in (".pdb", ".cif")
            remedy = f"{'' if is_text else 'append=True or '}overwrite=True"
        raise OutputExistsError(
            f"{path}: exists already; choose another name or say {remedy}"
        )
