"""Models by name, and the intensity baseline that is made like one."""

import json

import nibabel as nib
import numpy as np
import pytest

from semcycle.errors import CheckpointError
from semcycle.prediction.postprocess import find_preset, process_map
from semcycle.prediction.prediction import predict_volume
from semcycle.training.models import make_baseline, open_model
from semcycle.volume import load_volume, ras_spacing
from tests.conftest import ball_brain, make_scan, semcycle


@pytest.fixture
def scan(tmp_path):
    return make_scan(tmp_path / "scan.nii.gz", ball_brain(seed=3)["t2"])


def test_the_baseline_has_the_models_preparation_and_preset():
    model = open_model("t2-brain")
    baseline = open_model("intensity")
    assert baseline.preprocess == model.preprocess
    assert baseline.preset == f"{model.preset},prior=off"  # the healthy prior is about the model's errors
    assert baseline.recipe.method_name == "intensity"
    assert baseline.record["fingerprint"] != model.record["fingerprint"]


def test_its_scores_are_the_scaled_image_under_the_same_steps(scan):
    baseline = make_baseline(open_model("t2-brain"))
    made = predict_volume(baseline, load_volume(scan))
    image, brain, pixel = made.prepared.image, made.prepared.brain, baseline.preprocess.pixel_mm
    spacing = (ras_spacing(made.volume.affine)[2], pixel, pixel)
    expected = process_map(image, brain, find_preset(baseline.preset), spacing, image)
    np.testing.assert_allclose(made.scores, expected, atol=1e-6)
    assert made.scores.max() > 0.2
    assert made.mask_native() is None


def test_predict_takes_it_by_name(scan, tmp_path):
    semcycle("predict", scan, "--model", "intensity=t2-brain", "--fast", "--out", tmp_path / "out")
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["model"]["method"] == "intensity"
    assert record["preset"] == f"{open_model('t2-brain').preset},prior=off"
    assert np.asanyarray(nib.load(tmp_path / "out/scan_anomaly.nii.gz").dataobj).max() > 0


def test_an_unknown_model_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere"):
        open_model(f"intensity={tmp_path}/nowhere")
