"""Plots of an evaluation: one group for all models, named, and no crash."""

import warnings

import numpy as np
from matplotlib.figure import Figure

from openmm_backmap.benchmark import evaluate_plots
from openmm_backmap.benchmark.evaluate import EvaluationSettings, evaluate_models
from openmm_backmap.benchmark.evaluate_entries import GROUP_TITLES, EvaluationEntry
from openmm_backmap.benchmark.evaluate_plots import plot_report
from openmm_backmap.benchmark.evaluate_report import make_report
from openmm_backmap.errors import BackmapError


def evaluate(models, entries):
    scores, native = evaluate_models(
        models, entries, EvaluationSettings(noise_angstrom=(0.0, 0.1)),
        on_failure=lambda *_: None,
    )  # fmt: skip
    return make_report(scores, native, {"split": "val", "n_samples": 0}, {})


def other_group(entry):
    source = type(entry.source)(**{**vars(entry.source), "entry_id": "2ris"})
    return EvaluationEntry(source, "nmr")


def test_plots_compare_models_on_one_group_and_name_it(entry, make_reference):
    class NoCrystals(make_reference):
        def predict(self, entry, ca, sample):
            if entry.group == "xray":
                raise BackmapError("no luck")
            return super().predict(entry, ca, sample)

    models = [NoCrystals(name="peer"), make_reference(0.03, "ours")]
    report = evaluate(models, [entry, other_group(entry)])
    drawings = (evaluate_plots._draw_types, evaluate_plots._draw_noise,
                evaluate_plots._draw_calibration)  # fmt: skip
    for draw in drawings:
        axes = Figure().add_subplot()
        assert draw(axes, report)
        assert axes.get_title() == GROUP_TITLES["xray"]
        labels = [text.get_text() for text in axes.get_legend().get_texts()]
        assert [label.split(":")[0] for label in labels] == ["ours"]


def test_a_report_of_failures_only_has_no_plots(entry, make_reference, tmp_path):
    class Broken(make_reference):
        def predict(self, entry, ca, sample):
            raise BackmapError("no luck")

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert plot_report(evaluate([Broken()], [entry]), tmp_path) == []


def test_noise_without_side_chains_is_drawn(entry, make_reference, tmp_path):
    """Polyalanine has no chi1."""
    keep = np.arange(14) < 5
    source = type(entry.source)(**{
        **vars(entry.source),
        "residue_type": np.zeros_like(entry.residue_type),
        "mask": entry.source.mask & keep,
    })  # fmt: skip
    report = evaluate([make_reference()], [EvaluationEntry(source, "xray")])
    names = {path.name for path in plot_report(report, tmp_path)}
    assert names == {"evaluation_accuracy.png", "evaluation_noise.png"}
