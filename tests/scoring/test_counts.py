"""Counts, metrics, residuals and post-processing: closed forms, fixed vectors, and agreement with scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from semcycle.errors import ScoringError
from semcycle.methods.base import Reconstructed
from semcycle.prediction.filters import erode, median
from semcycle.prediction.postprocess import PRESETS, PostProcessing, make_anomaly_map, residual
from semcycle.scoring.metrics.codes import BINS
from semcycle.scoring.metrics.counts import ScoreCounts, count_scores
from semcycle.scoring.metrics.curve import confusion, curve
from semcycle.scoring.metrics.greedy import greedy_search
from semcycle.scoring.metrics.metrics import (
    METRICS,
    area_under_roc,
    auprc,
    best_dice,
    dice_of,
    metrics_reading,
    prevalence,
)


def counts_of(scores, truth):
    scores, truth = np.asarray(scores, np.float64), np.asarray(truth, bool)
    return count_scores(scores, truth, np.ones(scores.shape, bool))


def auroc(counts):
    return float(area_under_roc(curve(counts)))


def fixed_vectors():
    """Vectors A-E and G of the reference: scores, truth, exact best Dice, AP, AUROC, greedy Dice, its threshold."""
    i = np.arange(1000)
    v = (37 * i) % 1000
    c_truth = (v >= 800) ^ (i % 7 == 0)
    g = np.where(i < 100, 0.95, np.where(i < 200, 0.92, 0.1))
    return {
        "A": (i / 1000, i >= 700, 1.0, 1.0, 1.0, 1.0, 0.699),
        "B": (i / 1000, i % 10 == 0, 0.1818181818, 0.1, 0.495, 0.1816513761, 0.009),
        "C": (v / 1000, c_truth, 0.7102040816, 0.6982281617, 0.7802403165, 0.7102040816, 0.798),
        "D": (v / 20000, c_truth, 0.7102040816, 0.6982281617, 0.7802403165, 0.7102040816, 0.0399),
        "E": (np.full(1000, 0.25), i < 100, 0.1818181818, 0.1, 0.5, 0.1818181818, 0.0),
        "G": (g, i < 100, 1.0, 1.0, 1.0, 0.6666666667, 0.1),
    }


@pytest.mark.parametrize("name", fixed_vectors())
def test_fixed_vectors(name):
    scores, truth, dice, ap, roc, greedy, threshold = fixed_vectors()[name]
    counts = counts_of(scores, truth)
    assert best_dice(counts).value == pytest.approx(dice, abs=1e-9)
    assert auprc(counts) == pytest.approx(ap, abs=1e-9)
    assert auroc(counts) == pytest.approx(roc, abs=1e-9)
    found = greedy_search(curve(counts))
    assert found.value == pytest.approx(greedy, abs=1e-9)
    assert found.threshold == pytest.approx(threshold, abs=1.1e-3)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 400), st.floats(0.02, 0.9), st.sampled_from([3, 50, 65536]))
def test_agreement_with_scikit_learn(seed, size, share, levels):
    generator = np.random.default_rng(seed)
    truth = generator.random(size) < share
    truth[0], truth[-1] = True, False
    codes = np.round(generator.integers(0, levels, size) * (BINS - 1) / (levels - 1))
    scores = codes / (BINS - 1)
    counts = counts_of(scores, truth)
    assert auprc(counts) == pytest.approx(average_precision_score(truth, scores), abs=1e-9)
    assert auroc(counts) == pytest.approx(roc_auc_score(truth, scores), abs=1e-9)
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    dice = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    best = best_dice(counts)
    assert best.value == pytest.approx(dice.max(), abs=1e-9)
    called = scores >= best.threshold - 1e-9
    assert 2 * (called & truth).sum() / (called.sum() + truth.sum()) == pytest.approx(best.value, abs=1e-9)
    assert dice_of(confusion(counts, best.threshold)) == pytest.approx(best.value, abs=1e-9)
    assert best.threshold in thresholds.round(9) or best.threshold == pytest.approx(
        thresholds[np.abs(thresholds - best.threshold).argmin()], abs=1e-9
    )


def test_sixteen_bits_are_enough_for_real_scores():
    generator = np.random.default_rng(1)
    truth = generator.random(200_000) < 0.05
    scores = np.clip(generator.gamma(2, 0.02 + 0.03 * truth), 0, 1)
    counts = counts_of(scores, truth)
    assert auprc(counts) == pytest.approx(average_precision_score(truth, scores), abs=1e-4)
    assert auroc(counts) == pytest.approx(roc_auc_score(truth, scores), abs=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 300))
def test_counts_add_and_forget_the_order(seed, size):
    generator = np.random.default_rng(seed)
    scores, truth = generator.random(size), generator.random(size) < 0.3
    whole = counts_of(scores, truth)
    cut = size // 2
    parts = counts_of(scores[:cut], truth[:cut]) + counts_of(scores[cut:], truth[cut:]) + ScoreCounts.empty()
    order = generator.permutation(size)
    for other in (parts, counts_of(scores[order], truth[order])):
        np.testing.assert_array_equal(other.positives, whole.positives)
        np.testing.assert_array_equal(other.negatives, whole.negatives)
    assert whole.positives.sum() + whole.negatives.sum() == size


@pytest.mark.parametrize("name", metrics_reading("curve"))
def test_metric_contract(name):
    """Every metric: 1 for perfect scores, NaN without a lesion, not better for inverted scores."""
    metric = METRICS[name]
    truth = np.arange(100) < 20
    vectors = (counts_of(truth * 0.8, truth), counts_of(0.8 - truth * 0.8, truth), counts_of(np.zeros(5), np.zeros(5)))
    perfect, inverted, healthy, nothing = (metric.function(curve(c)) for c in (*vectors, ScoreCounts.empty()))
    assert perfect == pytest.approx(1)
    assert metric.higher_is_better == (perfect > inverted)
    assert np.isnan(healthy)
    assert np.isnan(nothing)


def test_hand_made_case():
    counts = counts_of([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0])
    assert auprc(counts) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert best_dice(counts).value == pytest.approx(4 / 5)
    assert best_dice(counts).threshold == pytest.approx(0.7, abs=1e-4)
    assert dice_of(confusion(counts, 0.85)) == pytest.approx(2 / 3)
    assert dice_of(confusion(counts, 1.0)) == 0
    assert prevalence(counts) == 0.5
    c = curve(counts)
    np.testing.assert_allclose(c.recall, [0.5, 0.5, 1, 1])
    np.testing.assert_allclose(c.precision, [1, 0.5, 2 / 3, 0.5])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -0.1, 1.1])
def test_scores_outside_the_range_are_refused(bad):
    with pytest.raises(ScoringError, match=r"scores in \[0, 1\]"):
        counts_of([0.5, bad], [1, 0])
    ignored = count_scores(np.array([0.5, bad]), np.array([True, False]), np.array([True, False]))
    assert ignored.positives.sum() == 1
    with pytest.raises(ScoringError, match="one shape"):
        count_scores(np.zeros(2), np.zeros(3, bool), np.zeros(2, bool))


def test_residual_signs():
    x, y = np.array([[[0.9, 0.2]]]), np.array([[[0.5, 0.5]]])
    np.testing.assert_allclose(residual(x, y), [[[0.4, 0.3]]], atol=1e-6)
    np.testing.assert_allclose(residual(x, y, "positive"), [[[0.4, 0.0]]], atol=1e-6)


def ellipse(a, b, size=128):
    grid = np.arange(size) - (size - 1) / 2
    return ((grid[:, None] / a) ** 2 + (grid[None] / b) ** 2 <= 1)[None]


@pytest.mark.parametrize(
    ("axes", "twelve", "three"), [((46, 37), 0.527, 0.870), ((30, 25), 0.337, 0.807), ((13, 12), 0.002, 0.606)]
)
def test_erosion_keeps_what_the_reference_keeps(axes, twelve, three):
    brain = ellipse(*axes)
    for pixels, share in ((12, twelve), (3, three)):
        assert erode(brain, pixels, (1.0, 1.0)).sum() / brain.sum() == pytest.approx(share, abs=0.012)
    assert erode(brain, 0, (1.0, 1.0)) is brain


@pytest.mark.parametrize(("side", "left"), [(3, 0), (4, 8), (5, 33), (6, 88)])
def test_median_of_cubes(side, left):
    scores = np.zeros((20, 20, 20), np.float32)
    scores[5 : 5 + side, 5 : 5 + side, 5 : 5 + side] = 1
    assert median(scores, np.ones(scores.shape, bool), (5, 5, 5)).sum() == left


@pytest.mark.parametrize(("slices", "left"), [(2, 0), (3, 2187)])
def test_median_of_slabs(slices, left):
    scores = np.zeros((20, 50, 50), np.float32)
    scores[8 : 8 + slices, 9:40, 9:40] = 1
    assert median(scores, np.ones(scores.shape, bool), (5, 5, 5)).sum() == left


def test_presets_do_what_they_say():
    generator = np.random.default_rng(0)
    brain = np.repeat(ellipse(46, 37), 12, axis=0)
    x = np.where(brain, generator.uniform(0.2, 0.4, brain.shape), 0).astype(np.float32)
    x[3:9, 58:70, 58:70] = 0.9  # bright, deep
    x[3:9, 62:66, 30:34] = 0.9  # bright, within 22.5 mm of the edge
    healthy = np.where(brain, np.float32(0.3), np.float32(0))
    literal = make_anomaly_map(x, Reconstructed(healthy), brain, "literal", 1.875)
    np.testing.assert_allclose(literal[brain], np.abs(x - healthy)[brain])
    assert (literal[~brain] == 0).all()
    baur = make_anomaly_map(x, Reconstructed(healthy), brain, "baur", 1.875)
    assert baur[6, 64, 64] == pytest.approx(0.6, abs=1e-6)
    assert baur[6, 64, 32] == 0
    assert baur[(x < np.quantile(x, 0.9)) & (baur < 0.1)].max() < 0.1
    assert PRESETS["baur"].erode_mm / 1.875 == 12
    with pytest.raises(ScoringError, match="literal, baur"):
        make_anomaly_map(x, Reconstructed(healthy), brain, "bauer", 1.875)
    own = make_anomaly_map(x, Reconstructed(healthy), brain, PostProcessing(sign="positive"), 1.875)
    assert (own <= literal + 1e-6).all()


def test_prior_scope():
    brain = np.zeros((1, 10, 10), bool)
    brain[0, :5] = True
    x = np.where(brain, np.linspace(0.1, 1, 100).reshape(1, 10, 10), 0).astype(np.float32)
    black = np.zeros_like(x)
    by_brain = make_anomaly_map(
        x, Reconstructed(black), brain, PostProcessing(prior_quantile=0.5, prior_scope="brain"), 1.0
    )
    by_volume = make_anomaly_map(x, Reconstructed(black), brain, PostProcessing(prior_quantile=0.5), 1.0)
    assert (by_brain > 0).sum() == 25
    assert (by_volume > 0).sum() == 50


def test_a_score_of_the_methods_own_takes_the_place_of_the_residual():
    x = np.full((3, 8, 8), 0.5, np.float32)
    brain = np.ones(x.shape, bool)
    own = np.linspace(0, 1, x.size, dtype=np.float32).reshape(x.shape)
    mapped = make_anomaly_map(x, Reconstructed(x, None, own), brain, "literal", 1.875)
    np.testing.assert_array_equal(mapped, own)
