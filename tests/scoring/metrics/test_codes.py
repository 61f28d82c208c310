"""Score codes: order is kept, counts add, and what is lost against exact sorting is bounded."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from semcycle.errors import ScoringError
from semcycle.scoring.metrics.codes import BINS, UNIT, ExactCode, FloatCode, UnitCode
from semcycle.scoring.metrics.counts import ScoreCounts, count_codes, count_scores
from semcycle.scoring.metrics.curve import curve
from semcycle.scoring.metrics.metrics import area_under_roc, auprc, best_dice
from tests.scoring.metrics.exact_sorting import bounds, fit_code

FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def adversarial(size=100_000):
    """Maps that defeat a fixed code: name -> scores ``(size,)``; lesions score higher on the whole. And the truth."""
    generator = np.random.default_rng(0)
    truth = generator.random(size) < 0.01
    base = generator.normal(size=size) + 1.5 * truth
    steps = np.float32(1).view(np.int32) + np.round(2000 * base).astype(np.int32)
    return truth, {
        "normal": base,
        "ties": np.round(base, 1),
        "constant": np.full(size, 3.7),
        "two values": np.where(base > 2, 1.0, -1.0),
        "heavy tail": np.exp(8 * base),
        "both tails": np.sinh(6 * base),
        "one decade": 1 + 9 / (1 + np.exp(-base)),
        "all negative": -np.exp(-base),
        "narrow on an offset": 1000 + 1e-2 * base,
        "neighbouring floats": steps.view(np.float32),
        "half zero": np.where(generator.random(size) < 0.5, 0, np.exp(base)),
        "tiny": 1e-38 * base,
        "huge": 1e36 * base,
        "many bands": (generator.integers(1, 65, size)) * (1 + 1e-5 * base),
        "integers": np.round(100 * base).astype(np.int16),
        "half precision": base.astype(np.float16),
    }


TRUTH, MAPS = adversarial()


def sorted_dice(truth, scores):
    precision, recall, _ = precision_recall_curve(truth, scores)
    return (2 * precision * recall / np.maximum(precision + recall, 1e-12)).max()


@pytest.mark.parametrize("name", MAPS)
def test_what_is_lost_against_exact_sorting_is_little_and_bounded(name):
    scores = MAPS[name]
    single = scores.astype(np.float32)
    counts = count_scores(scores, TRUTH, None, fit_code([scores]))
    limits = bounds(counts)
    for metric, exact, ours in (
        ("auprc", average_precision_score(TRUTH, single), auprc(counts)),
        ("auroc", roc_auc_score(TRUTH, single), float(area_under_roc(curve(counts)))),
        ("best_dice", sorted_dice(TRUTH, single), best_dice(counts).value),
    ):
        low, high = limits[metric]
        assert low - 1e-9 <= exact <= high + 1e-9
        assert low - 1e-9 <= ours <= high + 1e-9
        assert high - low < 5e-4
        assert ours == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize(
    "name", ["ties", "constant", "two values", "integers", "half precision", "narrow on an offset"]
)
def test_few_different_values_are_exact(name):
    code = fit_code([MAPS[name]])
    assert isinstance(code, ExactCode)
    low, high = bounds(count_scores(MAPS[name], TRUTH, None, code))["auprc"]
    assert low == pytest.approx(high, abs=1e-12)


@pytest.mark.parametrize("name", MAPS)
def test_codes_keep_the_order(name):
    scores = np.sort(MAPS[name].astype(np.float32))
    code = fit_code(np.array_split(MAPS[name], 7))
    codes = code.encode(scores)
    assert (np.diff(codes.astype(int)) >= 0).all()
    used = np.unique(codes)
    lowest = code.decode(used)
    assert (np.diff(lowest) > 0).all()
    np.testing.assert_array_equal(code.encode(lowest.astype(np.float32)), used)


@settings(max_examples=80, deadline=None)
@given(arrays(np.float32, st.integers(1, 60), elements=FINITE), st.booleans())
def test_any_finite_floats_keep_their_order(scores, crowded):
    crowd = np.random.default_rng(0).normal(size=80_000) if crowded else np.zeros(0)
    code = fit_code([crowd, scores])
    assert isinstance(code, FloatCode if crowded else ExactCode)
    codes = code.encode(scores).astype(int)
    order = np.argsort(scores, kind="stable")
    assert (np.diff(codes[order]) >= 0).all()
    same = scores[:, None] == scores[None]
    assert (codes[:, None] == codes[None])[same].all()
    for score in scores:  # at a threshold of its own value a score is lesion
        assert code.first_code(float(score)) <= code.encode(np.array([score]))[0]


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, st.integers(1, 50), elements=FINITE), st.integers(0, 50))
def test_counts_under_a_fitted_code_add(scores, cut):
    truth = np.arange(len(scores)) % 3 == 0
    code = fit_code([scores])
    whole = count_scores(scores, truth, None, code)
    parts = ScoreCounts.empty(code) + count_scores(scores[:cut], truth[:cut], None, code)
    parts += count_scores(scores[cut:], truth[cut:], None, code)
    np.testing.assert_array_equal(parts.positives, whole.positives)
    np.testing.assert_array_equal(parts.negatives, whole.negatives)
    assert whole.positives.sum() == truth.sum()


def test_counts_of_different_codes_do_not_add():
    one, other = (ScoreCounts.empty(fit_code([np.array(values)])) for values in ([1.0], [2.0]))
    with pytest.raises(ScoringError, match="one score code"):
        one + other
    assert ScoreCounts.empty().code == UnitCode() == UNIT


def test_the_two_zeros_are_one_score():
    scores = np.array([0.0, -0.0, -1.0])
    for code in (fit_code([scores]), fit_code([scores, np.random.default_rng(0).normal(size=80_000)])):
        codes = code.encode(scores)
        assert codes[0] == codes[1] > codes[2]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_scores_that_are_no_float32_number_are_refused(bad):
    code = fit_code([np.array([1.0, 2.0])])
    for use in (lambda some: fit_code([some]), code.encode):
        with pytest.raises(ScoringError, match="expected finite scores, got 1"):
            use(np.array([0.5, bad]))
    ignored = count_scores(np.array([1.0, bad]), np.array([True, False]), np.array([True, False]), code)
    assert ignored.positives.sum() == 1
    with pytest.raises(ScoringError, match="got none"):
        fit_code([])
    with pytest.raises(ScoringError, match="got none"):
        fit_code([np.zeros(0)])


def test_thresholds_beyond_all_scores_call_nothing_or_everything():
    for scores in (np.array([1.0, 2.0, 3.0]), np.random.default_rng(0).normal(size=80_000)):
        code = fit_code([scores])
        assert code.first_code(1e9) == code.first_code(np.inf) == BINS
        assert code.first_code(-1e9) == code.first_code(-np.inf) == 0
    assert UNIT.first_code(np.inf) == BINS
    assert UNIT.first_code(-1) == 0


def test_the_unit_code_rounds():
    generator = np.random.default_rng(0)
    scores = generator.random(10_000).astype(np.float32)
    np.testing.assert_array_equal(UNIT.encode(scores), np.rint(scores * np.float32(65535)).astype(int))
    np.testing.assert_array_equal(UNIT.encode(UNIT.decode(np.arange(BINS))), np.arange(BINS))


def test_memory_layout_and_regions_do_not_matter():
    generator = np.random.default_rng(0)
    scores, truth, region = generator.random((7, 9, 11)), generator.random((7, 9, 11)) < 0.3, np.ones((7, 9, 11), bool)
    region[3:] = False
    flat = count_scores(scores[region], truth[region])
    for order in ("C", "F"):
        found = count_scores(np.asarray(scores, order=order), truth, region)
        np.testing.assert_array_equal(found.positives, flat.positives)
        np.testing.assert_array_equal(found.negatives, flat.negatives)
    coded = count_codes(UNIT.encode(scores[region]), truth[region])
    np.testing.assert_array_equal(coded.positives, flat.positives)
    np.testing.assert_array_equal(coded.negatives, flat.negatives)


def test_many_counts_of_one_case_do_not_overflow():
    one = ScoreCounts(np.full(BINS, 2**31 - 1, np.int32), np.zeros(BINS, np.int32))
    assert (one + one).positives[0] == 2**32 - 2


def test_counts_take_memory_for_the_codes_that_occur_only():
    counts = count_scores(np.full(10_000, 0.5, np.float32), np.arange(10_000) < 3)
    assert len(counts.codes) == 1
    assert [voxels.tolist() for voxels in counts.occurring] == [[3], [9_997]]
