"""What a model file says about itself."""

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from openmm_backmap.errors import ModelError

__all__ = ["FORMAT_VERSION", "METADATA_FILE", "ModelMetadata"]

# Format history
# 1  bead slots, residue types, segments, neighbours, box and noise in;
#    14 heavy-atom slots and a confidence a residue out.
FORMAT_VERSION = 1

METADATA_FILE = "metadata.json"


@dataclass(frozen=True)
class ModelMetadata:
    """Metadata inside a model file.

    Attributes
    ----------
    name : str
        "table", "vae", "ca", ...
    mapping : str
        Name of the CG mapping the model reads first of all.
    mappings : tuple of str
        All mappings it reads; if empty, only `mapping`. How their beads come
        says `openmm_backmap.mapping.cg_mapping.MODEL_SLOTS`.
    n_neighbors : int
        Neighbours K the model wants for each residue.
    neighbor_cutoff : float
        Largest CA-CA distance of a neighbour in nm.
    noise_width : int
        Numbers Z of N(0, 1) noise a residue for one sample.
    format_version : int
        Layout of the contract.
    length_unit : str
        Always "nanometer".
    atom_layout : str
        Hash of the residue and atom-slot tables the model was made with.
    training_data : str
        Hash of the training data.
    licence : str
        Licence of the weights.
    commit : str
        Commit of the code that made the model.
    seed : int
        Seed of the training.
    versions : dict
        Versions of the libraries that made it.
    metrics : dict
        What was measured, by split and measure.
    calibration : dict
        Of the confidence.
    """

    name: str
    mapping: str = "ca"
    mappings: tuple[str, ...] = ()
    n_neighbors: int = 80
    neighbor_cutoff: float = 1.8
    noise_width: int = 0
    format_version: int = FORMAT_VERSION
    length_unit: str = "nanometer"
    atom_layout: str = ""
    training_data: str = ""
    licence: str = "MIT"
    commit: str = ""
    seed: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        mappings = tuple(self.mappings) or (self.mapping,)
        object.__setattr__(self, "mappings", mappings)

    def to_json(self) -> str:
        """Return the metadata as JSON text."""
        return json.dumps(asdict(self), indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str, where: str) -> "ModelMetadata":
        """Read metadata and refuse what this version cannot run.

        Parameters
        ----------
        text : str
            JSON made by `to_json`.
        where : str
            The file, for error messages.

        Returns
        -------
        ModelMetadata

        Raises
        ------
        ModelError
            If the text is not ours, or of another format version or atom
            layout.
        """
        try:
            values = json.loads(text)
            version = int(values["format_version"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{where}: the metadata in this model file cannot be read ({error}); "
                "export it again with `openmm-backmap export`"
            ) from error
        if version != FORMAT_VERSION:
            raise ModelError(
                f"{where}: model format {version}, but this version of "
                f"openmm-backmap runs format {FORMAT_VERSION}; export the model "
                "again with this version, or install the version that made it "
                f"({values.get('versions', {}).get('openmm_backmap', 'unknown')})"
            )
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in values.items() if k in known})
