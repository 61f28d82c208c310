"""VAE: sizes and losses of the specification, latents at test time, and the gradient score."""

import csv
import math

import pytest
import torch

from semcycle.errors import RecipeError
from semcycle.methods.base import Batch
from semcycle.methods.vae import VAE, VAESettings, gaussian, kl_divergence, scale_in_brain
from semcycle.training import train
from semcycle.training.recipe import load_recipe, parse_recipe


def small(**changes):
    torch.manual_seed(0)
    return VAE(VAESettings(**{"size": 32, "z": 16} | changes))


def batch(count=3, size=32):
    torch.manual_seed(0)
    brain = torch.ones(count, 1, size, size)
    brain[:, :, :8] = 0
    return Batch(torch.rand(count, 1, size, size) * brain, brain, None, torch.ones_like(brain))


def test_paper_size_network_has_the_known_parameter_count():
    with torch.device("meta"):
        method = VAE(VAESettings())
    assert sum(p.numel() for p in method.parameters()) == 1_758_449


@pytest.mark.parametrize(("mean", "sigma", "expected"), [(0, 1, 0), (1, 1, 64), (0, 2, 103.27716)])
def test_divergence_in_closed_form(mean, sigma, expected):
    means = torch.full((2, 128), float(mean), dtype=torch.float64)
    log_sigma = torch.full((2, 128), float(sigma), dtype=torch.float64).log()
    assert kl_divergence(means, log_sigma).tolist() == pytest.approx([expected] * 2, abs=1e-5)


def test_loss_is_l1_sum_plus_divergence_as_batch_means():
    method, data = small(kl_weight=2).eval(), batch()
    torch.manual_seed(1)
    (step,) = method.losses("vae", data)
    torch.manual_seed(1)
    image, mean, log_sigma = method.net(data.x)
    assert step.log["l1"].item() == pytest.approx((data.x - image).abs().sum().item() / 3, rel=1e-5)
    assert step.log["kl"].item() == pytest.approx(kl_divergence(mean, log_sigma).mean().item(), rel=1e-5)
    assert step.loss.item() == pytest.approx(step.log["l1"].item() + 2 * step.log["kl"].item(), rel=1e-5)
    (step,) = method.losses("vae", data._replace(valid=torch.zeros_like(data.valid)))
    assert step.log["l1"].item() == 0


def test_latents_are_drawn_around_their_mean():
    method, data = small().eval(), batch()
    mean, log_sigma = method.net.encode(data.x)
    image, *_ = method.net(data.x, torch.ones_like)
    torch.testing.assert_close(image, method.net.decode(mean + log_sigma.exp()))
    torch.testing.assert_close(method.net(data.x, torch.zeros_like)[0], method.net.decode(mean))
    assert not torch.equal(method.net(data.x)[0], method.net(data.x)[0])


def test_noise_of_z_before_training():
    data = batch()
    log_sigma = [small(sigma_start=start).eval().net.encode(data.x)[1] for start in (1, 0.05)]
    torch.testing.assert_close(log_sigma[1] - log_sigma[0], torch.full_like(log_sigma[0], math.log(0.05)))


def test_dropout_also_reaches_the_log_standard_deviation():
    method, data = small(dropout=0.5).train(), batch(64)
    mean, log_sigma = method.net.encode(data.x)
    for dropped in ((mean == 0), (log_sigma == 0)):
        assert dropped.float().mean().item() == pytest.approx(0.5, abs=0.1)
    mean, log_sigma = method.eval().net.encode(data.x)
    assert not (mean == 0).any()


@pytest.mark.parametrize("latent", ["mean", "sample"])
@pytest.mark.parametrize("score", ["residual", "kl_grad", "kl_grad_residual"])
def test_reconstruction_is_deterministic_in_range_and_slice_by_slice(latent, score):
    method, data = small(test_latent=latent, score=score).train(), batch()
    one, other = (method.reconstruct(data.x, data.brain) for _ in range(2))
    assert one.image.shape == data.x.shape
    assert torch.equal(one.image, other.image)
    assert 0 <= one.image.min() <= one.image.max() <= 1
    alone = method.reconstruct(data.x[1:2], data.brain[1:2])
    torch.testing.assert_close(one.image[1:2], alone.image)
    if score == "residual":
        assert one.score is None
        return
    assert one.score.shape == data.x.shape
    assert not one.score.requires_grad
    assert 0 <= one.score.min() <= one.score.max() <= 1
    assert (one.score * (1 - data.brain) == 0).all()
    torch.testing.assert_close(one.score[1:2], alone.score, rtol=1e-3, atol=1e-4)
    assert all(p.grad is None for p in method.parameters())


