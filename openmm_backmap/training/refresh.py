"""A model file again, with the code of today and the weights it has."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import resources
from pathlib import Path

import mdtraj
import numpy as np
import torch
from torch import Tensor

from openmm_backmap.artifact.engine import load_engine
from openmm_backmap.artifact.metadata import ModelMetadata
from openmm_backmap.artifact.torchscript import save_torchscript
from openmm_backmap.errors import DataError, ModelError
from openmm_backmap.geometry.neighbors import find_neighbors
from openmm_backmap.nn.bead_model import BEAD_MAPPINGS, BeadModel
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_model import CAModel
from openmm_backmap.nn.confidence import ConfidenceMap
from openmm_backmap.nn.packed_model import PackedModel
from openmm_backmap.nn.peptide_table import PeptideTable
from openmm_backmap.nn.rotamer_library import RotamerLibrary
from openmm_backmap.nn.table_model import TableModel
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.state import PackingSettings
from openmm_backmap.residues.names import RESIDUE_NAMES
from openmm_backmap.training.export import load_network
from openmm_backmap.training.export_ca import CA_PACKING, check_parity
from openmm_backmap.training.fit_confidence import choose_held_out, fit_confidence
from openmm_backmap.training.fit_contacts import load_contacts
from openmm_backmap.training.fit_packing import N_NEIGHBORS
from openmm_backmap.training.model_weights import find_model_file
from openmm_backmap.training.provenance import describe_build
from openmm_backmap.training.shards import find_shards

__all__ = ["refresh_model"]


def _find(state: Mapping[str, Tensor], name: str) -> Tensor:
    """The one tensor of a state whose name ends so."""
    return next(v for k, v in state.items() if k.endswith(name)).clone()


def _refresh_packer(
    scripted: torch.jit.ScriptModule,
    base: PackingSettings,
    told: Mapping[str, float],
) -> Packer:
    """Today's packing with what a file's fits found and its metadata tell."""
    state = scripted.state_dict()
    # a named tuple comes back without its names; fields that are fitted keep places
    found = tuple(scripted.model.packer.settings)
    fields = PackingSettings._fields
    fitted = {k: found[fields.index(k)] for k in ("pair_scale", "log_p_weight")}
    wrong = [k for k in fitted if abs(told.get(k, fitted[k]) - fitted[k]) > 1e-6]
    if wrong:
        raise KeyError(f"{wrong[0]}: {told[wrong[0]]} in the metadata, but {found}")
    settings = base._replace(**fitted)
    return Packer(settings, _find(state, "packer.pair_energy"), load_contacts(state))


def _rebuild_ca(
    path: Path, scripted: torch.jit.ScriptModule, told: Mapping[str, float]
) -> CAModel:
    """`ca` of a model file."""
    state = scripted.state_dict()
    return CAModel(
        CADecoder(load_network(path)),
        _refresh_packer(scripted, CA_PACKING, told),
        _find(state, "model.ramachandran"),
        scripted.model.n_neighbors,
    )


def _rebuild_vae(
    path: Path, scripted: torch.jit.ScriptModule, told: Mapping[str, float]
) -> PackedModel:
    """`vae` of a model file."""
    # e3nn is loaded only where it is wanted
    from openmm_backmap.nn.vae_model import VAEModel
    from openmm_backmap.nn.vae_network import VAENetwork

    state = scripted.state_dict()
    mark = "decoder.network."
    weights = {k.split(mark)[1]: v.clone() for k, v in state.items() if mark in k}
    layers = {k.split(".")[2] for k in weights if k.startswith("trunk.layers.")}
    network = VAENetwork(
        width=weights["trunk.norm.weight"].shape[0],
        n_layers=len(layers),
        # one more for the tensor product
        n_heads=weights["trunk.layers.0.attention.weight"].shape[0] - 1,
        edge_width=weights["fusion.edge.bias"].shape[0],
        n_latent=scripted.model.decoder.network.n_latent,
    )
    # constants of the products stand in the code, the file has them as tensors, too
    own = network.state_dict()
    network.load_state_dict({k: weights[k] for k in own if k in weights})
    return VAEModel(
        CADecoder(network),
        _refresh_packer(scripted, PackingSettings(), told),
        _find(state, "model.ramachandran"),
        scripted.model.n_neighbors,
    )


def _rebuild_table(
    path: Path, scripted: torch.jit.ScriptModule, told: Mapping[str, float]
) -> TableModel:
    """`table` of a model file."""
    state = scripted.state_dict()
    peptides, library = scripted.model.peptides, scripted.model.library
    azimuth = _find(state, "peptides.azimuth")
    return TableModel(
        PeptideTable(
            _find(state, "peptides.features"),
            azimuth[:, 0],
            azimuth[:, 1],
            _find(state, "peptides.twist"),
            peptides.n_nearest,
            peptides.n_planes,
            peptides.mean_log_p,
        ),
        RotamerLibrary(
            _find(state, "library.chi"),
            _find(state, "library.log_p"),
            _find(state, "library.spread"),
            library.n_bins,
        ),
        _refresh_packer(scripted, PackingSettings(), told),
        _find(state, "model.end_torsion"),
        _find(state, "model.ramachandran"),
    )


def _load_certainty(state: Mapping[str, Tensor]) -> ConfidenceMap:
    """How a file shows its confidence."""
    certainty = ConfidenceMap()
    certainty.load_state_dict(
        {name: _find(state, f"certainty.{name}") for name in ("table", "weight")}
    )
    return certainty


_REBUILD = {"ca": _rebuild_ca, "vae": _rebuild_vae, "table": _rebuild_table}


def _read_protein(metadata: ModelMetadata) -> tuple[Tensor, ...]:
    """Inputs of the artifact contract for the CA of the packaged protein."""
    with resources.as_file(resources.files("openmm_backmap.data") / "1ris.pdb") as path:
        protein = mdtraj.load(str(path))
    ca = protein.atom_slice(protein.topology.select("name CA"))
    names = [residue.name for residue in ca.topology.residues]
    types = torch.tensor([RESIDUE_NAMES.index(name) for name in names])
    beads = np.ascontiguousarray(ca.xyz[:1], np.float32)
    near = find_neighbors(beads, metadata.n_neighbors, metadata.neighbor_cutoff)
    return (
        torch.from_numpy(beads).unsqueeze(2),
        types,
        torch.zeros_like(types),
        torch.from_numpy(near),
        torch.zeros(1, 3, 3, dtype=torch.float32),
    )


def refresh_model(
    source: Path | str,
    output: Path | str,
    *,
    data: Path | str | None = None,
    report: Callable[[str], None] | None = None,
) -> ModelMetadata:
    """Write a model file anew: its weights and fits, today's code and settings.

    A model file holds the code it was exported with. This brings an older one up to
    date without a run folder or training data.

    Parameters
    ----------
    source : pathlib.Path or str
        Model file, or the name of a packaged model.
    output : pathlib.Path or str
        The new file.
    data : pathlib.Path or str, optional
        Folder of shards to whose validation split the confidence is fitted anew. If
        None, it is shown as in the file.
    report : callable, optional
        Told what is going on, a line at a time.

    Returns
    -------
    ModelMetadata
        As written: that of the file, with the commit and versions of today.

    Raises
    ------
    DataError
        If `source` is no model file.
    ModelError
        If it is of a kind, or of sizes, that this version does not build.
    """
    say = report or (lambda line: None)
    path = find_model_file(source)
    if path is None:
        raise DataError(
            f"{source} is no model file: only such a file, or the name of a packaged "
            "model, can be refreshed; a run is exported"
        )
    old = load_engine(path, "cpu")
    name = old.metadata.name
    if name not in _REBUILD:
        raise ModelError(
            f"{path} is of {name!r}; wanted one of {', '.join(sorted(_REBUILD))}"
        )
    try:
        told = old.metadata.metrics.get("packing", {})
        scripted = torch.jit.load(str(path))
        model = _REBUILD[name](path, scripted, told)
        if data is None:
            model.certainty = _load_certainty(scripted.state_dict())
    except (AttributeError, KeyError, RuntimeError, StopIteration) as error:
        raise ModelError(
            f"{path} does not hold what {name!r} of this version is made of "
            f"({error}); export its run again"
        ) from error
    calibration = old.metadata.calibration
    if data is not None:
        crystals, flexible = choose_held_out(find_shards(data, "val"), 0)
        say(
            f"fitting the confidence to {len(crystals)} crystals and {len(flexible)} "
            "flexible entries of the validation split"
        )
        calibration = fit_confidence(model.eval(), crystals, flexible)
    module = BeadModel(model.eval().requires_grad_(False)).eval()
    metadata = replace(
        old.metadata,
        mappings=BEAD_MAPPINGS,
        calibration=calibration,
        n_neighbors=max(old.metadata.n_neighbors, N_NEIGHBORS),
        **describe_build(),
    )
    save_torchscript(module, metadata, output)
    inputs = _read_protein(metadata)
    difference = check_parity(module, output, [inputs])
    say(f"file and eager module agree within {difference:.1e} nm")
    with torch.inference_mode():
        gap = old.run(*inputs)[0] - load_engine(output, "cpu").run(*inputs)[0]
    away = torch.sqrt(gap.square().sum(-1))
    say(f"atoms of 1RIS move by {float(away.max()):.3f} nm at most beside {source}")
    metadata = replace(metadata, metrics={**metadata.metrics, "parity_nm": difference})
    save_torchscript(module, metadata, output)
    return metadata
