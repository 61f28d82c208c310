import nibabel as nib
import numpy as np
import pytest
import torch

import semcycle
import semcycle.volume
from semcycle.errors import CheckpointError, GeometryError, PredictionError, ScoringError, SplitError, VolumeError
from semcycle.prediction.postprocess import make_anomaly_map
from semcycle.prediction.prediction import predict_volume
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.scoring.calibrate import calibrate
from semcycle.training import train
from semcycle.training.calibration import Calibration, find_threshold
from semcycle.training.checkpoint import export_checkpoint, load_checkpoint
from tests.conftest import ball_brain, tiny_recipe

AFFINE = np.diag([6.0, 6.0, 6.0, 1.0])


@pytest.fixture(scope="module")
def run(ball_store, tmp_path_factory):
    torch.set_num_threads(1)
    folder = train(tiny_recipe(), ball_store, ["h0", "h1", "h2"], tmp_path_factory.mktemp("calibrated") / "run")
    calibrate(load_checkpoint(folder), ball_store, ["h3", "l0"], "literal", "two balls").save(folder)
    return folder


def test_the_thresholds_are_passed_by_their_share_of_healthy_voxels(run, ball_store):
    checkpoint = load_checkpoint(run)
    case = ball_store.load("h3")
    x, brain = case.image.astype(np.float32), case.brain > 0
    made = reconstruct_slices(checkpoint.method, x, brain)
    scores = make_anomaly_map(x, made, brain, "literal", 6.0)[brain]
    alone = calibrate(checkpoint, ball_store, ["h3"], "literal", "one ball").thresholds["literal"]
    for one in alone:
        assert (scores >= one.value - 1 / 65535).mean() == pytest.approx(one.rate, abs=0.01)
        assert {one.gm, one.wm, one.csf} != {None}
    assert [one.rate for one in alone] == [0.01, 0.02, 0.05]
    assert checkpoint.preset == "literal"
    assert checkpoint.calibration.subjects == ["subject-h3", "subject-l0"]


def test_calibration_refuses_seen_subjects_and_unknown_presets(run, ball_store):
    checkpoint = load_checkpoint(run)
    with pytest.raises(SplitError, match="has not seen"):
        calibrate(checkpoint, ball_store, ["h0"], "literal", "x")
    with pytest.raises(ScoringError, match="expected a preset"):
        calibrate(checkpoint, ball_store, ["h3"], "nice", "x")
    with pytest.raises(ScoringError, match="healthy voxels"):
        calibrate(checkpoint, ball_store, [], "literal", "x")


def test_threshold_texts(run):
    calibration = Calibration.load(run)
    one = find_threshold("auto", calibration, "literal", "m")
    assert one.value == calibration.thresholds["literal"][0].value
    assert "two balls" in one.source
    assert find_threshold("fpr=0.05", calibration, "literal", "m").value < one.value
    assert find_threshold("0.25", calibration, "literal", "m").source == "given by the user"
    assert find_threshold("none", calibration, "literal", "m") is None
    assert find_threshold("auto", None, "literal", "m") is None
    for text in ("fpr=0.5", "much", "1.5", "tpr=0.1", "nan"):
        with pytest.raises(PredictionError):
            find_threshold(text, calibration, "literal", "m")
    with pytest.raises(PredictionError, match="semcycle calibrate"):
        find_threshold("fpr=0.01", None, "literal", "m")


def test_damaged_calibration_is_refused(run, tmp_path):
    (tmp_path / "calibration.json").write_text("{}")
    with pytest.raises(CheckpointError, match="calibrate` again"):
        Calibration.load(tmp_path)
    assert Calibration.load(tmp_path / "none") is None


def test_an_exported_model_predicts_alike_at_half_the_size(run, tmp_path):
    weights = export_checkpoint(run, tmp_path / "model")
    assert weights.stat().st_size < 0.7 * (run / "model.safetensors").stat().st_size
    volume = semcycle.volume.make_volume(ball_brain(seed=5)["t2"], AFFINE)
    one, other = (predict_volume(load_checkpoint(folder), volume).scores for folder in (run, weights.parent))
    np.testing.assert_allclose(one, other, atol=5e-3)
    assert load_checkpoint(weights.parent).calibration == load_checkpoint(run).calibration


def test_python_interface_takes_paths_and_images(run, tmp_path):
    image = nib.Nifti1Image(ball_brain(seed=10)["t2"], AFFINE)
    nib.save(image, tmp_path / "scan.nii.gz")
    found = semcycle.predict(image, model=run)
    from_file = semcycle.predict(str(tmp_path / "scan.nii.gz"), model=run)
    np.testing.assert_allclose(found.anomaly_native(), from_file.anomaly_native(), atol=1e-6)
    assert found.threshold.rule == "healthy_1"
    assert found.components().count >= 1
    for what, shape in (("anomaly", image.shape), ("mask", image.shape), ("tissue", (*image.shape, 3))):
        made = found.to_nibabel(what)
        assert made.shape == shape
        np.testing.assert_allclose(made.affine, AFFINE)
    masked = semcycle.predict(image, model=run, brain_mask=image.get_fdata() > 0, threshold=None)
    assert masked.mask_native() is None
    with pytest.raises(PredictionError, match="needs a threshold"):
        masked.to_nibabel("mask")


def test_python_interface_refuses_what_is_no_scan(run):
    with pytest.raises(VolumeError, match="nibabel"):
        semcycle.predict([1, 2, 3], model=run)
    with pytest.raises(VolumeError, match="3-D"):
        semcycle.predict(nib.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), AFFINE), model=run)
    with pytest.raises(VolumeError, match="constant"):
        semcycle.predict(nib.Nifti1Image(np.ones((4, 4, 4), np.float32), AFFINE), model=run)
    with pytest.raises(VolumeError, match="complex"):
        semcycle.predict(nib.Nifti1Image(np.ones((4, 4, 4), np.complex64), AFFINE), model=run)
    image = nib.Nifti1Image(ball_brain(seed=10)["t2"], AFFINE)
    with pytest.raises(GeometryError, match="scan's grid"):
        semcycle.predict(image, model=run, brain_mask=np.ones((3, 3, 3)))
