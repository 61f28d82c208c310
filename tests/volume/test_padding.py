"""Padding around the field of view: told from background, brain and noise."""

import numpy as np
import pytest

from semcycle.volume import load_volume, make_volume, save_volume
from semcycle.volume.padding import fill_padding

RANDOM = np.random.default_rng(0)


def scan(noise=0.0):
    """A ball of 300 to 900 in air."""
    grid = np.stack(np.indices((40, 44, 36))) - np.array([20, 22, 18])[:, None, None, None]
    inside = (grid**2).sum(0) < 15**2
    data = np.where(inside, RANDOM.uniform(300, 900, inside.shape), RANDOM.uniform(0, noise or 1e-9, inside.shape))
    return np.where(inside | (noise > 0), data, 0).astype(np.float32)


def corners(data):
    i, j, _ = np.indices(data.shape)
    return np.hypot(i - 20, j - 22) > 21


def rim(data):
    inside = np.zeros(data.shape, bool)
    inside[3:-3, 3:-3, 3:-3] = True
    return ~inside


def one_end(data):
    return np.indices(data.shape)[2] < 2


@pytest.mark.parametrize("value", [-32768, -1024, 4000])
@pytest.mark.parametrize("where", [corners, rim, one_end])
def test_padding_is_put_to_the_background(where, value):
    data = scan()
    filled, remark = fill_padding(np.where(where(data), np.float32(value), data))
    np.testing.assert_array_equal(filled, np.where(where(data), 0, data))
    assert f"padding of {value}" in remark


def test_padding_beside_air_with_noise_becomes_air():
    data = scan(noise=20)
    filled, _ = fill_padding(np.where(corners(data), np.float32(-1000), data))
    assert 5 < filled[0, 0, 0] < 15


@pytest.mark.parametrize(
    "make",
    [
        lambda data: data,
        lambda data: data - 1024,
        lambda data: np.where(data > 0, data, -1024),  # one constant: what is black is decided with the brain known
        lambda data: np.where(data > 0, (data - 600) / 170, 0),  # z-scored
        lambda data: np.minimum(data + 300 * one_end(data) * RANDOM.random(data.shape), 500),  # saturated
        lambda data: data + RANDOM.integers(0, 30, data.shape),
        lambda data: np.where(corners(data), 0, data + 12),  # corners that a scanner left empty
        lambda data: (data > 0) * 300.0,  # as drawn
    ],
)
def test_what_is_no_padding_is_left_alone(make):
    data = make(scan()).astype(np.float32)
    filled, remark = fill_padding(data)
    assert filled is data
    assert not remark


def test_a_scan_from_a_file_says_that_it_was_padded(tmp_path):
    data = scan()
    save_volume(tmp_path / "a.nii", np.where(corners(data), np.float32(-1000), data), make_volume(data, np.eye(4)))
    volume = load_volume(tmp_path / "a.nii")
    assert volume.data.min() == 0
    assert "padding of -1000" in volume.warnings[-1]
