"""Which files belong together: by name, by folder, or by a list; what is missing or ambiguous fails by case."""

import numpy as np
import pytest

from semcycle.errors import ScoringError
from semcycle.scoring.pairing import case_name, pair_folders
from semcycle.scoring.path_list import read_list
from semcycle.volume import write_arrays


def touch(root, *names):
    """Smallest images; what they show does not matter."""
    write_arrays({root / name: np.zeros((2, 2, 2), np.uint8) for name in names}, np.eye(4))
    return root


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a01_t2_anomaly.nii.gz", "a01"),
        ("a01_seg.nii", "a01"),
        ("sub-01_ses-2_T2w_brain_mask.nii.gz", "sub-01_ses-2"),
        ("Brats18_2013_2_1_seg.nii.gz", "Brats18_2013_2_1"),
        ("a01.nii.gz", "a01"),
        ("roadmap.nii.gz", "roadmap"),
        ("_seg.nii.gz", "_seg"),
    ],
)
def test_case_names(tmp_path, file, name):
    assert case_name(tmp_path / file) == name


def test_folders_match_by_case_name(tmp_path):
    ours = touch(tmp_path / "ours", "a_anomaly.nii.gz", "a_mask.nii.gz", "a_tissue.nii.gz", "b/b_anomaly.nii.gz")
    theirs = touch(tmp_path / "theirs", "a-model_v2.nii.gz", "b.nii.gz")
    truth = touch(tmp_path / "truth", "a_seg.nii.gz", "a_t2.nii.gz", "b_seg.nii.gz")
    brain = touch(tmp_path / "brain", "a_brain.nii.gz", "b_brain.nii.gz")
    found = pair_folders({"ours": ours, "theirs": theirs}, truth, brain, truth)
    assert found.methods == ["ours", "theirs"]
    assert not found.failures
    a, b = found.cases
    assert (a.case, a.subject, a.use) == ("a", "a", "test")
    assert a.predictions == {"ours": ours / "a_anomaly.nii.gz", "theirs": theirs / "a-model_v2.nii.gz"}
    assert (a.truth.name, a.brain.name, a.image.name) == ("a_seg.nii.gz", "a_brain.nii.gz", "a_t2.nii.gz")
    assert b.predictions["ours"] == ours / "b" / "b_anomaly.nii.gz"
    assert pair_folders({"ours": ours}, truth).cases[0].brain is None


def test_the_folder_is_the_case_where_names_repeat(tmp_path):
    truth = touch(tmp_path / "truth", "p1/truth.nii.gz", "p1/t2.nii.gz", "p2/truth.nii.gz", "p2/t2.nii.gz")
    maps = touch(tmp_path / "maps", "p1_score.nii.gz", "p2_score.nii.gz")
    found = pair_folders({"m": maps}, tmp_path / "truth" / "*" / "truth.nii.gz")
    assert [(case.case, case.truth.parent.name) for case in found.cases] == [("p1", "p1"), ("p2", "p2")]
    assert [case.truth.name for case in pair_folders({"m": maps}, truth).cases] == ["truth.nii.gz"] * 2


def test_the_longest_name_wins(tmp_path):
    truth = touch(tmp_path / "truth", "a_seg.nii.gz", "a_1_seg.nii.gz", "a1_seg.nii.gz")
    maps = touch(tmp_path / "maps", "a-x.nii.gz", "a_1-x.nii.gz", "a1-x.nii.gz")
    cases = {case.case: case.predictions["m"].name for case in pair_folders({"m": maps}, truth).cases}
    assert cases == {"a": "a-x.nii.gz", "a_1": "a_1-x.nii.gz", "a1": "a1-x.nii.gz"}


def test_a_file_of_another_patient_or_session_is_not_taken(tmp_path):
    truth = touch(tmp_path / "truth", "pat1_seg.nii.gz", "pat2_seg.nii.gz", "sub-3_seg.nii.gz")
    maps = touch(tmp_path / "maps", "pat1.nii.gz", "pat2.nii.gz", "sub-3_ses-2.nii.gz")
    brain = touch(tmp_path / "brain", "pat1_2_mask.nii.gz", "pat1_left_mask.nii.gz", "pat2_hdbet_mask.nii.gz")
    found = pair_folders({"m": maps}, truth, brain)
    assert [(case.case, case.brain.name) for case in found.cases] == [("pat2", "pat2_hdbet_mask.nii.gz")]
    reasons = {failure.case_id: failure.reason for failure in found.failures}
    assert "expected a brain of this case" in reasons["pat1"]
    assert "expected a prediction of this case" in reasons["sub-3"]
    assert "expected a truth of case sub-3_ses-2" in reasons["sub-3_ses-2"]


def test_linked_folders_are_searched_and_links_to_nothing_fail_by_name(tmp_path):
    truth = touch(tmp_path / "truth", "a/a_seg.nii.gz", ".git/annex/objects/key.nii.gz")
    (truth / "b").symlink_to(touch(tmp_path / "elsewhere", "b_seg.nii.gz"))
    (truth / "c_seg.nii.gz").symlink_to(tmp_path / "nothing.nii.gz")
    maps = touch(tmp_path / "maps", "a.nii.gz", "b.nii.gz", "c.nii.gz")
    found = pair_folders({"m": maps}, truth)
    assert [case.case for case in found.cases] == ["a", "b", "c"]
    assert not found.failures
    assert [case.case for case in pair_folders({"m": maps}, truth / "*_seg.nii.gz").cases] == ["c"]


