"""Prose is wrapped at 120 characters: pages, model cards and generated reference alike."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WIDTH = 120
PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.md")])
}


def long_lines(text):
    """Numbers of the lines that are too long; tables, code, pictures and comments may be."""
    found, code = [], False
    for number, line in enumerate(text.splitlines(), 1):
        code ^= line.lstrip().startswith("```")
        free = code or line.lstrip().startswith(("|", "![", "<!--")) or line.startswith("    ")
        if not free and len(line) > WIDTH:
            found.append(number)
    return found


@pytest.mark.parametrize("name", PAGES)
def test_prose_is_wrapped(name):
    assert not long_lines(PAGES[name].read_text(encoding="utf-8"))


def test_a_long_line_is_found_and_a_table_is_free():
    assert long_lines(f"{'a ' * 70}\n| {'b ' * 70}|\n```text\n{'c ' * 70}\n```\n") == [1]


def test_the_readme_is_short():
    assert len(PAGES["README.md"].read_text(encoding="utf-8").splitlines()) <= 110
