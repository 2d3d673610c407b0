"""Disulfides that are built are said, and bonded where that is asked for."""

import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from openmm import app, unit

from openmm_backmap import Backmapper, BackmapWarning, CGFrame
from openmm_backmap.backmapper_disulfides import find_disulfides
from openmm_backmap.errors import BackmapError, InputError
from openmm_backmap.residues.names import RESIDUE_NAMES

HAIRPIN = "VCRLPGTPEALCA"


def test_what_stands_as_a_disulfide_is_said_once(hairpin: np.ndarray) -> None:
    backmapper = Backmapper.from_topology(HAIRPIN, "ca", threads=1)
    with pytest.warns(BackmapWarning, match="CYS 2 and 12: they stand as in a disul"):
        frame = backmapper.backmap([CGFrame(hairpin)])[0]
    sulphur = frame.positions[backmapper.atom_topology.slot_atom[[1, 11], 5]]
    assert np.linalg.norm(sulphur[0] - sulphur[1]) < 0.22
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backmapper.backmap([CGFrame(hairpin)])


def test_auto_bonds_what_the_frames_hold(hairpin: np.ndarray) -> None:
    angle = np.radians(100.0) * np.arange(13)
    helix = np.stack([0.23 * np.cos(angle), 0.23 * np.sin(angle), 0.15 * np.arange(13)])
    apart = helix.T.astype(np.float32)
    options = {"disulfides": "auto", "threads": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        backmapper = Backmapper.from_topology(
            HAIRPIN, "ca", positions=hairpin, **options
        )
        frame = backmapper.backmap([CGFrame(hairpin)])[0]
    assert backmapper.atom_topology.disulfides == ((1, 11),)
    assert backmapper.atom_topology.variant[1] == "CYX"
    simulation = backmapper.to_simulation(frame, platform="Reference")
    energy = simulation.context.getState(getEnergy=True).getPotentialEnergy()
    assert energy.value_in_unit(unit.kilojoule_per_mole) < 5000.0
    both = np.stack([hairpin, apart])
    found = Backmapper.from_topology(HAIRPIN, "ca", frames=both, **options)
    assert found.atom_topology.disulfides == ()


def test_auto_wants_positions() -> None:
    with pytest.raises(InputError, match="no positions to tell them by"):
        Backmapper.from_topology(HAIRPIN, "table", disulfides="auto")
    with pytest.raises(InputError, match="'all' came, wanted pairs or 'auto'"):
        Backmapper.from_topology(HAIRPIN, "table", disulfides="all")


def test_a_cysteine_is_in_one_pair_only() -> None:
    heavy = np.zeros((2, 4, 14, 3), np.float32)
    heavy[:, :, 5, 0] = [0.0, 0.20, 0.41, 5.0]
    kind = np.full(4, RESIDUE_NAMES.index("CYS"))
    assert find_disulfides(heavy, kind) == [(0, 1)]
    heavy[1, 1, 5, 0] = 0.9
    assert find_disulfides(heavy, kind) == []
    assert find_disulfides(heavy, np.zeros(4, np.int64)) == []


def test_quantities_are_taken_in_their_unit(protein: SimpleNamespace) -> None:
    sequence = "".join("ARNDCQEGHILKMFPSTWYV"[k] for k in protein.residue_type)
    ca = protein.positions[0, :, 1].astype(np.float64)
    backmapper = Backmapper.from_topology(sequence, "table", threads=1)
    wanted = backmapper.backmap([CGFrame(ca)])[0].positions
    box = app.Topology()
    box.setUnitCellDimensions((50, 60, 70) * unit.angstrom)
    vectors = box.getPeriodicBoxVectors()
    for given in (10.0 * ca * unit.angstrom, [tuple(x) for x in ca] * unit.nanometer):
        frame = CGFrame(given, vectors)
        np.testing.assert_allclose(np.diag(frame.box), (5.0, 6.0, 7.0))
        found = backmapper.backmap([CGFrame(given)])[0].positions
        np.testing.assert_allclose(found, wanted, atol=2e-5)
    found = backmapper.backmap_positions((10.0 * ca * unit.angstrom)[None])
    np.testing.assert_allclose(found[0], wanted, atol=2e-5)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        (np.array([5.0, 5.0, 5.0]), "wanted vectors in rows"),
        (np.diag([5.0, 5.0, 0.0]), "has no volume"),
    ],
)
def test_boxes_that_are_none_are_named(box: np.ndarray, words: str) -> None:
    backmapper = Backmapper.from_topology("GAS", "table", threads=1)
    ca = np.array([[0.0, 0, 0], [0.38, 0, 0], [0.5, 0.36, 0]], np.float32)
    with pytest.raises(BackmapError, match=words):
        backmapper.backmap([CGFrame(ca, box)])
