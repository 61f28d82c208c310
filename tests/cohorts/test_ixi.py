"""IXI folder layout."""

import pytest

from semcycle.cohorts.ixi import Ixi
from semcycle.errors import LayoutError


def put(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_scans_may_lie_in_one_folder_with_any_prefix(tmp_path):
    put(tmp_path, "IXI012-HH-1211-T2.nii.gz", "IXI012-HH-1211-PD.nii.gz", "ds_IXI002-Guys-0828-T2.nii")
    put(tmp_path, "ds_IXI002-Guys-0828-T1.nii", "IXI.xls", "._IXI099-HH-1211-T2.nii.gz")
    listing = Ixi().find_cases(tmp_path)
    assert listing.failures == []
    assert [(case.case_id, case.subject, case.group, case.lesion, case.brain_mask) for case in listing.cases] == [
        ("IXI002-Guys-0828", "IXI002", "Guys", None, None),
        ("IXI012-HH-1211", "IXI012", "HH", None, None),
    ]
    assert listing.cases[0].images == {
        "t2": tmp_path / "ds_IXI002-Guys-0828-T2.nii",
        "t1": tmp_path / "ds_IXI002-Guys-0828-T1.nii",
    }
    assert sorted(listing.cases[1].images) == ["pd", "t2"]


@pytest.mark.parametrize("folder", ["IXI-{}", "ixi-{}", "{}"])
def test_each_modality_may_have_a_folder(tmp_path, folder):
    for kind in ("T1", "T2", "PD"):
        put(tmp_path / folder.format(kind), f"IXI035-IOP-0873-{kind}.nii.gz")
    (case,) = Ixi().find_cases(tmp_path).cases
    assert sorted(case.images) == ["pd", "t1", "t2"]
    assert case.images["t2"] == tmp_path / folder.format("T2") / "IXI035-IOP-0873-T2.nii.gz"
    assert case.group == "IOP"


@pytest.mark.parametrize(
    "mask", ["ds_IXI002-Guys-0828_brainmask", "IXI002-Guys-0828_brainmask", "ds_IXI002-Guys-0828-T2_mask"]
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_mask_beside_the_t2_is_its_brain_mask(tmp_path, mask, suffix):
    put(tmp_path, "IXI-T2/ds_IXI002-Guys-0828-T2.nii.gz", f"IXI-T2/{mask}{suffix}", f"IXI-T1/{mask}{suffix}")
    (case,) = Ixi().find_cases(tmp_path).cases
    assert case.brain_mask == tmp_path / f"IXI-T2/{mask}{suffix}"


def test_a_session_without_t2_or_with_two_is_a_failure_beside_the_others(tmp_path):
    put(tmp_path, "IXI002-Guys-0828-T2.nii.gz", "IXI002-Guys-0828-T2.nii", "IXI012-HH-1211-T1.nii.gz")
    put(tmp_path, "IXI013-HH-1212-T2.nii.gz", "IXI-T2/n4_IXI013-HH-1212-T2.nii.gz")
    listing = Ixi().find_cases(tmp_path)
    assert [case.case_id for case in listing.cases] == ["IXI002-Guys-0828"]
    assert listing.cases[0].images["t2"].suffix == ".gz"
    reasons = {failure.case_id: failure.reason for failure in listing.failures}
    assert "expected IXI012-HH-1211-T2.nii.gz, found IXI012-HH-1211-T1.nii.gz" in reasons["IXI012-HH-1211"]
    assert "IXI013-HH-1212-T2.nii.gz and IXI-T2/n4_IXI013-HH-1212-T2.nii.gz" in reasons["IXI013-HH-1212"].replace(
        "\\", "/"
    )


def test_a_folder_without_scans_says_what_is_expected(tmp_path):
    put(tmp_path, "sub-01_T2w.nii.gz")
    with pytest.raises(LayoutError, match=r"expected IXI\.\.\.-T2.*give the folder"):
        Ixi().find_cases(tmp_path)


def test_the_real_folder(shared_data):
    from semcycle.volume import load_volume

    listing = Ixi().find_cases(shared_data / "healthy" / "ixi002")
    assert listing.failures == []
    (case,) = listing.cases
    assert (case.case_id, case.subject, case.group) == ("IXI002-Guys-0828", "IXI002", "Guys")
    assert sorted(case.images) == ["pd", "t1", "t2"]
    assert load_volume(case.images["t2"]).data.max() > 0
