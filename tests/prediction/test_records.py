"""Records of a folder: jobs that share it, kills in the middle, damage, and folders of older versions."""

import json
import shutil

import pytest

from semcycle.errors import VolumeError
from semcycle.prediction import folder as folder_module
from semcycle.prediction.folder import PredictSettings, predict_files
from semcycle.prediction.records import (
    is_folder_of_predictions,
    join_records,
    read_listed,
    read_record,
    read_summary,
    write_record,
)
from semcycle.training.checkpoint import load_checkpoint
from tests.conftest import ball_brain, make_scan, semcycle
from tests.prediction.test_folder import OLD, SETTINGS


@pytest.fixture(scope="module")
def model():
    return load_checkpoint(OLD / "model")


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    root = tmp_path_factory.mktemp("scans")
    return {name: make_scan(root / f"{name}.nii.gz", ball_brain(seed=seed)["t2"]) for seed, name in enumerate("abcd")}


def names(out):
    """Scans of ``run.json`` and of ``summary.csv``, which must be the same."""
    listed = [scan["name"] for scan in json.loads((out / "run.json").read_text())["scans"]]
    assert listed == list(read_summary(out)["scan"])
    return listed


def test_a_scan_costs_the_same_however_many_are_done(model, scans, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(folder_module, "join_records", lambda out: calls.append("join") or join_records(out))
    monkeypatch.setattr(folder_module, "read_listed", lambda out: calls.append("list") or read_listed(out))
    assert predict_files(scans, model, tmp_path, SETTINGS) == []
    assert calls == ["list", "join"]
    assert names(tmp_path) == list("abcd")


def test_two_jobs_share_a_folder(model, scans, tmp_path):
    halves = [{name: scans[name] for name in half} for half in ("ac", "bd")]

    def other_job(prediction, out, name, record):
        if name == "a":
            assert predict_files(halves[1], model, out, SETTINGS) == []
            assert names(out) == ["b", "d"]
        return []

    assert predict_files(halves[0], model, tmp_path, SETTINGS, draw=other_job) == []
    assert names(tmp_path) == list("abcd")


def test_a_scan_that_finishes_while_the_tables_are_written_is_in_them(model, scans, tmp_path, monkeypatch):
    predict_files({"a": scans["a"]}, model, tmp_path, SETTINGS)
    record = json.loads((tmp_path / "a_record.json").read_text())
    late = {**record["scan"], "name": "b"}

    def write_summary(path, finished):
        if not (tmp_path / "b_record.json").is_file():
            write_record(tmp_path, record["run"], late)
        plain(path, finished)

    plain = join_records.__globals__["_write_summary"]
    monkeypatch.setitem(join_records.__globals__, "_write_summary", write_summary)
    join_records(tmp_path)
    assert names(tmp_path) == ["a", "b"]


def test_a_killed_folder_gets_its_tables_on_demand(model, scans, tmp_path, capsys):
    predict_files({name: scans[name] for name in "ab"}, model, tmp_path, SETTINGS)
    expected = (tmp_path / "run.json").read_bytes(), (tmp_path / "summary.csv").read_bytes()
    for file in ("run.json", "summary.csv"):
        (tmp_path / file).unlink()
    (tmp_path / "failures.csv").write_text("case,reason\nbroken [t2],no scan\n")
    semcycle("report", tmp_path)
    assert "index.html" in capsys.readouterr().out
    assert ((tmp_path / "run.json").read_bytes(), (tmp_path / "summary.csv").read_bytes()) == expected
    page = (tmp_path / "index.html").read_text()
    assert "broken [t2]" in page
    assert "a_report.html" not in page  # no page of its own was made


def test_a_scan_killed_while_it_was_done_anew_is_not_taken_for_the_old_one(model, scans, tmp_path):
    only, without = {"a": scans["a"]}, PredictSettings("literal", None)
    predict_files(only, model, tmp_path, SETTINGS)

    def kill(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(only, model, tmp_path, without, draw=kill)
    assert names(tmp_path) == []
    assert read_record(tmp_path, "a", read_listed(tmp_path)) is None
    assert predict_files(only, model, tmp_path, SETTINGS) == []
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "content", ["", "[1]", "{}", '{"scan": 3}', '{"scan": {"name": "a", "files": [7]}}', "[" * 9999]
)
def test_a_damaged_record_is_made_again(model, scans, tmp_path, content):
    only = {"a": scans["a"]}
    predict_files(only, model, tmp_path, SETTINGS)
    for file in ("a_record.json", "run.json"):
        (tmp_path / file).write_text(content)
        join_records(tmp_path)
    assert predict_files(only, model, tmp_path, SETTINGS) == []
    assert names(tmp_path) == ["a"]


def test_old_entries_and_new_records_stand_together(model, scans, tmp_path):
    out = shutil.copytree(OLD / "predictions", tmp_path / "out")
    assert is_folder_of_predictions(out)
    assert read_record(out, "ball", read_listed(out))["brain_ml"] == 1676.2
    assert predict_files({"a": scans["a"]}, model, out, SETTINGS) == []
    assert names(out) == ["a", "ball"]
    (out / "ball_mask.nii.gz").unlink()
    join_records(out)
    assert names(out) == ["a"]


def test_a_record_cannot_have_files_of_others_deleted(model, scans, tmp_path):
    out, only = tmp_path / "out", {"a": scans["a"]}
    predict_files(only, model, out, SETTINGS)
    mine = tmp_path / "mine.txt"
    mine.touch()
    record = json.loads((out / "a_record.json").read_text())
    record["scan"]["files"].append("../mine.txt")
    write_record(out, record["run"], record["scan"])
    predict_files(only, model, out, SETTINGS, overwrite=True)
    assert mine.exists()


@pytest.mark.parametrize("error", [RuntimeError("odd\nheader"), MemoryError(), ValueError("x"), VolumeError("no scan")])
def test_whatever_one_scan_raises_the_others_are_done(model, scans, tmp_path, monkeypatch, error):
    def load(path):
        if path == scans["b"]:
            raise error
        return plain(path)

    plain = folder_module.load_volume
    monkeypatch.setattr(folder_module, "load_volume", load)
    (failure,) = predict_files({name: scans[name] for name in "abc"}, model, tmp_path, SETTINGS)
    assert names(tmp_path) == ["a", "c"]
    assert failure.case_id == "b"
    assert "\n" not in failure.reason
    assert "expected" in failure.reason or failure.reason == "no scan"
    assert len((tmp_path / "failures.csv").read_text().splitlines()) == 2
