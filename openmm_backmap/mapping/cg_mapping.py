"""Which atoms a bead stands for: CA, centre of mass, AWSEM, or the user's own."""

from dataclasses import dataclass, field

from openmm_backmap.errors import InputError

__all__ = [
    "MAPPINGS",
    "MODEL_SLOTS",
    "CGBead",
    "CGMapping",
    "find_mapping",
    "find_model_slots",
]

CENTERS = ("atom", "mass", "geometry")


@dataclass(frozen=True)
class CGBead:
    """One bead slot of a residue.

    Parameters
    ----------
    name : str
        Name of the slot.
    atoms : tuple of str
        Heavy atoms the bead stands for. If empty, all heavy atoms of the
        residue (without OXT).
    center : str
        Where the bead lies: on its one "atom", or in the centre of "mass" or
        of "geometry" of its atoms.
    names : tuple of str
        Names the bead goes by in topologies. If empty, only `name`.
    absent_in : tuple of str
        Three-letter names of residues that have no such bead.
    """

    name: str
    atoms: tuple[str, ...] = ()
    center: str = "atom"
    names: tuple[str, ...] = ()
    absent_in: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.center not in CENTERS:
            raise InputError(
                f"bead {self.name!r}: center is {self.center!r}, want one of "
                f"{', '.join(CENTERS)}"
            )
        if self.center == "atom" and len(self.atoms) != 1:
            raise InputError(
                f"bead {self.name!r} lies on one atom but lists "
                f"{len(self.atoms)}: give one atom, or center='mass'"
            )

    @property
    def accepted_names(self) -> tuple[str, ...]:
        """Names of the bead in topologies."""
        return self.names or (self.name,)


@dataclass(frozen=True)
class CGMapping:
    """How residues become beads.

    Parameters
    ----------
    name : str
        Name of the mapping; models name the mapping they were trained for.
    beads : tuple of CGBead
        Bead slots of a residue. The first one is in every residue.

    Examples
    --------
    >>> from openmm_backmap.mapping.cg_mapping import CGBead, CGMapping
    >>> two = CGMapping("two", (
    ...     CGBead("BB", atoms=("N", "CA", "C", "O"), center="mass"),
    ...     CGBead("CB", atoms=("CB",), absent_in=("GLY",)),
    ... ))
    >>> two.n_slots, two.slot_names
    (2, ('BB', 'CB'))
    """

    name: str
    beads: tuple[CGBead, ...] = field(default=())

    def __post_init__(self) -> None:
        if not self.beads or self.beads[0].absent_in:
            raise InputError(
                f"mapping {self.name!r} needs a first bead that every residue has"
            )
        if len(set(self.slot_names)) != len(self.beads):
            raise InputError(f"mapping {self.name!r} names a bead twice")

    @property
    def n_slots(self) -> int:
        """Number of bead slots of a residue, M."""
        return len(self.beads)

    @property
    def slot_names(self) -> tuple[str, ...]:
        """Name of each slot."""
        return tuple(bead.name for bead in self.beads)


MAPPINGS = {
    mapping.name: mapping
    for mapping in (
        CGMapping("ca", (CGBead("CA", atoms=("CA",)),)),
        # CALVADOS 3 names the centre of mass of a folded residue CA
        CGMapping("com", (CGBead("COM", center="mass", names=("COM", "CA")),)),
        # each residue has one of the two, see `CGTopology.with_com_residues`
        CGMapping(
            "mixed",
            (
                CGBead("CA", atoms=("CA",)),
                CGBead("COM", center="mass", names=("COM", "CA")),
            ),
        ),
        CGMapping(
            "awsem",
            (
                CGBead("CA", atoms=("CA",)),
                CGBead("CB", atoms=("CB",), absent_in=("GLY",)),
                CGBead("O", atoms=("O",)),
            ),
        ),
    )
}
"""The built-in mappings by name."""

MODEL_SLOTS = {
    "ca": ("CA",),
    "com": ("CA", "COM"),
    "mixed": ("CA", "COM"),
    "awsem": ("CA", "CB", "O"),
}
"""Bead slots that models of the built-in mappings read, zeros where absent."""


def find_mapping(mapping: str | CGMapping) -> CGMapping:
    """Return a mapping from its name; a `CGMapping` passes through.

    Parameters
    ----------
    mapping : str or CGMapping
        "ca", "com", "mixed", "awsem" or the user's own mapping.

    Returns
    -------
    CGMapping
        The mapping.

    Raises
    ------
    InputError
        If the name is not known.
    """
    if isinstance(mapping, CGMapping):
        return mapping
    if mapping not in MAPPINGS:
        raise InputError(
            f"mapping {mapping!r} is not known: use one of "
            f"{', '.join(sorted(MAPPINGS))}, or give a CGMapping of your own"
        )
    return MAPPINGS[mapping]


def find_model_slots(mapping: CGMapping) -> tuple[str, ...]:
    """Return the bead slots, by name, in which a model wants a mapping.

    Parameters
    ----------
    mapping : CGMapping
        What the beads are.

    Returns
    -------
    tuple of str
        See `MODEL_SLOTS`; the mapping's own slots where it is not built in.
    """
    return MODEL_SLOTS.get(mapping.name, mapping.slot_names)
