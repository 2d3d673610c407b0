"""Training configurations from TOML files and plain dictionaries, strictly."""

import dataclasses
import tomllib
import typing
from pathlib import Path

from openmm_backmap.artifact.packaged import check_one_meaning, list_models
from openmm_backmap.errors import DataError
from openmm_backmap.training.check_config import check_ranges
from openmm_backmap.training.config import ModelConfig, TrainingConfig, VAEConfig

__all__ = ["config_from_dict", "load_config", "without_folders"]


def _fill(kind: type, values: dict, where: str) -> object:
    hints = typing.get_type_hints(kind)
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise DataError(
            f"{where}: unknown key {unknown[0]!r}; known are {', '.join(hints)}"
        )
    filled = {}
    for key, value in values.items():
        wanted = hints[key]
        if dataclasses.is_dataclass(wanted):
            if not isinstance(value, dict):
                raise DataError(f"{where}: {key} is a section, got {value!r}")
            value = _fill(wanted, value, f"{where} [{key}]")
        elif wanted == tuple[str, ...]:
            if key in ("start", "teachers") and isinstance(value, str):
                value = [value] if value else []
            if not isinstance(value, list | tuple) or any(
                not isinstance(item, str) for item in value
            ):
                raise DataError(f"{where}: {key} = {value!r} is not a list of strings")
            value = tuple(value)
        elif wanted == tuple[float, ...]:
            if not isinstance(value, list | tuple) or any(
                type(item) not in (int, float) or item < 0 for item in value
            ):
                raise DataError(
                    f"{where}: {key} = {value!r} is not a list of numbers from 0 on"
                )
            value = tuple(float(item) for item in value)
        elif wanted is float and isinstance(value, int) and value is not True:
            value = float(value)
        elif type(value) is not wanted:
            raise DataError(f"{where}: {key} = {value!r} is not a {wanted.__name__}")
        filled[key] = value
    return kind(**filled)


def config_from_dict(values: dict, where: str = "configuration") -> TrainingConfig:
    """Build and check a configuration.

    Parameters
    ----------
    values : dict
        As parsed from TOML.
    where : str
        Named in errors.

    Returns
    -------
    TrainingConfig

    Raises
    ------
    DataError
        If a key is unknown, of the wrong type or out of range.
    """
    config = typing.cast(TrainingConfig, _fill(TrainingConfig, values, where))
    check_ranges(config, where)
    optimizer = config.optimizer
    if (optimizer.total_steps > 0) == (optimizer.total_seconds > 0):
        raise DataError(
            f"{where} [optimizer]: give one of total_steps and total_seconds"
        )
    if optimizer.precision not in ("float32", "bfloat16"):
        raise DataError(
            f"{where} [optimizer]: precision = {optimizer.precision!r}, wanted "
            "'float32' or 'bfloat16'"
        )
    model = config.model
    shares = {
        "[data] noise_share": config.data.noise_share,
        "[data] neighbor_dropout": config.data.neighbor_dropout,
        "[data] gap_share": config.data.gap_share,
        "[model] dropout": model.dropout,
        "[model] withheld": model.withheld,
        "[model] type_dropout": model.type_dropout,
        "[model.distill] label_share": model.distill.label_share,
        "[model.distill] mutated": model.distill.mutated,
    }
    for name, share in shares.items():
        if not 0.0 <= share <= 1.0:
            raise DataError(f"{where} {name} = {share}: wanted 0 to 1, a probability")
    if model.name not in ("ca", "vae"):
        raise DataError(f"{where} [model]: name = {model.name!r}, wanted 'ca' or 'vae'")
    if model.name == "ca" and model.vae != VAEConfig():
        raise DataError(f"{where} [model.vae]: is for name = 'vae'")
    if model.name == "vae" and optimizer.precision != "float32":
        raise DataError(
            f"{where} [optimizer]: precision = {optimizer.precision!r}, but the "
            "tensor products of 'vae' want 'float32'"
        )
    if model.name == "vae" and (model.start or model.distill.teachers):
        raise DataError(f"{where} [model]: start and teachers are for name = 'ca'")
    if model.distill.teachers and model.type_dropout > 0.0:
        raise DataError(
            f"{where} [model]: type_dropout is not used with teachers: leave it out, "
            "[model.distill] mutated takes its place"
        )
    n_shares = len(model.distill.shares)
    if n_shares and (
        n_shares != len(model.distill.teachers) or not sum(model.distill.shares)
    ):
        raise DataError(
            f"{where} [model.distill]: {n_shares} shares for "
            f"{len(model.distill.teachers)} teachers, wanted one each, not all 0"
        )
    sizes = (model.vae.n_latent, model.vae.n_scalars, model.vae.n_vectors)
    if min(sizes) < 1 or not 0 <= model.vae.n_tensors <= model.vae.n_vectors:
        raise DataError(
            f"{where} [model.vae]: wanted n_latent, n_scalars and n_vectors of 1 or "
            "more, and n_tensors of 0 to n_vectors"
        )
    if config.model.width % config.model.n_heads:
        raise DataError(f"{where} [model]: n_heads must divide width")
    return config


def without_folders(model: ModelConfig) -> ModelConfig:
    """Name the runs and files of a model section without their folders.

    Parameters
    ----------
    model : ModelConfig
        The section.

    Returns
    -------
    ModelConfig
        The same wherever the project lies.
    """
    distill = dataclasses.replace(
        model.distill, teachers=tuple(Path(t).name for t in model.distill.teachers)
    )
    start = tuple(Path(run).name for run in model.start)
    return dataclasses.replace(model, start=start, distill=distill)


def load_config(path: Path | str) -> TrainingConfig:
    """Read a configuration file.

    Parameters
    ----------
    path : pathlib.Path or str
        TOML. The folders in it are taken relative to the file.

    Returns
    -------
    TrainingConfig
        With absolute folders.

    Raises
    ------
    DataError
        If the file cannot be read or parsed, or a key is wrong.
    InputError
        If `start` or a teacher names a packaged model and a run beside the file.
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DataError(f"configuration {path} cannot be read: {error}") from error
    config = config_from_dict(values, str(path))
    base = path.resolve().parent
    data = dataclasses.replace(
        config.data,
        folder=str((base / config.data.folder).resolve()),
        prepared=str((base / config.data.prepared).resolve()),
        extra=tuple(str((base / place).resolve()) for place in config.data.extra),
    )

    def place_runs(runs: tuple[str, ...]) -> tuple[str, ...]:
        known = list_models()
        for run in runs:
            check_one_meaning(run, base)
        return tuple(r if r in known else str((base / r).resolve()) for r in runs)

    distill = config.model.distill
    model = dataclasses.replace(
        config.model,
        start=place_runs(config.model.start),
        distill=dataclasses.replace(distill, teachers=place_runs(distill.teachers)),
    )
    return dataclasses.replace(config, data=data, model=model)
