"""The score table: every policy, thresholds with provenance, comparisons, files."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from semcycle.errors import ScoringError
from semcycle.scoring.entries import CallScores, CaseScores, Entry
from semcycle.scoring.metrics.counts import ScoreCounts, count_scores, pool
from semcycle.scoring.metrics.curve import confusion
from semcycle.scoring.metrics.lesions import LesionCounts
from semcycle.scoring.metrics.metrics import ErrorSums, auprc, best_dice, dice_of, metrics_reading, prevalence
from semcycle.scoring.metrics.policies import POLICIES, lesion_thirds
from semcycle.scoring.metrics.surface import SurfaceDistances
from semcycle.scoring.table import ScoreTable, build_table
from semcycle.scoring.thresholds import oracle_thresholds, set_thresholds
from tests.scoring.metrics.exact_sorting import fit_code


def pooled(cases):
    return pool([case.counts for case in cases])


def make_case(number, lift=0.25, lesion=True):
    """Ten slices of which four show lesion; later cases have larger lesions."""
    generator = np.random.default_rng(number)
    truth = np.zeros((10, 400), bool)
    if lesion:
        truth[3:7, : 10 + 8 * number] = True
    scores = np.clip(0.3 + lift * truth + 0.15 * generator.normal(size=truth.shape), 0, 1).astype(np.float32)
    bearing = truth.any(axis=1)
    return CaseScores(
        f"case{number}",
        f"subject{number}",
        count_scores(scores, truth),
        count_scores(scores[bearing], truth[bearing]),
        float(truth.sum()),
        errors=ErrorSums(scores[~truth].sum(), scores[truth].sum(), (~truth).sum(), truth.sum()),
    )  # fmt: skip


def make_entry(run="good", lift=0.25, preset="literal"):
    records = [make_case(number, lift, lesion=number < 7) for number in range(9)]
    thresholds = [
        *oracle_thresholds(pooled(records), len(records)),
        *set_thresholds("validation", pooled([make_case(20, lift)]), ["v1"], "store x"),
        *set_thresholds("healthy", pooled([make_case(21, lift, lesion=False)]), ["h1"], "store y"),
    ]
    return Entry(run, "toy", preset, records, thresholds)


@pytest.fixture(scope="module")
def entries():
    return [make_entry(), make_entry("bad", 0.1)]


@pytest.fixture(scope="module")
def scores(entries):
    return build_table(entries, resamples=300)


def row(scores, metric, pooling="pooled", run="good"):
    found = scores.table.query("run == @run and metric == @metric and pooling == @pooling")
    assert len(found) == 1
    return found.iloc[0]


def test_every_metric_stands_under_every_policy(scores):
    assert not scores.table.duplicated(["run", "preset", "metric", "pooling"]).any()
    found = set(zip(scores.table["metric"], scores.table["pooling"], strict=True))
    assert found >= {(metric, policy) for metric in metrics_reading("curve") for policy in POLICIES}
    rules = ("oracle", "fpr_1", "fpr_5", "validation", "healthy_1", "healthy_2")
    assert found >= {
        (f"{name}_at_{rule}", policy) for name in metrics_reading("confusion") for rule in rules for policy in POLICIES
    }
    for policy in POLICIES.values():
        assert policy.label.format("x") != policy.meaning


def test_policies_by_hand(entries, scores):
    records = entries[0].cases
    values = np.array([auprc(record.counts) for record in records[:7]])
    assert row(scores, "auprc")["value"] == pytest.approx(auprc(pooled(records)))
    assert row(scores, "auprc", "per_case_mean")["value"] == pytest.approx(values.mean())
    assert row(scores, "auprc", "per_case_median")["value"] == pytest.approx(np.median(values))
    for third, part in (("small", values[:3]), ("medium", values[3:5]), ("large", values[5:])):
        found = row(scores, "auprc", f"per_case_mean_{third}")
        assert found["value"] == pytest.approx(part.mean())
        assert found["cases"] == len(part)
    slices = sum((record.lesion_slices for record in records), ScoreCounts.empty())
    found = row(scores, "auprc", "lesion_slices")
    assert found["value"] == pytest.approx(auprc(slices))
    assert found["prevalence"] == pytest.approx(prevalence(slices))
    assert found["value"] > row(scores, "auprc")["value"]
    threshold = best_dice(pooled(records)).threshold
    mean = row(scores, "dice_at_oracle", "per_case_mean")
    assert mean["value"] == pytest.approx(
        np.mean([dice_of(confusion(record.counts, threshold)) for record in records[:7]])
    )
    assert row(scores, "fpr_at_oracle", "per_case_mean")["cases"] == 9


def test_every_number_has_both_intervals(scores):
    table = scores.table
    assert table[["value", "low", "high", "low_bca", "high_bca"]].notna().all().all()
    assert (table["low"] <= table["high"]).all()
    inside = (table["low"] - 1e-9 <= table["value"]) & (table["value"] <= table["high"] + 1e-9)
    assert inside[table["pooling"] == "pooled"].mean() > 0.95


def test_thresholds_say_where_they_come_from(scores):
    table = scores.table
    with_threshold = table[table["metric"].str.contains("_at_|best_|greedy")]
    assert with_threshold["threshold_source"].ne("").all()
    assert table[table["metric"].isin(["auprc", "auroc"])]["threshold_source"].eq("").all()
    kinds = with_threshold["threshold_source"].str.split(":").str[0]
    assert set(kinds) == {"oracle", "validation", "healthy"}
    honest = with_threshold["metric"].str.contains("validation|healthy")
    assert (kinds[~honest] == "oracle").all()  # whatever the test cases chose is an oracle
    assert (kinds[honest] != "oracle").all()
    assert "1 case (v1) of store x" in row(scores, "dice_at_validation")["threshold_source"]
    assert row(scores, "fpr_at_fpr_1")["value"] <= 0.01
    assert row(scores, "recall_at_fpr_1")["value"] == pytest.approx(row(scores, "sensitivity_at_fpr_1")["value"])
    assert row(scores, "dice_at_oracle")["value"] == pytest.approx(row(scores, "best_dice")["value"])


def test_methods_are_compared_in_pairs(scores):
    found = scores.comparisons.set_index(["metric", "pooling"]).loc[("auprc", "pooled")]
    assert (found["run"], found["other"]) == ("good", "bad")
    assert found["difference"] == pytest.approx(
        row(scores, "auprc")["value"] - row(scores, "auprc", run="bad")["value"]
    )
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert found["p"] < 0.05
    assert {"dice_at_validation", "best_dice"} <= set(scores.comparisons["metric"])


def test_components_have_rates_and_distances(entries):
    def add(record, number):
        distances = SurfaceDistances(10.0 + number if number < 7 else np.nan, np.nan)
        return replace(record, calls={"oracle": CallScores(LesionCounts(2, number % 3, 4, 1), distances)})

    entry = entries[0]
    records = [add(record, number) for number, record in enumerate(entry.cases)]
    froc = np.array([[0.0, 0.1], [3.0, 0.8]])
    scores = build_table([replace(entry, cases=records, froc=froc)], resamples=100)
    assert row(scores, "lesion_sensitivity_at_oracle")["value"] == pytest.approx(9 / 18)
    assert row(scores, "lesion_precision_at_oracle")["value"] == pytest.approx(1 / 4)
    assert row(scores, "false_positives_per_scan_at_oracle")["value"] == 3
    assert row(scores, "hd95_mm_at_oracle", "per_case_median")["value"] == 13
    assert "hd95_mm_at_oracle" in scores.per_case
    assert not scores.table["metric"].str.startswith("assd").any()  # nowhere defined
    assert scores.curves["good|literal|froc_sensitivity"].tolist() == [0.1, 0.8]


def test_files(scores, tmp_path):
    scores.save(tmp_path)
    again = ScoreTable.load(tmp_path)
    assert list(again.table) == list(scores.table)
    np.testing.assert_allclose(again.table["value"], scores.table["value"], rtol=1e-5)
    assert len(again.comparisons) == len(scores.comparisons)
    curves = pd.read_csv(tmp_path / "curves.csv")
    assert set(curves["run"]) == {"good", "bad"}
    assert {"precision", "recall", "fpr", "thresholds", "dice"} <= set(curves)
    per_case = again.per_case
    assert len(per_case) == 18
    assert {"auprc", "best_dice", "dice_at_validation", "lesion_ml", "l1_healthy"} <= set(per_case)
    assert per_case.query("case == 'case8'")["auprc"].isna().all()


def test_scores_of_any_range_make_the_same_table(entries):
    """A monotone change of the scores changes thresholds only."""
    generator = np.random.default_rng(0)
    truth = generator.random((6, 5000)) < 0.1
    scores = np.clip(0.3 + 0.2 * truth + 0.1 * generator.normal(size=truth.shape), 0, 1).astype(np.float32)
    tables = []
    for change in (lambda some: some, lambda some: -1000 * np.exp(-3 * some.astype(float))):
        changed = change(scores)
        code = fit_code([changed])
        records = [
            CaseScores(f"c{k}", f"s{k}", count_scores(changed[k], truth[k], None, code), None, float(k))
            for k in range(6)
        ]
        thresholds = oracle_thresholds(pooled(records), 6)
        tables.append(build_table([Entry("a", "a", "raw", records, thresholds)], resamples=100).table)
    same = ~tables[0]["metric"].str.startswith("greedy")  # it looks in [0, 1) only
    np.testing.assert_allclose(tables[0]["value"][same], tables[1]["value"][same], atol=2e-3)
    assert (tables[1]["threshold"][same].dropna() < 0).all()
    assert "lesion_slices" not in set(tables[0]["pooling"])


def test_what_cannot_be_scored_is_refused(entries):
    good = entries[0]
    healthy = [record for record in good.cases if not record.counts.positives.any()]
    for bad, message in (
        ([], "at least one run"),
        ([replace(good, cases=[])], "at least one run"),
        ([good, good], "different names"),
        ([good, replace(entries[1], cases=entries[1].cases[1:])], "expected the cases of good"),
        ([replace(good, cases=healthy)], "expected a lesion in the test cases, got none in 2"),
    ):
        with pytest.raises(ScoringError, match=message):
            build_table(bad)


def test_thirds_need_three_lesions_and_share_out_the_rest():
    assert lesion_thirds([1, 2], np.ones(2, bool)) == {}
    found = lesion_thirds([5, 0, 1, 4, 2, 3], np.array([True, False, True, True, True, True]))
    assert {name: np.flatnonzero(inside).tolist() for name, inside in found.items()} == {
        "small": [2, 4],
        "medium": [3, 5],
        "large": [0],
    }
