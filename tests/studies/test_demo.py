import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from semcycle.cohorts.base import Case
from semcycle.preprocess.pipeline import PreprocessSettings
from semcycle.studies import demo
from semcycle.studies.demo_table import PhantomGroups, compare_methods
from semcycle.training.models import open_model
from semcycle.volume import write_arrays
from tests.conftest import tiny_recipe

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def write_ball(folder, name, spots=(), *, group="tumour", noise=5.0):
    """A grey ball of brain at 4 mm with bright cubes; ``spots`` are corner, side, and whether the mask has them."""
    shape = (40, 44, 36)
    grid = np.stack(np.meshgrid(*[np.linspace(-1, 1, size) for size in shape], indexing="ij"))
    brain = (grid**2).sum(0) < 0.9
    image = np.where(brain, 500 + noise * np.random.default_rng(0).normal(size=shape), 0).astype(np.float32)
    truth = np.zeros(shape, bool)
    for corner, side, true in spots:
        box = tuple(slice(start, start + side) for start in corner)
        image[box] = 3000
        truth[box] |= true
    paths = [folder / f"{name}_{what}.nii.gz" for what in ("t2", "lesion")]
    write_arrays({paths[0]: image, paths[1]: truth.astype(np.float32)}, AFFINE)
    return Case(name, name, {"t2": paths[0]}, paths[1] if spots else None, None, {}, group)


def test_found_missed_and_false_alarms_are_counted_lesion_by_lesion(tmp_path):
    healthy = write_ball(tmp_path, "h", group="healthy", noise=40)
    first = write_ball(tmp_path, "a", [((12, 14, 12), 5, True), ((24, 24, 20), 5, True), ((12, 26, 20), 5, False)])
    second = write_ball(tmp_path, "b", [((16, 18, 16), 5, True)], group="stroke")
    dim = write_ball(tmp_path, "c", [], group="stroke")
    hidden = replace(dim, lesion=first.lesion)  # a truth that nothing in the scan shows
    model = open_model("intensity")
    done = []
    table = compare_methods({"intensity": model}, PhantomGroups([healthy], [first, second, hidden]), done.append)
    row = table.loc["intensity"]
    assert (row["found"], row["missed"]) == (3, 2)
    assert row["false alarms a scan"] == round(1 / 3, 1)
    assert (row["tumour"], row["stroke"]) == ("2 of 2", "1 of 3")
    assert row["ml called in a healthy brain"] >= 0
    assert done == ["h", "a", "b", "c"]


def test_specks_beside_a_large_lesion_are_neither_missed_nor_found(tmp_path):
    healthy = write_ball(tmp_path, "h", group="healthy", noise=40)
    ill = write_ball(tmp_path, "a", [((12, 14, 12), 9, True), ((26, 26, 20), 1, True)])  # 47 ml and 0.06 ml
    small = write_ball(tmp_path, "b", [((16, 18, 16), 2, True), ((26, 26, 20), 2, True)], group="ms")
    dim = replace(write_ball(tmp_path, "c", group="ms"), lesion=small.lesion)
    two = write_ball(tmp_path, "d", [((12, 14, 12), 9, True), ((26, 26, 20), 2, True)], group="stroke")  # 0.5 ml: 1.1 %
    row = compare_methods({"x": open_model("intensity")}, PhantomGroups([healthy], [ill, dim, two])).loc["x"]
    assert row["tumour"].endswith("of 1")
    assert (row["ms"], row["stroke"].split()[-1]) == ("0 of 2", "2")


@pytest.mark.slow
def test_the_demo_leads_with_what_was_found(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "HEALTHY", 4)
    monkeypatch.setattr(demo, "LESIONS", 3)
    monkeypatch.setattr(demo, "UNSEEN", 1)
    monkeypatch.setattr(demo, "SPACING", 6)
    monkeypatch.setattr(demo, "PREPROCESS", PreprocessSettings(size=32, pixel_mm=7.0, intensity="median"))
    monkeypatch.setattr(demo, "load_recipe", lambda name: tiny_recipe())
    said = []
    outcome = demo.run_demo(tmp_path / "demo", workers=1, say=said.append)
    assert said[0] == f"patients: {tmp_path}/demo/patients/index.html"
    assert [line.split(":")[0].split("_")[1] for line in said[1:]] == ["tumour", "stroke", "ms", "healthy"]
    assert all("ml of lesion drawn, " in line and line.endswith(" ml marked") for line in said[1:4])
    assert "no lesion drawn, " in said[4]
    pages = sorted(path.name for path in (tmp_path / "demo/patients").glob("*_report.html"))
    assert [page.split("_")[1] for page in pages] == ["healthy", "tumour", "stroke", "ms"]
    assert list(outcome.table.index) == [
        "t2-brain (bundled)", "cycle, trained here", "T2 intensity, treated as t2-brain"
    ]  # fmt: skip
    counted = outcome.table[["found", "missed"]].sum(axis=1)
    assert counted.nunique() == 1
    assert counted.iloc[0] >= 3
    written = pd.read_csv(tmp_path / "demo/summary.csv", index_col="method")
    assert list(written["found"]) == list(outcome.table["found"])
    split = json.loads((tmp_path / "demo/split.json").read_text())
    assert "phantom03_healthy" in split["test"]
    assert "phantom03_healthy" not in split["train"]
    text = outcome.scores.read_text()
    assert "a toy: " in text
    assert text.index("lesions found and missed") < text.index('id="scores"')
    again = demo.run_demo(tmp_path / "demo", workers=1)
    pd.testing.assert_frame_equal(again.table, outcome.table)
