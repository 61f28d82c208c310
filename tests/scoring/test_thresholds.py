"""Thresholds: from what they are set, and what `--threshold-from` finds."""

from types import SimpleNamespace

import numpy as np
import pytest

from semcycle.errors import ScoringError, StoreError
from semcycle.scoring.metrics.counts import ScoreCounts, count_scores
from semcycle.scoring.metrics.curve import confusion
from semcycle.scoring.metrics.metrics import dice_of
from semcycle.scoring.thresholds import RULES, carried_thresholds, oracle_thresholds, set_thresholds, threshold_data
from semcycle.training.calibration import Calibration, HealthyThreshold, Threshold


def make_run(held_out=("l1",), learned=("h0", "h1"), calibration=None):
    subjects = [f"subject-{case}" for case in (*learned, *held_out)]
    record = {"validation_cases": list(held_out), "subjects": subjects}
    return SimpleNamespace(record=record, calibration=calibration)


def choose(words, runs, store, test=("l0",)):
    return threshold_data(words, runs, ["intensity"], store, list(test))


def test_held_out_cases_are_each_runs_own_and_all_of_them_the_baselines(ball_store):
    runs = {"a": make_run(("l1",)), "b": make_run(("h3",))}
    (found,) = choose(["validation"], runs, ball_store)
    assert found.rule == "validation"
    assert found.cases == {"a": ["l1"], "b": ["h3"], "intensity": ["h3", "l1"]}
    assert found.name == f"store (store {ball_store.hash[:12]})"


def test_of_a_store_everything_new_is_taken(ball_store):
    (found,) = choose([f"healthy={ball_store.folder}"], {"a": make_run()}, ball_store)
    assert found.cases == {"a": ["h2", "h3", "l1"], "intensity": ["h2", "h3", "l1"]}
    (alone,) = choose([f"validation={ball_store.folder}"], {}, ball_store)
    assert alone.cases == {"intensity": ["h0", "h1", "h2", "h3", "l1"]}
    assert choose([], {"a": make_run()}, ball_store) == []


@pytest.mark.parametrize("word", ["test", "oracle=x", "validation=", "=x"])
def test_other_words_are_refused(word, ball_store):
    with pytest.raises(ScoringError, match="expected --threshold-from validation, healthy"):
        choose([word], {}, ball_store)


def test_runs_without_such_cases_are_named(ball_store, tmp_path):
    with pytest.raises(ScoringError, match=r"a: expected validation cases.*validation_share"):
        choose(["validation"], {"a": make_run(())}, ball_store)
    with pytest.raises(ScoringError, match=r"a: expected its validation cases.*elsewhere.*validation=STORE"):
        choose(["validation"], {"a": make_run(("elsewhere",))}, ball_store)
    everything = make_run((), ("h0", "h1", "h2", "h3", "l1"))
    with pytest.raises(ScoringError, match="a: expected healthy cases"):
        choose([f"healthy={ball_store.folder}"], {"a": everything}, ball_store)
    with pytest.raises(ScoringError, match="intensity: expected validation cases"):
        choose(["validation"], {}, ball_store)
    with pytest.raises(StoreError):
        choose([f"healthy={tmp_path}"], {}, ball_store)


class Sessions:
    """A store of two sessions of one subject, and a scan of another."""

    def subject(self, case):
        return case.split("_")[0]


def test_a_model_brings_its_thresholds_and_may_not_have_seen_the_test_subjects():
    one = HealthyThreshold(rate=0.01, value=0.3)
    calibration = Calibration(preset="baur", source="ten scans", cases=["p_1"], thresholds={"baur": [one]})
    subjects = calibration.model_copy(update={"subjects": ["p"]})
    runs = {"a": make_run(calibration=subjects), "b": make_run(), "old": make_run(calibration=calibration)}
    found = carried_thresholds(runs, ["literal", "baur"], Sessions(), ["q_1"])
    assert found["a", "literal"] == []
    (threshold,) = found["a", "baur"]
    assert (threshold.rule, threshold.value) == ("model_1", 0.3)
    assert threshold.source == "healthy: 1 % FPR on ten scans, carried by the model"
    for case in ("p_1", "p_2"):  # the same scan, and the same subject's next one
        (seen,) = carried_thresholds(runs, ["baur"], Sessions(), [case])["a", "baur"]
        assert seen.source == "oracle: saw test subjects, 1 % FPR on ten scans, carried by the model"
    (old,) = carried_thresholds(runs, ["baur"], Sessions(), ["p_1"])["old", "baur"]  # knows its cases only
    assert old.source.startswith("oracle: ")


def test_a_threshold_that_nothing_reaches_is_infinite_and_finds_nothing():
    """The highest score is already too common among the healthy voxels."""
    counts = count_scores(np.ones(100, np.float32), np.arange(100) < 10)
    threshold = {one.rule: one for one in oracle_thresholds(counts, 1)}["fpr_1"]
    assert threshold == Threshold("fpr_1", float("inf"), threshold.source)
    assert dice_of(confusion(counts, threshold.value)) == 0


def test_what_cannot_set_a_threshold_is_refused():
    healthy = count_scores(np.linspace(0, 1, 9), np.zeros(9, bool))
    with pytest.raises(ScoringError, match=r"store x.*lesion in the validation cases.*1 case \(h\)"):
        set_thresholds("validation", healthy, ["h"], "store x")
    with pytest.raises(ScoringError, match="healthy voxels"):
        set_thresholds("healthy", ScoreCounts.empty(), ["h"], "store y")


def test_every_rule_that_is_set_has_its_words():
    counts = count_scores(np.linspace(0, 1, 9), np.arange(9) > 6)
    names = [one.rule for one in oracle_thresholds(counts, 1)]
    for rule in ("validation", "healthy"):
        names += [one.rule for one in set_thresholds(rule, counts, ["c"], "{} of somebody")]
    assert set(names) | {"given", "model_1", "model_2", "model_5"} == set(RULES)
    assert set_thresholds("healthy", counts, ["c"], "{}")[0].source == "healthy: 1 % FPR on 1 case (c) of {}"
