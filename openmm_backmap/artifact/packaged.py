"""The models that come with the package."""

import zipfile
from pathlib import Path

from openmm_backmap.artifact.metadata import METADATA_FILE, ModelMetadata
from openmm_backmap.errors import InputError, ModelError

__all__ = ["check_one_meaning", "find_model", "list_mappings", "list_models"]

WEIGHTS = Path(__file__).resolve().parent.parent / "weights"


def list_models() -> tuple[str, ...]:
    """Names of the packaged models, sorted.

    Returns
    -------
    tuple of str
    """
    return tuple(sorted(path.stem for path in WEIGHTS.glob("*.pt")))


def list_mappings() -> dict[str, tuple[str, ...]]:
    """Mappings that each packaged model reads, by the name of the model.

    Returns
    -------
    dict of str to tuple of str
        Without loading the models; those of another format are left out.
    """
    found = {}
    for name in list_models():
        path = WEIGHTS / f"{name}.pt"
        try:
            with zipfile.ZipFile(path) as archive:
                member = next(
                    m for m in archive.namelist() if m.endswith("/" + METADATA_FILE)
                )
                text = archive.read(member).decode()
            found[name] = ModelMetadata.from_json(text, str(path)).mappings
        except (ModelError, OSError, StopIteration, zipfile.BadZipFile):
            continue
    return found


def check_one_meaning(model: str | Path, folder: Path | str = ".") -> None:
    """Refuse the name of a packaged model where a run of that name lies, too.

    Parameters
    ----------
    model : str or pathlib.Path
        Name of a packaged model, or a path.
    folder : pathlib.Path or str
        What a path is relative to.

    Raises
    ------
    InputError
        If it is both.
    """
    path = Path(folder) / model
    if str(model) in list_models() and path.exists():
        raise InputError(
            f"{str(model)!r} is a packaged model, and {path} exists as well: give "
            f"{path.resolve()} to mean that, or {WEIGHTS / f'{model}.pt'}"
        )


def find_model(model: str | Path) -> Path:
    """Find the file of a model.

    Parameters
    ----------
    model : str or pathlib.Path
        Name of a packaged model, or a path.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ModelError
        If there is no such model.
    """
    packaged = WEIGHTS / f"{model}.pt"
    if str(model) in list_models():
        return packaged
    path = Path(model)
    if path.is_file():
        return path
    raise ModelError(
        f"model {str(model)!r} is neither a packaged model "
        f"({', '.join(list_models()) or 'none is installed'}) nor a file: give one of "
        "these names or the path of a .pt file made by `openmm-backmap export`"
    )
