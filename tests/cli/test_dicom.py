"""``semcycle predict`` on DICOM folders."""

import gzip
import json

import numpy as np
import pytest

import semcycle as package
from semcycle.errors import DicomError, VolumeError
from tests.conftest import ball_brain, semcycle
from tests.dicoms import PATIENT, oblique, write_series

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
    semcycle(*words, "--keep-patient")
    marked = pydicom.dcmread(out / "case7_seg.dcm")
    assert (marked.PatientName, marked.PatientID) == (PATIENT, "SECRET77")
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
    capsys.readouterr()
    semcycle("predict", study, "--out", tmp_path / "other", "--series", "8", "--keep-patient", expect=2)
    assert "expected --dicom-seg with --keep-patient" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "empty").mkdir()
    semcycle("predict", tmp_path / "empty", "--out", tmp_path / "other", expect=2)
    assert "expected a scan or a folder with scans" in " ".join(capsys.readouterr().err.split())


def test_a_mask_of_nothing_makes_no_segmentation(study, tmp_path, capsys):
    semcycle("predict", study, "--out", tmp_path / "out", "--threshold", "1", "--dicom-seg", "--fast")
    assert "there is nothing to write" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out/case7_seg.dcm").exists()


def test_python_takes_a_study_as_the_command_line_does(study, tmp_path):
    semcycle("predict", study, "--out", tmp_path / "out", "--threshold", "0.05", "--fast")
    prediction = package.predict(study, threshold=0.05)
    assert prediction.volume.source.startswith(f"{study}, series 2: AX T2, TE 96 ms")
    import nibabel as nib

    written = nib.load(tmp_path / "out/case7_anomaly.nii.gz")
    np.testing.assert_allclose(prediction.volume.affine, written.affine, atol=1e-4)
    np.testing.assert_allclose(prediction.anomaly_native(), written.get_fdata(), atol=1e-3)
    image = sorted((study / "dicom").iterdir())[0]
    with pytest.raises(DicomError, match="expected a T2 weighted series, found none"):
        package.predict(image)  # a single slice
    with pytest.raises(DicomError, match="expected a series of this folder"):
        package.predict(study, series="9")
    scan = ball_brain((32, 36, 20))["t2"].round()
    write_series(study / "again", scan, oblique((5, 5.5, 6)), number=8, description="AX T2 again")
    with pytest.raises(DicomError, match="say --series 2 or --series 8"):
        package.predict(study)
    assert "8: AX T2 again" in package.predict(study, series="8", threshold=None).volume.source
    with pytest.raises(VolumeError, match="expected the path of one scan or a folder of DICOM files"):
        package.predict(tmp_path / "out")
