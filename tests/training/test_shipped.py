"""The bundled models: whole, small, with a card, thresholds, and trained on what may be shipped."""

import json
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
    assert checkpoint.recipe.model_dump() == load_recipe(f"model/{name}").model_dump()


def test_t2_brain_learned_from_shippable_cases_only():
    record = json.loads((find_model("t2-brain") / "run.json").read_text())
    for case in record["train_cases"]:
        assert case.startswith(("Brats18_TCIA", "subject")), case
