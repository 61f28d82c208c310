"""Post-processing: filters against slow ones, lengths in mm, and presets as text."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from semcycle.errors import SemcycleError
from semcycle.methods.base import Reconstructed
from semcycle.prediction.filters import erode, flatten_small, median, odd_sizes, smooth
from semcycle.prediction.postprocess import PRESETS, PostProcessing, find_preset, make_anomaly_map, process_map
from semcycle.preprocess.quantiles import scan_quantiles
from tests.conftest import semcycle

BRAIN = np.ones((9, 10, 11), bool)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**31),
    st.tuples(*[st.sampled_from([1, 3, 5])] * 3),
    st.sampled_from([0.0, 0.5, 0.9]),
    st.booleans(),
)
def test_median_is_that_of_scipy(seed, sizes, zeros, signed):
    """Also where most scores are 0, and for scores of both signs."""
    generator = np.random.default_rng(seed)
    brain = generator.random((7, 9, 8)) < 0.8
    scores = generator.normal(size=brain.shape).astype(np.float32)
    scores = np.where(brain & (generator.random(brain.shape) >= zeros), scores if signed else np.abs(scores), 0)
    expected = ndimage.median_filter(scores, size=sizes, mode="constant")
    np.testing.assert_array_equal(median(scores.astype(np.float32), brain, sizes)[brain], expected[brain])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 5))
def test_erosion_is_as_many_steps_of_a_cross(seed, steps):
    brain = ndimage.binary_dilation(np.random.default_rng(seed).random((3, 14, 12)) < 0.05, iterations=3)
    cross = np.zeros((3, 3, 3), bool)
    cross[1] = ndimage.generate_binary_structure(2, 1)
    expected = ndimage.binary_erosion(brain, cross, iterations=steps) if steps else brain
    np.testing.assert_array_equal(erode(brain, steps * 1.8, (1.8, 1.8)), expected)


def test_erosion_in_pixels_that_are_not_square():
    brain = np.zeros((1, 11, 11), bool)
    brain[0, 1:10, 1:10] = True
    left = erode(brain, 2.0, (1.0, 2.0))  # two rows are within 2 mm of the outside, one column is
    np.testing.assert_array_equal(np.argwhere(left[0]).min(axis=0), [3, 2])
    assert left[0, 5, 2:9].all()
    assert left[0, 3, 2]
    assert not left[0, 2].any()
    assert not left[0, :, 1].any()
    assert not erode(brain, 100, (1.0, 1.0)).any()


def test_lengths_are_in_millimetres():
    assert odd_sizes(5, (1, 1, 1)) == (5, 5, 5)
    assert odd_sizes(5, (5, 1.875, 0.5)) == (1, 3, 9)
    assert odd_sizes(1, (3, 3, 3)) == (1, 1, 1)
    spot = np.zeros(BRAIN.shape, np.float32)
    spot[4, 5, 5] = 1
    blurred = process_map(spot, BRAIN, PostProcessing(gaussian_mm=1), (2.0, 1.0, 1.0))
    assert blurred[4, 5, 7] == pytest.approx(blurred[5, 5, 5], rel=0.2)  # 2 mm away both
    assert blurred[4, 5, 6] > 2 * blurred[5, 5, 5]
    with pytest.raises(SemcycleError, match="all three voxel sizes"):
        process_map(spot, BRAIN, PostProcessing(gaussian_mm=1), 1.875)


def test_gaussian_mean_does_not_fade_at_the_edge():
    brain = np.zeros((5, 9, 9), bool)
    brain[1:4, 2:7, 2:7] = True
    flat = smooth(np.where(brain, np.float32(0.4), np.float32(0)), brain, 1.0, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(flat[brain], 0.4, rtol=1e-5)
    assert not flat[~brain].any()
    assert smooth(flat, np.zeros_like(brain), 1.0, (1.0, 1.0, 1.0)) is flat


def test_small_components_are_lowered_to_the_level():
    scores = np.full((6, 6, 6), 0.2, np.float32)
    scores[0, 0, :3] = 0.9
    scores[4:6, 4:6, 4:6] = 0.8
    done = flatten_small(scores, 0.5, 4, (1.0, 1.0, 1.0))
    np.testing.assert_allclose(done[0, 0, :3], 0.5)
    np.testing.assert_array_equal(done[1:], scores[1:])
    for threshold in (0.1, 0.5):
        np.testing.assert_array_equal(done >= threshold, scores >= threshold)
    np.testing.assert_array_equal(flatten_small(scores, 0.5, 4, (2.0, 1.0, 1.0)), scores)  # 6 mm3
    steps = PostProcessing(min_component_mm3=4, component_level=0.5)
    np.testing.assert_array_equal(process_map(scores, np.ones(scores.shape, bool), steps, (1.0, 1.0, 1.0)), done)


def test_presets_are_named_with_their_changes():
    assert find_preset("baur") == PRESETS["baur"]
    changed = find_preset("baur,erode_mm=3, prior_quantile=none,sign=absolute")
    assert changed == PRESETS["baur"].model_copy(update={"erode_mm": 3.0, "prior_quantile": None, "sign": "absolute"})
    x = np.zeros(BRAIN.shape, np.float32)
    x[4, 5, 5] = 1
    mapped = make_anomaly_map(x, Reconstructed(np.zeros_like(x)), BRAIN, "literal,median_size=3", 1.0)
    assert not mapped.any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bauer", "literal, baur"),
        ("literal,medain_mm=5", "did you mean 'median_mm'"),
        ("literal,median_mm", "NAME=VALUE"),
        ("literal,median_size=4", "odd"),
        ("literal,erode_mm=-1", "erode_mm"),
        ("literal,erode_mm=wide", "'wide'"),
        ("baur,median_mm=5", "median_size=1"),
        ("literal,prior_quantile=2", "prior_quantile"),
    ],
)
def test_presets_that_are_none(text, message):
    with pytest.raises(SemcycleError, match=message):
        find_preset(text)


def test_a_map_alone_has_no_prior():
    with pytest.raises(SemcycleError, match="prior_quantile=none"):
        process_map(np.zeros(BRAIN.shape, np.float32), BRAIN, PRESETS["baur"], 1.0)


def test_score_takes_presets_with_changes(ball_store, tmp_path):
    blurred = "literal,gaussian_mm=8,min_component_mm3=500"
    words = ["score", "--data", ball_store.folder, "--out", tmp_path / "scores"]
    semcycle(*words, "--preset", "literal", "--preset", blurred)
    table = pd.read_csv(tmp_path / "scores" / "table.csv").query("metric == 'auprc' and pooling == 'pooled'")
    assert list(table.preset) == ["literal", blurred]
    assert table.value.nunique() == 2
    semcycle(*words, "--preset", "literal,median=5", expect=2)


def test_the_prior_of_a_part_of_a_scan_looks_at_the_whole_scan():
    scan = np.zeros((20, 8, 8), np.float32)
    scan[5:15, 2:6, 2:6] = np.random.default_rng(0).random((10, 4, 4))
    brain = np.ones(scan.shape, bool)
    part = slice(6, 14)
    steps = PostProcessing(prior_quantile=0.9)
    whole = process_map(scan, brain, steps, 1.0, scan)
    kept = process_map(scan[part], brain[part], steps, 1.0, scan[part], scan_quantiles(scan))
    np.testing.assert_array_equal(kept, whole[part])
    blind = process_map(scan[part], brain[part], steps, 1.0, scan[part])
    assert (blind > 0).sum() < (kept > 0).sum()  # less background, a higher level
