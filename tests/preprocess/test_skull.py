"""Brain masks of scans with their skull, and whether a mask is plausible."""

import builtins

import numpy as np
import pytest

from semcycle.errors import BrainMaskError
from semcycle.prediction.scans import find_mask
from semcycle.preprocess.brain_mask import check_mask, find_background, looks_stripped
from semcycle.preprocess.skull import strip_skull
from semcycle.volume import load_volume, make_volume

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


def test_without_bet_the_remedies_are_named(monkeypatch):
    original = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "brainextractor":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    noisy = np.random.default_rng(0).random((60, 60, 60)).astype(np.float32)
    with pytest.raises(BrainMaskError, match=r"--brain-mask.*semcycle\[skull\]"):
        strip_skull(make_volume(noisy, np.diag([4.0, 4.0, 4.0, 1.0])))


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
    mask = strip_skull(volume)
    record = check_mask(mask, volume, "bet")
    assert record.warnings == []
    assert 1400 < record.ml < 1900
    # the eyes of this scan, seen in its pictures
    assert mask[20:60, 190:].sum() + mask[110:150, 190:].sum() < 0.02 * mask.sum()
