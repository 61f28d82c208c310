"""Pasted stores: ordinary slice stores with a target, made alike by any number of processes."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from semcycle.cli import app
from semcycle.errors import StoreError
from semcycle.store.paste import PasteSettings, paste_stores
from semcycle.store.slice_store import CaseRecord, CaseSlices, SliceStore, voxel_size, write_case, write_manifest


@pytest.fixture
def store(tmp_path: Path) -> SliceStore:
    rng = np.random.default_rng(0)
    brain = np.zeros((20, 48, 48), bool)
    brain[1:19, 6:42, 8:40] = True
    lesion = np.zeros_like(brain)
    lesion[8:11, 10:16, 12:18] = True
    grid = {"affine": np.diag([1.0, 1, 4, 1]).tolist(), "pixel_mm": 3.0}
    records = []
    for name in ("a", "b"):
        image = np.where(brain, 0.25 + 0.03 * rng.standard_normal(brain.shape), 0)
        record = CaseRecord(name, f"subject-{name}", "all", 20, 17, 100.0, 1.0, preprocess={"grid": grid})
        case = CaseSlices(
            record,
            image.astype(np.float16),
            brain.astype(np.uint8),
            lesion.astype(np.uint8),
            np.arange(5, 25, dtype=np.int32),
            lesion.sum(axis=(1, 2)).astype(np.int32),
        )
        write_case(tmp_path / "store", case)
        records.append(record)
    write_manifest(
        tmp_path / "store", {"cohort": "made", "preprocess": {"size": 48, "slices": None}, "tissue": {}}, records, "0"
    )
    return SliceStore(tmp_path / "store")


def test_copies_are_cases_of_their_subject(store: SliceStore, tmp_path: Path) -> None:
    made = paste_stores([store], tmp_path / "pasted", PasteSettings(copies=3))
    assert made.case_ids == ["a_p1", "a_p2", "a_p3", "b_p1", "b_p2", "b_p3"]
    assert {made.subject(case) for case in made.case_ids} == {"subject-a", "subject-b"}
    distances = set()
    for case_id in made.case_ids:
        case = made.load(case_id)
        assert case.anomaly is not None
        assert case.height is not None
        assert case.anomaly.shape == case.image.shape == case.brain.shape
        assert len(case.height) == len(case.image) == len(case.slice_index)
        assert not (np.asarray(case.anomaly)[np.asarray(case.lesion) > 0]).any()
        distance = voxel_size(case.record)[0]
        assert np.diff(case.slice_index).tolist() == [round(distance / 4)] * (len(case.image) - 1)
        distances.add(distance)
    assert distances == {4.0}  # 5 mm is the thickest, and two slices of 4 mm are more


@pytest.mark.slow
def test_two_processes_write_the_same_store(store: SliceStore, tmp_path: Path) -> None:
    one = paste_stores([store], tmp_path / "one", PasteSettings(copies=2, seed=4))
    two = paste_stores([store], tmp_path / "two", PasteSettings(copies=2, seed=4), workers=2)
    assert one.hash == two.hash
    other = paste_stores([store], tmp_path / "other", PasteSettings(copies=2, seed=5))
    assert other.hash != one.hash
    # a run that was killed at its very end can be run again, into its own folder alone
    assert paste_stores([store], tmp_path / "one", PasteSettings(copies=2, seed=4)).hash == one.hash
    for settings, cases in ((PasteSettings(copies=2, seed=5), None), (PasteSettings(copies=2, seed=4), ["a"])):
        with pytest.raises(StoreError, match="empty folder"):
            paste_stores([store], tmp_path / "one", settings, cases)
    assert SliceStore(tmp_path / "one").hash == one.hash


def test_a_folder_in_use_and_an_unknown_case_are_refused(store: SliceStore, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="'nobody'"):
        paste_stores([store], tmp_path / "new", PasteSettings(), cases=["nobody"])
    with pytest.raises(StoreError, match="empty folder"):
        paste_stores([store], store.folder, PasteSettings())


def test_the_command_line_says_what_is_drawn_how_often(store: SliceStore, tmp_path: Path) -> None:
    runner, out = CliRunner(), tmp_path / "spots"
    words = ["paste", str(store.folder), "--copies", "3", "--set", "kinds=spots:2,dark:0", "--set", "healthy=0"]
    assert runner.invoke(app, [*words, "--set", "rim=1", "--out", str(out)]).exit_code == 0
    pasted = SliceStore(out)
    assert pasted.settings["paste"]["drawing"]["kinds"] == {"spots": 2.0, "dark": 0.0}
    assert all((pasted.load(case).anomaly == 1).any() for case in pasted.case_ids)
    for wrong in (
        "kinds=",
        "kinds=spots",
        "kinds=spots:-1,dark:2",
        "kinds=spots:0",
        "kinds=spots:nan",
        "kinds=blobs:1",
    ):
        made = runner.invoke(
            app, ["paste", str(store.folder), "--set", f"kinds={wrong}", "--out", str(tmp_path / "wrong")]
        )
        assert made.exit_code in (1, 2), wrong
        assert "Traceback" not in made.output
        assert not (tmp_path / "wrong").exists()
