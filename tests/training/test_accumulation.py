"""A batch in parts gives the weights of the whole batch; gradients are cut to a norm; older runs keep their hashes."""

from itertools import pairwise

import pytest
import torch
from lightning_fabric import Fabric

from semcycle.errors import RecipeError
from semcycle.methods.base import Batch
from semcycle.training.accumulation import gradient_steps, split_batch
from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.loop import train
from semcycle.training.recipe import TrainingSettings, parse_recipe
from tests.conftest import tiny_recipe
from tests.test_contract_methods import make_batch, small_recipe

HEALTHY = ["h0", "h1", "h2", "h3"]


def learn(name, parts, batch, steps=3, **changes):
    """Weights after a few steps of every stage, and which players stepped."""
    torch.manual_seed(0)
    method, fabric, order = small_recipe(name).build(), Fabric(accelerator="cpu"), []
    batch = batch._replace(frozen=method.freeze(batch.x, batch.brain))
    for stage in method.stages():
        optimizers = {}
        for player, entry in stage.players.items():
            modules = torch.nn.ModuleList(getattr(method, module) for module in entry.modules)
            # plain descent: Adam turns the last digit of a small gradient into a whole step
            optimizers[player] = fabric.setup_optimizers(torch.optim.SGD(modules.parameters(), 1e-2))
        for _ in range(steps):
            method.train()
            for player, _ in gradient_steps(fabric, method, stage.name, batch, optimizers, parts):
                order.append(player)
                optimizers[player].step()
    return method.state_dict(), order


@pytest.mark.parametrize("parts", [2, 4])
@pytest.mark.parametrize("name", ["cycle", "denoising"])
def test_parts_learn_what_the_whole_batch_learns(name, parts, monkeypatch):
    """With group norm, slices of equal brains, and no draws: then a mean over parts is the mean over all."""
    batch = make_batch()
    batch = batch._replace(brain=torch.ones_like(batch.brain))
    monkeypatch.setattr("semcycle.methods.denoising.Denoising.losses", _plain_losses)
    whole, order = learn(name, 1, batch)
    made, order_of_parts = learn(name, parts, batch)
    assert order == order_of_parts
    start, _ = learn(name, 1, batch, steps=0)
    moved = {key: (whole[key] - start[key]).abs().max() for key in whole if whole[key].is_floating_point()}
    assert max(moved.values()) > 1e-3
    for key in whole:
        torch.testing.assert_close(made[key], whole[key], atol=2e-5, rtol=1e-4, msg=key)


def _plain_losses(self, stage, batch):
    """Without the noise, which is drawn part by part."""
    from semcycle.methods.base import Step

    loss = (self.net(batch.x) - batch.x).square().mean()
    yield Step("net", loss, {"l2": loss})


def test_critic_and_generator_take_turns_in_parts_too():
    order = learn("cycle", 4, make_batch(), steps=1)[1]
    assert order == learn("cycle", 1, make_batch(), steps=1)[1]
    assert {("D", "G")} <= set(pairwise(order))


def test_a_batch_is_split_without_loss():
    batch = make_batch()
    for parts in (1, 3, 8, 20):
        pieces = split_batch(batch, parts)
        assert len(pieces) == min(parts, 8)
        for name in Batch._fields:
            whole = getattr(batch, name)
            fields = [getattr(piece, name) for piece in pieces]
            assert (whole is None and not any(field is not None for field in fields)) or torch.equal(
                torch.cat(fields), whole
            )


@pytest.mark.slow
def test_a_recipe_trains_in_parts_and_with_a_clip(ball_store, tmp_path):
    def weights(name, **training):
        recipe = tiny_recipe()
        changed = recipe.training.model_copy(update=training)
        folder = train(recipe.model_copy(update={"training": changed}), ball_store, HEALTHY, tmp_path / name)
        return load_checkpoint(folder).method.state_dict()

    whole, parts, clipped = weights("whole"), weights("parts", parts=4), weights("clipped", clip=1e-9)
    assert max((whole[key] - parts[key]).abs().max() for key in whole) < 0.05
    again = weights("again", clip=1e9)
    for key in whole:
        torch.testing.assert_close(whole[key], again[key])
    assert max((whole[key] - clipped[key]).abs().max() for key in whole) > 1e-3


def test_a_gradient_is_cut_to_the_norm():
    fabric, layer = Fabric(accelerator="cpu"), torch.nn.Linear(4, 1)
    optimizer = fabric.setup_optimizers(torch.optim.SGD(layer.parameters(), 1.0))
    (100 * layer(torch.ones(2, 4)).sum()).backward()
    fabric.clip_gradients(layer, optimizer, max_norm=0.5, error_if_nonfinite=False)
    norm = torch.cat([parameter.grad.flatten() for parameter in layer.parameters()]).norm()
    assert float(norm) == pytest.approx(0.5, rel=1e-4)


def test_unset_options_are_not_recorded_so_that_older_runs_keep_their_hashes():
    assert set(TrainingSettings().model_dump(mode="json")) == {
        "batch_size", "decay", "validation_share", "weights", "patience",
    }  # fmt: skip
    assert TrainingSettings(parts=2, clip=1).model_dump(mode="json")["parts"] == 2
    recipe = tiny_recipe()
    assert "parts" not in recipe.to_dict()["training"]
    changed = {**recipe.to_dict(), "training": {"batch_size": 8, "parts": 4, "clip": 0.5}}
    assert parse_recipe(changed, "x", "x").to_dict()["training"]["clip"] == 0.5


def test_a_pool_of_images_and_parts_exclude_each_other():
    content = tiny_recipe(synthesis={"pool": 5}).to_dict()
    with pytest.raises(RecipeError, match="pool"):
        parse_recipe({**content, "training": {"parts": 2}}, "x", "x")
