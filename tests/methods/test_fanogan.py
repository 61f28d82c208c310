"""f-AnoGAN: sizes, the gradient penalty in closed form, the order of the steps, and that it learns."""

import csv

import pytest
import torch
from torch import nn

from semcycle.methods.base import Batch
from semcycle.methods.fanogan import Critic, FAnoGAN, FAnoGANSettings, gradient_penalty
from semcycle.training import train
from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.recipe import load_recipe, parse_recipe


def small(**changes):
    torch.manual_seed(0)
    return FAnoGAN(FAnoGANSettings(**{"size": 32, "resolution": 8, "latents": 8, **changes}))


def batch(count=3, size=32, seed=0):
    torch.manual_seed(seed)
    ones = torch.ones(count, 1, size, size)
    return Batch(torch.rand(count, 1, size, size), ones, None, ones)


def grown(method):
    return {name for name in "EGD" if any(p.grad is not None for p in getattr(method, name).parameters())}


class Linear(nn.Module):
    """D(x) = a * sum(x), whose slope is a at every pixel."""

    def __init__(self, a):
        super().__init__()
        self.a = nn.Parameter(torch.tensor(a))

    def forward(self, x):
        return self.a * x.sum(dim=(1, 2, 3))


@pytest.mark.parametrize(
    ("resolution", "expected"),
    [(8, {"E": 800_720, "G": 869_409, "D": 677_761}), (16, {"E": 783_952, "G": 1_239_937, "D": 267_905})],
)
def test_parameter_counts_are_those_of_the_unified_code(resolution, expected):
    with torch.device("meta"):
        method = FAnoGAN(FAnoGANSettings(resolution=resolution))
    assert {name: sum(p.numel() for p in getattr(method, name).parameters()) for name in "EGD"} == expected


@pytest.mark.parametrize(
    ("a", "norm", "expected"),
    [
        (1 / 128, "full", 0.0),
        (1 / 128, "column", 0.831036),
        (128**-0.5, "full", 106.3726),
        (128**-0.5, "column", 0.0),
    ],
)
def test_gradient_penalty_of_a_linear_critic(a, norm, expected):
    real, fake = torch.rand(2, 1, 128, 128), torch.rand(2, 1, 128, 128)
    assert gradient_penalty(Linear(a), real, fake, norm).item() == pytest.approx(expected, rel=1e-4, abs=1e-8)


def test_gradient_penalty_pulls_the_slope_to_one():
    critic = Linear(0.02)
    gradient_penalty(critic, torch.rand(2, 1, 64, 64), torch.rand(2, 1, 64, 64)).backward()
    assert critic.a.grad.item() == pytest.approx(2 * 64 * (64 * 0.02 - 1), rel=1e-4)  # d/da (64 a - 1)^2
    still = Linear(0.0)
    gradient_penalty(still, torch.rand(2, 1, 8, 8), torch.rand(2, 1, 8, 8), "column").backward()
    assert torch.isfinite(still.a.grad)


def test_gradient_penalty_is_taken_between_real_and_generated():
    seen = []

    def critic(x):
        seen.append(x.detach())
        return x.sum()

    gradient_penalty(critic, torch.zeros(400, 1, 2, 2), torch.full((400, 1, 2, 2), 2.0))
    share = seen[0] / 2
    assert (share == share[:, :, :1, :1]).all()  # one a sample
    assert share.min() >= 0
    assert share.max() <= 1
    assert share.mean().item() == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize(("head", "shape"), [("per_location", (2, 1, 8, 8)), ("flatten", (2, 1, 1, 1))])
def test_critic_judges_locations_or_images(head, shape):
    critic = Critic(32, 8, head)
    x = torch.rand(2, 1, 32, 32)
    assert critic(x).shape == shape
    assert critic.features(x).shape == (2, 64, 8, 8)


def test_wasserstein_losses_are_means_of_the_critic():
    method, data = small(dropout=0), batch()
    steps = list(method.losses("gan", data))
    torch.manual_seed(7)
    fake = method.G(torch.randn(3, 8))
    torch.manual_seed(7)
    step = method._generator_step(data)
    assert step.loss.item() == pytest.approx(-method.D(fake).mean().item(), rel=1e-4)
    torch.manual_seed(7)
    step = method._critic_step(data)
    distance = method.D(data.x).mean() - method.D(fake).mean()
    assert 5 * step.log["wasserstein"].item() == pytest.approx(distance.item(), rel=1e-4, abs=1e-6)
    assert step.loss.item() == pytest.approx(
        (10 * 5 * step.log["gradient_penalty"] - distance).item(), rel=1e-4, abs=1e-5
    )
    assert len(steps) == 6