def test_sampled_and_mean_latents_differ_and_the_seed_counts():
    data = batch()
    images = [
        small(test_latent=latent, test_seed=seed).reconstruct(data.x, data.brain).image
        for latent, seed in (("mean", 0), ("sample", 0), ("sample", 1))
    ]
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images[1], images[2])


def test_gradient_agrees_with_finite_differences():
    method, data = small().double().eval(), batch(1)
    x, step = data.x.double(), torch.zeros(1, 1, 32, 32, dtype=torch.float64)
    step[0, 0, 20, 9] = 1e-5
    with torch.no_grad():
        gradient = method.kl_gradient(x)
        up, down = (kl_divergence(*method.net.encode(x + sign * step)) for sign in (1, -1))
    assert gradient[0, 0, 20, 9].item() == pytest.approx(abs((up - down).item()) / 2e-5, rel=1e-3)


def test_product_is_the_scaled_gradient_times_the_residual():
    data = batch()
    gradient, product = (
        small(score=score).reconstruct(data.x, data.brain) for score in ("kl_grad", "kl_grad_residual")
    )
    torch.testing.assert_close(product.score, gradient.score * (data.x - gradient.image).abs())
    inside = [part[mask > 0] for part, mask in zip(gradient.score, data.brain, strict=True)]
    assert [part.min().item() for part in inside] == [0] * 3
    assert [part.max().item() for part in inside] == [1] * 3


def test_gaussian_keeps_constants_and_has_its_width():
    impulse = torch.zeros(1, 1, 15, 15, dtype=torch.float64)
    impulse[0, 0, 7, 7] = 1
    smooth = gaussian(impulse, 7, 3.0)
    assert smooth.sum().item() == pytest.approx(1)
    assert (smooth > 0).sum() == 49
    assert (smooth[0, 0, 7, 10] / smooth[0, 0, 7, 7]).item() == pytest.approx(0.6065307)  # e^(-1/2) at 3 pixels
    assert gaussian(torch.ones(1, 1, 15, 15), 7, 3.0)[0, 0, 7, 7].item() == pytest.approx(1)


def test_scaling_copes_with_empty_and_constant_slices():
    image = torch.rand(3, 1, 8, 8)
    image[1] = 0.4
    brain = torch.ones(3, 1, 8, 8)
    brain[0] = 0
    scaled = scale_in_brain(image, brain)
    assert (scaled[:2] == 0).all()
    assert (scaled[2].min(), scaled[2].max()) == (0, 1)


def test_an_even_kernel_is_refused():
    with pytest.raises(RecipeError, match="expected an odd score_kernel, got 8; use 7 or 9"):
        parse_recipe({"method": {"name": "vae", "score_kernel": 8}}, "bad", "bad")


def test_how_slices_are_scored_does_not_change_training():
    stages = [small(**changes).stages() for changes in ({}, {"score": "kl_grad", "test_latent": "sample"}, {"z": 8})]
    assert stages[0] == stages[1]
    assert stages[0] != stages[2]


def test_recipes():
    recipe = load_recipe("paper/vae")
    assert recipe.method == VAESettings()
    assert recipe.training.batch_size == 128
    assert load_recipe("paper-small/vae").method.size == 128


@pytest.mark.slow
def test_training_lowers_the_loss(ball_store, tmp_path):
    torch.set_num_threads(1)
    method = {"name": "vae", "size": 32, "z": 16, "epochs": 8, "learning_rate": 5e-4}
    content = {"training": {"batch_size": 8, "validation_share": 0.25}, "method": method}
    run = train(parse_recipe(content, "tiny", "tiny"), ball_store, ["h0", "h1", "h2", "h3"], tmp_path / "run")
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    totals = [float(row["l1"]) + float(row["kl"]) for row in (rows[0], rows[-1])]
    assert totals[1] < 0.8 * totals[0]
    assert float(rows[-1]["validation_l1"]) < float(rows[0]["validation_l1"])
