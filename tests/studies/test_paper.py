"""The paper's experiment: protocol, tables, figures, resumption."""

import json

import numpy as np
import pandas as pd
import pytest

from semcycle.cohorts.base import Listing
from semcycle.errors import SemcycleError
from semcycle.methods.base import Reconstructed
from semcycle.report.posteriors import mean_posteriors, posterior_figure
from semcycle.store.augment import AugmentationSettings, augment_stores
from semcycle.store.prepare import prepare_store
from semcycle.store.slice_store import SliceStore
from semcycle.studies import paper
from semcycle.studies.paper import ROWS, PaperSettings, paper_split, run_paper
from semcycle.studies.paper_report import paper_table, readable
from semcycle.training.recipe import load_recipe
from tests.conftest import SMALL, tiny_recipe

pytestmark = pytest.mark.slow

PRESETS = ("literal", "baur")


class FakeStore:
    """Grades and subjects of a store, without files."""

    hash = "0"

    def __init__(self, groups):
        self.groups = groups
        self.case_ids = list(groups)

    def summary(self, case):
        return {"group": self.groups[case]}

    def subject(self, case):
        return case.split("_")[0]


def test_the_papers_split():
    groups = {f"h{n:03d}": "HGG" for n in range(259)} | {f"l{n:03d}": "LGG" for n in range(76)}
    split = paper_split(FakeStore(groups))
    assert (len(split.train), len(split.test)) == (234, 101)
    assert all(case.startswith("h") for case in split.train)
    assert split.train == paper_split(FakeStore(groups)).train
    assert split.train != paper_split(FakeStore(groups), seed=1).train


def test_sessions_of_a_subject_stay_on_one_side():
    groups = {f"s{n}_{k}": "HGG" for n in range(20) for k in (1, 2)}
    split = paper_split(FakeStore(groups))
    assert not {case.split("_")[0] for case in split.train} & {case.split("_")[0] for case in split.test}
    assert len(split.test) == 4


@pytest.mark.parametrize("size", ["paper", "paper-small"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_every_row_has_its_recipe(row, size):
    recipe = load_recipe(f"{size}/{row.recipe}")
    assert recipe.build().stages()
    if size == "paper" and row.published:
        assert recipe.training.batch_size == 128


def scores(value, runs=("AE", "cycle continuous")):
    rows = [
        {"run": run, "preset": preset, "metric": metric, "pooling": "pooled", "value": value, "low": 0.1, "high": 0.9}
        for run in runs
        for preset in PRESETS
        for metric in ("auprc", "best_dice")
    ]
    return pd.DataFrame(rows)


def test_the_table_sets_the_papers_numbers_beside_ours():
    published = {row.name: row.published for row in ROWS}
    table = paper_table({"brats": scores(0.4), "second": scores(0.2)}, published, PRESETS)
    assert table.loc["AE", "brats AUPRC literal"] == 0.4
    assert table.loc["AE", "second best Dice baur"] == 0.2
    assert table.loc["AE", "brats AUPRC paper"] == 0.229
    assert table.loc["cycle continuous", "second best Dice paper"] == 0.178
    assert np.isnan(table.loc["VAE", "brats AUPRC literal"])
    assert table.loc["VAE", "brats AUPRC paper"] == 0.331
    cells = readable(table)
    assert cells.loc["AE", "brats AUPRC literal"] == "0.400 [0.10, 0.90]"
    assert "brats AUPRC literal low" not in cells


def test_posteriors_are_means_over_the_voxels_of_each_class(ball_store):
    def perfect(x, brain):
        case = next(
            c for c in map(ball_store.load, ball_store.case_ids) if np.array_equal(c.image.astype(np.float32), x)
        )
        return Reconstructed(x, np.asarray(case.tissue, np.float32) / 255)

    frame = mean_posteriors(perfect, ball_store, ["l0", "h0"])
    assert list(frame.index) == ["GM", "WM", "CSF", "lesion"]
    tissues = frame.loc[["GM", "WM", "CSF"], ["GM", "WM", "CSF"]].to_numpy()
    assert (tissues.argmax(axis=1) == [0, 1, 2]).all()
    assert (frame["voxels"] > 0).all()
    assert len(posterior_figure({"a": frame, "b": frame}).axes) == 2


def test_a_small_experiment_is_complete_resumes_and_says_what_failed(ball_store, tmp_path, monkeypatch):
    recipes = {"cycle-continuous": {}, "cycle-discrete": {"semantics": "discrete"}}

    def load(name):
        stem = name.split("/")[1]
        if stem not in recipes:
            raise SemcycleError(f"no recipe {name}")
        return tiny_recipe(**recipes[stem])

    monkeypatch.setattr(paper, "load_recipe", load)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["h0", "h1", "h2"], "test": ["l0", "l1"]}))
    settings = PaperSettings(rows=("AE", "cycle continuous", "cycle discrete"))
    page = run_paper(ball_store, None, tmp_path / "out", settings, tmp_path / "split.json")
    text = page.read_text()
    for name in ("table1.csv", "table2.md", "table2.tex", "figure2-brats.pdf", "figure3-brats.png", "figure4.png"):
        assert (tmp_path / "out" / name).stat().st_size > 100, name
    assert "no recipe" in text
    assert json.loads((tmp_path / "out/failures.json").read_text())["AE"].startswith("no recipe")
    table = pd.read_csv(tmp_path / "out/table2.csv", index_col=0)
    assert np.isfinite(table.loc["cycle discrete", "brats AUPRC baur"])
    assert np.isnan(table.loc["AE", "brats AUPRC baur"])
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("model.safetensors")}
    assert len(weights) == 2
    run_paper(ball_store, None, tmp_path / "out", settings, tmp_path / "split.json")
    assert weights == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("model.safetensors")}