def test_steps_come_in_order_with_new_latents_and_reach_only_their_player():
    method, data = small(gan={"critic_steps": 3}), batch()
    latents = []
    method.G.register_forward_pre_hook(lambda module, args: latents.append(args[0]))
    players = []
    for step in method.losses("gan", data):
        method.zero_grad(set_to_none=True)
        step.loss.backward()
        assert grown(method) == {step.player}
        players.append(step.player)
    assert players == ["G", "D", "D", "D"]
    assert len(latents) == 4
    assert not any(torch.equal(latents[0], other) for other in latents[1:])
    method.zero_grad(set_to_none=True)
    (step,) = method.losses("encoder", data)
    step.loss.backward()
    assert (step.player, grown(method)) == ("E", {"E"})
    assert all(p.requires_grad for p in method.parameters())


@pytest.mark.parametrize("kappa", [0.0, 1.0, 3.0])
def test_encoder_loss_is_image_plus_kappa_times_features(kappa):
    method, data = small(dropout=0, encoder={"kappa": kappa}), batch()
    (step,) = method.losses("encoder", data)
    made = method.reconstruct(data.x, data.brain).image
    image = (data.x - made).square().mean()
    features = (method.D.features(data.x) - method.D.features(made)).square().mean()
    assert step.loss.item() == pytest.approx((image + kappa * features).item(), rel=1e-4)


def test_lesions_that_are_left_out_cannot_change_critic_or_features():
    method, data = small(dropout=0), batch()
    valid = data.valid.clone()
    valid[:, :, 10:20, 10:20] = 0
    hidden = data._replace(valid=valid)
    changed = hidden._replace(x=torch.where(valid > 0, data.x, 1.0))
    torch.manual_seed(1)
    first = [step.loss.item() for step in method.losses("gan", hidden)]
    torch.manual_seed(1)
    assert [step.loss.item() for step in method.losses("gan", changed)] == pytest.approx(first, rel=1e-5)


def test_reconstruction_is_deterministic_and_in_range():
    method, data = small(dropout=0.5).train(), batch()
    one, other = (method.reconstruct(data.x, data.brain) for _ in range(2))
    assert one.image.shape == data.x.shape
    assert torch.equal(one.image, other.image)
    assert 0 <= one.image.min() <= one.image.max() <= 1
    assert one.score is None  # the residual
    assert method.E(data.x).abs().max() <= 1
    shown, again = (method.sample("gan", data).image for _ in range(2))
    assert torch.equal(shown, again)
    assert set(method.validate("gan", data)) == {"wasserstein"}
    assert set(method.validate("encoder", data)) == {"l1"}


def test_slices_of_another_size_are_refused():
    method, other = small(), batch(size=64)
    for act in (
        lambda: method.reconstruct(other.x, other.brain),
        lambda: list(method.losses("gan", other)),
        lambda: list(method.losses("encoder", other)),
    ):
        with pytest.raises(ValueError, match=r"expected slices of 32 x 32 pixels, got 64 x 64; set method\.size to 64"):
            act()


def test_settings_of_the_encoder_leave_the_gan_stage_alone():
    one, other = (small(encoder={"kappa": kappa}).stages() for kappa in (0, 1))
    assert one[0] == other[0]
    assert one[1].settings != other[1].settings
    assert one[0].players["G"].betas == (0.5, 0.9)


@pytest.mark.parametrize("name", ["paper/fanogan", "paper-small/fanogan"])
def test_recipes(name):
    method = load_recipe(name).method
    assert (method.size, method.resolution, method.latents, method.dropout) == (128, 8, 128, 0.1)
    assert (method.gan.critic_steps, method.gan.gp_norm, method.gan.gp_weight) == (5, "full", 10)


@pytest.mark.slow
def test_training_lowers_the_losses(ball_store, tmp_path):
    torch.set_num_threads(1)
    content = {
        "training": {"batch_size": 8, "validation_share": 0.25},
        "method": {
            "name": "fanogan",
            "size": 32,
            "resolution": 8,
            "latents": 8,
            "gan": {"epochs": 3, "critic_steps": 2, "learning_rate": 1e-3},
            "encoder": {"epochs": 4, "learning_rate": 1e-3},
        },
    }
    run = train(parse_recipe(content, "tiny", "tiny"), ball_store, ["h0", "h1", "h2", "h3"], tmp_path / "run")
    with (run / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    gan, encoder = ([row for row in rows if row["stage"] == stage] for stage in ("gan", "encoder"))
    assert float(gan[-1]["gradient_penalty"]) < float(gan[0]["gradient_penalty"])
    assert float(encoder[-1]["image"]) < float(encoder[0]["image"])
    assert "validation_wasserstein" in gan[0]
    assert "validation_l1" in encoder[0]
    x = torch.rand(1, 1, 32, 32)
    assert load_checkpoint(run).method.reconstruct(x, torch.ones_like(x)).image.shape == x.shape
