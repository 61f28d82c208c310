"""Raw BIDS datasets and their derivatives."""

import pytest

from semcycle.cohorts.bids import Bids
from semcycle.errors import LayoutError


def find(root, *names):
    """Make a dataset of empty files; ``d:`` stands for ``derivatives/<pipeline>``."""
    (root / "dataset_description.json").write_text("{}")
    for name in names:
        path = root / name.replace("d:", "derivatives/pipe/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return Bids().find_cases(root)


def reasons(listing):
    return {failure.case_id: failure.reason for failure in listing.failures}


def test_every_t2w_is_a_case(tmp_path):
    listing = find(
        tmp_path,
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-01/anat/sub-01_T2w.json",
        "sub-01/anat/sub-01_T1w.nii",
        "sub-02/ses-a/anat/sub-02_ses-a_run-1_T2w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_run-2_T2w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_run-2_PDw.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_run-1_FLAIR.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_run-2_FLAIR.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_acq-tse_T2w.nii",
        "sub-02/ses-b/anat/sub-02_ses-b_acq-tse_part-phase_T2w.nii",
    )
    assert listing.failures == []
    cases = {case.case_id: case for case in listing.cases}
    assert {name: (case.subject, sorted(case.images)) for name, case in cases.items()} == {
        "sub-01": ("sub-01", ["t1", "t2"]),
        "sub-02_ses-a_run-1": ("sub-02", ["flair", "pd", "t2"]),
        "sub-02_ses-a_run-2": ("sub-02", ["flair", "pd", "t2"]),
        "sub-02_ses-b_acq-tse": ("sub-02", ["t2"]),
    }
    assert cases["sub-02_ses-a_run-1"].images["flair"].name == "sub-02_ses-a_run-1_FLAIR.nii.gz"
    assert all(case.lesion is None and case.brain_mask is None and case.tissue == {} for case in listing.cases)


@pytest.mark.parametrize(
    "name",
    [
        "label-lesion_mask",
        "label-lesion_roi",
        "desc-lesion_mask",
        "lesion_mask",
        "lesion_roi",
        "T2w_label-lesion_roi",
        "T2w_lesion_mask",
        "space-T2w_label-lesion_mask",
        "space-orig_desc-lesion_mask",
        "desc-expert_label-lesion_mask",
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_lesion_masks_are_called_many_names(tmp_path, name, suffix):
    mask = f"derivatives/lesions/sub-01/ses-1/anat/sub-01_ses-1_{name}{suffix}"
    listing = find(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz", mask)
    assert listing.failures == []
    assert listing.cases[0].lesion == tmp_path / mask


def test_a_lesion_mask_beside_the_t2w_counts(tmp_path):
    mask = "sub-01/anat/sub-01_T2w_label-lesion_roi.nii.gz"
    assert find(tmp_path, "sub-01/anat/sub-01_T2w.nii.gz", mask).cases[0].lesion == tmp_path / mask


def test_brain_masks_and_tissue_maps_come_from_derivatives(tmp_path):
    listing = find(
        tmp_path,
        "sub-01/anat/sub-01_T2w.nii.gz",
        "d:sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "d:sub-01/anat/sub-01_space-MNI152NLin2009cAsym_desc-brain_mask.nii.gz",
        "d:sub-01/anat/sub-01_T1w_desc-brain_mask.nii.gz",
        *(f"d:sub-01/anat/sub-01_label-{name}_probseg.nii.gz" for name in ("GM", "WM", "CSF")),
        *(f"d:sub-01/anat/sub-01_space-MNI_label-{name}_probseg.nii.gz" for name in ("GM", "WM", "CSF")),
        "d:sub-011/anat/sub-011_label-lesion_mask.nii.gz",
    )
    assert listing.failures == []
    (case,) = listing.cases
    folder = tmp_path / "derivatives/pipe/sub-01/anat"
    assert case.brain_mask == folder / "sub-01_desc-brain_mask.nii.gz"
    assert case.tissue == {name.lower(): folder / f"sub-01_label-{name}_probseg.nii.gz" for name in ("GM", "WM", "CSF")}
    assert case.lesion is None


def test_the_derivative_with_most_entities_of_the_t2w_is_taken(tmp_path):
    listing = find(
        tmp_path,
        "sub-01/anat/sub-01_run-1_T2w.nii.gz",
        "sub-01/anat/sub-01_run-2_T2w.nii.gz",
        "d:sub-01/anat/sub-01_run-01_label-lesion_mask.nii.gz",
        "d:sub-01/anat/sub-01_run-2_label-lesion_mask.nii.gz",
        "d:sub-01/anat/sub-01_desc-brain_mask.nii.gz",
        "d:sub-01/anat/sub-01_run-2_desc-brain_mask.nii.gz",
        "d:sub-01/anat/sub-01_run-2_space-T2w_desc-brain_mask.nii.gz",
    )
    assert listing.failures == []
    assert [(case.lesion.name, case.brain_mask.name) for case in listing.cases] == [
        ("sub-01_run-01_label-lesion_mask.nii.gz", "sub-01_desc-brain_mask.nii.gz"),
        ("sub-01_run-2_label-lesion_mask.nii.gz", "sub-01_run-2_space-T2w_desc-brain_mask.nii.gz"),
    ]


@pytest.mark.parametrize(
    ("kind", "what"),
    [("label-lesion_mask", "lesion mask"), ("desc-brain_mask", "brain"), ("label-GM_probseg", "gm map")],
)
def test_two_that_fit_equally_are_a_failure_that_names_both(tmp_path, kind, what):
    files = [f"derivatives/{pipe}/sub-01/anat/sub-01_{kind}.nii.gz" for pipe in ("one", "two")]
    listing = find(tmp_path, "sub-01/anat/sub-01_T2w.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz", *files)
    assert [case.case_id for case in listing.cases] == ["sub-02"]
    reason = reasons(listing)["sub-01"]
    assert f"expected one {what}" in reason
    assert all(str(tmp_path / file) in reason for file in files)


@pytest.mark.parametrize(
    "mask",
    [
        "d:sub-01/ses-1/anat/sub-01_ses-1_space-MNI152NLin6Asym_label-lesion_mask.nii.gz",
        "d:sub-01/ses-1/anat/sub-01_ses-1_T1w_label-lesion_roi.nii.gz",
        "d:sub-01/ses-1/anat/sub-01_ses-1_acq-sag_label-lesion_mask.nii.gz",
        "d:sub-01/ses-2/anat/sub-01_ses-2_label-lesion_mask.nii.gz",
        "d:sub-01/anat/sub-01_label-lesion_mask.nii.gz",
    ],
)
def test_a_subject_with_lesions_is_never_taken_for_healthy(tmp_path, mask):
    listing = find(tmp_path, "sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz", mask)
    assert [case.case_id for case in listing.cases] == ["sub-02"]
    assert "expected a lesion mask on its grid" in reasons(listing)["sub-01_ses-1"]
    assert mask.rpartition("/")[2] in reasons(listing)["sub-01_ses-1"]


def test_a_session_or_subject_without_t2w_is_a_failure_beside_the_others(tmp_path):
    listing = find(
        tmp_path,
        "sub-01/ses-1/anat/sub-01_ses-1_T2w.nii.gz",
        "sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz",
        "sub-02/func/sub-02_task-rest_bold.nii.gz",
    )
    assert [case.case_id for case in listing.cases] == ["sub-01_ses-1"]
    assert "expected sub-01_ses-2_T2w.nii.gz, found sub-01_ses-2_T1w.nii.gz" in reasons(listing)["sub-01_ses-2"]
    assert "found no anatomical image" in reasons(listing)["sub-02"]


@pytest.mark.parametrize("column", ["group", "diagnosis"])
def test_groups_come_from_the_participants(tmp_path, column):
    (tmp_path / "participants.tsv").write_text(
        f"\ufeffparticipant_id\tage\t{column}\nsub-01\t30\tstroke\n02\t40\tcontrol\nsub-03\t50\tn/a\n"
    )
    listing = find(tmp_path, *(f"sub-0{n}/anat/sub-0{n}_T2w.nii.gz" for n in (1, 2, 3, 4)))
    assert [case.group for case in listing.cases] == ["stroke", "control", "", ""]


def test_participants_without_ids_are_named(tmp_path):
    (tmp_path / "participants.tsv").write_text("name\tgroup\nsub-01\tstroke\n")
    with pytest.raises(LayoutError, match="expected a column participant_id, got name, group"):
        find(tmp_path, "sub-01/anat/sub-01_T2w.nii.gz")


def test_a_folder_that_is_no_dataset_is_a_layout_error(tmp_path):
    (tmp_path / "sub-01" / "anat").mkdir(parents=True)
    with pytest.raises(LayoutError, match="expected dataset_description.json"):
        Bids().find_cases(tmp_path)
    (tmp_path / "sub-01" / "anat").rmdir()
    (tmp_path / "sub-01").rmdir()
    with pytest.raises(LayoutError, match="found no subject"):
        find(tmp_path)
