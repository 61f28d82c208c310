"""Bootstrap over subjects: intervals, paired tests, and agreement with plain loops and scipy."""

import numpy as np
import pytest
from scipy import stats

from semcycle.scoring.metrics.bootstrap import Draws, SubjectBootstrap
from semcycle.scoring.metrics.counts import ScoreCounts, count_scores
from semcycle.scoring.metrics.curve import Confusion, curve
from semcycle.scoring.metrics.metrics import METRICS, auprc, best_dice, metrics_reading


def cases(n, seed=0, spread=0.1, lift=0.2):
    """Counts of cases whose lesions stand out more or less."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        truth = generator.random(4000) < 0.1
        gap = lift + spread * generator.normal()
        scores = np.clip(0.4 + gap * truth + 0.1 * generator.normal(size=4000), 0, 1)
        made.append(count_scores(scores.astype(np.float32), truth))
    return made


def pool(counts):
    return sum(counts, ScoreCounts.empty())


def draw(counts, subjects=None, names=("auprc", "best_dice"), **kwargs):
    subjects = subjects or [str(k) for k in range(len(counts))]
    metrics, whole = {name: METRICS[name] for name in names}, pool(counts)
    exact = {name: metric.function(curve(whole)) for name, metric in metrics.items()}
    return SubjectBootstrap(subjects, **kwargs).pooled(counts, metrics, exact)


def test_the_interval_holds_the_value_and_narrows_with_more_subjects():
    widths = []
    for n in (6, 60):
        counts = cases(n)
        found = draw(counts)
        for name, value in (("auprc", auprc(pool(counts))), ("best_dice", best_dice(pool(counts)).value)):
            low, high, low_bca, high_bca = found[name].interval()
            assert found[name].value == value
            assert low < value < high
            assert low_bca < value < high_bca
        widths.append(np.diff(found["auprc"].interval()[:2])[0])
    assert widths[1] < 0.6 * widths[0]


@pytest.mark.parametrize("name", metrics_reading("curve"))
def test_pooled_draws_are_the_metric_of_resampled_counts(name):
    counts = cases(5)
    bootstrap = SubjectBootstrap(list("abcde"), resamples=30)
    metric = METRICS[name]
    exact = {name: metric.function(curve(pool(counts)))}
    found = bootstrap.pooled(counts, {name: metric}, exact)[name]
    assert len(found.jackknife) == 5
    for weights, value in zip(bootstrap.weights[1:], [*found.resampled, *found.jackknife], strict=True):
        drawn = pool([one for one, weight in zip(counts, weights, strict=True) for _ in range(int(weight))])
        assert value == pytest.approx(metric.function(curve(drawn)), abs=4e-3)


def test_means_medians_and_measures_are_those_of_the_drawn_cases():
    values = np.array([0.1, np.nan, 0.5, 0.9, 0.2, 0.4])
    bootstrap = SubjectBootstrap(list("abcdef"), resamples=50)
    mean, median = bootstrap.mean(values), bootstrap.median(values)
    assert mean.value == pytest.approx(np.nanmean(values))
    assert median.value == pytest.approx(np.nanmedian(values))
    table = Confusion(*np.random.default_rng(0).integers(1, 20, (4, 6)).astype(float))
    dice = bootstrap.summed(METRICS["dice"], table)
    for row, weights in enumerate(bootstrap.weights[1:51].astype(int)):
        drawn = np.repeat(np.arange(6), weights)
        assert mean.resampled[row] == pytest.approx(np.nanmean(values[drawn]))
        assert median.resampled[row] == pytest.approx(np.nanmedian(values[drawn]))
        tp, fp, p = (part[drawn].sum() for part in table[:3])
        assert dice.resampled[row] == pytest.approx(2 * tp / (tp + fp + p))


def test_intervals_agree_with_scipy():
    values = np.random.default_rng(0).gamma(1, 1, 40)
    interval = SubjectBootstrap([str(k) for k in range(40)], resamples=20_000).mean(values).interval()
    for method, (low, high) in (("percentile", interval[:2]), ("BCa", interval[2:])):
        theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, method=method, rng=1).confidence_interval
        assert (low, high) == pytest.approx((theirs.low, theirs.high), rel=0.02)
    assert interval.low_bca > interval.low  # skewed to the right


def test_equal_subjects_leave_no_width_and_the_value_itself():
    one = cases(1)[0]
    low, high, low_bca, high_bca = draw([one] * 3)["auprc"].interval()
    assert low == pytest.approx(high)
    assert low == pytest.approx(auprc(one + one + one), abs=1e-9)
    assert (low_bca, high_bca) == pytest.approx((low, high))


def test_scans_of_a_subject_stay_together():
    counts = cases(4)
    pairs = draw([counts[0] + counts[1], counts[2] + counts[3]], list("ab"))
    single = draw(counts, list("aabb"))
    for name, draws in single.items():
        assert draws.interval() == pytest.approx(pairs[name].interval())


def test_the_seed_decides_and_too_few_subjects_have_no_interval():
    counts = cases(5)
    assert draw(counts)["auprc"].interval() == draw(counts)["auprc"].interval()
    assert (draw(counts)["auprc"].resampled != draw(counts, seed=1)["auprc"].resampled).any()
    assert np.isnan(draw(counts[:1])["auprc"].interval()).all()
    healthy = [ScoreCounts(np.zeros_like(one.positives), one.negatives) for one in counts[1:]]
    assert np.isnan(draw([counts[0], *healthy])["auprc"].interval()).all()
    values = np.array([0.5, np.nan, np.nan])
    for draws in (SubjectBootstrap(list("abc")).mean(values), SubjectBootstrap(list("abc")).median(values)):
        assert draws.value == 0.5
        assert np.isnan(draws.interval()).all()
    assert np.isnan(SubjectBootstrap(list("ab")).median(np.full(2, np.nan)).value)


def test_a_paired_test_sees_what_separate_intervals_hide():
    """Cases differ a lot, methods only a little, but always in the same direction."""
    easy = np.random.default_rng(0).random(30)
    better = easy + 0.02
    bootstrap = SubjectBootstrap([str(k) for k in range(30)])
    one, other = bootstrap.mean(better), bootstrap.mean(easy)
    assert one.interval().low < other.interval().high
    difference = one - other
    assert difference.value == pytest.approx(0.02)
    assert difference.interval().low > 0.019
    assert difference.p_value() == pytest.approx(2 / 2001)
    assert (one - one).p_value() == 1


def test_p_values_are_uniform_without_a_difference():
    generator = np.random.default_rng(0)
    bootstrap = SubjectBootstrap([str(k) for k in range(40)], resamples=400)
    found = [bootstrap.mean(generator.normal(size=40)).p_value() for _ in range(300)]
    assert 0.02 < np.mean(np.array(found) < 0.05) < 0.10


def test_a_statistic_that_draws_rarely_define_has_no_interval():
    assert np.isnan(Draws(0.5, np.full(100, np.nan), np.zeros(3)).interval()).all()
    assert np.isnan(Draws(np.nan, np.zeros(100), np.zeros(3)).p_value())
