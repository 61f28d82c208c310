import numpy as np
import pytest

from semcycle.methods.contrast import match_contrast


def slices(levels, seed=0):
    """Three bands of tissue with the given grey values, posteriors that are sure of them, and a brain."""
    tissue = np.zeros((4, 3, 30, 30), np.float32)
    for index in range(3):
        tissue[:, index, :, 10 * index : 10 * index + 10] = 1
    image = np.einsum("scij,c->sij", tissue, np.array(levels, np.float32))
    noise = np.random.default_rng(seed).normal(0, 0.01, image.shape)
    return (image + noise).astype(np.float32), tissue, np.ones(image.shape, bool)


def test_the_reconstruction_gets_the_scans_tissue_levels():
    painted, tissue, brain = slices([0.4, 0.3, 0.8])
    scan, _, _ = slices([0.5, 0.33, 0.7], seed=1)
    matched = match_contrast(scan, painted, tissue, brain)
    for index in range(3):
        inside = tissue[:, index] == 1
        assert np.median(matched[inside]) == pytest.approx(np.median(scan[inside]), abs=0.005)
    assert np.abs(scan - matched).mean() < 0.3 * np.abs(scan - painted).mean()


def test_a_lesion_in_the_smaller_part_of_a_tissue_stays_a_residual():
    painted, tissue, brain = slices([0.4, 0.3, 0.8])
    scan, _, _ = slices([0.4, 0.3, 0.8], seed=1)
    scan[:, :12, 10:20] = 0.75
    matched = match_contrast(scan, painted, tissue, brain)
    assert (scan - matched)[:, :12, 10:20].mean() == pytest.approx(0.45, abs=0.03)
    assert np.abs(scan - matched)[:, 12:].mean() < 0.03


def test_order_is_kept_and_strays_are_bounded():
    painted, tissue, brain = slices([0.4, 0.3, 0.6])
    scan, _, _ = slices([0.1, 0.9, 0.6], seed=1)
    matched = match_contrast(scan, painted, tissue, brain)
    order = np.argsort(painted.ravel())
    assert (np.diff(matched.ravel()[order]) >= -1e-6).all()
    assert matched.max() <= 1


def test_without_enough_sure_voxels_nothing_changes():
    painted, tissue, brain = slices([0.4, 0.3, 0.8])
    assert match_contrast(painted * 2, painted, tissue * 0.5, brain) is painted
