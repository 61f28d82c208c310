"""Auto-encoder: sizes of the specification, the loss in closed form, and that it learns."""

import csv

import pytest
import torch

from semcycle.methods.autoencoder import Autoencoder, AutoencoderSettings, l1_sum
from semcycle.methods.base import Batch
from semcycle.training import train
from semcycle.training.recipe import load_recipe, parse_recipe

VARIANTS = ["dense", "spatial"]


def small(**changes):
    torch.manual_seed(0)
    return Autoencoder(AutoencoderSettings(**{"size": 32, "z": 16} | changes))


def batch(count=3, size=32):
    torch.manual_seed(0)
    brain = torch.ones(count, 1, size, size)
    brain[:, :, :8] = 0
    return Batch(torch.rand(count, 1, size, size) * brain, brain, None, torch.ones_like(brain))


@pytest.mark.parametrize(("variant", "count"), [("dense", 1_627_249), ("spatial", 1_359_713)])
def test_paper_size_networks_have_the_known_parameter_counts(variant, count):
    with torch.device("meta"):
        method = Autoencoder(AutoencoderSettings(variant=variant))
    assert sum(p.numel() for p in method.parameters()) == count


def test_l1_sum_of_a_constant_error():
    x = torch.rand(2, 1, 128, 128, dtype=torch.float64)
    valid = torch.ones_like(x)
    assert l1_sum(x, x + 0.1, valid).tolist() == pytest.approx([1638.4] * 2)
    valid[:, :, :64] = 0
    assert l1_sum(x, x - 0.1, valid).tolist() == pytest.approx([819.2] * 2)


@pytest.mark.parametrize("variant", VARIANTS)
def test_loss_is_a_sum_over_pixels_and_a_mean_over_slices(variant):
    method, data = small(variant=variant).eval(), batch()
    (step,) = method.losses("autoencoder", data)
    assert step.player == "net"
    assert step.loss.item() == pytest.approx((data.x - method.net(data.x)).abs().sum().item() / 3, rel=1e-5)
    (step,) = method.losses("autoencoder", data._replace(valid=torch.zeros_like(data.valid)))
    assert step.loss.item() == 0


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("norm", ["affine", "batch", "layer"])
def test_reconstruction_is_deterministic_and_in_range(variant, norm):
    method, data = small(variant=variant, norm=norm).train(), batch()
    one, other = (method.reconstruct(data.x, data.brain) for _ in range(2))
    assert one.image.shape == data.x.shape
    assert torch.equal(one.image, other.image)
    assert 0 <= one.image.min() <= one.image.max() <= 1
    assert (one.tissue, one.score) == (None, None)
    alone = method.reconstruct(data.x[1:2], data.brain[1:2]).image
    torch.testing.assert_close(one.image[1:2], alone)


@pytest.mark.parametrize("variant", VARIANTS)
def test_dropout_is_of_the_latents_alone(variant):
    method = small(variant=variant, dropout=0.5).train()
    assert [part.p for part in method.net.modules() if isinstance(part, torch.nn.Dropout) and part.p] == [0.5]
    data = batch()
    assert not torch.equal(method.net(data.x), method.net(data.x))


def test_dense_bottleneck_is_a_vector():
    method, data = small().eval(), batch()
    seen = []
    method.net[2].register_forward_hook(lambda module, args, out: seen.append(out.shape))
    method.net(data.x)
    assert seen == [(3, 16)]


@pytest.mark.parametrize("norm", ["affine", "batch", "layer", "instance", "group"])
def test_every_norm_and_slope_can_be_chosen(norm):
    method, data = small(norm=norm, leaky_slope=0.01).train(), batch()
    assert method.net(data.x).shape == data.x.shape
    slopes = {part.negative_slope for part in method.net.modules() if isinstance(part, torch.nn.LeakyReLU)}
    assert slopes == {0.01}
    assert {part.negative_slope for part in small().net.modules() if isinstance(part, torch.nn.LeakyReLU)} == {0.3}
    kinds = {"batch": torch.nn.BatchNorm2d, "instance": torch.nn.InstanceNorm2d, "group": torch.nn.GroupNorm}
    normed = [part for part in method.net.modules() if isinstance(part, tuple(kinds.values()))]
    assert len(normed) == (len(slopes) and 5 if norm in kinds else 0)
    assert all(isinstance(part, kinds[norm]) and part.affine for part in normed)


def test_recipes():
    for variant, name in (("dense", "autoencoder"), ("spatial", "autoencoder-spatial")):
        recipe = load_recipe(f"paper/{name}")
        assert recipe.method == AutoencoderSettings(variant=variant)
        assert recipe.training.batch_size == 128
        assert load_recipe(f"paper-small/{name}").method.variant == variant


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_training_lowers_the_loss(variant, ball_store, tmp_path):
    torch.set_num_threads(1)
    method = {"name": "autoencoder", "variant": variant, "size": 32, "z": 16, "epochs": 8, "learning_rate": 5e-4}
    content = {"training": {"batch_size": 8, "validation_share": 0.25}, "method": method}
    run = train(parse_recipe(content, "tiny", "tiny"), ball_store, ["h0", "h1", "h2", "h3"], tmp_path / "run")
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["l1"]) < 0.8 * float(rows[0]["l1"])
    assert float(rows[-1]["validation_l1"]) < float(rows[0]["validation_l1"])
