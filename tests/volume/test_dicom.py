import numpy as np
import pytest

from semcycle.errors import DicomError
from semcycle.volume.dicom import choose_series, convert_series, holds_dicom, list_series
from semcycle.volume.dicom_seg import write_segmentation
from tests.conftest import ball_brain
from tests.dicoms import PATIENT, oblique, write_enhanced, write_series

pydicom = pytest.importorskip("pydicom", reason="no pydicom: pip install 'semcycle[dicom]'")
pytest.importorskip("dcm2niix", reason="no dcm2niix: pip install 'semcycle[dicom]'")

SPACING = (5.0, 5.5, 6.0)


@pytest.fixture(scope="module")
def scan():
    return ball_brain((32, 36, 20))["t2"].round()


@pytest.fixture(scope="module")
def study(scan, tmp_path_factory):
    """A T2 series with a second echo, a FLAIR, a T1, diffusion, and a localizer of three planes."""
    folder = tmp_path_factory.mktemp("study")
    write_series(folder / "A", scan, oblique(SPACING), number=5, description="AX T2 TSE")
    flair = {"echo": 110, "repetition": 9000, "sequence": "SE", "inversion": 2500, "description": "AX T2 FLAIR"}
    write_series(folder / "B", scan, oblique(SPACING), number=6, **flair)
    write_series(folder / "B", scan, oblique(SPACING), number=3, echo=10, repetition=500, description="sag se")
    write_series(folder / "C", scan, oblique(SPACING), number=7, echo=90, sequence="EP", description="ep2d_diff")
    for turn in (0, 60, 110):
        kind = ("ORIGINAL", "PRIMARY", "LOCALIZER")
        where = {"number": 1, "kind": kind, "description": f"plane {turn}", "uid": "1.2.3.9"}
        write_series(folder / "L", scan[:, :, :1], oblique(SPACING, turn), **where)
    (folder / "A" / "readme.txt").write_text("no image")
    return folder


def test_the_t2_series_is_chosen_by_its_tags(study):
    assert holds_dicom(study)
    series = {one.label: one for one in list_series(study)}
    assert {label: one.objection for label, one in series.items()} == {
        "1": "a localizer",
        "3": "no T2 weighting: TE below 60 or TR below 1500 ms",
        "5": "",
        "6": "an inversion recovery (FLAIR)",
        "7": "diffusion",
    }
    chosen, why = choose_series(list(series.values()), "", study)
    assert (chosen.label, chosen.echo_ms, chosen.repetition_ms) == ("5", 96, 5000)
    assert why == "the only T2 weighted one of 5 series"
    assert chosen.describe() == "5: AX T2 TSE, TE 96 ms, TR 5000 ms, 20 images"


def test_it_is_converted_to_where_it_was(study, scan, tmp_path):
    chosen, _ = choose_series(list_series(study), "", study)
    volume = convert_series(chosen, tmp_path / "x.nii.gz")
    assert sorted(volume.shape) == sorted(scan.shape)
    index = np.argwhere(scan > 850)[::7]
    mm = index @ oblique(SPACING)[:3, :3].T + oblique(SPACING)[:3, 3]
    voxels = np.linalg.inv(volume.affine) @ np.c_[mm, np.ones(len(mm))].T
    assert np.abs(voxels - np.rint(voxels)).max() < 0.01
    np.testing.assert_array_equal(volume.data[tuple(np.rint(voxels[:3]).astype(int))], scan[tuple(index.T)])
    content = (tmp_path / "x.nii.gz").read_bytes()
    import gzip

    assert not any(word in gzip.decompress(content) for word in (b"Zywiecka", b"SECRET", b"Referrer"))
    convert_series(chosen, tmp_path / "x.nii.gz")
    assert (tmp_path / "x.nii.gz").read_bytes() == content


def test_two_t2_series_are_a_question(study, scan, tmp_path):
    write_series(tmp_path / "s", scan, oblique(SPACING), number=5, description="AX T2 TSE")
    write_series(tmp_path / "s", scan, oblique(SPACING, 40), number=9, description="COR T2", echo=102)
    series = list_series(tmp_path)
    with pytest.raises(DicomError, match="found 2 .*AX T2 TSE.*COR T2.*say --series 5 or --series 9"):
        choose_series(series, "", tmp_path)
    chosen, why = choose_series(series, "9", tmp_path)
    assert (chosen.description, why) == ("COR T2", "chosen with --series")
    with pytest.raises(DicomError, match=r"got '4'; there are 5: AX T2"):
        choose_series(series, "4", tmp_path)


def test_echoes_of_one_series_are_told_apart(scan, tmp_path):
    for echo in (15, 100):
        write_series(tmp_path, scan, oblique(SPACING), number=4, echo=echo, description="double echo", uid="1.2.3.4")
    series = list_series(tmp_path)
    assert [(one.label, one.echo_ms, len(one.images)) for one in series] == [("4.1", 15, 20), ("4.2", 100, 20)]
    chosen, _ = choose_series(series, "", tmp_path)
    assert chosen.label == "4.2"
    assert convert_series(chosen, tmp_path / "x.nii.gz").shape[2] == 20


def test_no_t2_series_is_an_error_that_says_what_there_is(scan, tmp_path):
    write_series(tmp_path, scan, oblique(SPACING), number=2, echo=8, repetition=600, description="AX T1")
    with pytest.raises(DicomError, match=r"expected a T2 weighted series, found none.*AX T1.*T1 or PD weighted"):
        choose_series(list_series(tmp_path), "", tmp_path)
    with pytest.raises(DicomError, match="expected MR images in DICOM, found none"):
        list_series(tmp_path.parent / "nothing")


