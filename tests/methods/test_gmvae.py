"""GMVAE: sizes and losses of the specification, and a restoration that treats every slice on its own."""

import math

import pytest
import torch
from torch import nn

from semcycle.errors import RecipeError
from semcycle.methods.base import Batch
from semcycle.methods.gmvae import (
    GMVAE,
    GMVAESettings,
    MixtureLatents,
    class_posterior,
    negative_bound,
    total_variation,
)
from semcycle.training import train
from semcycle.training.recipe import load_recipe, parse_recipe

VARIANTS = [
    {"variant": "dense", "z": 16},
    {"variant": "spatial"},
    {"variant": "spatial", "faithful_decoder": True},
    {"variant": "you"},
]


def images(count=3, size=32, seed=0):
    torch.manual_seed(seed)
    x = torch.rand(count, 1, size, size)
    brain = torch.ones_like(x)
    brain[:, :, :4] = 0
    return x * brain, brain


def gmvae(**changes):
    torch.manual_seed(0)
    return GMVAE(GMVAESettings(**{"size": 32, "restore_steps": 3} | changes))


def mixture(z=128, side=1, classes=9, dtype=torch.float64, **values):
    """All-zero latents and priors, except for the constants given."""

    def full(name, *shape):
        return torch.full(shape, float(values.get(name, 0)), dtype=dtype)

    return MixtureLatents(
        full("image", 2, 1, 128, 128),
        full("w_mean", 2, 1, side, side),
        full("w_logvar", 2, 1, side, side),
        full("z", 2, z, side, side),
        full("z_mean", 2, z, side, side),
        full("z_logvar", 2, z, side, side),
        full("mu", 2, classes, z, side, side),
        full("log_precision", 2, classes, z, side, side),
    )


def bound(made, **options):
    x = torch.zeros(2, 1, 128, 128, dtype=torch.float64)
    return negative_bound(made, x, options.pop("valid", torch.ones_like(x)), **options)


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({}, 1_766_259),
        ({"variant": "spatial", "faithful_decoder": True}, 1_361_536),
        ({"variant": "spatial"}, 1_361_536 + 256),  # the 1 x 1 convolution from z to the decoder
        ({"variant": "you"}, 409_632),
    ],
)
def test_paper_size_networks_have_the_known_parameter_counts(changes, count):
    with torch.device("meta"):
        method = GMVAE(GMVAESettings(**changes))
    assert sum(p.numel() for p in method.parameters()) == count


@pytest.mark.parametrize("changes", VARIANTS)
def test_shapes(changes):
    method, (x, _) = gmvae(**changes), images()
    made, (z, side) = method.net(x), (16, 1) if changes["variant"] == "dense" else (1, 8)  # a quarter of 32
    assert made.image.shape == x.shape
    assert made.w_mean.shape == made.w_logvar.shape == (3, 1, side, side)
    assert made.z.shape == made.z_mean.shape == made.z_logvar.shape == (3, z, side, side)
    assert made.mu.shape == made.log_precision.shape == (3, 9, z, side, side)


def test_prior_of_z_in_closed_form():
    assert bound(mixture()).z_prior.tolist() == pytest.approx([6.4e-5] * 2, abs=1e-9)
    assert bound(mixture(z_mean=1)).z_prior.tolist() == pytest.approx([64.000128] * 2, abs=1e-9)
    # KL(N(0, 1) || N(0, 1 / e)) per dimension
    expected = 0.5 * (math.e + 1e-6 - 1 - 1)
    assert bound(mixture(z=1, log_precision=1)).z_prior[0].item() == pytest.approx(expected)
    assert bound(mixture(z=1, side=8, z_mean=1)).z_prior[0].item() == pytest.approx(64 * 0.500001)


def test_prior_of_w_in_closed_form():
    assert bound(mixture()).w_prior[0].item() == 0
    assert bound(mixture(w_mean=1)).w_prior[0].item() == 0.5
    assert bound(mixture(w_mean=1, side=8)).w_prior[0].item() == 32


