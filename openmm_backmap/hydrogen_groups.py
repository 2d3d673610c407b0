"""The atoms that a topology has beyond the slots, in groups that are placed at once."""

from dataclasses import dataclass

import numpy as np

from openmm_backmap.mapping.atom_topology import AtomTopology
from openmm_backmap.residues.hydrogens import PREVIOUS_C, AddedSite
from openmm_backmap.residues.templates import ResidueTemplate

__all__ = ["SiteGroup", "compute_united_charges", "group_sites"]

# United charges (heavy atom with its hydrogens) for choosing torsions; rounded
# ff14SB sums. Atoms not named: 0, oxygens -0.55.
_CHARGE = {
    "C": 0.55, "N": -0.15, "SG": -0.15, "SD": -0.25, "NZ": 0.6, "NH1": 0.1, "NH2": 0.1,
    "OG": -0.25, "OG1": -0.25, "OH": -0.2,
}  # fmt: skip
_RESIDUE_CHARGE = {
    ("ASP", "OD1"): -0.8, ("ASP", "OD2"): -0.8, ("GLU", "OE1"): -0.8,
    ("GLU", "OE2"): -0.8, ("HID", "NE2"): -0.55, ("HIE", "ND1"): -0.55,
    ("ARG", "CZ"): 0.8, ("ASN", "CG"): 0.6, ("GLN", "CD"): 0.6, ("ASP", "CG"): 0.7,
    ("GLU", "CD"): 0.7,
}  # fmt: skip
_COULOMB = 138.935456 * 0.4  # kJ nm/mol/e, times the charge of a polar hydrogen
# factors of the contact distances of hydrogens on N, O and S, and of phosphorus
_SCALE_POLAR, _SCALE_PHOSPHORUS = 0.8, 1.5
_MAX_SITES = 64  # more than a residue has


@dataclass(frozen=True, eq=False)
class SiteGroup:
    """S sites of one kind with A added atoms each, as indices of output atoms."""

    parent: np.ndarray  # (S,)
    neighbors: np.ndarray  # (2 or 3, S)
    is_rotor: bool
    added: np.ndarray  # (S, A)
    offset: np.ndarray  # (C, 3, S, A) nm along the axes, for each choice
    torsion: np.ndarray  # (C, S) radians; no choice: (0, S)
    coulomb: np.ndarray  # (S,) kJ nm/mol/e
    scale: np.ndarray  # (S,) of contact distances
    adds_hydrogens: bool  # not the phosphorus or the oxygens of a phosphate

    @property
    def is_free(self) -> bool:
        """Whether there is a choice of torsions."""
        return len(self.torsion) > 0


@dataclass(frozen=True, eq=False)
class _SiteRows:
    """One site of a template, in all residues that have it."""

    site: AddedSite
    order: np.ndarray  # (S,) rising with residue and site
    parent: np.ndarray  # (S,)
    neighbors: np.ndarray  # (2 or 3, S)
    added: np.ndarray  # (S, A)


def group_sites(top: AtomTopology) -> list[SiteGroup]:
    """Collect sites by kind: rigid ones, then free ones, then added parents.

    Parameters
    ----------
    top : AtomTopology
        N atoms; what its templates have beyond the slots is placed at these sites.

    Returns
    -------
    list of SiteGroup
        In the order in which they can be placed.
    """
    previous_c = np.concatenate(([-1], top.slot_atom[:-1, 2]))
    buckets: dict[tuple, list[_SiteRows]] = {}
    for template, residues in _residues_by_template(top.templates()):
        place = {name: k for k, name in enumerate(template.atom_names)}
        first = top.first_atom[residues]
        for number, site in enumerate(template.sites):
            key = (
                site.parent == "P",
                len(site.torsions),
                site.is_rotor,
                len(site.neighbors),
                len(site.names),
                site.names[0][0],
            )
            neighbors = [
                previous_c[residues] if name == PREVIOUS_C else first + place[name]
                for name in site.neighbors
            ]
            added = first[:, None] + np.array([place[name] for name in site.names])
            rows = _SiteRows(
                site,
                residues * _MAX_SITES + number,
                first + place[site.parent],
                np.stack(neighbors),
                added,
            )
            buckets.setdefault(key, []).append(rows)
    return [_make_group(buckets[key]) for key in sorted(buckets)]


def _residues_by_template(
    templates: list[ResidueTemplate],
) -> list[tuple[ResidueTemplate, np.ndarray]]:
    """List the residues of each template: what is common to them is done once."""
    residues: dict[int, list[int]] = {}
    for r, template in enumerate(templates):
        residues.setdefault(id(template), []).append(r)
    return [(templates[rows[0]], np.array(rows)) for rows in residues.values()]


def _make_group(parts: list[_SiteRows]) -> SiteGroup:
    """Join the sites of a kind in the order of the residues."""
    order = np.argsort(np.concatenate([part.order for part in parts]))
    which = np.repeat(np.arange(len(parts)), [len(part.order) for part in parts])[order]
    sites = [part.site for part in parts]
    offset = np.array([site.offsets for site in sites], np.float32)  # (T, C, A, 3)
    torsion = np.array([site.torsions for site in sites], np.float32)
    polar = np.array([s.parent[0] in "NOS" and s.names[0] != "P" for s in sites])
    scale = np.where(polar, _SCALE_POLAR, 1.0)
    scale[[site.names == ("P",) for site in sites]] = _SCALE_PHOSPHORUS
    return SiteGroup(
        parent=np.concatenate([part.parent for part in parts])[order],
        neighbors=np.concatenate([part.neighbors for part in parts], axis=1)[:, order],
        is_rotor=sites[0].is_rotor,
        added=np.concatenate([part.added for part in parts])[order],
        offset=offset[which].transpose(1, 3, 0, 2).copy(),
        torsion=torsion[which].T.copy(),
        coulomb=np.where(polar, _COULOMB, 0.0).astype(np.float32)[which],
        scale=scale.astype(np.float32)[which],
        adds_hydrogens=all(name[0] == "H" for site in sites for name in site.names),
    )


def compute_united_charges(top: AtomTopology) -> np.ndarray:
    """Compute the charge of every atom as a polar hydrogen sees it.

    Parameters
    ----------
    top : AtomTopology
        N atoms.

    Returns
    -------
    numpy.ndarray, shape (N,), float32
        In e, of heavy atoms with their hydrogens; sums of ff14SB, rounded.
    """
    known: dict[tuple[str, int], np.ndarray] = {}
    parts = []
    for variant, template in zip(top.variant, top.templates(), strict=True):
        key = variant, id(template)
        if key not in known:
            known[key] = np.float32(
                [
                    _RESIDUE_CHARGE.get(
                        (variant, name),
                        _CHARGE.get(name, -0.55 if name[0] == "O" else 0.0),
                    )
                    for name in template.atom_names
                ]
            )
        parts.append(known[key])
    return np.concatenate(parts) if parts else np.zeros(0, np.float32)
