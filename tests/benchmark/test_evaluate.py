"""Evaluation of models whose figures are known, and of the table model."""

import json
import shutil

import numpy as np
import pytest

from openmm_backmap.artifact import find_model, load_engine
from openmm_backmap.benchmark.evaluate import (
    EvaluationSettings,
    evaluate_entry,
    evaluate_models,
)
from openmm_backmap.benchmark.evaluate_entries import (
    EvaluationEntry,
    group_of,
    iterate_entries,
)
from openmm_backmap.benchmark.evaluate_predict import (
    EnginePredictor,
    Prediction,
    draw_noise,
)
from openmm_backmap.benchmark.evaluate_report import (
    make_report,
    write_markdown,
    write_report,
)
from openmm_backmap.benchmark.evaluate_score import (
    DISTANCE_FIGURES,
    VALIDITY_FIGURES,
    find_ends,
    find_right_side_chains,
    score_frames,
)
from openmm_backmap.cli.main import main
from openmm_backmap.errors import BackmapError, DataError, InputError
from openmm_backmap.metrics import compute_chi_accuracy
from openmm_backmap.residues.names import CODES
from openmm_backmap.training.shards import ShardEntry, write_shard

ASKED = {"split": "val", "n_samples": 0}


def rename(entry, entry_id, group="xray"):
    """Give the same structure as another entry."""
    source = type(entry.source)(**{**vars(entry.source), "entry_id": entry_id})
    return EvaluationEntry(source, group)


def test_the_reference_itself_scores_perfectly(entry, make_reference):
    score = evaluate_entry(make_reference(), entry, EvaluationSettings(n_samples=2))
    for key in DISTANCE_FIGURES:
        wanted = 100.0 if key.startswith("chi") else 0.0
        assert score.mode[key] == wanted, key
    assert set(score.mode) == {*DISTANCE_FIGURES, *VALIDITY_FIGURES}
    assert score.mode["bonds_percent"] == 100.0
    assert score.is_right.all()
    # 97 residues, all with a chi1 but GLY, ALA and PRO
    letters = [int((entry.residue_type == k).sum()) for k in (0, 7, 14)]
    assert len(score.is_right) == 97 - sum(letters)
    assert score.right_by_type[:, 1].sum() == len(score.is_right)


def test_rmsd_of_shaken_atoms_is_the_noise_and_ends_are_told_apart(entry):
    positions = entry.reference.copy()
    ends = find_ends(entry.layout)
    assert np.flatnonzero(ends).tolist() == [0, 96]
    positions[:, ends, 0] += [0.0, 0.0, 0.3]
    figures = score_frames(positions, entry.reference, entry.layout)
    n_nco = 3 * 97
    wanted = 3.0 * np.sqrt(2 / n_nco)
    assert figures["backbone_nco_rmsd_angstrom"][0] == pytest.approx(wanted, rel=1e-4)
    assert figures["backbone_nco_inside_rmsd_angstrom"][0] == 0.0
    assert figures["side_chain_rmsd_angstrom"][0] == 0.0


def test_proline_counts_in_the_side_chain_rmsd_and_not_in_chi(entry):
    positions = entry.reference.copy()
    positions[:, entry.residue_type == CODES.index("P"), 5:] += np.float32(0.2)
    figures = score_frames(positions, entry.reference, entry.layout)
    assert figures["side_chain_rmsd_angstrom"][0] > 0.1
    assert figures["chi1_40_percent"][0] == 100.0


def test_right_side_chains_agree_with_chi_accuracy(entry, make_reference):
    positions = make_reference(0.06).predict(entry, entry.ca, None).positions
    is_right, counts = find_right_side_chains(positions, entry.reference, entry.layout)
    chi1, chi12 = compute_chi_accuracy(positions, entry.reference, entry.layout)
    has_chi2 = counts & np.isin(entry.residue_type, [
        1, 2, 3, 5, 6, 8, 9, 10, 11, 12, 13, 17, 18,
    ])  # fmt: skip
    assert 0.3 < chi12[0] < 0.95
    assert is_right[0, has_chi2].mean() == pytest.approx(chi12[0])
    assert is_right[0, counts].mean() <= chi1[0] + 1e-9


