"""Phantoms: brains that differ, do not fold, look like T2, and have their lesions inside."""

import numpy as np
import pytest

from semcycle.cohorts.simulated.anatomy import random_anatomy, random_displacement
from semcycle.cohorts.simulated.lesions import LESIONS
from semcycle.cohorts.simulated.phantom import KINDS, Phantom, make_t2, write_cohort
from semcycle.volume import load_volume

SPACING = 3


@pytest.fixture(scope="module")
def anatomy():
    return random_anatomy(SPACING, np.random.default_rng(3))


@pytest.mark.parametrize("seed", range(6))
def test_the_warp_does_not_fold(seed):
    displacement = random_displacement((66, 78, 63), SPACING, np.random.default_rng(seed))
    jacobian = np.stack([np.stack(np.gradient(part)) for part in displacement]) + np.eye(3)[:, :, None, None, None]
    determinant = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1)))
    assert determinant.min() > 0
    assert np.linalg.norm(displacement, axis=0).max() * SPACING > 3, "a warp of less than 3 mm makes no other brain"


def test_tissue_is_a_partition_with_human_proportions(anatomy):
    assert anatomy.tissue.min() >= 0
    assert anatomy.tissue.sum(axis=0).max() <= 1 + 1e-5
    share = anatomy.tissue.sum(axis=(1, 2, 3)) / anatomy.tissue.sum()
    assert np.all((share > [0.35, 0.25, 0.05]) & (share < [0.65, 0.5, 0.35]))
    assert 900 < anatomy.brain.sum() * SPACING**3 / 1000 < 2200


def test_contrast_is_that_of_t2(anatomy):
    image = make_t2(anatomy, None, np.random.default_rng(0))
    assert (image[~anatomy.brain] == 0).all()
    assert (image[anatomy.brain] > 0).all()
    gm, wm, csf = (np.median(image[tissue > 0.95]) for tissue in anatomy.tissue)
    assert wm < gm < csf
    assert 1.3 < csf / gm < 2.2


def test_gains_span_two_orders_of_magnitude(anatomy):
    medians = [np.median(make_t2(anatomy, None, np.random.default_rng(s))[anatomy.brain]) for s in range(12)]
    assert max(medians) / min(medians) > 10


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_lesions_lie_in_the_brain_and_change_it(anatomy, kind, seed):
    lesion = LESIONS[kind](anatomy, np.random.default_rng(seed))
    mask = lesion.fraction > 0.5
    assert not (mask & ~anatomy.brain).any()
    volume = mask.sum() * SPACING**3 / 1000
    assert 0.2 < volume < 200
    sick = make_t2(anatomy, lesion, np.random.default_rng(9)).astype(float)
    well = make_t2(anatomy, None, np.random.default_rng(9)).astype(float)
    # the same seed: gains agree, so the change is where the lesion is
    change = np.abs(
        sick / max(np.median(sick[anatomy.brain & ~mask]), 1) - well / np.median(well[anatomy.brain & ~mask])
    )
    assert change[mask].mean() > 3 * change[anatomy.brain & (lesion.fraction == 0)].mean()


def test_a_cohort_is_the_same_whatever_the_number_of_processes(tmp_path):
    for workers in (1, 2):
        write_cohort(tmp_path / str(workers), healthy=2, lesions=1, spacing=6, seed=4, workers=workers)
    files = sorted(path.relative_to(tmp_path / "1") for path in (tmp_path / "1").rglob("*.*"))
    assert len(files) == 3 * 4 + 1 + 1
    assert all((tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes() for name in files)


def test_subjects_differ(tmp_path):
    write_cohort(tmp_path, healthy=2, lesions=0, spacing=6)
    one, two = (load_volume(case.images["t2"]).data > 0 for case in Phantom().find_cases(tmp_path).cases)
    assert (one != two).mean() > 0.005