@pytest.mark.parametrize(
    ("leave_out", "words"),
    [((7,), "a gap of 12.0 mm after slice 7 .*: 1 missing"), ((3, 4), "after slice 3 .*: 2 missing")],
)
def test_a_missing_slice_is_refused(scan, tmp_path, leave_out, words):
    write_series(tmp_path, scan, oblique(SPACING), leave_out=leave_out)
    with pytest.raises(DicomError, match=words):
        choose_series(list_series(tmp_path), "", tmp_path)


def test_images_at_one_place_are_refused(scan, tmp_path):
    for study in ("a", "b"):
        write_series(tmp_path / study, scan, oblique(SPACING), uid="1.2.3.5")
    with pytest.raises(DicomError, match="21 images at one place"):
        choose_series(list_series(tmp_path), "", tmp_path)


def test_descriptions_with_the_patients_name_are_not_shown(scan, tmp_path):
    assert PATIENT == "Zywiecka^Quintessa"
    write_series(tmp_path, scan, oblique(SPACING), description="T2 quintessa zywiecka")
    (series,) = list_series(tmp_path)
    assert series.description == ""
    assert "quintessa" not in series.describe().lower()


def test_a_segmentation_lies_where_the_mask_does_and_names_nobody(study, tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="no highdicom: pip install 'semcycle[dicom]'")
    chosen, _ = choose_series(list_series(study), "", study)
    volume = convert_series(chosen, tmp_path / "x.nii.gz")
    mask = np.zeros(volume.shape, bool)
    mask[5:9, 20:22, 3:11] = mask[20, 5, 12] = True
    path = write_segmentation(tmp_path / "x_seg.dcm", mask, volume, chosen, "t2-brain")
    segmentation = highdicom.seg.segread(path)
    sources = {pydicom.dcmread(image).SOPInstanceUID for image in chosen.images}
    referred = {
        item.ReferencedSOPInstanceUID for item in segmentation.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    }
    assert referred == sources
    assert (
        segmentation.ReferencedSeriesSequence[0].SeriesInstanceUID
        == pydicom.dcmread(chosen.images[0]).SeriesInstanceUID
    )
    assert segmentation.StudyInstanceUID == pydicom.dcmread(chosen.images[0]).StudyInstanceUID
    read = segmentation.get_volume(combine_segments=True)
    index = np.argwhere(read.array > 0)
    lps = np.c_[index, np.ones(len(index))] @ np.asarray(read.affine).T
    mm = lps[:, :3] * [-1, -1, 1]
    expected = np.argwhere(mask) @ volume.affine[:3, :3].T + volume.affine[:3, 3]
    assert len(mm) == mask.sum()
    distances = np.linalg.norm(mm[:, None] - expected[None], axis=-1)
    assert distances.min(axis=0).max() < 0.01
    assert distances.min(axis=1).max() < 0.01
    content = path.read_bytes()
    secrets = (b"Zywiecka", b"Quintessa", b"SECRET77", b"19500101", b"Referrer", b"ACCESS4711")
    assert not any(word in content for word in secrets)
    with pytest.raises(DicomError, match="got an empty one"):
        write_segmentation(path, np.zeros_like(mask), volume, chosen, "t2-brain")


def test_a_segmentation_keeps_the_patient_where_that_is_asked_for(study, tmp_path):
    highdicom = pytest.importorskip("highdicom", reason="no highdicom: pip install 'semcycle[dicom]'")
    chosen, _ = choose_series(list_series(study), "", study)
    volume = convert_series(chosen, tmp_path / "x.nii.gz")
    source = pydicom.dcmread(chosen.images[0])
    for keep in (False, True):
        path = write_segmentation(
            tmp_path / f"{keep}.dcm", volume.data > 850, volume, chosen, "t2-brain", keep_patient=keep
        )
        segmentation = highdicom.seg.segread(path)
        for tag in ("StudyInstanceUID", "FrameOfReferenceUID"):  # an archive finds the study and the place by these
            assert segmentation[tag].value == source[tag].value
        assert segmentation.SeriesInstanceUID != source.SeriesInstanceUID
        for tag in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "AccessionNumber"):
            assert bool(segmentation[tag].value) is keep
            assert not keep or segmentation[tag].value == source[tag].value


def test_an_enhanced_image_of_many_frames_is_a_series(scan, tmp_path):
    pytest.importorskip("highdicom", reason="no highdicom: pip install 'semcycle[dicom]'")
    write_enhanced(tmp_path / "in" / "image", scan, oblique(SPACING))
    chosen, why = choose_series(list_series(tmp_path / "in"), "", tmp_path)
    assert chosen.describe() == "4: T2 TSE ax, TE 95 ms, TR 4500 ms, 20 images"
    assert why == "the only series"
    volume = convert_series(chosen, tmp_path / "x.nii.gz")
    index = np.argwhere(scan > 850)[::7]
    mm = index @ oblique(SPACING)[:3, :3].T + oblique(SPACING)[:3, 3]
    voxels = np.rint((np.linalg.inv(volume.affine) @ np.c_[mm, np.ones(len(mm))].T)[:3]).astype(int)
    np.testing.assert_array_equal(volume.data[tuple(voxels)], scan[tuple(index.T)])
    mask = volume.data > 850
    path = write_segmentation(tmp_path / "x_seg.dcm", mask, volume, chosen, "t2-brain")
    assert pydicom.dcmread(path).pixel_array.sum() == mask.sum()
