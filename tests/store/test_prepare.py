import gzip
import json
import os
import shutil
import signal
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from semcycle.cohorts.base import Case, Listing
from semcycle.errors import Failure, StoreError
from semcycle.store.prepare import prepare_store
from semcycle.store.slice_store import SliceStore, read_record, voxel_size
from semcycle.tissue.maps import ImportedMaps
from semcycle.training.slices import SliceSettings, pack_slices
from semcycle.volume import load_mask, load_volume
from tests.conftest import SMALL, make_scan, write_case


class Trouble(ImportedMaps):
    """Tissue maps, but for h1: there an error is raised, or the process is ended as the system does without memory."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def maps(self, case, volume, brain, lesion):
        if case.case_id != "h1":
            return super().maps(case, volume, brain, lesion)
        if self.error is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise self.error


@pytest.mark.parametrize(
    ("error", "workers"),
    [
        (RuntimeError("odd\nlibrary"), 1),
        (MemoryError(), 1),
        (OSError("gone"), 1),
        pytest.param(None, 2, marks=pytest.mark.slow),
    ],
)
def test_whatever_one_case_does_the_others_are_prepared(ball_cases, tmp_path, error, workers):
    cases = Listing(ball_cases[:4])
    (failure,) = prepare_store(cases, tmp_path, SMALL, Trouble(error), cohort="manifest", workers=workers)
    assert failure.case_id == "h1"
    assert "\n" not in failure.reason
    assert SliceStore(tmp_path).case_ids == ["h0", "h2", "h3"]
    assert "h1" in (tmp_path / "failures.csv").read_text()


def test_store_holds_what_the_scans_say(ball_store, ball_cases):
    assert ball_store.case_ids == ["h0", "h1", "h2", "h3", "l0", "l1"]
    for case in ball_cases:
        slices = ball_store.load(case.case_id)
        assert slices.image.dtype == np.float16
        assert slices.image.shape == slices.brain.shape == slices.lesion.shape
        assert slices.tissue.shape == (len(slices.image), 3, 32, 32)
        assert slices.image.max() <= 1
        assert (slices.image[slices.brain == 0] == 0).all()
        assert slices.brain.any(axis=(1, 2)).all()
        assert (slices.tissue.astype(int).sum(axis=1) <= 256).all()  # rounding of three maps that add up to 1
        volume = load_volume(case.images["t2"])
        truth = load_mask(case.lesion, volume).sum() if case.lesion else 0
        assert slices.lesion_voxels.sum() == truth
        assert slices.record.lesion_ml == pytest.approx(truth * 0.216)
        assert slices.record.lesion_free_slices == (slices.lesion_voxels == 0).sum()
        assert (slices.lesion.any(axis=(1, 2)) <= (slices.lesion_voxels > 0)).all()


def test_rerun_keeps_files_and_ends_in_the_same_bytes(ball_cases, tmp_path):
    def content(folder):
        return {path.name: path.read_bytes() for path in folder.iterdir()}

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    prepare_store(Listing(ball_cases), whole, SMALL, ImportedMaps(), cohort="manifest")
    prepare_store(Listing(ball_cases[:2]), killed, SMALL, ImportedMaps(), cohort="manifest")
    (killed / "manifest.json").unlink()
    kept = (killed / "h0.safetensors").stat().st_mtime_ns
    prepare_store(Listing(ball_cases), killed, SMALL, ImportedMaps(), cohort="manifest", workers=2)
    assert content(whole) == content(killed)
    assert (killed / "h0.safetensors").stat().st_mtime_ns == kept


def test_a_changed_source_is_prepared_again(tmp_path):
    case = write_case(tmp_path, "a")
    prepare_store(Listing([case]), tmp_path / "store", SMALL, None, cohort="manifest")
    before = SliceStore(tmp_path / "store").hash
    write_case(tmp_path, "a", seed=5)
    prepare_store(Listing([case]), tmp_path / "store", SMALL, None, cohort="manifest")
    assert SliceStore(tmp_path / "store").hash != before


def test_wrapped_numbers_are_flagged(tmp_path):
    case = write_case(tmp_path, "a")
    image = nib.load(case.images["t2"])
    data = np.asarray(image.dataobj)
    wrapped = np.rint(data / data.max() * 60_000).astype(np.uint16).view(np.int16)
    nib.save(nib.Nifti1Image(wrapped, image.affine), tmp_path / "wrapped.nii")
    other = replace(case, case_id="b", images={"t2": tmp_path / "wrapped.nii"})
    prepare_store(Listing([case, other]), tmp_path / "store", SMALL, None, cohort="manifest")
    flags = [SliceStore(tmp_path / "store").summary(name)["flags"] for name in "ab"]
    assert not any("32767" in flag for flag in flags[0])
    assert any("32767" in flag for flag in flags[1])


def test_a_pair_whose_other_file_changed_is_prepared_again(tmp_path):
    case = write_case(tmp_path, "a")
    image = nib.load(case.images["t2"])
    data, affine = np.asarray(image.dataobj), image.affine
    nib.save(nib.Nifti1Pair(data, affine), tmp_path / "pair.img")
    for named, half in (("pair.img", "header"), ("pair.hdr", "voxels")):
        pair = replace(case, images={"t2": tmp_path / named}, lesion=None)
        prepare_store(Listing([pair]), tmp_path / half, SMALL, None, cohort="manifest")
        before = SliceStore(tmp_path / half).hash
        affine, data = affine @ np.diag([1.05, 1.05, 1.05, 1]), data + 100 * (data > data.mean())
        nib.save(nib.Nifti1Pair(data, image.affine), tmp_path / "pair.img")
        if half == "header":
            nib.save(nib.Nifti1Pair(np.asarray(image.dataobj), affine), tmp_path / "pair.img")
        prepare_store(Listing([pair]), tmp_path / half, SMALL, None, cohort="manifest")
        assert SliceStore(tmp_path / half).hash != before


def test_other_settings_are_refused_and_named(ball_cases, tmp_path):
    prepare_store(Listing(ball_cases[:1]), tmp_path / "store", SMALL, None, cohort="manifest")
    with pytest.raises(StoreError, match=r"preprocess.size 32, now 48"):
        prepare_store(
            Listing(ball_cases[:1]), tmp_path / "store", SMALL.model_copy(update={"size": 48}), None, cohort="manifest"
        )
    with pytest.raises(StoreError, match="tissue.provider none, now maps"):
        prepare_store(Listing(ball_cases[:1]), tmp_path / "store", SMALL, ImportedMaps(), cohort="manifest")


def test_a_folder_with_other_files_is_left_alone(ball_cases, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(StoreError, match="other files"):
        prepare_store(Listing(ball_cases[:1]), tmp_path, SMALL, None, cohort="manifest")


def test_bad_cases_are_listed_and_the_others_done(tmp_path):
    good = write_case(tmp_path, "good")
    bad = {name: write_case(tmp_path, name) for name in ("cut", "nan", "grid", "four", "empty", "missing")}
    t2 = bad["cut"].images["t2"]
    t2.write_bytes(t2.read_bytes()[:300])
    volume = load_volume(bad["nan"].images["t2"])
    make_scan(bad["nan"].images["t2"], np.where(volume.data > 500, np.nan, volume.data), volume.affine)
    make_scan(bad["grid"].lesion, np.zeros((4, 4, 4)))
    make_scan(bad["four"].images["t2"], np.stack([volume.data] * 2, -1))
    speck = np.zeros_like(volume.data)
    speck[3, 3, 3] = 1
    make_scan(bad["empty"].images["t2"], speck)
    bad["missing"] = Case("missing", "missing", {"t1": t2})
    listing = Listing([good, *bad.values()], [Failure("folder", "no t2")])
    failures = prepare_store(listing, tmp_path / "store", SMALL, None, cohort="manifest")
    reasons = {failure.case_id: failure.reason for failure in failures}
    assert set(reasons) == {*bad, "folder"}
    for name, words in {
        "cut": "damaged",
        "nan": "NaN",
        "grid": "grid of",
        "four": "3-D",
        "empty": "looks empty",
        "missing": "t2 image",
    }.items():
        assert words in reasons[name]
        assert name in reasons[name]
    assert SliceStore(tmp_path / "store").case_ids == ["good"]
    assert (tmp_path / "store" / "failures.csv").read_text().count("\n") >= 8


def test_nothing_usable_is_an_error(tmp_path):
    case = Case("a", "a", {"t2": tmp_path / "none.nii"})
    with pytest.raises(StoreError, match="at least one usable case"):
        prepare_store(Listing([case]), tmp_path / "store", SMALL, None, cohort="manifest")


def test_slice_window_and_brain_mask(tmp_path):
    case = write_case(tmp_path, "a")
    prepare_store(
        Listing([case]), tmp_path / "s", SMALL.model_copy(update={"slices": (8, 12)}), None, cohort="manifest"
    )
    assert SliceStore(tmp_path / "s").load("a").slice_index.tolist() == [8, 9, 10, 11]
    with pytest.raises(StoreError, match="another window"):
        prepare_store(
            Listing([case]), tmp_path / "n", SMALL.model_copy(update={"slices": (90, 99)}), None, cohort="manifest"
        )
    scan = load_volume(case.images["t2"])
    half = scan.data > 0
    half[16:] = False
    masked = Case("a", "a", case.images, case.lesion, make_scan(tmp_path / "half.nii", half, scan.affine))
    prepare_store(Listing([masked]), tmp_path / "m", SMALL, None, cohort="manifest")
    whole = SliceStore(tmp_path / "s").load("a").record.brain_ml
    assert SliceStore(tmp_path / "m").load("a").record.brain_ml == pytest.approx(whole / 2, rel=0.01)


def test_damaged_and_unfinished_stores_are_refused(ball_store, tmp_path):
    with pytest.raises(StoreError, match=r"no manifest\.json"):
        SliceStore(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(ball_store.folder, folder)
    raw = bytearray((folder / "h0.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "h0.safetensors").write_bytes(raw)
    with pytest.raises(StoreError, match="h0.safetensors.*changed"):
        SliceStore(folder).load("h0")
    with pytest.raises(StoreError, match="'nobody'"):
        SliceStore(folder).load("nobody")
    (folder / "h1.safetensors").write_bytes(gzip.compress(b"x"))
    with pytest.raises(StoreError, match="damaged"):
        read_record(folder / "h1.safetensors")
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(StoreError, match="format 1, got 99"):
        SliceStore(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        SliceStore(folder)


@pytest.fixture
def labelled(tmp_path):
    """A case whose mask has an inner core of 4 and, three slices higher up, a rim of 2."""
    case = write_case(tmp_path, "a")
    volume = load_volume(case.images["t2"])
    labels = np.zeros(volume.shape, np.float32)
    labels[14:22, 14:22, 8:11] = 4
    labels[14:22, 14:22, 12:14] = 2
    make_scan(case.lesion, labels, volume.affine)
    return case


def test_single_labels_are_the_lesion_and_the_others_never_healthy(labelled, tmp_path):
    stores = {}
    for name, labels in (("all", None), ("core", (4,)), ("none", (7,))):
        settings = SMALL.model_copy(update={"lesion_labels": labels})
        prepare_store(Listing([labelled]), tmp_path / name, settings, ImportedMaps(), cohort="manifest")
        stores[name] = SliceStore(tmp_path / name)
    whole, core, none = (stores[name].load("a") for name in ("all", "core", "none"))
    assert whole.other is None
    np.testing.assert_array_equal(core.abnormal, whole.lesion > 0)
    assert (core.lesion[core.slice_index > 10] == 0).all()
    assert core.lesion.sum() * 2 == core.other.sum() * 3
    assert none.lesion.sum() == 0
    assert core.record.lesion_ml == pytest.approx(64 * 3 * 0.216)
    for case in (core, none):
        # slices with any label are not lesion-free
        np.testing.assert_array_equal(case.lesion_voxels, whole.lesion_voxels)
        assert case.record.lesion_free_slices == whole.record.lesion_free_slices
        np.testing.assert_array_equal(case.tissue, whole.tissue)
    packed = pack_slices(stores["core"], ["a"], SliceSettings(lesions="mask"), tmp_path / "packed")
    same = pack_slices(stores["all"], ["a"], SliceSettings(lesions="mask"), tmp_path / "same")
    np.testing.assert_array_equal(packed.valid, same.valid)


def test_slices_near_a_lesion_can_be_dropped_too(labelled, tmp_path):
    prepare_store(Listing([labelled]), tmp_path / "store", SMALL, ImportedMaps(), cohort="manifest")
    store = SliceStore(tmp_path / "store")
    index = store.load("a").slice_index
    kept = {
        margin: len(pack_slices(store, ["a"], SliceSettings(slice_margin=margin, min_brain=0), tmp_path / str(margin)))
        for margin in (0, 1, 2)
    }
    assert kept[0] == len(index) - 5  # 8, 9, 10, 12, 13
    assert kept[1] == len(index) - 8  # and 7, 11, 14
    assert kept[2] == len(index) - 10  # and 6, 15


def test_a_store_made_before_the_newer_options_stays_the_same(ball_cases, tmp_path):
    """Its settings name none of them; preparing again keeps files, hash and manifest."""
    first = ["modality", "size", "pixel_mm", "slices", "bias", "intensity", "percentile", "intensity_scope"]
    prepare_store(Listing(ball_cases[:1]), tmp_path / "store", SMALL, None, cohort="manifest")
    assert list(json.loads((tmp_path / "store" / "settings.json").read_text())["preprocess"]) == first
    assert list(SliceStore(tmp_path / "store").settings["preprocess"]) == first
    changed = SMALL.model_copy(update={"window": "brain"})
    with pytest.raises(StoreError, match=r"preprocess.window None, now brain"):
        prepare_store(Listing(ball_cases[:1]), tmp_path / "store", changed, None, cohort="manifest")


def test_predictions_know_the_pixels_of_a_window_that_follows_the_scan(ball_cases, tmp_path):
    settings = SMALL.model_copy(update={"window": "brain"})
    prepare_store(Listing(ball_cases[:1]), tmp_path / "store", settings, None, cohort="manifest")
    step, row, column = voxel_size(SliceStore(tmp_path / "store").load("h0").record)
    assert step == 6
    assert row == column != settings.pixel_mm
    brain = SliceStore(tmp_path / "store").load("h0").brain > 0
    assert brain.any(axis=(0, 1)).all() or brain.any(axis=(0, 2)).all()  # the longer side fills the slice


def test_real_brats_case(shared_data, tmp_path):
    from semcycle.cohorts import get_cohort
    from semcycle.preprocess.pipeline import PreprocessSettings

    listing = get_cohort("brats").find_cases(shared_data / "brats")
    wanted = ("Brats18_TCIA02_606_1", "Brats18_TCIA10_628_1")
    listing = Listing([case for case in listing.cases if case.case_id in wanted])
    settings = PreprocessSettings(slices=(20, 130))
    failures = prepare_store(listing, tmp_path / "s", settings, ImportedMaps(shared_data / "brats-spm"), cohort="brats")
    store = SliceStore(tmp_path / "s")
    assert failures == []
    assert len(store.summary(wanted[0])["flags"]) >= 3  # SPM lost this one to a large tumour
    assert store.summary(wanted[1])["flags"] == []
    good = store.load(wanted[1])
    assert good.record.lesion_ml == pytest.approx(157.3, abs=0.1)
    assert good.image.shape == (110, 128, 128)
    assert good.record.tissue["t2_wm"] < good.record.tissue["t2_gm"] < good.record.tissue["t2_csf"]
