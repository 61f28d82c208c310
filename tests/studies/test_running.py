import json
from dataclasses import replace

import numpy as np
import pytest

from semcycle.files import file_hash
from semcycle.preprocess.pipeline import preprocess
from semcycle.store.slice_store import MANIFEST, SliceStore, write_case
from semcycle.studies.running import prior_note, run_scoring
from semcycle.volume import load_volume
from tests.conftest import SMALL


@pytest.fixture
def old_store(ball_store, tmp_path):
    """A store that was made before the quantiles of whole scans were kept."""
    manifest = json.loads((ball_store.folder / MANIFEST).read_text())
    for case in ball_store.case_ids:
        path = write_case(tmp_path, replace(ball_store.load(case), quantiles=None))
        manifest["cases"][case]["sha256"] = file_hash(path)
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    return SliceStore(tmp_path)


def test_a_store_keeps_the_level_that_prediction_uses(ball_store, ball_cases):
    image = preprocess(load_volume(ball_cases[4].images["t2"]), SMALL).image
    assert len(image) > len(ball_store.load("l0").image)  # slices without brain are left out of a store
    assert ball_store.load("l0").quantiles[900] == pytest.approx(np.quantile(image, 0.9), abs=1e-6)


def test_old_stores_load_and_say_that_their_prior_is_another(ball_store, old_store):
    assert old_store.load("l0").quantiles is None
    assert prior_note(["literal", "baur"], ball_store, ["l0"]) == ""
    assert prior_note(["literal", "smooth", "baur,prior_scope=brain"], old_store, ["l0"]) == ""
    assert "2 of 2 cases do not tell the quantiles" in prior_note(["baur"], old_store, ["l0", "l1"])


def test_the_note_stands_with_the_scores(ball_store, old_store, tmp_path):
    facts = {}
    for name, store in (("new", ball_store), ("old", old_store)):
        run_scoring({}, store, ["l0"], tmp_path / name, presets=["baur"], lesions=False)
        facts[name] = json.loads((tmp_path / name / "facts.json").read_text())
    assert "hyper-intensity prior" not in facts["new"]
    assert "prepare the store anew" in facts["old"]["hyper-intensity prior"]
