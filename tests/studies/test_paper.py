"""The paper's experiment: protocol, tables, figures, resumption."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from semcycle.cohorts.base import Listing
from semcycle.errors import SemcycleError
from semcycle.store.augment import AugmentationSettings, augment_stores
from semcycle.store.prepare import prepare_store
from semcycle.store.slice_store import SliceStore
from semcycle.studies import paper
from semcycle.studies.paper import PaperSettings, run_paper
from tests.conftest import SMALL, tiny_recipe

pytestmark = pytest.mark.slow


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
    assert np.isfinite(table.loc["cycle discrete", "manifest AUPRC baur"])
    assert np.isnan(table.loc["AE", "manifest AUPRC baur"])
    assert table.loc["AE", "BraTS 2019 AUPRC paper"] == 0.229
    assert "0.229" in text
    weights = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("model.safetensors")}
    assert len(weights) == 2
    run_paper(ball_store, None, tmp_path / "out", settings, tmp_path / "split.json")
    assert weights == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("model.safetensors")}


def test_the_page_names_the_training_cases_and_not_those_of_the_last_test_set(ball_store, tmp_path, monkeypatch):
    monkeypatch.setattr(paper, "load_recipe", lambda name: tiny_recipe())
    second = augment_stores([ball_store], tmp_path / "second", AugmentationSettings(copies=0), ["l1"])
    (tmp_path / "split.json").write_text(json.dumps({"train": ["h0", "h1", "h2"], "test": ["l0"]}))
    settings = PaperSettings(rows=("cycle continuous",))
    for other in (second, None):
        page = run_paper(ball_store, other, tmp_path / "out", settings, tmp_path / "split.json")
        facts = dict(re.findall(r"<dt>([^<]*)</dt><dd>(.*?)</dd>", page.read_text()))
        assert facts["training cases"] == "h0, h1, h2"
        assert facts["test cases"] == "manifest l0" + ("; manifest (second) l1" if other else "")


def test_patience_holds_subjects_out_for_the_baselines_alone(ball_store, tmp_path, monkeypatch):
    trained = {}

    def train(recipe, store, cases, folder, **_):
        trained[folder.name] = recipe.training
        raise SemcycleError("not trained here")

    monkeypatch.setattr(paper, "run_training", train)
    for patience in (0, 5):
        with pytest.raises(SemcycleError, match="not trained here"):
            run_paper(ball_store, None, tmp_path, PaperSettings(rows=("VAE", "cycle continuous"), patience=patience))
        assert (trained["VAE"].patience, trained["VAE"].validation_share) == ((5, 0.1) if patience else (0, 0))
        assert (trained["cycle-continuous"].patience, trained["cycle-continuous"].validation_share) == (0, 0)


def test_stores_prepared_differently_are_refused_before_any_training(ball_store, ball_cases, tmp_path):
    percentile = SMALL.model_copy(update={"intensity": "median"})
    assert prepare_store(Listing([ball_cases[5]]), tmp_path / "other", percentile, None, cohort="manifest") == []
    with pytest.raises(SemcycleError, match="other: expected a store prepared like .* got intensity median, not perc"):
        run_paper(ball_store, SliceStore(tmp_path / "other"), tmp_path / "out", PaperSettings())
    assert not (tmp_path / "out").exists()


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
    assert table.loc["cycle continuous", "manifest AUPRC literal sd"] >= 0
    assert {path.name for path in (tmp_path / "out/runs").iterdir()} == {
        "cycle-continuous-seed-0",
        "cycle-continuous-seed-1",
    }
    more = PaperSettings(cycle_seeds=2, rows=("cycle continuous", "AE"), precision="bf16-mixed")
    run_paper(ball_store, None, tmp_path / "more", more, tmp_path / "split.json")
    assert {path.name for path in (tmp_path / "more/runs").iterdir()} == {
        "cycle-continuous-seed-0",
        "cycle-continuous-seed-1",
        "AE-seed-0",
    }
    with pytest.raises(SemcycleError, match="expected rows of AE"):
        run_paper(ball_store, None, tmp_path / "out", PaperSettings(rows=("EA",)), tmp_path / "split.json")
