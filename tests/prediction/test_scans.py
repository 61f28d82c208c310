"""Which files are scans, what their outputs are called, and which mask is whose."""

import os

import nibabel as nib
import numpy as np
import pytest

from semcycle.errors import VolumeError
from semcycle.prediction.folder import predict_files
from semcycle.prediction.records import read_record
from semcycle.prediction.scans import find_mask, find_scans
from semcycle.training.checkpoint import load_checkpoint
from semcycle.volume import image_files
from tests.conftest import ball_brain
from tests.prediction.test_folder import OLD


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(root, pattern="*"):
    """Name -> path below the root."""
    return {name: file.relative_to(root).as_posix() for name, file in find_scans(root, pattern).items()}


def test_a_bids_dataset_gives_its_t2_scans(tmp_path):
    for name in (
        "sub-1/anat/sub-1_T2w.nii.gz",
        "sub-1/anat/sub-1_T1w.nii.gz",
        "derivatives/x/sub-1/anat/sub-1_T2w.nii.gz",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dataset_description.json").write_text("{}")
    assert list(find_scans(tmp_path)) == ["sub-1_T2w"]
    assert len(find_scans(tmp_path, "*_T1w*")) == 1


def test_finding_scans(tmp_path):
    for name in ("a/x_t2.nii.gz", "b/x_t2.nii.gz", "b/x_t1.nii.gz", "b/x_t2_anomaly.nii.gz", "b/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_scans(tmp_path, "*_t2.nii.gz")) == ["a_x_t2", "b_x_t2"]
    assert list(find_scans(tmp_path / "b")) == ["x_t1", "x_t2"]
    assert list(find_scans(tmp_path / "a" / "x_t2.nii.gz")) == ["x_t2"]
    with pytest.raises(VolumeError, match="found none"):
        find_scans(tmp_path / "a", "*.mgz")
    with pytest.raises(VolumeError, match="found none"):
        find_scans(tmp_path / "nowhere")


def test_scans_of_one_name_are_all_taken(tmp_path):
    flat = touch(tmp_path / "flat", "x.nii", "x.nii.gz", "X.mgz", "y.nii.gz")
    assert listed(flat) == {"x.nii": "x.nii", "x.nii.gz": "x.nii.gz", "X.mgz": "X.mgz", "y": "y.nii.gz"}
    deep = touch(tmp_path / "deep", "P1/S1/T2.nii.gz", "P1_S1/T2.nii.gz", "P2/T2.nii")
    assert listed(deep) == {
        "P1__S1__T2.nii.gz": "P1/S1/T2.nii.gz",
        "P1_S1__T2.nii.gz": "P1_S1/T2.nii.gz",
        "P2_T2": "P2/T2.nii",
    }
    worse = touch(tmp_path / "worse", "a_/b/T2.nii", "a/_b/T2.nii")
    with pytest.raises(VolumeError, match=r"told apart, got .*T2\.nii as well; rename"):
        find_scans(worse)


def test_a_pair_of_header_and_voxels_is_one_scan(tmp_path):
    touch(tmp_path, "x.hdr", "x.img", "Y.HDR", "Y.IMG", "alone.hdr", "z.nii", "z.mat")
    assert listed(tmp_path) == {"x": "x.img", "Y": "Y.IMG", "alone": "alone.hdr", "z": "z.nii"}
    assert listed(tmp_path, "*.hdr") == {"x": "x.hdr", "alone": "alone.hdr"}
    assert [file.name for file in image_files(tmp_path / "x.hdr")] == ["x.hdr", "x.img"]
    assert [file.name for file in image_files(tmp_path / "z.nii")] == ["z.nii"]


def test_links_to_folders_are_followed_once_and_hidden_folders_left_out(tmp_path):
    real = touch(tmp_path / "real", "sub-01/T2.nii.gz")
    root = touch(tmp_path / "root", "sub-02/T2.nii.gz", ".git/annex/objects/k/MD5E-s1--ab.nii.gz", ".hidden.nii.gz")
    (root / "sub-01").symlink_to(real / "sub-01")
    (root / "again").symlink_to(root / "sub-02")
    (root / "loop").symlink_to(root)
    (root / "annexed.nii.gz").symlink_to(root / ".git/annex/objects/k/MD5E-s1--ab.nii.gz")
    assert sorted(listed(root).values()) == ["annexed.nii.gz", "sub-01/T2.nii.gz", "sub-02/T2.nii.gz"]


def test_what_cannot_be_read_fails_by_name(tmp_path, monkeypatch):
    root = touch(tmp_path / "in", "closed/T2.nii.gz")
    (root / "annexed_T2.nii.gz").symlink_to("/nowhere/key.nii.gz")
    plain = type(root).iterdir

    def iterdir(folder):
        if folder.name == "closed":
            raise PermissionError
        return plain(folder)

    monkeypatch.setattr(type(root), "iterdir", iterdir)
    failures = predict_files(find_scans(root), load_checkpoint(OLD / "model"), tmp_path / "out")
    reasons = {failure.case_id: failure.reason for failure in failures}
    assert reasons.keys() == {"annexed_T2", "closed"}
    assert "a link to a file that is not here; fetch its content" in reasons["annexed_T2"]
    assert "none that can be read" in reasons["closed"]


def test_only_raw_magnitude_images_of_a_bids_dataset_are_scans(tmp_path):
    root = touch(
        tmp_path / "ds",
        "dataset_description.json",
        "sub-01/anat/sub-01_T2w.nii.gz",
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/anat/sub-01_FLAIR.nii.gz",
        "sourcedata/raw/sub-01/anat/sub-01_T2w.nii.gz",
        "code/example_T2w.nii.gz",
        "sub-02/anat/sub-02_part-mag_T2w.nii.gz",
        "sub-02/anat/sub-02_part-phase_T2w.nii.gz",
        "sub-02/ses-1/anat/sub-02_ses-1_part-real_T2w.nii.gz",
        "extra/x.nii.gz",
    )
    assert list(find_scans(root)) == ["sub-01_T2w", "sub-02_part-mag_T2w"]
    assert list(find_scans(root, "*_part-phase_*")) == ["sub-02_part-phase_T2w"]
    assert list(find_scans(root / "sub-01")) == ["sub-01_T2w"]
    assert list(find_scans(root / "sub-01/anat")) == ["sub-01_T2w"]
    assert list(find_scans(root / "extra")) == ["x"]
    assert list(find_scans(root, "anat/*_T1w.nii.gz")) == ["sub-01_T1w"]


def test_names_that_are_no_utf8_become_text(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"a\xfc.nii.gz")).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    (name,) = find_scans(tmp_path)
    assert name == "a_xFC"
    (failure,) = predict_files(find_scans(tmp_path), load_checkpoint(OLD / "model"), tmp_path / "out")
    assert "a_xFC" in (tmp_path / "out/failures.csv").read_text(encoding="utf-8")
    assert failure.reason.encode()


@pytest.mark.parametrize(
    ("files", "name"),
    [
        (["pat1_mask.nii.gz", "pat10_mask.nii.gz", "pat1_2_mask.nii.gz"], "pat1_mask.nii.gz"),
        (["pat1.nii.gz", "pat1a.nii.gz"], "pat1.nii.gz"),
        (["pat1_T2_Brain-Mask.nii"], "pat1_T2_Brain-Mask.nii"),
        (["pat1_bet.nii.gz", "pat1_bet_mask.nii.gz"], "pat1_bet_mask.nii.gz"),
        (["pat1_mask.hdr", "pat1_mask.img"], "pat1_mask.img"),
        (["pat10_mask.nii.gz", "pat1_2_mask.nii.gz", "pat1b_mask.nii.gz", "pat1_anomaly.nii.gz"], None),
        (["pat1_mask.nii.gz", "pat1_brain_mask.nii.gz"], None),
        (["pat1_mask.nii.gz", "pat1_mask.nii"], None),
        (["xpat1_mask.nii.gz", "pat1mask.nii.gz"], None),
    ],
)
def test_a_mask_is_that_of_one_scan(tmp_path, files, name):
    place, scan = touch(tmp_path / "masks", *files), tmp_path / "pat1.nii.gz"
    if name:
        assert find_mask(place, "pat1", scan).name == name
        return
    with pytest.raises(VolumeError, match=r"expected one brain mask pat1\*.*such as pat1_mask.nii.gz, found"):
        find_mask(place, "pat1", scan)


def test_scans_of_one_file_name_need_masks_of_their_outputs_names(tmp_path):
    scans = find_scans(touch(tmp_path / "scans", "P1/T2.nii.gz", "P2/T2.nii.gz"))
    place = touch(tmp_path / "masks", "T2_mask.nii.gz", "P2_T2_mask.nii.gz")
    assert find_mask(place, "P2_T2", scans["P2_T2"]).name == "P2_T2_mask.nii.gz"
    with pytest.raises(VolumeError, match="found none"):
        find_mask(place, "P1_T2", scans["P1_T2"])


@pytest.mark.parametrize(("given", "other"), [("x.img", "x.hdr"), ("x.hdr", "x.img")])
def test_a_pair_is_done_again_when_either_file_changed(tmp_path, given, other):
    model = load_checkpoint(OLD / "model")
    data = ball_brain(seed=10)["t2"]
    affine = np.diag([6.0, 6.0, 6.0, 1.0])

    def predict():
        assert predict_files({"x": tmp_path / given}, model, tmp_path / "out") == []
        return read_record(tmp_path / "out", "x", {})["content"]

    nib.save(nib.Nifti1Pair(data, affine), tmp_path / "x.img")
    first = predict()
    assert predict() == first
    content = (tmp_path / given).read_bytes()
    moved = affine.copy()
    if other == "x.hdr":
        moved[:3, 3] = 50
    else:
        data = np.where(data > 700, data * 1.5, data)
    nib.save(nib.Nifti1Pair(data.astype(np.float32), moved), tmp_path / "x.img")
    assert (tmp_path / given).read_bytes() == content  # only the other file is another one
    assert predict() != first
    image = nib.load(tmp_path / "out/x_anomaly.nii.gz")
    np.testing.assert_allclose(image.affine, moved)


def test_links_to_folders_that_are_not_here_fail_by_name(tmp_path):
    root = touch(tmp_path / "scans", "a/T2.nii.gz")
    for name in ("b", "README", "notes.txt"):
        (root / name).symlink_to(tmp_path / "nowhere")
    assert listed(root) == {"T2": "a/T2.nii.gz", "b": "b"}


def test_a_path_that_is_not_there_is_said_to_be_that(tmp_path):
    with pytest.raises(VolumeError, match=r"a_t2.nii.gz: expected a scan .*, found none: no such file"):
        find_scans(tmp_path / "a_t2.nii.gz")
