"""Tables: scores as CSV, Markdown, LaTeX and for the terminal, rounded and marked alike everywhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from semcycle.errors import ScoringError
from semcycle.scoring.metrics.metrics import CALL_COLUMNS, METRICS, name_at
from semcycle.scoring.metrics.policies import POLICIES, POOLED
from semcycle.scoring.thresholds import RULES
from semcycle.spreadsheet import defuse_frame

DIGITS = 3
"""Digits after the point of every score in a table for people; CSV keeps more."""

MISSING = "–"


@dataclass(frozen=True)
class ColumnText:
    """How a metric under a pooling is headed, and whether a page has room for it.

    Attributes:
        label: Heading.
        metric: Key of ``METRICS``.
        rule: Of the threshold; empty for a metric over all thresholds.
        shown: Whether its rows stand on the page; all stand in ``table.csv``.
    """

    label: str
    metric: str
    rule: str
    shown: bool


def _texts() -> dict[tuple[str, str], ColumnText]:
    texts = {}
    for name, metric in METRICS.items():
        for rule in RULES if metric.cut else ("",):
            label = f"{metric.label} at {RULES[rule].label}" if rule else metric.label
            for pooling in metric.policies:
                text = ColumnText(POLICIES[pooling].label.format(label), name, rule, pooling in metric.page)
                texts[name_at(name, rule) if rule else name, pooling] = text
    return texts


TEXTS = _texts()
"""Metric and pooling, as they stand in ``table.csv`` -> text."""

_SUMMARY = (
    ("auprc", POOLED),
    ("auprc", "per_case_mean"),
    ("best_dice", POOLED),
    (name_at("dice", "validation"), POOLED),
    (name_at("dice", "healthy_1"), POOLED),
)
"""What a reader sees first; columns that no run has are left out."""

_HIDDEN_COLUMNS = {
    *(name for name, metric in METRICS.items() if metric.by_case != "page" and not metric.cut),
    *(
        name_at(name, rule)
        for name, metric in METRICS.items()
        for rule in RULES
        if metric.cut and (metric.by_case != "page" or not RULES[rule].main)
    ),
    *(name_at(name, rule) for name in CALL_COLUMNS for rule in RULES),
}
"""Columns of ``per_case.csv`` that a page has no room for."""


def table_keys(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Metric and pooling of every row."""
    return [(str(metric), str(pooling)) for metric, pooling in zip(table["metric"], table["pooling"], strict=True)]


def main_rows(table: pd.DataFrame) -> pd.DataFrame:
    """The rows that a page has room for."""
    return table[[key in TEXTS and TEXTS[key].shown for key in table_keys(table)]]


