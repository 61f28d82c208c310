import json

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import semcycle
import semcycle.volume
from semcycle.cli import app
from semcycle.cohorts.base import Listing
from semcycle.errors import (
    CheckpointError,
    GeometryError,
    PredictionError,
    ScoringError,
    SplitError,
    StoreError,
    VolumeError,
)
from semcycle.files import file_hash
from semcycle.prediction.postprocess import make_anomaly_map
from semcycle.prediction.prediction import predict_volume
from semcycle.prediction.prior import HealthyPrior
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.scoring.calibrate import CalibrationSettings, calibrate_model
from semcycle.scoring.healthy_scans import check_store, read_files, read_store
from semcycle.scoring.scan_spool import ScanSpool
from semcycle.store.prepare import prepare_store
from semcycle.training import train
from semcycle.training.calibration import Calibration, find_threshold
from semcycle.training.checkpoint import export_checkpoint, load_checkpoint
from tests.conftest import SMALL, ball_brain, tiny_recipe

AFFINE = np.diag([6.0, 6.0, 6.0, 1.0])


def scans_of(store, cases):
    return list(read_store(store, cases))


@pytest.fixture(scope="module")
def run(ball_store, tmp_path_factory):
    torch.set_num_threads(1)
    folder = train(tiny_recipe(), ball_store, ["h0", "h1", "h2"], tmp_path_factory.mktemp("calibrated") / "run")
    settings = CalibrationSettings("literal")
    calibrate_model(load_checkpoint(folder), scans_of(ball_store, ["h3", "l0"]), settings, "two balls").save(folder)
    return folder


