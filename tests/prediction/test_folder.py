"""A folder of predictions beside what commit f4e7b19 made of the same scan with the same model (``f4e7b19/``)."""

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from semcycle.prediction.folder import PredictSettings, predict_files
from semcycle.prediction.prior import HealthyPrior
from semcycle.training.calibration import Threshold
from semcycle.training.checkpoint import load_checkpoint, pack_state

OLD = Path(__file__).parent / "f4e7b19"
SETTINGS = PredictSettings("literal", Threshold("given", 0.35, "given by the user"))


@pytest.fixture(scope="module")
def model():
    return load_checkpoint(OLD / "model")


def read_record(folder, near=lambda number: number):
    """``run.json`` without what may differ from run to run."""

    def settle(content):
        if isinstance(content, dict):
            return {key: settle(value) for key, value in content.items() if key not in ("seconds", "versions")}
        if isinstance(content, list):
            return [settle(value) for value in content]
        return near(content) if isinstance(content, float) else content

    return settle(json.loads((folder / "run.json").read_text()))


def test_outputs_are_those_of_f4e7b19(model, tmp_path):
    assert predict_files({"ball": OLD / "ball.nii.gz"}, model, tmp_path, SETTINGS) == []
    for what, share in (("anomaly", 0), ("reconstruction", 0), ("tissue", 0), ("mask", 1e-3)):
        old, new = (nib.load(folder / f"ball_{what}.nii.gz") for folder in (OLD / "predictions", tmp_path))
        for field in set(old.header.keys()) - {"descrip"}:  # it holds the version
            np.testing.assert_array_equal(old.header[field], new.header[field])
        values, expected = new.get_fdata(), old.get_fdata()
        scale = np.abs(expected).max()
        assert (np.abs(values - expected) > 0.004 * scale).mean() <= share  # a step of the tissue's 8 bits
    new = read_record(tmp_path)
    old = read_record(OLD / "predictions", lambda number: pytest.approx(number, abs=2e-3))
    new["scans"] = [{key: scan[key] for key in old["scans"][0]} for scan in new["scans"]]  # more is noted today
    new["scans"][0]["files"].remove("ball_findings.csv")  # and written
    assert new == old
    rows = [pd.read_csv(folder / "summary.csv").drop(columns="seconds") for folder in (OLD / "predictions", tmp_path)]
    pd.testing.assert_frame_equal(*rows, rtol=2e-3)


def test_scans_that_f4e7b19_finished_stay_finished(model, tmp_path):
    out = shutil.copytree(OLD / "predictions", tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")}
    assert predict_files({"ball": OLD / "ball.nii.gz"}, model, out, SETTINGS) == []
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.nii.gz")} == before
    assert (out / "summary.csv").read_text() == (OLD / "predictions/summary.csv").read_text()


@pytest.mark.parametrize("change", ["weights", "prior", "preset"])
def test_scans_of_another_model_are_done_again(tmp_path, change):
    folder, out = shutil.copytree(OLD / "model", tmp_path / "model"), tmp_path / "out"
    scans, settings = {"ball": OLD / "ball.nii.gz"}, SETTINGS
    assert predict_files(scans, load_checkpoint(folder), out, settings) == []
    before = (out / "ball_anomaly.nii.gz").stat().st_mtime_ns
    assert predict_files(scans, load_checkpoint(folder), out, settings) == []
    assert (out / "ball_anomaly.nii.gz").stat().st_mtime_ns == before
    if change == "weights":
        state = load_checkpoint(folder).method.state_dict()
        (folder / "model.safetensors").write_bytes(pack_state({name: tensor * 0.9 for name, tensor in state.items()}))
    elif change == "prior":
        ones = np.ones((2, 4, 1), np.float32)
        HealthyPrior(ones, ones, "literal").save(folder)
    else:
        settings = PredictSettings("smooth", SETTINGS.threshold)
    assert predict_files(scans, load_checkpoint(folder), out, settings) == []
    assert (out / "ball_anomaly.nii.gz").stat().st_mtime_ns > before
