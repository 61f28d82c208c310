import pickle

import numpy as np
import pytest

from semcycle.errors import TissueError
from semcycle.tissue.maps import ImportedMaps
from semcycle.volume import load_volume
from tests.conftest import ball_brain, make_scan, write_case

NAMES = {
    "fmriprep": {"gm": "{}_label-GM_probseg", "wm": "{}_label-WM_probseg", "csf": "{}_label-CSF_probseg"},
    "t2 space": {"gm": "{}_space-T2w_label-GM_probseg", "wm": "{}_label-WM_probseg", "csf": "{}_label-CSF_probseg"},
    "fast on t2": {"wm": "{}_t2_pve_0", "gm": "{}_t2_pve_1", "csf": "{}_t2_pve_2"},
    "fast on t1": {"csf": "{}_t1_pve_0", "gm": "{}_t1_pve_1", "wm": "{}_t1_pve_2"},
    "atropos": {"csf": "{}_Posteriors1", "wm": "{}_Posteriors2", "gm": "{}_Posteriors3"},
    "atropos, two digits": {"gm": "{}Posteriors01", "wm": "{}Posteriors02", "csf": "{}Posteriors03"},
    "cortical thickness, three priors": {
        "csf": "{}_BrainSegmentationPosteriors1",
        "gm": "{}_BrainSegmentationPosteriors2",
        "wm": "{}_BrainSegmentationPosteriors3",
    },
}


@pytest.fixture
def ball(tmp_path):
    case = write_case(tmp_path / "cohort", "a")
    return case, load_volume(case.images["t2"])


@pytest.fixture
def write_maps(tmp_path, ball):
    """Writes maps under these names, side by side or in the case's folder; returns the folder for --tissue-dir."""

    def write(names, *, nested, suffix=".nii.gz"):
        folder = tmp_path / "maps"
        for tissue, name in names.items():
            path = (folder / "a" if nested else folder) / f"{name.format('x' if nested else 'a')}{suffix}"
            make_scan(path, ball_brain()[tissue], ball[1].affine)
        return folder

    return write


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "flat"])
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_every_naming_scheme_gives_the_same_maps(ball, write_maps, names, nested):
    case, volume = ball
    folder = write_maps(names, nested=nested, suffix=".nii" if nested else ".nii.gz")
    make_scan(folder / "b_pve_0.nii", np.ones((2, 2, 2)))  # another case's, and what is no map of a tissue
    make_scan((folder / "a" if nested else folder) / "a_t2_pveseg.nii", np.ones((2, 2, 2)))
    provider = pickle.loads(pickle.dumps(ImportedMaps(folder)))
    np.testing.assert_allclose(
        provider.maps(case, volume).data, ImportedMaps().maps(case, volume).data, rtol=0, atol=1e-6
    )
    assert {path.name.split(".")[0] for path in provider.files(case)} == {
        name.format("x" if nested else "a") for name in names.values()
    }


def test_bright_lesion_does_not_swap_classes(ball, write_maps):
    case, volume = ball
    folder = write_maps(NAMES["fast on t2"], nested=True)
    bright = volume.data.copy()
    lesion = np.zeros(volume.shape, bool)
    lesion[12:20, 14:22, 8:12] = True  # in the white matter
    bright[lesion] = 20000
    scan = load_volume(make_scan(folder / "scan.nii", bright, volume.affine))
    expected = ImportedMaps().maps(case, volume).data
    healthy = ImportedMaps(folder).maps(case, scan, np.ones(volume.shape, bool), lesion)
    np.testing.assert_allclose(healthy.data, expected, atol=1e-6)


def test_six_classes_of_cortical_thickness_are_summed(ball, tmp_path):
    case, volume = ball
    arrays = ball_brain()
    left = np.arange(volume.shape[0])[:, None, None] < volume.shape[0] // 2
    front = np.arange(volume.shape[1])[None, :, None] < volume.shape[1] // 2
    parts = {
        1: arrays["csf"],
        2: arrays["gm"] & left,
        3: arrays["wm"] & left,
        4: arrays["gm"] & ~left & front,
        5: arrays["wm"] & ~left,
        6: arrays["gm"] & ~left & ~front,
    }
    for number, part in parts.items():
        make_scan(tmp_path / "six" / f"a_BrainSegmentationPosteriors{number}.nii.gz", part, volume.affine)
    maps = ImportedMaps(tmp_path / "six").maps(case, volume)
    np.testing.assert_allclose(maps.data, ImportedMaps().maps(case, volume).data, atol=1e-6)


def test_maps_in_a_templates_space_are_passed_over(ball, write_maps):
    case, volume = ball
    folder = write_maps(NAMES["fmriprep"], nested=True)
    for label in ("GM", "WM", "CSF"):
        make_scan(folder / "a" / f"x_space-MNI152NLin2009cAsym_label-{label}_probseg.nii.gz", np.ones((3, 3, 3)))
    assert len(ImportedMaps(folder).files(case)) == 3
    make_scan(folder / "a" / "x_space-T1w_label-WM_probseg.nii.gz", np.ones((3, 3, 3)))
    with pytest.raises(TissueError, match=r"x_label-WM_probseg.nii.gz, x_space-T1w_label-WM_probseg.nii.gz"):
        ImportedMaps(folder).maps(case, volume)


def test_two_schemes_at_once_are_named(ball, write_maps):
    case, _ = ball
    folder = write_maps(NAMES["fast on t1"], nested=False)
    write_maps({"gm": "c1{}", "wm": "c2{}", "csf": "c3{}"}, nested=False)
    with pytest.raises(TissueError, match=r"FAST.*a_t1_pve_0.*SPM.*c1a\.nii\.gz.*remove all but one"):
        ImportedMaps(folder).files(case)


def test_incomplete_and_foreign_classes_are_named(ball, write_maps, tmp_path):
    case, volume = ball
    folder = write_maps({"gm": "{}_pve_1", "wm": "{}_pve_0"}, nested=True)
    with pytest.raises(TissueError, match=r"classes 0, 1, 2 for a \(FAST.*found x_pve_0.nii.gz, x_pve_1.nii.gz"):
        ImportedMaps(folder).maps(case, volume)
    for number in range(4):
        make_scan(folder / "a" / f"x_pve_{number}.nii.gz", ball_brain()["gm"], volume.affine)
    with pytest.raises(TissueError, match=r"x_pve_3.nii.gz; add what is missing, or segment with these classes"):
        ImportedMaps(folder).maps(case, volume)
    (tmp_path / "nothing").mkdir()
    with pytest.raises(TissueError, match=r"one GM map c1a\*.nii\[.gz\] for a, found none; the names of fMRIPrep"):
        ImportedMaps(tmp_path / "nothing").maps(case, volume)
