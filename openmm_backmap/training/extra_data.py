"""A second set beside the main one, drawn as often as its share says."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from openmm_backmap.errors import DataError
from openmm_backmap.training.config import TrainingConfig
from openmm_backmap.training.prepared import PreparedSet, hash_files, prepare_split
from openmm_backmap.training.shards import find_shards

__all__ = ["prepare_data", "prepare_with_extra"]

_MIN_RESIDUES = 3  # shorter entries are left out by `prepare_split`


def prepare_data(config: TrainingConfig, split: str) -> PreparedSet:
    """Prepare a split of the configured data.

    Parameters
    ----------
    config : TrainingConfig
        The run.
    split : str
        "train" or "val"; further sets are added to "train" alone.

    Returns
    -------
    PreparedSet

    Raises
    ------
    DataError
        If data are missing or broken.
    """
    data = config.data
    shards = find_shards(data.folder, split)
    if split == "train" and data.extra:
        return prepare_with_extra(
            shards, data.extra, data.extra_share, data.prepared, data.n_residues
        )
    return prepare_split(shards, Path(data.prepared) / split)


def _count_entries(shard: Path) -> int:
    """Entries of a shard that `prepare_split` keeps."""
    with np.load(shard, allow_pickle=False) as archive:
        sizes = np.diff(archive["entry_first_res"])
    return int((sizes >= _MIN_RESIDUES).sum())


def prepare_with_extra(
    shards: Sequence[Path],
    extra: Sequence[Path | str],
    share: float,
    folder: Path | str,
    batch_residues: int = 1024,
) -> PreparedSet:
    """Prepare the train split of several folders as one.

    Parameters
    ----------
    shards : sequence of pathlib.Path
        Of the main set.
    extra : sequence of pathlib.Path or str
        Folders of further sets; of each the train split is read.
    share : float
        Of the residues in a batch that come from the further sets, on average;
        more than 0, less than 1.
    folder : pathlib.Path or str
        The arrays go into ``train_extra_<hash>`` in it, so that a run that reads
        an earlier state of a growing set is not disturbed.
    batch_residues : int
        Residues of a batch; longer entries give no more.

    Returns
    -------
    PreparedSet
        All entries; the weights of the further sets are scaled to the share.

    Raises
    ------
    DataError
        If a shard is broken, a folder has no train split, or the share is out
        of range.
    """
    if not 0.0 < share < 1.0:
        raise DataError(
            f"[data] extra_share = {share}: wanted more than 0 and less than 1"
        )
    further = [shard for place in extra for shard in find_shards(place, "train")]
    both = [*shards, *further]
    data = prepare_split(both, Path(folder) / f"train_extra_{hash_files(both)[:8]}")
    # entries keep the order of the shards, so the further ones come last
    n_extra = sum(_count_entries(shard) for shard in further)
    if not 0 < n_extra < data.n_entries:
        raise DataError(
            f"{n_extra} of {data.n_entries} entries are extra: both the main set and "
            f"{', '.join(map(str, extra))} must have some of {_MIN_RESIDUES} residues"
        )
    weight = np.array(data.weight)
    residues = weight * np.minimum(data.n_residues, batch_residues)
    main, other = residues[:-n_extra].sum(), residues[-n_extra:].sum()
    weight[-n_extra:] *= share / (1.0 - share) * main / other
    return replace(data, weight=weight, n_extra=n_extra)
