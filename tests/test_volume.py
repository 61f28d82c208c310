import gzip
import importlib.util
import struct
import tracemalloc
from collections import Counter
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
    labels_inside,
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


def _claim(path, data, **fields):
    """A NIfTI file whose header says something else than its voxels."""
    content = bytearray(nib.Nifti1Image(data, np.eye(4)).to_bytes())
    header = nib.Nifti1Header(bytes(content[:348]))
    for name, value in fields.items():
        header[name] = value
    content[:348] = header.binaryblock
    path.write_bytes(gzip.compress(bytes(content)) if path.suffix == ".gz" else bytes(content))
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_a_header_that_claims_gigabytes_is_refused_before_they_are_allocated(tmp_path, data, name):
    path = _claim(tmp_path / name, data, dim=[3, 1000, 1000, 130, 1, 1, 1, 1])
    tracemalloc.start()
    try:
        with pytest.raises(VolumeError, match=r"a\.nii.*expected"):
            load_volume(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_a_large_compressed_file_is_checked_before_it_is_held(tmp_path, data, monkeypatch):
    monkeypatch.setattr("semcycle.volume.reading._LARGE", 1 << 20)
    save_volume(tmp_path / "a.nii.gz", np.zeros((300, 300, 300), np.uint8), np.eye(4))
    content = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    four = gzip.compress(
        _claim(tmp_path / "b.nii", data, dim=[4, 20, 20, 20, 1000, 1, 1, 1]).read_bytes() + bytes(40_000_000)
    )
    (tmp_path / "b.nii.gz").write_bytes(four)
    for name, words in (("a.nii.gz", "damaged"), ("b.nii.gz", "3-D scan")):
        tracemalloc.start()
        with pytest.raises(VolumeError, match=words):
            load_volume(tmp_path / name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20e6, name  # of 27 and 40 MB


def test_a_flipped_bit_of_a_compressed_scan_is_found(tmp_path):
    path = tmp_path / "a.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 500, (20, 20, 20)).astype(np.int16)
    content = gzip.compress(nib.Nifti1Image(voxels, np.eye(4)).to_bytes())
    for place in range(900, len(content) - 8, 997):
        flipped = bytearray(content)
        flipped[place] ^= 4
        path.write_bytes(flipped)
        with pytest.raises(VolumeError, match="damaged"):
            load_volume(path)


def test_absurd_sizes_are_refused_unless_the_limits_are_lifted(tmp_path, data, monkeypatch):
    nib.save(nib.Nifti1Image(data, np.diag([348.0, 1, 1, 1])), tmp_path / "wide.nii")
    huge = _claim(tmp_path / "huge.nii", data, dim=[3, 2000, 2000, 2000, 1, 1, 1, 1])
    with pytest.raises(GeometryError, match=r"0\.05 to 20 mm, got 348 x 1 x 1.*SEMCYCLE_READ_LIMITS"):
        load_volume(tmp_path / "wide.nii")
    with pytest.raises(VolumeError, match=r"at most 134,217,728 voxels, got 8,000,000,000.*SEMCYCLE_READ_LIMITS"):
        load_volume(huge)
    monkeypatch.setenv("SEMCYCLE_READ_LIMITS", "off")
    assert load_volume(tmp_path / "wide.nii").spacing[0] == 348
    with pytest.raises(VolumeError, match="truncated"):
        load_volume(huge)


def test_bytes_behind_the_voxels_are_refused_unless_they_are_zeros(tmp_path, data):
    path = write(tmp_path / "a.nii", data)
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(100))
    np.testing.assert_array_equal(load_volume(path).data, data)
    path.write_bytes(whole + b"\1" * 100)
    with pytest.raises(VolumeError, match="100 bytes more"):
        load_volume(path)


def test_values_no_scanner_gives_are_refused(tmp_path, data):
    with pytest.raises(VolumeError, match="1e\\+32"):
        load_volume(write(tmp_path / "a.nii", np.where(data == data.max(), 1e32, data).astype(np.float32)))


def test_a_rounded_quaternion_beside_a_good_sform_is_a_doubt(tmp_path, data):
    path = _claim(tmp_path / "a.nii", data, qform_code=1, quatern_b=0.7072, quatern_c=0.7072, sform_code=1)
    assert load_volume(path).warnings == ("the qform's quaternion is not of length 1; the sform was used",)


def test_an_unknown_orientation_is_a_doubt(tmp_path, data):
    assert "no orientation" in load_volume(_claim(tmp_path / "a.nii", data, qform_code=0, sform_code=0)).warnings[0]


@pytest.mark.parametrize("form", [nib.AnalyzeImage, nib.Spm99AnalyzeImage, nib.MGHImage])
def test_formats_without_an_orientation_are_a_doubt(tmp_path, data, form):
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    affine[:3, 3] = 10, 20, 30
    image = form(data, affine)
    path = tmp_path / ("a.mgh" if form is nib.MGHImage else "a.img")
    nib.save(image, path)
    assert bool(load_volume(path).warnings) == (form is nib.AnalyzeImage)  # SPM's .mat and MGH's header have it
    if form is nib.MGHImage:
        content = path.read_bytes()
        path.write_bytes(content[:28] + b"\0\0" + content[30:])  # goodRASFlag
    path.with_suffix(".mat").unlink(missing_ok=True)
    assert "no orientation" in load_volume(path).warnings[0]


def test_voxel_sizes_that_disagree_with_the_affine_are_a_doubt(tmp_path, data):
    path = _claim(tmp_path / "a.nii", data, pixdim=[1, 2, 1, 1, 1, 1, 1, 1], qform_code=0, sform_code=1)
    assert "2 x 1 x 1 mm" in load_volume(path).warnings[0]


def test_a_file_of_another_format_is_refused_in_one_line(tmp_path):
    for name, content in {
        "a.nii": b"PK\3\4" * 200,
        "b.mnc": b"\x89HDF\r\n\x1a\n" + bytes(600),
        "c.nii": bytes(64),
    }.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(VolumeError, match=f"{name}: expected [^\n]*$"):
            load_volume(tmp_path / name)


def test_texts_of_the_header_stay_with_the_scan(tmp_path, data):
    image = nib.Nifti1Image(data, np.eye(4))
    image.header["db_name"], image.header["aux_file"], image.header["intent_name"] = b"Smith", b"John", b"1960"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"PatientName=Smith"))
    nib.save(image, tmp_path / "a.nii")
    save_volume(tmp_path / "b.nii", data, load_volume(tmp_path / "a.nii"), description="ours")
    content = (tmp_path / "b.nii").read_bytes()
    assert b"ours" in content
    assert not any(text in content for text in (b"Smith", b"John", b"1960"))


