import numpy as np
import pytest

from semcycle.cohorts.base import Listing
from semcycle.errors import StoreError
from semcycle.store.augment import AugmentationSettings, augment_stores
from semcycle.store.prepare import prepare_store
from semcycle.store.slice_store import SliceStore
from tests.conftest import SMALL

pytest.importorskip("torchio", reason="TorchIO (extra `augment`) is not installed")
SETTINGS = AugmentationSettings(copies=2, motion=1, ghosting=1, thick=1, noise=1, blur=1, bias=1)


@pytest.fixture(scope="module")
def made(ball_store, tmp_path_factory):
    return augment_stores([ball_store], tmp_path_factory.mktemp("augmented") / "store", SETTINGS, ["h0", "h1"])


def test_every_case_and_its_copies_keep_their_subject(made, ball_store):
    assert made.case_ids == ["h0", "h0_v1", "h0_v2", "h1", "h1_v1", "h1_v2"]
    assert {made.subject(case) for case in made.case_ids if case.startswith("h0")} == {ball_store.subject("h0")}
    np.testing.assert_array_equal(made.load("h0").image, ball_store.load("h0").image)


def test_copies_differ_but_stay_slices_of_a_store(made):
    original, copies = made.load("h0"), [made.load("h0_v1"), made.load("h0_v2")]
    assert not np.array_equal(copies[0].image[:3], copies[1].image[:3])
    for case in copies:
        assert case.image.dtype == np.float16
        assert 0 <= case.image.min() <= case.image.max() <= 1
        assert (case.image[case.brain == 0] == 0).all()
        assert np.median(case.image[case.brain > 0]) == pytest.approx(
            np.median(original.image[original.brain > 0]), abs=0.02
        )
        sure = case.tissue.sum(axis=1)[case.brain > 0]
        assert np.median(sure) > 240
        assert len(case.slice_index) == len(case.image) == made.summary(case.record.case_id)["slices"]


def test_same_seed_same_bytes(made, ball_store, tmp_path):
    again = augment_stores([ball_store], tmp_path / "again", SETTINGS, ["h0", "h1"])
    assert again.hash == made.hash
    other = augment_stores([ball_store], tmp_path / "other", SETTINGS.model_copy(update={"seed": 1}), ["h0", "h1"])
    assert other.hash != made.hash


def test_slices_are_thinned_from_another_start_in_every_copy(ball_store, tmp_path):
    made = augment_stores([ball_store], tmp_path / "thin", AugmentationSettings(copies=0, every=2))
    full = ball_store.load("h0").slice_index
    np.testing.assert_array_equal(made.load("h0").slice_index, full[::2])


def test_lesions_move_with_the_image(ball_store, tmp_path):
    sick = next(case for case in ball_store.case_ids if ball_store.summary(case)["lesion_ml"] > 0)
    settings = AugmentationSettings(copies=1, degrees=0, elastic_mm=0, scale=0.0)
    made = augment_stores([ball_store], tmp_path / "sick", settings, [sick])
    before, after = made.load(sick), made.load(f"{sick}_v1")
    assert after.lesion.sum() == pytest.approx(before.lesion.sum(), rel=0.05)
    assert ((after.lesion_voxels > 0) >= (after.lesion.any(axis=(1, 2)))).all()


def test_stores_with_and_without_tissue_maps_are_not_joined(ball_store, ball_cases, tmp_path):
    assert prepare_store(Listing([ball_cases[4]]), tmp_path / "bare", SMALL, None, cohort="manifest") == []
    bare = SliceStore(tmp_path / "bare")
    healthy = augment_stores([ball_store], tmp_path / "healthy", AugmentationSettings(copies=0), ["h0"])
    for stores in ([healthy, bare], [bare, healthy]):
        with pytest.raises(StoreError, match="bare: expected tissue maps in all stores or in none"):
            augment_stores(stores, tmp_path / "joined", AugmentationSettings(copies=0))


def test_stores_that_do_not_fit_are_refused(ball_store, tmp_path):
    with pytest.raises(StoreError, match="got one twice"):
        augment_stores([ball_store, SliceStore(ball_store.folder)], tmp_path / "a", AugmentationSettings())
    with pytest.raises(StoreError, match="'nobody'"):
        augment_stores([ball_store], tmp_path / "b", AugmentationSettings(), ["nobody"])
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "file").touch()
    with pytest.raises(StoreError, match="empty folder"):
        augment_stores([ball_store], tmp_path / "c", AugmentationSettings())
