"""Maps that wait on disk for their thresholds, and the second look at them."""

import numpy as np
import pytest

from semcycle.errors import ScoringError
from semcycle.methods.base import Reconstructed
from semcycle.scoring.code_file import CodeFile
from semcycle.scoring.evaluate import Contestant, evaluate
from semcycle.scoring.metrics.codes import fit_code
from semcycle.scoring.metrics.lesions import component_metrics


def test_a_map_comes_back_at_any_threshold():
    generator = np.random.default_rng(0)
    region = generator.random((3, 8, 8)) < 0.5
    for scores in (generator.random(region.shape), generator.normal(size=region.shape) * 50):
        code = fit_code([scores])
        with CodeFile(code) as codes:
            for key in ("a", "b"):
                codes.append(key, scores if key == "a" else -scores, region)
            for threshold in (*np.quantile(scores, [0.1, 0.5, 0.9]), np.inf, -np.inf):
                np.testing.assert_array_equal(codes.called("a", region, threshold), region & (scores >= threshold))
            assert not codes.called("b", region, float(scores.max()) + 100).any()


def test_a_full_disk_says_so(monkeypatch):
    class Full:
        def seek(self, *place):
            raise OSError(28, "No space left on device")

        def close(self):
            pass

    with CodeFile() as codes:
        monkeypatch.setattr(codes, "_file", Full())
        with pytest.raises(ScoringError, match="TMPDIR to a larger disk"):
            codes.append("a", np.zeros(3, np.float32), np.ones(3, bool))


def test_the_second_look_sees_the_map_that_was_counted(ball_store):
    """A brighter ball in darkness: found at the best threshold, and what is called is what the counts say."""
    flat = Contestant("flat", "toy", frozenset(), lambda x, brain: Reconstructed(np.zeros_like(x)))
    cases = ["l0", "l1", "h0"]
    table = evaluate([flat], ball_store, cases, presets=["literal"], resamples=100)
    rows = table.per_case.set_index("case")
    for case in cases:
        slices = ball_store.load(case)
        truth = slices.lesion > 0
        threshold = table.table.query("metric == 'best_dice' and pooling == 'pooled'").iloc[0]["threshold"]
        called = (slices.image.astype(np.float32) * (slices.brain > 0) >= threshold - 0.5 / 65535) & (slices.brain > 0)
        expected = component_metrics(called, truth, (6.0, 7.0, 7.0))
        for name in ("lesions", "components", "components_false", "hd95_mm"):
            assert rows.loc[case, f"{name}_at_oracle"] == pytest.approx(expected[name], nan_ok=True)
    found = table.table.query("metric == 'lesion_sensitivity_at_oracle'").iloc[0]
    assert (found["value"], found["pooling"], found["cases"]) == (1, "pooled", 3)
    alarms = table.curves["flat|literal|froc_false_positives"]
    assert len(alarms) == len(table.curves["flat|literal|froc_sensitivity"]) > 5
    plain = evaluate([flat], ball_store, cases, presets=["literal"], resamples=100, lesions=False)
    assert not plain.table["metric"].str.startswith("lesion_").any()
    same = plain.table.merge(table.table, on=["metric", "pooling"])
    np.testing.assert_array_equal(same["value_x"], same["value_y"])
