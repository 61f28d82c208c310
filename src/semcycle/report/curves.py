"""Score curves: precision over recall and Dice over the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from semcycle.report.canvas import STYLE, make_figure

Theme = Literal["light", "dark"]


CURVE_COLOURS = {
    "light": ("#0072b2", "#c44e00", "#00805e", "#a8457f", "#8a6500", "#2b8cbe", "#444444", "#6a51a3"),
    "dark": ("#5ab4ec", "#ff8a4a", "#3fd6a4", "#f09ac6", "#f0c24a", "#9bd8ff", "#cfcfcf", "#b9a5f2"),
}
"""After [okabe2008], darkened for white and lightened for black paper."""


INK = {
    "light": {"paper": "#ffffff", "text": "#1c2430", "faint": "#69737f", "grid": "#e3e7ec"},
    "dark": {"paper": "#12161c", "text": "#e8ecf1", "faint": "#9aa5b1", "grid": "#2a313a"},
}


DASHES = ("-", (0, (6, 2)), (0, (2, 1.2)), (0, (7, 2, 1.5, 2)))


@dataclass(frozen=True)
class PlottedCurve:
    """Score curves of one run under one preset.

    Attributes:
        run: The run's name.
        recall: ``(T,)`` in [0, 1], to be drawn against ``precision``.
        precision: ``(T,)`` in [0, 1].
        thresholds: ``(U,)`` anomaly scores, ascending or descending.
        dice: ``(U,)`` Dice of ``score > threshold``.
        fpr: ``(T,)`` false-positive rate, to be drawn against ``recall``; ``None`` where it was not kept.
        froc_false_positives: ``(K,)`` false components a scan, from strict to lax thresholds, or ``None``.
        froc_sensitivity: ``(K,)`` share of the lesions found, or ``None``.
    """

    run: str
    recall: NDArray[np.floating]
    precision: NDArray[np.floating]
    thresholds: NDArray[np.floating]
    dice: NDArray[np.floating]
    fpr: NDArray[np.floating] | None = None
    froc_false_positives: NDArray[np.floating] | None = None
    froc_sensitivity: NDArray[np.floating] | None = None


def curves_figure(curves: Sequence[PlottedCurve], *, prevalence: float | None = None, theme: Theme = "light") -> Figure:
    """Draw precision over recall and Dice over the threshold, each line labelled where it has room.

    Args:
        curves: One a run, all of the same preset.
        prevalence: Fraction of lesion voxels: the precision of a random score, drawn as a dotted line.
        theme: On white or on dark paper.
    """
    ink = INK[theme]
    with mpl.rc_context(STYLE | {"text.color": ink["text"], "axes.labelcolor": ink["text"]}):
        figure = make_figure(9.6, 4.1, ink["paper"])
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.065, right=0.985, top=0.91, bottom=0.135, wspace=0.18)
        for axes in (left, right):
            dress_axes(axes, ink)
        if prevalence is not None:
            left.axhline(prevalence, color=ink["faint"], linewidth=1, linestyle=":")
            below = prevalence > 0.08
            left.text(0.99, prevalence + (-0.012 if below else 0.012), f"chance {prevalence:.3f}", ha="right",
                      va="top" if below else "bottom", color=ink["faint"], fontsize=8,
                      path_effects=[withStroke(linewidth=3, foreground=ink["paper"])])  # fmt: skip
        for position, curve in enumerate(curves):
            look = {
                "color": CURVE_COLOURS[theme][position % 8],
                "linestyle": DASHES[(position + position // 8) % 4],
                "linewidth": 1.8,
            }
            left.plot(curve.recall, curve.precision, **look)
            right.plot(curve.thresholds, curve.dice, **look)
            best = int(np.argmax(curve.dice))
            right.plot(curve.thresholds[best], curve.dice[best], "o", color=look["color"], markersize=5)
        left.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        right.set(xlim=(0, _threshold_limit(curves)), ylim=(0, 1.02), xlabel="threshold (anomaly score, 0 to 1)")
        right.set_ylabel("Dice")
        left.set_title("Precision over recall", loc="left", fontsize=10, fontweight="bold")
        right.set_title("Dice over threshold (dot: best)", loc="left", fontsize=10, fontweight="bold")
        _label_lines(left, [(c.run, c.recall, c.precision) for c in curves], theme)
        _label_lines(right, [(f"{c.run} {c.dice.max():.2f}", c.thresholds, c.dice) for c in curves], theme)
    return figure


def dress_axes(axes: Axes, ink: Mapping[str, str]) -> None:
    """Paper, grid and spines in the theme's colours."""
    axes.set_facecolor(ink["paper"])
    axes.grid(color=ink["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=ink["faint"], length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(ink["faint"])


def _threshold_limit(curves: Sequence[PlottedCurve]) -> float:
    """Threshold beyond which every Dice is under a tenth of its best: residuals rarely reach 1."""
    ends = [float(np.max(c.thresholds[c.dice >= 0.1 * c.dice.max()], initial=0.0)) for c in curves if c.dice.size]
    return min(1.0, max([*ends, 0.05]) * 1.05)


def _label_lines(
    axes: Axes, lines: Sequence[tuple[str, NDArray[np.floating], NDArray[np.floating]]], theme: Theme
) -> None:
    """Write each line's name on it, where the other lines and the labels already set are farthest."""
    low, high = axes.get_xlim()
    grid = np.linspace(low, high, 101)
    heights = [np.interp(grid, *_sort_by(x, y)) for _, x, y in lines]
    taken: list[tuple[int, float]] = []
    for position, (name, _, _) in enumerate(lines):
        mine, half = heights[position], min(3 + round(0.95 * len(name)), 40)
        others = np.array([height for other, height in enumerate(heights) if other != position]).reshape(-1, grid.size)
        room = np.minimum(np.abs(others - mine).min(axis=0, initial=0.3), 0.3)
        for place, height in taken:
            near = np.abs(np.arange(grid.size) - place) < 2 * half
            room = np.minimum(room, np.where(near, np.abs(mine - height) - 0.06, 0.3))
        room -= maximum_filter1d(mine, half) - minimum_filter1d(mine, half)
        room[(mine < 0.04) | (mine > 0.95)] -= 1
        best = half + int(np.argmax(room[half:-half]))
        taken.append((best, float(mine[best])))
        axes.text(grid[best], mine[best] + 0.015, name, color=CURVE_COLOURS[theme][position % 8], fontsize=8.5,
                  fontweight="bold", ha="center", va="bottom", parse_math=False,
                  path_effects=[withStroke(linewidth=3, foreground=INK[theme]["paper"])])  # fmt: skip


def _sort_by(x: NDArray[np.floating], y: NDArray[np.floating]) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    order = np.argsort(x, kind="stable")
    return x[order], y[order]
