"""HTML: what every page is made of: templates, embedded pictures, sortable tables, and facts in words."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure
from pandas.api.types import is_float_dtype, is_numeric_dtype

from semcycle.errors import ScoringError, error_line
from semcycle.files import read_json, write_bytes
from semcycle.report.canvas import figure_bytes
from semcycle.report.tables import DIGITS, format_value

RESIDUAL_LIMITS = (
    "Residual methods miss lesions whose intensity looks normal: what the reconstruction reproduces leaves no "
    "residual.",
    "They mark healthy tissue that they cannot reproduce: small sulci, vessels, skull remnants and artefacts.",
)
RESEARCH_ONLY = "For research only. Not a medical device; not for diagnosis or treatment."

_NAMED = 12  # items of a list that are written out


def write_html(path: Path, template: str, content: Mapping[str, Any]) -> Path:
    """Render a template into a self-contained file, atomically; the same content gives the same bytes."""
    write_bytes(path, load_template(template).render(content).lstrip().encode())
    return path


def load_template(name: str) -> jinja2.Template:
    """A page's template; text is escaped, an undefined name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("semcycle.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(name)


def embed_picture(picture: Path | Figure) -> str:
    """A PNG file or a figure as a ``data:`` address.

    Raises:
        ScoringError: The file is missing or no PNG.
    """
    try:
        content = figure_bytes(picture) if isinstance(picture, Figure) else picture.read_bytes()
    except OSError as error:
        msg = f"{picture}: expected a PNG picture, got none ({error.strerror}); draw it first"
        raise ScoringError(msg) from error
    if not content.startswith(b"\x89PNG"):
        msg = f"{picture}: expected a PNG picture, got another format; save it as PNG"
        raise ScoringError(msg)
    return "data:image/png;base64," + base64.b64encode(content).decode()


def read_facts(path: Path) -> dict[str, Any]:
    """Read the JSON that a page is made of.

    Raises:
        ScoringError: It is missing or damaged.
    """
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        reason = error_line(error)[:160]
        msg = (
            f"{path}: expected what a page is made of, got a missing or damaged file ({reason}); make the folder again"
        )
        raise ScoringError(msg) from error


def list_facts(facts: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Name -> value as name and lines, for the template's list of facts."""
    return [(str(name).replace("_", " "), _say_lines(value)) for name, value in facts.items()]


def make_grid(
    frame: pd.DataFrame,
    marks: pd.DataFrame | None = None,
    *,
    bars: bool = False,
    links: Mapping[str, str] | None = None,
    digits: Mapping[str, int] | None = None,
    pictures: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What the template needs of a table: headings, and cells with text, sort value, alignment, mark, bar and link.

    Args:
        frame: The table; its first column heads the rows.
        marks: Cells to be marked as best, for the last columns.
        bars: Draw a bar from 0 to the column's highest value under every number; with ``marks`` from 0 to 1.
        links: Text of a row's first cell -> address.
        digits: Column -> decimals, where the usual ones do not fit.
        pictures: Text of a row's first cell -> address of a picture beside it.
    """
    numeric = [is_numeric_dtype(frame[name]) for name in frame.columns]
    lead = len(frame.columns) - (marks.shape[1] if marks is not None else 0)
    tops = [1.0 if marks is not None else _top(frame.iloc[:, i]) if numeric[i] else 1.0 for i in range(len(numeric))]
    decimals = [(digits or {}).get(str(name), _digits(frame.iloc[:, i])) for i, name in enumerate(frame.columns)]
    rows = []
    for row, values in enumerate(frame.itertuples(index=False, name=None)):
        cells = []
        for column, value in enumerate(values):
            known = numeric[column] and not pd.isna(value)
            drawn = known and (bars or marks is not None)
            cell = {
                "text": format_value(None if pd.isna(value) else value, decimals[column]),
                "sort": repr(float(value)) if known else "" if numeric[column] else str(value),
                "best": marks is not None and column >= lead and bool(marks.iloc[row, column - lead]),
                "bar": f"{100 * min(max(float(value) / tops[column], 0), 1):.1f}" if drawn else None,
                "link": (links or {}).get(str(value), "") if column == 0 else "",
                "picture": (pictures or {}).get(str(value), "") if column == 0 else "",
            }
            cells.append(cell)
        rows.append(cells)
    heads = [{"text": str(name).replace("_", " "), "numeric": numeric[i]} for i, name in enumerate(frame.columns)]
    return {"heads": heads, "rows": rows}


def _top(column: pd.Series) -> float:
    highest = float(column.max()) if column.notna().any() else 0.0
    return highest if highest > 0 else 1.0


def _digits(column: pd.Series) -> int:
    """Usual digits; more where a column's values would all round to little or nothing, none for whole numbers."""
    known = column.dropna()
    if not is_float_dtype(column) or not len(known):
        return DIGITS
    if (known == known.round()).all() and known.abs().max() > 1:
        return 0
    return DIGITS if known.abs().max() >= 0.01 else DIGITS + 2


def _say_lines(value: Any) -> list[str]:
    """A fact as lines: one each for the parts of a mapping of mappings, such as runs."""
    if isinstance(value, Mapping) and any(isinstance(part, Mapping) for part in value.values()):
        return [f"{name}: {_say(part)}" for name, part in value.items()]
    return [_say(value)]


def _say(value: Any) -> str:
    """A fact as one line; of a long list its length and its beginning."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {_say(part)}" for name, part in value.items())
    if isinstance(value, list | tuple):
        text = ", ".join(_say(part) for part in value[:_NAMED])
        return text if len(value) <= _NAMED else f"{len(value)}: {text}, …"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    return format_value(value)
