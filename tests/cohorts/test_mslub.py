"""MSLUB folder layouts."""

import pytest

from semcycle.cohorts.mslub import Mslub
from semcycle.errors import LayoutError


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_mni_space_is_skull_stripped(tmp_path):
    put(tmp_path, *(f"patient07/{name}.nii.gz" for name in ("T2W", "FLAIR", "consensus_gt")))
    put(tmp_path, "patient08/T2W.nii", "patient08/consensus_gt.nii")
    listing = Mslub().find_cases(tmp_path)
    assert listing.failures == []
    first, second = listing.cases
    assert (first.case_id, first.subject, first.group) == ("patient07", "patient07", "")
    assert first.images == {
        "t2": tmp_path / "patient07/T2W.nii.gz",
        "flair": tmp_path / "patient07/FLAIR.nii.gz",
    }
    assert first.brain_mask is None
    assert second.lesion == tmp_path / "patient08/consensus_gt.nii"


def test_coregistered_scans_have_a_brain_mask(tmp_path):
    names = ("T1W", "T2W", "FLAIR", "consensus_gt", "brainmask")
    put(tmp_path, *(f"patient01/patient01_{name}.nii.gz" for name in names))
    (case,) = Mslub().find_cases(tmp_path).cases
    assert sorted(case.images) == ["flair", "t1", "t2"]
    assert case.images["t1"] == tmp_path / "patient01/patient01_T1W.nii.gz"
    assert case.lesion == tmp_path / "patient01/patient01_consensus_gt.nii.gz"
    assert case.brain_mask == tmp_path / "patient01/patient01_brainmask.nii.gz"


def test_images_may_lie_in_preprocessed_and_never_mix_with_raw_ones(tmp_path):
    put(tmp_path, "patient02/preprocessed/T2W.nii.gz", "patient02/raw/T2W.nii.gz", "patient02/raw/FLAIR.nii.gz")
    put(tmp_path, "patient02/FLAIR.nii.gz", "patient02/consensus_gt.nii.gz", "patient02/brainmask.nii.gz")
    (case,) = Mslub().find_cases(tmp_path).cases
    assert case.images == {"t2": tmp_path / "patient02/preprocessed/T2W.nii.gz"}
    assert case.lesion == tmp_path / "patient02/consensus_gt.nii.gz"
    assert case.brain_mask == tmp_path / "patient02/brainmask.nii.gz"


def test_a_patient_without_t2_or_consensus_is_a_failure_beside_the_others(tmp_path):
    put(tmp_path, "patient01/T2W.nii.gz", "patient01/consensus_gt.nii.gz")
    put(tmp_path, "patient02/FLAIR.nii.gz", "patient02/consensus_gt.nii.gz", "patient03/T2W.nii.gz", "other/T2W.nii.gz")
    listing = Mslub().find_cases(tmp_path)
    assert [case.case_id for case in listing.cases] == ["patient01"]
    reasons = {failure.case_id: failure.reason for failure in listing.failures}
    assert sorted(reasons) == ["patient02", "patient03"]
    assert "expected T2W.nii.gz or patient02_T2W.nii.gz, found FLAIR.nii.gz" in reasons["patient02"]
    assert "expected consensus_gt.nii.gz" in reasons["patient03"]


def test_a_folder_without_patients_says_what_is_expected(tmp_path):
    put(tmp_path, "T2W.nii.gz")
    with pytest.raises(LayoutError, match=r"expected patientNN/T2W.*give the folder"):
        Mslub().find_cases(tmp_path)


def test_the_real_folder(shared_data):
    from semcycle.preprocess.brain_mask import stripped_brain_mask
    from semcycle.volume import load_mask, load_volume

    listing = Mslub().find_cases(shared_data / "mslub")
    assert listing.failures == []
    assert [case.case_id for case in listing.cases] == ["patient07", "patient19"]
    for case in listing.cases:
        volume = load_volume(case.images["t2"])
        lesion = load_mask(case.lesion, volume, "lesion mask")
        assert 0 < lesion.sum() * volume.voxel_ml < 100
        assert 800 < stripped_brain_mask(volume).sum() * volume.voxel_ml < 2200
