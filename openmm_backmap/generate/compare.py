"""How a generated set sits beside others: backbone regions, rotamers, faults."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from openmm_backmap.metrics.populations import (
    compute_chi_populations,
    compute_jensen_shannon,
    pool_by_type,
)
from openmm_backmap.metrics.ramachandran import (
    compute_phi_psi,
    compute_ramachandran_outliers,
)
from openmm_backmap.metrics.summary import FrameChecker
from openmm_backmap.residues.names import CODES, N_TYPES
from openmm_backmap.training.prepared import split_segments
from openmm_backmap.training.shards import ShardEntry, find_shards, read_shard
from openmm_backmap.units import DEGREE

__all__ = ["REGIONS", "Populations", "compare_sets", "measure_populations"]

REGIONS = ("alpha", "beta", "polyproline", "left")
"""Phi below 0: alpha (psi -120 to 50 degrees), else beta (phi below -100) or
polyproline; phi above 0: left."""

_GLYCINE, _PROLINE = CODES.index("G"), CODES.index("P")
_FLEXIBLE = ("MD", "MC-ABSINTH", "PED")
_MAX_RESIDUES = 60  # longer MD entries are of folded proteins
_CRYSTAL_SHARE = 15  # of the crystal structures one in so many is read
_MAX_RESOLUTION = 1.8  # angstrom
_LEAST_CHI = 100  # chi1 of a type, or it is not compared


@dataclass(eq=False)
class Populations:
    """What was counted in some entries.

    Parameters
    ----------
    n_frames : int
        Frames.
    regions : numpy.ndarray, shape (20, 4)
        Residues of each type in each of `REGIONS`.
    chi1 : numpy.ndarray, shape (20, 3)
        Residues of each type in the wells g+, t and g-.
    broken : dict of str to int
        Frames with a broken bond or peptide bond, a wrong hand, a twisted omega
        (30 degrees), a cis peptide not before proline, a severe clash (1.2 A),
        or a pierced ring.
    outliers : float
        Residues outside of the Ramachandran contours, summed over the frames'
        fractions.
    """

    n_frames: int = 0
    regions: np.ndarray = field(default_factory=lambda: np.zeros((N_TYPES, 4)))
    chi1: np.ndarray = field(default_factory=lambda: np.zeros((N_TYPES, 3)))
    broken: dict[str, int] = field(default_factory=dict)
    outliers: float = 0.0

    def region_shares(self) -> np.ndarray:
        """Share of residues in each region, without glycine and proline; (4,)."""
        kept = np.delete(self.regions, [_GLYCINE, _PROLINE], axis=0).sum(axis=0)
        return kept / max(kept.sum(), 1.0)


def measure_populations(entries: Iterable[ShardEntry]) -> Populations:
    """Count backbone regions, rotamers and faults.

    Parameters
    ----------
    entries : iterable of ShardEntry
        All frames count.

    Returns
    -------
    Populations
        Of all entries together.
    """
    total = Populations()
    for entry in entries:
        chain = split_segments(entry)
        checker = FrameChecker(entry.residue_type, chain, entry.mask)
        layout, positions = checker.layout, entry.positions
        total.n_frames += len(positions)
        phi, psi, residue = compute_phi_psi(positions, layout)
        region = _find_region(phi, psi)
        types = np.broadcast_to(entry.residue_type[residue], region.shape)
        np.add.at(total.regions, (types, region), 1)
        counts, carrier = compute_chi_populations(positions, layout)
        total.chi1 += pool_by_type(counts, carrier, layout)
        total.outliers += float(compute_ramachandran_outliers(positions, layout).sum())
        for name, figure in checker.check(positions).items():
            is_bad = (
                figure < 1.0 if name.startswith(("bond", "peptide")) else figure > 0
            )
            total.broken[name] = total.broken.get(name, 0) + int(is_bad.sum())
    return total


def _find_region(phi: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """Index into `REGIONS` of each residue."""
    is_helical = (psi > -120.0 * DEGREE) & (psi < 50.0 * DEGREE)
    extended = np.where(phi < -100.0 * DEGREE, 1, 2)
    return np.where(phi > 0.0, 3, np.where(is_helical, 0, extended))


def _tell_kinds(folder: Path) -> dict[str, list[ShardEntry]]:
    """Flexible entries and some good crystal structures of a train split."""
    flexible, crystals, n_seen = [], [], 0
    for shard in find_shards(folder, "train"):
        for entry in read_shard(shard):
            if entry.method in _FLEXIBLE:
                if len(entry.residue_type) <= _MAX_RESIDUES:
                    flexible.append(entry)
            elif entry.resolution <= _MAX_RESOLUTION:
                n_seen += 1
                if n_seen % _CRYSTAL_SHARE == 0:
                    crystals.append(entry)
    return {"flexible": flexible, "crystals": crystals}


def compare_sets(generated: Path | str, folder: Path | str) -> list[str]:
    """Put a packed set beside the train split of another data folder.

    Parameters
    ----------
    generated : pathlib.Path or str
        Folder of a packed set.
    folder : pathlib.Path or str
        Data folder. Of its train split, molecular dynamics, Monte Carlo and PED
        entries of up to 60 residues ("flexible") and one in fifteen crystal
        structures of 1.8 A or better are read.

    Returns
    -------
    list of str
        Lines of Markdown tables: backbone regions, chi1, broken frames.
    """
    own = [e for s in find_shards(generated, "train") for e in read_shard(s)]
    sets = {"generated": measure_populations(own)}
    for name, entries in _tell_kinds(Path(folder)).items():
        if entries:
            sets[name] = measure_populations(entries)
    return [*_region_lines(sets), "", *_chi_lines(sets), "", *_fault_lines(sets)]


def _row(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _head(cells: Sequence[object]) -> list[str]:
    return [_row(cells), "|" + "---|" * len(cells)]


def _region_lines(sets: dict[str, Populations]) -> list[str]:
    lines = _head(["backbone", "frames", *REGIONS, "outliers", "JSD to generated"])
    first = sets["generated"].region_shares()
    for name, found in sets.items():
        shares = found.region_shares()
        apart = float(compute_jensen_shannon(first, shares))
        cells = [f"{100 * share:.1f} %" for share in shares]
        outliers = f"{100 * found.outliers / max(found.n_frames, 1):.2f} %"
        lines.append(_row([name, found.n_frames, *cells, outliers, f"{apart:.3f}"]))
    return lines


def _chi_lines(sets: dict[str, Populations]) -> list[str]:
    lines = _head(["chi1, JSD to generated", "types", "mean", "largest"])
    first = sets["generated"].chi1
    for name, found in sets.items():
        both = np.minimum(first.sum(axis=1), found.chi1.sum(axis=1)) >= _LEAST_CHI
        if name == "generated" or not both.any():
            continue
        apart = compute_jensen_shannon(first[both], found.chi1[both])
        worst = CODES[int(np.flatnonzero(both)[apart.argmax()])]
        cells = [f"{apart.mean():.3f}", f"{apart.max():.3f} ({worst})"]
        lines.append(_row([name, int(both.sum()), *cells]))
    return lines


def _fault_lines(sets: dict[str, Populations]) -> list[str]:
    names = list(sets["generated"].broken)
    lines = _head(["share of frames with", *names])
    for name, found in sets.items():
        share = [100.0 * found.broken[k] / max(found.n_frames, 1) for k in names]
        lines.append(_row([name, *(f"{value:.1f} %" for value in share)]))
    return lines
