"""Public names load on first use and are documented where they live."""

import pytest

import openmm_backmap


@pytest.mark.parametrize("name", openmm_backmap.__all__)
def test_every_public_name_can_be_imported(name: str) -> None:
    assert getattr(openmm_backmap, name) is not None
    assert name in dir(openmm_backmap)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Backmaper'"):
        _ = openmm_backmap.Backmaper
