"""BrainWeb: scans simulated from label volumes."""

import numpy as np
import pytest

from semcycle.cohorts.simulated.brainweb import (
    CSF,
    GM,
    TISSUE_MS,
    WM,
    Acquisition,
    BrainWeb,
    find_models,
    make_scan,
    simulate,
)
from semcycle.errors import LayoutError
from semcycle.volume import load_volume, make_volume


def head(shape=(48, 56, 40)):
    """A ball of WM, GM and CSF in a skull and a skin, at 0.5 mm."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    radius = np.sqrt((grid**2).sum(0))
    labels = np.select(
        [radius < 0.4, radius < 0.6, radius < 0.75, radius < 0.85, radius < 0.95], [WM, GM, CSF, 7, 6], 0
    )
    return make_volume(labels, np.diag([0.5, 0.5, 0.5, 1.0]))


def test_signal_follows_the_spin_echo_equation():
    how = Acquisition(tr=3000, te=90, noise=0, bias=0)
    scan, tissue, _, _ = make_scan(head(), how, np.random.default_rng(0))
    levels = [pd * (1 - np.exp(-3000 / t1)) * np.exp(-90 / t2) for pd, t1, t2 in (TISSUE_MS[k] for k in (GM, WM, CSF))]
    seen = [np.median(scan[one == 1]) for one in tissue]
    np.testing.assert_allclose(np.array(seen) / seen[2], np.array(levels) / levels[2], rtol=2e-3)


def test_tissue_is_the_exact_fraction_of_every_voxel():
    model = head()
    _, tissue, brain, affine = make_scan(model, Acquisition(), np.random.default_rng(0))
    assert tissue.shape == (3, 24, 28, 20)
    assert np.all(np.isin(tissue * 8, range(9)))
    for label, one in zip((GM, WM), tissue, strict=False):
        inside = np.kron(brain, np.ones((2, 2, 2))) > 0
        assert one.sum() * 8 == pytest.approx(((model.data == label) & inside).sum(), rel=1e-6)
    np.testing.assert_allclose(np.diag(affine), 1)


def test_noise_and_bias_are_what_was_asked_for():
    clean, _, brain, _ = make_scan(head(), Acquisition(noise=0, bias=0), np.random.default_rng(0))
    tilted, _, _, _ = make_scan(head(), Acquisition(noise=0, bias=0.4), np.random.default_rng(0))
    ratio = tilted[brain] / clean[brain]
    assert ratio.max() / ratio.min() == pytest.approx(1.2 / 0.8, rel=0.1)
    noisy, tissue, _, _ = make_scan(head(), Acquisition(noise=0.05, bias=0), np.random.default_rng(0))
    pure = tissue[2] == 1
    assert np.std(noisy[pure]) / np.median(noisy[pure]) == pytest.approx(0.05, rel=0.2)


def test_the_skull_stays_when_asked():
    scan, _, brain, _ = make_scan(head(), Acquisition(skull=True), np.random.default_rng(0))
    stripped, _, _, _ = make_scan(head(), Acquisition(), np.random.default_rng(0))
    assert (scan[~brain] > 0).mean() > 0.5
    assert (stripped[~brain] == 0).all()


def test_models_are_pointed_to_the_simulation(tmp_path):
    (tmp_path / "subject04_crisp_v.mnc.gz").touch()
    with pytest.raises(LayoutError, match="semcycle simulate brainweb"):
        BrainWeb().find_cases(tmp_path)
    with pytest.raises(LayoutError, match="expected BrainWeb models"):
        simulate(tmp_path / "none", tmp_path / "out")


def test_the_real_models(shared_data, tmp_path):
    models = find_models(shared_data / "brainweb")
    assert len(models) == 20
    scan, tissue, brain, _ = make_scan(load_volume(models[0]), Acquisition(factor=6), np.random.default_rng(0))
    assert 1000 < brain.sum() * 27 / 1000 < 2200
    wm, gm, csf = (np.median(scan[tissue[k] > 0.9]) for k in (1, 0, 2))
    assert wm < gm < csf
    # foot to head: the brain's widest slices lie in the upper half of the field
    assert np.argmax(brain.sum(axis=(0, 1))) > brain.shape[2] * 0.4
