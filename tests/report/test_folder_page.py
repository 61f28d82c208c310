import pytest

from semcycle.errors import SemcycleError
from semcycle.report.folder_page import write_index


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("run.json", "{"),
        ("run.json", "[]"),
        ("run.json", '{"model": NaN}'),
        ("summary.csv", ""),
        ("failures.csv", "x\ny\n"),
    ],
)
def test_damaged_files_of_a_folder_are_named(tmp_path, name, content):
    (tmp_path / "run.json").write_text('{"model": {}, "preset": "literal"}')
    (tmp_path / "summary.csv").write_text("scan,flags\na,\n")
    assert write_index(tmp_path).is_file()
    (tmp_path / name).write_text(content)
    with pytest.raises(SemcycleError, match=name):
        write_index(tmp_path)


def test_a_name_that_no_file_can_have_is_listed_without_a_link(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "summary.csv").write_text(f"scan,flags\n{'x' * 5000},\n")
    assert "xxxxx" in write_index(tmp_path).read_text()


def test_a_number_that_no_float_holds_is_none(tmp_path):
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "summary.csv").write_text(f"scan,lesion_ml,brain_ml\na,{10**400},{-(2**70)}\nb,5,1400\n")
    assert "1400" in write_index(tmp_path).read_text()
