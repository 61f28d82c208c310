"""Text in CSV files, so that a spreadsheet shows it and executes none of it."""

from __future__ import annotations

import csv
import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semcycle.errors import LayoutError

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*(\s*[=+\-@＝＋－＠]|[\t\r\n])")
"""How a cell begins that a spreadsheet takes for a formula, behind the marks that :func:`defuse_cell` left."""


def defuse_cell(value: Any) -> Any:
    """A cell's value, with an apostrophe before text that would be a formula; numbers stay numbers."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def restore_cell(value: Any) -> Any:
    """Undo :func:`defuse_cell`."""
    return value[1:] if isinstance(value, str) and value.startswith("'") and _FORMULA.match(value) else value


def defuse_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """A table to be written as CSV: its cells, row names and headings defused."""
    return frame.map(defuse_cell).rename(index=defuse_cell, columns=defuse_cell)


def restore_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Undo :func:`defuse_frame` on a table that was read."""
    return frame.map(restore_cell).rename(index=restore_cell, columns=restore_cell)


def read_words(path: Path, words: Collection[str]) -> pd.DataFrame:
    """Read a CSV that :func:`defuse_frame` went into.

    Args:
        path: The CSV.
        words: Columns of text, which stays as it was: a scan may be called ``NA`` or ``001``.

    Raises:
        ValueError: It is no table.
    """
    import pandas as pd

    numbers = [name for name in pd.read_csv(path, nrows=0) if restore_cell(name) not in words]
    text = dict.fromkeys(words, str)
    frame = pd.read_csv(path, dtype=text, keep_default_na=False, na_values={str(name): ["", "nan"] for name in numbers})
    return restore_frame(frame)


def read_rows(path: Path, delimiter: str = ",") -> tuple[list[str], list[dict[str, str]]]:
    """Read a table that a user wrote: its columns, and a mapping a row, empty where cells are missing.

    Raises:
        LayoutError: It is not in UTF-8, or no table.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, delimiter=delimiter, restval="")
            columns = list(reader.fieldnames or [])
            return columns, [{name: row[name] for name in columns} for row in reader]
    except UnicodeDecodeError as error:
        msg = f"{path}: expected a table in UTF-8, got another encoding ({error.reason}); save it as CSV UTF-8"
        raise LayoutError(msg) from error
    except csv.Error as error:
        msg = f"{path}: expected a table, got none that can be read ({error}); save it again"
        raise LayoutError(msg) from error
