"""Wrap the prose of Markdown pages at 120 characters; tables, code, headings and pictures stay as they are.

python tools/wrap_prose.py          wrap README, docs, model cards and the other pages of the repository
python tools/wrap_prose.py PAGE...  only these

Only paragraphs and list items with a line that is too long are wrapped anew, so that a page that keeps to the rule
does not change.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
WIDTH = 120
ITEM = re.compile(r"(\s*)((?:[-*+]|\d+\.)\s+)")
FREE = ("|", "![", "#", "<", "--8<--", ":::", "    ")
"""Beginnings of lines that no paragraph has."""


def main() -> None:
    """Wrap the pages, and name those that changed."""
    for page in [Path(name) for name in sys.argv[1:]] or list(pages()):
        text = page.read_text(encoding="utf-8")
        if (wrapped := wrap(text)) != text:
            page.write_text(wrapped, encoding="utf-8")
            sys.stdout.write(f"{page}\n")


def pages() -> Iterator[Path]:
    """Every Markdown page of the repository."""
    yield from sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "src").rglob("*.md")])


def long_lines(text: str) -> list[int]:
    """Numbers of the lines of prose that are too long."""
    found, code = [], False
    for number, line in enumerate(text.splitlines(), 1):
        code ^= line.lstrip().startswith("```")
        if len(line) > WIDTH and not code and not line.startswith(FREE) and not line.lstrip().startswith("|"):
            found.append(number)
    return found


def wrap(text: str) -> str:
    """The page with its long paragraphs wrapped."""
    lines, block, code = [], [], False
    for line in [*text.split("\n"), ""]:
        fence = line.lstrip().startswith("```")
        inside = code or fence
        code ^= fence
        # an indented line goes on with its list item, and is code where there is none
        free = inside or not line.strip() or (line.startswith(FREE) and not (block and line.startswith("    ")))
        if free or ITEM.match(line):
            lines += _wrapped(block)
            block = []
        if free:
            lines.append(line)
        else:
            block.append(line)
    return "\n".join(lines[:-1])


def _wrapped(block: list[str]) -> list[str]:
    """A paragraph, or one item of a list."""
    if not any(len(line) > WIDTH for line in block):
        return block
    words = " ".join(line.strip() for line in block)
    item = ITEM.match(block[0])
    margin = item[1] if item else re.match(r"\s*", block[0])[0]  # type: ignore[index]  # matches everything
    mark = item[2] if item else ""
    return textwrap.wrap(
        words.removeprefix(mark),
        WIDTH,
        initial_indent=margin + mark,
        subsequent_indent=margin + " " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    main()
