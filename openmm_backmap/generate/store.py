"""Files of a generated set: one a sequence, and the shard they are packed into."""

import hashlib
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import openmm

from openmm_backmap._version import __version__
from openmm_backmap.errors import DataError
from openmm_backmap.generate.peptide import PeptideFrames, PeptideJob
from openmm_backmap.metrics.layout import HeavyAtomLayout
from openmm_backmap.training.shards import ShardEntry, read_shard, write_shard

__all__ = ["METHOD", "PackedSet", "is_done", "pack", "write_peptide", "write_text"]

METHOD = "MD-GEN"
"""Method of generated entries."""

LICENCE = "CC0-1.0"
_SEQUENCES, _SHARD = "sequences", "train_generated.npz"
_COLUMNS = (
    "id", "split", "source", "licence_class", "licence", "method", "n_res",
    "n_models", "cluster40", "sequence", "sha256", "note", "conformer_kind",
)  # fmt: skip


@dataclass(frozen=True)
class PackedSet:
    """What was packed.

    Parameters
    ----------
    path : pathlib.Path
        The shard.
    sequences : tuple of str
        One-letter codes.
    n_frames : int
        Frames of all sequences.
    n_residues : int
        Residues times frames.
    faults : dict of str to int
        Starts and frames that were thrown away, by reason.
    n_failed : int
        Sequences without a good frame, which are left out.
    """

    path: Path
    sequences: tuple[str, ...]
    n_frames: int
    n_residues: int
    faults: dict[str, int]
    n_failed: int


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step.

    Parameters
    ----------
    path : pathlib.Path
        The file.
    text : str
        What it shall hold.
    """
    # processes of --jobs must not write into the same partial file
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _stem(folder: Path, job: PeptideJob) -> Path:
    return folder / _SEQUENCES / f"{job.index + 1:04d}_{job.sequence}"


def is_done(folder: Path, job: PeptideJob) -> Path | None:
    """Find the file of a sequence.

    Parameters
    ----------
    folder : pathlib.Path
        Of the set.
    job : PeptideJob
        The sequence.

    Returns
    -------
    pathlib.Path or None
        The file with its frames, or with the reasons why there are none. None
        if the sequence is still to do.
    """
    stem = _stem(folder, job)
    for suffix in (".npz", ".failed.json"):
        path = stem.with_name(stem.name + suffix)
        if path.exists():
            return path
    return None


def _describe(job: PeptideJob, result: PeptideFrames) -> dict:
    return {
        "sequence": job.sequence,
        "index": job.index,
        "seed": job.seed,
        "recipe": job.recipe,
        "simulation": asdict(job.simulation),
        "temperature": [round(float(t), 2) for t in result.temperature],
        "start": [int(k) for k in result.start],
        "force_field": f"amber14/protein.ff14SB.xml, {job.simulation.solvent}",
        "platform": result.platform,
        "versions": {
            "openmm_backmap": __version__,
            "openmm": openmm.version.version,
            "numpy": np.__version__,
        },
        "date": datetime.now(UTC).date().isoformat(),
        "licence": LICENCE,
        "faults": result.faults,
    }


def write_peptide(folder: Path | str, job: PeptideJob, result: PeptideFrames) -> Path:
    """Write the frames of a sequence as a shard with one entry, in one step.

    Parameters
    ----------
    folder : pathlib.Path or str
        Of the set.
    job : PeptideJob
        The sequence.
    result : PeptideFrames
        Its frames.

    Returns
    -------
    pathlib.Path
        The file; a ``.failed.json`` with the reasons if there is no frame.
    """
    stem = _stem(Path(folder), job)
    stem.parent.mkdir(parents=True, exist_ok=True)
    story = json.dumps(_describe(job, result))
    if not len(result.positions):
        path = stem.with_name(stem.name + ".failed.json")
        write_text(path, story + "\n")
        return path
    layout = HeavyAtomLayout.from_residues(result.residue_type)
    n = len(result.residue_type)
    entry = ShardEntry(
        entry_id=f"generated_{job.index + 1:04d}",
        method=METHOD,
        resolution=float("nan"),
        residue_type=result.residue_type,
        chain=np.zeros(n, np.int64),
        cluster=np.array([job.index + 1]),
        # around the mean CA, where float32 and int16 are finest
        positions=result.positions
        - result.positions[:, :, 1].mean(axis=1)[:, None, None],
        mask=layout.mask,
        bfactor=np.zeros(layout.mask.shape, np.float32),
    )
    extra = _extra_arrays([entry], [story])
    return write_shard(stem.with_name(stem.name + ".npz"), [entry], "train", extra)


def _extra_arrays(entries: list[ShardEntry], stories: list[str]) -> dict:
    """Arrays of the training form that training does not read, and provenance."""
    lengths = [len(entry.residue_type) for entry in entries]
    number = np.concatenate([np.arange(1, n + 1) for n in lengths])
    return {
        "entry_pdb": np.array([""] * len(entries)),
        "entry_licence_class": np.array(["cc0"] * len(entries)),
        "entry_provenance": np.array(stories),
        "chain_name": np.array(["A"] * len(entries)),
        "chain_cluster90": np.concatenate([entry.cluster for entry in entries]),
        "resnum": number.astype(np.int32),
        "icode": np.zeros(len(number), np.uint8),
    }


def pack(folder: Path | str) -> PackedSet:
    """Pack what is there into a shard, with a manifest beside it.

    May be called while sequences are still generated.

    Parameters
    ----------
    folder : pathlib.Path or str
        Of the set. It becomes a data folder with a train split.

    Returns
    -------
    PackedSet
        Sizes, and what was thrown away.

    Raises
    ------
    DataError
        If there is no sequence, or one cannot be read.
    """
    folder = Path(folder)
    paths = sorted((folder / _SEQUENCES).glob("*.npz"))
    if not paths:
        raise DataError(
            f"{folder} holds no generated sequence: generate some before packing"
        )
    entries, stories = [], []
    for path in paths:
        try:
            entries += list(read_shard(path))
            with np.load(path, allow_pickle=False) as archive:
                stories.append(str(archive["entry_provenance"][0]))
        except (DataError, KeyError) as error:
            raise DataError(
                f"{path} cannot be read ({error}): delete it and generate again"
            ) from error
    extra = _extra_arrays(entries, stories)
    shard = write_shard(folder / _SHARD, entries, "train", extra)
    told = [json.loads(story) for story in stories]
    write_text(folder / "entries.tsv", _manifest(entries, told, paths))
    failed = sorted((folder / _SEQUENCES).glob("*.failed.json"))
    told_of_failed = [json.loads(p.read_text(encoding="utf-8")) for p in failed]
    faults: Counter[str] = Counter()
    for story in [*told, *told_of_failed]:
        faults.update(story["faults"])
    return PackedSet(
        path=shard,
        sequences=tuple(story["sequence"] for story in told),
        n_frames=sum(len(e.positions) for e in entries),
        n_residues=sum(e.positions.shape[0] * e.positions.shape[1] for e in entries),
        faults=dict(faults),
        n_failed=len(failed),
    )


def _manifest(entries: list[ShardEntry], told: list[dict], paths: list[Path]) -> str:
    """Lines of entries.tsv."""
    lines = ["\t".join(_COLUMNS)]
    for entry, story, path in zip(entries, told, paths, strict=True):
        row = {
            "id": entry.entry_id,
            "split": "train",
            "source": "openmm-backmap generate",
            "licence_class": "cc0",
            "licence": LICENCE,
            "method": entry.method,
            "n_res": len(entry.residue_type),
            "n_models": len(entry.positions),
            "cluster40": int(entry.cluster[0]),
            "sequence": story["sequence"],
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "conformer_kind": "disordered",
            "note": f"{story['force_field']}; {min(story['temperature']):.0f} to "
            f"{max(story['temperature']):.0f} K; seed {story['seed']}; "
            f"{story['platform']}; openmm {story['versions']['openmm']}",
        }
        lines.append("\t".join(str(row[name]) for name in _COLUMNS))
    return "\n".join([*lines, ""])
