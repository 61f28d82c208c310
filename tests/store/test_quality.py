import base64
import re
import shutil
from dataclasses import replace
from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from semcycle.errors import Failure, LayoutError, StoreError
from semcycle.files import write_failures
from semcycle.report import store_page
from semcycle.report.store_page import quality_report
from semcycle.store import quality
from semcycle.store.quality import quality_table
from semcycle.store.slice_store import SliceStore, read_record, write_case, write_manifest
from tests.report.test_scores_page import EVIL, read

COLUMNS = [
    *("case", "subject", "group", "slices", "lesion_free_slices", "brain_ml", "lesion_ml", "gm_ml", "wm_ml", "csf_ml"),
    *("gm", "wm", "csf", "unexplained", "t2_gm", "t2_wm", "t2_csf"),
    *("intensity_median", "intensity_p5", "intensity_p95", "intensity_p99.8"),
    *("clipped", "components", "symmetry", "flags"),
]


def change(store, folder, case_id="h1", drop=(), record=None, **arrays):
    """Copy a store with one case changed (its arrays by functions of the old ones) and others dropped."""
    shutil.copytree(store.folder, folder)
    case = store.load(case_id)
    made = {name: function(np.array(getattr(case, name))) for name, function in arrays.items()}
    write_case(folder, replace(case, record=replace(case.record, **(record or {})), **made))
    kept = [name for name in store.case_ids if name not in drop]
    write_manifest(folder, store.settings, [read_record(folder / f"{name}.safetensors") for name in kept], "0")
    return SliceStore(folder)


def pictures(path):
    return re.findall(r'src="data:image/jpeg;base64,([^"]+)"', path.read_text(encoding="utf-8"))


def test_table_holds_what_the_arrays_say(ball_store):
    table = quality_table(ball_store)
    assert list(table.columns) == COLUMNS
    assert list(table["case"]) == ball_store.case_ids
    row = table.set_index("case").loc["l0"]
    case = ball_store.load("l0")
    inside = case.image[case.brain > 0].astype(float)
    assert row["intensity_median"] == pytest.approx(np.median(inside))
    assert row["intensity_p99.8"] == pytest.approx(np.percentile(inside, 99.8), abs=1e-3)
    assert row["clipped"] == pytest.approx((inside == 1).mean())
    assert row["gm"] == case.record.tissue["gm"]
    assert row["lesion_ml"] == case.record.lesion_ml > 0
    assert row["components"] == 1
    assert row["symmetry"] > 0.97
    # 7 mm pixels, slices 6 mm apart; the balls are nothing but GM, WM and CSF
    assert row["gm_ml"] == pytest.approx(case.tissue[:, 0].sum() / 255 * 7 * 7 * 6 / 1000)
    whole = table[table["case"].str.startswith("h")]
    assert whole[["gm_ml", "wm_ml", "csf_ml"]].sum(axis=1).to_numpy() == pytest.approx(
        whole["brain_ml"].to_numpy(), rel=0.02
    )


def test_an_odd_case_is_flagged_and_the_others_are_not(ball_store, tmp_path):
    before = quality_table(ball_store).set_index("case")["flags"]
    record = {"brain_ml": 412.0, "flags": ["a flag; of two parts"]}
    store = change(ball_store, tmp_path / "s", record=record, image=lambda image: image * np.float16(0.4))
    flags = quality_table(store).set_index("case")["flags"]
    assert flags["h1"].startswith("a flag; of two parts; ")
    assert "brain of 412 ml (plausible: 900-2200)" in flags["h1"]
    assert "median intensity" in flags["h1"]
    others = [name for name in store.case_ids if name != "h1"]
    assert list(flags[others]) == list(before[others])
    page = read(quality_report(store, tmp_path))
    text = " ".join(page.text)
    assert "a flag; of two parts" in page.text
    assert "(out of range)" in text
    heads = [words for words in page.text if words in store.case_ids]
    assert heads[0] == "h1"  # flagged cases come first


def test_few_cases_have_no_outliers(ball_store, tmp_path):
    drop = ("h2", "h3")
    store = change(ball_store, tmp_path / "s", drop=drop, image=lambda image: image * np.float16(0.4))
    assert "intensity" not in " ".join(quality_table(store)["flags"])
    assert "too few cases" in " ".join(read(quality_report(store, tmp_path)).text)


def test_nearly_equal_figures_have_no_outliers():
    values = np.array([0.35, 0.35, 0.35, 0.35, 0.35, 0.352, np.nan])
    middle, z = quality._robust_z(values, 0.01, relative=False)
    assert middle == 0.35
    assert np.nanmax(np.abs(z)) < 1
    assert np.isnan(z[-1])


