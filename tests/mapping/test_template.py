"""A reference structure laid along CG residues."""

import numpy as np
import pytest
from openmm import app

from openmm_backmap.errors import TopologyError
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.mapping.template import align_template
from openmm_backmap.residues.names import CODES, RESIDUE_NAMES

MONOMER = "GSHMKTAYIAKQRCISFVKCHFSRQ"


def reference(
    chains: list[str], sulfur: dict[int, float] | None = None
) -> tuple[app.Topology, np.ndarray]:
    """N, CA, C of each residue; CA x = 100 chain + residue, in nm.

    The k-th cysteine, where `sulfur` has it, has its SG at that height.
    """
    topology, places, cysteines = app.Topology(), [], 0
    for number, sequence in enumerate(chains):
        chain = topology.addChain(chr(65 + number))
        for row, code in enumerate(sequence):
            residue = topology.addResidue(RESIDUE_NAMES[CODES.index(code)], chain)
            for k, name in enumerate(("N", "CA", "C")):
                topology.addAtom(name, app.element.carbon, residue)
                places.append([100.0 * number + row, 0.1 * k, 0.0])
            if code == "C":
                if sulfur is not None and cysteines in sulfur:
                    topology.addAtom("SG", app.element.sulfur, residue)
                    places.append([0.0, 50.0 + sulfur[cysteines], 0.0])
                cysteines += 1
    water = topology.addChain("W")
    topology.addAtom("O", app.element.oxygen, topology.addResidue("HOH", water))
    places.append([9e3, 0.0, 0.0])
    return topology, np.array(places)


def test_one_monomer_serves_all_copies_and_gaps_stay_open() -> None:
    # the reference lacks the tag and a loop, and has a linker of its own
    structure = MONOMER[4:12] + "GGGG" + MONOMER[15:]
    cg = CGTopology.from_sequence([MONOMER] * 3)
    template = align_template(cg, *reference([structure]))
    x = template.positions[:, 1, 0].reshape(3, -1)
    assert np.isnan(x[:, :4]).all()
    np.testing.assert_array_equal(x[0, 4:12], np.arange(8))
    np.testing.assert_array_equal(x[0, 15:], np.arange(12, 22))
    assert np.isnan(x[0, 12:15]).all()
    np.testing.assert_array_equal(x[1], x[0])
    assert template.n_known == 3 * 18
    assert template.disulfides == ()


def test_each_chain_of_a_dimer_takes_its_own() -> None:
    cg = CGTopology.from_sequence([MONOMER, MONOMER, "AAAAKAAAAKA"])
    template = align_template(cg, *reference([MONOMER, "WWWWWWWW", MONOMER]))
    x = template.positions[:, 1, 0]
    assert x[0] == 0.0
    assert x[len(MONOMER)] == 200.0
    assert np.isnan(x[2 * len(MONOMER) :]).all()


def test_each_copy_gets_the_disulfides_of_the_reference() -> None:
    cg = CGTopology.from_sequence([MONOMER, MONOMER])
    first, second = [k for k, code in enumerate(MONOMER) if code == "C"]
    n = len(MONOMER)
    inside = reference([MONOMER], {0: 0.0, 1: 0.205})
    found = align_template(cg, *inside).disulfides
    assert found == ((first, second), (n + first, n + second))
    # between the two chains of a dimer
    across = reference([MONOMER, MONOMER], {1: 0.0, 3: 0.205})
    assert align_template(cg, *across).disulfides == ((second, n + second),)
    apart = reference([MONOMER], {0: 0.0, 1: 0.4})
    assert align_template(cg, *apart).disulfides == ()


def test_another_protein_is_refused() -> None:
    cg = CGTopology.from_sequence([MONOMER])
    with pytest.raises(TopologyError, match="share no stretch of 6 residues"):
        align_template(cg, *reference(["WWWWPWWWWPWWWW"]))
