"""Checks of output paths, before anything slow begins."""

from pathlib import Path

from openmm_backmap.errors import InputError, OutputExistsError

__all__ = ["check_absent", "check_folder"]


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
