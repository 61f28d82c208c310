"""The bundled models: whole, small, with a card, thresholds, and trained on what may be shipped."""

import json
import re
from pathlib import Path

import pytest

from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.recipe import load_recipe
from semcycle.training.shipped import CARD, DEFAULT, WEIGHTS, bundled_models, find_model

MODELS = bundled_models()


def test_the_default_is_there():
    assert DEFAULT in MODELS
    assert find_model("runs/mine") == Path("runs/mine")


@pytest.mark.parametrize("name", MODELS)
def test_a_model_loads_and_says_where_it_comes_from(name):
    folder = find_model(name)
    assert (folder / WEIGHTS).stat().st_size < 20e6
    checkpoint = load_checkpoint(folder)
    assert not checkpoint.method.training
    assert checkpoint.preset in checkpoint.calibration.thresholds
    assert not set(checkpoint.calibration.cases) & set(checkpoint.record["train_cases"])
    card = (folder / CARD).read_text()
    for word in ("Not a medical device", "licence", "Where it fails", "make model"):
        assert word in card
    recipe = load_recipe(f"model/{name}")
    if name == "t2-brain":  # `make model` says by --start where the run of the first network lies
        recipe = recipe.model_copy(update={"start": "build/t2-brain/first"})
    assert checkpoint.recipe.model_dump() == recipe.model_dump()


SHIPPABLE = ("Brats18_TCIA", "BraTS2021_", "subject", "mslub", "icbm")
CASES = Path(__file__).parents[2] / "models"


@pytest.mark.parametrize("name", ["t2-brain", "t2-brain-1"])
def test_a_model_learned_from_shippable_cases_only(name):
    record = json.loads((find_model(name) / "run.json").read_text())
    split = json.loads((CASES / f"{name}.cases.json").read_text())
    learned = {re.sub(r"_[psv]\d+$", "", case) for case in record["train_cases"]}
    for case in record["train_cases"]:
        assert case.startswith(SHIPPABLE), case
    assert learned <= set(split["train"])
    assert not learned & set(split["test"])


def test_the_refiner_stands_on_the_cycle_that_is_bundled():
    refined, cycle = (load_checkpoint(find_model(name)).method for name in ("t2-brain", "t2-brain-1"))
    for part in ("S", "G"):
        theirs = getattr(cycle, part).state_dict()
        for key, tensor in getattr(refined.cycle, part).state_dict().items():
            assert (tensor == theirs[key]).all(), f"{part}.{key}"
