import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score

from semcycle.errors import ScoringError, SplitError, StoreError
from semcycle.methods.base import Reconstructed
from semcycle.scoring.metrics.lesions import ComponentRule, find_calls, find_lesions, match_calls
from semcycle.scoring.metrics.metrics import metrics_reading
from semcycle.scoring.metrics.surface import surface_distances
from semcycle.scoring.panels import load_panels
from semcycle.scoring.runs import Contestant, score_runs
from semcycle.scoring.table import ScoreTable
from semcycle.scoring.thresholds import ThresholdData
from semcycle.store.slice_store import SliceStore
from semcycle.studies.running import intensity_baseline


def score_table(*words, **options):
    """The table, where every case can be scored."""
    table, failures = score_runs(*words, **options)
    assert failures == []
    return table


def black(x, brain):
    return Reconstructed(np.zeros_like(x))


def blurred(x, brain):
    tissue = np.zeros((len(x), 3, *x.shape[1:]), np.float32)
    return Reconstructed(np.where(brain, np.float32(0.4), np.float32(0)), tissue)


CONTESTANTS = [
    Contestant("flat", "toy", frozenset({"subject-h0"}), blurred),
    Contestant("dark", "intensity", frozenset(), black),
]


@pytest.fixture(scope="module")
def table(ball_store):
    return score_table(CONTESTANTS, ball_store, ["l0", "l1", "h1"])


def value(table, run, metric, pooling="pooled", preset="literal"):
    rows = table.table.query("run == @run and metric == @metric and pooling == @pooling and preset == @preset")
    assert len(rows) == 1
    return rows.iloc[0]


def test_all_voxels_count_the_background_as_healthy(ball_store, table):
    """A22: as the reference code pools; more healthy voxels of score 0 raise the AUROC and leave the Dice."""
    scores, truths = [], []
    for case in ("l0", "l1", "h1"):
        slices = ball_store.load(case)
        r = np.abs(slices.image.astype(np.float32) - 0.4 * (slices.brain > 0))
        scores.append(np.where(slices.brain > 0, r, 0).ravel())
        truths.append((slices.lesion > 0).ravel())
    scores, truths = np.concatenate(scores), np.concatenate(truths)
    everything = score_table(
        CONTESTANTS[:1], ball_store, ["l0", "l1", "h1"], presets=["literal"], lesions=False, all_voxels=True
    )
    row, brain = value(everything, "flat", "auprc"), value(table, "flat", "auprc")
    assert row["value"] == pytest.approx(average_precision_score(truths, scores), abs=1e-4)
    assert row["prevalence"] == pytest.approx(truths.mean())
    assert row["prevalence"] < 0.8 * brain["prevalence"]
    assert value(everything, "flat", "auroc")["value"] > value(table, "flat", "auroc")["value"]


def test_values_are_those_of_scikit_learn_on_the_same_voxels(ball_store, table):
    scores, truths, per_case = [], [], []
    for case in ("l0", "l1", "h1"):
        slices = ball_store.load(case)
        x, brain, lesion = slices.image.astype(np.float32), slices.brain > 0, slices.lesion > 0
        r = np.abs(x - 0.4 * brain)
        region = brain | lesion
        scores.append(np.where(brain, r, 0)[region])
        truths.append(lesion[region])
        if lesion.any():
            per_case.append(average_precision_score(truths[-1], scores[-1]))
    scores, truths = np.concatenate(scores), np.concatenate(truths)
    row = value(table, "flat", "auprc")
    assert row["value"] == pytest.approx(average_precision_score(truths, scores), abs=1e-4)
    assert row["prevalence"] == pytest.approx(truths.mean())
    assert row["cases"] == 3
    mean = value(table, "flat", "auprc", "per_case_mean")
    assert mean["value"] == pytest.approx(np.mean(per_case), abs=1e-4)
    assert mean["cases"] == 2
    assert value(table, "flat", "l1_healthy")["value"] == pytest.approx(scores[~truths].mean(), rel=1e-3)
    assert value(table, "flat", "residual_ratio")["value"] == pytest.approx(
        scores[truths].mean() / scores[~truths].mean(), rel=1e-3
    )


def test_best_dice_says_that_its_threshold_is_an_oracle(table):
    row = value(table, "flat", "best_dice")
    assert row["threshold_source"].startswith("oracle")
    assert 0 < row["threshold"] < 1
    each = value(table, "flat", "best_dice", "per_case_mean")
    assert each["threshold_source"] == "oracle: each case's own"
    others = table.table[table.table.metric == "auprc"]
    assert others.threshold.isna().all()
    assert set(table.table.metric) >= set(metrics_reading("curve"))


