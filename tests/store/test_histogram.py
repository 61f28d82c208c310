import numpy as np
import pytest

from semcycle.cohorts.base import Listing
from semcycle.errors import StoreError
from semcycle.store.histogram import store_histogram
from semcycle.store.prepare import prepare_store
from semcycle.store.slice_store import SliceStore
from semcycle.volume import load_volume
from tests.conftest import SMALL, make_scan, write_case


def test_scans_of_another_scanner_get_the_histogram_of_a_store(ball_store, tmp_path):
    case = write_case(tmp_path, "other", seed=3, lesion=False)
    volume = load_volume(case.images["t2"])
    make_scan(case.images["t2"], (volume.data / volume.data.max()) ** 2.5 * 40, volume.affine)  # dark, other contrast
    reference = store_histogram(ball_store, ["h0", "h1"])
    assert len(reference) == 21
    brains = {}
    for name, histogram in (("plain", None), ("matched", reference)):
        settings = SMALL.model_copy(update={"histogram": histogram})
        prepare_store(Listing([case]), tmp_path / name, settings, None, cohort="manifest")
        slices = SliceStore(tmp_path / name).load("other")
        brains[name] = np.asarray(slices.image, np.float32)[slices.brain > 0]
    truth = ball_store.load("h0")
    target = np.median(np.asarray(truth.image, np.float32)[truth.brain > 0])
    assert abs(np.median(brains["plain"]) - target) > 0.1
    assert np.median(brains["matched"]) == pytest.approx(target, abs=0.03)


def test_lesions_do_not_count(ball_store):
    case = ball_store.load("l0")
    image, brain, lesion = np.asarray(case.image, float), case.brain > 0, case.lesion > 0
    levels = store_histogram(ball_store, ["l0"])
    np.testing.assert_allclose(levels, np.quantile(image[brain & ~lesion], np.linspace(0, 1, 21)), atol=1e-5)
    assert np.abs(np.array(levels) - np.quantile(image[brain], np.linspace(0, 1, 21))).max() > 0.01


def test_brains_of_few_grey_values_are_no_reference(tmp_path):
    case = write_case(tmp_path, "flat")
    volume = load_volume(case.images["t2"])
    make_scan(case.images["t2"], np.where(volume.data > 0, np.where(volume.data > 500, 2, 1), 0), volume.affine)
    prepare_store(Listing([case]), tmp_path / "store", SMALL, None, cohort="manifest")
    with pytest.raises(StoreError, match="many grey values"):
        store_histogram(SliceStore(tmp_path / "store"))
