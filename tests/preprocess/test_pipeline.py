import json
from dataclasses import asdict

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.spatial.transform import Rotation

from semcycle.errors import BrainMaskError, GeometryError, VolumeError
from semcycle.preprocess.brain_mask import clean_mask, stripped_brain_mask
from semcycle.preprocess.denoise import smooth_by_curvature
from semcycle.preprocess.geometry import WorkingGrid, _cubic_matrix, _nearest_matrix, _resample_matrix, fit_grid
from semcycle.preprocess.intensity import MEDIAN_LEVEL, IntensityScale, fit_scale, match_histogram, quantiles
from semcycle.preprocess.pipeline import PreprocessSettings, preprocess
from semcycle.tissue.base import TissueMaps
from semcycle.volume import make_volume
from semcycle.volume.masks import bounding_box
from tests.conftest import SMALL, ball_brain


def ball_volume(spacing=6.0, **keywords):
    return make_volume(ball_brain(**keywords)["t2"], np.diag([spacing] * 3 + [1.0]), "ball.nii")


def test_brats_field_becomes_128_pixels_by_area():
    data = np.zeros((240, 240, 4), np.float32)
    data[100:140, 90:150] = 1
    volume = make_volume(data, np.diag([-1.0, -1.0, 1.0, 1.0]))
    grid = fit_grid(volume, data > 0, 128, 1.875)
    assert grid.start_mm == (0.0, 0.0)
    slices = grid.forward(data)
    assert slices.shape == (4, 128, 128)
    assert slices.sum() * 1.875**2 == pytest.approx(data.sum(), rel=1e-5)  # area is conserved


@settings(max_examples=60, deadline=None)
@given(
    st.integers(4, 60),
    st.floats(0.4, 8),
    st.integers(4, 60),
    st.floats(0.4, 8),
    st.floats(-40, 40),
)
def test_resampling_keeps_the_range_and_constants(n_in, step_in, n_out, step_out, start):
    matrix = _resample_matrix(n_in, step_in, n_out, step_out, start)
    total = matrix.sum(axis=1)
    assert (matrix >= 0).all()
    assert (total <= 1 + 1e-5).all()
    edges = start + step_out * np.arange(n_out + 1)
    inside = (edges[:-1] >= 0) & (edges[1:] <= n_in * step_in)
    np.testing.assert_allclose(total[inside], 1, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    st.tuples(st.floats(0.6, 2), st.floats(0.6, 2), st.floats(0.8, 4)),
    st.sampled_from(["mm", "scan", "brain"]),
    st.sampled_from(["area", "cubic"]),
    st.integers(0, 2**16),
)
def test_a_blob_comes_back_to_its_place_in_native_space(axes, signs, sizes, window, kernel, seed):
    """Forward and back, the centre of mass moves by less than half a working pixel, whatever orientation and window."""
    generator = np.random.default_rng(seed)
    affine = np.eye(4)
    affine[:3, :3] = 0
    for column, row in enumerate(axes):
        affine[row, column] = signs[column] * sizes[column]
    shape = tuple(generator.integers(24, 48, 3))
    centre = np.array([generator.integers(8, n - 8) for n in shape])
    index = np.stack(np.indices(shape), -1)
    blob = np.exp(-((((index - centre) * np.array(sizes)) / 3.0) ** 2).sum(-1)).astype(np.float32)
    volume = make_volume(blob, affine)
    grid = fit_grid(volume, blob > 0.1, 64, 1.875, window=window, kernel=kernel)
    back = grid.inverse(grid.forward(blob))
    if window == "brain":  # what lies outside the box is lost, on both sides of the comparison
        blob = np.where(grid.inverse(np.ones(grid.forward(blob).shape)) > 0.5, blob, 0)
    weights = back / back.sum()
    found = (index * weights[..., None]).sum((0, 1, 2))
    whole = (index * (blob / blob.sum())[..., None]).sum((0, 1, 2))
    assert (np.abs(found - whole) * np.array(sizes)).max() < grid.pixel_mm / 2


