"""Residue names of other programs."""

import pytest

from openmm_backmap.errors import TopologyError
from openmm_backmap.residues.names import (
    ALIASES,
    RESIDUE_NAMES,
    is_protein_residue,
    residue_type_of,
)


@pytest.mark.parametrize("name", RESIDUE_NAMES)
def test_terminal_names_of_amber_and_smog_are_the_residues(name) -> None:
    kind = RESIDUE_NAMES.index(name)
    for variant in (name, f"N{name}", f"C{name}", f"{name}T", name.lower()):
        assert is_protein_residue(variant)
        assert residue_type_of(variant) == kind


def test_an_alias_is_built_as_its_parent() -> None:
    for alias, name in ALIASES.items():
        assert residue_type_of(alias) == RESIDUE_NAMES.index(name)


@pytest.mark.parametrize("name", ["HOH", "DA", "ZN", "POPC", "U", "NGP"])
def test_what_is_no_amino_acid_is_none(name) -> None:
    assert not is_protein_residue(name)
    if len(name) > 1:
        with pytest.raises(TopologyError, match=name):
            residue_type_of(name)
