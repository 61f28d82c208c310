import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semcycle.errors import GeometryError, VolumeError
from semcycle.volume import (
    from_ras,
    is_scan,
    load_like,
    load_mask,
    load_volume,
    make_volume,
    ras_spacing,
    save_volume,
    scan_name,
    to_ras,
)


@pytest.fixture
def data():
    return np.random.default_rng(0).random((5, 6, 7)).astype(np.float32)


def write(path, data, affine=None):
    nib.save(nib.Nifti1Image(data, np.eye(4) if affine is None else affine), path)
    return path


def test_round_trip_keeps_values_affine_and_units(tmp_path, data):
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, -3], [0, 0, 3, 1], [0, 0, 0, 1]])
    source = load_volume(write(tmp_path / "a.nii.gz", data, affine))
    save_volume(tmp_path / "b.nii.gz", source.data * 2, source)
    again = load_volume(tmp_path / "b.nii.gz")
    np.testing.assert_allclose(again.data, data * 2, rtol=1e-6)
    np.testing.assert_allclose(again.affine, affine)
    assert source.spacing == pytest.approx((1.5, 2, 3))
    assert source.voxel_ml == pytest.approx(0.009)


def test_saved_bytes_are_reproducible(tmp_path, data):
    like = make_volume(data, np.eye(4))
    for name in "ab":
        save_volume(tmp_path / f"{name}.nii.gz", data, like)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_slope_makes_readers_see_probabilities(tmp_path):
    like = make_volume(np.zeros((2, 2, 2)), np.eye(4))
    save_volume(tmp_path / "p.nii.gz", np.full((2, 2, 2, 3), 255, np.uint8), like, slope=1 / 255)
    assert nib.load(tmp_path / "p.nii.gz").get_fdata().max() == pytest.approx(1)


def test_scaled_integers_and_trailing_axis_are_read(tmp_path):
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1), np.eye(4))
    image.header.set_slope_inter(0.5, 1)
    nib.save(image, tmp_path / "s.nii")
    assert load_volume(tmp_path / "s.nii").data.shape == (2, 3, 4)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".img", ".mgz"])
def test_formats(tmp_path, data, suffix):
    affine = np.diag([-2.0, 2.0, 3.0, 1.0])
    kind = {".img": nib.Nifti1Pair, ".mgz": nib.MGHImage}.get(suffix, nib.Nifti1Image)
    nib.save(kind(data, affine), tmp_path / f"s{suffix}")
    volume = load_volume(tmp_path / f"s{suffix}")
    np.testing.assert_allclose(volume.data, data)
    np.testing.assert_allclose(volume.affine, affine)
    if suffix == ".img":
        np.testing.assert_array_equal(load_volume(tmp_path / "s.hdr").data, volume.data)


