import json

import nibabel as nib
import numpy as np
import pytest

from semcycle.errors import StoreError
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.studies.cohort_store import open_store
from semcycle.tissue import tissue_provider
from tests.conftest import ball_brain, semcycle

SETTINGS = PreprocessSettings(size=32, pixel_mm=7.5, intensity_scope="volume")


def write_brats(root, case_id="Brats18_TCIA01_101_1"):
    """A BraTS folder with one case, and a folder of its tissue maps."""
    arrays = ball_brain((32, 36, 75))
    for name, end in {"t2": "t2", "lesion": "seg", "gm": "c1", "wm": "c2", "csf": "c3"}.items():
        file = f"{case_id}_{end}" if name in ("t2", "lesion") else f"{end}{case_id}"
        folder = root / ("maps" if name in ("gm", "wm", "csf") else "brats/HGG") / case_id
        folder.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(arrays[name].astype(np.float32), np.diag([6, 6, 2, 1.0]))
        nib.save(image, folder / f"{file}.nii.gz")
    return root / "brats", root / "maps"


def test_a_cohort_is_prepared_with_its_window_and_a_store_is_opened(tmp_path):
    brats, maps = write_brats(tmp_path)
    store = open_store(brats, "brats", tmp_path / "store", SETTINGS, tissue_provider("maps", maps))
    assert store.preprocess == SETTINGS.model_copy(update={"slices": (20, 130)})
    assert store.has_tissue
    assert open_store(tmp_path / "store", "ixi", tmp_path / "unused", PreprocessSettings(), None).hash == store.hash
    assert not (tmp_path / "unused").exists()


def test_a_folder_of_which_no_case_can_be_used_is_an_error(tmp_path):
    brats, _ = write_brats(tmp_path)
    (tmp_path / "none").mkdir()
    with pytest.raises(StoreError, match="expected at least one usable case"):
        open_store(brats, "brats", tmp_path / "store", SETTINGS, tissue_provider("maps", tmp_path / "none"))


def test_imported_maps_of_brats_leave_the_second_set_without(tmp_path, monkeypatch):
    brats, maps = write_brats(tmp_path / "first")
    second, _ = write_brats(tmp_path / "second", "Brats18_TCIA02_102_1")
    opened = []
    monkeypatch.setattr("semcycle.studies.paper.run_paper", lambda *words: opened.append(words[:2]) or "page")
    words = ["paper", "--brats", brats, "--isles", second, "--second", "brats", "--out", tmp_path / "out"]
    words += ["--tissue", "maps", "--tissue-dir", maps, "--set", "size=32", "--set", "pixel_mm=7.5"]
    semcycle(*words, "--set", "intensity_scope=volume")
    (stores,) = opened
    assert [store.has_tissue for store in stores] == [True, False]
    assert {store.preprocess.intensity for store in stores} == {"percentile"}
    assert {store.preprocess.intensity_scope for store in stores} == {"volume"}
    settings = json.loads((tmp_path / "out/stores/second/settings.json").read_text())
    assert settings["tissue"] == {"provider": "none"}
