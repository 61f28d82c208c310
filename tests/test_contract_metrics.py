"""What every metric promises, whichever it is: texts for readers, an empty case, and a direction that is true."""

import numpy as np
import pytest

from semcycle.scoring.metrics.counts import count_scores
from semcycle.scoring.metrics.curve import confusion, curve
from semcycle.scoring.metrics.metrics import METRICS

TRUTH = np.arange(200) < 60
GOOD = np.where(TRUTH, 0.8, 0.2) + np.linspace(-0.1, 0.1, 200)
BAD = 1 - GOOD
OF_VOXELS = sorted(name for name, metric in METRICS.items() if metric.reads in ("curve", "confusion"))


def value(name, scores, truth=TRUTH):
    metric, counts = METRICS[name], count_scores(scores.astype(np.float32), truth)
    return float(metric.function(curve(counts) if metric.reads == "curve" else confusion(counts, 0.5)))


@pytest.mark.parametrize("name", sorted(METRICS))
def test_it_has_texts_for_readers(name):
    metric = METRICS[name]
    assert metric.label
    assert metric.meaning.endswith(".")
    assert metric.empty
    assert set(metric.page) <= set(metric.policies)


@pytest.mark.parametrize("name", OF_VOXELS)
def test_its_direction_is_true(name):
    good, bad = value(name, GOOD), value(name, BAD)
    assert good > bad if METRICS[name].higher_is_better else good < bad


@pytest.mark.parametrize("name", OF_VOXELS)
def test_without_any_voxel_it_is_undefined(name):
    assert np.isnan(value(name, GOOD[:0], TRUTH[:0]))


@pytest.mark.parametrize("name", [name for name in OF_VOXELS if METRICS[name].finds])
def test_the_threshold_it_finds_is_a_score(name):
    threshold = METRICS[name].finds(curve(count_scores(GOOD.astype(np.float32), TRUTH)))
    assert 0 <= threshold <= 1
