"""The untrained floor: black reconstruction, and equalised intensity as score."""

import numpy as np
import pytest
import torch

from semcycle.methods.intensity import Intensity, IntensitySettings, equalised
from semcycle.training import train
from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.recipe import load_recipe, parse_recipe


def test_plain_intensity_is_a_black_reconstruction():
    x = torch.rand(2, 1, 8, 8)
    made = Intensity(IntensitySettings()).reconstruct(x, torch.ones_like(x))
    assert (made.image == 0).all()
    assert made.score is None


def test_equalised_intensity_is_the_rank_in_the_brain():
    x = torch.tensor([[0.9, 0.1, 0.4, 0.4], [0.5, 0.5, 0.5, 0.5]]).view(2, 1, 2, 2)
    brain = torch.tensor([[0.0, 1, 1, 1], [1, 1, 0, 0]]).view(2, 1, 2, 2)
    expected = torch.tensor([[0, 1 / 3, 1, 1], [1, 1, 0, 0]]).view(2, 1, 2, 2)
    torch.testing.assert_close(equalised(x, brain), expected)


def test_equalised_intensity_is_uniform_whatever_the_contrast():
    torch.manual_seed(0)
    x, brain = torch.rand(3, 1, 32, 32) ** 4, torch.ones(3, 1, 32, 32)
    score = Intensity(IntensitySettings(equalise=True)).reconstruct(x, brain).score
    assert score.dtype == torch.float32
    np.testing.assert_allclose(np.quantile(score.numpy(), [0.25, 0.5, 0.75]), [0.25, 0.5, 0.75], atol=2e-3)
    torch.testing.assert_close(equalised(x.sqrt(), brain), score)  # only the order counts
    assert torch.equal(equalised(x[1:], brain[1:]), score[1:])  # slices do not know of each other


def test_slices_without_brain_score_nothing():
    x = torch.rand(1, 1, 4, 4)
    assert (equalised(x, torch.zeros_like(x)) == 0).all()


@pytest.mark.parametrize("equalise", [False, True])
def test_setting_in_a_recipe(equalise):
    recipe = parse_recipe({"method": {"name": "intensity", "equalise": equalise}}, "here", "floor")
    assert recipe.build().settings.equalise is equalise
    assert recipe.build().stages() == []


@pytest.mark.slow
def test_untrained_recipe_makes_a_run(ball_store, tmp_path):
    run = train(load_recipe("paper/intensity-equalised"), ball_store, ["h0", "h1"], tmp_path / "run")
    method = load_checkpoint(run).method
    assert method.settings.equalise
    x = torch.rand(1, 1, 32, 32)
    assert method.reconstruct(x, torch.ones_like(x)).score.max() == 1
