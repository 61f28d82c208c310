"""Prose is wrapped at 120 characters: pages, model cards and generated reference alike."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import wrap_prose

    return wrap_prose


PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.md")])


@pytest.mark.parametrize("name", [page.relative_to(ROOT).as_posix() for page in PAGES])
def test_prose_is_wrapped(name, monkeypatch):
    long = _tool(monkeypatch).long_lines((ROOT / name).read_text(encoding="utf-8"))
    assert not long, f"lines {long} are too long: run `python tools/wrap_prose.py`"


def test_a_long_line_is_found_and_tables_and_code_are_free(monkeypatch):
    text = f"{'a ' * 70}\n| {'b ' * 70}|\n```text\n{'c ' * 70}\n```\n"
    assert _tool(monkeypatch).long_lines(text) == [1]


def test_wrapping_keeps_words_lists_tables_and_code(monkeypatch):
    tool = _tool(monkeypatch)
    code = f"```bash\n{'semcycle info ' * 12}\n```"
    table = f"| {'cell ' * 30}|\n|---|"
    items = f"- {'item ' * 30}\n  tail\n- short\n  1. {'deep ' * 30}"
    text = f"# Head\n\n{'word ' * 40}\nend\n\n{items}\n\n{table}\n\n{code}\n"
    wrapped = tool.wrap(text)
    assert wrapped.split() == text.split()
    assert not tool.long_lines(wrapped)
    assert table in wrapped
    assert code in wrapped
    assert "\n- short\n" in wrapped
    assert "\n     deep" in wrapped
    assert tool.wrap(wrapped) == wrapped


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 110