def test_damaged_headers_are_refused_or_read_as_they_are():
    location = Path(__file__).parents[1] / "benchmarks/fuzz.py"
    spec = importlib.util.spec_from_file_location("fuzz", location)
    fuzz = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fuzz)
    counts = sum(fuzz.run(300, seed=1).values(), start=Counter())
    assert counts.total() == 300
    assert counts["foreign exception"] == counts["wrong voxels"] == 0
    assert counts["refused"] > 100


@pytest.mark.parametrize("make", [lambda m: m * 0.7, lambda m: m * 2 - 1, lambda m: m - 0.5])
def test_a_mask_that_is_no_mask_is_refused_by_name(tmp_path, data, make):
    scan = load_volume(write(tmp_path / "a.nii", data))
    inside = (data > 0.5).astype(np.float32)
    for values in (inside, inside * 0.999, inside * 4):
        assert (load_mask(write(tmp_path / "m.nii", values), scan) == (inside > 0)).all()
    write(tmp_path / "m.nii", make(inside))
    with pytest.raises(
        VolumeError, match=r"m\.nii: expected a brain mask of 0 outside and 1 \(or labels\) inside, got"
    ):
        load_mask(tmp_path / "m.nii", scan, "brain mask")


def soft_ball(factor=1.0):
    """0 outside, 1 inside, and what lies between, times a factor."""
    grid = np.stack(np.indices((30, 30, 24))) - np.array([15, 15, 12])[:, None, None, None]
    return np.rint(np.clip(10.5 - np.sqrt((grid**2).sum(0)), 0, 4) / 4 * factor).astype(np.float32)


@pytest.mark.parametrize("factor", [100, 255, 1000])
def test_a_soft_mask_of_whole_numbers_is_refused(tmp_path, factor):
    like = make_volume(soft_ball(100), np.eye(4))
    save_volume(tmp_path / "m.nii", soft_ball(factor).astype(np.int16), like)
    with pytest.raises(VolumeError, match="m.nii.*fade towards 0"):
        load_mask(tmp_path / "m.nii", like)


def test_labels_are_masks(tmp_path):
    ball = soft_ball(4) > 2
    random = np.random.default_rng(0)
    blocks = np.kron(random.integers(1, 60, (10, 10, 8)), np.ones((3, 3, 3)))
    pieces = np.indices(ball.shape).sum(0) // 6 + 1
    shells = np.clip(soft_ball(4), 0, 3)  # CSF, GM, WM
    for labels in (ball, ball * 255, ball * blocks, ball * pieces, ball * (70 - pieces), shells):
        assert (labels_inside(labels.astype(np.float32), "m", "mask") == (labels > 0)).all()
