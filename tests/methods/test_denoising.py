"""Denoising autoencoder: the noise, the loss in closed form, and that it learns to take noise off."""

import csv

import pytest
import torch

from semcycle.methods.base import Batch
from semcycle.methods.denoising import Denoising, DenoisingSettings
from semcycle.training import train
from semcycle.training.recipe import load_recipe, parse_recipe


def small(**changes):
    torch.manual_seed(0)
    return Denoising(DenoisingSettings(**{"base": 4, "poolings": 2, **changes}))


def batch(count=3, size=32):
    torch.manual_seed(0)
    brain = torch.ones(count, 1, size, size)
    brain[:, :, :8] = 0
    return Batch(torch.rand(count, 1, size, size) * brain, brain, None, torch.ones_like(brain))


def test_noise_is_coarse_centred_and_in_the_brain_only():
    method = small()
    x, brain = torch.zeros(256, 1, 128, 128), torch.ones(256, 1, 128, 128)
    brain[..., :64] = 0
    noise = method.add_noise(x, brain)
    assert (noise[..., :64] == 0).all()
    inside = noise[..., 64:]
    assert inside.mean().item() == pytest.approx(0, abs=0.01)
    # a linear blend of two independent values lowers the variance to 2/3 on average, in each of two directions
    assert inside.std().item() == pytest.approx(0.2 * 2 / 3, rel=0.05)
    neighbours = (inside[..., 1:] - inside[..., :-1]).std() / inside.std()
    assert neighbours < 0.25  # white noise: 1.41


def test_noise_on_the_grid_has_the_set_deviation():
    method = small(noise_grid=16, noise_std=0.3)
    x = torch.zeros(400, 1, 16, 16)  # slices as small as the grid: no interpolation
    assert method.add_noise(x, torch.ones_like(x)).std().item() == pytest.approx(0.3, rel=0.02)


def test_noise_is_shifted_anew_for_every_batch(monkeypatch):
    ramp = torch.arange(16.0).view(1, 1, 1, 16).expand(1, 1, 16, 16)
    monkeypatch.setattr(torch, "randn", lambda *shape, **kwargs: ramp)
    method, x = small(noise_std=1.0), torch.zeros(1, 1, 64, 64)
    peaks = {int(method.add_noise(x, torch.ones_like(x))[0, 0, 0].argmax()) for _ in range(30)}
    assert len(peaks) > 10


def test_loss_is_the_squared_error_in_the_brain():
    method, data = small(noise_std=0), batch()
    (step,) = method.losses("denoising", data)
    expected = ((data.x - method.net(data.x)).square() * data.brain).sum() / data.x.numel()
    assert (step.player, step.loss.item()) == ("net", pytest.approx(expected.item(), rel=1e-5))
    with torch.no_grad():
        method.net.head.weight.zero_()
        method.net.head.bias.fill_(0.3)
    flat = data._replace(x=torch.full_like(data.x, 0.5) * data.brain)
    (step,) = small_with_noise(method).losses("denoising", flat)
    assert step.loss.item() == pytest.approx(0.04 * 0.75, rel=1e-5)  # three quarters are brain


def small_with_noise(method):
    """The same net at full noise: its constant output makes the target the clean slice alone."""
    other = small(noise_std=0.2)
    other.load_state_dict(method.state_dict())
    return other


def test_lesions_that_are_left_out_do_not_count():
    method, data = small(noise_std=0), batch()
    none = data._replace(valid=torch.zeros_like(data.valid))
    (step,) = method.losses("denoising", none)
    assert step.loss.item() == 0


def test_reconstruction_is_deterministic_in_range_and_black_outside():
    method, data = small(norm="batch").train(), batch()
    one, other = (method.reconstruct(data.x, data.brain) for _ in range(2))
    assert one.image.shape == data.x.shape
    assert torch.equal(one.image, other.image)
    assert 0 <= one.image.min() <= one.image.max() <= 1
    assert (one.image * (1 - data.brain) == 0).all()
    assert set(method.validate("denoising", data)) == {"l1", "l2"}


def test_defaults_and_recipes():
    with torch.device("meta"):
        method = Denoising(load_recipe("paper/denoising").method)
    assert method.settings == DenoisingSettings()
    assert sum(p.numel() for p in method.parameters()) == 7_699_009  # 64 to 512 channels
    assert load_recipe("paper-small/denoising").method.noise_std == 0.2


@pytest.mark.slow
def test_training_takes_noise_off(ball_store, tmp_path):
    torch.set_num_threads(1)
    content = {
        "training": {"batch_size": 8, "validation_share": 0.25},
        "method": {"name": "denoising", "epochs": 6, "base": 8, "poolings": 2, "learning_rate": 5e-3},
    }
    run = train(parse_recipe(content, "tiny", "tiny"), ball_store, ["h0", "h1", "h2", "h3"], tmp_path / "run")
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["l2"]) < 0.5 * float(rows[0]["l2"])
    assert float(rows[-1]["validation_l1"]) < float(rows[0]["validation_l1"])