def test_prior_of_c_in_closed_form():
    assert bound(mixture(), c_lambda=0).c_prior[0].item() == pytest.approx(1e-8, rel=1e-4)
    assert bound(mixture()).c_prior[0].item() == 1
    assert bound(mixture(side=8, z=1)).c_prior[0].item() == 64
    one_hot = mixture()
    one_hot.mu[:, 1:] = 10
    assert bound(one_hot).c_prior[0].item() == pytest.approx(2.197225, abs=1e-6)


def test_reconstruction_is_an_l1_sum_over_valid_pixels():
    assert bound(mixture(image=0.1)).reconstruction.tolist() == pytest.approx([1638.4] * 2)
    valid = torch.ones(2, 1, 128, 128, dtype=torch.float64)
    valid[:, :, :64] = 0
    assert bound(mixture(image=0.1), valid=valid).reconstruction.tolist() == pytest.approx([819.2] * 2)


def test_the_loss_is_the_batch_mean_of_all_four_terms():
    (x, brain), method = images(), gmvae(z=16).eval()
    (step,) = method.losses("gmvae", Batch(x, brain, None, torch.ones_like(x)))
    assert set(step.log) == {"reconstruction", "z_prior", "w_prior", "c_prior"}
    assert step.loss.item() == pytest.approx(sum(value.item() for value in step.log.values()), rel=1e-5)


@pytest.mark.parametrize(("sign", "factor"), [("correct", 0.5), ("faithful", -1.0)])
def test_sign_of_the_log_precision(sign, factor):
    z, mu = torch.tensor([0.3]).view(1, 1, 1, 1), torch.tensor([0.0, 1.0]).view(1, 2, 1, 1, 1)
    lp = torch.tensor([0.2, -0.4]).view(1, 2, 1, 1, 1)
    logits = [-0.5 * (0.3 - m) ** 2 * math.exp(p) + factor * p for m, p in ((0.0, 0.2), (1.0, -0.4))]
    expected = torch.tensor(logits).softmax(0)
    torch.testing.assert_close(class_posterior(z, mu, lp, sign).flatten(), expected)
    if sign == "correct":
        normal = torch.distributions.Normal(mu.flatten(), (-0.5 * lp.flatten()).exp())
        torch.testing.assert_close(normal.log_prob(z.flatten()).softmax(0), expected)


def test_total_variation_in_closed_form():
    step, square = torch.zeros(2, 1, 1, 128, 128)
    step[..., 64:] = 1
    square[..., 32:96, 32:96] = 1
    assert total_variation(torch.stack([step, square])).tolist() == [128, 256]


class Constant(nn.Module):
    """Reconstructs everything as one half, with latents that do not depend on the image."""

    def forward(self, x, noise):
        return mixture(z=4, dtype=x.dtype)._replace(image=torch.full_like(x, 0.5))


@pytest.mark.parametrize("steps", [1, 7])
def test_restoration_towards_a_constant_moves_every_pixel_by_the_step_length(steps):
    method, (x, brain) = gmvae(restore_steps=steps, tv_lambda=0, restore_lr=1e-3), images(2)
    method.net = Constant()
    x = torch.where((x - 0.5).abs() < 0.05, 0.9, x)
    expected = x + steps * 1e-3 * (0.5 - x).sign()
    torch.testing.assert_close(method.reconstruct(x, brain).image, expected, atol=1e-5, rtol=0)


