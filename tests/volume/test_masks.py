"""Masks: what is found in them does not depend on how they lie in memory."""

import numpy as np
import pytest

from semcycle.volume.masks import label_components, values_inside


@pytest.fixture
def data():
    return np.random.default_rng(0).random((30, 25, 20), np.float32)


def test_numbers_of_components_do_not_depend_on_the_order_in_memory(data):
    mask = data > 0.95
    labels, sizes = label_components(mask, (1, 1, 1))
    others, other_sizes = label_components(np.asfortranarray(mask), (1, 1, 1))
    assert len(sizes) > 10
    assert others.flags.f_contiguous  # as the mask
    np.testing.assert_array_equal(others, labels)
    np.testing.assert_array_equal(other_sizes, sizes)
    np.testing.assert_array_equal(sizes, np.bincount(labels.ravel())[1:])


@pytest.mark.parametrize("order", ["CC", "CF", "FC", "FF"])
def test_values_inside_a_mask_are_all_of_them_in_any_order(data, order):
    mask = data > 0.3
    values = values_inside(np.asarray(data, order=order[0]), np.asarray(mask, order=order[1]))
    np.testing.assert_array_equal(np.sort(values), np.sort(data[mask]))