def test_every_run_and_preset_has_all_rows_and_curves(table):
    assert table.table.groupby(["run", "preset"]).size().nunique() == 1
    assert len(table.per_case) == 2 * 2 * 3
    for run in ("flat", "dark"):
        for preset in ("literal", "baur"):
            parts = [table.curves[f"{run}|{preset}|{part}"] for part in ("precision", "recall", "thresholds", "dice")]
            assert len({len(part) for part in parts}) == 1
            assert len(parts[0]) <= 512
            assert (np.diff(parts[1]) >= 0).all()
    best = value(table, "flat", "best_dice")["value"]
    assert table.curves["flat|literal|dice"].max() == pytest.approx(best, abs=0.02)


def test_panels_show_the_largest_lesion_slice(ball_store, table):
    assert [panel.case_id for panel in table.panels] == ["l0", "l1"]
    panel, slices = table.panels[0], ball_store.load("l0")
    assert panel.truth.sum() == slices.lesion.sum(axis=(1, 2)).max()
    assert panel.runs["flat"].tissue.shape == (3, 32, 32)
    assert panel.runs["dark"].reconstruction is None  # the intensity baseline reconstructs nothing


def test_scores_survive_the_disk(table, tmp_path):
    table.save(tmp_path)
    again = ScoreTable.load(tmp_path)
    np.testing.assert_allclose(again.table.value, table.table.value, rtol=1e-5)
    assert again.curves.keys() == table.curves.keys()
    np.testing.assert_allclose(again.panels[0].x, table.panels[0].x, atol=1e-3)
    assert again.panels[0].runs["flat"].scores.keys() == {"literal", "baur"}
    (tmp_path / "panels.npz").write_bytes((tmp_path / "panels.npz").read_bytes()[:100])
    with pytest.raises(ScoringError, match=r"panels\.npz"):
        load_panels(tmp_path / "panels.npz")
    (tmp_path / "table.csv").unlink()
    with pytest.raises(ScoringError, match="score again"):
        ScoreTable.load(tmp_path)


def test_lesion_outside_the_brain_mask_counts_as_missed(ball_store, monkeypatch):
    load = ball_store.load

    def cut(case):
        slices = load(case)
        brain = np.array(slices.brain)
        brain[slices.lesion > 0] = 0
        return type(slices)(**{**slices.__dict__, "brain": brain})

    monkeypatch.setattr(ball_store, "load", cut)
    hidden = score_table(CONTESTANTS[1:], ball_store, ["l0"])
    assert value(hidden, "dark", "auprc")["value"] == pytest.approx(
        value(hidden, "dark", "auprc")["prevalence"], rel=0.02
    )


def test_unfair_or_impossible_scorings_are_refused(ball_store):
    with pytest.raises(SplitError, match="subject-h0 from its training"):
        score_table(CONTESTANTS, ball_store, ["l0", "h0"])
    with pytest.raises(ScoringError, match="expected a lesion"):
        score_table(CONTESTANTS[1:], ball_store, ["h1"])
    with pytest.raises(ScoringError, match="different names"):
        score_table([CONTESTANTS[1]] * 2, ball_store, ["l0"])
    with pytest.raises(StoreError, match="nobody"):
        score_table(CONTESTANTS, ball_store, ["nobody"])


def test_intensity_baseline_scores_the_image_itself(ball_store):
    table = score_table([intensity_baseline(), Contestant("dark", "toy", frozenset(), black)], ball_store, ["l0"])
    assert value(table, "intensity", "auprc")["value"] == value(table, "dark", "auprc")["value"]


