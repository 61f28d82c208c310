"""The manifest cohort: a CSV of scans."""

import pytest

from semcycle.cohorts.base import Case
from semcycle.cohorts.manifest import Manifest, write_manifest
from semcycle.errors import LayoutError


def manifest(root, text, *files):
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "manifest.csv").write_text(text)
    return Manifest().find_cases(root)


def test_columns_may_come_in_any_order_case_and_spacing(tmp_path):
    listing = manifest(
        tmp_path,
        "\ufeffT2 , Case,lesion,GROUP,subject\nx/a.nii,a,,patient,\n x/b.nii,b,x/b_les.nii,,bob\n",
        "x/a.nii",
        "x/b.nii",
        "x/b_les.nii",
    )
    assert listing.cases == [
        Case("a", "a", {"t2": tmp_path / "x/a.nii"}, group="patient"),
        Case("b", "bob", {"t2": tmp_path / "x/b.nii"}, tmp_path / "x/b_les.nii"),
    ]


def test_what_is_written_is_read_back(tmp_path):
    root, elsewhere = tmp_path / "root", tmp_path / "elsewhere"
    cases = []
    for name in ("a", "b"):
        paths = {
            what: (root if name == "a" else elsewhere) / name / f"{what}.nii" for what in ("t2", "lesion", "gm", "wm")
        }
        for path in paths.values():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        tissue = {what: paths[what] for what in ("gm", "wm")}
        cases.append(Case(name, f"s{name}", {"t2": paths["t2"]}, paths["lesion"], None, tissue, "g"))
    write_manifest(root, cases)
    assert Manifest().find_cases(root).cases == cases
    assert "a/t2.nii" in (root / "manifest.csv").read_text().splitlines()[1].split(",")


def test_the_csv_itself_may_be_named(tmp_path):
    (tmp_path / "a.nii").touch()
    (tmp_path / "mine.csv").write_text("case,t2\na,a.nii\n")
    assert len(Manifest().find_cases(tmp_path / "mine.csv").cases) == 1


def test_a_missing_file_is_that_rows_failure(tmp_path):
    listing = manifest(tmp_path, "case,t2,lesion\na,a.nii,\nb,a.nii,gone.nii\n", "a.nii")
    assert [case.case_id for case in listing.cases] == ["a"]
    assert "row 3: expected" in listing.failures[0].reason
    assert "gone.nii" in listing.failures[0].reason


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "an empty file"),
        ("case,flare\na,a.nii\n", "unknown columns flare"),
        ("t2\na.nii\n", "expected the columns case and t2"),
        ("case,t2\n,a.nii\n", "row 2: expected a case id"),
        ("case,t2\n../up,a.nii\n", "row 2: expected a case id"),
        ("case,t2\na,a.nii\na,b.nii\n", r"row 3: expected unique case ids.*row 2"),
    ],
)
def test_what_is_wrong_is_said_with_its_row(tmp_path, text, message):
    with pytest.raises(LayoutError, match=message):
        manifest(tmp_path, text, "a.nii")


def test_a_name_that_no_file_system_takes_is_a_failure_of_its_row(tmp_path):
    (tmp_path / "t2.nii").touch()
    (tmp_path / "manifest.csv").write_text(f"case,t2\na,t2.nii\nb,{'x' * 5000}\nc,x\x00y\n")
    listing = Manifest().find_cases(tmp_path)
    assert [case.case_id for case in listing.cases] == ["a"]
    assert [failure.case_id for failure in listing.failures] == ["b", "c"]
