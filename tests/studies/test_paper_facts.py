import pytest

from semcycle.store.split import Split
from semcycle.studies.data_sets import DataSet
from semcycle.studies.paper_facts import describe_experiment
from semcycle.training import train
from tests.conftest import tiny_recipe

pytestmark = pytest.mark.slow

PAPER = {"size": "paper", "patience": 0}


def describe(store, tmp_path, settings, *, training="brats", **slices):
    recipe = tiny_recipe()
    recipe = recipe.model_copy(update={"slices": recipe.slices.model_copy(update=slices)})
    cases = ["h0", "h1", "h2", "h3"]
    runs = {"cycle robust": train(recipe, store, cases, tmp_path / "run")}
    tests = [DataSet("brats", "BraTS 2018", store, ["l0", "l1"], "BraTS 2019")]
    split = Split(cases, ["l0", "l1"], "by hand")
    return describe_experiment(DataSet(training, "BraTS 2018", store, cases), tests, runs, split, settings, {})


def test_what_was_done_is_said_in_numbers(ball_store, tmp_path):
    facts = describe(ball_store, tmp_path, PAPER, lesions="mask")
    slices = sum(ball_store.summary(case)["slices"] for case in ("l0", "l1"))
    assert facts["test sets"] == {"BraTS 2018": f"2 cases of 2 subjects, {slices} slices"}
    learned = facts["slices that train"]["cycle robust"]
    assert (learned["cases"], learned["held-out cases"]) == (3, 1)
    assert learned["slices with lesions"].startswith("train too")
    assert facts["tissue maps"] == {"BraTS 2018": "maps"}
    assert facts["intensity scale"] == "percentile: the brain's 99.8th percentile becomes 1"
    assert facts["not finished"] == "none"


def test_what_differs_from_the_paper_is_named(ball_store, tmp_path):
    unlike = describe(ball_store, tmp_path, PAPER)["unlike the paper"]
    assert unlike["tissue maps"] == "maps; the paper took SPM's"
    assert unlike["second test set"] == "none; the paper has ISLES 2015"
    assert set(unlike) == {"tissue maps", "cases", "second test set", "voxels", "held-out cases"}


def test_sizes_and_healthy_subjects_are_differences_too(ball_store, tmp_path):
    unlike = describe(ball_store, tmp_path, {"size": "paper-small"}, training="healthy")["unlike the paper"]
    assert {"sizes", "training"} <= set(unlike)
