"""``semcycle-bids`` and ``predict`` on a BIDS dataset, as other BIDS apps are called."""

import json
import shutil
import subprocess
import sys

import pytest

from semcycle.cli import bids_app
from tests.conftest import ball_brain, make_scan, semcycle

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("bids") / "ds"
    for name in ("sub-01/anat/sub-01_T2w", "sub-02/ses-a/anat/sub-02_ses-a_T2w"):
        make_scan(root / f"{name}.nii.gz", ball_brain((32, 36, 20))["t2"])
    content = {"Name": "balls", "BIDSVersion": "1.9.0", "DatasetType": "raw", "Authors": ["nobody"], "License": "CC0"}
    (root / "dataset_description.json").write_text(json.dumps(content))
    return root


def call(*words, expect=0):
    sys.argv = ["semcycle-bids", *map(str, words)]
    with pytest.raises(SystemExit) as stop:
        bids_app.main()
    assert (stop.value.code or 0) == expect


def test_participants_and_group(dataset, tmp_path, capsys):
    out = tmp_path / "out"
    call(dataset, out, "participant", "--participant-label", "01", "--skip-bids-validation")
    assert (out / "sub-01/anat/sub-01_desc-anomaly_probseg.nii.gz").is_file()
    assert not (out / "sub-02").exists()
    call(dataset, out, "participant", "--participant_label", "sub-02", "--n-cpus", "1", "--threshold", "0.3", "--fast")
    assert (out / "sub-02/ses-a/anat/sub-02_ses-a_desc-anomaly_mask.json").is_file()
    (out / "summary.csv").unlink()
    call(dataset, out, "group")
    assert len((out / "summary.csv").read_text().splitlines()) == 3
    capsys.readouterr()
    for words, reason in (
        ((dataset, out, "participant", "--participant-label", "9"), "of 01, 02"),
        ((tmp_path, out, "participant"), "no dataset_description.json"),
        ((dataset, tmp_path / "nothing", "group"), "run the level participant first"),
    ):
        call(*words, expect=2)
        assert reason in " ".join(capsys.readouterr().err.split())
    call(dataset, out, "session", expect=2)


def test_derivatives_are_valid_bids(dataset):
    semcycle("predict", dataset, "--threshold", "0.05", "--participant-label", "02")
    derivatives = dataset / "derivatives/semcycle"
    assert (derivatives / "sub-02_ses-a_T2w_report.html").is_file()
    validator = shutil.which("bids-validator-deno")
    if validator is None:
        pytest.skip("no BIDS validator: pip install bids-validator-deno")
    answer = subprocess.run([validator, derivatives, "--format", "json"], capture_output=True, text=True, check=False)
    issues = json.loads(answer.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


def test_only_bids_has_a_folder_of_its_own(tmp_path, capsys):
    scan = make_scan(tmp_path / "a.nii.gz", ball_brain((32, 36, 20))["t2"])
    semcycle("predict", scan, expect=2)
    assert "--out" in capsys.readouterr().err
    semcycle("predict", scan, "--out", tmp_path / "out", "--layout", "tree", expect=2)