@pytest.fixture(scope="module")
def healthy_run(run, ball_store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("healthy") / "run"
    export_checkpoint(run, folder)
    settings = CalibrationSettings("healthy", grow_rate=0.1, min_ml=0.0)
    calibrate_model(load_checkpoint(folder), scans_of(ball_store, ["h3", "l0", "l1"]), settings, "three balls").save(
        folder
    )
    return folder


def test_predictions_are_centred_as_the_scans_of_the_calibration(run, ball_cases, tmp_path):
    """A brain that lies aside: its slices are centred on it, as those of the store the model was calibrated on."""
    settings = SMALL.model_copy(update={"centre": "brain"})
    chosen = [case for case in ball_cases if case.case_id in ("h3", "l0")]
    prepare_store(Listing(chosen), tmp_path / "store", settings, None, cohort="manifest")
    words = ["calibrate", str(tmp_path / "store"), "--model", str(run), "--out", str(tmp_path / "centred")]
    assert CliRunner().invoke(app, words).exit_code == 0
    centred, before = load_checkpoint(tmp_path / "centred"), load_checkpoint(run)
    assert (centred.preprocess.centre, before.preprocess.centre) == ("brain", "field")
    assert centred.record == before.record
    volume = semcycle.volume.load_volume(chosen[0].images["t2"])
    padded = semcycle.volume.Volume(np.pad(volume.data, ((0, 7), (0, 5), (0, 0))), volume.affine)
    whole, aside = (predict_volume(centred, each).anomaly_native() for each in (volume, padded))
    np.testing.assert_allclose(aside[:-7, :-5], whole, atol=1e-5)
    prepare_store(Listing(chosen), tmp_path / "field", SMALL, None, cohort="manifest")
    words[1:2] = [str(tmp_path / "store"), str(tmp_path / "field")]
    mixed = CliRunner().invoke(app, [*words[:-1], str(tmp_path / "mixed")])
    assert "stores of one centre" in str(mixed.exception)


def test_the_thresholds_are_passed_by_their_share_of_healthy_voxels(run, ball_store):
    checkpoint = load_checkpoint(run)
    (scan,) = scans_of(ball_store, ["h3"])
    made = reconstruct_slices(checkpoint.method, scan.x, scan.brain)
    scores = scan.to_native(make_anomaly_map(scan.x, made, scan.brain, "literal", scan.spacing))[scan.inside]
    alone = calibrate_model(checkpoint, [scan], CalibrationSettings("literal"), "one ball").calibration
    for cut in alone.thresholds["literal"]:
        assert (scores >= cut.value - 1 / 16384).mean() == pytest.approx(cut.rate, abs=0.01)
        assert not cut.promise.kept
        assert "1 scans are too few, 9 are the least" in cut.promise.why_not
    assert [cut.rate for cut in alone.thresholds["literal"]] == [0.01, 0.02, 0.05]
    assert checkpoint.preset == "literal"


def test_calibration_refuses_seen_subjects_and_unknown_presets(run, ball_store):
    checkpoint = load_checkpoint(run)
    with pytest.raises(SplitError, match="has not seen"):
        calibrate_model(checkpoint, scans_of(ball_store, ["h0"]), CalibrationSettings(), "x")
    with pytest.raises(ScoringError, match="expected a preset"):
        calibrate_model(checkpoint, scans_of(ball_store, ["h3"]), CalibrationSettings("nice"), "x")
    with pytest.raises(ScoringError, match="healthy voxels"):
        calibrate_model(checkpoint, [], CalibrationSettings(), "x")
    allowed = calibrate_model(
        checkpoint, scans_of(ball_store, ["h0"] * 12), CalibrationSettings(allow_learned=True), "x"
    )
    (promise,) = {cut.promise.why_not for cut in allowed.calibration.thresholds["literal"]}
    assert promise == "the model learned from 12 of the scans"


def test_the_prior_is_learned_kept_and_travels(healthy_run, ball_store, tmp_path):
    checkpoint = load_checkpoint(healthy_run)
    prior = HealthyPrior.load(healthy_run)
    assert checkpoint.preset == "healthy"
    assert checkpoint.calibration.prior == file_hash(healthy_run / "prior.safetensors")
    assert {"healthy", "two-sided"} == set(checkpoint.calibration.masks)
    assert checkpoint.calibration.thresholds["healthy"][0].promise.why_not.startswith("3 scans are too few")
    export_checkpoint(healthy_run, tmp_path)
    assert (tmp_path / "prior.safetensors").read_bytes() == (healthy_run / "prior.safetensors").read_bytes()
    kept = calibrate_model(
        checkpoint, scans_of(ball_store, ["l1"]), CalibrationSettings("healthy", keep_prior=True), "x"
    )
    assert kept.prior is None
    assert kept.calibration.prior == checkpoint.calibration.prior
    again = calibrate_model(checkpoint, scans_of(ball_store, ["l1"]), CalibrationSettings("healthy"), "x")
    assert not np.array_equal(again.prior.mean, prior.mean)


def test_healthy_components_are_kept_with_the_growth_threshold(healthy_run):
    calibration = load_checkpoint(healthy_run).calibration
    assert set(calibration.health) == set(calibration.masks)
    for preset, rule in calibration.masks.items():
        health = calibration.health[preset]
        assert (health.grow, health.count) == (rule.grow, 3)
        assert set(health.scan) <= {0, 1, 2}
        assert len(health.scan) == len(health.ml) == len(health.peak)
        assert all(ml >= health.least_ml for ml in health.ml)
        assert all(peak >= rule.grow - 1e-4 for peak in health.peak)
        seeds = [(ml, peak) for ml, peak in zip(health.ml, health.peak, strict=True) if peak >= rule.seed]
        assert health.scans_with(0.03, rule.seed) <= len(seeds)
    assert any(health.scan for health in calibration.health.values())


def test_masks_are_cut_as_calibrated_unless_the_user_says_otherwise(healthy_run):
    checkpoint = load_checkpoint(healthy_run)
    rule = checkpoint.calibration.masks["healthy"]
    threshold = find_threshold("auto", checkpoint.calibration, "healthy", "m")
    assert (threshold.value, threshold.grow, threshold.min_ml) == (rule.seed, rule.grow, 0.0)
    assert rule.grow <= rule.seed
    assert "three balls" in threshold.source
    assert "false components a scan: 2" in threshold.source
    assert find_threshold("0.5", checkpoint.calibration, "healthy", "m").grow is None
    volume = semcycle.volume.make_volume(ball_brain(seed=5)["t2"], AFFINE)
    prediction = predict_volume(checkpoint, volume, threshold=threshold)
    assert prediction.scores.max() < 1
    called = prediction.anomaly_native() >= rule.grow
    assert (prediction.mask_native() <= called).all()


def test_two_scans_of_files_calibrate_as_those_of_a_store(run, ball_cases, ball_store):
    checkpoint = load_checkpoint(run)
    files = {"h3": ball_cases[3].images["t2"]}
    (file,) = read_files(files, checkpoint.preprocess)
    (stored,) = scans_of(ball_store, ["h3"])
    np.testing.assert_allclose(file.x, stored.x, atol=1e-3)
    np.testing.assert_array_equal(file.brain, stored.brain)
    assert (file.inside != stored.inside).mean() < 0.02
    assert file.spacing_native == stored.spacing_native == (6.0, 6.0, 6.0)


def test_the_spool_gives_back_what_was_put_in(run, ball_store, tmp_path):
    (scan,) = scans_of(ball_store, ["l0"])
    made = reconstruct_slices(load_checkpoint(run).method, scan.x, scan.brain)
    spool = ScanSpool(tmp_path)
    spool.append(scan, made._replace(score=made.image))
    again, remade = spool.load(0)
    np.testing.assert_array_equal(again.healthy, scan.healthy)
    np.testing.assert_allclose(again.x[scan.brain], scan.x[scan.brain], atol=1e-3)
    np.testing.assert_allclose(remade.score[scan.brain], made.image[scan.brain], atol=1e-3)
    np.testing.assert_allclose(remade.tissue[:, 1][scan.brain], made.tissue[:, 1][scan.brain], atol=2e-3)
    assert len(spool) == 1


def test_stores_of_another_preparation_are_refused(ball_store):
    with pytest.raises(StoreError, match="pixel_mm"):
        check_store(ball_store, SMALL.model_copy(update={"pixel_mm": 2.0}))


def test_threshold_texts(run):
    calibration = Calibration.load(run)
    one = find_threshold("fpr=0.01", calibration, "literal", "m")
    assert find_threshold("auto", calibration.model_copy(update={"masks": {}}), "literal", "m") == one
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


def test_calibrations_from_before_there_were_promises_still_load(tmp_path):
    old = {"rate": 0.01, "value": 0.07, "gm": 0.07, "wm": 0.06, "csf": None}
    text = {"preset": "smooth", "source": "five cases", "cases": ["a"], "thresholds": {"smooth": [old]}}
    (tmp_path / "calibration.json").write_text(json.dumps(text))
    calibration = Calibration.load(tmp_path)
    threshold = find_threshold("auto", calibration, "smooth", "m")
    assert (threshold.value, threshold.grow, threshold.rule) == (0.07, None, "healthy_1")
    assert calibration.thresholds["smooth"][0].promise is None


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


def test_exported_statistics_beyond_half_precision_stay_finite(run, tmp_path, monkeypatch):
    checkpoint = load_checkpoint(run)
    checkpoint.method.register_buffer("running_var", torch.tensor([3e5]))
    monkeypatch.setattr("semcycle.training.checkpoint.load_checkpoint", lambda folder: checkpoint)
    assert load_file(export_checkpoint(run, tmp_path / "model"))["running_var"].item() == 3e5


def test_python_interface_takes_paths_and_images(run, tmp_path):
    image = nib.Nifti1Image(ball_brain(seed=10)["t2"], AFFINE)
    nib.save(image, tmp_path / "scan.nii.gz")
    found = semcycle.predict(image, model=run)
    from_file = semcycle.predict(str(tmp_path / "scan.nii.gz"), model=run)
    np.testing.assert_allclose(found.anomaly_native(), from_file.anomaly_native(), atol=1e-6)
    assert found.threshold.rule == "calibrated"
    assert semcycle.predict(image, model=run, threshold="fpr=0.05").components().count >= 1
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
