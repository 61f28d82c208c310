"""Page: what was done and what came out, as one HTML file that needs nothing else and asks nobody for anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from semcycle.errors import ScoringError
from semcycle.report.curves import PlottedCurve, curves_figure
from semcycle.report.figures import panel_figure
from semcycle.report.html import (
    RESEARCH_ONLY,
    RESIDUAL_LIMITS,
    embed_picture,
    list_facts,
    make_grid,
    read_facts,
    write_html,
)
from semcycle.report.rates import rates_figure
from semcycle.report.tables import (
    best_cells,
    check_table,
    explain,
    format_value,
    main_columns,
    main_rows,
    summary,
)
from semcycle.scoring.panels import Panel, load_panels
from semcycle.scoring.table import read_score_csv

_LIMITS = (
    *RESIDUAL_LIMITS,
    "Scores hold for the cohort, sequence and preprocessing they were computed on; another scanner may shift them.",
    "Best Dice uses a threshold chosen with the test labels; no threshold of that quality is known in use.",
    RESEARCH_ONLY,
)
_PARTS = ("recall", "precision", "thresholds", "dice")
_FURTHER = ("fpr", "froc_false_positives", "froc_sensitivity")
_WIDE = 10  # columns of pictures that are still legible on a page


@dataclass(frozen=True)
class FigureBlock:
    """A picture of the page.

    Attributes:
        title: Heading.
        caption: What to see, with units.
        figure: A PNG file or a figure.
        alt: What a reader who cannot see it should know; the caption by default.
        dark: The picture to show on dark screens, where it differs.
        section: ``"curves"`` or ``"pictures"``.
    """

    title: str
    caption: str
    figure: Path | Figure
    alt: str = ""
    dark: Path | Figure | None = None
    section: str = "pictures"


def write_page(
    folder: Path,
    *,
    title: str,
    intro: str,
    table: pd.DataFrame,
    per_case: pd.DataFrame,
    figures: Sequence[FigureBlock],
    facts: Mapping[str, Any],
    tables: Mapping[str, pd.DataFrame] | None = None,
) -> Path:
    """Write ``folder/index.html``: one self-contained file, the same bytes for the same input.

    Args:
        folder: Is made.
        title: Heading of the page.
        intro: One paragraph under it.
        table: Tidy scores: rows of ``run, preset, metric, pooling, value`` and more.
        per_case: One row a case and run, shown as it is; may be empty.
        figures: Pictures; they are embedded.
        facts: What was done: name -> text, number, list or mapping.
        tables: Caption -> table with a named index, to stand above the scores.

    Returns:
        The file.

    Raises:
        ScoringError: The table lacks a column, or a picture is missing or no PNG.
    """
    wide = summary(table)
    blocks = [_embed(block) for block in figures]
    content = {
        "title": title,
        "intro": intro,
        "facts": list_facts(facts),
        "tables": [(caption, make_grid(frame.reset_index())) for caption, frame in (tables or {}).items()],
        "summary": make_grid(wide.reset_index(), marks=best_cells(wide)),
        "details": make_grid(main_rows(table)),
        "per_case": make_grid(main_columns(per_case)) if len(per_case) else None,
        "metrics": explain(table),
        "curves": [block for block in blocks if block["section"] == "curves"],
        "pictures": [block for block in blocks if block["section"] != "curves"],
        "limits": _LIMITS,
    }
    return write_html(folder / "index.html", "page.html.jinja", content)


def report_scores(folder: Path, out: Path | None = None) -> Path:
    """Write ``index.html`` from what ``semcycle score`` left in a folder.

    Args:
        folder: Holds ``table.csv``; ``per_case.csv``, ``curves.npz``, ``panels.npz`` and ``facts.json`` where present.
        out: Folder of the page; ``folder/report`` without.

    Returns:
        The page.

    Raises:
        ScoringError: A file is missing or damaged.
    """
    table = check_table(_read_csv(folder / "table.csv"), str(folder / "table.csv"))
    per_case = _read_csv(folder / "per_case.csv") if (folder / "per_case.csv").is_file() else pd.DataFrame()
    facts = read_facts(folder / "facts.json") if (folder / "facts.json").is_file() else {}
    presets = list(dict.fromkeys(str(preset) for preset in table["preset"]))
    figures = _curve_blocks(folder / "curves.npz", table, presets) if (folder / "curves.npz").is_file() else []
    if (folder / "panels.npz").is_file():
        figures += _panel_blocks(load_panels(folder / "panels.npz"), presets)
    return write_page(
        out or folder / "report",
        title=str(facts.pop("title", "Anomaly segmentation scores")),
        intro=str(facts.pop("intro", _introduce(table))),
        table=table,
        per_case=per_case,
        figures=figures,
        facts=facts,
    )


def load_curves(path: Path, preset: str) -> list[PlottedCurve]:
    """Read the curves of one preset from ``curves.npz`` (keys ``run|preset|precision`` and so on).

    Raises:
        ScoringError: The file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [name.rsplit("|", 2) for name in arrays.files if name.endswith("|precision")]
            stems = [f"{run}|{preset}" for run, found, _ in names if found == preset]
            return [
                PlottedCurve(
                    stem.rsplit("|", 1)[0],
                    *(arrays[f"{stem}|{part}"] for part in _PARTS),
                    **{part: arrays[f"{stem}|{part}"] for part in _FURTHER if f"{stem}|{part}" in arrays},
                )
                for stem in stems
            ]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        msg = f"{path}: expected the curves of a `semcycle score`, got a missing or damaged file ({error}); score again"
        raise ScoringError(msg) from error


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        return read_score_csv(path)
    except (OSError, ValueError) as error:
        msg = f"{path}: expected a table of `semcycle score`, got a missing or damaged file ({error}); score first"
        raise ScoringError(msg) from error


