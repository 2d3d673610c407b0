"""From a run to its model file: fits, parity check, metadata."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from openmm_backmap.artifact.engine import load_engine
from openmm_backmap.artifact.metadata import ModelMetadata
from openmm_backmap.artifact.packaged import check_one_meaning, find_model
from openmm_backmap.artifact.torchscript import save_torchscript
from openmm_backmap.errors import DataError, ModelError
from openmm_backmap.nn.bead_model import BEAD_MAPPINGS, BeadModel
from openmm_backmap.nn.ca_decode import CADecoder
from openmm_backmap.nn.ca_model import CAModel
from openmm_backmap.packing.pack import Packer
from openmm_backmap.packing.state import PackingSettings
from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.export import (
    load_network,
    load_run_info,
    load_run_network,
    mix_networks,
)
from openmm_backmap.training.fit_confidence import choose_held_out, fit_confidence
from openmm_backmap.training.fit_contacts import (
    CONTACT_RESIDUES,
    fit_model_contacts,
    load_contacts,
)
from openmm_backmap.training.fit_packing import (
    choose_entries,
    fit_model_packing,
    make_inputs,
)
from openmm_backmap.training.model_weights import find_model_file, read_model_info
from openmm_backmap.training.provenance import describe_build
from openmm_backmap.training.shards import find_shards

__all__ = [
    "check_parity",
    "copy_packing",
    "describe_training",
    "export_ca",
    "make_ca_model",
]

CA_PACKING = PackingSettings(max_log_ratio=6.0, least_marginal=0.04, unsure_limit=0.55)
"""Fewer candidates than of a rotamer library: 3 to 9 % less time, as accurate.
Under 1 % of the residues of crystals are in unsure stretches, 60 % of those of NMR
entries."""

PARITY_TOLERANCE = 1e-4
"""Largest difference in nm between eager and scripted atoms."""


def make_ca_model(
    run: Path | str, mix: Sequence[Path | str] = (), share: float | None = None
) -> CAModel:
    """Put a run's averaged network into its model, without any fit.

    Parameters
    ----------
    run : pathlib.Path or str
        Run folder or checkpoint.
    mix : sequence of pathlib.Path or str
        Further runs or model files of "ca", see `mix_networks`.
    share : float, optional
        Weight of `run` among them.

    Returns
    -------
    CAModel
        Or its kind for `vae`, without the encoder. With no pair energy and an
        unfitted confidence. The Ramachandran energy of the planes is that of the
        packaged `table` model.

    Raises
    ------
    DataError
        If a checkpoint cannot be read, or the runs cannot be mixed.
    InputError
        If one of `mix` names a packaged model and a run in this folder.
    """
    config, _ = load_run_info(run)
    table = torch.jit.load(str(find_model("table")))
    ramachandran = dict(table.named_buffers())
    energy = next(v for k, v in ramachandran.items() if k.endswith("ramachandran"))
    if config.model.name == "vae":
        if mix:
            raise DataError(f"run {run} is of 'vae': only runs of 'ca' can be mixed")
        # e3nn is loaded only where it is wanted
        from openmm_backmap.training.export_vae import make_vae_model

        return make_vae_model(run, energy.clone())
    for other in mix:
        check_one_meaning(other)
    network = load_run_network(run)
    if mix:
        network = mix_networks([network, *map(load_network, mix)], share)
    return CAModel(
        CADecoder(network),
        Packer(CA_PACKING),
        energy.clone(),
        config.data.n_neighbors,
    ).eval()


def check_parity(
    module: torch.nn.Module, path: Path | str, cases: Sequence[tuple[Tensor, ...]]
) -> float:
    """Compare a model file with the eager module it was made of.

    Parameters
    ----------
    module : torch.nn.Module
        Eager.
    path : pathlib.Path or str
        The file.
    cases : sequence of tuple of torch.Tensor
        Inputs of structures, see `openmm_backmap.training.fit_packing.make_inputs`.

    Returns
    -------
    float
        Largest difference of any atom in nm, mode and one sample.

    Raises
    ------
    ModelError
        If it is above `PARITY_TOLERANCE`.
    """
    engine = load_engine(path, "cpu")
    worst = 0.0
    for inputs in cases:
        shape = (1, len(inputs[1]), engine.metadata.noise_width)
        noise = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
        for draw in (None, torch.from_numpy(noise)):
            with torch.inference_mode():
                eager, _ = module(*inputs, draw)
            scripted, _ = engine.run(*inputs, draw)
            worst = max(worst, float((eager - scripted).abs().max()))
    if worst > PARITY_TOLERANCE:
        raise ModelError(
            f"{path}: the file gives other atoms than the network it was made of "
            f"(largest difference {worst:.2e} nm, allowed {PARITY_TOLERANCE:.0e}); "
            "report it with the versions of `openmm-backmap info`"
        )
    return worst


def copy_packing(model: CAModel, source: Path | str) -> dict[str, Any]:
    """Give a model the fitted packing of a model file: pair energy and contacts.

    Parameters
    ----------
    model : CAModel
        Changed in place.
    source : pathlib.Path or str
        Model file, or the name of a packaged model.

    Returns
    -------
    dict
        What the file's metadata say of the fit.

    Raises
    ------
    ModelError
        If the file does not hold a fitted packing.
    """
    engine = load_engine(source, "cpu")
    fitted = dict(engine.metadata.metrics.get("packing", {}))
    state = torch.jit.load(str(engine.path)).state_dict()
    energy = [v for k, v in state.items() if k.endswith("packer.pair_energy")]
    if not energy or not {"log_p_weight", "pair_scale"} <= set(fitted):
        raise ModelError(
            f"{source}: its metadata do not say how its pair energy was fitted; fit "
            "one (leave the file out)"
        )
    model.packer.pair_energy = energy[0].clone()
    model.packer.settings = model.packer.settings._replace(
        pair_scale=fitted["pair_scale"], log_p_weight=fitted["log_p_weight"]
    )
    model.packer.contacts = load_contacts(state)
    return fitted


def _describe_run(source: Path | str) -> dict[str, Any]:
    """What the metadata say of a network that is mixed in."""
    path = find_model_file(source)
    if path is not None:
        return read_model_info(path)
    info = load_run_info(source)[1]
    return {k: info[k] for k in ("steps", "residues", "seconds", "data_hash")}


def describe_training(
    config: TrainingConfig,
    info: Mapping[str, Any],
    mix: Sequence[Path | str] = (),
    share: float | None = None,
) -> dict[str, Any]:
    """Say how a network was trained, for the metadata of its model file.

    Parameters
    ----------
    config : TrainingConfig
        Of the run.
    info : mapping
        See `openmm_backmap.training.export.load_run_info`.
    mix : sequence of pathlib.Path or str
        What its weights are averaged with.
    share : float, optional
        Its weight in that average, if not equal parts.

    Returns
    -------
    dict
        ``steps``, ``residues``, ``seconds``; where they apply ``data_hashes`` (of all
        data, where they changed on the way), ``mixed_with`` and ``share``,
        ``teachers`` (names without folders) and ``shares``.
    """
    training: dict[str, Any] = {k: info[k] for k in ("steps", "residues", "seconds")}
    if len(info.get("data_hashes", ())) > 1:
        training["data_hashes"] = info["data_hashes"]
    if mix:
        training["mixed_with"] = [_describe_run(other) for other in mix]
        if share is not None:
            training["share"] = share
    distill = config.model.distill
    if distill.teachers:
        training["teachers"] = [Path(teacher).name for teacher in distill.teachers]
        training["shares"] = list(distill.shares)
    return training


def export_ca(
    run: Path | str,
    output: Path | str,
    *,
    data: Path | str | None = None,
    n_entries: int = 800,
    seed: int = 0,
    packing: Path | str | None = None,
    mix: Sequence[Path | str] = (),
    share: float | None = None,
    metrics: dict[str, Any] | None = None,
    report: Callable[[str], None] | None = None,
) -> ModelMetadata:
    """Fit pair energy, contact network and calibration, and write the model file.

    Parameters
    ----------
    run : pathlib.Path or str
        Run folder or checkpoint.
    output : pathlib.Path or str
        The model file.
    data : pathlib.Path or str, optional
        Folder of the training shards. If None, that of the run's
        configuration.
    n_entries : int
        Training structures for the pair energy and the contact network.
    seed : int
        Draws them.
    packing : pathlib.Path or str, optional
        A model file whose pair energy and contact network are taken over instead
        of fitting them: of an earlier export of the same run, or of a like network.
    mix : sequence of pathlib.Path or str
        Further runs or model files of "ca", whose weights are averaged with the
        first's.
    share : float, optional
        Weight of the first in this average; the others have equal parts of the rest.
        If None, all have equal parts.
    metrics : dict, optional
        What was measured elsewhere, for the metadata.
    report : callable, optional
        Told what is going on, a line at a time.

    Returns
    -------
    ModelMetadata
        As written.

    Raises
    ------
    DataError
        If the run or the data cannot be read, or no entry is fit for a fit.
    """
    say = report or (lambda line: None)
    config, info = load_run_info(run)
    folder = Path(config.data.folder if data is None else data)
    model = make_ca_model(run, mix, share)
    say(f"network of {info['residues']:,.0f} residues seen")
    # what data lack is said before the long fits
    held_out, flexible = choose_held_out(find_shards(folder, "val"), seed)
    if packing is None:
        shards = find_shards(folder, "train")
        entries = choose_entries(shards, n_entries, seed)
        cases = choose_entries(shards, n_entries, seed, None, CONTACT_RESIDUES)
        say(f"fitting the pair energy to {len(entries)} structures")
        fitted = fit_model_packing(model, entries)
        say(f"fitting the contact network to {len(cases)} structures")
        fitted["contacts"] = fit_model_contacts(model, cases, report=say)
    else:
        say(f"taking the pair energy and the contact network of {packing}")
        fitted = copy_packing(model, packing)
    say(
        f"fitting the confidence to {len(held_out)} crystals and {len(flexible)} "
        "flexible entries of the validation split"
    )
    calibration = fit_confidence(model, held_out, flexible, seed)
    module = BeadModel(model).eval()
    training = describe_training(config, info, mix, share)
    metadata = ModelMetadata(
        name=config.model.name,
        mappings=BEAD_MAPPINGS,
        noise_width=model.noise_width,
        training_data=str(info["data_hash"]),
        seed=config.seed,
        metrics={"training": training, "packing": fitted, **(metrics or {})},
        calibration=calibration,
        **describe_build(),
    )
    save_torchscript(module, metadata, output)
    difference = check_parity(
        module, output, [make_inputs(entry) for entry in held_out[:2]]
    )
    say(f"file and eager module agree within {difference:.1e} nm")
    metadata = replace(metadata, metrics={**metadata.metrics, "parity_nm": difference})
    save_torchscript(module, metadata, output)
    return metadata
