"""Typed errors; each derives also from the builtin a caller would guess."""

__all__ = [
    "BackmapError",
    "BackmapWarning",
    "BadOutputError",
    "DataError",
    "GeometryError",
    "InputError",
    "ModelError",
    "OutputExistsError",
    "TopologyError",
    "TrajectoryError",
]


class BackmapError(Exception):
    """Base of every error this package raises on purpose.

    The message says where it happened, what came, what was wanted and what
    to do; the command line prints it as one line.
    """


class InputError(BackmapError, ValueError):
    """An argument or an input file is not what was wanted."""


class TopologyError(BackmapError, ValueError):
    """A topology cannot be understood as a coarse-grained protein."""


class TrajectoryError(BackmapError, ValueError):
    """A trajectory file is broken, empty or does not fit its topology."""


class OutputExistsError(BackmapError, FileExistsError):
    """An output file exists already and overwriting was not asked for."""


class GeometryError(BackmapError, ValueError):
    """Positions are not finite or cannot carry the asked-for geometry."""


class ModelError(BackmapError, RuntimeError):
    """A model file is unknown, of another format, or gave bad output."""


class BadOutputError(ModelError):
    """Positions that a model gave are not finite.

    Parameters
    ----------
    model : str
        Name of the model.
    frame, residue : int
        First such place, in the batch and in the frame.
    """

    def __init__(self, model: str, frame: int, residue: int) -> None:
        super().__init__(
            f"model {model}: positions of residue {residue} in frame {frame} of the "
            "batch are not finite; look at the beads of that frame"
        )
        self.model, self.frame, self.residue = model, frame, residue


class DataError(BackmapError, ValueError):
    """A training shard or a training configuration is broken."""


class BackmapWarning(UserWarning):
    """Something was left out, dropped or repaired; the work goes on."""
