"""What commit f4e7b19 wrote still loads and means the same; see ``data/f4e7b19/README.md``."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.store.slice_store import SliceStore
from semcycle.training.checkpoint import load_checkpoint
from tests.conftest import semcycle

OLD = Path(__file__).parent / "data" / "f4e7b19"


def test_the_store_loads_with_the_same_hash():
    store = SliceStore(OLD / "store")
    assert store.case_ids == ["h0", "h1", "h2", "l0"]
    assert store.hash == json.loads((OLD / "run/run.json").read_text())["store"]["hash"]
    case = store.load("l0")
    assert case.image.shape == (8, 16, 16)
    assert case.tissue.shape == (8, 3, 16, 16)
    assert store.subject("l0") == "subject-l0"
    assert case.lesion.any()


def test_the_run_reconstructs_what_it_did():
    case, run = SliceStore(OLD / "store").load("l0"), load_checkpoint(OLD / "run")
    x, brain = np.asarray(case.image, np.float32), np.asarray(case.brain) > 0
    reconstruction = reconstruct_slices(run.method, x, brain)
    with np.load(OLD / "reconstruction.npz") as before:
        np.testing.assert_allclose(reconstruction.image, before["image"], atol=1e-5)
        np.testing.assert_allclose(reconstruction.tissue, before["tissue"], atol=1e-5)
        assert before["image"].std() > 0.01
    assert run.calibration is not None
    assert [threshold.rate for threshold in run.calibration.thresholds["literal"]] == [0.01, 0.02, 0.05]


def test_a_finished_run_is_recognised_and_its_stages_are_taken_over(tmp_path):
    shutil.copytree(OLD / "run", tmp_path / "run")
    data = ["--data", OLD / "store", "--split", OLD / "split.json"]
    semcycle("train", OLD / "recipe.yaml", *data, "--out", tmp_path / "run", "--resume")
    (tmp_path / "recipe.yaml").write_text((OLD / "recipe.yaml").read_text().replace("epochs: 2,", "epochs: 1,"))
    semcycle("train", tmp_path / "recipe.yaml", *data, "--out", tmp_path / "new", "--reuse", OLD / "run")
    log = pd.read_csv(tmp_path / "new/log.csv")
    assert set(log["stage"]) == {"synthesis"}
    old, new = (
        load_checkpoint(OLD / "run").method.S.state_dict(),
        load_checkpoint(tmp_path / "new").method.S.state_dict(),
    )
    assert all((old[name] == new[name]).all() for name in old)


@pytest.mark.slow
def test_score_takes_both(tmp_path):
    data = ["--data", OLD / "store", "--split", OLD / "split.json"]
    semcycle("score", OLD / "run", *data, "--out", tmp_path / "scores", "--preset", "literal")
    table = pd.read_csv(tmp_path / "scores/table.csv")
    assert {"run", "intensity"} <= set(table["run"])
