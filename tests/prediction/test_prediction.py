import json

import nibabel as nib
import numpy as np
import pytest
import torch

from semcycle.prediction.folder import PredictSettings, predict_files
from semcycle.prediction.prediction import predict_volume
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.prediction.records import read_summary
from semcycle.prediction.scans import find_scans
from semcycle.training import train
from semcycle.training.calibration import Threshold
from semcycle.training.checkpoint import load_checkpoint
from semcycle.volume import load_volume, make_volume
from tests.conftest import ball_brain, make_scan, tiny_recipe


@pytest.fixture(scope="module")
def checkpoint(ball_store, tmp_path_factory):
    torch.set_num_threads(1)
    recipe = tiny_recipe(segmentation={"epochs": 6, "base": 4, "norm": "group", "learning_rate": 0.01})
    return load_checkpoint(train(recipe, ball_store, ["h0", "h1", "h2"], tmp_path_factory.mktemp("run") / "run"))


AFFINES = {
    "RAS": np.diag([6.0, 6.0, 6.0, 1.0]),
    "LPS": np.diag([-6.0, -6.0, 6.0, 1.0]),
    "PIR": np.array([[0, 0, 6.0, -7], [-6, 0, 0, 3], [0, -6, 0, 9], [0, 0, 0, 1]]),
}


def scan_in(code, tmp_path, seed=10):
    """The same brain stored in another orientation; returns its path and the lesion on its grid."""
    arrays, affine = ball_brain(seed=seed), AFFINES[code]
    ras = nib.Nifti1Image(arrays["t2"], np.diag([6.0, 6.0, 6.0, 1.0]))
    mask = nib.Nifti1Image(arrays["lesion"].astype(np.float32), ras.affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(ras.affine), nib.io_orientation(affine))
    turned, lesion = ras.as_reoriented(turn), mask.as_reoriented(turn)
    path = make_scan(tmp_path / f"{code}.nii.gz", turned.get_fdata(), turned.affine)
    return path, lesion.get_fdata() > 0


@pytest.mark.parametrize("code", AFFINES)
def test_outputs_lie_on_the_scan_whatever_its_orientation(checkpoint, tmp_path, code):
    path, lesion = scan_in(code, tmp_path)
    assert predict_files({code: path}, checkpoint, tmp_path / "out") == []
    scan = nib.load(path)
    assert "".join(nib.aff2axcodes(scan.affine)) == code
    for name, shape in (("anomaly", scan.shape), ("reconstruction", scan.shape), ("tissue", (*scan.shape, 3))):
        image = nib.load(tmp_path / "out" / f"{code}_{name}.nii.gz")
        assert image.shape == shape
        np.testing.assert_allclose(image.affine, scan.affine)
        assert image.header["sform_code"] == scan.header["sform_code"]
        values = image.get_fdata()
        assert np.isfinite(values).all()
        assert (values[scan.get_fdata() == 0] == 0).all()
    scores = nib.load(tmp_path / "out" / f"{code}_anomaly.nii.gz").get_fdata()
    inside = scan.get_fdata() > 0
    assert scores[lesion].mean() > 1.2 * scores[inside & ~lesion].mean()


def test_orientation_does_not_change_the_scores(checkpoint, tmp_path):
    means = []
    for code in AFFINES:
        path, lesion = scan_in(code, tmp_path)
        means.append(predict_volume(checkpoint, load_volume(path)).anomaly_native()[lesion].mean())
    assert np.ptp(means) < 1e-4


def test_reconstruction_is_in_the_units_of_the_scan(checkpoint, tmp_path):
    arrays = ball_brain(seed=3, lesion=False)
    prediction = predict_volume(checkpoint, make_volume(arrays["t2"] * 50, AFFINES["RAS"]))
    made = prediction.reconstruction_native()
    inside = arrays["t2"] > 0
    assert 0.4 < np.median(made[inside]) / np.median(arrays["t2"][inside] * 50) < 2


def test_run_record_names_model_scans_and_files(checkpoint, tmp_path):
    drawn = []
    path, _ = scan_in("LPS", tmp_path)

    def draw(prediction, out, name, entry):
        drawn.append((out, name, entry["spacing_mm"]))
        (out / f"{name}_overview.png").touch()
        return [f"{name}_overview.png"]

    predict_files({"a": path}, checkpoint, tmp_path / "out", draw=draw)
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["model"]["method"] == "cycle"
    (scan,) = record["scans"]
    assert scan["files"] == ["a_anomaly.nii.gz", "a_reconstruction.nii.gz", "a_tissue.nii.gz", "a_overview.png"]
    assert scan["spacing_mm"] == [6.0, 6.0, 6.0]
    assert drawn == [(tmp_path / "out", "a", [6.0, 6.0, 6.0])]
    assert str(tmp_path) not in json.dumps(record)