def test_atoms_not_built_are_missing_and_not_wrong(entry):
    positions = entry.reference.copy()
    positions[:, 10:20] = np.nan
    figures = score_frames(positions, entry.reference, entry.layout)
    assert figures["heavy_rmsd_angstrom"][0] == 0.0
    assert figures["bonds_percent"][0] == 100.0
    share = entry.layout.mask[10:20].sum() / entry.layout.mask.sum()
    assert figures["missing_atoms_percent"][0] == pytest.approx(100.0 * share)


def test_a_frame_with_holes_spoils_no_other_frame(entry, make_reference):
    model = make_reference(0.03)
    frames = np.repeat(model.predict(entry, entry.ca, None).positions, 4, axis=0)
    frames += np.arange(4, dtype=np.float32)[:, None, None, None] * np.float32(0.01)
    reference = np.repeat(entry.reference, 4, axis=0)
    whole = score_frames(frames, reference, entry.layout)
    holed = frames.copy()
    holed[1, 3:6] = np.nan
    holed[2] = np.nan
    figures = score_frames(holed, reference, entry.layout)
    for key, values in figures.items():
        assert values[[0, 3]].tolist() == whole[key][[0, 3]].tolist(), key
    share = 100.0 * entry.layout.mask[3:6].sum() / entry.layout.mask.sum()
    wanted = [0.0, share, 100.0, 0.0]
    assert figures["missing_atoms_percent"].tolist() == pytest.approx(wanted)
    # of nothing there is no figure; side chains that were not built are not right
    of_all = {"missing_atoms_percent", "chi1_40_percent", "chi12_40_percent"}
    assert {key for key, values in figures.items() if not np.isnan(values[2])} == of_all
    assert figures["chi1_40_percent"][2] == figures["chi12_40_percent"][2] == 0.0
    is_right, counts = find_right_side_chains(holed, reference, entry.layout)
    assert not is_right[2, counts].any()
    lost = is_right[0, 3:6] & counts[3:6]
    assert is_right[0, counts].sum() - is_right[1, counts].sum() == lost.sum() > 0


def test_means_over_entries_say_how_many_have_the_figure(entry, make_reference):
    class Absent(make_reference):
        def predict(self, entry, ca, sample):
            found = super().predict(entry, ca, sample)
            if len(self.seen) % 3 == 1:
                found.positions[:] = np.nan
            return found

    settings = EvaluationSettings(n_samples=2)
    models = [Absent(name="absent")]
    scores, native = evaluate_models(models, [entry, entry, entry], settings)
    report = make_report(scores, native, {**ASKED, "n_samples": 2}, {})
    group = report["models"]["absent"]["groups"]["xray"]
    assert group["mode_measured"]["bonds_percent"] == [0, 3]
    assert "bonds_percent" not in group["mode"]
    assert group["mode"]["missing_atoms_percent"] == 100.0
    scores["absent"][0].mode["bonds_percent"] = 98.0
    report = make_report(scores, native, {**ASKED, "n_samples": 2}, {})
    row = next(
        line for line in write_markdown(report).splitlines() if "bonds within" in line
    )
    assert row == "| bonds within 10 % (%) | 98.00 (1 of 3) | 100.00 | 100.00 |"


def test_wells_are_counted_a_structure_whatever_the_first_residue_lacks(
    entry, make_reference
):
    first = np.flatnonzero(find_right_side_chains(
        entry.reference, entry.reference, entry.layout
    )[1])[0]  # fmt: skip

    class Holed(make_reference):
        def predict(self, entry, ca, sample):
            found = super().predict(entry, ca, sample)
            if sample in (0, 1):
                found.positions[:, first] = np.nan
            return found

    whole, holed = (
        evaluate_entry(model, entry, EvaluationSettings(n_samples=3)).counts
        for model in (make_reference(), Holed())
    )
    lost = whole["sample"].sum(1) - holed["sample"].sum(1)
    kind = entry.residue_type[first]
    assert whole["sample"].sum() == pytest.approx(whole["reference"].sum())
    assert lost[kind] == pytest.approx(2 / 3)
    assert np.abs(np.delete(lost, kind)).max() < 1e-9


