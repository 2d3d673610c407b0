"""Reading structures and trajectories for a training set, as they are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from openmm_backmap.errors import DataError
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS
from openmm_backmap.residues.names import ALIASES, PHOSPHORYLATED, RESIDUE_NAMES
from openmm_backmap.units import ANGSTROM

__all__ = [
    "STRUCTURE_SUFFIXES",
    "TRAJECTORY_SUFFIXES",
    "RawStructure",
    "read_structure",
    "read_trajectory",
    "select_models",
]

STRUCTURE_SUFFIXES = (".pdb", ".ent", ".cif", ".mmcif", ".pdb.gz", ".ent.gz", ".cif.gz")
TRAJECTORY_SUFFIXES = (".dcd", ".xtc", ".trr", ".nc", ".h5")

_TYPE = {name: k for k, name in enumerate(RESIDUE_NAMES)}
# what differs by protonation, disulfide or selenium only; other modified
# residues have other side chains and are left out
_SAME_SIDE_CHAIN = (
    "MSE SEC HID HIE HIP HSD HSE HSP HISD HISE HISH HIS1 HIS2 CYX CYM CYS2 CYSH "
    "ASH ASPP GLH GLUP LYN LSN ARN TYM"
).split()
_TYPE |= {name: _TYPE[ALIASES[name]] for name in _SAME_SIDE_CHAIN}
_ATOM_ALIASES = {
    ("MSE", "SE"): "SD", ("SEC", "SE"): "SG", ("ILE", "CD"): "CD1",
}  # fmt: skip
_OXYGENS = {"OT1": "O", "O1": "O", "OC1": "O"}
_PREDICTED = re.compile(
    r"ALPHAFOLD|COLABFOLD|ESMFOLD|OPENFOLD|ROSETTAFOLD|\bAF-[A-Z0-9-]+-F\d+"
)
_LEAST_PLDDT = 70.0
"""Below, a predicted side chain is not learned from (AlphaFold's "low")."""
_UNSURE = 100.0
"""B-factor of such a residue in square angstrom; training leaves out 60 and more."""
_METHODS = {"X-RAY": "X-RAY", "NMR": "NMR", "ELECTRON MICROSCOPY": "EM"}


@dataclass(frozen=True, eq=False)
class RawStructure:
    """Heavy atoms of the standard residues of a file.

    Parameters
    ----------
    name : str
        What the entry will be called.
    source : str
        The file.
    pdb_id : str
        "" if it is not known.
    method : str
        "X-RAY", "NMR", "EM", "MD", "PREDICTED" or "UNKNOWN".
    resolution : float
        In angstrom, nan when unknown.
    positions : numpy.ndarray, shape (F, R, 14, 3), float32
        In nm; nan where an atom is not in the file.
    bfactor : numpy.ndarray, shape (R, 14), float32
        In square angstrom; 0 = not known. Of predicted structures 100 where pLDDT
        is below 70, else 0.
    residue_type : numpy.ndarray, shape (R,), int64
        0 to 19.
    residue_number : numpy.ndarray, shape (R,), int64
        As in the file.
    insertion_code : tuple of str
        Of each residue, "" for none.
    chain_id : tuple of str
        Of each residue.
    n_skipped : int
        Amino acids left out because they are not standard.
    """

    name: str
    source: str
    pdb_id: str
    method: str
    resolution: float
    positions: np.ndarray
    bfactor: np.ndarray
    residue_type: np.ndarray
    residue_number: np.ndarray
    insertion_code: tuple[str, ...]
    chain_id: tuple[str, ...]
    n_skipped: int = 0

    def take(self, rows: np.ndarray) -> "RawStructure":
        """Return the structure with some of its residues only.

        Parameters
        ----------
        rows : numpy.ndarray, shape (n,), int64
            Residue indices.

        Returns
        -------
        RawStructure
        """
        return replace(
            self,
            positions=self.positions[:, rows],
            bfactor=self.bfactor[rows],
            residue_type=self.residue_type[rows],
            residue_number=self.residue_number[rows],
            insertion_code=tuple(self.insertion_code[r] for r in rows),
            chain_id=tuple(self.chain_id[r] for r in rows),
        )


def select_models(n_models: int, limit: int) -> np.ndarray:
    """Choose frames evenly.

    Parameters
    ----------
    n_models : int
        Frames there are.
    limit : int
        Frames wanted at most.

    Returns
    -------
    numpy.ndarray, shape (n,), int64
        Rising indices.
    """
    if n_models <= limit:
        return np.arange(n_models)
    return np.unique(np.linspace(0, n_models - 1, limit).round().astype(np.int64))


def _slot_of(residue_name: str, atom_name: str) -> int:
    """Slot of an atom, -1 if it has none."""
    name = _ATOM_ALIASES.get((residue_name, atom_name), atom_name)
    slots = ATOM_SLOT[_TYPE[residue_name]]
    return slots.get(_OXYGENS.get(name, name), -1)


def _best_altloc(residue: Any) -> str:
    """Alternative location with the highest summed occupancy."""
    total: dict[str, float] = {}
    for atom in residue:
        if atom.altloc != "\0":
            total[atom.altloc] = total.get(atom.altloc, 0.0) + atom.occ
    return max(sorted(total), key=total.__getitem__, default="\0")


def _read_residues(model: Any) -> tuple[dict[tuple, tuple], int]:
    """Residues of a gemmi model: key -> (name, {slot: (x, y, z, B)})."""
    import gemmi

    found: dict[tuple, tuple] = {}
    weight: dict[tuple, float] = {}
    n_skipped = 0
    for chain in model:
        for residue in chain:
            if residue.name not in _TYPE:
                info = gemmi.find_tabulated_residue(residue.name)
                n_skipped += info.is_amino_acid() or residue.name in PHOSPHORYLATED
                continue
            # two kinds of residue in one place: the one that is there more often
            key = (chain.name, residue.seqid.num, residue.seqid.icode.strip())
            occupancy = sum(atom.occ for atom in residue)
            if key in found and weight[key] >= occupancy:
                continue
            chosen = _best_altloc(residue)
            atoms = {}
            for atom in residue:
                slot = _slot_of(residue.name, atom.name)
                if slot >= 0 and atom.altloc in ("\0", chosen) and slot not in atoms:
                    atoms[slot] = (*atom.pos.tolist(), atom.b_iso)
            found[key] = (residue.name, atoms)
            weight[key] = occupancy
    return found, n_skipped


def _find_resolution(path: Path, structure: Any) -> float:
    """Resolution in angstrom, 0 if there is none; gemmi misses that of EM maps."""
    import gemmi

    if structure.resolution or ".cif" not in path.name.lower():
        return float(structure.resolution)
    block = gemmi.cif.read(str(path)).sole_block()
    text = block.find_value("_em_3d_reconstruction.resolution") or "."
    return 0.0 if text in ".?" else float(text)


def _is_predicted(path: Path, structure: Any) -> bool:
    """Whether the B-factors of a structure without a method are pLDDT."""
    import gemmi

    info = dict(structure.info)
    told = [path.name, info.get("_struct.title", ""), info.get("_entry.id", "")]
    if _PREDICTED.search(" ".join([*told, *structure.raw_remarks]).upper()):
        return True
    if not path.name.lower().removesuffix(".gz").endswith(("cif", "mmcif")):
        return False
    block = gemmi.cif.read(str(path)).sole_block()
    return "_ma_qa_metric." in block.get_mmcif_category_names()


def _read_confidence(plddt: np.ndarray) -> np.ndarray:
    """B-factors that leave out the residues of low pLDDT (0 to 100, or 0 to 1)."""
    scale = 100.0 if plddt.max(initial=0.0) <= 1.0 else 1.0
    return np.where(scale * plddt < _LEAST_PLDDT, _UNSURE, 0.0).astype(np.float32)


def read_structure(path: Path | str, *, max_models: int = 60) -> RawStructure:
    """Read a PDB or mmCIF file, all of its models, alternative atoms resolved.

    Of alternative locations the one with the highest summed occupancy of each
    residue is kept. MSE, SEC and names of protonation states become their
    standard residues; other modified residues are skipped. Residues and atoms
    that are not in every model are left out. Of predicted structures (AlphaFold and
    the like, known by their title, name or quality metric) the B-factors are pLDDT.

    Parameters
    ----------
    path : pathlib.Path or str
        The file, gzip or not.
    max_models : int
        Most models to keep, evenly spaced.

    Returns
    -------
    RawStructure

    Raises
    ------
    DataError
        If the file cannot be read, holds no standard residue, or gemmi is not
        installed.
    """
    path = Path(path)
    try:
        import gemmi
    except ModuleNotFoundError as error:
        raise DataError(
            "reading structures for training needs gemmi: pip install "
            "openmm-backmap[train]"
        ) from error
    try:
        structure = gemmi.read_structure(str(path))
        structure.setup_entities()
    except (RuntimeError, ValueError, OSError) as error:
        raise DataError(f"{path}: cannot be read as PDB or mmCIF ({error})") from error
    models = [_read_residues(structure[int(k)]) for k in
              select_models(len(structure), max_models)]  # fmt: skip
    keys = [
        key
        for key, (name, _) in (models[0][0].items() if models else ())
        if all(m.get(key, ("",))[0] == name for m, _ in models)
    ]
    if not keys:
        raise DataError(f"{path}: no standard amino acid in it")
    positions = np.full((len(models), len(keys), N_SLOTS, 3), np.nan, np.float32)
    bfactor = np.zeros((len(keys), N_SLOTS), np.float32)
    for f, (residues, _) in enumerate(models):
        for r, key in enumerate(keys):
            for slot, (x, y, z, b) in residues[key][1].items():
                positions[f, r, slot] = np.array((x, y, z)) * ANGSTROM
                if f == 0:
                    bfactor[r, slot] = b
    positions[:, ~np.isfinite(positions).all(axis=(0, 3))] = np.nan
    info = dict(structure.info)
    said = info.get("_exptl.method", "").upper()
    method = next((m for key, m in _METHODS.items() if key in said), "UNKNOWN")
    if method == "UNKNOWN" and _is_predicted(path, structure):
        method, bfactor = "PREDICTED", _read_confidence(bfactor)
    pdb_id = info.get("_entry.id", "").lower()
    return RawStructure(
        name=path.name.split(".")[0],
        source=path.name,
        pdb_id=pdb_id if len(pdb_id) == 4 and pdb_id[0].isdigit() else "",
        method=method,
        resolution=_find_resolution(path, structure) or float("nan"),
        positions=positions,
        bfactor=bfactor,
        residue_type=np.array([_TYPE[models[0][0][k][0]] for k in keys], np.int64),
        residue_number=np.array([key[1] for key in keys], np.int64),
        insertion_code=tuple(key[2] for key in keys),
        chain_id=tuple(key[0] for key in keys),
        n_skipped=models[0][1],
    )


def read_trajectory(
    path: Path | str, top: Path | str | None, *, max_models: int = 60
) -> RawStructure:
    """Read frames of an all-atom trajectory, evenly spaced.

    Parameters
    ----------
    path : pathlib.Path or str
        Any file mdtraj reads.
    top : pathlib.Path or str or None
        Its topology. If None, the trajectory has its own (HDF5).
    max_models : int
        Most frames to keep.

    Returns
    -------
    RawStructure
        With the method "MD" and no B-factors.

    Raises
    ------
    DataError
        If the file cannot be read or holds no standard residue.
    """
    import mdtraj

    path = Path(path)
    try:
        options = {} if top is None else {"top": str(top)}
        trajectory = mdtraj.load(str(path), **options)
    except Exception as error:
        raise DataError(f"{path}: cannot be read as a trajectory ({error})") from error
    chosen = select_models(trajectory.n_frames, max_models)
    residues = [r for r in trajectory.topology.residues if r.name in _TYPE]
    if not residues:
        raise DataError(f"{path}: no standard amino acid in it")
    xyz = trajectory.xyz[chosen]
    positions = np.full((len(chosen), len(residues), N_SLOTS, 3), np.nan, np.float32)
    for r, residue in enumerate(residues):
        for atom in residue.atoms:
            slot = _slot_of(residue.name, atom.name)
            if slot >= 0:
                positions[:, r, slot] = xyz[:, atom.index]
    return RawStructure(
        name=path.name.split(".")[0],
        source=path.name,
        pdb_id="",
        method="MD",
        resolution=float("nan"),
        positions=positions,
        bfactor=np.zeros((len(residues), N_SLOTS), np.float32),
        residue_type=np.array([_TYPE[r.name] for r in residues], np.int64),
        residue_number=np.array([r.resSeq for r in residues], np.int64),
        insertion_code=("",) * len(residues),
        chain_id=_name_chains([r.chain.index for r in residues]),
    )


def _name_chains(index: Sequence[int]) -> tuple[str, ...]:
    from openmm_backmap.mapping.chains import chain_name

    return tuple(chain_name(k) for k in index)
