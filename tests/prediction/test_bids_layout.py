import json
import pickle
from pathlib import Path

import pytest

from semcycle.errors import LayoutError
from semcycle.prediction.bids_layout import BidsPlaces, describe_derivatives, find_places, keep_participants
from semcycle.prediction.folder import PredictSettings, predict_files
from semcycle.prediction.scans import find_scans
from semcycle.training.calibration import Threshold
from semcycle.training.checkpoint import load_checkpoint
from tests.conftest import ball_brain, make_scan

MODEL = Path(__file__).parent / "f4e7b19" / "model"
NAMES = ("sub-01/anat/sub-01_T2w", "sub-02/ses-a/anat/sub-02_ses-a_acq-tse_run-2_T2w")


@pytest.fixture
def dataset(tmp_path):
    root = tmp_path / "ds"
    for name in NAMES:
        make_scan(root / f"{name}.nii.gz", ball_brain((24, 26, 14))["t2"])
    (root / "dataset_description.json").write_text('{"Name": "balls", "BIDSVersion": "1.9.0", "DatasetType": "raw"}')
    return root


def test_images_stand_where_bids_has_them(dataset):
    places = find_places(dataset, find_scans(dataset), "auto")
    assert places("sub-01_T2w", "anomaly") == "sub-01/anat/sub-01_desc-anomaly_probseg.nii.gz"
    name = "sub-02_ses-a_acq-tse_run-2"
    assert places(f"{name}_T2w", "reconstruction") == f"sub-02/ses-a/anat/{name}_desc-healthy_T2w.nii.gz"
    assert pickle.loads(pickle.dumps(places)) == places  # sent to workers


def test_layouts(dataset, tmp_path):
    scans = find_scans(dataset)
    assert find_places(dataset, scans, "flat") is None
    plain = make_scan(tmp_path / "plain" / "a_t2.nii.gz", ball_brain((24, 26, 14))["t2"])
    assert find_places(plain.parent, {"a_t2": plain}, "auto") is None
    with pytest.raises(LayoutError, match="use --layout flat"):
        find_places(plain.parent, {"a_t2": plain}, "bids")
    with pytest.raises(LayoutError, match="expected a BIDS name"):
        find_places(dataset, {"x": dataset / "sub-01" / "x.nii.gz"}, "bids")
    both = {"a": dataset / "sub-01_T2w.nii", "b": dataset / "sub-01_T2w.nii.gz"}
    with pytest.raises(LayoutError, match="told apart"):
        find_places(dataset, both, "bids")
    assert find_places(dataset / "sub-01", find_scans(dataset / "sub-01"), "auto").root == dataset


@pytest.mark.parametrize("content", ["{", "[]", '{"Name": 1e999}'])
def test_a_damaged_description_is_refused_before_anything_is_predicted(dataset, content):
    (dataset / "dataset_description.json").write_text(content)
    with pytest.raises(LayoutError, match=r"dataset_description.json: expected a JSON object.*--layout flat"):
        find_places(dataset, find_scans(dataset), "auto")
    assert find_places(dataset, find_scans(dataset), "flat") is None


def test_participants_are_chosen_by_label(dataset):
    scans = find_scans(dataset)
    for label in ("01", "sub-01"):
        assert list(keep_participants(scans, [label], dataset)) == ["sub-01_T2w"]
    assert keep_participants(scans, [], dataset) == scans
    with pytest.raises(LayoutError, match="got 7; of 01, 02"):
        keep_participants(scans, ["01", "7"], dataset)


def test_each_image_has_its_sidecar_and_nothing_is_done_twice(dataset):
    scans, out = find_scans(dataset), dataset / "derivatives/semcycle"
    places = BidsPlaces(dataset, scans, "x")
    settings, model = PredictSettings("literal", Threshold("given", 0.1, "given by the user")), load_checkpoint(MODEL)
    assert predict_files(scans, model, out, settings, place=places) == []
    describe_derivatives(out, places)
    images = sorted(out.glob("sub-*/**/*.nii.gz"))
    assert len(images) == 8
    for image in images:
        sidecar = json.loads(Path(str(image).replace(".nii.gz", ".json")).read_text())
        assert sidecar["Sources"][0] in {f"bids:raw:{name}.nii.gz" for name in NAMES}
        assert sidecar["Versions"]["semcycle"]
    mask = json.loads((out / "sub-01/anat/sub-01_desc-anomaly_mask.json").read_text())
    assert (mask["Type"], mask["Threshold"], mask["ThresholdSource"]) == ("Lesion", 0.1, "given by the user")
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "semcycle"
    assert description["DatasetLinks"] == {"raw": "../.."}
    assert (out / "README.md").read_text().startswith("# semcycle on x\n")
    (out / "README.md").write_text("the user's own")
    describe_derivatives(out, places)
    assert (out / "README.md").read_text() == "the user's own"
    before = {image: image.stat().st_mtime_ns for image in images}
    assert predict_files(scans, model, out, settings, place=places) == []
    assert {image: image.stat().st_mtime_ns for image in images} == before
    assert find_scans(dataset) == scans  # derivatives are no scans
    assert predict_files(scans, model, out, settings) == []  # flat: done again, and the others are gone
    assert not list(out.glob("sub-*/**/*.nii.gz"))
    assert len(list(out.glob("*.nii.gz"))) == 8
