"""Parts of a topology keep their beads and their bonds."""

import numpy as np
import pytest

from openmm_backmap.errors import InputError
from openmm_backmap.mapping.cg_topology import CGTopology
from openmm_backmap.mapping.subset import (
    select_beads,
    select_chains,
    select_residues,
)


@pytest.fixture
def topology() -> CGTopology:
    return CGTopology.from_sequence(["ACDEF", "GHIK"])


def test_a_gap_in_the_selection_ends_a_segment(topology: CGTopology) -> None:
    keep = np.array([1, 1, 0, 1, 1, 1, 1, 1, 1], bool)
    part = select_residues(topology, keep)
    assert [part.sequence(k) for k in range(part.n_chains)] == ["AC", "EF", "GHIK"]
    assert part.chain_id == ("A", "A", "B")
    assert part.n_beads == topology.n_beads
    assert part.bead_index[:, 0].tolist() == [0, 1, 3, 4, 5, 6, 7, 8]
    assert part.hash != topology.hash


def test_chains_are_chosen_by_their_id(topology: CGTopology) -> None:
    part = select_chains(topology, ["B"])
    assert part.sequence(0) == "GHIK"
    assert part.residue_id == topology.residue_id[5:]


def test_a_residue_is_kept_when_all_its_beads_are(topology: CGTopology) -> None:
    assert select_beads(topology, range(5)).sequence(0) == "ACDEF"
    mask = np.arange(9) < 5
    assert select_beads(topology, mask).sequence(0) == "ACDEF"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda t: select_chains(t, ["C"]), "chain 'C'.*A, B"),
        (lambda t: select_beads(t, [9]), r"particle 9 came.*0 to 8"),
        (lambda t: select_beads(t, [-1]), "particle -1 came"),
        (lambda t: select_beads(t, []), "no protein residue"),
        (lambda t: select_beads(t, [True, False]), "a mask of 2 particles came.* 9"),
        (lambda t: select_beads(t, [0.0, 1.0]), "0.0.* came, wanted particle indices"),
    ],
)
def test_a_selection_of_nothing_is_refused(topology, call, words) -> None:
    with pytest.raises(InputError, match=words):
        call(topology)
