"""The page of the paper's experiment: tables, figures, and what was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from semcycle.files import write_bytes
from semcycle.report.scores_page import write_page
from semcycle.report.tables import to_csv_text, to_latex_text, to_markdown_text
from semcycle.scoring.table import ScoreTable
from semcycle.studies.data_sets import DataSet
from semcycle.studies.paper_figures import panel_blocks, posterior_blocks
from semcycle.studies.paper_rows import PUBLISHED
from semcycle.studies.paper_table import TABLE_1, paper_table, readable

FORMATS = {".csv": to_csv_text, ".md": to_markdown_text, ".tex": to_latex_text}
CYCLE = "cycle continuous"
"""The row of Figure 4."""
INTRO = (
    "Every method learned from the training set named below and was scored on other subjects. All methods, and "
    "intensity, which learns nothing, go through one preprocessing, one post-processing and one evaluator. Intervals "
    "are 95 % bootstrap intervals over test subjects. The paper's numbers are of its own test sets: 101 cases of "
    "BraTS 2019 and 28 of ISLES 2015. The settings of cycle robust, and those of the small recipes, were chosen while "
    "looking at scores of six BraTS 2018 cases, five of BRATS 2013 origin and Brats18_TCIA02_606_1: where these are "
    "tested, the scores are optimistic."
)


def write_paper_report(
    out: Path,
    scores: Mapping[str, Path],
    tests: Sequence[DataSet],
    runs: Mapping[str, Path],
    facts: Mapping[str, Any],
) -> Path:
    """Write ``table1``, ``table2`` (CSV, Markdown, LaTeX), ``figure2`` to ``figure4`` and ``report/index.html``.

    Args:
        out: Folder.
        scores: Name of a test set -> folder of its scores.
        tests: The test sets, BraTS first.
        runs: Row -> run folder.
        facts: What was done, in words and lists.

    Returns:
        The page.
    """
    loaded = {data.name: ScoreTable.load(scores[data.name]) for data in tests}
    presets = list(dict.fromkeys(loaded[tests[0].name].table["preset"]))
    tables = {data.title: loaded[data.name].table for data in tests}
    table_2 = paper_table(tables, {data.title: data.beside for data in tests}, PUBLISHED, presets)
    table_1 = table_2.loc[[name for name in table_2.index if name in TABLE_1]]
    for stem, frame in (("table1", table_1), ("table2", table_2)):
        for suffix, render in FORMATS.items():
            write_bytes(out / f"{stem}{suffix}", render(frame if suffix == ".csv" else readable(frame)).encode())
    figures = [block for data in tests for block in panel_blocks(out, data, loaded[data.name].panels, presets[0])]
    for name in [name for name in runs if name.startswith(CYCLE)][:1]:
        figures += posterior_blocks(out, name, runs[name], tests)
    return write_page(
        out / "report",
        title="Unsupervised anomaly segmentation: the paper's experiment",
        intro=INTRO,
        table=tables[tests[0].title],
        per_case=pd.concat([loaded[data.name].per_case.assign(data=data.title) for data in tests]),
        figures=figures,
        facts=facts,
        tables={
            "Table 1. Discrete and continuous semantics: pooled AUPRC and best Dice (oracle).": readable(table_1),
            "Table 2. All methods: pooled AUPRC and best Dice (oracle).": readable(table_2),
        },
    )
