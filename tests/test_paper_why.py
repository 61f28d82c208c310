"""The experiment that changes one thing of the cycle at a time, on balls."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tests.conftest import tiny_recipe

pytestmark = pytest.mark.slow


@pytest.fixture
def why(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import paper_why

    monkeypatch.setattr(paper_why, "load_recipe", lambda name: tiny_recipe())
    return paper_why


def test_rows_are_trained_scored_and_asked_about_their_lesions(why, ball_store, tmp_path, monkeypatch, capsys):
    rows = {
        "plain": why.Row("a", {}),
        "soft maps": why.Row("b", {"method.temperature": 2.0}, like="plain"),
        "elsewhere": why.Row("c", {}, "median"),
    }
    monkeypatch.setattr(why, "ROWS", rows)
    (tmp_path / "split.json").write_text(json.dumps({"train": ["h0", "h1", "h2"], "test": ["l0", "l1"]}))
    words = ["--brats", str(ball_store.folder), "--split", str(tmp_path / "split.json"), "--out", str(tmp_path / "why")]
    monkeypatch.setattr(sys, "argv", ["paper_why.py", *words])
    why.main()
    said = capsys.readouterr().out
    assert "elsewhere: needs --median" in said
    table = pd.read_csv(tmp_path / "why/why.csv", index_col="row")
    assert list(table.index) == ["plain", "soft maps"]
    assert table["auprc literal"].between(0, 1).all()
    assert (table["CSF"] + table["GM"] <= 1).all()
    assert (table["ratio"] > 0).all()
    first, second = (load_file(tmp_path / "why" / name / "model.safetensors") for name in ("plain", "soft-maps"))
    assert all(torch.equal(first[name], second[name]) for name in first if name.startswith("S."))  # S is taken over
    why.main()
    assert len(pd.read_csv(tmp_path / "why/why.csv")) == 2


def test_a_setting_that_no_recipe_has_is_refused(why):
    from semcycle.errors import RecipeError

    with pytest.raises(RecipeError, match="temprature"):
        why.make_recipe({"method.temprature": 2.0})


def test_every_row_is_a_recipe(why, monkeypatch):
    monkeypatch.undo()
    sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
    import paper_why

    sys.path.pop(0)
    for name, row in paper_why.ROWS.items():
        assert paper_why.make_recipe(row.changes).method_name == "cycle", name
        assert not row.like or row.like in paper_why.ROWS