def test_one_file_each_is_one_case(tmp_path):
    touch(tmp_path, "map.nii.gz", "lesions_of_patient.nii.gz", "head.nii.gz")
    found = pair_folders(
        {"m": tmp_path / "map.nii.gz"}, tmp_path / "lesions_of_patient.nii.gz", tmp_path / "head.nii.gz"
    )
    assert [(case.predictions["m"].name, case.brain.name) for case in found.cases] == [("map.nii.gz", "head.nii.gz")]
    maps = touch(tmp_path / "maps", "somebody_else.nii.gz")
    with pytest.raises(ScoringError, match="none complete"):  # in folders names have to agree
        pair_folders({"m": maps}, touch(tmp_path / "truth", "patient_seg.nii.gz"))


def test_missing_and_ambiguous_files_fail_by_case(tmp_path):
    truth = touch(tmp_path / "truth", *(f"{case}_seg.nii.gz" for case in "abcd"))
    maps = touch(tmp_path / "maps", "a.nii.gz", "c-run1.nii.gz", "c-run2.nii.gz", "d.nii.gz", "e.nii.gz")
    brain = touch(tmp_path / "brain", "a.nii.gz", "b.nii.gz", "c.nii.gz")
    found = pair_folders({"m": maps}, truth, brain)
    assert [case.case for case in found.cases] == ["a"]
    reasons = {failure.case_id: failure.reason for failure in found.failures}
    assert list(reasons) == ["b", "c", "d", "e"]
    assert "expected a prediction of this case, found none" in reasons["b"]
    assert "found 2 (c-run1.nii.gz, c-run2.nii.gz)" in reasons["c"]
    assert "expected a brain of this case" in reasons["d"]
    assert "expected a truth of case e" in reasons["e"]


def test_folders_without_anything_are_refused(tmp_path):
    maps = touch(tmp_path / "maps", "a.nii.gz", "b.nii.gz")
    truth = touch(tmp_path / "truth", "x_seg.nii.gz", "y_seg.nii.gz")
    with pytest.raises(ScoringError, match="none complete.*prediction of this case"):
        pair_folders({"m": maps}, truth)
    with pytest.raises(ScoringError, match="nowhere: expected a folder"):
        pair_folders({"m": maps}, tmp_path / "nowhere")
    with pytest.raises(ScoringError, match=r"\*_gt"):
        pair_folders({"m": maps}, truth / "*_gt.nii.gz")


def listed(tmp_path, text):
    (tmp_path / "cases.csv").write_text(text)
    return tmp_path / "cases.csv"


def test_list_of_paths(tmp_path):
    text = """case,method,prediction,truth,brain,subject,use
a,ours,m/a.nii.gz,t/a.nii.gz,b/a.nii.gz,alice,
a,theirs,n/a.nii.gz,t/a.nii.gz,b/a.nii.gz,alice,
b,ours,m/b.nii.gz,t/b.nii.gz,b/b.nii.gz,,validation
b,theirs,/n/b.nii.gz,t/b.nii.gz,b/b.nii.gz,,validation
c,ours,m/c.nii.gz,t/c.nii.gz,b/c.nii.gz,,
d,ours,m/d.nii.gz,t/d.nii.gz,,,
d,theirs,m/d.nii.gz,t/d.nii.gz,,,
"""
    found = read_list(listed(tmp_path, text))
    assert found.methods == ["ours", "theirs"]
    a, b = found.cases
    assert (a.subject, a.use, b.subject, b.use) == ("alice", "test", "b", "validation")
    assert a.predictions["theirs"] == tmp_path / "n/a.nii.gz"
    assert str(b.predictions["theirs"]) == "/n/b.nii.gz"
    assert "prediction of theirs" in found.failures[0].reason
    assert "expected a brain mask" in found.failures[1].reason
    whole = read_list(tmp_path / "cases.csv", whole_grid=True)
    assert [(case.case, case.brain) for case in whole.cases] == [("a", None), ("b", None), ("d", None)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("case,prediction\n", "expected the columns brain, case, prediction, truth"),
        ("case,prediction,truth,brain,colour\n", "colour"),
        ("", "an empty file"),
        ("case,prediction,truth,brain\n", "it has no row"),
        ("case,prediction,truth,brain\na,m,t,b\na,m,t,b\n", "row 3: expected one row a case and method"),
        ("case,method,prediction,truth,brain\na,x,m,t,b\na,y,m,u,b\n", "a: expected one truth"),
        ("case,prediction,truth,brain\n,m,t,b\n", "row 2: expected a case"),
        ("case,prediction,truth,brain,use\na,m,t,b,train\n", "'train'"),
    ],
)
def test_lists_that_are_none(tmp_path, text, message):
    with pytest.raises(ScoringError, match=message):
        read_list(listed(tmp_path, text))
    with pytest.raises(ScoringError, match="can be read"):
        read_list(tmp_path / "nowhere.csv")


def test_a_pair_of_header_and_voxels_is_one_truth(tmp_path):
    for folder, suffixes in (("maps", (".nii",)), ("truth", (".hdr", ".img"))):
        (tmp_path / folder).mkdir()
        for suffix in suffixes:
            (tmp_path / folder / f"c1{suffix}").touch()
    (case,) = pair_folders({"m": tmp_path / "maps"}, tmp_path / "truth").cases
    assert case.truth.name == "c1.img"
