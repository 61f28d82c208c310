"""Slices beside what was made of them. Every function returns a ``Figure``, none shows it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from semcycle.report.canvas import (
    ANOMALY_MAP,
    BRIGHT,
    SOFT,
    STYLE,
    TISSUE_COLOURS,
    crop,
    crop_boxes,
    draw_bar,
    draw_grey,
    draw_marks,
    draw_outline,
    make_stage,
    tissue_rgb,
    to_display,
    white_level,
    write_legend,
)
from semcycle.scoring.panels import Panel, RunPanel

Part = Literal["tissue", "GM", "WM", "CSF", "reconstruction", "anomaly"]


def panel_figure(
    panels: Sequence[Panel],
    *,
    preset: str,
    runs: Sequence[str] | None = None,
    parts: Sequence[Part] | Mapping[str, Sequence[Part]] = ("tissue", "reconstruction", "anomaly"),
) -> Figure:
    """Draw one row a slice: input, what each run made of it, and the expert's outline.

    Grey values share one scale within a row (0 to the 99.8th percentile of the input's brain), residuals
    another, which the row's colour bar shows: 0 to the highest 99.5th percentile of a run's brain. A run that
    reconstructs nothing, whose score is not a residual, has a scale of its own when there are others.

    Args:
        panels: The slices, at least one.
        preset: Which anomaly score to show; runs without it leave their cell empty.
        runs: Which runs, in this order; all by default.
        parts: Which of a run's pictures to show, where it has them; for all runs, or run by run.

    Raises:
        ValueError: No panel is given, or a run's name is unknown.
    """
    names = _check_runs(panels, runs)
    wanted = parts if isinstance(parts, Mapping) else dict.fromkeys(names, parts)
    columns = [(name, part) for name in names for part in wanted.get(name, ()) if _run_has(panels, name, part, preset)]
    boxes = crop_boxes([panel.brain for panel in panels])
    titles = ["input T2", *(part for _, part in columns), "expert"]
    with mpl.rc_context(STYLE):
        figure, grid, bars = make_stage(
            titles,
            [f"{panel.case_id}\nslice {panel.slice_index}" for panel in panels],
            bars=any(part == "anomaly" for _, part in columns),
            groups=True,
            legend=any(part == "tissue" for _, part in columns),
        )
        _write_groups(figure, grid[0], [name for name, _ in columns])
        for row, (panel, box) in enumerate(zip(panels, boxes, strict=True)):
            scale = _make_scale(panel, names, preset)
            white = white_level(panel.x, panel.brain)
            draw_grey(grid[row][0], panel.x, box, white)
            for axes, (name, part) in zip(grid[row][1:-1], columns, strict=True):
                _draw_part(axes, panel, name, part, preset, box, white, scale)
            draw_grey(grid[row][-1], panel.x, box, white)
            draw_outline(grid[row][-1], crop(panel.truth, box))
            if bars:
                draw_bar(bars[row], scale.vmax or 1.0, "anomaly score")
        draw_marks(grid[0][0])
        if any(part == "tissue" for _, part in columns):
            write_legend(figure)
    return figure


def sample_figure(
    x: NDArray[np.floating], tissue: NDArray[np.floating] | None, reconstruction: NDArray[np.floating]
) -> Figure:
    """Draw what a stage makes of some slices: input, tissue, reconstruction, absolute difference.

    Args:
        x: ``(S, H, W)`` in [0, 1].
        tissue: ``(S, 3, H, W)`` GM, WM, CSF, or ``None``.
        reconstruction: ``(S, H, W)`` in [0, 1].
    """
    titles = ["input", *(["tissue"] if tissue is not None else []), "reconstruction", "|difference|"]
    difference = np.nan_to_num(np.abs(x - reconstruction))  # a diverged run is shown, not a reason to stop
    top = max(float(np.percentile(difference, 99.8)), 1e-3)
    boxes = crop_boxes(list(x > 0))
    with mpl.rc_context(STYLE):
        figure, grid, bars = make_stage(
            titles, [f"sample {row + 1}" for row in range(len(x))], legend=tissue is not None
        )
        for row, box in enumerate(boxes):
            white = white_level(x[row], x[row] > 0)
            cells = iter(grid[row])
            first = next(cells)
            draw_grey(first, x[row], box, white)
            if row == 0:
                draw_marks(first)
            if tissue is not None:
                next(cells).imshow(to_display(crop(tissue_rgb(tissue[row]), box)))
            draw_grey(next(cells), reconstruction[row], box, white)
            next(cells).imshow(to_display(crop(difference[row], box)), cmap=ANOMALY_MAP, vmin=0, vmax=top)
            draw_bar(bars[row], top, "|difference|")
        if tissue is not None:
            write_legend(figure)
    return figure


def _check_runs(panels: Sequence[Panel], runs: Sequence[str] | None) -> list[str]:
    if not panels:
        msg = "panels: expected at least one, got none; score a test set with lesions"
        raise ValueError(msg)
    known = list(dict.fromkeys(name for panel in panels for name in panel.runs))
    unknown = [name for name in runs or () if name not in known]
    if unknown:
        msg = f"runs: expected some of {', '.join(known)}, got {unknown[0]!r}; correct the name"
        raise ValueError(msg)
    return known if runs is None else list(runs)


def _run_has(panels: Sequence[Panel], name: str, part: Part, preset: str) -> bool:
    """Whether a run has something to show in this column."""
    mine = [panel.runs[name] for panel in panels if name in panel.runs]
    if part == "anomaly":
        return any(preset in run.scores for run in mine)
    if part == "tissue" or part in TISSUE_COLOURS:
        return any(run.tissue is not None for run in mine)
    return any(_reconstructs(run) for run in mine)


def _make_scale(panel: Panel, names: Sequence[str], preset: str) -> Normalize:
    """The scale of the residuals; of all scores where there is no residual."""
    runs = [panel.runs[name] for name in names if name in panel.runs and preset in panel.runs[name].scores]
    residual = [run for run in runs if _reconstructs(run)]
    tops = [_top_score(panel, run.scores[preset]) for run in residual or runs]
    return Normalize(0, max([*tops, 1e-3]))


def _top_score(panel: Panel, score: NDArray[np.floating]) -> float:
    inside = panel.brain if panel.brain.any() else np.ones_like(panel.brain)
    return float(np.percentile(score[inside], 99.5))


def _reconstructs(run: RunPanel) -> bool:
    """A black reconstruction is none."""
    return run.reconstruction is not None and bool(run.reconstruction.any())


def _draw_part(
    axes: Axes,
    panel: Panel,
    name: str,
    part: Part,
    preset: str,
    box: tuple[int, int, int],
    white: float,
    scale: Normalize,
) -> None:
    run = panel.runs.get(name)
    if run is None:
        return
    if part == "tissue" and run.tissue is not None:
        axes.imshow(to_display(crop(tissue_rgb(run.tissue), box)), interpolation="bilinear")
    elif part in TISSUE_COLOURS and run.tissue is not None:
        picture = run.tissue[list(TISSUE_COLOURS).index(part)]
        axes.imshow(to_display(crop(picture, box)), cmap="gray", vmin=0, vmax=1, interpolation="bilinear")
    elif part == "reconstruction" and run.reconstruction is not None:
        draw_grey(axes, run.reconstruction, box, white)
    elif part == "anomaly" and preset in run.scores:
        shown = np.where(panel.brain, run.scores[preset], 0)
        if not _reconstructs(run) and any(_reconstructs(other) for other in panel.runs.values()):
            scale = Normalize(0, _top_score(panel, shown))
        axes.imshow(to_display(crop(shown, box)), cmap=ANOMALY_MAP, norm=scale, interpolation="bilinear")


def _write_groups(figure: Figure, cells: Sequence[Axes], names: Sequence[str]) -> None:
    """Write each run's name over its columns, with a line that spans them."""
    height = float(figure.get_figheight())
    for name in dict.fromkeys(names):
        mine = [cells[1 + position].get_position() for position, other in enumerate(names) if other == name]
        left, right = mine[0].x0, mine[-1].x1
        line = 1 - 0.33 / height
        figure.text((left + right) / 2, 1 - 0.28 / height, name, color=BRIGHT, ha="center", va="bottom",
                    fontsize=10, fontweight="bold", parse_math=False)  # fmt: skip
        figure.add_artist(mpl.lines.Line2D([left, right], [line, line], color=SOFT, linewidth=0.8))
