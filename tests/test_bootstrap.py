"""Bootstrap intervals over subjects."""

import numpy as np
import pytest

from semcycle.scoring.bootstrap import bootstrap_intervals
from semcycle.scoring.counts import ScoreCounts, count_scores
from semcycle.scoring.metrics import auprc, best_dice


def cases(n, seed=0, spread=0.1):
    """Counts of cases whose lesions stand out more or less."""
    generator = np.random.default_rng(seed)
    made = []
    for _ in range(n):
        truth = generator.random(4000) < 0.1
        gap = 0.2 + spread * generator.normal()
        scores = np.clip(0.4 + gap * truth + 0.1 * generator.normal(size=4000), 0, 1)
        made.append(count_scores(scores.astype(np.float32), truth, np.ones(4000, bool)))
    return made


def test_the_interval_holds_the_value_and_narrows_with_more_subjects():
    widths = []
    for n in (6, 60):
        counts = cases(n)
        pooled = sum(counts, ScoreCounts.empty())
        found = bootstrap_intervals(counts, [str(k) for k in range(n)])
        for name, value in (("auprc", auprc(pooled)), ("best_dice", best_dice(pooled).dice)):
            low, high = found[name]
            assert low < value < high
        widths.append(np.diff(found["auprc"])[0])
    assert widths[1] < 0.6 * widths[0]


def test_equal_subjects_leave_no_width_and_the_value_itself():
    one = cases(1)[0]
    pooled = one + one + one
    low, high = bootstrap_intervals([one] * 3, list("abc"))["auprc"]
    assert low == pytest.approx(high)
    assert low == pytest.approx(auprc(pooled), abs=2e-3)


def test_scans_of_a_subject_stay_together():
    counts = cases(4)
    assert bootstrap_intervals(counts, list("aabb")) == bootstrap_intervals(
        [counts[0] + counts[1], counts[2] + counts[3]], list("ab")
    )


def test_the_seed_decides_and_too_few_subjects_have_no_interval():
    counts = cases(5)
    names = list("abcde")
    assert bootstrap_intervals(counts, names) == bootstrap_intervals(counts, names)
    assert bootstrap_intervals(counts, names) != bootstrap_intervals(counts, names, seed=1)
    assert np.isnan(bootstrap_intervals(counts[:1], ["a"])["auprc"]).all()