def test_pieces_and_asymmetry_of_a_mask():
    brain = np.zeros((3, 20, 20), bool)
    brain[:, 4:16, 3:13] = True  # off the window's middle, yet symmetric about its own
    assert quality._symmetry(brain) == 1
    brain[:, 4:10, 8:13] = False
    assert quality._symmetry(brain) < 0.9
    brain[:] = False
    brain[:, :, 0] = True
    assert quality._symmetry(brain) == 1


def test_page_shows_every_case_and_loads_nothing(ball_store, tmp_path):
    path = quality_report(ball_store, tmp_path)
    assert path == tmp_path / "quality" / "index.html"
    page = read(path)
    source = re.sub(r"base64,[^\"]+", "", path.read_text(encoding="utf-8"))
    assert not re.search(r"https?://|url\(|@import|fetch\(|XMLHttpRequest", source)
    for tag, attributes in page.tags:
        assert tag not in {"link", "iframe", "object", "embed", "base", "a"} or attributes["href"].startswith("#")
        assert attributes.get("src", "data:").startswith("data:")
        assert tag != "img" or attributes["alt"]
    anchors = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    assert {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"} <= anchors
    text = " ".join(page.text)
    assert all(case_id in text for case_id in ball_store.case_ids)
    assert "6 cases" in text
    drawn = pictures(path)
    assert len(drawn) == 6
    picture = imread(BytesIO(base64.b64decode(drawn[-1])), format="jpg").astype(int)
    assert picture.shape[1] > 900
    red, green, blue = picture[..., 0], picture[..., 1], picture[..., 2]
    assert ((red > 180) & (green > 120) & (blue < 120)).any()  # brain outline
    assert ((blue > 150) & (red < 100)).any()  # CSF


def test_csv_is_the_table(ball_store, tmp_path):
    quality_report(ball_store, tmp_path)
    table = pd.read_csv(tmp_path / "quality" / "quality.csv", keep_default_na=False)
    assert list(table.columns) == COLUMNS
    pd.testing.assert_frame_equal(table, quality_table(ball_store), atol=1e-5, check_dtype=False)


def test_the_same_store_gives_the_same_bytes(ball_store, tmp_path):
    moved = change(ball_store, tmp_path / "moved")
    first = quality_report(SliceStore(ball_store.folder), tmp_path / "a")
    second = quality_report(SliceStore(ball_store.folder), tmp_path / "b")
    assert first.read_bytes() == second.read_bytes() == quality_report(moved, tmp_path / "c").read_bytes()
    assert (first.parent / "quality.csv").read_bytes() == (second.parent / "quality.csv").read_bytes()


def test_failed_cases_stand_first(ball_store, tmp_path):
    store = change(ball_store, tmp_path / "s")
    write_failures(store.folder / "failures.csv", [Failure("broken_07", f"scan.nii: got, {EVIL}")])
    page = read(quality_report(store, tmp_path))
    text = " ".join(page.text)
    assert "1 failed" in text
    assert text.index("broken_07") < text.rindex("What was prepared")  # its heading; the first is the link to it
    assert EVIL in text
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    (store.folder / "failures.csv").write_text("nothing\n1\n")
    with pytest.raises(LayoutError, match=r"failures\.csv.*run the command again"):
        quality_report(store, tmp_path)


def test_a_large_store_is_drawn_in_part(ball_store, tmp_path, monkeypatch):
    monkeypatch.setattr(store_page, "ALL_DRAWN", 5)
    monkeypatch.setattr(store_page, "FIRST_DRAWN", 2)
    store = change(ball_store, tmp_path / "s", case_id="l1", record={"brain_ml": 100.0})
    path = quality_report(store, tmp_path)
    flagged = int((quality_table(store)["flags"] != "").sum())
    others = 6 - flagged
    assert len(pictures(path)) == flagged + min(2, others)
    assert f"The {others - 2} that are not drawn" in " ".join(read(path).text)


def test_a_store_without_maps_has_no_tissue(ball_store, tmp_path):
    store = change(ball_store, tmp_path / "s")
    for case_id in store.case_ids:
        case = store.load(case_id)
        write_case(store.folder, replace(case, record=replace(case.record, tissue={}, flags=[]), tissue=None))
    records = [read_record(store.folder / f"{case_id}.safetensors") for case_id in store.case_ids]
    write_manifest(store.folder, store.settings, records, "0")
    store = SliceStore(store.folder)
    table = quality_table(store)
    assert table[["gm", "gm_ml", "t2_gm"]].isna().all(axis=None)
    assert "Tissue outside lesions" not in " ".join(read(quality_report(store, tmp_path)).text)


def test_a_case_without_brain_is_named(ball_store, tmp_path):
    store = change(ball_store, tmp_path / "s", brain=np.zeros_like)
    with pytest.raises(StoreError, match="h1: expected brain"):
        quality_table(store)
