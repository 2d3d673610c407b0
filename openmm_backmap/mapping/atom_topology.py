"""AtomTopology: the all-atom topology that a coarse-grained one becomes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from string import ascii_letters, ascii_uppercase, digits
from typing import TYPE_CHECKING

import numpy as np

from openmm_backmap.errors import TopologyError
from openmm_backmap.residues.atoms import ATOM_SLOT, N_SLOTS
from openmm_backmap.residues.names import PHOSPHORYLATED, RESIDUE_NAMES
from openmm_backmap.residues.templates import ResidueTemplate, residue_template

if TYPE_CHECKING:
    from openmm.app import Topology

    from openmm_backmap.mapping.cg_topology import CGTopology

__all__ = ["AtomTopology", "split_residue_id", "unique_chain_ids"]

_SG = ATOM_SLOT[RESIDUE_NAMES.index("CYS")]["SG"]
_CYS = RESIDUE_NAMES.index("CYS")
_HIS = RESIDUE_NAMES.index("HIS")
_HISTIDINES = ("HID", "HIE", "HIP")

# Names with which a user states the protonation of a histidine (Amber, CHARMM,
# GROMACS), and phosphorylated residues under their Amber and CHARMM names.
_STATED = {
    "HID": "HID", "HSD": "HID", "HISD": "HID",
    "HIE": "HIE", "HSE": "HIE", "HISE": "HIE",
    "HIP": "HIP", "HSP": "HIP", "HISH": "HIP",
    **{f"{end}{name}": name for end in "NC" for name in _HISTIDINES},
    **{name: name for name in PHOSPHORYLATED},
    "S1P": "SEP", "SP2": "SEP", "T1P": "TPO", "THP": "TPO", "Y1P": "PTR", "TP2": "PTR",
}  # fmt: skip


def unique_chain_ids(chain_ids: Sequence[str]) -> tuple[str, ...]:
    """Give every chain an id of its own, keeping ids wherever possible.

    The first chain with an id keeps it. A later one with the same id (a piece
    of a chain with a gap, or a copy of a molecule), and one without an id, gets
    the first of A-Z, a-z, 0-9 that no chain of the input carries; when these
    are used up, AA, AB, ... follow, which mmCIF can hold and PDB cannot. What is
    neither letter nor digit becomes "_": files could not be read.

    Parameters
    ----------
    chain_ids : sequence of str
        Ids as they came, one a chain.

    Returns
    -------
    tuple of str
        Ids without repetition, in the same order.
    """
    given = [re.sub("[^A-Za-z0-9]+", "_", i.strip()).strip("_") for i in chain_ids]
    taken = set(given)
    letters = iter(ascii_uppercase + ascii_letters[:26] + digits)
    pairs = ("".join(pair) for n in range(2, 5)
             for pair in product(ascii_uppercase, repeat=n))  # fmt: skip

    def _next() -> str:
        for source in (letters, pairs):
            for name in source:
                if name not in taken:
                    return name
        raise TopologyError(f"more than {len(taken)} chains: no chain id is left")

    used: set[str] = set()
    result = []
    for name in given:
        if not name or name in used:
            name = _next()
            taken.add(name)
        used.add(name)
        result.append(name)
    return tuple(result)


@dataclass(frozen=True, eq=False)
class AtomTopology:
    """Atoms of the output and where each comes from; made once a run.

    Parameters
    ----------
    topology : openmm.app.Topology
        The output: standard residue names, hydrogens unless they were not
        wanted, OXT at the end of every chain, all bonds, unique chain ids, the
        residue ids of the input, and the box if there is one.
    cg : CGTopology
        What it was made from.
    variant : tuple of str
        Variant of each residue ("HIE", "CYX", "SEP", ... or the plain name).
    first_atom : numpy.ndarray, shape (R + 1,), int64
        First atom of each residue; the last entry is the number of atoms.
    slot_atom : numpy.ndarray, shape (R, 14), int64
        Atom of each heavy-atom slot, -1 where the slot is empty.
    oxt_atom : numpy.ndarray, shape (n_chains,), int64
        Terminal oxygen of each chain.
    has_hydrogens : bool
        Whether hydrogens are in it.
    disulfides : tuple of tuple of int
        Bonded pairs of cysteines, by residue index.

    Examples
    --------
    >>> from openmm_backmap.mapping.cg_topology import CGTopology
    >>> cg = CGTopology.from_sequence("GASH")
    >>> atoms = AtomTopology.from_cg_topology(cg)
    >>> atoms.n_atoms
    48
    """

    topology: "Topology"
    cg: "CGTopology"
    variant: tuple[str, ...]
    first_atom: np.ndarray
    slot_atom: np.ndarray
    oxt_atom: np.ndarray
    has_hydrogens: bool
    disulfides: tuple[tuple[int, int], ...] = ()

    @property
    def n_atoms(self) -> int:
        """Number of atoms N."""
        return int(self.first_atom[-1])

    @property
    def n_residues(self) -> int:
        """Number of residues R."""
        return len(self.variant)

    @property
    def n_chains(self) -> int:
        """Number of chains; one for every bonded segment of the CG topology."""
        return len(self.oxt_atom)

    @property
    def ca_atom(self) -> np.ndarray:
        """Atom index of each CA, shape (R,), int64."""
        return self.slot_atom[:, 1]

    def templates(self) -> list[ResidueTemplate]:
        """Template of each residue, length R."""
        return _templates(self.variant, self.cg.chain_index, self.has_hydrogens)

    @classmethod
    def from_cg_topology(
        cls,
        cg: "CGTopology",
        *,
        hydrogens: bool = True,
        histidine: str | Mapping[int, str] = "HIE",
        disulfides: Sequence[tuple[int, int]] = (),
        phosphates: bool = True,
    ) -> "AtomTopology":
        """Make the all-atom topology of a coarse-grained one.

        Protonation is that of pH 7 and is fixed here, once: ASP- GLU- LYS+
        ARG+, NH3+ and COO- at the ends of every chain. A residue that came as
        HID, HIE, HIP (or HSD, HSE, HSP, ...) keeps that state.

        Parameters
        ----------
        cg : CGTopology
            The coarse-grained topology; each bonded segment becomes a chain.
        hydrogens : bool
            Whether to add hydrogens.
        histidine : str or mapping of int to str
            "HID", "HIE" or "HIP" for histidines whose name does not say, or
            that by residue index (then "HIE" for those not in it).
        disulfides : sequence of tuple of int
            Pairs of cysteines, by residue index, that are bonded.
        phosphates : bool
            Whether SEP, TPO and PTR get their phosphate (dianion); if not they
            become SER, THR and TYR.

        Returns
        -------
        AtomTopology
            In time proportional to the number of residues.

        Raises
        ------
        TopologyError
            If `histidine` or `disulfides` do not fit the residues.
        """
        pairs = _check_disulfides(disulfides, cg.residue_type)
        variant = _variants(cg, histidine, pairs, phosphates)
        templates = _templates(variant, cg.chain_index, hydrogens)
        first_atom = np.zeros(len(variant) + 1, np.int64)
        first_atom[1:] = np.cumsum([len(t.atom_names) for t in templates])
        slot_atom = np.full((len(variant), N_SLOTS), -1, np.int64)
        layouts: dict[ResidueTemplate, np.ndarray] = {}
        for r, template in enumerate(templates):
            layout = layouts.get(template)
            if layout is None:
                layout = layouts[template] = _slot_layout(template)
            slot_atom[r] = layout
        slot_atom += np.where(slot_atom < 0, 0, first_atom[:-1, None])
        is_end = np.ones(len(variant), bool)
        is_end[:-1] = np.diff(cg.chain_index) != 0
        oxt_atom = first_atom[1:][is_end] - 1
        topology = _build_topology(cg, templates, slot_atom, pairs)
        return cls(
            topology, cg, variant, first_atom, slot_atom, oxt_atom, hydrogens, pairs
        )

    def with_box(self, box: np.ndarray | None) -> "AtomTopology":
        """Return the same topology with periodic box vectors.

        Parameters
        ----------
        box : numpy.ndarray, shape (3, 3), or None
            Rows a, b, c in nm; None for no box.

        Returns
        -------
        AtomTopology
            A copy that shares chains, residues, atoms and bonds with this one.
        """
        import copy

        from openmm import Vec3, unit

        topology = copy.copy(self.topology)
        vectors = None
        if box is not None:
            rows = [Vec3(*(float(x) for x in row)) for row in np.asarray(box)]
            vectors = rows * unit.nanometer
        topology.setPeriodicBoxVectors(vectors)
        return replace(self, topology=topology)


def _check_disulfides(
    disulfides: Sequence[tuple[int, int]], residue_type: np.ndarray
) -> tuple[tuple[int, int], ...]:
    if isinstance(disulfides, str):
        raise TopologyError(
            f"disulfides={disulfides!r}: give pairs of residue indices here; "
            "Backmapper.from_topology and BackmapReporter know 'auto'"
        )
    pairs = tuple((int(min(p)), int(max(p))) for p in disulfides)
    seen: set[int] = set()
    for i, j in pairs:
        inside = 0 <= i < j < len(residue_type)
        if not inside or residue_type[i] != _CYS or residue_type[j] != _CYS:
            raise TopologyError(
                f"disulfide ({i}, {j}) does not join two cysteines of the "
                f"{len(residue_type)} residues: give residue indices from 0"
            )
        if i in seen or j in seen:
            raise TopologyError(f"disulfide ({i}, {j}): a cysteine is in two of them")
        seen.update((i, j))
    return pairs


def _variants(
    cg: "CGTopology",
    histidine: str | Mapping[int, str],
    disulfides: tuple[tuple[int, int], ...],
    phosphates: bool,
) -> tuple[str, ...]:
    """Variant of each residue: stated by its name, by the caller, or default."""
    chosen = {} if isinstance(histidine, str) else dict(histidine)
    default = histidine if isinstance(histidine, str) else "HIE"
    for value in (default, *chosen.values()):
        if value not in _HISTIDINES:
            raise TopologyError(f"histidine={value!r}: give one of {_HISTIDINES}")
    known = np.flatnonzero(cg.residue_type == _HIS).tolist()
    for r in chosen:
        if r not in known:
            raise TopologyError(
                f"histidine={{{r}: ...}}: residue {r} is no histidine; give residue "
                f"indices from 0, of {known}"
            )
    bonded = {residue for pair in disulfides for residue in pair}
    variants = []
    types = cg.residue_type.tolist()
    for r, (residue_type, came) in enumerate(zip(types, cg.residue_name, strict=True)):
        name = RESIDUE_NAMES[residue_type]
        stated = _STATED.get(came.strip().upper())
        if residue_type == _HIS:
            name = chosen.get(r) or (stated if stated in _HISTIDINES else default)
        elif r in bonded:
            name = "CYX"
        elif phosphates and PHOSPHORYLATED.get(stated or "") == name:
            name = stated
        variants.append(name)
    return tuple(variants)


def _templates(
    variant: tuple[str, ...], chain_index: np.ndarray, hydrogens: bool
) -> list[ResidueTemplate]:
    chains = chain_index.tolist()
    before = [None, *chains[:-1]]
    after = [*chains[1:], None]
    return [
        residue_template(name, here != previous, here != following, hydrogens)
        for name, here, previous, following in zip(
            variant, chains, before, after, strict=True
        )
    ]


def _slot_layout(template: ResidueTemplate) -> np.ndarray:
    """Index inside the residue of each slot's atom, shape (14,), -1 if empty."""
    layout = np.full(N_SLOTS, -1, np.int64)
    for k, slot in enumerate(template.slots):
        if slot >= 0:
            layout[slot] = k
    return layout