def test_thresholds_come_from_other_cases_and_say_so(ball_store):
    everyone = {one.name: ["l1"] for one in CONTESTANTS}
    healthy = {one.name: ["h2", "h3"] for one in CONTESTANTS}
    sources = [
        ThresholdData("validation", ball_store, everyone, "balls"),
        ThresholdData("healthy", ball_store, healthy, "balls"),
    ]
    table = score_table(CONTESTANTS, ball_store, ["l0", "h1"], presets=["literal"], thresholds=sources, resamples=100)
    validation = value(table, "dark", "dice_at_validation")
    assert validation["threshold_source"] == "validation: best pooled Dice on 1 case (l1) of balls"
    assert validation["value"] <= value(table, "dark", "best_dice")["value"]
    own = score_table(CONTESTANTS[1:], ball_store, ["l1"], presets=["literal"], resamples=100)
    assert validation["threshold"] == value(own, "dark", "best_dice")["threshold"]
    rate = value(table, "dark", "fpr_at_healthy_5")
    assert rate["threshold_source"] == "healthy: 5 % FPR on 2 cases (h2, h3) of balls"
    assert 0.01 < rate["value"] < 0.15
    both = [sources[0], ThresholdData("healthy", ball_store, everyone, "balls")]  # the same cases for both rules
    again = score_table(CONTESTANTS, ball_store, ["l0", "h1"], presets=["literal"], thresholds=both, resamples=100)
    assert value(again, "dark", "dice_at_validation")["threshold"] == validation["threshold"]
    source = value(again, "dark", "fpr_at_healthy_5")["threshold_source"]
    assert source == "healthy: 5 % FPR on 1 case (l1) of balls"
    with pytest.raises(SplitError, match=r"balls.*subject-l1 in both.*oracle"):
        score_table(CONTESTANTS, ball_store, ["l0", "l1"], thresholds=sources[:1])
    with pytest.raises(ScoringError, match="lesion in the validation cases"):
        score_table(CONTESTANTS, ball_store, ["l0"], thresholds=[ThresholdData("validation", ball_store, healthy, "b")])
    with pytest.raises(ScoringError, match="each rule to set thresholds once"):
        score_table(CONTESTANTS, ball_store, ["l0"], thresholds=sources[:1] * 2)


def test_the_second_look_sees_the_map_that_was_counted(ball_store):
    """A brighter ball in darkness: found at the best threshold, and what is called is what the counts say."""
    flat = Contestant("flat", "toy", frozenset(), black)
    cases = ["l0", "l1", "h0"]
    table = score_table([flat], ball_store, cases, presets=["literal"], resamples=100)
    rows = table.per_case.set_index("case")
    for case in cases:
        slices = ball_store.load(case)
        truth = slices.lesion > 0
        threshold = table.table.query("metric == 'best_dice' and pooling == 'pooled'").iloc[0]["threshold"]
        called = (slices.image.astype(np.float32) * (slices.brain > 0) >= threshold - 0.5 / 65535) & (slices.brain > 0)
        lesions = find_lesions(truth, (6.0, 7.0, 7.0), ComponentRule())
        calls = find_calls(called, lesions)
        counts, distances = match_calls(calls, lesions), surface_distances(calls.mask, truth, (6.0, 7.0, 7.0))
        for name in ("lesions", "components", "components_false"):
            assert rows.loc[case, f"{name}_at_oracle"] == getattr(counts, name)
        assert rows.loc[case, "hd95_mm_at_oracle"] == pytest.approx(distances.hd95_mm, nan_ok=True)
    found = table.table.query("metric == 'lesion_sensitivity_at_oracle'").iloc[0]
    assert (found["value"], found["pooling"], found["cases"]) == (1, "pooled", 3)
    alarms = table.curves["flat|literal|froc_false_positives"]
    assert len(alarms) == len(table.curves["flat|literal|froc_sensitivity"]) > 5
    plain = score_table([flat], ball_store, cases, presets=["literal"], resamples=100, lesions=False)
    assert not plain.table["metric"].str.startswith("lesion_").any()
    same = plain.table.merge(table.table, on=["metric", "pooling"])
    np.testing.assert_array_equal(same["value_x"], same["value_y"])


@pytest.mark.slow
def test_a_damaged_case_is_left_out_and_tables_are_the_same_however_many_workers(ball_store, tmp_path):
    folder = Path(shutil.copytree(ball_store.folder, tmp_path / "store"))
    store = SliceStore(folder)
    damaged = folder / "l1.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    contestants = [intensity_baseline()]
    for workers in (1, 2):
        table, failures = score_runs(contestants, store, ["l0", "l1", "h1"], resamples=100, workers=workers)
        assert [failure.case_id for failure in failures] == ["l1"]
        table.save(tmp_path / str(workers))
    for name in ("table.csv", "per_case.csv", "curves.npz", "panels.npz"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes(), name
    alone = score_table(contestants, ball_store, ["l0", "h1"], resamples=100)
    pd.testing.assert_frame_equal(alone.table, table.table)
