import pandas as pd
import pytest

from semcycle.errors import Failure
from semcycle.files import read_failures, write_failures
from semcycle.prediction.records import join_records, read_summary, write_record
from semcycle.spreadsheet import defuse_cell, defuse_frame, restore_cell, restore_frame

FORMULAS = ["=cmd|'/c calc'!A0", "@SUM(1)", "-1+2", "+1", "\t=1", "\r=1", " =1", "＝1", "'=1", "''-x"]


@pytest.mark.parametrize("text", FORMULAS)
def test_formulas_are_text_and_come_back(text):
    assert defuse_cell(text) == f"'{text}"
    assert restore_cell(defuse_cell(text)) == text


@pytest.mark.parametrize("value", ["a=1", "it's", "'quoted'", "001", "", -1.5, None])
def test_other_cells_stay(value):
    assert defuse_cell(value) == value
    assert restore_cell(value) == value


def test_a_table_is_defused_in_cells_headings_and_row_names():
    frame = pd.DataFrame({"=a": ["@b", "c"], "n": [-1.0, 2.0]}, index=["+d", "e"])
    text = defuse_frame(frame).to_csv()
    assert text == ",'=a,n\n'+d,'@b,-1.0\ne,c,2.0\n"
    pd.testing.assert_frame_equal(restore_frame(defuse_frame(frame)), frame)


def test_failures_hold_no_formula_and_no_folder(tmp_path):
    scan = tmp_path / "Smith, John (1960)" / "=x.nii.gz"
    reason = f"{scan}: expected a mask on the grid of {scan}, got none in {scan.parent}; see /home/Ann Lee/y.nii.gz"
    write_failures(tmp_path / "failures.csv", [Failure("=x", reason, (scan,))])
    text = (tmp_path / "failures.csv").read_text()
    for part in ("Smith", "1960", str(tmp_path), "Ann", "home"):
        assert part not in text
    assert "\n'=x," in text
    (failure,) = read_failures(tmp_path / "failures.csv")
    assert failure.case_id == "=x"
    assert failure.reason.startswith(
        "=x.nii.gz: expected a mask on the grid of =x.nii.gz, got none in its folder; see y"
    )


def test_a_summary_keeps_the_names_of_scans(tmp_path):
    names = ["001", "=1+1", "NA"]
    for name in names:
        write_record(tmp_path, {"model": {}}, {"name": name, "files": [], "flags": ["-1 is low"], "brain_ml": 1.0})
    join_records(tmp_path)
    table = read_summary(tmp_path)
    assert sorted(table["scan"]) == sorted(names)
    assert set(table["flags"]) == {"-1 is low"}
    assert "\n=" not in (tmp_path / "summary.csv").read_text()
