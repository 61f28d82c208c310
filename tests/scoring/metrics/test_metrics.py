"""The registry of metrics: definitions by hand, empty cases, and the reference code's traps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from semcycle.scoring.metrics.codes import BINS
from semcycle.scoring.metrics.counts import ScoreCounts, count_scores
from semcycle.scoring.metrics.curve import Curve, confusion, curve
from semcycle.scoring.metrics.greedy import greedy_search
from semcycle.scoring.metrics.lesions import LesionCounts
from semcycle.scoring.metrics.metrics import (
    METRICS,
    ErrorSums,
    best_dice,
    metrics_reading,
    threshold_at_fpr,
)
from semcycle.scoring.metrics.policies import POLICIES
from semcycle.scoring.metrics.surface import NOWHERE
from tests.scoring.metrics.exact_sorting import fit_code


def counts_of(scores, truth):
    return count_scores(np.asarray(scores, np.float64), np.asarray(truth, bool))


def of(name, counts):
    """A metric over all thresholds."""
    return float(METRICS[name].function(curve(counts)))


def at(name, counts, threshold):
    """A metric at a threshold."""
    return float(METRICS[name].function(confusion(counts, threshold)))


def greedy_dice(counts):
    return tuple(map(float, greedy_search(curve(counts))))


HAND = counts_of([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0])
NOTHING = {"no voxel": ScoreCounts.empty(), "no lesion": counts_of([0.1, 0.9], [0, 0])}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("auprc", 0.5 * 1 + 0.5 * 2 / 3),
        ("auprc_trapezoid", 0.5 * 1 + 0.5 * (0.5 + 2 / 3) / 2),
        ("auroc", 3 / 4),
        ("best_dice", 4 / 5),
        ("best_iou", 2 / 3),
        ("greedy_dice", 4 / 5),
        ("sensitivity_at_fpr_5", 0.5),
    ],
)
def test_values_by_hand(name, value):
    assert of(name, HAND) == pytest.approx(value)


@pytest.mark.parametrize(("name", "value"), [("dice", 0.5), ("precision", 0.5), ("recall", 0.5), ("fpr", 0.5)])
def test_measures_by_hand(name, value):
    assert at(name, HAND, 0.75) == pytest.approx(value)


@pytest.mark.parametrize("empty", NOTHING)
@pytest.mark.parametrize("name", [*metrics_reading("curve"), *metrics_reading("confusion")])
def test_the_empty_case_is_what_the_registry_says(name, empty):
    metric, counts = METRICS[name], NOTHING[empty]
    value = at(name, counts, 0.5) if metric.cut else of(name, counts)
    assert np.isnan(value) == (empty == "no voxel" or "no lesion voxel" in metric.empty)


@pytest.mark.parametrize(
    ("name", "numbers", "empty"),
    [
        ("lesion_sensitivity", LesionCounts(0, 0, 2, 0), "no lesion"),
        ("lesion_precision", LesionCounts(2, 0, 0, 0), "no call"),
        ("lesion_f1", LesionCounts(0, 0, 2, 0), "no lesion"),
        ("hd95_mm", NOWHERE, "no lesion, or nothing called"),
        ("assd_mm", NOWHERE, "no lesion, or nothing called"),
        ("l1_healthy", ErrorSums(0.0, 1.0, 0, 5), "no healthy voxel"),
        ("residual_ratio", ErrorSums(1.0, 0.0, 5, 0), "no lesion voxel in the brain, or no error outside"),
    ],
)
def test_the_empty_case_of_lesions_surfaces_and_errors(name, numbers, empty):
    assert METRICS[name].empty == empty
    assert np.isnan(METRICS[name].function(numbers))


def test_rates_of_lesions_and_errors_by_hand():
    counts = LesionCounts(4, 3, 5, 2, 2)
    values = [float(metric.function(counts)) for metric in metrics_reading("lesions").values()]
    assert values == pytest.approx([3 / 4, 2 / 5, 3 / 2, 2 * 0.75 * 0.4 / 1.15])
    assert METRICS["lesion_f1"].function(LesionCounts(2, 0, 0, 0)) == 0
    errors = ErrorSums(4.0, 9.0, 8, 6)
    assert [float(metric.function(errors)) for metric in metrics_reading("errors").values()] == [0.5, 3.0]


@pytest.mark.parametrize("name", METRICS)
def test_the_registry_says_everything(name):
    metric = METRICS[name]
    assert metric.label
    assert metric.meaning.endswith(".")
    assert metric.empty
    assert set(metric.page) <= set(metric.policies) <= set(POLICIES)
    if metric.reads in ("curve", "confusion"):  # they have counts in every slice and case
        assert metric.policies == tuple(POLICIES)
    assert metric.finds is None or metric.reads == "curve"


@pytest.mark.parametrize("name", [name for name, metric in METRICS.items() if metric.finds])
def test_the_threshold_that_a_metric_finds_gives_its_value(name):
    generator = np.random.default_rng(3)
    truth = generator.random(3000) < 0.2
    counts = counts_of(np.round(np.clip(0.3 + 0.2 * truth + 0.1 * generator.normal(size=3000), 0, 0.89), 4), truth)
    threshold = METRICS[name].finds(curve(counts))
    kind = {"best_iou": "dice", "best_dice": "dice", "greedy_dice": "dice"}.get(name, "recall")
    value = of(name, counts)
    expected = 2 * value / (1 + value) if name == "best_iou" else value
    slack = 1e-3 if name == "greedy_dice" else 0  # what lies strictly above
    assert at(kind, counts, threshold + slack) == pytest.approx(expected, abs=0.01 if slack else 1e-9)


def test_all_lesion_and_nothing_called():
    whole = counts_of([0.2, 0.6], [1, 1])
    assert of("auprc", whole) == of("best_dice", whole) == 1
    for name in ("auroc", "sensitivity_at_fpr_1"):
        assert np.isnan(of(name, whole))
    assert np.isnan(at("fpr", whole, 0.5))
    assert [at(name, HAND, 0.95) for name in ("dice", "precision", "recall", "fpr")] == [0, 0, 0, 0]
    for name in metrics_reading("confusion"):
        assert np.isnan(at(name, HAND, float("nan")))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 300), st.sampled_from([3, 40, 65536]))
def test_areas_and_rates_agree_with_scikit_learn(seed, size, levels):
    generator = np.random.default_rng(seed)
    truth = generator.random(size) < 0.3
    truth[:2] = True, False
    scores = np.round(generator.integers(0, levels, size) * (BINS - 1) / (levels - 1)) / (BINS - 1)
    counts = counts_of(scores, truth)
    precision, recall, _ = precision_recall_curve(truth, scores)
    assert of("auprc_trapezoid", counts) == pytest.approx(auc(recall, precision), abs=1e-9)
    rates, hits, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    for percent in (1, 2, 5):
        allowed = rates <= percent / 100
        assert of(f"sensitivity_at_fpr_{percent}", counts) == pytest.approx(hits[allowed].max())
        threshold = threshold_at_fpr(counts, percent / 100)
        assert at("recall", counts, threshold) == pytest.approx(hits[allowed].max())
        assert at("fpr", counts, threshold) <= percent / 100
        assert threshold == pytest.approx(thresholds[allowed].min(), abs=1e-6)
    dice = best_dice(counts)
    iou = of("best_iou", counts)
    assert at("dice", counts, dice.threshold) == pytest.approx(dice.value) == pytest.approx(2 * iou / (1 + iou))


@pytest.mark.parametrize("name", metrics_reading("curve"))
def test_many_draws_at_once_are_each_alone(name):
    generator = np.random.default_rng(0)
    thresholds = np.sort(generator.random(50))[::-1]
    hits, alarms = (np.cumsum(generator.integers(0, 9, (2, 3, 50)), axis=-1) for _ in range(2))
    hits[1, 2] = 0  # a draw without lesion
    many = METRICS[name].function(Curve(thresholds, hits, alarms, hits[..., -1], alarms[..., -1]))
    assert many.shape == (2, 3)
    assert np.isnan(many[1, 2])
    for place in np.ndindex(2, 3):
        c = Curve(thresholds, hits[place], alarms[place], int(hits[place][-1]), int(alarms[place][-1]))
        np.testing.assert_allclose(METRICS[name].function(c), many[place])


def test_greedy_search_misses_what_lies_above_nine_tenths():
    scores = np.where(np.arange(1000) < 100, 0.95, np.where(np.arange(1000) < 200, 0.92, 0.1))
    counts = counts_of(scores, np.arange(1000) < 100)
    assert greedy_dice(counts)[0] == pytest.approx(2 / 3)
    assert best_dice(counts) == pytest.approx((1, 0.95), abs=1e-4)


def test_greedy_search_misses_what_lies_behind_the_first_dip():
    """Dice falls between 0.1 and 0.2 and rises to 1 at 0.75 only, between two tried thresholds."""
    truth = np.arange(1000) < 50
    scores = np.where(truth, 0.75, 0.05)
    scores[50:350] = 0.72  # hides the peak from 0.7
    scores[350:360] = 0.15
    counts = counts_of(scores, truth)
    assert best_dice(counts).value == 1
    assert greedy_dice(counts)[0] == pytest.approx(100 / 400)


def test_greedy_search_keeps_the_first_of_equal_thresholds_and_ends_without_a_dip():
    truth = np.arange(1000) < 100
    flat = counts_of(np.full(1000, 0.25), truth)
    assert greedy_dice(flat) == pytest.approx((2 * 100 / 1100, 0.0))
    rising = counts_of(np.where(truth, 0.999, np.arange(1000) / 1200), truth)
    assert greedy_dice(rising)[0] == 1
    assert np.isnan(greedy_search(curve(NOTHING["no lesion"])).value)


def test_greedy_search_is_strict_under_every_code():
    """A score equal to a tried threshold is not lesion, coded or exact."""
    truth = np.arange(100) < 10
    scores = np.where(truth, 0.5, 0.2)
    for code_counts in (counts_of(scores, truth), count_scores(scores, truth, None, fit_code([scores]))):
        value, threshold = greedy_dice(code_counts)
        assert value == 1
        assert 0.2 - 1e-4 <= threshold < 0.3
    assert at("dice", counts_of(scores, truth), 0.5) == 1
