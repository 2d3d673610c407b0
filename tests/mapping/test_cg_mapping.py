"""Mappings: slots, names, and refusals."""

import pytest

from openmm_backmap.errors import InputError
from openmm_backmap.mapping.cg_mapping import CGBead, CGMapping, find_mapping


def test_built_in_mappings_have_their_slots() -> None:
    assert find_mapping("ca").slot_names == ("CA",)
    assert find_mapping("com").beads[0].center == "mass"
    awsem = find_mapping("awsem")
    assert awsem.n_slots == 3
    assert awsem.beads[1].absent_in == ("GLY",)
    assert find_mapping(awsem) is awsem


def test_an_unknown_mapping_names_those_there_are() -> None:
    with pytest.raises(InputError, match="awsem, ca, com"):
        find_mapping("martini")


def test_a_mapping_must_have_a_bead_in_every_residue() -> None:
    with pytest.raises(InputError, match="every residue"):
        CGMapping("bad", (CGBead("CB", atoms=("CB",), absent_in=("GLY",)),))
    with pytest.raises(InputError, match="twice"):
        CGMapping("bad", (CGBead("A", atoms=("CA",)),) * 2)
    with pytest.raises(InputError, match="one atom"):
        CGBead("BB", atoms=("N", "CA"))
    with pytest.raises(InputError, match="center"):
        CGBead("BB", atoms=("N", "CA"), center="middle")