def test_restoration_in_the_brain_only_and_clipped():
    method, (x, brain) = gmvae(tv_lambda=0, restore_in_brain=True, restore_clip=0.25), images(2)
    method.net = Constant()
    moved = (method.restore(x, brain) - x).abs()
    assert moved[brain == 0].max() == 0
    assert moved[brain == 1].max().item() == pytest.approx(3 * 0.25e-3, rel=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("tv_reference", ["reconstruction", "input"])
@pytest.mark.parametrize("changes", VARIANTS)
def test_restoration_lowers_the_objective(changes, tv_reference):
    method = gmvae(restore_steps=20, restore_lr=1e-4, tv_reference=tv_reference, tv_lambda=0.1, **changes).eval()
    x, brain = images()
    before = method.restoration_objective(x, x)
    after = method.restoration_objective(method.restore(x, brain), x)
    assert (after < before).all()


def test_total_variation_refers_to_the_reconstruction_or_to_the_input():
    x, _ = images()
    shifted = x.roll(1, dims=-1)
    plain = gmvae(z=16, tv_lambda=0).eval().restoration_objective(shifted, x)
    for reference in ("reconstruction", "input"):
        method = gmvae(z=16, tv_lambda=2, tv_reference=reference).eval()
        other = x if reference == "input" else method.net(shifted, torch.zeros_like).image
        expected = plain + 2 * total_variation(shifted - other)
        torch.testing.assert_close(method.restoration_objective(shifted, x), expected)


@pytest.mark.parametrize("test_latent", ["mean", "sample"])
@pytest.mark.parametrize("changes", VARIANTS)
def test_a_slice_is_restored_the_same_in_every_batch_and_every_time(changes, test_latent):
    method, (x, brain) = gmvae(test_latent=test_latent, restore_steps=5, **changes), images(4)
    whole = method.reconstruct(x, brain).image
    assert torch.equal(whole, method.reconstruct(x, brain).image)
    alone = torch.cat([method.reconstruct(x[n : n + 1], brain[n : n + 1]).image for n in range(4)])
    torch.testing.assert_close(alone, whole, atol=1e-5, rtol=0)
    assert not torch.equal(whole, x)
    assert whole.min() >= 0
    assert whole.max() <= 1


def test_zero_steps_are_the_plain_reconstruction():
    method, (x, brain) = gmvae(restore_steps=0, z=16), images()
    expected = method.eval().net(x, torch.zeros_like).image.clamp(0, 1)
    torch.testing.assert_close(method.reconstruct(x, brain).image, expected)
    batch = Batch(x, brain, None, torch.ones_like(x))
    torch.testing.assert_close(method.sample("gmvae", batch).image, expected)
    l1 = (x - expected).abs()[brain > 0].mean()
    assert method.validate("gmvae", batch)["l1"].item() == pytest.approx(l1.item(), rel=1e-5)


def test_drawn_latents_follow_the_seed():
    x, brain = images()
    made = [
        gmvae(z=16, restore_steps=0, test_latent="sample", test_seed=seed).reconstruct(x, brain).image
        for seed in (0, 0, 1)
    ]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_restoring_leaves_no_gradient_and_needs_none_switched_on():
    method, (x, brain) = gmvae(z=16), images()
    with torch.no_grad():
        image = method.reconstruct(x, brain).image
    assert not image.requires_grad
    assert not x.requires_grad
    assert all(p.grad is None and p.requires_grad for p in method.parameters())


@pytest.mark.parametrize("changes", VARIANTS)
def test_only_baurs_decoder_ignores_z(changes):
    method, (x, _) = gmvae(**changes).eval(), images()
    one, other = (method.net(x, noise).image for noise in (torch.zeros_like, torch.ones_like))
    assert torch.equal(one, other) == changes.get("faithful_decoder", False)
    if "faithful_decoder" not in changes:
        method.net(x).image.sum().backward()
        assert method.net.z_mean.weight.grad.abs().sum() > 0


def test_lesions_that_are_masked_out_do_not_enter_the_reconstruction_term():
    method, (x, _) = gmvae(z=16).eval(), images()
    valid = torch.ones_like(x)
    valid[:, :, 10:20, 10:20] = 0
    made = method.net(x, torch.zeros_like)
    one, other = (method._terms(made, image, valid).total for image in (x, torch.where(valid > 0, x, 1.0)))
    torch.testing.assert_close(one, other)


def test_a_dense_decoder_cannot_read_the_map():
    for variant in ("dense", "you"):
        with pytest.raises(RecipeError, match="variant: spatial"):
            parse_recipe({"method": {"name": "gmvae", "variant": variant, "faithful_decoder": True}}, "here")


def test_the_first_steps_of_a_restoration_can_be_longer():
    """With a network that knows nothing of the image only the TV term moves it, by the step's length."""
    changes = {"restore_steps": 3, "restore_lr": 1e-3, "tv_reference": "input", "tv_lambda": 0.0}
    (x, brain) = images(1)
    plain = gmvae(**changes).eval().restore(x, brain)
    same = gmvae(**changes, restore_first=(0, 0.5)).eval().restore(x, brain)
    torch.testing.assert_close(same, plain)
    every = gmvae(**changes | {"restore_lr": 2e-3}).eval().restore(x, brain)
    torch.testing.assert_close(gmvae(**changes, restore_first=(3, 2e-3)).eval().restore(x, brain), every)
    two = gmvae(**changes | {"restore_steps": 1}).eval()
    one = gmvae(**changes | {"restore_steps": 2}, restore_first=(1, 5e-3)).eval()
    first = gmvae(**changes | {"restore_steps": 1, "restore_lr": 5e-3}).eval().restore(x, brain)
    torch.testing.assert_close(one.restore(x, brain), two.restore(first, brain))


def test_restoring_can_count_squares():
    (x, _), plain, squared = images(1), gmvae().eval(), gmvae(restore_error="squares", tv_lambda=0).eval()
    made = plain.net(x, torch.zeros_like)
    terms = plain._terms(made, x, torch.ones_like(x))
    expected = terms.total - terms.reconstruction + (x - made.image).square().sum()
    torch.testing.assert_close(squared.restoration_objective(x, x), expected)
    assert squared.stages() == plain.stages()


def test_the_recipe_of_you_has_the_settings_of_their_code():
    settings = load_recipe("paper/gmvae-you").method
    assert (settings.variant, settings.classes, settings.c_lambda, settings.w) == ("you", 6, 0.5, 1)
    assert (settings.restore_steps, settings.restore_lr, settings.restore_first) == (500, 2e-3, (100, 5e-3))
    assert (settings.restore_clip, settings.restore_in_brain) == (100, True)
    assert (settings.tv_reference, settings.tv_lambda, settings.restore_error) == ("input", 1.8, "squares")
    assert (settings.learning_rate, settings.betas) == (5e-5, (0.9, 0.999))


def test_how_to_restore_does_not_belong_to_the_training():
    one, other = gmvae(), gmvae(restore_steps=0, tv_lambda=0, test_latent="sample")
    assert one.stages() == other.stages()
    assert one.stages() != gmvae(dropout=0.3).stages()


@pytest.mark.parametrize("folder", ["paper", "paper-small"])
@pytest.mark.parametrize("variant", ["dense", "spatial"])
def test_shipped_recipes(folder, variant):
    recipe = load_recipe(f"{folder}/gmvae" + ("-spatial" if variant == "spatial" else ""))
    settings = recipe.method
    assert (settings.variant, settings.z) == (variant, 128 if variant == "dense" else 1)
    assert (settings.restore_steps, settings.tv_lambda) == (10, 0)
    assert recipe.training.batch_size == (128 if folder == "paper" else 4)


@pytest.mark.slow
@pytest.mark.parametrize("changes", VARIANTS)
def test_learning_lowers_the_loss(changes, ball_store, tmp_path):
    slow = changes.get("variant") == "you"  # its network does not normalise: black for its first epochs
    method = {"name": "gmvae", "size": 32, "epochs": 15, "learning_rate": 0.001, "restore_steps": 2} | changes
    content = {"training": {"batch_size": 8, "validation_share": 0.25}, "method": method}
    run = train(parse_recipe(content, "tiny", "tiny"), ball_store, ["h0", "h1", "h2", "h3"], tmp_path / "run")
    lines = [line.split(",") for line in (run / "log.csv").read_text().splitlines()]
    for name in ("reconstruction",) if slow else ("reconstruction", "validation_l1"):
        column = lines[0].index(name)
        assert float(lines[-1][column]) < (0.95 if slow else 0.8) * float(lines[1][column])