def _introduce(table: pd.DataFrame) -> str:
    """Name the best run, and how far above chance it is."""
    wide = summary(table)
    if not wide.shape[1]:
        return ""
    first = wide.columns[0]
    ranked = wide[first].dropna().sort_values(ascending=False)
    if ranked.empty:
        return ""
    text = f"{ranked.index[0]} has the highest {first}: {format_value(float(ranked.iloc[0]))}."
    prevalence = _prevalence(table)
    return text if prevalence is None else f"{text} A random score would reach {format_value(prevalence)}."


def _prevalence(table: pd.DataFrame) -> float | None:
    known = table["prevalence"].dropna() if "prevalence" in table else pd.Series(dtype=float)
    return float(known.iloc[0]) if len(known) else None


def _curve_blocks(path: Path, table: pd.DataFrame, presets: Sequence[str]) -> list[FigureBlock]:
    blocks = []
    for preset in presets:
        rows = table[table["preset"] == preset]
        curves = load_curves(path, preset)
        if not curves:
            continue
        light, dark = (curves_figure(curves, prevalence=_prevalence(rows), theme=theme) for theme in ("light", "dark"))
        caption = (
            "Left: precision over recall of all voxels of the test cases together; dotted, the precision of a random "
            "score. Right: Dice over the threshold; the dot marks the best Dice, which needs the test labels to be "
            "found."
        )
        best = ", ".join(f"{curve.run} {format_value(float(np.max(curve.dice)))}" for curve in curves)
        alt = f"Precision-recall and Dice curves for preset {preset}. Best Dice: {best}."
        blocks.append(FigureBlock(f"Preset {preset}", caption, light, alt, dark, "curves"))
        blocks += _rate_blocks(curves, preset)
    return blocks


def _rate_blocks(curves: Sequence[PlottedCurve], preset: str) -> list[FigureBlock]:
    if not any(curve.fpr is not None for curve in curves):
        return []
    light, dark = (rates_figure(curves, theme=theme) for theme in ("light", "dark"))
    caption = "Sensitivity over the share of healthy voxels called lesion, on a logarithmic scale."
    if any(curve.froc_sensitivity is not None for curve in curves):
        caption += " Right: share of the lesions found over the false components a scan (FROC)."
    names = ", ".join(curve.run for curve in curves)
    alt = f"ROC curves for preset {preset}. Runs: {names}."
    return [FigureBlock(f"Error rates, preset {preset}", caption, light, alt, dark, "curves")]


def _panel_blocks(panels: list[Panel], presets: Sequence[str]) -> list[FigureBlock]:
    """All parts of all runs in one figure where they fit; else a comparison of anomaly maps and a figure a run."""
    if not panels:
        return []
    runs = list(dict.fromkeys(name for panel in panels for name in panel.runs))
    parts = [len([p for p in (run.tissue, run.reconstruction, 1) if p is not None]) for run in panels[0].runs.values()]
    fits = 2 + sum(parts) <= _WIDE
    caption = (
        "One slice a row, anterior up, the patient's left on the right. Grey values share a scale within a row; so do "
        "anomaly maps, whose colour bar stands at the row's end and is set by the runs that reconstruct. Outline: the "
        "expert's lesion."
    )
    blocks = []
    for position, preset in enumerate(presets):
        whole = fits and position == 0
        figure = (
            panel_figure(panels, preset=preset) if whole else panel_figure(panels, preset=preset, parts=("anomaly",))
        )
        heading = "Input, reconstruction and anomaly map" if whole else "Anomaly maps"
        blocks.append(_picture(f"{heading}, preset {preset}", caption, figure, panels, runs))
    if not fits and presets:
        for run in runs:
            figure = panel_figure(panels, preset=presets[0], runs=[run])
            blocks.append(_picture(f"{run}, preset {presets[0]}", caption, figure, panels, [run]))
    return blocks


def _picture(title: str, caption: str, figure: Figure, panels: Sequence[Panel], runs: Sequence[str]) -> FigureBlock:
    cases = ", ".join(f"{panel.case_id} slice {panel.slice_index}" for panel in panels)
    return FigureBlock(title, caption, figure, f"{title}. Runs: {', '.join(runs)}. Rows: {cases}.")


def _embed(block: FigureBlock) -> dict[str, str]:
    sources = {
        "light": embed_picture(block.figure),
        "dark": embed_picture(block.dark) if block.dark is not None else "",
    }
    return {
        "title": block.title, "caption": block.caption, "alt": block.alt or f"{block.title}. {block.caption}",
        "section": block.section, **sources,
    }  # fmt: skip