def explain(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Label and meaning of the metrics, thresholds and poolings that a page shows of a table."""
    keys = [key for key in dict.fromkeys(table_keys(table)) if key in TEXTS and TEXTS[key].shown]
    texts = [TEXTS[key] for key in keys]
    metrics = [METRICS[name] for name in METRICS if any(text.metric == name for text in texts)]
    rules = [RULES[name] for name in RULES if any(text.rule == name for text in texts)]
    policies = [POLICIES[name] for name in POLICIES if name != POOLED and any(key[1] == name for key in keys)]
    direction = {True: "", False: " Lower is better."}
    return [
        *((metric.label, metric.meaning + direction[metric.higher_is_better]) for metric in metrics),
        *((f"at {rule.label}", f"At the threshold {rule.meaning}.") for rule in rules),
        *((policy.label.format("..."), policy.meaning) for policy in policies),
        ("prevalence", "Lesion voxels as a fraction of the brain's voxels."),
    ]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Turn the tidy score table into one row a run and one column a headline metric and preset.

    Args:
        table: Rows of ``run, preset, metric, pooling, value``.

    Returns:
        Index ``run`` in order of appearance; columns such as ``"AUPRC (literal)"``, grouped by preset.

    Raises:
        ScoringError: A column is missing.
    """
    tidy = check_table(table)
    columns = {}
    for preset in dict.fromkeys(table["preset"]):
        for key in _SUMMARY:
            wanted = (tidy["preset"] == preset) & (tidy["metric"] == key[0]) & (tidy["pooling"] == key[1])
            rows = tidy[wanted].drop_duplicates("run")
            if len(rows):
                columns[f"{TEXTS[key].label} ({preset})"] = rows.set_index("run")["value"].astype(float)
    runs = pd.Index(list(dict.fromkeys(table["run"])), name="run")
    return pd.DataFrame({name: column.reindex(runs) for name, column in columns.items()}, index=runs)


def main_columns(per_case: pd.DataFrame) -> pd.DataFrame:
    """The columns of the per-case table that a page has room for."""
    return per_case[[name for name in per_case if name not in _HIDDEN_COLUMNS]]


def check_table(table: pd.DataFrame, where: str = "score table") -> pd.DataFrame:
    """Return the table if it has the tidy columns that every report needs.

    Args:
        table: Of scores.
        where: For messages.

    Raises:
        ScoringError: It has not.
    """
    missing = [name for name in ("run", "preset", "metric", "pooling", "value") if name not in table]
    if missing:
        msg = (
            f"{where}: expected columns run, preset, metric, pooling, value, got none named {missing[0]!r}; score again"
        )
        raise ScoringError(msg)
    return table


def format_value(value: object, digits: int = DIGITS) -> str:
    """Round a cell for people: floats to ``digits``, whole numbers and words as they are, missing values as a dash."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return MISSING
    if isinstance(value, float | np.floating):
        return f"{value:.{digits}f}"
    return str(value)


def best_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """Where a column holds its highest value as printed; all of equal ones, none in a column of one value or of text.

    Returns:
        Bool, of the frame's shape.
    """
    marks = pd.DataFrame(False, index=frame.index, columns=frame.columns)
    for name in frame.select_dtypes("number"):
        column = frame[name].round(DIGITS)
        if column.notna().sum() > 1:
            marks[name] = (column == column.max()).to_numpy()
    return marks


def to_csv_text(frame: pd.DataFrame) -> str:
    """CSV with a header line, six digits after the point, empty cells for missing values."""
    return str(defuse_frame(frame).to_csv(float_format="%.6f", lineterminator="\n"))


def to_markdown_text(frame: pd.DataFrame) -> str:
    """GitHub Markdown; the best value of a column is bold."""
    lines = _render(frame, lambda text: text.replace("\\", "\\\\").replace("|", "\\|"), lambda text: f"**{text}**")
    rule = ["---", *["---:"] * len(frame.columns)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]]) + "\n"


def to_latex_text(frame: pd.DataFrame) -> str:
    """A ``tabular`` for the ``booktabs`` package; the best value of a column is bold."""
    lines = _render(frame, _escape_latex, lambda text: rf"\textbf{{{text}}}")
    rows = [" & ".join(line) + r" \\" for line in lines]
    head = rf"\begin{{tabular}}{{l{'r' * len(frame.columns)}}}"
    return "\n".join([head, r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"


def terminal_table(frame: pd.DataFrame, title: str | None = None) -> Table:
    """Make a table for a terminal; the best value of a column is bold and green."""
    table = Table(
        title=title, title_justify="left", header_style="bold", box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0)
    )
    table.add_column(str(frame.index.name or ""), overflow="fold")
    for name in frame.columns:
        table.add_column(Text(str(name).replace(" (", "\n(")), justify="right", overflow="fold")
    marks = best_cells(frame)
    for row, (label, values) in enumerate(frame.iterrows()):
        cells = [
            Text(format_value(value), style="bold green" if marks.iloc[row, column] else "")
            for column, value in enumerate(values)
        ]
        table.add_row(Text(str(label)), *cells)
    return table


def by_preset(wide: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Split a :func:`summary` into a narrower table for each preset, for a terminal: ``AUPRC (baur)`` -> ``AUPRC``."""
    presets: dict[str, dict[str, pd.Series]] = {}
    for name in wide.columns:
        label, _, preset = str(name).removesuffix(")").rpartition(" (")
        presets.setdefault(preset, {})[label] = wide[name]
    return {preset: pd.DataFrame(columns, index=wide.index) for preset, columns in presets.items()}


def _render(frame: pd.DataFrame, escape: Callable[[str], str], mark: Callable[[str], str]) -> list[list[str]]:
    """Header and rows as text, escaped, the best values marked."""
    marks = best_cells(frame).to_numpy()
    lines = [[escape(str(name)) for name in (frame.index.name or "", *frame.columns)]]
    for row, (label, values) in enumerate(frame.iterrows()):
        cells = [escape(format_value(value)) for value in values]
        cells = [mark(cell) if marks[row, column] else cell for column, cell in enumerate(cells)]
        lines.append([escape(str(label)), *cells])
    return lines


def _escape_latex(text: str) -> str:
    signs = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", MISSING: "--"}
    signs |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
    return "".join(signs.get(letter, letter) for letter in text)
