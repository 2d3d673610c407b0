"""FASTA, one-letter sequences, and fitting them to segments."""

from pathlib import Path

import pytest

from openmm_backmap.errors import InputError, TopologyError
from openmm_backmap.mapping.sequence import (
    align_sequences,
    check_awsem_names,
    read_fasta,
    read_sequences,
)


def test_a_fasta_file_with_several_records_is_several_chains(tmp_path: Path) -> None:
    path = tmp_path / "two.fasta"
    path.write_text(">one|A\nGSM\nASA*\n\n>two\nacd efg\n")
    assert read_sequences(path) == ["GSMASA", "ACDEFG"]
    assert read_sequences(str(path)) == ["GSMASA", "ACDEFG"]
    assert [title for title, _ in read_fasta(path.read_text())] == ["one|A", "two"]


def test_sequences_come_as_strings_too() -> None:
    assert read_sequences("GSM") == ["GSM"]
    assert read_sequences("GSM:AAA") == ["GSM", "AAA"]
    assert read_sequences(["GSM", "u"]) == ["GSM", "C"]
    assert read_sequences(">x\nGG\n") == ["GG"]


def test_bad_sequences_are_refused_with_the_place() -> None:
    with pytest.raises(InputError, match="'X' at position 3"):
        read_sequences("GSX")
    with pytest.raises(InputError, match="does not exist"):
        read_sequences("missing.fasta")
    with pytest.raises(InputError, match="empty"):
        read_fasta("")
    with pytest.raises(InputError, match="no sequence"):
        read_fasta(">one\n>two\nGG")
    with pytest.raises(InputError, match="empty"):
        read_sequences([])


def test_sequences_add_up_or_repeat_over_copies() -> None:
    assert align_sequences(["GSM", "AA"], [5]) == ("GSMAA", [0, 3])
    assert align_sequences(["GSM"], [3, 3]) == ("GSMGSM", [0, 3])
    assert align_sequences(["GS", "AAA"], [2, 3, 2, 3])[0] == "GSAAAGSAAA"
    # two segments of one broken chain
    assert align_sequences(["GSMAA"], [2, 3]) == ("GSMAA", [0])
    with pytest.raises(TopologyError, match="3 residues.*4 protein"):
        align_sequences(["GSM"], [4])
    # 6 = 2 x 3, but the segments are no copies
    with pytest.raises(TopologyError, match="exactly"):
        align_sequences(["GSM"], [2, 4])


def test_awsem_names_catch_a_wrong_sequence() -> None:
    names, labels = ("NGP", "IGL", "IPR"), ("a", "b", "c")
    check_awsem_names(names, "SGP", labels)
    for wrong in ("GGP", "SAP", "SGA"):
        with pytest.raises(TopologyError, match="IGL is"):
            check_awsem_names(names, wrong, labels)
