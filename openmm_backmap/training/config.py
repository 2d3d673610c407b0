"""Training configuration: TOML into frozen dataclasses, strictly."""

import dataclasses
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path

from openmm_backmap.artifact.packaged import list_models
from openmm_backmap.errors import DataError

__all__ = [
    "DataConfig",
    "DistillConfig",
    "LogConfig",
    "ModelConfig",
    "OptimizerConfig",
    "TrainingConfig",
    "VAEConfig",
    "load_config",
]


@dataclass(frozen=True)
class DataConfig:
    """Where batches come from.

    Parameters
    ----------
    folder : str
        Folder of npz shards, relative to the configuration file.
    prepared : str
        Folder for the decoded arrays, relative to the configuration file.
    extra : tuple of str
        Folders of further sets, such as one of `openmm-backmap generate`, relative
        to the configuration file; their train splits are trained on too.
    extra_share : float
        Share of the residues of a batch that comes from `extra`, on average.
    n_residues : int
        Residues of a batch.
    n_neighbors : int
        Nearest CAs K told to the network.
    noise_max : float
        Largest CA noise in nm a coordinate.
    noise_share : float
        Share of entries that get noise.
    neighbor_dropout : float
        Probability that a neighbour is hidden from a residue in training.
    gap_share : float
        Share of entries whose chains are cut at random places in training, which
        makes chain ends with known torsions (see `training.gaps`).
    ensembles : bool
        Train on NMR, MD and disordered ensembles too, not on crystal structures
        alone.
    """

    folder: str = "data"
    prepared: str = "prepared"
    extra: tuple[str, ...] = ()
    extra_share: float = 0.1
    n_residues: int = 1024
    n_neighbors: int = 16
    noise_max: float = 0.03
    noise_share: float = 0.5
    neighbor_dropout: float = 0.0
    gap_share: float = 0.0
    ensembles: bool = True


@dataclass(frozen=True)
class VAEConfig:
    """What only `vae` has; section ``[model.vae]``.

    Parameters
    ----------
    latents : bool
        False = no latents and no encoder (for the ablation).
    n_latent : int
        Latents a residue.
    n_scalars, n_vectors, n_tensors : int
        Channels of degree 0, 1 and 2 in the tensor products.
    free_bits, kl_weight, prior_weight : float
        See `nn.vae_loss.VAELoss`.
    local_weight, xyz_weight, physical_weight, geometry_share : float
        See there too.
    physical : bool
        False = without the physical terms.
    """

    latents: bool = True
    n_latent: int = 36
    n_scalars: int = 16
    n_vectors: int = 8
    n_tensors: int = 4
    free_bits: float = 0.02
    kl_weight: float = 1.0
    prior_weight: float = 1.0
    local_weight: float = 5.0
    xyz_weight: float = 0.3
    physical_weight: float = 0.5
    geometry_share: float = 0.25
    physical: bool = True


@dataclass(frozen=True)
class DistillConfig:
    """Learning from other networks; section ``[model.distill]``.

    Parameters
    ----------
    teachers : tuple of str
        What `ModelConfig.start` may name; the network learns the mean of their
        logarithmic probabilities. Empty = from the structures alone.
    shares : tuple of float
        Weight of each teacher in the mean. Empty = equal.
    label_share : float
        Weight of the structures' torsions in the loss; the rest is the teachers'.
    mutated : float
        Share of the residues of half of the batches whose type is exchanged; there
        the loss is the teachers' alone. It takes the place of
        `ModelConfig.type_dropout`, which must be 0.
    """

    teachers: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    label_share: float = 0.3
    mutated: float = 0.2


@dataclass(frozen=True)
class ModelConfig:
    """Network and loss.

    Parameters
    ----------
    name : str
        "ca" or "vae".
    start : tuple of str
        Run folder, checkpoint or model file whose (averaged) weights a new run
        starts from, relative to the configuration file, or the name of a packaged
        model; its network may be narrower (see `training.widen`). Of several, the
        mean. Empty = random weights.
    width, n_layers, n_heads, edge_width, dropout, n_e3_layers
        See `nn.ca_network.CATrunk`; `n_e3_layers` is for "ca" only.
    jitter, withheld, type_dropout
        See `nn.ca_loss.CALoss`.
    vae : VAEConfig
        Section ``[model.vae]``.
    distill : DistillConfig
        Section ``[model.distill]``.
    """

    name: str = "ca"
    start: tuple[str, ...] = ()
    width: int = 128
    n_layers: int = 5
    n_heads: int = 8
    edge_width: int = 64
    dropout: float = 0.05
    n_e3_layers: int = 0
    jitter: float = 12.0
    withheld: float = 0.2
    type_dropout: float = 0.0
    vae: VAEConfig = field(default_factory=VAEConfig)
    distill: DistillConfig = field(default_factory=DistillConfig)


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, schedule, averaging.

    Parameters
    ----------
    learning_rate : float
        At its peak.
    beta1, beta2, weight_decay
        Of AdamW.
    warmup_steps : int
        Linear warm-up.
    total_steps : int
        Length of the cosine to zero in steps; 0 = by time.
    total_seconds : float
        Length of the cosine in seconds of training (all resumptions
        together); 0 = by steps. One of the two is wanted.
    clip : float
        Largest gradient norm.
    ema_decay : float
        Of the averaged weights, which are the ones exported.
    precision : str
        "float32" or "bfloat16" (autocast).
    compile : bool
        Compile the step: 1.4 times faster on a CPU after a minute's wait.
    """

    learning_rate: float = 2e-3
    beta1: float = 0.9
    beta2: float = 0.98
    weight_decay: float = 0.01
    warmup_steps: int = 150
    total_steps: int = 0
    total_seconds: float = 0.0
    clip: float = 1.0
    ema_decay: float = 0.999
    precision: str = "float32"
    compile: bool = False


@dataclass(frozen=True)
class LogConfig:
    """How often things are written.

    Parameters
    ----------
    log_steps : int
        Steps between rows of ``log.csv``.
    checkpoint_seconds : float
        Between checkpoints.
    validation_seconds : float
        Between validations (with the averaged weights).
    validation_batches : int
        Batches of a validation; 0 = the whole split.
    validation_entries : int
        Entries of the validation split that are built into atoms and
        compared in space; 0 = none.
    tensorboard : bool
        Write event files too.
    """

    log_steps: int = 50
    checkpoint_seconds: float = 180.0
    validation_seconds: float = 300.0
    validation_batches: int = 40
    validation_entries: int = 20
    tensorboard: bool = True


@dataclass(frozen=True)
class TrainingConfig:
    """All of a run.

    Parameters
    ----------
    seed : int
        Of the initial weights, the batches, the noise and the dropout.
    data, model, optimizer, log
        The sections.
    """

    seed: int = 0
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    log: LogConfig = field(default_factory=LogConfig)

    def to_dict(self) -> dict:
        """Nested plain dictionary."""
        return dataclasses.asdict(self)


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
    """
    path = Path(path)
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
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
        return tuple(r if r in known else str((base / r).resolve()) for r in runs)

    distill = config.model.distill
    model = dataclasses.replace(
        config.model,
        start=place_runs(config.model.start),
        distill=dataclasses.replace(distill, teachers=place_runs(distill.teachers)),
    )
    return dataclasses.replace(config, data=data, model=model)
