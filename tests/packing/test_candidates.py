"""Selection of candidates: order, pruning, and what they share."""

import torch

from openmm_backmap.packing.candidates import (
    drop_hopeless,
    find_shared_prefix,
    select_candidates,
)
from openmm_backmap.packing.tables import make_packing_tables

LEUCINE, ALANINE = 10, 0


def select(log_p: list[float], n: int = 12, ratio: float = 7.0) -> tuple:
    c = len(log_p)
    chi = torch.arange(float(c)).view(1, 1, c, 1).expand(1, 2, c, 4)
    both = torch.tensor([log_p, log_p]).view(1, 2, c)
    types = torch.tensor([LEUCINE, ALANINE])
    return select_candidates(chi, both, types, make_packing_tables(), n, ratio)


def test_candidates_are_sorted_pruned_and_normalised() -> None:
    kept = select([-3.0, -1.0, -9.0, float("-inf")])
    assert kept.residue.tolist() == [0, 0]
    assert kept.chi[0, 0, :2, 0].tolist() == [1.0, 0.0]
    p = kept.log_p[0, 0].exp()
    torch.testing.assert_close(p.sum(), torch.tensor(1.0))
    torch.testing.assert_close(p[1] / p[0], torch.tensor(-2.0).exp())
    assert p[2:].tolist() == [0.0, 0.0]


def test_the_number_of_candidates_is_capped() -> None:
    assert select([-0.1 * k for k in range(8)], n=5).index.numel() == 5


def test_a_residue_without_any_probability_keeps_one_candidate() -> None:
    kept = select([float("-inf")] * 3)
    assert kept.residue.tolist() == [0]
    assert kept.log_p[0, 0, 0] == 0.0


def test_residues_without_chi_have_no_candidates() -> None:
    assert ALANINE not in select([0.0]).residue.tolist()[1:]
    assert torch.isinf(select([0.0]).log_p[0, 1]).all()


def test_chi_a_residue_lacks_are_ignored() -> None:
    kept = select([0.0, -1.0])
    assert kept.chi[0, 0, :, 2:].abs().max() == 0.0


def test_candidates_share_equal_leading_chi() -> None:
    chi = torch.tensor(
        [[[1.0, 2, 3, 4], [1, 2, 5, 4], [0, 2, 3, 4], [1, 2, 5, 6], [0, 7, 3, 4]]]
    )
    expected = [[0, 0, 0, 0], [0, 0, 1, 1], [2, 2, 2, 2], [0, 0, 1, 3], [2, 4, 4, 4]]
    assert find_shared_prefix(chi)[0].tolist() == expected


def test_hopeless_candidates_go_and_their_heirs_take_over() -> None:
    # candidate 0 is dropped; 1 shares its chi1, so 1 owns that atom now
    chi = torch.tensor([[1.0, 2, 0, 0], [1, 3, 0, 0], [4, 2, 0, 0]]).view(1, 1, 3, 4)
    kept = select_candidates(
        chi,
        torch.zeros(1, 1, 3),
        torch.tensor([LEUCINE]),
        make_packing_tables(),
        12,
        7.0,
    )
    energy = torch.tensor([[20.0, 0.0, 5.0]])
    left = drop_hopeless(kept, energy, 7.0)
    assert left.index.tolist() == [1, 2]
    assert left.same_as.tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert torch.isinf(left.log_p[0, 0]).tolist() == [True, False, False]
    assert drop_hopeless(kept, energy, 30.0).index.tolist() == [0, 1, 2]
