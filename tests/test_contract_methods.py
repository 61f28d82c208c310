"""What every method promises, whichever it is: it learns, says how well, and is the same after a file in between."""

import re

import numpy as np
import pytest
import torch

from semcycle.errors import RecipeError
from semcycle.methods import METHODS, method_class
from semcycle.methods.base import Batch
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.training.checkpoint import load_checkpoint, save_checkpoint
from semcycle.training.recipe import parse_recipe
from tests.conftest import ball_brain

pytestmark = pytest.mark.slow

SIDE, STEPS = 32, 24
SMALL = {
    "size": SIDE, "resolution": 4, "base": 4, "z": 8, "latents": 8, "norm": "group", "discriminator_base": 2,
    "discriminator_layers": 1, "dropout": 0.0, "restore_steps": 3, "critic_steps": 1, "learning_rate": 3e-3,
}  # fmt: skip
"""Settings by which a method becomes small and quick, where it has them."""


def shrink(content):
    if not isinstance(content, dict):
        return content
    small = {key: SMALL.get(key, shrink(value)) for key, value in content.items()}
    if content.get("norm") == "affine":
        small["norm"] = "affine"
    return small


def small_recipe(name):
    settings = method_class(name).Settings().model_dump(mode="json")
    return parse_recipe({"seed": 1, "method": {"name": name, **shrink(settings)}}, "contract", "contract")


def make_batch():
    """Eight slices of a ball, with all that a store may hold of them: neighbours, heights, a drawn anomaly."""
    arrays = {key: np.moveaxis(value, 2, 0)[6:14, :SIDE, 2:34] for key, value in ball_brain(lesion=False).items()}
    x = torch.from_numpy(arrays["t2"][:, None] / 2000).float()  # far from the 0.5 of a fresh G
    y = torch.from_numpy(np.stack([arrays[tissue] for tissue in ("gm", "wm", "csf")], axis=1)).float()
    brain = (x > 0).float()
    anomaly = torch.zeros_like(brain)
    anomaly[:, :, 12:18, 12:18] = brain[:, :, 12:18, 12:18]
    x = x + 0.3 * anomaly
    height = torch.linspace(0, 1, len(x)).view(-1, 1, 1, 1)
    return Batch(x, brain, y, torch.ones_like(brain), torch.cat([x, x], dim=1), height, anomaly)


def learn(method, stage, batch):
    """What the loop does, without its bookkeeping: a stage's steps; the players that were stepped."""
    optimizers, seen = {}, set()
    for name, player in stage.players.items():
        modules = torch.nn.ModuleList(getattr(method, module) for module in player.modules)
        optimizers[name] = torch.optim.Adam(modules.parameters(), player.learning_rate, player.betas)
    for _ in range(STEPS):
        method.train()
        for step in method.losses(stage.name, batch):
            assert torch.isfinite(step.loss), step
            assert step.loss.shape == ()
            optimizers[step.player].zero_grad()
            step.loss.backward()
            optimizers[step.player].step()
            seen.add(step.player)
    return seen


@pytest.fixture(scope="module", params=sorted(METHODS))
def trained(request):
    """A method after a few steps of every stage: recipe, method, batch, and its figures before and after each stage."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    recipe, batch = small_recipe(request.param), make_batch()
    method, figures = recipe.build(), {}
    batch = batch._replace(frozen=method.freeze(batch.x, batch.brain))
    for stage in method.stages():
        before = method.validate(stage.name, batch)
        assert learn(method, stage, batch) == set(stage.players)
        figures[stage.name] = (stage.monitor, before, method.validate(stage.name, batch))
    return recipe, method, batch, figures


def test_it_names_its_paper_and_its_settings(trained):
    recipe, method, _, _ = trained
    assert re.fullmatch(r"[a-z]+\d{4}[a-z]?", method.paper)
    undocumented = [name for name, field in type(recipe.method).model_fields.items() if not field.description]
    assert undocumented == []


def test_a_stage_learns_what_it_watches(trained):
    _, _, _, figures = trained
    for stage, (monitor, before, after) in figures.items():
        assert before.keys() == after.keys()
        assert all(torch.isfinite(value) and value.shape == () for value in after.values())
        if monitor:
            assert after[monitor] < before[monitor], f"{stage}: {monitor}"


def test_a_reconstruction_is_an_image(trained):
    _, method, batch, _ = trained
    reconstruction = method.reconstruct(batch.x, batch.brain)
    assert reconstruction.image.shape == batch.x.shape
    assert 0 <= reconstruction.image.min() <= reconstruction.image.max() <= 1
    if reconstruction.tissue is not None:
        assert reconstruction.tissue.shape == (len(batch.x), 3, SIDE, SIDE)
        assert reconstruction.tissue.sum(dim=1).max() <= 1 + 1e-5
    if reconstruction.score is not None:
        assert reconstruction.score.min() >= 0
    for stage in method.stages():
        assert method.sample(stage.name, batch).image.shape == batch.x.shape


def test_a_saved_method_makes_the_same_map(trained, tmp_path):
    recipe, method, batch, _ = trained
    preprocess = PreprocessSettings(size=SIDE).model_dump(mode="json")
    store = {"settings": {"preprocess": preprocess}}
    save_checkpoint(tmp_path, method, {"fingerprint": "of a test", "recipe": recipe.to_dict(), "store": store})
    loaded = load_checkpoint(tmp_path).method
    x, brain = batch.x[:, 0].numpy(), batch.brain[:, 0].numpy() > 0
    before, after = reconstruct_slices(method, x, brain), reconstruct_slices(loaded, x, brain)
    for name, value in before._asdict().items():
        if value is not None:
            np.testing.assert_allclose(getattr(after, name), value, atol=1e-5, err_msg=name)


def test_a_slice_does_not_depend_on_its_batch(trained):
    _, method, batch, _ = trained
    whole = method.reconstruct(batch.x, batch.brain).image[:2]
    torch.testing.assert_close(method.reconstruct(batch.x[:2], batch.brain[:2]).image, whole, atol=1e-4, rtol=0)


def test_unknown_methods_are_refused():
    with pytest.raises(RecipeError, match="expected a method of"):
        method_class("nothing")
