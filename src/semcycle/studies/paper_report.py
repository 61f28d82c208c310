"""The paper's tables and figures from our scores, with the published numbers beside, and the page that holds them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from semcycle.files import write_bytes
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.report.canvas import save_figure
from semcycle.report.figures import Part, panel_figure
from semcycle.report.posteriors import mean_posteriors, posterior_figure
from semcycle.report.scores_page import FigureBlock, write_page
from semcycle.report.tables import to_csv_text, to_latex_text, to_markdown_text
from semcycle.scoring.metrics.metrics import METRICS
from semcycle.scoring.panels import Panel
from semcycle.scoring.table import ScoreTable
from semcycle.store.slice_store import SliceStore
from semcycle.training.checkpoint import load_checkpoint

Published = Mapping[str, Mapping[str, tuple[float, float]]]
FORMATS = {".csv": to_csv_text, ".md": to_markdown_text, ".tex": to_latex_text}
PUBLISHED_METRICS = ("auprc", "best_dice")
TABLE_1 = ("cycle discrete", "cycle continuous")
SEED = re.compile(r" seed \d+$")
SHOWN = 4
"""Test cases in a figure."""
INTRO = (
    "Methods learn from lesion-free slices of the training cases and are scored on other subjects. The shipped "
    "robust recipe was developed on BraTS 2018 cases and may have seen some of them. All methods go through one "
    "preprocessing, one post-processing and one evaluator. Intervals are "
    "95 % bootstrap intervals over test subjects; the paper's numbers are of BraTS 2019 and ISLES 2015."
)


def paper_table(tables: Mapping[str, pd.DataFrame], published: Published, presets: Sequence[str]) -> pd.DataFrame:
    """One row a method; for every data set and metric ours under each preset with its interval, and the paper's value.

    Runs that differ in the seed alone (``AE seed 0``, ``AE seed 1``) share a row: the mean of their values and of their
    bounds, and in ``... sd`` the standard deviation of the values.

    Args:
        tables: Data set -> tidy score table.
        published: Row -> data set -> AUPRC, best Dice.
        presets: In this order.

    Returns:
        Index ``method``; columns such as ``brats AUPRC literal``, ``... sd``, ``... low``, ``... high``, ``brats AUPRC
        paper``. Methods of the paper without a run keep a row with the paper's values alone.
    """
    runs = list(dict.fromkeys(str(run) for table in tables.values() for run in table["run"]))
    names = list(dict.fromkeys([*published, *(SEED.sub("", run) for run in runs)]))
    members = {name: [run for run in runs if SEED.sub("", run) == name] for name in names}
    columns: dict[str, list[float]] = {}
    for data, table in tables.items():
        pooled = table[table["pooling"] == "pooled"]
        scores = {
            (run, preset, metric): (value, low, high)
            for run, preset, metric, value, low, high in pooled[
                ["run", "preset", "metric", "value", "low", "high"]
            ].itertuples(index=False)
        }
        for place, metric in enumerate(PUBLISHED_METRICS):
            label = METRICS[metric].label
            for preset in presets:
                column = f"{data} {label} {preset}"
                rows = [
                    np.array(
                        [scores[key] for run in members[name] if (key := (run, preset, metric)) in scores]
                    ).reshape(-1, 3)
                    for name in names
                ]
                columns[column] = [_mean(row[:, 0]) for row in rows]
                if any(len(row) > 1 for row in rows):
                    columns[f"{column} sd"] = [float(row[:, 0].std(ddof=1)) if len(row) > 1 else np.nan for row in rows]
                columns[f"{column} low"] = [_mean(row[:, 1]) for row in rows]
                columns[f"{column} high"] = [_mean(row[:, 2]) for row in rows]
            columns[f"{data} {label} paper"] = [
                published.get(name, {}).get(data, (np.nan, np.nan))[place] for name in names
            ]
    return pd.DataFrame(columns, index=pd.Index(names, name="method"))


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """Fold spreads and intervals into their cells, for people: ``0.569 ± 0.012 [0.41, 0.70]``."""
    made = {}
    for name in frame.columns:
        if name.endswith((" sd", " low", " high")):
            continue
        if f"{name} low" not in frame:
            made[name] = frame[name]
            continue
        spread = frame[f"{name} sd"] if f"{name} sd" in frame else pd.Series(np.nan, frame.index)
        cells = zip(frame[name], spread, frame[f"{name} low"], frame[f"{name} high"], strict=True)
        made[name] = pd.Series([_cell(*cell) for cell in cells], index=frame.index)
    return pd.DataFrame(made, index=frame.index)


def _cell(value: float, sd: float, low: float, high: float) -> str | None:
    if np.isnan(value):
        return None
    spread = "" if np.isnan(sd) else f" ± {sd:.3f}"
    return f"{value:.3f}{spread}" + ("" if np.isnan(low) else f" [{low:.2f}, {high:.2f}]")


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean()) if values.size else float("nan")


def write_paper_report(
    out: Path,
    scores: Mapping[str, Path],
    published: Published,
    facts: Mapping[str, Any],
    cycles: Mapping[str, Path],
    stores: Mapping[str, tuple[SliceStore, Sequence[str]]],
) -> Path:
    """Write ``table1``, ``table2`` (CSV, Markdown, LaTeX), ``figure2`` to ``figure4`` (PNG, PDF) and the page.

    Args:
        out: Folder.
        scores: Data set -> folder of its scores.
        published: Row -> data set -> the paper's AUPRC and best Dice.
        facts: What was done, in words and lists.
        cycles: Runs of the cycle method whose posteriors are shown.
        stores: Data set -> store and test cases.

    Returns:
        The page.
    """
    loaded = {name: ScoreTable.load(folder) for name, folder in scores.items()}
    presets = list(dict.fromkeys(next(iter(loaded.values())).table["preset"]))
    everything = paper_table({name: table.table for name, table in loaded.items()}, published, presets)
    ablation = everything.loc[[name for name in everything.index if name in TABLE_1]]
    for stem, frame in (("table1", ablation), ("table2", everything)):
        for suffix, render in FORMATS.items():
            text = render(frame if suffix == ".csv" else readable(frame))
            write_bytes(out / f"{stem}{suffix}", text.encode())
    blocks = _figures(out, loaded, presets[0], cycles, stores)
    headline = "brats" if "brats" in loaded else next(iter(loaded))
    tidy = pd.concat([table.table.assign(data=name) for name, table in loaded.items()])
    return write_page(
        out / "report",
        title="Unsupervised anomaly segmentation: the paper's experiment",
        intro=INTRO,
        table=tidy[tidy["data"] == headline].drop(columns="data"),
        per_case=pd.concat([table.per_case.assign(data=name) for name, table in loaded.items()]),
        figures=blocks,
        facts=facts,
    )


def _figures(
    out: Path,
    loaded: Mapping[str, ScoreTable],
    preset: str,
    cycles: Mapping[str, Path],
    stores: Mapping[str, tuple[SliceStore, Sequence[str]]],
) -> list[FigureBlock]:
    blocks = []
    for data, table in loaded.items():
        panels = _spread(table.panels)
        both = figure_2_parts(panels)
        if both:
            figure = panel_figure(panels, preset=preset, runs=list(both), parts=both)
            path = save_figure(figure, out / f"figure2-{data}", ("png", "pdf"))[0]
            caption = (
                "Input; tissue classes and reconstruction with discrete semantics; GM, WM and CSF maps and "
                "reconstruction with "
                "continuous semantics; the expert's lesion."
            )
            blocks.append(FigureBlock(f"Figure 2, {data}", caption, path))
        if panels:
            figure = panel_figure(panels, preset=preset, runs=first_seeds(panels), parts=("reconstruction", "anomaly"))
            path = save_figure(figure, out / f"figure3-{data}", ("png", "pdf"))[0]
            caption = (
                f"Every method's reconstruction and anomaly score ({preset}); residuals share a scale within a row."
            )
            blocks.append(FigureBlock(f"Figure 3, {data}", caption, path))
    frames = {}
    for data, (store, cases) in stores.items():
        for name, folder in list(cycles.items())[:1]:
            frame = mean_posteriors(partial(reconstruct_slices, load_checkpoint(folder).method), store, cases)
            write_bytes(out / f"figure4-{data}.csv", frame.to_csv(float_format="%.4f").encode())
            frames[f"{data} ({name})"] = frame
    if frames:
        path = save_figure(posterior_figure(frames), out / "figure4", ("png", "pdf"))[0]
        caption = "Mean posterior of S over GM, WM and CSF in the voxels of each tissue and of the lesions."
        blocks.append(FigureBlock("Figure 4", caption, path))
    return blocks


def figure_2_parts(panels: Sequence[Panel]) -> dict[str, tuple[Part, ...]]:
    """Runs and parts of Figure 2: the two variants of the cycle, where both were scored."""
    runs = first_seeds(panels)
    discrete, continuous = ([run for run in runs if SEED.sub("", run) == name][:1] for name in TABLE_1)
    if not discrete or not continuous:
        return {}
    return {discrete[0]: ("tissue", "reconstruction"), continuous[0]: ("GM", "WM", "CSF", "reconstruction")}


def first_seeds(panels: Sequence[Panel]) -> list[str]:
    """One run a method."""
    chosen: dict[str, str] = {}
    for run in dict.fromkeys(name for panel in panels for name in panel.runs):
        chosen.setdefault(SEED.sub("", run), run)
    return list(chosen.values())


def _spread(panels: Sequence[Panel]) -> list[Panel]:
    """At most ``SHOWN`` panels, evenly over the cases."""
    places = np.linspace(0, len(panels) - 1, min(SHOWN, len(panels))).round().astype(int)
    return [panels[place] for place in places]
