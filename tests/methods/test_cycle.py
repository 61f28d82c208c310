"""The paper's method: losses in closed form, ambiguities as settings, gradients only where they belong."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from semcycle.errors import RecipeError
from semcycle.methods.adversarial import ADVERSARIAL
from semcycle.methods.base import Batch
from semcycle.methods.cycle import Cycle, CycleSettings
from semcycle.methods.on_the_fly import AugmentSettings, augment_geometry, augment_intensity
from semcycle.methods.semantics import generator_input, hard_labels, one_hot, with_background
from tests.conftest import tiny_recipe


def batch(count=3, size=32, seed=0):
    torch.manual_seed(seed)
    y = torch.rand(count, 4, size, size).softmax(dim=1)[:, 1:]
    brain = torch.ones(count, 1, size, size)
    brain[:, :, :4] = 0
    return Batch(torch.rand(count, 1, size, size) * brain, brain, y * brain, torch.ones(count, 1, size, size))


def cycle(**changes):
    torch.manual_seed(0)
    return tiny_recipe(**changes).build()


def small(**synthesis):
    base = {"base": 2, "norm": "group", "discriminator_base": 2, "discriminator_layers": 1}
    return {"synthesis": base | synthesis}


def test_paper_size_networks_have_the_known_parameter_counts():
    with torch.device("meta"):
        method = Cycle(CycleSettings())
    counts = {name: sum(p.numel() for p in getattr(method, name).parameters()) for name in "SGD"}
    assert counts == {"S": 31_036_676, "G": 1_674_049, "D": 2_762_689}


def test_paper_defaults():
    s = CycleSettings()
    assert (s.segmentation.epochs, s.synthesis.epochs) == (30, 15)
    assert (s.synthesis.lambda_l1, s.synthesis.learning_rate, s.synthesis.betas) == (10, 2e-4, (0.5, 0.999))
    stages = Cycle(CycleSettings(segmentation={"base": 2}, synthesis={"base": 2, "discriminator_base": 2})).stages()
    assert [(stage.name, list(stage.players)) for stage in stages] == [
        ("segmentation", ["S"]),
        ("synthesis", ["D", "G"]),
    ]


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        ("nonsaturating", 2 * math.log(2), math.log(2)),
        ("minimax", 2 * math.log(2), -math.log(2)),
        ("hinge", 2.0, 0.0),
    ],
)
def test_gan_losses_at_logits_of_zero(name, discriminator, generator):
    zero = torch.zeros(2, 1, 14, 14)
    assert ADVERSARIAL[name].discriminator(zero, zero).item() == pytest.approx(discriminator, abs=1e-6)
    assert ADVERSARIAL[name].generator(zero).item() == pytest.approx(generator, abs=1e-6)


def test_lsgan_at_one_half_and_the_paper_gradient():
    half = torch.full((2, 1, 4, 4), 0.5)
    assert ADVERSARIAL["lsgan"].discriminator(half, half).item() == pytest.approx(0.5)
    assert ADVERSARIAL["lsgan"].generator(half).item() == pytest.approx(0.25)
    logit = torch.tensor([0.3, -1.2], requires_grad=True)
    (ours,) = torch.autograd.grad(ADVERSARIAL["nonsaturating"].generator(logit), logit)
    (printed,) = torch.autograd.grad((1 - logit.sigmoid().log()).mean(), logit)  # Eq. 2 as printed
    torch.testing.assert_close(ours, printed)


@pytest.mark.parametrize(("classes", "expected"), [(4, math.log(4)), (3, math.log(3))])
@pytest.mark.parametrize("target", ["hard", "soft"])
def test_cross_entropy_of_a_uniform_guess(classes, expected, target):
    method = cycle(segmentation={"epochs": 1, "base": 2, "classes": classes, "target": target})
    logits = torch.zeros(3, classes, 32, 32)
    data = batch()
    if classes == 3 and target == "soft":
        y = data.y / data.y.sum(dim=1, keepdim=True).clamp_min(1e-6)
        data = data._replace(y=y * data.brain)
    assert method._cross_entropy(logits, data).item() == pytest.approx(expected, rel=1e-5)


def test_labels_background_and_one_hot():
    y = torch.tensor([0.2, 0.5, 0.1]).view(1, 3, 1, 1).expand(1, 3, 1, 2)
    brain = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    torch.testing.assert_close(with_background(y)[0, :, 0, 0], torch.tensor([0.2, 0.2, 0.5, 0.1]))
    assert hard_labels(y, brain).flatten().tolist() == [2, 0]
    assert one_hot(y)[0, :, 0, 0].tolist() == [0, 1, 0]
    assert one_hot(torch.full((1, 3, 1, 1), 0.1)).sum() == 0  # background wins: no tissue at all
    assert generator_input(y, 4).shape[1] == 4


def test_l1_term_is_lambda_times_the_mean_or_the_sum():
    data = batch()
    for reduction, factor in (("mean", 1.0), ("sum", 32 * 32)):
        method = cycle(**small(l1_reduction=reduction, adversarial_weight=0, lambda_l1=7))
        (step,) = method._synthesis_steps("synthesis", data, data.y)
        error = (data.x - method.synthesise(data.y)).abs().mean() * factor
        assert step.loss.item() == pytest.approx(7 * error.item(), rel=1e-4)


def test_steps_come_in_the_paper_order_and_share_one_generator_pass():
    data, method = batch(), cycle(**small())
    calls = []
    method.G.register_forward_hook(lambda *args: calls.append(1))
    steps = list(method.losses("synthesis", data))
    assert [step.player for step in steps] == ["D", "G"]
    assert len(calls) == 1
    first = list(cycle(**small(first="generator")).losses("synthesis", data))
    assert [step.player for step in first] == ["G", "D"]
    assert steps[0].loss.item() == pytest.approx(0.5 * steps[0].log["discriminator"].item())  # A2


def test_each_step_reaches_only_its_player():
    data, method = batch(), cycle(**small())

    def touched():
        return {name for name in "SGD" if any(p.grad is not None for p in getattr(method, name).parameters())}

    expected = {"D": {"D"}, "G": {"G"}}
    for step in method.losses("synthesis", data):
        method.zero_grad(set_to_none=True)
        step.loss.backward()
        assert touched() == expected[step.player]
    method.zero_grad(set_to_none=True)
    (step,) = method.losses("segmentation", data)
    step.loss.backward()
    assert touched() == {"S"}


def test_joint_stage_reaches_segmentor_through_the_generator():
    data, method = batch(), cycle(joint_epochs=1, **small())
    stage = method.stages()[-1]
    assert (stage.name, stage.players["G"].modules) == ("joint", ("S", "G"))
    for step in method.losses("joint", data):
        method.zero_grad(set_to_none=True)
        step.loss.backward()
        grown = {name for name in "SGD" if any(p.grad is not None for p in getattr(method, name).parameters())}
        assert grown == ({"D"} if step.player == "D" else {"S", "G"})
    with pytest.raises(RecipeError, match="one-hot maps pass no gradient"):
        cycle(joint_epochs=1, semantics="discrete")


def test_lesions_that_are_masked_out_cannot_change_any_loss():
    data, method = batch(), cycle(**small())
    valid = data.valid.clone()
    valid[:, :, 10:20, 10:20] = 0
    hidden = data._replace(valid=valid)
    changed = hidden._replace(x=torch.where(valid > 0, data.x, 1.0))
    for one, other in zip(method.losses("synthesis", hidden), method.losses("synthesis", changed), strict=True):
        assert one.loss.item() == pytest.approx(other.loss.item(), rel=1e-5)


@pytest.mark.parametrize("source", ["maps", "segmenter", "mixed"])
@pytest.mark.parametrize("semantics", ["continuous", "discrete"])
def test_what_the_generator_learns_from(source, semantics):
    data, method = batch(), cycle(semantics=semantics, **small(source=source))
    seen = []
    method.G.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for attempt in range(12):
        torch.manual_seed(attempt)
        list(method.losses("synthesis", data))
    maps = one_hot(data.y) if semantics == "discrete" else data.y
    from_maps = [torch.equal(y, maps) for y in seen]
    assert any(from_maps) == (source != "segmenter")
    assert all(from_maps) == (source == "maps")
    if semantics == "discrete":
        assert all(set(y.unique().tolist()) <= {0.0, 1.0} for y in seen)


def test_discretising_only_at_test_time():
    method = cycle(semantics="discrete", discrete_training=False, **small())
    data, seen = batch(), []
    method.G.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    list(method.losses("synthesis", data))
    method.reconstruct(data.x, data.brain)
    assert torch.equal(seen[0], data.y)
    assert set(seen[1].unique().tolist()) <= {0.0, 1.0}


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("channels", [3, 4])
def test_what_the_discriminator_sees(conditional, channels):
    method = cycle(**small(conditional=conditional, channels=channels))
    first = next(method.D.parameters())
    assert first.shape[1] == (1 + channels if conditional else 1)
    assert len(list(method.losses("synthesis", batch()))) == 2


@pytest.mark.parametrize("semantics", ["continuous", "discrete"])
@pytest.mark.parametrize("classes", [3, 4])
def test_reconstruction_shapes_and_ranges(semantics, classes):
    data = batch()
    method = cycle(semantics=semantics, segmentation={"base": 2, "classes": classes})
    made = method.reconstruct(data.x, data.brain)
    assert made.image.shape == data.x.shape
    assert made.tissue.shape == (3, 3, 32, 32)
    assert made.image.min() >= 0
    assert made.image.max() <= 1
    assert made.tissue.sum(dim=1).max() <= 1 + 1e-5


def test_temperature_softens_the_maps():
    data = batch()
    sharp, soft = cycle(temperature=0.1), cycle(temperature=10)
    spread = [method.reconstruct(data.x, data.brain).tissue.std().item() for method in (sharp, soft)]
    assert spread[0] > spread[1]


def test_validation_tells_a_broken_generator_from_a_good_one():
    data, method = batch(), cycle(**small())
    figures = method.validate("synthesis", data)
    assert set(figures) == {"l1_from_maps", "l1_round_trip"}
    inside = data.brain > 0
    expected = (data.x - method.eval().synthesise(data.y)).abs()[inside].mean()
    assert figures["l1_from_maps"].item() == pytest.approx(expected.item(), rel=1e-4)
    accuracy = method.validate("segmentation", data)["accuracy"].item()
    assert 0 <= accuracy <= 1


@settings(max_examples=25, deadline=None)
@given(
    st.builds(
        AugmentSettings,
        flip=st.booleans(),
        gamma=st.floats(0, 0.5),
        noise=st.floats(0, 0.2),
        coarse_noise=st.floats(0, 0.5),
        blobs=st.floats(0, 1),
    ),
    st.integers(0, 999),
)
def test_augmentation_keeps_range_background_and_pairing(options, seed):
    data = batch()
    torch.manual_seed(seed)
    moved = augment_geometry(data, options)
    x = augment_intensity(moved.x, moved.brain, options)
    assert x.min() >= 0
    assert x.max() <= 1
    assert (x * (1 - moved.brain) == 0).all()
    for one in range(len(data.x)):
        mirrored = torch.equal(moved.x[one], data.x[one].flip(-1))
        assert torch.equal(moved.y[one], data.y[one].flip(-1) if mirrored else data.y[one])


def test_no_augmentation_is_the_default():
    data = batch()
    assert augment_geometry(data, AugmentSettings()) is data
    torch.testing.assert_close(augment_intensity(data.x, data.brain, AugmentSettings()), data.x)