def test_big_endian_integers(tmp_path):
    stored = np.arange(60, dtype=">i2").reshape(3, 4, 5)
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(">i2")
    nib.save(nib.Nifti1Image(stored, np.eye(4), header), tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    np.testing.assert_array_equal(load_volume(tmp_path / "b.nii").data, stored)


def test_disagreeing_sform_and_qform_are_noted(tmp_path, data):
    image = nib.Nifti1Image(data, np.diag([2.0, 2.0, 2.0, 1.0]))
    image.set_sform(np.diag([2.0, 2.0, 2.0, 1.0]), code=1)
    image.set_qform(np.diag([2.0, 2.0, 2.0, 1.0]), code=1)
    nib.save(image, tmp_path / "same.nii")
    assert load_volume(tmp_path / "same.nii").warnings == ()
    moved = np.diag([2.0, 2.0, 2.0, 1.0])
    moved[0, 3] = 10
    image.set_qform(moved, code=1)
    nib.save(image, tmp_path / "differ.nii")
    volume = load_volume(tmp_path / "differ.nii")
    assert volume.warnings == ("sform and qform disagree by up to 10.0 mm; the sform was used",)
    np.testing.assert_array_equal(volume.affine, np.diag([2.0, 2.0, 2.0, 1.0]))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda p, d: None, VolumeError, "found none"),
        (lambda p, d: p.write_bytes(b"no nifti at all"), VolumeError, "damaged or foreign"),
        (
            lambda p, d: p.write_bytes(gzip.compress(nib.Nifti1Image(d, np.eye(4)).to_bytes())[:-60]),
            VolumeError,
            "damaged",
        ),
        (lambda p, d: write(p, np.stack([d, d], -1)), VolumeError, "3-D"),
        (lambda p, d: write(p, d[0]), VolumeError, "3-D"),
        (lambda p, d: write(p, np.where(d > 0.9, np.nan, d)), VolumeError, "NaN or Inf"),
        (lambda p, d: write(p, np.ones_like(d)), VolumeError, "constant"),
        (lambda p, d: write(p, d.astype(np.complex64)), VolumeError, "complex"),
    ],
)
def test_unusable_scans_are_refused_with_the_file_and_a_remedy(tmp_path, data, make, error, words):
    path = tmp_path / "bad.nii.gz"
    make(path, data)
    with pytest.raises(error, match=words) as caught:
        load_volume(path)
    assert "bad.nii.gz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_singular_affine_is_refused(tmp_path, data):
    raw = bytearray(nib.Nifti1Image(data, np.eye(4)).to_bytes())
    raw[252:256] = struct.pack("<2h", 0, 1)  # qform_code, sform_code
    raw[280:328] = struct.pack("<12f", *[1, 0, 0, 0] * 3)  # three equal rows
    (tmp_path / "s.nii").write_bytes(raw)
    with pytest.raises(GeometryError, match="s.nii.*singular"):
        load_volume(tmp_path / "s.nii")


def test_mask_on_another_grid_is_refused(tmp_path, data):
    scan = make_volume(data, np.eye(4), "scan.nii")
    write(tmp_path / "shape.nii.gz", np.zeros((5, 6, 8), np.uint8))
    shifted = np.eye(4)
    shifted[0, 3] = 4
    write(tmp_path / "affine.nii.gz", np.zeros((5, 6, 7), np.uint8), shifted)
    write(tmp_path / "good.nii.gz", (data > 0.5).astype(np.uint8))
    with pytest.raises(GeometryError, match=r"shape.nii.gz.*\(5, 6, 8\)"):
        load_mask(tmp_path / "shape.nii.gz", scan)
    with pytest.raises(GeometryError, match="off by up to 4.0 mm"):
        load_like(tmp_path / "affine.nii.gz", scan, "lesion mask")
    np.testing.assert_array_equal(load_mask(tmp_path / "good.nii.gz", scan), data > 0.5)


@settings(max_examples=40, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([-1, 1])] * 3))
def test_ras_and_back_for_every_orientation_code(axes, signs):
    data = np.arange(24).reshape(2, 3, 4)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, (row, sign, size) in enumerate(zip(axes, signs, (1.0, 2.0, 3.0), strict=True)):
        affine[row, column] = sign * size
    ras = to_ras(data, affine)
    np.testing.assert_array_equal(from_ras(ras, affine), data)
    expected = [0.0, 0.0, 0.0]
    for column, row in enumerate(axes):
        expected[row] = float(column + 1)
    assert ras_spacing(affine) == pytest.approx(expected)
    # the first RAS axis runs to the right: world x grows along it
    where = np.argwhere(data == ras[0, 0, 0])[0]
    along = np.argwhere(data == ras[1, 0, 0])[0] if ras.shape[0] > 1 else where
    assert (affine[:3, :3] @ (along - where))[0] >= 0


def test_names():
    assert scan_name(Path("a/b_t2.nii.gz")) == "b_t2"
    assert is_scan(Path("x.NII.GZ"))
    assert not is_scan(Path("x.json"))
