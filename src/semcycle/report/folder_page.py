"""Folder page: the table of a folder of predictions, with links to the scans' pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from semcycle.errors import Failure, ScoringError
from semcycle.files import read_failures
from semcycle.prediction.records import RUN, SUMMARY, read_summary
from semcycle.report.html import embed_picture, list_facts, make_grid, read_facts, write_html
from semcycle.report.scan_page import LIMITS, THUMBNAIL, page_name

HEADS = {
    "scan": "scan",
    "lesion_ml": "called lesion, ml",
    "components": "components",
    "largest_ml": "largest component, ml",
    "mean_score": "mean score",
    "p99_score": "99th percentile of scores",
    "brain_ml": "brain, ml",
    "flags": "quality flags",
}
"""Column of the summary -> heading; other columns stand in ``summary.csv`` alone."""

WORDS = ("scan", "flags")
"""Columns of text; an empty cell of another is a missing number."""

MOST_PICTURES = 500
"""Scans whose thumbnails the page holds, about 10 kB each; it stays one file that a browser opens at once."""

_DIGITS = {HEADS["lesion_ml"]: 1, HEADS["largest_ml"]: 1, HEADS["brain_ml"]: 0}


def write_index(out: Path) -> Path:
    """Write ``index.html`` of a folder of predictions, from its ``run.json``, ``summary.csv`` and ``failures.csv``.

    Raises:
        ScoringError: One of them is damaged.
        LayoutError: ``failures.csv`` is damaged.
    """
    record = read_facts(out / RUN)
    facts = {key: record.get(key, "") for key in ("model", "preset", "tta", "scores", "versions")}
    if isinstance(facts["model"], dict):
        facts["model"] = {**facts["model"], "fingerprint": str(facts["model"].get("fingerprint", ""))[:12]}
    try:
        summary = read_summary(out)
    except (OSError, ValueError) as error:
        msg = f"{out / SUMMARY}: expected a table, got a missing or damaged file ({error}); predict again"
        raise ScoringError(msg) from error
    return write_folder_page(out, summary, facts=facts, failures=read_failures(out / "failures.csv"))


def _read_number(cell: object) -> float:
    """A cell as a number; NaN for what is none, or none that a float holds, as in a damaged record."""
    try:
        value = float(str(cell))
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def write_folder_page(
    folder: Path,
    summary: pd.DataFrame,
    *,
    title: str = "Anomalies, scan by scan",
    intro: str = "",
    facts: Mapping[str, Any] | None = None,
    failures: Sequence[Failure] = (),
) -> Path:
    """Write ``folder/index.html``: one self-contained file, the same bytes for the same input.

    Args:
        folder: Holds the scans' pages ``<scan>_report.html``; a scan without one is listed without a link.
        summary: A row a scan as in ``summary.csv``: ``scan``, ``flags`` (text, joined by ``"; "``) and numbers of those
            in
            ``HEADS``; other columns are not shown.
        title: Heading of the page.
        intro: One paragraph under it; a count of scans and flags without.
        facts: How the predictions were made: name -> text, number, list or mapping.
        failures: Scans that could not be done.

    Returns:
        The file.

    Raises:
        ScoringError: The table has no column ``scan``.
    """
    if "scan" not in summary:
        msg = (
            f"{folder}: expected a table with the column scan, got {', '.join(map(str, summary.columns))}; predict "
            "again"
        )
        raise ScoringError(msg)
    numbers = [column for column in HEADS if column in summary and column not in WORDS]
    summary = summary.assign(**{column: summary[column].map(_read_number) for column in numbers})
    shown = summary[[column for column in HEADS if column in summary and not summary[column].isna().all()]]
    names = [str(name) for name in summary["scan"]]
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()  # a name may be none of a file
    links = {name: quote(page_name(name)) for name in names if page_name(name) in there}
    pictures = {name: folder / f"{name}{THUMBNAIL}.png" for name in names[:MOST_PICTURES]}
    shown_pictures = {name: embed_picture(path) for name, path in pictures.items() if path.name in there}
    grid = make_grid(shown.rename(columns=HEADS), bars=True, links=links, digits=_DIGITS, pictures=shown_pictures)
    content = {
        "title": title,
        "intro": intro or _introduce(summary),
        "summary": grid,
        "thumbnails": bool(shown_pictures),
        "left_out": max(len(names) - MOST_PICTURES, 0) if shown_pictures else 0,
        "failures": list(failures),
        "facts": list_facts(facts or {}),
        "limits": LIMITS,
    }
    return write_html(folder / "index.html", "folder.html.jinja", content)


def _introduce(summary: pd.DataFrame) -> str:
    count = len(summary)
    words = [f"{count} scan{'s' * (count != 1)}"]
    if "lesion_ml" in summary and summary["lesion_ml"].notna().any():
        words.append(f"{int((summary['lesion_ml'] > 0).sum())} with something called lesion")
    if "flags" in summary:
        words.append(f"{int((summary['flags'].fillna('') != '').sum())} with quality flags")
    return ", ".join(words) + "."
