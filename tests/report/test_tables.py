import io

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from semcycle.errors import ScoringError
from semcycle.report.tables import (
    TEXTS,
    best_cells,
    by_preset,
    explain,
    format_value,
    main_columns,
    main_rows,
    summary,
    terminal_table,
    to_csv_text,
    to_latex_text,
    to_markdown_text,
)


def make_table():
    rows = [
        ("cycle_a", "baur", "auprc", "pooled", 0.43219),
        ("cycle_a", "baur", "auprc", "per_case_mean", 0.40),
        ("cycle_a", "baur", "best_dice", "pooled", 0.5),
        ("cycle_a", "baur", "l1_healthy", "pooled", 0.02),
        ("intensity", "baur", "auprc", "pooled", 0.21),
        ("intensity", "baur", "auprc", "per_case_mean", 0.45),
        ("intensity", "literal", "auprc", "pooled", 0.19),
    ]
    return pd.DataFrame(rows, columns=["run", "preset", "metric", "pooling", "value"])


def test_summary_has_a_row_a_run_and_a_column_a_metric_and_preset():
    wide = summary(make_table())
    assert list(wide.index) == ["cycle_a", "intensity"]
    assert list(wide.columns) == ["AUPRC (baur)", "mean AUPRC (baur)", "best Dice (baur)", "AUPRC (literal)"]
    assert wide.loc["cycle_a", "AUPRC (baur)"] == 0.43219
    assert wide.loc["intensity", "mean AUPRC (baur)"] == 0.45
    assert np.isnan(wide.loc["cycle_a", "AUPRC (literal)"])


def test_other_policies_stay_out_of_what_is_shown_first():
    more = [
        ("cycle_a", "baur", "auprc", "lesion_slices", 0.9),
        ("cycle_a", "baur", "auprc", "per_case_median", 0.8),
        ("cycle_a", "baur", "precision_at_oracle", "pooled", 0.7),
        ("cycle_a", "baur", "dice_at_validation", "pooled", 0.33),
        ("cycle_a", "baur", "dice_at_validation", "per_case_mean", 0.3),
    ]
    table = pd.concat([pd.DataFrame(more, columns=make_table().columns), make_table()])
    wide = summary(table)
    assert wide.loc["cycle_a", "AUPRC (baur)"] == 0.43219
    assert wide.loc["cycle_a", "mean AUPRC (baur)"] == 0.40
    assert wide.loc["cycle_a", "Dice at validation threshold (baur)"] == 0.33
    assert len(main_rows(table)) == len(table) - 3
    assert list(main_columns(pd.DataFrame(columns=["case", "auprc", "recall_at_oracle"]))) == ["case", "auprc"]


def test_a_terminal_gets_a_table_a_preset():
    tables = by_preset(summary(make_table()))
    assert list(tables) == ["baur", "literal"]
    assert list(tables["baur"].columns) == ["AUPRC", "mean AUPRC", "best Dice"]
    assert tables["literal"].loc["intensity", "AUPRC"] == 0.19


def test_a_table_without_its_columns_is_refused():
    with pytest.raises(ScoringError, match="'pooling'"):
        summary(make_table().drop(columns="pooling"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.43219, "0.432"), (0.0, "0.000"), (np.float32(0.5), "0.500"), (3, "3"), ("x", "x"), (np.nan, "–"), (None, "–")],
)
def test_values_are_rounded_alike(value, text):
    assert format_value(value) == text


def test_best_is_marked_as_printed_and_never_alone():
    frame = pd.DataFrame({"a": [0.50004, 0.50001, 0.1], "b": [np.nan, 0.3, np.nan]}, index=["r", "s", "t"])
    marks = best_cells(frame)
    assert marks["a"].tolist() == [True, True, False]
    assert not marks["b"].any()


def test_markdown_and_latex_escape_and_mark():
    wide = summary(make_table()).rename({"intensity": "in|ten&s"})
    markdown = to_markdown_text(wide)
    assert "| cycle_a | **0.432** | 0.400 | 0.500 | – |" in markdown.splitlines()
    assert "in\\|ten&s" in markdown
    latex = to_latex_text(wide)
    assert r"cycle\_a & \textbf{0.432} & 0.400 & 0.500 & -- \\" in latex.splitlines()
    assert r"in|ten\&s" in latex
    assert latex.startswith("\\begin{tabular}{lrrrr}\n\\toprule")


def test_csv_keeps_the_digits_and_reads_back():
    back = pd.read_csv(io.StringIO(to_csv_text(summary(make_table()))), index_col="run")
    assert back.loc["cycle_a", "AUPRC (baur)"] == 0.43219


def test_terminal_table_prints_runs_and_no_markup():
    console = Console(file=io.StringIO(), width=140, record=True)
    console.print(terminal_table(summary(make_table()).rename({"intensity": "[red]x[/red]"}), "Scores"))
    text = console.export_text()
    assert "0.432" in text
    assert "[red]x[/red]" in text


def test_every_row_that_is_shown_is_explained():
    table = make_table()
    labels = dict(explain(table))
    assert list(labels) == ["AUPRC", "best Dice", "L1 healthy", "mean ...", "prevalence"]
    assert labels["L1 healthy"].endswith("Lower is better.")
    at = pd.concat([table, table.head(1).assign(metric="dice_at_validation")])
    assert dict(explain(at))["at validation threshold"].startswith("At the threshold that is best on validation cases")
    assert TEXTS["hd95_mm_at_given", "per_case_median"].label == "median HD95 in mm at given threshold"
    assert len(main_rows(table.assign(metric="somebody's own"))) == 0