def test_diversity_is_of_the_atoms_that_all_samples_hold(entry, make_reference):
    class Holed(make_reference):
        def predict(self, entry, ca, sample):
            found = super().predict(entry, ca, sample)
            if sample == 1:
                found.positions[:, 5:9] = np.nan
            return found

    settings = EvaluationSettings(n_samples=3)
    score = evaluate_entry(Holed(0.03), entry, settings)
    whole = evaluate_entry(make_reference(0.03), entry, settings)
    wanted = whole.ensemble["diversity"]
    assert score.ensemble["diversity"] == pytest.approx(wanted, abs=0.02)


def test_noise_goes_to_the_beads_only_and_is_what_was_asked(entry, make_reference):
    model = make_reference()
    settings = EvaluationSettings(noise_angstrom=(0.0, 0.5), seed=3)
    score = evaluate_entry(model, entry, settings)
    clean, noisy = (ca for ca, _ in model.seen[-2:])
    assert np.array_equal(clean, entry.ca[:1])
    assert np.std(noisy - clean) == pytest.approx(0.05, rel=0.1)
    assert list(score.noise) == ["0", "0.5"]
    assert score.noise["0"]["heavy_rmsd_angstrom"] == 0.0
    # only CA moved, an atom in about eight
    assert 0.0 < score.noise["0.5"]["heavy_rmsd_angstrom"] < 0.5
    again = draw_noise(3, "1ris", "ca", shape=clean.shape)
    assert np.allclose(noisy - clean, 0.05 * again, atol=1e-6)


def test_methods_go_to_their_groups():
    assert group_of("X-RAY") == group_of("UNKNOWN") == group_of("EM") == "xray"
    assert group_of("NMR") == "nmr"
    assert group_of("MD") == "md"
    assert group_of("PED") == group_of("MC-ABSINTH") == "disordered"
    assert group_of("MD", "disordered") == group_of("MD-GEN") == "disordered"


def test_a_model_that_fails_is_left_out_and_said(entry, make_reference):
    class Broken(make_reference):
        def predict(self, entry, ca, sample):
            raise BackmapError("no luck")

    said = []
    models = [make_reference(), Broken(name="broken")]
    scores, native = evaluate_models(
        models, [entry], EvaluationSettings(),
        on_failure=lambda name, entry, error: said.append((name, str(error))),
    )  # fmt: skip
    assert said == [("broken", "no luck")]
    assert [len(rows) for rows in scores.values()] == [1, 0]
    assert native[0].mode["bonds_percent"] > 99.0
    with pytest.raises(BackmapError, match="no luck"):
        evaluate_models(models, [entry], EvaluationSettings())


@pytest.mark.parametrize("groups", ["xray", "nmr", "xray nmr"])
def test_a_model_that_fails_on_a_whole_group_stays_in_the_report(
    entry, make_reference, tmp_path, groups
):
    class Broken(make_reference):
        def predict(self, entry, ca, sample):
            if entry.group in groups:
                raise BackmapError(f"no luck with {entry.entry_id}")
            return super().predict(entry, ca, sample)

    entries = [entry, rename(entry, "2ris", "nmr")]
    models = [Broken(name="broken"), make_reference()]
    reasons = {"broken": {}}
    scores, native = evaluate_models(
        models, entries, EvaluationSettings(noise_angstrom=(0.1,)),
        on_failure=lambda name, e, error: reasons[name].update({e.entry_id: str(error)})
    )  # fmt: skip
    report = make_report(scores, native, ASKED, {}, reasons)
    write_report(report, tmp_path)
    found = json.loads((tmp_path / "evaluation.json").read_text())["models"]
    assert found["reference"]["failures"] == []
    assert found["broken"]["failures"] == [
        {"entry_id": e.entry_id, "group": e.group,
         "reason": f"no luck with {e.entry_id}"}
        for e in entries if e.group in groups
    ]  # fmt: skip
    text = (tmp_path / "evaluation.md").read_text()
    for e in entries:
        said = (
            f"broken failed on 1 of 1 entries, first on {e.entry_id}: "
            f"no luck with {e.entry_id}"
        )
        assert (said in text) == (e.group in groups)
    assert text.count("|  | broken | reference | native |") == 2


