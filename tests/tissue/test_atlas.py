"""Tissue maps by registration and a mixture model."""

import numpy as np
import pytest

from semcycle.cohorts.base import Case
from semcycle.cohorts.simulated.anatomy import random_anatomy
from semcycle.cohorts.simulated.brainweb import Acquisition, find_models, make_scan
from semcycle.cohorts.simulated.lesions import tumour
from semcycle.errors import TissueError
from semcycle.preprocess.bias import fit_bias
from semcycle.tissue import atlas, tissue_provider
from semcycle.tissue.atlas import AtlasSegmentation, segment, warped_priors
from semcycle.tissue.mixture import TISSUE_WEIGHTS, fit_mixture, posterior
from semcycle.volume import from_ras, load_volume, make_volume


def dice(one, other, inside):
    a, b = one.argmax(axis=0)[inside], other.argmax(axis=0)[inside]
    return [2 * ((a == k) & (b == k)).sum() / ((a == k).sum() + (b == k).sum()) for k in range(3)]


@pytest.fixture(scope="module")
def sick():
    """A clear scan of 3 mm with a big tumour as bright as CSF."""
    generator = np.random.default_rng(7)
    anatomy = random_anatomy(3, generator)
    lesion = (tumour(anatomy, generator).fraction > 0.5) & anatomy.brain
    scan = np.einsum("a,aijk->ijk", [500.0, 380.0, 950.0], anatomy.tissue)
    scan = np.where(lesion, 900, scan) + generator.normal(0, 15, scan.shape)
    return anatomy, np.where(anatomy.brain, np.maximum(scan, 1), 0), lesion


def draw(seed=0, n=20_000):
    """Intensities of three tissues with a vague prior."""
    generator = np.random.default_rng(seed)
    tissue = generator.choice(3, n, p=[0.45, 0.35, 0.2])
    values = np.array([0.45, 0.33, 0.9])[tissue] + generator.normal(0, 0.03, n)
    prior = np.full((3, n), 0.15)
    prior[tissue, np.arange(n)] = 0.7
    return tissue, values, prior


def test_the_mixture_finds_means_and_widths():
    tissue, values, prior = draw()
    model = fit_mixture(values, prior)
    np.testing.assert_allclose(model.means[:2], [0.45, 0.33], atol=0.005)
    np.testing.assert_allclose(model.sds[:2], 0.03, atol=0.005)
    assert model.shares[2:] @ model.means[2:] == pytest.approx(0.9, abs=0.01)
    found = (prior * model.likelihood(values)).argmax(axis=0)
    assert (found == tissue).mean() > 0.97


def test_shares_stay_human():
    tissue, values, prior = draw()
    few = tissue != 1
    model = fit_mixture(values[few], prior[:, few])
    assert model.weights.min() >= TISSUE_WEIGHTS[0] / 1.5
    assert model.weights.sum() == pytest.approx(1)


def test_neighbours_smooth_a_lone_voxel():
    data = np.full((9, 9, 9), 0.45, np.float32)
    data[4, 4, 4] = 0.385
    prior = np.full((3, 9, 9, 9), 1 / 3, np.float32)
    _, values, vague = draw()
    model = fit_mixture(values, vague)
    brain = np.ones(data.shape, bool)
    alone = posterior(model, data, prior, brain, sweeps=0)[1, 4, 4, 4]
    together = posterior(model, data, prior, brain, sweeps=3)[1, 4, 4, 4]
    assert together < alone / 2
    np.testing.assert_allclose(posterior(model, data, prior, brain).sum(axis=0), 1, atol=1e-5)


def test_n4_takes_a_field_out(sick):
    anatomy, _, _ = sick
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in anatomy.brain.shape], indexing="ij"))
    field = np.exp(0.25 * grid[0] + 0.15 * grid[2])
    flat = np.einsum("a,aijk->ijk", [0.5, 0.4, 0.8], anatomy.tissue) * anatomy.brain
    fitted = fit_bias((flat * field).astype(np.float32), (3.0, 3.0, 3.0), anatomy.brain)
    rest = np.log(field / fitted)[anatomy.brain]
    assert rest.std() < 0.35 * np.log(field)[anatomy.brain].std()