def test_bad_scans_of_a_folder_are_listed_and_the_others_done(checkpoint, tmp_path):
    scan_in("RAS", tmp_path / "in")
    (tmp_path / "in" / "cut.nii.gz").write_bytes(b"\x1f\x8b rubbish")
    speck = np.zeros((30, 30, 30))
    speck[10:12, 10:12, 10:12] = 1
    make_scan(tmp_path / "in" / "speck.nii.gz", speck)
    found = find_scans(tmp_path / "in")
    failures = predict_files(found, checkpoint, tmp_path / "out")
    assert {failure.case_id for failure in failures} == {"cut", "speck"}
    assert "looks empty" in next(failure.reason for failure in failures if failure.case_id == "speck")
    assert (tmp_path / "out" / "RAS_anomaly.nii.gz").is_file()
    assert "cut" in (tmp_path / "out" / "failures.csv").read_text()


def test_a_scan_with_its_skull_is_stripped_or_comes_with_a_mask(checkpoint, monkeypatch):
    arrays = ball_brain()
    head = np.where(arrays["t2"] > 0, arrays["t2"], np.random.default_rng(0).uniform(5, 300, arrays["t2"].shape))
    volume = make_volume(head, np.diag([6.0, 6.0, 6.0, 1.0]), "head.nii")
    monkeypatch.setattr("semcycle.preprocess.pipeline.strip_skull", lambda scan, how: (arrays["t2"] > 0, "bet"))
    found = predict_volume(checkpoint, volume)
    assert found.prepared.record.brain.method == "bet"
    masked = predict_volume(checkpoint, volume, arrays["t2"] > 0)
    assert masked.prepared.record.brain.method == "given"
    assert (masked.anomaly_native()[arrays["t2"] == 0] == 0).all()


CUT = Threshold("given", 0.1, "given by the user")


def test_mask_is_the_thresholded_map_without_specks(checkpoint, tmp_path):
    path, _ = scan_in("PIR", tmp_path)
    assert predict_files({"a": path}, checkpoint, tmp_path / "out", PredictSettings("literal", CUT)) == []
    scores = nib.load(tmp_path / "out/a_anomaly.nii.gz").get_fdata()
    mask = nib.load(tmp_path / "out/a_mask.nii.gz")
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.get_fdata() > 0, scores >= np.float32(0.1))  # a voxel of 6 mm is no speck
    row = read_summary(tmp_path / "out").iloc[0]
    assert row["lesion_ml"] == pytest.approx(mask.get_fdata().sum() * 0.216, rel=1e-3)
    assert 0 < row["largest_ml"] <= row["lesion_ml"]
    assert row["components"] >= 1
    assert row["threshold"] == 0.1


def test_finished_scans_are_not_done_again_unless_something_changed(checkpoint, tmp_path):
    path, _ = scan_in("RAS", tmp_path)
    done = []

    def draw(prediction, out, name, entry):
        done.append(name)
        return []

    def run(settings=None, **more):
        settings = settings or PredictSettings("literal", CUT)
        assert predict_files({"a": path}, checkpoint, tmp_path / "out", settings, draw=draw, **more) == []
        return len(done)

    assert run() == 1
    assert run() == 1
    assert run(overwrite=True) == 2
    assert run(PredictSettings("literal", None)) == 3
    (tmp_path / "out" / "a_anomaly.nii.gz").unlink()
    assert run(PredictSettings("literal", None)) == 4
    scan_in("RAS", tmp_path, seed=11)
    assert run(PredictSettings("literal", None)) == 5


def test_other_scans_of_the_folder_stay_listed_and_stale_files_go(checkpoint, tmp_path):
    scans = {code: scan_in(code, tmp_path)[0] for code in ("LPS", "RAS")}
    out = tmp_path / "out"
    assert predict_files(scans, checkpoint, out, PredictSettings("literal", CUT)) == []
    assert (out / "RAS_mask.nii.gz").is_file()
    only = {"RAS": scans["RAS"]}
    assert predict_files(only, checkpoint, out, PredictSettings("literal", None), overwrite=True) == []
    assert list(read_summary(out)["scan"]) == ["LPS", "RAS"]
    assert not (out / "RAS_mask.nii.gz").exists()
    assert (out / "LPS_mask.nii.gz").is_file()


