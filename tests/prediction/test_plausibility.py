import numpy as np
import pytest
from scipy import ndimage

from semcycle.methods.base import Reconstructed
from semcycle.prediction.plausibility import judge_lesions, judge_scan, typical_residual
from semcycle.prediction.prediction import predict_volume
from semcycle.preprocess.pipeline import PreprocessSettings, preprocess
from semcycle.training.checkpoint import load_checkpoint
from semcycle.training.shipped import find_model
from semcycle.volume import load_volume, make_volume

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
SPACING = (2.0, 2.0, 2.0)
CONTRASTS = {  # CSF, GM, WM
    "t2": (800, 400, 300),
    "t1": (80, 300, 420),
    "pd": (380, 400, 330),
    "flair": (110, 400, 330),
}


def head(contrast, noise=15.0):
    """A ball of 12 cm with ventricles in white matter, cortex and outer CSF; the scan and its tissue maps."""
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, 64)] * 3, indexing="ij"))
    radius = np.sqrt((grid**2).sum(0)) / 0.93
    csf = ((radius > 0.93) & (radius < 1)) | (radius < 0.3)
    gm = (radius > 0.7) & (radius <= 0.93)
    wm = (radius >= 0.3) & (radius <= 0.7)
    levels = CONTRASTS[contrast]
    data = sum(level * part for level, part in zip(levels, (csf, gm, wm), strict=True))
    data = np.where(radius < 1, data + np.random.default_rng(0).normal(0, noise, radius.shape), 0)
    return make_volume(data, AFFINE), np.stack([gm, wm, csf], axis=-1).astype(np.float32)


def doubts_of(volume, maps, residual=0.0, **options):
    prepared = preprocess(volume, PreprocessSettings(size=64, pixel_mm=2.0, intensity="median"))
    tissue = np.stack([prepared.record.grid.forward(maps[..., index]) for index in range(3)], axis=1)
    image = np.clip(prepared.image - residual, 0, None)
    return judge_scan(volume, prepared, Reconstructed(image, tissue), SPACING, **options)


def test_a_t2_raises_no_doubt():
    assert doubts_of(*head("t2"), residual=0.03, largest_residual=0.04) == []


@pytest.mark.parametrize(
    ("contrast", "words"), [("t1", "no T2: white matter at 1."), ("pd", "hardly T2"), ("flair", "dark CSF as in FLAIR")]
)
def test_other_contrasts_are_named_with_their_figure(contrast, words):
    doubts = doubts_of(*head(contrast))
    assert any(words in doubt for doubt in doubts), doubts


def test_methods_without_tissue_maps_are_judged_by_intensity_alone():
    volume, _ = head("t1")
    prepared = preprocess(volume, PreprocessSettings(size=64, pixel_mm=2.0))
    assert any("hardly T2" in doubt for doubt in judge_scan(volume, prepared, Reconstructed(prepared.image), SPACING))


@pytest.mark.parametrize("bits", [8, 12])
def test_values_that_went_on_at_zero_are_a_doubt(bits):
    volume, maps = head("t2")
    smooth = ndimage.gaussian_filter(volume.data, 0.7) * (volume.data > 0)
    scaled = np.floor(smooth / 700 * 2**bits)
    folded, saturated = scaled % 2**bits, np.minimum(scaled, 2**bits - 1)
    assert any("wrapped around" in doubt for doubt in doubts_of(make_volume(folded, AFFINE), maps))
    for plain in (smooth, saturated):
        assert not any("wrapped around" in doubt for doubt in doubts_of(make_volume(plain, AFFINE), maps))


def test_negative_voxels_in_the_brain_are_counted():
    volume, maps = head("t2")
    volume.data[30:34, 30:34, 30:34] = -20000
    (doubt,) = [doubt for doubt in doubts_of(volume, maps) if "below zero" in doubt]
    share = (volume.data < 0).sum() / (volume.data != 0).sum()
    assert doubt.startswith(f"{share:.2%} of the brain's voxels are far below zero, down to -20000")


def test_a_brain_painted_worse_than_any_of_the_calibration_is_unlike_them():
    assert doubts_of(*head("t2"), residual=0.06, largest_residual=None) == []
    (doubt,) = doubts_of(*head("t2"), residual=0.06, largest_residual=0.04)
    assert "0.060 (calibration: at most 0.040)" in doubt


def test_the_typical_residual_does_not_heed_a_lesion():
    volume, _ = head("t2")
    prepared = preprocess(volume, PreprocessSettings(size=64, pixel_mm=2.0))
    image = prepared.image - 0.03
    image[20:28] -= 0.3
    assert typical_residual(prepared, Reconstructed(image)) == pytest.approx(0.03, abs=1e-3)


def test_a_quarter_of_the_brain_is_no_plausible_lesion():
    assert judge_lesions(300, 1400) == []
    assert judge_lesions(400, 1400) == ["29% of the brain is called lesion (plausible: at most 25%)"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scan", "expected"),
    [
        ("healthy/kirby113/113-02-MPRAGE_processed_reg.nii.gz", "no T2"),
        ("healthy/kirby113/113-02-T2w_processed_reg.nii.gz", ""),
        ("mslub/patient19/T2W.nii.gz", ""),
        ("brats2021/BraTS2021_00012/BraTS2021_00012_t2.nii.gz", ""),
    ],
)
def test_real_scans(shared_data, scan, expected):
    doubts = predict_volume(load_checkpoint(find_model("t2-brain")), load_volume(shared_data / scan)).doubts
    # "a brain unlike those the model was calibrated on" is about the scanner, and true of patient 19
    doubts = [doubt for doubt in doubts if not doubt.startswith("a brain unlike")]
    assert any(expected in doubt for doubt in doubts) if expected else not doubts