def test_a_tumour_left_out_does_not_bend_the_fit(sick):
    anatomy, scan, lesion = sick
    maps, model = segment(scan.astype(np.float32), (3.0, 3.0, 3.0), anatomy.brain, lesion, mode="fast")
    healthy = anatomy.brain & ~lesion
    gm, wm, csf = dice(maps, anatomy.tissue, healthy)
    assert min(gm, wm) > 0.75
    assert csf > 0.5  # the template's CSF is half of most of its voxels
    assert model.means[1] < model.means[0] < model.means[3]
    np.testing.assert_allclose(maps.sum(axis=0)[anatomy.brain], 1, atol=1e-4)
    assert (maps[:, ~anatomy.brain] == 0).all()


def test_warped_priors_know_the_place_and_not_the_scan(sick, monkeypatch):
    """A8: without the tissue model a map follows the template; the scan's own greys enter by registration alone."""
    anatomy, scan, lesion = sick
    registered = []

    def warp(scaled, spacing, out, **how):
        registered.append(out.sum())
        prior, row = np.full((3, *scaled.shape), 0.1, np.float32), np.arange(len(scaled))
        prior[row * 3 // len(scaled), row] = 0.8  # a tissue a third of the box, whatever the scan shows
        return prior

    monkeypatch.setattr(atlas, "warp_template", warp)
    provider = tissue_provider("priors")
    assert provider.describe() == {"provider": "priors", "mode": "full"}
    assert tissue_provider("atlas").describe() == {"provider": "atlas", "mode": "full"}
    volume = make_volume(scan, anatomy.affine)
    maps = provider.maps(Case("a", "a", {}), volume, anatomy.brain, lesion)
    assert maps.source.endswith("(priors)")
    assert set(np.unique(maps.data[:, anatomy.brain])) == {np.float32(0.1), np.float32(0.8)}
    np.testing.assert_allclose(maps.data.sum(axis=0)[anatomy.brain], 1, atol=1e-6)
    inverted = make_volume(np.where(anatomy.brain, 1200 - scan, 0), anatomy.affine)
    same = provider.maps(Case("a", "a", {}), inverted, anatomy.brain, lesion)
    np.testing.assert_array_equal(same.data, maps.data)
    assert (maps.data[:, ~anatomy.brain] == 0).all()
    assert registered[0] > lesion.sum()  # lesion and margin are left out of the registration


@pytest.mark.slow
def test_warped_priors_are_weaker_than_the_fit(sick):
    anatomy, scan, lesion = sick
    spacing, healthy = (3.0, 3.0, 3.0), anatomy.brain & ~lesion
    priors = warped_priors(scan.astype(np.float32), spacing, anatomy.brain, lesion, mode="fast")
    fitted, _ = segment(scan.astype(np.float32), spacing, anatomy.brain, lesion, mode="fast")
    assert priors.min() >= 0
    assert priors.sum(axis=0).max() < 1 + 1e-3
    weak, strong = (np.mean(dice(maps, anatomy.tissue, healthy)[:2]) for maps in (priors, fitted))
    assert 0.4 < weak < strong


def test_the_provider_works_in_any_orientation(sick):
    anatomy, scan, lesion = sick
    volume = make_volume(scan, anatomy.affine)
    turned = np.zeros((4, 4))
    turned[1, 0], turned[2, 1], turned[0, 2], turned[3, 3] = -3, 3, -3, 1  # axes P S L
    other = make_volume(from_ras(scan, turned), turned)
    provider = AtlasSegmentation("fast")
    plain = provider.maps(Case("a", "a", {}), volume, anatomy.brain, lesion)
    same = provider.maps(Case("a", "a", {}), other, from_ras(anatomy.brain, turned), from_ras(lesion, turned))
    for one, two in zip(plain.data, same.data, strict=True):
        np.testing.assert_array_equal(from_ras(one, turned), two)


def test_too_little_brain_is_refused():
    scan = np.zeros((20, 20, 20), np.float32)
    brain = np.zeros(scan.shape, bool)
    brain[5:9, 5:9, 5:9] = True
    with pytest.raises(TissueError, match="at least 1000 voxels"):
        segment(scan, (1.0, 1.0, 1.0), brain)


def test_a_folder_of_maps_is_no_atlas(tmp_path):
    with pytest.raises(TissueError, match="--tissue maps"):
        tissue_provider("atlas", tmp_path)


def test_brainweb_truth(shared_data):
    model = load_volume(find_models(shared_data / "brainweb")[0])
    scan, truth, brain, affine = make_scan(model, Acquisition(factor=4), np.random.default_rng(0))
    maps, _ = segment(scan.astype(np.float32), (2.0, 2.0, 2.0), brain, mode="fast")
    assert affine[0, 0] == 2
    assert np.mean(dice(maps, truth, brain)) > 0.8  # 2 mm: more partial volume than at 1 mm
