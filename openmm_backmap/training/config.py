"""Training configuration: TOML into frozen dataclasses, strictly."""

import dataclasses
from dataclasses import dataclass, field

__all__ = [
    "MAX_NEIGHBORS",
    "DataConfig",
    "DistillConfig",
    "LogConfig",
    "ModelConfig",
    "OptimizerConfig",
    "TrainingConfig",
    "VAEConfig",
]

MAX_NEIGHBORS = 24
"""Nearest CAs that a prepared split holds of each residue."""


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
        Nearest CAs K told to the network, 1 to 24.
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
        Train on NMR, MD and disordered ensembles of `folder` too, not on crystal
        structures alone.
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