def test_the_page_names_the_training_cases_and_not_those_of_the_last_test_set(ball_store, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "load_recipe", lambda name: tiny_recipe())
    second = augment_stores([ball_store], tmp_path / "second", AugmentationSettings(copies=0), ["l1"])
    (tmp_path / "split.json").write_text(json.dumps({"train": ["h0", "h1", "h2"], "test": ["l0"]}))
    settings = PaperSettings(rows=("cycle continuous",))
    pages = []
    monkeypatch.setattr(paper, "write_paper_report", lambda out, scores, published, facts, *_: pages.append(facts))
    for other in (second, None):
        run_paper(ball_store, other, tmp_path / "out", settings, tmp_path / "split.json")
    assert [facts["training cases"] for facts in pages] == [["h0", "h1", "h2"]] * 2
    assert [facts["test cases"] for facts in pages] == [["l0"]] * 2


def test_stores_prepared_differently_are_refused_before_any_training(ball_store, ball_cases, tmp_path):
    percentile = SMALL.model_copy(update={"intensity": "median"})
    assert prepare_store(Listing([ball_cases[5]]), tmp_path / "other", percentile, None, cohort="manifest") == []
    with pytest.raises(SemcycleError, match="other: expected a store prepared like .* got intensity median, not perc"):
        run_paper(ball_store, SliceStore(tmp_path / "other"), tmp_path / "out", PaperSettings())
    assert not (tmp_path / "out").exists()


def test_seeds_share_a_row_with_mean_and_spread():
    seeds = pd.concat([scores(0.4).replace("AE", "AE seed 0"), scores(0.6).replace("AE", "AE seed 1")])
    table = paper_table({"brats": seeds}, {}, PRESETS)
    assert list(table.index) == ["AE", "cycle continuous"]
    assert table.loc["AE", "brats AUPRC literal"] == pytest.approx(0.5)
    assert table.loc["AE", "brats AUPRC literal sd"] == pytest.approx(0.2 / np.sqrt(2))
    assert readable(table).loc["AE", "brats AUPRC literal"] == "0.500 ± 0.141 [0.10, 0.90]"


def test_a_healthy_cohort_takes_the_place_of_the_patients(ball_store, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "load_recipe", lambda name: tiny_recipe())
    healthy = augment_stores([ball_store], tmp_path / "healthy", AugmentationSettings(copies=0), ["h0", "h1"])
    (tmp_path / "split.json").write_text(json.dumps({"train": ["h2"], "test": ["l0", "l1"]}))
    settings = PaperSettings(rows=("cycle continuous",))
    page = run_paper(ball_store, None, tmp_path / "out", settings, tmp_path / "split.json", healthy)
    record = json.loads((tmp_path / "out/runs/cycle-continuous/run.json").read_text())
    assert record["train_cases"] + record["validation_cases"] == ["h0", "h1"]
    assert "(healthy)" in page.read_text()


def test_seeds_and_unknown_rows(ball_store, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "load_recipe", lambda name: tiny_recipe())
    (tmp_path / "split.json").write_text(json.dumps({"train": ["h0", "h1", "h2"], "test": ["l0", "l1"]}))
    settings = PaperSettings(seeds=2, rows=("cycle continuous",))
    run_paper(ball_store, None, tmp_path / "out", settings, tmp_path / "split.json")
    table = pd.read_csv(tmp_path / "out/table2.csv", index_col=0)
    assert table.loc["cycle continuous", "brats AUPRC literal sd"] >= 0
    assert {path.name for path in (tmp_path / "out/runs").iterdir()} == {
        "cycle-continuous-seed-0",
        "cycle-continuous-seed-1",
    }
    with pytest.raises(SemcycleError, match="expected rows of AE"):
        run_paper(ball_store, None, tmp_path / "out", PaperSettings(rows=("EA",)), tmp_path / "split.json")
