"""Histidine names of structure files, which OpenMM's readers all turn into HIS."""

from collections.abc import Iterable
from typing import Any

__all__ = ["keep_histidines", "list_mmcif_residues", "list_pdb_residues"]

Key = tuple[str, str, str]

HISTIDINES = frozenset(("HID", "HIE", "HIP", "HSD", "HSE", "HSP"))
"""Names that say where the protons are."""


def list_pdb_residues(lines: Iterable[str]) -> dict[Key, str]:
    """List the histidines of a PDB file that say where their protons are.

    Parameters
    ----------
    lines : iterable of str
        Of the file.

    Returns
    -------
    dict
        Name by chain id, residue number and insertion code; nothing where two
        residues share these and differ in name.
    """
    atoms = (line for line in lines if line.startswith(("ATOM", "HETATM")))
    return _collect(
        ((line[21:22].strip(), line[22:26].strip(), line[26:27].strip()), line[17:20])
        for line in atoms
    )


def list_mmcif_residues(lines: Iterable[str]) -> dict[Key, str]:
    """List the histidines of an mmCIF file that say where their protons are.

    Parameters
    ----------
    lines : iterable of str
        Of the file.

    Returns
    -------
    dict
        See `list_pdb_residues`.
    """
    return _collect(_read_atom_site(lines))


def keep_histidines(topology: Any, names: dict[Key, str]) -> None:  # noqa: ANN401
    """Give residues the names that they had in the file, in place.

    Parameters
    ----------
    topology : openmm.app.Topology
        As a reader made it, with HIS for all histidines.
    names : dict
        See `list_pdb_residues`.
    """
    if not names:
        return
    for residue in topology.residues():
        if residue.name == "HIS":
            key = tuple(
                str(x).strip()
                for x in (residue.chain.id, residue.id, residue.insertionCode)
            )
            residue.name = names.get(key, "HIS")


def _collect(residues: Iterable[tuple[Key, str]]) -> dict[Key, str]:
    """Names by key, without those that are ambiguous."""
    found: dict[Key, set[str]] = {}
    for key, name in residues:
        found.setdefault(key, set()).add(name.strip().upper())
    only = {key: next(iter(names)) for key, names in found.items() if len(names) == 1}
    return {key: name for key, name in only.items() if name in HISTIDINES}


def _read_atom_site(lines: Iterable[str]) -> Iterable[tuple[Key, str]]:
    """Key and residue name of each row of the atom table."""
    columns: dict[str, int] = {}
    for line in lines:
        if line.startswith("_atom_site."):
            columns[line.split()[0].removeprefix("_atom_site.")] = len(columns)
        elif columns and line.startswith(("ATOM", "HETATM")):
            cells = line.split()

            def read(*names: str, cells: list[str] = cells) -> str:
                found = [cells[columns[name]] for name in names if name in columns]
                return "" if not found or found[0] in ("?", ".") else found[0]

            if len(cells) == len(columns):
                yield (
                    (
                        read("auth_asym_id", "label_asym_id"),
                        read("auth_seq_id", "label_seq_id"),
                        read("pdbx_PDB_ins_code"),
                    ),
                    read("auth_comp_id", "label_comp_id"),
                )
        elif columns and line.startswith("#"):
            return
