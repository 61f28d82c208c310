"""Figures 2 to 4 of the paper, from our runs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from semcycle.files import write_bytes
from semcycle.prediction.reconstruct import reconstruct_slices
from semcycle.report.canvas import save_figure
from semcycle.report.figures import Part, panel_figure
from semcycle.report.posteriors import mean_posteriors, posterior_figure
from semcycle.report.scores_page import FigureBlock
from semcycle.scoring.panels import Panel
from semcycle.spreadsheet import defuse_frame
from semcycle.studies.data_sets import DataSet
from semcycle.studies.paper_table import TABLE_1, without_seed
from semcycle.training.checkpoint import load_checkpoint

SHOWN = 4
"""Test cases in a figure."""


def panel_blocks(out: Path, data: DataSet, panels: Sequence[Panel], preset: str) -> list[FigureBlock]:
    """Draw Figures 2 and 3 of one test set, as PNG and PDF: ``figure2-brats.png``, ...

    Args:
        out: Folder of the files.
        data: The test set.
        panels: A slice a case, with every run's reconstruction and scores.
        preset: Whose scores are shown.
    """
    blocks = []
    chosen = _spread(panels)
    if parts := figure_2_parts(chosen):
        figure = panel_figure(chosen, preset=preset, runs=list(parts), parts=parts)
        path = save_figure(figure, out / f"figure2-{data.name}", ("png", "pdf"))[0]
        caption = (
            "Input; tissue classes and reconstruction with discrete semantics; GM, WM and CSF maps and reconstruction "
            "with continuous semantics; the expert's lesion."
        )
        blocks.append(FigureBlock(f"Figure 2, {data.title}", caption, path))
    if chosen:
        figure = panel_figure(chosen, preset=preset, runs=first_seeds(chosen), parts=("reconstruction", "anomaly"))
        path = save_figure(figure, out / f"figure3-{data.name}", ("png", "pdf"))[0]
        caption = f"Every method's reconstruction and anomaly score ({preset}); residuals share a scale within a row."
        blocks.append(FigureBlock(f"Figure 3, {data.title}", caption, path))
    return blocks


def posterior_blocks(out: Path, name: str, run: Path, tests: Sequence[DataSet]) -> list[FigureBlock]:
    """Draw Figure 4 of one run of the cycle, and write its numbers: ``figure4.png``, ``figure4-brats.csv``, ...

    Args:
        out: Folder of the files.
        name: The run's name in the tables.
        run: Its folder.
        tests: A panel each. A store without tissue maps shows its lesions only.
    """
    method = load_checkpoint(run).method
    frames = {}
    for data in tests:
        frame = mean_posteriors(partial(reconstruct_slices, method), data.store, data.cases)
        write_bytes(out / f"figure4-{data.name}.csv", defuse_frame(frame).to_csv(float_format="%.4f").encode())
        frames[f"{data.title} ({name})"] = frame
    path = save_figure(posterior_figure(frames), out / "figure4", ("png", "pdf"))[0]
    bare = [data.title for data in tests if not data.store.has_tissue]
    without = f" {', '.join(bare)} was prepared without tissue maps: its lesions only." if bare else ""
    caption = (
        "Mean posterior of S over GM, WM and CSF in the voxels of each tissue (the most probable one of the store's "
        "maps) and of the lesions; what is missing to 1 is S's background. Cases whose maps are flagged as "
        f"implausible count by their lesions only.{without}"
    )
    return [FigureBlock("Figure 4", caption, path)]


def figure_2_parts(panels: Sequence[Panel]) -> dict[str, tuple[Part, ...]]:
    """Runs and parts of Figure 2: the two variants of the cycle, where both were scored."""
    runs = first_seeds(panels)
    discrete, continuous = ([run for run in runs if without_seed(run) == name][:1] for name in TABLE_1)
    if not discrete or not continuous:
        return {}
    return {discrete[0]: ("tissue", "reconstruction"), continuous[0]: ("GM", "WM", "CSF", "reconstruction")}


def first_seeds(panels: Sequence[Panel]) -> list[str]:
    """One run a method."""
    chosen: dict[str, str] = {}
    for run in dict.fromkeys(name for panel in panels for name in panel.runs):
        chosen.setdefault(without_seed(run), run)
    return list(chosen.values())


def _spread(panels: Sequence[Panel]) -> list[Panel]:
    """At most ``SHOWN`` panels, evenly over the cases."""
    places = np.linspace(0, len(panels) - 1, min(SHOWN, len(panels))).round().astype(int)
    return [panels[place] for place in places]
