"""Outputs made slab by slab are those made as a whole, to the byte, and files are those that nibabel and gzip write."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from semcycle.prediction.folder import PredictSettings, predict_files
from semcycle.prediction.lesion_mask import find_lesions
from semcycle.preprocess.geometry import fit_grid
from semcycle.training.calibration import Threshold
from semcycle.training.models import open_model
from semcycle.volume import load_volume, make_volume, save_volume
from semcycle.volume import slabs as room
from semcycle.volume.slabs import Slabs, as_slabs, cut_slabs, thin_out
from tests.conftest import ball_brain

AXES = ["RAS", "LPS", "PIR", "SAL", "LSA", "ASR"]


@pytest.fixture
def thin_slabs(monkeypatch):
    """Every scan is large, and a slab has three slices or so."""
    monkeypatch.setattr(room, "LARGE", 1000)
    monkeypatch.setattr(room, "SLAB", 3000)


def orient(path, axes):
    """The ball on voxels of other axes and sizes."""
    affine = np.diag([5.5, 6.0, 6.5, 1.0])
    affine[:3, 3] = -90
    image = nib.Nifti1Image(ball_brain(seed=3)["t2"].astype(np.int16), affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes))
    nib.save(image.as_reoriented(turn), path)
    return path


def test_parts_cover_the_axis_once_and_ordinary_scans_are_one():
    assert cut_slabs((240, 240, 155)) == [slice(0, 155)]
    parts = cut_slabs((480, 480, 310))
    assert [part.start for part in parts[1:]] == [part.stop for part in parts[:-1]]
    assert (parts[0].start, parts[-1].stop) == (0, 310)
    assert max(480 * 480 * (part.stop - part.start) for part in parts) <= room.SLAB
    assert thin_out(np.zeros((240, 240, 155))).shape == (240, 240, 155)


@pytest.mark.parametrize("axes", AXES)
def test_a_part_of_the_way_back_is_that_part_of_the_whole(axes, tmp_path):
    volume = load_volume(orient(tmp_path / "scan.nii.gz", axes))
    grid = fit_grid(volume, volume.data > 0, 32, 7.0)
    slices = np.random.default_rng(0).random(grid.forward(volume.data).shape, np.float32)
    whole = grid.inverse(slices)
    for part in (slice(0, 4), slice(5, 9), slice(3, None)):
        np.testing.assert_allclose(grid.inverse(slices, part), whole[:, :, part], atol=1e-6)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8, np.int16, bool])
@pytest.mark.parametrize("axes", ["RAS", "PIR"])
def test_files_hold_what_nibabel_writes(axes, dtype, ending, tmp_path, thin_slabs):
    like = load_volume(orient(tmp_path / "scan.nii.gz", axes))
    for shape, slope in ((like.shape, 1), ((*like.shape, 3), 1 / 255)):
        data = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
        save_volume(tmp_path / f"out{ending}", data, like, description="made up", slope=slope)
        header = nib.Nifti1Header.from_header(like.header)
        stored = data.astype(np.uint8) if dtype is bool else data
        image = nib.Nifti1Image(stored, like.affine, header)
        image.header.set_data_dtype(stored.dtype)
        image.header.set_slope_inter(slope, 0)
        image.header["cal_min"] = image.header["cal_max"] = 0
        for text in ("data_type", "db_name", "aux_file", "intent_name"):
            image.header[text] = b""
        image.header["descrip"] = b"made up"
        expected = image.to_bytes()
        content = (tmp_path / f"out{ending}").read_bytes()
        if ending == ".nii.gz":
            assert not any(content[4:8])  # no time of writing
            content = gzip.decompress(content)
        assert content == expected


def test_a_big_endian_header_is_kept(tmp_path):
    like = load_volume(orient(tmp_path / "scan.nii.gz", "RAS"))
    image = nib.Nifti1Image(like.data, like.affine, like.header.as_byteswapped(">"))
    nib.save(image, tmp_path / "big.nii")
    big = load_volume(tmp_path / "big.nii")
    assert big.header.endianness == ">"
    save_volume(tmp_path / "out.nii.gz", big.data, big)
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii.gz").get_fdata(), big.data)


@pytest.mark.parametrize("axes", AXES)
def test_a_large_scan_gets_the_files_of_a_small_one(axes, tmp_path, monkeypatch):
    scan, model = orient(tmp_path / "scan.nii.gz", axes), open_model("t2-brain-1")
    settings = PredictSettings("literal", Threshold("given", 0.2, "given by the user"))
    assert predict_files({"scan": scan}, model, tmp_path / "whole", settings) == []
    monkeypatch.setattr(room, "LARGE", 15_000)
    monkeypatch.setattr(room, "SLAB", 3000)
    monkeypatch.setattr("semcycle.preprocess.brain_mask.thin_out", lambda data: data)
    assert predict_files({"scan": scan}, model, tmp_path / "slabs", settings) == []
    for what in ("anomaly", "mask", "reconstruction", "tissue"):
        whole, slabs = (tmp_path / folder / f"scan_{what}.nii.gz" for folder in ("whole", "slabs"))
        if axes[2] in "SI":  # slabs are axial slices: not one digit differs
            assert whole.read_bytes() == slabs.read_bytes()
        else:
            expected = nib.load(whole).get_fdata()
            np.testing.assert_allclose(nib.load(slabs).get_fdata(), expected, atol=0.005 * np.abs(expected).max())


def test_lesions_are_the_same_slab_by_slab(monkeypatch):
    generator = np.random.default_rng(0)
    scores, brain = generator.random((20, 20, 20), np.float32), generator.random((20, 20, 20)) < 0.9
    threshold = Threshold("given", 0.97, "", grow=0.9)
    whole = find_lesions(scores, brain, (1, 1, 1), threshold)
    assert whole.count > 2
    monkeypatch.setattr(room, "LARGE", 1000)
    monkeypatch.setattr(room, "SLAB", 1500)
    made = find_lesions(Slabs(scores.shape, scores.dtype, as_slabs(scores).make), brain, (1, 1, 1), threshold)
    np.testing.assert_array_equal(made.labels, whole.labels)
    np.testing.assert_array_equal(made.sizes_ml, whole.sizes_ml)


def test_statistics_of_the_background_hold_on_every_second_voxel(monkeypatch):
    from semcycle.preprocess.brain_mask import find_background

    volume = make_volume(ball_brain((64, 72, 40), seed=1)["t2"], np.diag([3.0, 3.0, 3.0, 1.0]))
    whole = find_background(volume)
    monkeypatch.setattr(room, "LARGE", 1000)
    thinned = find_background(volume)
    assert thinned.level == whole.level
    assert thinned.tolerance == whole.tolerance
    assert thinned.tissue == pytest.approx(whole.tissue, rel=0.02)