def split_residue_id(residue_id: str) -> tuple[str, str]:
    """Take the insertion code off a residue number.

    Parameters
    ----------
    residue_id : str
        Such as "52" or "52A".

    Returns
    -------
    number, code : str
        Such as "52" and "A"; what is no number with a letter stays whole.
    """
    found = re.fullmatch(r"(-?\d+)([A-Za-z])", residue_id.strip())
    return (found[1], found[2]) if found else (residue_id, "")


def _build_topology(
    cg: "CGTopology",
    templates: list[ResidueTemplate],
    slot_atom: np.ndarray,
    disulfides: tuple[tuple[int, int], ...],
) -> "Topology":
    """Fill an OpenMM Topology, chain by chain."""
    from openmm.app import Element, Topology

    element = {symbol: Element.getBySymbol(symbol) for symbol in "HCNOSP"}
    topology = Topology()
    atoms: list = []
    chain = carbon = None
    chain_ids = unique_chain_ids(cg.chain_id)
    last_chain = -1
    for r, index in enumerate(cg.chain_index.tolist()):
        template = templates[r]
        if index != last_chain:
            chain = topology.addChain(chain_ids[index])
            last_chain, carbon = index, None
        number, code = split_residue_id(cg.residue_id[r])
        residue = topology.addResidue(template.name, chain, number, code)
        start = len(atoms)
        for name, symbol in zip(template.atom_names, template.elements, strict=True):
            atoms.append(topology.addAtom(name, element[symbol], residue))
        if carbon is not None:
            topology.addBond(carbon, atoms[start])
        for first, second in template.bonds:
            topology.addBond(atoms[start + first], atoms[start + second])
        carbon = atoms[slot_atom[r, 2]]
    for i, j in disulfides:
        topology.addBond(atoms[slot_atom[i, _SG]], atoms[slot_atom[j, _SG]])
    return topology