def test_the_report_has_rows_for_all_models_and_valid_json(
    entry, make_reference, tmp_path
):
    models = [make_reference(), make_reference(0.03, "shaken")]
    settings = EvaluationSettings(n_samples=2, noise_angstrom=(0.1,))
    scores, native = evaluate_models(models, [entry], settings)
    report = make_report(scores, native, {**ASKED, "n_samples": 2}, {})
    group = report["models"]["shaken"]["groups"]["xray"]
    assert group["mode"]["cpu_ms_per_frame"] == pytest.approx(500.0)
    assert group["mode"]["cpu_ms_per_100_residues"] == pytest.approx(500.0 / 0.97)
    confidence = group["confidence"]
    gap = abs(confidence["share_right"] - 0.75)
    assert confidence["expected_calibration_error"] == pytest.approx(gap)
    assert report["models"]["reference"]["calibration"]["probability"] == [1.0]
    files = write_report(report, tmp_path)
    found = json.loads((tmp_path / "evaluation.json").read_text())
    assert found["models"]["shaken"]["groups"]["xray"]["n_entries"] == 1
    text = (tmp_path / "evaluation.md").read_text()
    assert text == write_markdown(report)
    assert "| shaken, one sample |" in text
    # what the header promises: proline counts in the RMSD, not in chi
    assert "pooled over all frames and side chains" in text
    assert "without proline, side-chain RMSD is with it" in text
    assert "diversity" in text
    names = {path.name for path in files}
    assert {"calibration_shaken.json", "evaluation_calibration.png"} <= names


@pytest.fixture
def table():
    return EnginePredictor("table", load_engine("table", "cpu"))


def test_samples_depend_on_their_number_and_not_on_the_batch(table, entry):
    first = table.predict(entry, entry.ca, 0).positions
    again = table.predict(entry, entry.ca, 0).positions
    other = table.predict(entry, entry.ca, 1).positions
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 0.05


def test_the_table_model_is_as_good_as_a_table_should_be(table, entry):
    score = evaluate_entry(table, entry, EvaluationSettings())
    assert score.mode["backbone_nco_rmsd_angstrom"] < 0.6
    assert score.mode["chi1_40_percent"] > 50.0
    assert score.mode["peptides_percent"] == 100.0
    assert score.mode["wrong_hands"] == 0.0


def test_a_perfect_sampler_is_on_the_floors_of_the_report(entry, rng):
    """Each frame has rotamers of its own; the model draws from all of them."""
    n_frames = 10

    def turn(count):
        """Side chains beyond CB about CA-CB, to random wells."""
        made = np.repeat(entry.reference, count, axis=0)
        axis = made[:, :, 4] - made[:, :, 1]
        axis /= np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-6)
        angle = rng.integers(0, 3, (count, made.shape[1])) * 2.0 * np.pi / 3.0
        c, s = np.cos(angle)[..., None, None], np.sin(angle)[..., None, None]
        arm, k = made[:, :, 5:] - made[:, :, 4:5], axis[:, :, None]
        along = (arm * k).sum(-1, keepdims=True)
        made[:, :, 5:] = (
            made[:, :, 4:5] + arm * c + np.cross(k, arm) * s + k * along * (1 - c)
        )
        return made.astype(np.float32)

    class Perfect:
        can_sample, name = True, "perfect"

        def predict(self, entry, ca, sample):
            return Prediction(turn(len(ca)), None, 0.1, 0.1)

    frames = turn(n_frames)
    source = type(entry.source)(**{**vars(entry.source), "positions": frames})
    settings = EvaluationSettings(n_samples=4)
    found = evaluate_entry(Perfect(), EvaluationEntry(source, "md"), settings).ensemble
    for name in ("mode", "sample"):
        floor = found[f"chi1_jsd_{name}_floor"]
        assert found[f"chi1_jsd_{name}"] == pytest.approx(floor, rel=0.3)
    assert found["chi1_jsd_sample_floor"] < 0.8 * found["chi1_jsd_mode_floor"]