@settings(max_examples=60, deadline=None)
@given(
    st.permutations([0, 1, 2]),
    st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    st.tuples(*[st.floats(-0.6, 0.6)] * 3),
    st.tuples(st.floats(0.45, 2), st.floats(0.45, 2), st.floats(1, 6)),
    st.sampled_from(["mm", "scan", "brain"]),
    st.integers(0, 2**16),
)
def test_a_marker_of_the_working_grid_lands_within_half_a_voxel(axes, signs, angles, sizes, window, seed):
    """For oblique, flipped, permuted and anisotropic affines; the expected place is computed without our code."""
    generator = np.random.default_rng(seed)
    turned = Rotation.from_euler("xyz", angles).as_matrix() @ (np.eye(3)[list(axes)] * signs) @ np.diag(sizes)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turned, generator.uniform(-100, 100, 3)
    shape = tuple(int(np.ceil(90 / size)) for size in sizes)
    volume = make_volume(np.ones(shape), affine)
    brain = np.zeros(shape, bool)
    brain[tuple(slice(n // 16, n - n // 16) for n in shape)] = True
    grid = fit_grid(volume, brain, 64, 1.875, window=window)
    canonical = nib.as_closest_canonical(nib.Nifti1Image(np.zeros(shape, np.uint8), affine))
    steps = np.linalg.norm(canonical.affine[:3, :3], axis=0)
    # a blob in the middle half of the slices, wide enough to be seen by the coarsest voxels
    counts = np.array(canonical.shape)
    place = generator.uniform(0.4, 0.6, 3) * counts  # in RAS voxels
    place[2] = round(place[2])
    pixels = ((place[:2] + 0.5) * steps[:2] - np.array(grid.start_mm)) / grid.pixel_mm - 0.5
    s, h, w = np.meshgrid(np.arange(counts[2]), np.arange(64), np.arange(64), indexing="ij")
    sigma = 1.5 * max(sizes)
    far = (
        ((s - place[2]) * steps[2]) ** 2
        + ((h - pixels[1]) * grid.pixel_mm) ** 2
        + ((w - pixels[0]) * grid.pixel_mm) ** 2
    )
    back = grid.inverse(np.exp(-far / (2 * sigma**2)).astype(np.float32))
    found = (np.stack(np.indices(shape)) * back).sum((1, 2, 3)) / back.sum()
    expected = np.linalg.inv(affine) @ canonical.affine @ [*place, 1]
    assert np.abs(found - expected[:3]).max() < 0.5


def test_the_window_can_be_the_field_or_the_brain():
    data = np.zeros((230, 200, 3), np.float32)
    data[50:150, 60:190] = 1
    volume = make_volume(data, np.diag([1.0, 1.0, 6.0, 1.0]))
    field = fit_grid(volume, data > 0, 128, 1.875, window="scan")
    assert field.pixel_mm == pytest.approx(230 / 128)
    assert field.start_mm == pytest.approx((0, -15))
    box = fit_grid(volume, data > 0, 128, 1.875, window="brain")
    assert box.pixel_mm == pytest.approx(130 / 128)
    assert box.start_mm == pytest.approx((35, 60))
    for grid in (field, box):
        assert grid.forward(data).sum() * grid.pixel_mm**2 == pytest.approx(data.sum(), rel=1e-4)
    filled = np.flatnonzero(box.forward_mask(data > 0)[1].any(axis=1))
    assert (filled[0], filled[-1]) == (0, 127)


def test_cubic_resampling_is_scipys_spline_and_keeps_the_range():
    """A smooth line is met to a thousandth between its pixels; a step overshoots in the matrix alone."""
    x = np.arange(60) + 0.5
    made = _cubic_matrix(60, 1.0, 100, 0.5, 4.0) @ np.sin(x / 5)
    np.testing.assert_allclose(made, np.sin((4 + 0.5 * (np.arange(100) + 0.5)) / 5), atol=1e-3)
    step = (x > 30).astype(np.float32)
    assert (_cubic_matrix(60, 1.0, 100, 0.5, 4.0) @ step).max() > 1.05
    data = np.zeros((60, 60, 3), np.float32)
    data[20:40, 20:40] = 0.8
    volume = make_volume(data, np.eye(4))
    area, cubic = (fit_grid(volume, data > 0, 32, 1.9, kernel=kernel).forward(data) for kernel in ("area", "cubic"))
    assert cubic.min() == 0
    assert cubic.max() == np.float32(0.8)
    assert np.abs(area - cubic).max() > 0.01
    np.testing.assert_array_equal(_cubic_matrix(60, 1.0, 10, 1.0, -20.0), 0)  # outside the field


def test_masks_can_be_read_at_the_centre_of_a_pixel():
    np.testing.assert_array_equal(_nearest_matrix(4, 1.0, 2, 2.1, 0.0), [[0, 1, 0, 0], [0, 0, 0, 1]])
    data = np.zeros((30, 30, 3), bool)
    data[4, 4, 1] = data[20:, 20:, 1] = True
    volume = make_volume(data, np.eye(4))
    area, nearest = (
        fit_grid(volume, data, 10, 3.0, labels=labels).forward_mask(data) for labels in ("area", "nearest")
    )
    assert not area[1, 1, 1]  # a ninth of the pixel
    assert nearest[1, 1, 1]  # which is at its centre
    assert area[1, 9, 9] == nearest[1, 9, 9] == 1


def test_tissue_maps_sum_to_at_most_one_with_every_kernel():
    ball = ball_brain()
    data = np.stack([ball[name] for name in ("gm", "wm", "csf")]).astype(np.float32)
    for kernel in ("area", "cubic"):
        grid = fit_grid(ball_volume(), ball_volume().data > 0, 64, 3.5, kernel=kernel)
        maps = TissueMaps(data, "ball").to_slices(grid)
        assert maps.min() >= 0
        assert maps.sum(axis=1).max() <= 1 + 1e-6
        assert maps.sum(axis=1).max() > 0.99


def test_window_moves_only_as_far_as_the_brain_needs():
    data = np.zeros((300, 60, 3), np.float32)
    data[:40, 20:40] = 1
    grid = fit_grid(make_volume(data, np.eye(4)), data > 0, 32, 2.0)
    assert grid.start_mm[0] == 0  # centred would start at 118 and lose the brain
    assert grid.start_mm[1] == pytest.approx(-2)
    assert grid.forward(data).sum() * 4 == pytest.approx(data.sum(), rel=1e-5)


def test_brain_larger_than_the_window_is_refused():
    with pytest.raises(GeometryError, match="at most 64 mm"):
        fit_grid(ball_volume(), ball_volume().data > 0, 32, 2.0)


def test_grid_survives_json():
    grid = fit_grid(ball_volume(), ball_volume().data > 0, 32, 7.0)
    again = WorkingGrid(**json.loads(json.dumps(asdict(grid))))
    data = ball_brain()["t2"]
    np.testing.assert_array_equal(again.forward(data), grid.forward(data))


def test_brain_mask_keeps_the_largest_piece_and_fills_holes():
    data = ball_brain()["t2"]
    data[16, 18, 10] = 0
    data[0, 0, 0] = 50
    mask = stripped_brain_mask(make_volume(data, np.diag([6.0, 6.0, 6.0, 1.0])))
    assert mask[16, 18, 10]
    assert not mask[0, 0, 0]
    assert not clean_mask(np.zeros((3, 3, 3), bool)).any()


def test_background_need_not_be_zero():
    data = ball_brain()["t2"]
    shifted = make_volume(np.where(data > 0, data, -1000), np.diag([6.0, 6.0, 6.0, 1.0]))
    plain = make_volume(data, np.diag([6.0, 6.0, 6.0, 1.0]))
    np.testing.assert_array_equal(stripped_brain_mask(shifted), stripped_brain_mask(plain))


def test_scan_with_skull_or_without_brain_is_refused():
    noisy = np.random.default_rng(0).random((60, 60, 60)).astype(np.float32)
    with pytest.raises(BrainMaskError, match="skull-stripped"):
        stripped_brain_mask(make_volume(noisy, np.diag([4.0, 4.0, 4.0, 1.0])))
    speck = np.zeros((30, 30, 30), np.float32)
    speck[4:6, 4:6, 4:6] = 1
    with pytest.raises(BrainMaskError, match="looks empty"):
        stripped_brain_mask(make_volume(speck, np.eye(4)))
    with pytest.raises(BrainMaskError, match="empty"):
        preprocess(make_volume(noisy, np.eye(4)), SMALL, np.zeros(noisy.shape, bool))


@pytest.mark.parametrize("gain", [1, 77.5])
def test_intensity_scale_follows_the_scan_and_inverts(gain):
    volume = ball_volume()
    volume = make_volume(volume.data * gain, volume.affine)
    brain = volume.data > 0
    percentile = fit_scale(volume, brain, 0.0, "percentile", 99.0, "brain")
    assert percentile.unit == pytest.approx(np.percentile(volume.data[brain], 99.0))
    median = fit_scale(volume, brain, 0.0, "median", 99.0, "brain")
    assert np.median(median.forward(volume.data)[brain]) == pytest.approx(MEDIAN_LEVEL, rel=1e-4)
    values = volume.data[volume.data < percentile.unit]
    np.testing.assert_allclose(percentile.inverse(percentile.forward(values)), values, rtol=1e-4, atol=1e-3 * gain)
    whole = fit_scale(volume, brain, 0.0, "percentile", 99.0, "volume")
    assert whole.unit < percentile.unit


def test_every_slice_can_have_its_own_scale():
    data = ball_brain(lesion=False)["t2"] * np.linspace(1, 3, 20, dtype=np.float32)
    for order in ((0, 1, 2), (2, 0, 1)):
        affine = np.eye(4)
        affine[:3, :3] = 6 * np.eye(3)[:, list(order)]
        volume = make_volume(data.transpose(order), affine)
        brain = volume.data > 0
        scale = fit_scale(volume, brain, 0.0, "percentile", 99.0, "slice")
        scaled = scale.forward(volume.data)
        tops = [np.percentile(one[one > 0], 99) for one in np.moveaxis(scaled, scale.axis, 0) if (one > 0).sum() > 50]
        np.testing.assert_allclose(tops, 1, atol=2e-3)
        whole = fit_scale(volume, brain, 0.0, "percentile", 99.0, "brain").forward(volume.data)
        assert np.abs(whole - scaled).max() > 0.3
        kept = scaled < 1
        np.testing.assert_allclose(scale.inverse(scaled)[kept], volume.data[kept], rtol=1e-4, atol=1e-3)
        again = IntensityScale(**json.loads(json.dumps(asdict(scale))))
        np.testing.assert_array_equal(again.forward(volume.data), scaled)


def test_a_histogram_is_moved_to_the_reference_and_back():
    volume = ball_volume()
    brain = volume.data > 0
    reference = np.linspace(0.1, 0.9, 21) ** 2
    plain = fit_scale(volume, brain, 0.0, "percentile", 100, "brain")
    scale = match_histogram(plain, plain.forward(volume.data)[brain], reference)
    moved = scale.forward(volume.data)
    np.testing.assert_allclose(quantiles(moved[brain]), reference, atol=1e-3)
    np.testing.assert_allclose(scale.inverse(moved)[brain], volume.data[brain], rtol=1e-3, atol=0.5)
    twice = match_histogram(plain, moved[brain], reference)
    np.testing.assert_allclose(np.interp(moved[brain], *twice.curve), moved[brain], atol=1e-3)  # nothing left to do


def test_equal_levels_of_a_clipped_brain_still_have_a_way_back():
    plain = IntensityScale(0.0, 10.0)
    values = np.clip(np.linspace(0, 2, 1000), 0, 1).astype(np.float32)  # half of the brain is at 1
    scale = match_histogram(plain, values, np.linspace(0, 1, 21))
    assert (np.diff(scale.curve[0]) > 0).all()
    assert (np.diff(scale.curve[1]) > 0).all()


def test_curvature_flow_removes_noise_and_keeps_edges():
    generator = np.random.default_rng(0)
    clean = np.zeros((40, 40, 12), np.float32)
    clean[10:30, 10:30] = 100
    noisy = clean + generator.normal(0, 8, clean.shape).astype(np.float32)
    smooth = smooth_by_curvature(noisy, (1.0, 1.0, 3.0))
    assert smooth.shape == clean.shape
    flat = (slice(13, 27), slice(13, 27))
    assert smooth[flat].std() < 0.6 * noisy[flat].std()
    assert (smooth[10] - smooth[9])[12:28].mean() > 75  # the edge stays a step of one voxel


@pytest.mark.parametrize(
    "changes",
    [
        {"window": "scan"},
        {"window": "brain"},
        {"resampling": "cubic"},
        {"labels": "nearest"},
        {"denoise": "curvature"},
        {"intensity_scope": "slice"},
        {"intensity_scope": "volume", "percentile": 99.0},
        {"histogram": tuple(np.linspace(0.05, 1, 21))},
        {"histogram": (0.1, 1.0), "intensity_scope": "slice", "bias": "n4", "denoise": "curvature", "window": "brain"},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_every_option_changes_the_slices_and_has_a_way_back(changes):
    volume = ball_volume()
    plain = preprocess(volume, SMALL)
    prepared = preprocess(volume, PreprocessSettings.model_validate(SMALL.model_dump() | changes))
    assert not (np.array_equal(prepared.image, plain.image) and np.array_equal(prepared.brain, plain.brain))
    assert prepared.image.min() >= 0
    assert prepared.image.max() <= 1
    assert (prepared.image[~prepared.brain] == 0).all()
    native = prepared.to_scanner(prepared.image)
    assert native.shape == volume.shape
    assert (native[~prepared.brain_native] == 0).all()
    core = ball_brain()["wm"]
    assert np.median(native[core] / volume.data[core]) == pytest.approx(1, abs=0.05)
    json.dumps(prepared.record.to_json())


def test_a_background_below_zero_comes_back_with_every_scale():
    data = ball_brain()["t2"]
    volume = make_volume(data - 350, np.diag([6.0, 6.0, 6.0, 1.0]))
    for changes in ({"bias": "n4"}, {"histogram": (0.2, 1.0)}):
        prepared = preprocess(volume, SMALL.model_copy(update=changes))
        native = prepared.to_scanner(prepared.image)
        np.testing.assert_array_equal(native[~prepared.brain_native], -350)
        core = ball_brain()["wm"]
        assert np.median(native[core]) + 350 == pytest.approx(np.median(data[core]), rel=0.05)


def test_newer_options_at_their_default_do_not_change_what_a_store_is():
    """The names are those of the first stores; new ones may only join where they are set."""
    first = {"modality", "size", "pixel_mm", "slices", "bias", "intensity", "percentile", "intensity_scope"}
    assert PreprocessSettings().identity().keys() == first
    changed = PreprocessSettings(window="brain", lesion_labels=[1, 4])
    assert changed.identity().keys() == first | {"window", "lesion_labels"}
    assert PreprocessSettings.model_validate(json.loads(json.dumps(changed.identity()))) == changed
    assert changed.differences(PreprocessSettings()) == ["window brain, not mm"]


def test_a_record_names_newer_options_only_where_they_are_set():
    record = preprocess(ball_volume(), SMALL).record.to_json()
    assert record["grid"].keys() == {"shape", "affine", "size", "pixel_mm", "start_mm"}
    assert record["scale"].keys() == {"zero", "unit"}
    changed = preprocess(ball_volume(), SMALL.model_copy(update={"labels": "nearest", "intensity_scope": "slice"}))
    assert changed.record.to_json()["grid"]["labels"] == "nearest"
    assert len(changed.record.to_json()["scale"]["unit"]) == 20


def test_a_grid_without_the_newer_options_is_read():
    volume = ball_volume()
    grid = fit_grid(volume, volume.data > 0, 32, 7.0)
    old = {name: value for name, value in asdict(grid).items() if name not in ("kernel", "labels")}
    assert WorkingGrid(**old) == grid


def test_a_histogram_that_does_not_rise_is_refused():
    for levels in ([0.5], [0.1, 0.1], [-0.1, 1], [0, 1.2]):
        with pytest.raises(ValidationError, match="rising levels"):
            PreprocessSettings(histogram=levels)


def test_brain_without_contrast_is_refused():
    data = np.zeros((20, 20, 20), np.float32)
    data[5:15, 5:15, 5:15] = 3
    with pytest.raises(VolumeError, match="contrast|above the background"):
        fit_scale(make_volume(data, np.eye(4)), data > 0, 3.0, "percentile", 99.8, "brain")


def test_preprocess_is_independent_of_orientation():
    data = ball_brain()["t2"]
    ras = preprocess(make_volume(data, np.diag([6.0, 6.0, 6.0, 1.0])), SMALL)
    flipped = preprocess(make_volume(data[::-1].transpose(1, 0, 2), _lps_like()), SMALL)
    np.testing.assert_allclose(flipped.image, ras.image, atol=1e-5)
    np.testing.assert_array_equal(flipped.to_native(flipped.brain).shape, (36, 32, 20))


def _lps_like():
    affine = np.zeros((4, 4))
    affine[1, 0], affine[0, 1], affine[2, 2], affine[3, 3] = 6, -6, 6, 1
    return affine


def test_image_is_in_range_and_zero_outside_the_brain():
    prepared = preprocess(ball_volume(), SMALL)
    assert prepared.image.min() >= 0
    assert prepared.image.max() <= 1
    assert (prepared.image[~prepared.brain] == 0).all()
    native = prepared.to_native(prepared.image)
    assert (native[~prepared.brain_native] == 0).all()


def test_settings_refuse_nonsense():
    with pytest.raises(ValidationError):
        PreprocessSettings(size=100)
    with pytest.raises(ValidationError):
        PreprocessSettings(pixels=3)


def test_a_bias_field_is_taken_out_and_put_back():
    ball = ball_brain()["t2"]
    tilt = np.exp(np.linspace(-0.3, 0.3, ball.shape[0]))[:, None, None].astype(np.float32)
    volume = make_volume(ball * tilt, np.diag([6.0, 6.0, 6.0, 1.0]))
    settings = SMALL.model_copy(update={"bias": "n4"})
    prepared = preprocess(volume, settings)
    low, high = prepared.record.bias_range
    assert high / low > 1.2
    flat, tilted = preprocess(make_volume(ball, volume.affine), SMALL), preprocess(volume, SMALL)
    ours, worse = (np.abs(one.image - flat.image)[flat.brain].mean() for one in (prepared, tilted))
    assert ours < 0.7 * worse
    scanner = prepared.to_scanner(prepared.image)
    inner = ball_brain()["wm"]
    np.testing.assert_allclose(np.median(scanner[inner] / volume.data[inner]), 1, atol=0.03)


def test_cropping_the_air_changes_nothing_about_a_window_centred_on_the_brain():
    ball = ball_volume()
    padded = np.pad(ball.data, ((0, 4), (0, 0), (0, 0)))  # air on one side: the field's middle is not the ball's
    volume = make_volume(padded, ball.affine)
    brain = volume.data > 0
    box = bounding_box(brain)
    cropped = make_volume(volume.data[box], shift_affine(volume.affine, box))
    for centre, equal in (("brain", True), ("field", False)):
        whole = fit_grid(volume, brain, 32, 7.0, centre=centre).forward(volume.data)
        part = fit_grid(cropped, brain[box], 32, 7.0, centre=centre).forward(cropped.data)
        foot = box[2].start
        assert np.allclose(whole[foot : foot + len(part)], part, atol=1e-4) == equal


def shift_affine(affine, box):
    moved = affine.copy()
    moved[:3, 3] = (affine @ [*(side.start for side in box), 1])[:3]
    return moved
