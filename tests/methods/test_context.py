"""Context-encoding VAE: the holes, the loss in closed form, and that it learns to fill them."""

import csv

import pytest
import torch

from semcycle.errors import RecipeError
from semcycle.methods.base import Batch
from semcycle.methods.context import ContextSettings, ContextVAE, random_rectangle
from semcycle.training import train
from semcycle.training.recipe import load_recipe, parse_recipe


def small(**changes):
    torch.manual_seed(0)
    return ContextVAE(ContextSettings(**{"size": 32, "z": 16} | changes))


def batch(count=3, size=32):
    torch.manual_seed(0)
    brain = torch.ones(count, 1, size, size)
    brain[:, :, :8] = 0
    x = torch.rand(count, 1, size, size).clamp_min(0.01) * brain
    return Batch(x, brain, None, torch.ones_like(brain))


def test_network_is_the_one_of_the_vae():
    with torch.device("meta"):
        method = ContextVAE(ContextSettings())
    assert sum(p.numel() for p in method.parameters()) == 1_758_449
    assert [stage.name for stage in method.stages()] == ["context"]


def test_rectangles_are_in_the_brain_and_have_the_set_sides():
    brain = torch.ones(500, 1, 64, 64)
    brain[..., :20] = 0
    brain[0] = 0
    torch.manual_seed(0)
    holes = random_rectangle(brain, 0.2, 0.4)
    assert (holes & (brain == 0)).sum() == 0
    sides = [holes[1:, 0].any(dim=dim).sum(dim=1) for dim in (2, 1)]
    assert all(side.min() >= 1 and side.max() <= 0.4 * 64 + 1 for side in sides)
    area = holes[1:].sum(dim=(1, 2, 3))
    torch.testing.assert_close(area, sides[0] * sides[1])  # rectangles, cut by a straight edge
    uncut = random_rectangle(torch.ones(500, 1, 64, 64), 0.2, 0.4)[:, 0, 32].sum(dim=1)
    assert uncut.max() > 0.35 * 64  # long ones do occur
    assert holes[1:, 0].any(dim=0)[:, 20:].all()  # and everywhere in the brain


@pytest.mark.parametrize("fill", ["zero", "grey"])
def test_cutting_changes_holes_only(fill):
    method, data = small(fill=fill), batch(64)
    torch.manual_seed(1)
    cut = method.cut(data.x, data.brain)
    changed = cut != data.x
    assert changed.any(dim=1).any(dim=1).any(dim=1).all()
    assert not changed.all()
    assert (data.brain[changed] == 1).all()
    assert 0 <= cut.min() <= cut.max() <= 1
    values = [slice_[where].unique().numel() for slice_, where in zip(cut, changed, strict=True)]
    assert max(values) == (1 if fill == "zero" else 3)
    if fill == "zero":
        assert (cut[changed] == 0).all()


def test_number_of_holes():
    data = batch()
    assert torch.equal(small(holes=(0, 0)).cut(data.x, data.brain), data.x)
    few, many = (small(holes=(n, n), hole_side=(0.2, 0.2)).cut(data.x, data.brain) for n in (1, 6))
    assert (many == 0).sum() > (few == 0).sum()


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_loss_weighs_both_branches(weight):
    method, data = small(ce_weight=weight, holes=(0, 0)).eval(), batch()
    (step,) = method.losses("context", data)
    l1, kl, context = (step.log[name].item() for name in ("l1", "kl", "context"))
    assert step.loss.item() == pytest.approx((1 - weight) * (l1 + kl) + weight * context, rel=1e-5)
    mean, _ = method.net.encode(data.x)  # without holes the second branch reconstructs x from its mean latents
    expected = (data.x - method.net.decode(mean)).abs().sum().item() / 3
    assert context == pytest.approx(expected, rel=1e-5)


def test_holes_count_in_the_loss_and_lesions_do_not():
    method, data = small().eval(), batch()
    seen = []
    method.net.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    (step,) = method.losses("context", data)
    assert torch.equal(seen[0], data.x)
    assert not torch.equal(seen[1], data.x)
    mean, _ = method.net.encode(seen[1])
    expected = (data.x - method.net.decode(mean)).abs().sum().item() / 3  # against the intact slice, everywhere
    assert step.log["context"].item() == pytest.approx(expected, rel=1e-5)
    (step,) = method.losses("context", data._replace(valid=torch.zeros_like(data.valid)))
    assert (step.log["l1"].item(), step.log["context"].item()) == (0, 0)


def test_reconstruction_is_deterministic_of_the_intact_slice_and_scored_as_the_vae():
    method, data = small(score="kl_grad_residual").train(), batch()
    one, other = (method.reconstruct(data.x, data.brain) for _ in range(2))
    assert torch.equal(one.image, other.image)
    assert torch.equal(one.score, other.score)
    assert 0 <= one.image.min() <= one.image.max() <= 1
    assert 0 <= one.score.min() <= one.score.max() <= 1
    assert small().reconstruct(data.x, data.brain).score is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"holes": [3, 1]}, "expected holes"), ({"hole_side": [0, 0.5]}, "expected hole_side")],
)
def test_impossible_holes_are_refused(wrong, message):
    with pytest.raises(RecipeError, match=message):
        parse_recipe({"method": {"name": "context"} | wrong}, "bad", "bad")


def test_recipes():
    recipe = load_recipe("paper/context")
    assert recipe.method == ContextSettings()
    assert recipe.training.batch_size == 128
    assert load_recipe("paper-small/context").method.ce_weight == 0.5


@pytest.mark.slow
def test_training_lowers_every_reconstruction_loss(ball_store, tmp_path):
    torch.set_num_threads(1)
    method = {"name": "context", "size": 32, "z": 16, "epochs": 8, "learning_rate": 5e-4}
    content = {"training": {"batch_size": 8, "validation_share": 0.25}, "method": method}
    run = train(parse_recipe(content, "tiny", "tiny"), ball_store, ["h0", "h1", "h2", "h3"], tmp_path / "run")
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    for name in ("l1", "context", "validation_l1"):
        assert float(rows[-1][name]) < (0.8 if name != "validation_l1" else 1) * float(rows[0][name])
