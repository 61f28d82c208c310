import numpy as np
import pytest

from semcycle.prediction.lesion_mask import find_components, find_lesions
from semcycle.training.calibration import Threshold

SPACING = (1.0, 1.0, 2.0)
BRAIN = np.ones((12, 12, 12), bool)


def scores():
    """A bright lesion with a faint surround, a faint patch without a bright voxel, and a bright speck."""
    array = np.zeros(BRAIN.shape, np.float32)
    array[1:6, 1:6, 1:6] = 0.3
    array[2:4, 2:4, 2:4] = 0.8
    array[8:11, 1:4, 8:11] = 0.3
    array[9, 9, 9] = 0.9
    return array


def test_a_component_grows_from_its_seed_and_takes_its_surround_along():
    components = find_lesions(scores(), BRAIN, SPACING, Threshold("x", 0.7, "", grow=0.2, min_ml=0.01))
    assert (components.labels > 0).sum() == 125
    assert components.count == 1
    assert components.total_ml == components.largest_ml == pytest.approx(125 * 2 / 1000)
    components = find_lesions(scores(), BRAIN, SPACING, Threshold("x", 0.7, "", min_ml=0.01))
    assert (components.labels > 0).sum() == 8
    assert components.total_ml == pytest.approx(0.016)


def test_size_limit_and_brain():
    components = find_lesions(scores(), BRAIN, SPACING, Threshold("x", 0.2, "", min_ml=0.002))
    assert components.count == 3
    assert components.labels[9, 9, 9]
    components = find_lesions(scores(), BRAIN, SPACING, Threshold("x", 0.2, "", min_ml=0.1))
    assert (components.count, (components.labels > 0).sum()) == (1, 125)
    components = find_lesions(scores(), ~BRAIN, SPACING, Threshold("x", 0.2, "", min_ml=0))
    assert (components.count, components.total_ml, components.largest_ml) == (0, 0, 0)


def test_a_higher_seed_only_takes_components_away():
    generator = np.random.default_rng(0)
    noise = generator.random(BRAIN.shape, np.float32)
    counts = [
        find_lesions(noise, BRAIN, SPACING, Threshold("x", seed, "", grow=0.9, min_ml=0.004)).count
        for seed in (0.9, 0.95, 0.99, 0.999, 1.1)
    ]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 0


def test_components_come_with_their_peaks_and_volumes():
    components, peaks = find_components(scores(), BRAIN, SPACING, 0.2)
    np.testing.assert_allclose(sorted(peaks), [0.3, 0.8, 0.9])
    np.testing.assert_allclose(sorted(components.sizes_ml), [0.002, 0.054, 0.25])
    assert components.sizes_ml[components.labels[3, 3, 3] - 1] == pytest.approx(0.25)
