"""BraTS folder layouts of 2017 to 2021."""

import pytest

from semcycle.cohorts.brats import Brats
from semcycle.cohorts.example import write_ball
from semcycle.errors import LayoutError


def put(root, name, *, t2=True, seg=True, suffix=".nii.gz"):
    folder = root / name
    write_ball(folder / f"{name}_t2{suffix}", folder / f"{name}_seg{suffix}")
    if not t2:
        (folder / f"{name}_t2{suffix}").rename(folder / f"{name}_flair{suffix}")
    if not seg:
        (folder / f"{name}_seg{suffix}").unlink()


def test_grades_are_folders_until_2019(tmp_path):
    put(tmp_path / "HGG", "Brats18_TCIA02_370_1")
    put(tmp_path / "HGG", "Brats17_2013_10_1", suffix=".nii")
    put(tmp_path / "LGG", "BraTS19_TCIA09_402_2")
    cases = {case.case_id: case for case in Brats().find_cases(tmp_path).cases}
    assert {name: case.group for name, case in cases.items()} == {
        "Brats18_TCIA02_370_1": "HGG",
        "Brats17_2013_10_1": "HGG",
        "BraTS19_TCIA09_402_2": "LGG",
    }
    assert cases["Brats18_TCIA02_370_1"].subject == "TCIA02_370"
    assert cases["BraTS19_TCIA09_402_2"].subject == "TCIA09_402"
    assert cases["Brats17_2013_10_1"].images["t2"].suffix == ".nii"


def test_sessions_of_one_patient_share_the_subject(tmp_path):
    for session in (1, 2):
        put(tmp_path / "HGG", f"Brats18_TCIA08_242_{session}")
    first, second = Brats().find_cases(tmp_path).cases
    assert first.subject == second.subject


def test_flat_layout_with_a_name_mapping(tmp_path):
    put(tmp_path, "BraTS20_Training_001")
    put(tmp_path, "BraTS2021_00000")
    (tmp_path / "name_mapping.csv").write_text(
        "Grade,BraTS_2017_subject_ID,BraTS_2020_subject_ID\nLGG,NA,BraTS20_Training_001\n"
    )
    cases = Brats().find_cases(tmp_path).cases
    assert [(case.case_id, case.subject, case.group) for case in cases] == [
        ("BraTS2021_00000", "BraTS2021_00000", ""),
        ("BraTS20_Training_001", "BraTS20_Training_001", "LGG"),
    ]


def test_a_case_without_t2_or_labels_is_a_failure_beside_the_others(tmp_path):
    put(tmp_path / "HGG", "Brats18_A_1_1")
    put(tmp_path / "HGG", "Brats18_B_1_1", t2=False)
    put(tmp_path / "LGG", "Brats18_C_1_1", seg=False)
    listing = Brats().find_cases(tmp_path)
    assert [case.case_id for case in listing.cases] == ["Brats18_A_1_1"]
    reasons = {failure.case_id: failure.reason for failure in listing.failures}
    assert "expected Brats18_B_1_1_t2.nii.gz" in reasons["Brats18_B_1_1"]
    assert "expected Brats18_C_1_1_seg.nii.gz" in reasons["Brats18_C_1_1"]


def test_a_mapping_without_its_columns_is_named(tmp_path):
    put(tmp_path, "BraTS20_Training_001")
    (tmp_path / "name_mapping.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LayoutError, match="expected columns Grade"):
        Brats().find_cases(tmp_path)


def test_the_real_folder(shared_data):
    listing = Brats().find_cases(shared_data / "brats")
    assert len(listing.cases) == 18
    assert listing.failures == []
    assert len({case.subject for case in listing.cases}) == 18
