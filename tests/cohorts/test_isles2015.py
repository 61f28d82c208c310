"""ISLES 2015 SISS folder layout."""

import pytest

from semcycle.cohorts.isles2015 import Isles2015
from semcycle.errors import LayoutError


def put(root, number, *kinds, suffix=".nii"):
    for scan, kind in enumerate(kinds, start=70000):
        name = f"VSD.Brain{kind}.{scan}"
        (root / str(number) / name).mkdir(parents=True)
        (root / str(number) / name / f"{name}{suffix}").touch()


T2, OT = ".XX.O.MR_T2", "_3more.XX.O.OT"


def test_modalities_and_labels_are_found_by_their_folders(tmp_path):
    put(tmp_path, 1, T2, ".XX.O.MR_T1", ".XX.O.MR_Flair", ".XX.O.MR_DWI", OT)
    put(tmp_path, 12, T2, "_11more.XX.O.OT", suffix=".nii.gz")
    put(tmp_path, 2, T2, ".XX.O.OT")
    listing = Isles2015().find_cases(tmp_path)
    assert listing.failures == []
    assert [(case.case_id, case.subject, case.group) for case in listing.cases] == [
        (name, name, "") for name in ("siss01", "siss02", "siss12")
    ]
    first, _, last = listing.cases
    assert sorted(first.images) == ["dwi", "flair", "t1", "t2"]
    assert first.images["flair"].name == "VSD.Brain.XX.O.MR_Flair.70002.nii"
    assert first.lesion.name == "VSD.Brain_3more.XX.O.OT.70004.nii"
    assert last.lesion.name == "VSD.Brain_11more.XX.O.OT.70001.nii.gz"
    assert first.brain_mask is None


@pytest.mark.parametrize(
    "folder", ["Training", "SISS2015_Training", "SISS2015_Training/SISS2015/Training", "ISLES_2015/ISLES_2015/SISS/a"]
)
def test_the_folder_above_the_training_cases_may_be_given(tmp_path, folder):
    put(tmp_path / folder, 3, T2, OT)
    put(tmp_path / "Testing", 4, T2)
    listing = Isles2015().find_cases(tmp_path)
    assert [case.case_id for case in listing.cases] == ["siss03"]
    assert listing.failures == []


def test_a_folder_without_t2_or_labels_is_a_failure_beside_the_others(tmp_path):
    put(tmp_path, 1, T2, OT)
    put(tmp_path, 2, ".XX.O.MR_Flair", OT)
    put(tmp_path, 3, T2)
    put(tmp_path, 4, T2, T2, OT)
    put(tmp_path, 5, T2, OT, suffix=".mha")
    put(tmp_path, "01", T2, OT)
    (tmp_path / "1" / "readme.txt").touch()
    listing = Isles2015().find_cases(tmp_path)
    assert [case.case_id for case in listing.cases] == ["siss01"]
    reasons = {failure.case_id: failure.reason for failure in listing.failures}
    assert "expected VSD.Brain.XX.O.MR_T2.<id>" in reasons["siss02"]
    assert "`semcycle predict` takes unlabelled scans" in reasons["siss03"]
    assert "MR_T2.70000.nii and VSD.Brain.XX.O.MR_T2.70001.nii" in reasons["siss04"]
    assert "expected VSD.Brain.XX.O.MR_T2.<id>" in reasons["siss05"]
    assert "got another siss01" in reasons["1"]


def test_of_a_packed_and_an_unpacked_copy_the_packed_one_is_taken(tmp_path):
    put(tmp_path, 1, T2, OT)
    scan = Isles2015().find_cases(tmp_path).cases[0].images["t2"]
    (scan.parent / f"{scan.name}.gz").touch()
    (scan.parent / f"._{scan.name}").touch()
    assert Isles2015().find_cases(tmp_path).cases[0].images["t2"].suffix == ".gz"


def test_a_folder_without_cases_says_what_is_expected(tmp_path):
    (tmp_path / "1" / "T2").mkdir(parents=True)
    with pytest.raises(LayoutError, match=r"expected <n>/VSD.Brain.*give the folder"):
        Isles2015().find_cases(tmp_path)


def test_of_a_whole_archive_only_the_training_cases_of_siss_are_taken(tmp_path):
    Isles2015().write_example(tmp_path, cases=3)
    put(tmp_path / "ISLES2015" / "ISLES2015_SPES" / "train", 1, T2, ".XX.O.MR_TTP", OT)
    put(tmp_path / ".trash", 7, T2, OT)
    listing = Isles2015().find_cases(tmp_path)
    assert [case.case_id for case in listing.cases] == ["siss01", "siss02", "siss03"]
    assert listing.failures == []
    assert {"".join(case.images["t2"].suffixes[-1:]) for case in listing.cases} == {".nii", ".gz"}


def test_test_cases_alone_are_failures_that_say_so(tmp_path):
    put(tmp_path / "SISS2015_Testing", 1, T2)
    listing = Isles2015().find_cases(tmp_path)
    assert listing.cases == []
    assert "testing cases have none" in listing.failures[0].reason