def test_gaps_in_the_beads_end_segments(protein, entry):
    positions = protein.positions.copy()
    positions[:, 50:] += np.float32(2.0)
    moved = EvaluationEntry(
        type(entry.source)(**{**vars(entry.source), "positions": positions}), "xray"
    )
    assert moved.bead_segment.tolist() == [0] * 50 + [1] * 47
    assert moved.layout.chain_index.tolist() == [0] * 50 + [1] * 47
    assert entry.bead_segment.max() == 0


def test_a_bond_that_only_the_beads_show_is_no_clash(protein, entry):
    """A hidden gap: CA one step apart, but C and N of the reference are not."""
    positions = protein.positions.copy()
    positions[:, 50, 0] += np.float32(0.06) * np.sign(
        positions[:, 50, 0] - positions[:, 49, 2]
    )
    source = type(entry.source)(**{**vars(entry.source), "positions": positions})
    broken = EvaluationEntry(source, "xray")
    assert broken.layout.chain_index.tolist() == [0] * 50 + [1] * 47
    assert broken.bead_segment.max() == 0
    figures = score_frames(protein.positions, positions, broken.layout)
    assert figures["severe_clashes_per_1000"][0] == 0.0
    # what is bonded neither for the beads nor in truth clashes as before
    moved = protein.positions.copy()
    moved[:, 50:] += np.float32(2.0)
    apart = EvaluationEntry(
        type(source)(**{**vars(source), "positions": moved}), "xray"
    )
    figures = score_frames(protein.positions, moved, apart.layout)
    assert figures["severe_clashes_per_1000"][0] > 0.0


def test_entries_of_a_split_are_the_same_ones_every_time(shared):
    folder = shared / "data"
    options = {"max_entries": 2, "max_frames": 3, "max_residues": 120}
    found = list(iterate_entries(folder, "test", **options))
    counts = {group: sum(e.group == group for e in found) for group in ("xray", "nmr")}
    assert counts == {"xray": 2, "nmr": 2}
    assert max(e.n_frames for e in found) == 3
    again = [e.entry_id for e in iterate_entries(folder, "test", **options)]
    assert again == [e.entry_id for e in found]
    with pytest.raises(InputError, match="'pets' is unknown"):
        next(iterate_entries(folder, "test", groups=["pets"]))
    with pytest.raises(DataError, match="no entry of 3 to 5 residues"):
        next(iterate_entries(folder, "test", max_residues=5, groups=["nmr"]))


def test_command_writes_a_report(shared, table, tmp_path, capsys):
    words = ["evaluate", "-m", "table", "--data", str(shared / "data")]
    words += ["--entries", "1", "--max-residues", "80", "--groups", "xray", "-q"]
    assert main([*words, "--samples", "2", "-o", str(tmp_path)]) == 0
    assert "heavy RMSD" in capsys.readouterr().out
    report = json.loads((tmp_path / "evaluation.json").read_text())
    assert report["models"]["table"]["groups"]["xray"]["n_entries"] == 1


def test_files_are_called_by_their_names(protein, tmp_path, capsys):
    n = protein.n_residues
    entry = ShardEntry(
        "1ris", "X-RAY", 2.0, protein.residue_type, np.zeros(n, np.int64),
        np.array([1]), protein.positions, protein.mask,
        np.zeros((n, 14), np.float32),
    )  # fmt: skip
    write_shard(tmp_path / "data" / "val.npz", [entry], "val")
    shutil.copy(find_model("table"), tmp_path / "mine.pt")
    models = f"{tmp_path / 'mine.pt'},table"
    words = ["evaluate", "-m", models, "--data", str(tmp_path / "data"), "-q"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert list(report["models"]) == ["mine", "table"]
    capsys.readouterr()
    (tmp_path / "mine.pt").rename(tmp_path / "table.pt")
    words[2] = models.replace("mine", "table")
    assert main(words) == 1
    assert "two models are called 'table'" in capsys.readouterr().err


def test_command_says_what_is_missing(shared, capsys):
    assert main(["evaluate", "--data", str(shared / "data")]) == 1
    assert "give --model" in capsys.readouterr().err
