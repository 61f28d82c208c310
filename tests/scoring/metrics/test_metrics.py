"""The registry of metrics: definitions by hand, empty cases, and the reference code's traps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import auc, precision_recall_curve, roc_curve

from semcycle.scoring.metrics.codes import BINS, fit_code
from semcycle.scoring.metrics.counts import ScoreCounts, count_scores
from semcycle.scoring.metrics.curve import Curve, curve
from semcycle.scoring.metrics.greedy import greedy_search
from semcycle.scoring.metrics.metrics import (
    MEASURES,
    METRICS,
    best_dice,
    best_iou,
    dice_at,
    greedy_dice,
    threshold_at_fpr,
)


def counts_of(scores, truth):
    return count_scores(np.asarray(scores, np.float64), np.asarray(truth, bool))


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
    assert METRICS[name].function(HAND) == pytest.approx(value)


@pytest.mark.parametrize(("name", "value"), [("dice", 0.5), ("precision", 0.5), ("recall", 0.5), ("fpr", 0.5)])
def test_measures_by_hand(name, value):
    assert MEASURES[name].function(HAND, 0.75) == pytest.approx(value)


@pytest.mark.parametrize("empty", NOTHING)
@pytest.mark.parametrize("name", [*METRICS, *MEASURES])
def test_the_empty_case_is_what_the_registry_says(name, empty):
    counts = NOTHING[empty]
    metric = METRICS.get(name) or MEASURES[name]
    value = metric.function(counts) if name in METRICS else metric.function(counts, 0.5)
    undefined = empty == "no voxel" or "no lesion voxel" in metric.empty
    assert np.isnan(value) == undefined
    assert metric.title
    assert metric.definition


def test_all_lesion_and_nothing_called():
    whole = counts_of([0.2, 0.6], [1, 1])
    assert METRICS["auprc"].function(whole) == METRICS["best_dice"].function(whole) == 1
    for name in ("auroc", "sensitivity_at_fpr_1"):
        assert np.isnan(METRICS[name].function(whole))
    assert np.isnan(MEASURES["fpr"].function(whole, 0.5))
    assert [MEASURES[name].function(HAND, 0.95) for name in ("dice", "precision", "recall", "fpr")] == [0, 0, 0, 0]
    for measure in MEASURES.values():
        assert np.isnan(measure.function(HAND, float("nan")))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 300), st.sampled_from([3, 40, 65536]))
def test_areas_and_rates_agree_with_scikit_learn(seed, size, levels):
    generator = np.random.default_rng(seed)
    truth = generator.random(size) < 0.3
    truth[:2] = True, False
    scores = np.round(generator.integers(0, levels, size) * (BINS - 1) / (levels - 1)) / (BINS - 1)
    counts = counts_of(scores, truth)
    precision, recall, _ = precision_recall_curve(truth, scores)
    assert METRICS["auprc_trapezoid"].function(counts) == pytest.approx(auc(recall, precision), abs=1e-9)
    rates, hits, thresholds = roc_curve(truth, scores, drop_intermediate=False)
    for percent in (1, 2, 5):
        allowed = rates <= percent / 100
        assert METRICS[f"sensitivity_at_fpr_{percent}"].function(counts) == pytest.approx(hits[allowed].max())
        threshold = threshold_at_fpr(counts, percent / 100)
        assert MEASURES["recall"].function(counts, threshold) == pytest.approx(hits[allowed].max())
        assert MEASURES["fpr"].function(counts, threshold) <= percent / 100
        assert threshold == pytest.approx(thresholds[allowed].min(), abs=1e-6)
    dice = best_dice(counts)
    for measure, best in (("dice", dice.value), ("dice", 2 * best_iou(counts).value / (1 + best_iou(counts).value))):
        assert MEASURES[measure].function(counts, dice.threshold) == pytest.approx(best)


@pytest.mark.parametrize("name", METRICS)
def test_many_draws_at_once_are_each_alone(name):
    generator = np.random.default_rng(0)
    thresholds = np.sort(generator.random(50))[::-1]
    hits, alarms = (np.cumsum(generator.integers(0, 9, (2, 3, 50)), axis=-1) for _ in range(2))
    hits[1, 2] = 0  # a draw without lesion
    many = METRICS[name].over(Curve(thresholds, hits, alarms, hits[..., -1], alarms[..., -1]))
    assert many.shape == (2, 3)
    assert np.isnan(many[1, 2])
    for place in np.ndindex(2, 3):
        c = Curve(thresholds, hits[place], alarms[place], int(hits[place][-1]), int(alarms[place][-1]))
        np.testing.assert_allclose(METRICS[name].over(c), many[place])


def test_greedy_search_misses_what_lies_above_nine_tenths():
    scores = np.where(np.arange(1000) < 100, 0.95, np.where(np.arange(1000) < 200, 0.92, 0.1))
    counts = counts_of(scores, np.arange(1000) < 100)
    assert greedy_dice(counts).value == pytest.approx(2 / 3)
    assert best_dice(counts) == pytest.approx((1, 0.95), abs=1e-4)


def test_greedy_search_misses_what_lies_behind_the_first_dip():
    """Dice falls between 0.1 and 0.2 and rises to 1 at 0.75 only, between two tried thresholds."""
    truth = np.arange(1000) < 50
    scores = np.where(truth, 0.75, 0.05)
    scores[50:350] = 0.72  # hides the peak from 0.7
    scores[350:360] = 0.15
    counts = counts_of(scores, truth)
    assert best_dice(counts).value == 1
    assert greedy_dice(counts).value == pytest.approx(100 / 400)


def test_greedy_search_keeps_the_first_of_equal_thresholds_and_ends_without_a_dip():
    truth = np.arange(1000) < 100
    flat = counts_of(np.full(1000, 0.25), truth)
    assert greedy_dice(flat) == pytest.approx((2 * 100 / 1100, 0.0))
    rising = counts_of(np.where(truth, 0.999, np.arange(1000) / 1200), truth)
    assert greedy_dice(rising).value == 1
    assert np.isnan(greedy_search(curve(NOTHING["no lesion"])).value)


def test_greedy_search_is_strict_under_every_code():
    """A score equal to a tried threshold is not lesion, coded or exact."""
    truth = np.arange(100) < 10
    scores = np.where(truth, 0.5, 0.2)
    for code_counts in (counts_of(scores, truth), count_scores(scores, truth, None, fit_code([scores]))):
        found = greedy_dice(code_counts)
        assert found.value == 1
        assert 0.2 - 1e-4 <= found.threshold < 0.3
    assert dice_at(counts_of(scores, truth), 0.5) == 1
