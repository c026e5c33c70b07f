"""Charts of unusual runs: one epoch, no warm-up, one net, no mixture; and the maths that is drawn."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from scipy.stats import beta, norm

from pcsr_fast.data.pairs import Dataset
from pcsr_fast.report import curves, histograms
from pcsr_fast.report.artefacts import Run, read_run

MIXTURE = {"means": [0.25, 0.7], "variances": [0.01, 0.02], "weights": [0.6, 0.4]}


@pytest.fixture
def run(make_run: Any, plain_set: Dataset) -> Run:
    return read_run(make_run(plain_set), plain_set)


def axis_of(run: Run) -> curves.EpochAxis:
    return curves.EpochAxis(run.history)


def test_charts_take_their_colours_and_font_from_the_page(run: Run) -> None:
    svg = str(curves.validation(run, axis_of(run)).svg)
    assert svg.startswith("<svg viewBox=")
    assert "var(--ink)" in svg
    assert "var(--muted)" in svg
    assert "var(--font)" in svg
    assert "DejaVu" not in svg
    assert "#22252b" not in svg
    assert ">net 2<" in svg
    assert ">best<" in svg


@pytest.mark.parametrize(("warm", "trained", "nets"), [(0, 1, 1), (1, 0, 2), (1, 1, 1), (0, 30, 2)])
def test_short_and_odd_runs(make_run: Any, plain_set: Dataset, warm: int, trained: int, nets: int) -> None:
    run = read_run(make_run(plain_set, warm=warm, trained=trained, nets=nets), plain_set)
    axis = axis_of(run)
    assert axis.warm == warm
    for draw in (curves.validation, curves.losses, curves.rate):
        assert "<svg" in draw(run, axis).svg
    for optional in (curves.split_quality, curves.counts, curves.replacement):
        assert (optional(run, axis) is None) == (trained == 0)
    assert (histograms.consistency(run, axis, 0) is None) == (trained == 0)
    assert histograms.loss_histogram(run, 0).title == ("Losses" if nets == 1 else "Losses, net 1")


def test_constant_curves_and_loss_names_with_signs(run: Run) -> None:
    for line in run.history:
        line["loss"] = {"clean": 0.0, "$\\bad{ <kind>": 1.0, "third": 2.0}
        line["lr"] = 1e-3
        line["dev"] = run.history[0]["dev"]
    svg = curves.losses(run, axis_of(run)).svg
    assert "$\\bad{ &lt;kind&gt;" in svg
    assert ">third<" in svg
    assert ">0.001<" in curves.rate(run, axis_of(run)).svg
    assert "<svg" in curves.validation(run, axis_of(run)).svg


def test_constant_losses_have_no_mixture(run: Run) -> None:
    split = copy.deepcopy(run.splits[0])
    split["mixture"] = {}
    run.metrics["split"] = [split, split]
    chart = histograms.loss_histogram(run, 0)
    assert "no mixture" in chart.note
    assert "low component" not in chart.svg


def test_unknown_truth_is_one_histogram(make_run: Any, plain_set: Dataset) -> None:
    run = read_run(make_run(plain_set, known=False), plain_set)
    svg = histograms.loss_histogram(run, 1).svg
    assert ">pairs<" in svg
    assert "wrong pairs" not in svg
    assert curves.split_quality(run, axis_of(run)) is None
    assert curves.replacement(run, axis_of(run)) is None
    assert curves.counts(run, axis_of(run)) is not None


def test_consistency_needs_scores(run: Run) -> None:
    for line in run.history:
        for split in line["split"] or []:
            split["pcs_histogram"] = None
    assert histograms.consistency(run, axis_of(run), 0) is None


def test_consistency_with_scores_above_one_and_no_threshold(run: Run) -> None:
    for line in run.history:
        for split in line["split"] or []:
            split["pcs_histogram"] = {"edges": [0, 2, 4], "counts": [0, 80]}
            split["pcs_threshold"] = None
    chart = histograms.consistency(run, axis_of(run), 1)
    assert chart is not None
    assert "threshold" not in chart.svg


@pytest.mark.parametrize(
    ("warm", "trained", "labels"),
    [
        (2, 3, ["w1", "w2", "1", "2", "3"]),
        (0, 3, ["1", "2", "3"]),
        (5, 50, ["w1", "1", "10", "20", "30", "40", "50"]),
        (2, 28, ["w1", "5", "10", "15", "20", "25"]),
    ],
)
def test_epoch_ticks(warm: int, trained: int, labels: list[str]) -> None:
    history = [{"stage": "warmup", "epoch": k} for k in range(warm)]
    history += [{"stage": "train", "epoch": k} for k in range(trained)]
    axis = curves.EpochAxis(history)
    places, found = axis.ticks()
    assert found == labels
    assert places[-1] == warm + int(labels[-1])
    assert axis.position("train", 1) == warm + 2
    assert axis.position("train", 99) is None


def test_gaussian_densities() -> None:
    x = np.linspace(0.05, 0.95, 7)
    expected = [0.6 * norm.pdf(x, 0.25, 0.1), 0.4 * norm.pdf(x, 0.7, np.sqrt(0.02))]
    np.testing.assert_allclose(histograms.component_densities("gaussian", MIXTURE, x), expected, rtol=1e-12)


def test_beta_densities_follow_from_the_moments() -> None:
    shapes = [(2.0, 8.0), (7.0, 3.0)]
    mixture = {
        "means": [float(beta.mean(a, b)) for a, b in shapes],
        "variances": [float(beta.var(a, b)) for a, b in shapes],
        "weights": [0.3, 0.7],
    }
    x = np.linspace(0.05, 0.95, 7)
    expected = [w * beta.pdf(x, a, b) for w, (a, b) in zip((0.3, 0.7), shapes, strict=True)]
    np.testing.assert_allclose(histograms.component_densities("beta", mixture, x), expected, rtol=1e-9)


def test_crossings() -> None:
    x = np.linspace(0, 1, 100_001)
    equal = {"means": [0.3, 0.7], "variances": [0.01, 0.01], "weights": [0.5, 0.5]}
    assert histograms.crossings(histograms.component_densities("gaussian", equal, x), x, 0.5, False) == pytest.approx(
        [0.5], abs=1e-4
    )
    wide_low = {"means": [0.4, 0.6], "variances": [0.09, 0.001], "weights": [0.5, 0.5]}
    densities = histograms.component_densities("gaussian", wide_low, x)
    both = histograms.crossings(densities, x, 0.5, False)
    assert len(both) == 2
    assert histograms.crossings(densities, x, 0.5, True) == both[:1]
    assert histograms.crossings(densities[::-1], x, 2.0, False) == []
