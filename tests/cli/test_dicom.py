"""``semcycle predict`` on DICOM folders."""

import gzip
import json

import pytest

from tests.conftest import ball_brain, semcycle
from tests.dicoms import oblique, write_series

pydicom = pytest.importorskip("pydicom", reason="no pydicom: pip install 'semcycle[dicom]'")
pytest.importorskip("dcm2niix", reason="no dcm2niix: pip install 'semcycle[dicom]'")
pytest.importorskip("highdicom", reason="no highdicom: pip install 'semcycle[dicom]'")

pytestmark = pytest.mark.slow


@pytest.fixture
def study(tmp_path):
    """Two T2 series and a T1."""
    scan = ball_brain((32, 36, 20))["t2"].round()
    for number, description, times in ((2, "AX T2", {}), (3, "AX T1", {"echo": 9, "repetition": 500})):
        write_series(
            tmp_path / "case7/dicom", scan, oblique((5, 5.5, 6)), number=number, description=description, **times
        )
    return tmp_path / "case7"


def test_a_study_is_predicted_and_its_series_is_recorded(study, tmp_path, capsys):
    out = tmp_path / "out"
    words = ("predict", study, "--out", out, "--threshold", "0.05", "--dicom-seg")
    semcycle(*words)
    said = capsys.readouterr()
    assert "series 2: AX T2, TE 96 ms, TR 5000 ms, 20 images (the only T2 weighted one of 2 series)" in said.err
    assert {"case7_input.nii.gz", "case7_anomaly.nii.gz", "case7_seg.dcm"} < {path.name for path in out.iterdir()}
    (scan,) = json.loads((out / "run.json").read_text())["scans"]
    assert scan["series"].startswith("2: AX T2")
    assert "AX T2, TE 96 ms" in (out / "case7_report.html").read_text()
    secrets = (b"Zywiecka", b"Quintessa", b"SECRET77", b"Referrer", b"ACCESS4711")
    for path in out.iterdir():
        content = path.read_bytes()
        content = gzip.decompress(content) if path.suffix == ".gz" else content
        assert not any(word in content for word in secrets), path.name
    assert not any(word.decode() in said.out + said.err for word in secrets)
    before = (out / "case7_anomaly.nii.gz").stat().st_mtime_ns
    semcycle(*words)
    assert (out / "case7_anomaly.nii.gz").stat().st_mtime_ns == before
    marked = pydicom.dcmread(out / "case7_seg.dcm")
    import nibabel as nib

    mask = nib.load(out / "case7_mask.nii.gz").get_fdata()
    assert marked.pixel_array.sum() == mask.sum() > 0


def test_several_series_no_series_and_options_without_dicom(study, tmp_path, capsys):
    scan = ball_brain((32, 36, 20))["t2"].round()
    write_series(study / "again", scan, oblique((5, 5.5, 6)), number=8, description="AX T2 again")
    out = tmp_path / "out"
    semcycle("predict", study, "--out", out, expect=2)
    assert "say --series 2 or --series 8" in " ".join(capsys.readouterr().err.split())
    assert not out.exists()
    semcycle("predict", study, "--out", out, "--series", "8", "--fast")
    assert "8: AX T2 again" in json.loads((out / "run.json").read_text())["scans"][0]["series"]
    semcycle("predict", out, "--out", tmp_path / "other", "--dicom-seg", expect=2)
    (tmp_path / "empty").mkdir()
    semcycle("predict", tmp_path / "empty", "--out", tmp_path / "other", expect=2)
    assert "expected a scan or a folder with scans" in " ".join(capsys.readouterr().err.split())


def test_a_mask_of_nothing_makes_no_segmentation(study, tmp_path, capsys):
    semcycle("predict", study, "--out", tmp_path / "out", "--threshold", "1", "--dicom-seg", "--fast")
    assert "there is nothing to write" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out/case7_seg.dcm").exists()