def test_pages_that_a_fast_run_left_out_are_made_later(checkpoint, tmp_path):
    path, _ = scan_in("RAS", tmp_path)
    drawn = []

    def draw(prediction, out, name, entry):
        drawn.append(name)
        return []

    for pages in (None, draw, draw, None):
        assert predict_files({"a": path}, checkpoint, tmp_path / "out", draw=pages) == []
    assert drawn == ["a"]


def test_a_changed_brain_mask_is_a_reason_to_do_a_scan_again(checkpoint, tmp_path):
    path, _ = scan_in("RAS", tmp_path)
    mask = make_scan(tmp_path / "mask.nii.gz", nib.load(path).get_fdata() > 0, AFFINES["RAS"])
    done = []

    def run():
        def draw(prediction, out, name, entry):
            done.append(entry["preprocess"]["brain"]["method"])
            return []

        assert (
            predict_files({"a": path}, checkpoint, tmp_path / "out", find_brain=lambda name, scan: mask, draw=draw)
            == []
        )
        return len(done)

    assert (run(), run()) == (1, 1)
    smaller = nib.load(path).get_fdata() > 0
    smaller[:, :, :8] = False
    make_scan(mask, smaller, AFFINES["RAS"])
    assert run() == 2
    assert done == ["given", "given"]


def test_an_interrupted_batch_keeps_what_is_finished(checkpoint, tmp_path):
    scans = {code: scan_in(code, tmp_path)[0] for code in ("LPS", "RAS")}

    def interrupt(name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(scans, checkpoint, tmp_path / "out", progress=interrupt)
    assert [entry["name"] for entry in json.loads((tmp_path / "out/run.json").read_text())["scans"]] == ["LPS"]
    assert predict_files(scans, checkpoint, tmp_path / "out") == []
    assert list(read_summary(tmp_path / "out")["scan"]) == ["LPS", "RAS"]


def test_tta_is_the_mean_with_the_mirrored_scan(checkpoint):
    x = np.random.default_rng(0).random((3, 32, 32)).astype(np.float32)
    brain = np.ones(x.shape, bool)
    plain = reconstruct_slices(checkpoint.method, x, brain).image
    mirrored = reconstruct_slices(checkpoint.method, x[..., ::-1].copy(), brain).image[..., ::-1]
    both = reconstruct_slices(checkpoint.method, x, brain, tta=True)
    np.testing.assert_allclose(both.image, (plain + mirrored) / 2, atol=1e-5)
    assert both.tissue.shape == (3, 3, 32, 32)


def test_slices_without_brain_are_not_run(checkpoint):
    x = np.random.default_rng(0).random((5, 32, 32)).astype(np.float32)
    brain = np.zeros(x.shape, bool)
    brain[1:3] = True
    image, tissue, score = reconstruct_slices(checkpoint.method, x, brain, batch_size=1)
    assert (image[[0, 3, 4]] == 0).all()
    assert (image[1:3] > 0).any()
    together = reconstruct_slices(checkpoint.method, x, brain, batch_size=8).image
    assert score is None
    np.testing.assert_allclose(image, together, atol=1e-5)
    assert tissue.shape == (5, 3, 32, 32)


def test_real_scans_with_and_without_skull(checkpoint, shared_data, tmp_path):
    scans = {
        "stripped": shared_data / "healthy/kirby113/113-02-T2w_processed_reg.nii.gz",
        "skull": shared_data / "healthy/ixi002/ds_IXI002-Guys-0828-T2.nii",
    }
    assert predict_files(scans, checkpoint, tmp_path) == []
    for name, path in scans.items():
        assert nib.load(tmp_path / f"{name}_anomaly.nii.gz").shape == nib.load(path).shape
    entries = json.loads((tmp_path / "run.json").read_text())["scans"]
    methods = {entry["name"]: entry["preprocess"]["brain"]["method"] for entry in entries}
    assert methods["stripped"] == "stripped"
    assert methods["skull"] in ("bet", "hd-bet")


def test_steps_in_millimetres_know_the_slices(checkpoint, tmp_path):
    """Needs the distance of slices, which is the scan's own."""
    path, _ = scan_in("PIR", tmp_path)
    plain, blurred = (
        predict_volume(checkpoint, load_volume(path), preset=preset) for preset in ("literal", "literal,gaussian_mm=6")
    )
    assert blurred.preset == "literal,gaussian_mm=6"
    brain = plain.prepared.brain
    assert np.abs(np.diff(blurred.scores, axis=0))[1:][brain[1:-1] & brain[2:]].mean() < 0.8 * (
        np.abs(np.diff(plain.scores, axis=0))[1:][brain[1:-1] & brain[2:]].mean()
    )
