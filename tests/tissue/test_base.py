import numpy as np
import pytest

from semcycle.errors import GeometryError, TissueError
from semcycle.preprocess.geometry import fit_grid
from semcycle.preprocess.pipeline import preprocess
from semcycle.tissue import tissue_provider
from semcycle.tissue.base import make_tissue_maps
from semcycle.tissue.maps import ImportedMaps
from semcycle.tissue.plausibility import tissue_quality
from semcycle.volume import load_volume, make_volume
from tests.conftest import SMALL, ball_brain, make_scan, write_case


def test_manifest_maps_land_where_the_anatomy_is(tmp_path):
    case = write_case(tmp_path, "a", lesion=False)
    volume = load_volume(case.images["t2"])
    prepared = preprocess(volume, SMALL)
    slices = ImportedMaps().maps(case, volume).to_slices(prepared.record.grid)
    assert slices.sum(axis=1).max() <= 1 + 1e-5
    centre = slices[len(slices) // 2, :, 16, 16]
    assert centre.argmax() == 1  # the ball's core is WM


def test_spm_files_in_both_layouts(tmp_path):
    case = write_case(tmp_path, "a")
    volume = load_volume(case.images["t2"])
    arrays = ball_brain()
    for prefix, tissue in (("c1", "gm"), ("c2", "wm"), ("c3", "csf")):
        make_scan(tmp_path / "nested" / "a" / f"{prefix}a_t2.nii.gz", arrays[tissue], volume.affine)
        make_scan(tmp_path / "flat" / f"{prefix}a_t2.nii.gz", arrays[tissue], volume.affine)
    nested = ImportedMaps(tmp_path / "nested").maps(case, volume)
    flat = ImportedMaps(tmp_path / "flat").maps(case, volume)
    np.testing.assert_array_equal(nested.data, flat.data)
    make_scan(tmp_path / "flat" / "c2a_again.nii.gz", arrays["wm"], volume.affine)
    with pytest.raises(TissueError, match="one WM map.*c2a_again.nii.gz, c2a_t2.nii.gz"):
        ImportedMaps(tmp_path / "flat").maps(case, volume)


def test_missing_maps_folder_and_grid_are_named(tmp_path):
    case = write_case(tmp_path, "a")
    volume = load_volume(case.images["t2"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(TissueError, match="found none"):
        ImportedMaps(tmp_path / "empty").maps(case, volume)
    with pytest.raises(TissueError, match="--tissue-dir"):
        ImportedMaps(tmp_path / "nowhere")
    for prefix in ("c1", "c2", "c3"):
        make_scan(tmp_path / "grid" / f"{prefix}a.nii", np.ones((3, 3, 3)))
    with pytest.raises(GeometryError, match="GM map on the grid"):
        ImportedMaps(tmp_path / "grid").maps(case, volume)
    with pytest.raises(TissueError, match="'spn'"):
        tissue_provider("spn")
    assert tissue_provider("none") is None


def test_implausible_values_are_refused_and_sums_scaled_down():
    one, zero = np.ones((2, 2, 2), np.float32), np.zeros((2, 2, 2), np.float32)
    with pytest.raises(TissueError, match="0 to 255"):
        make_tissue_maps(one * 255, zero, zero, "x")
    with pytest.raises(TissueError, match="CSF somewhere"):
        make_tissue_maps(one, one, zero, "x")
    with pytest.raises(TissueError, match="up to 3.00"):
        make_tissue_maps(one, one, one, "x")
    half = np.zeros((2, 2, 2), np.float32)
    half[0] = 0.7
    maps = make_tissue_maps(half, half, one - half - 0.3 * (half > 0), "x")
    np.testing.assert_allclose(maps.data.sum(axis=0).max(), 1, rtol=1e-6)
    np.testing.assert_allclose(maps.data[0, 0], 0.5)


def test_quality_names_what_is_implausible():
    arrays = ball_brain(lesion=False)
    volume = make_volume(arrays["t2"], np.diag([6.0, 6.0, 6.0, 1.0]))
    grid = fit_grid(volume, volume.data > 0, 32, 7.0)
    image = grid.forward(volume.data / 1000)
    brain = grid.forward(volume.data > 0) > 0.5
    tissue = np.stack([grid.forward(arrays[name]) for name in ("gm", "wm", "csf")], axis=1)
    none = np.zeros_like(brain)
    shares, flags = tissue_quality(tissue, image, brain, none)
    assert shares["gm"] + shares["wm"] + shares["csf"] + shares["unexplained"] == pytest.approx(1, abs=1e-3)
    assert shares["t2_wm"] < shares["t2_gm"] < shares["t2_csf"]
    assert not any("darker" in flag or "no tissue" in flag for flag in flags)
    _, swapped = tissue_quality(tissue[:, [1, 0, 2]], image, brain, none)
    assert any("WM not darker than GM" in flag for flag in swapped)
    _, lost = tissue_quality(tissue * np.array([1, 0.1, 1])[None, :, None, None], image, brain, none)
    assert any(flag.startswith("WM 0.0") for flag in lost)
    assert tissue_quality(tissue, image, brain, brain)[1] == ["the brain is nothing but lesion"]
