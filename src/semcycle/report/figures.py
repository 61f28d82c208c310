"""Figures: slices beside what was made of them, and score curves. Every function returns a ``Figure``, none shows it.

Slices come as ``(H, W)`` with H from posterior to anterior and W from left to right, and are drawn as
radiologists read them: anterior up, the patient's left on the right of the picture.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from semcycle.files import write_bytes
from semcycle.scoring.panels import Panel

Part = Literal["tissue", "reconstruction", "anomaly"]
Theme = Literal["light", "dark"]

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "svg.hashsalt": "semcycle",
    "svg.fonttype": "path",
    "axes.unicode_minus": False,
    "path.simplify": True,
}
"""matplotlib settings of every figure; a user's own ``matplotlibrc`` does not change them."""

TISSUE_COLOURS = {"GM": "#e0752d", "WM": "#f6eedb", "CSF": "#2f7fd6"}
"""Orange, cream and blue differ in lightness too: told apart with any colour vision and in grey print."""

ANOMALY_MAP = "inferno"
OUTLINE = "#4df0c8"
CURVE_COLOURS = {
    "light": ("#0072b2", "#c44e00", "#00805e", "#a8457f", "#8a6500", "#2b8cbe", "#444444", "#6a51a3"),
    "dark": ("#5ab4ec", "#ff8a4a", "#3fd6a4", "#f09ac6", "#f0c24a", "#9bd8ff", "#cfcfcf", "#b9a5f2"),
}
"""After Okabe and Ito (2008), darkened for white and lightened for black paper."""

INK = {
    "light": {"paper": "#ffffff", "text": "#1c2430", "faint": "#69737f", "grid": "#e3e7ec"},
    "dark": {"paper": "#12161c", "text": "#e8ecf1", "faint": "#9aa5b1", "grid": "#2a313a"},
}
_DASHES = ("-", (0, (6, 2)), (0, (2, 1.2)), (0, (7, 2, 1.5, 2)))
_STAGE = "#0b0d10"
_BRIGHT, _SOFT = "#eef1f4", "#a3adb8"
_CELL = 1.55  # inches a slice takes


@dataclass(frozen=True)
class Curve:
    """Score curves of one run under one preset.

    Attributes:
        run: The run's name.
        recall: ``(T,)`` in [0, 1], to be drawn against ``precision``.
        precision: ``(T,)`` in [0, 1].
        thresholds: ``(U,)`` anomaly scores, ascending or descending.
        dice: ``(U,)`` Dice of ``score > threshold``.
    """

    run: str
    recall: NDArray[np.floating]
    precision: NDArray[np.floating]
    thresholds: NDArray[np.floating]
    dice: NDArray[np.floating]


def to_display(picture: NDArray[Any]) -> NDArray[Any]:
    """Turn ``(H, W, ...)`` from RAS+ order to rows from the top and columns from the left of the picture (a view).

    Anterior comes up, the patient's left to the right.
    """
    return picture[::-1, ::-1]


def tissue_rgb(tissue: NDArray[np.floating]) -> NDArray[np.float32]:
    """Blend ``(..., 3, H, W)`` GM, WM, CSF probabilities into ``(..., H, W, 3)`` RGB in [0, 1]; background is black."""
    colours = np.array([to_rgb(colour) for colour in TISSUE_COLOURS.values()], np.float32)
    mixed = np.einsum("...khw,kc->...hwc", np.clip(tissue, 0, 1).astype(np.float32), colours)
    return np.clip(mixed, 0, 1)


def panel_figure(
    panels: Sequence[Panel],
    *,
    preset: str,
    runs: Sequence[str] | None = None,
    parts: Sequence[Part] = ("tissue", "reconstruction", "anomaly"),
) -> Figure:
    """Draw one row a slice: input, what each run made of it, and the expert's outline.

    Grey values share one scale within a row (0 to the 99.8th percentile of the input's brain), anomaly maps
    another, which the row's colour bar shows: 0 to the highest 99.5th percentile of a run's brain. Runs that
    reconstruct nothing, whose score is not a residual, do not stretch it when there are others.

    Args:
        panels: The slices, at least one.
        preset: Which anomaly score to show; runs without it leave their cell empty.
        runs: Which runs, in this order; all by default.
        parts: Which of a run's pictures to show, where it has them.

    Raises:
        ValueError: No panel is given, or a run's name is unknown.
    """
    names = _check_runs(panels, runs)
    columns = [(name, part) for name in names for part in parts if _run_has(panels, name, part, preset)]
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


def curves_figure(curves: Sequence[Curve], *, prevalence: float | None = None, theme: Theme = "light") -> Figure:
    """Draw precision over recall and Dice over the threshold, each line labelled where it has room.

    Args:
        curves: One a run, all of the same preset.
        prevalence: Fraction of lesion voxels: the precision of a random score, drawn as a dotted line.
        theme: On white or on dark paper.
    """
    ink = INK[theme]
    with mpl.rc_context(STYLE | {"text.color": ink["text"], "axes.labelcolor": ink["text"]}):
        figure = _make_figure(9.6, 4.1, ink["paper"])
        left, right = figure.subplots(1, 2)
        figure.subplots_adjust(left=0.065, right=0.985, top=0.91, bottom=0.135, wspace=0.18)
        for axes in (left, right):
            _dress_axes(axes, ink)
        if prevalence is not None:
            left.axhline(prevalence, color=ink["faint"], linewidth=1, linestyle=":")
            below = prevalence > 0.08
            left.text(0.99, prevalence + (-0.012 if below else 0.012), f"chance {prevalence:.3f}", ha="right",
                      va="top" if below else "bottom", color=ink["faint"], fontsize=8,
                      path_effects=[withStroke(linewidth=3, foreground=ink["paper"])])  # fmt: skip
        for position, curve in enumerate(curves):
            look = {
                "color": CURVE_COLOURS[theme][position % 8],
                "linestyle": _DASHES[(position + position // 8) % 4],
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


def save_figure(figure: Figure, stem: Path, formats: Sequence[str] = ("png",), *, dpi: int = 110) -> list[Path]:
    """Write a figure atomically; the same figure gives the same bytes.

    Args:
        figure: The figure.
        stem: Path without suffix.
        formats: Of ``png``, ``svg`` and ``pdf``.
        dpi: Dots an inch of the PNG and of pictures within SVG and PDF.

    Returns:
        The files, in the order of ``formats``.
    """
    paths = []
    for name in formats:
        path = stem.with_name(f"{stem.name}.{name}")
        write_bytes(path, figure_bytes(figure, name, dpi=dpi))
        paths.append(path)
    return paths


def figure_bytes(figure: Figure, name: str = "png", *, dpi: int = 110) -> bytes:
    """Render a figure as ``png``, ``svg`` or ``pdf`` without dates and versions in it."""
    silent: Mapping[str, dict[str, Any]] = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    }
    content = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(content, format=name, dpi=dpi, facecolor=figure.get_facecolor(), metadata=silent[name])
    return content.getvalue()


def crop(picture: NDArray[Any], box: tuple[int, int, int]) -> NDArray[Any]:
    """Cut a square ``(row, column, side)`` out of ``(H, W, ...)``, with zeros where it reaches over the edge."""
    row, column, side = box
    out = np.zeros((side, side, *picture.shape[2:]), picture.dtype)
    top, left = max(row, 0), max(column, 0)
    part = picture[top : row + side, left : column + side]
    out[top - row : top - row + part.shape[0], left - column : left - column + part.shape[1]] = part
    return out


def draw_outline(axes: Axes, mask: NDArray[np.bool_]) -> None:
    """Draw the border of a ``(H, W)`` mask over the picture in ``axes``."""
    if mask.any() and not mask.all():
        axes.contour(to_display(mask).astype(float), levels=[0.5], colors=[OUTLINE], linewidths=1.3)


def draw_marks(axes: Axes) -> None:
    """Mark the patient's sides: R on the left of the picture, L on its right."""
    for place, side in ((0.02, "R"), (0.98, "L")):
        axes.text(
            place, 0.98, side, transform=axes.transAxes, ha="left" if side == "R" else "right", va="top", color=_SOFT
        )


def draw_bar(axes: Axes, top: float, label: str) -> None:
    """Turn a narrow cell into the colour bar of an anomaly scale from 0 to ``top``."""
    inner = axes.inset_axes((0.0, 0.08, 0.1, 0.84))
    bar = axes.figure.colorbar(ScalarMappable(Normalize(0, top), ANOMALY_MAP), cax=inner)
    bar.set_ticks([0, top / 2, top], labels=["0", f"{top / 2:.2f}", f"≥{top:.2f}"])
    bar.ax.tick_params(colors=_SOFT, labelsize=8, length=2, pad=2)
    bar.set_label(label, color=_SOFT, fontsize=8)
    bar.outline.set_visible(False)


def _make_figure(width: float, height: float, paper: str) -> Figure:
    figure = Figure(figsize=(width, height), facecolor=paper)
    FigureCanvasAgg(figure)
    return figure


def make_stage(
    titles: Sequence[str], names: Sequence[str], *, bars: bool = True, groups: bool = False, legend: bool = True
) -> tuple[Figure, list[list[Axes]], list[Axes]]:
    """Make a dark figure with a cell a picture.

    Args:
        titles: One a column, written on top.
        names: One a row, written at its left; a line break starts a fainter second line.
        bars: Whether each row ends in a narrow cell for a colour bar.
        groups: Whether to leave room for headings over the titles.
        legend: Whether to leave room for the tissue colours at the foot.

    Returns:
        The figure, its cells by row and column, and the narrow cells (none without ``bars``).
    """
    gap, rows = 0.06, len(names)
    head, foot, tail = 0.62 if groups else 0.32, 0.32 if legend else 0.0, 0.74 if bars else 0.0
    start = gap + (0.36 if any("\n" in name for name in names) else 0.24)
    ends = start + len(titles) * (_CELL + gap)
    width, height = ends + tail, head + rows * (_CELL + gap) + foot
    figure = _make_figure(width, height, _STAGE)

    def add(row: int, left: float, wide: float) -> Axes:
        bottom = height - head - row * (_CELL + gap) - _CELL
        axes = figure.add_axes((left / width, bottom / height, wide / width, _CELL / height))
        axes.set_axis_off()
        return axes

    grid = [[add(row, start + column * (_CELL + gap), _CELL) for column in range(len(titles))] for row in range(rows)]
    for axes, title in zip(grid[0], titles, strict=True):
        axes.set_title(title, color=_BRIGHT, fontsize=9.5, pad=5)
    for row, name in enumerate(names):
        _write_side(grid[row][0], *name.split("\n", 1))
    return figure, grid, [add(row, ends + 0.02, tail) for row in range(rows)] if bars else []


def _write_side(axes: Axes, name: str, detail: str = "") -> None:
    """Write a row's name upwards at the left of its first cell."""
    look: dict[str, Any] = {"transform": axes.transAxes, "rotation": 90, "va": "center", "parse_math": False}
    short = name if len(name) <= 24 else f"{name[:11]}…{name[-11:]}"
    axes.text(-0.125 if detail else -0.04, 0.5, short, color=_BRIGHT, fontsize=8 if detail else 9.5, ha="right", **look)
    axes.text(-0.03, 0.5, detail, color=_SOFT, fontsize=8, ha="right", **look)


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
    """Whether a run has something to show in this column; a black reconstruction is none."""
    mine = [panel.runs[name] for panel in panels if name in panel.runs]
    if part == "anomaly":
        return any(preset in run.scores for run in mine)
    if part == "tissue":
        return any(run.tissue is not None for run in mine)
    return any(run.reconstruction is not None and bool(run.reconstruction.any()) for run in mine)


def crop_boxes(brains: Sequence[NDArray[np.bool_]]) -> list[tuple[int, int, int]]:
    """A square round each brain; one side for all, so that pictures share a scale."""
    spans = []
    for brain in brains:
        rows, columns = (np.flatnonzero(brain.any(axis)) for axis in (1, 0))
        inside = rows.size > 0
        spans.append(
            (rows[0], rows[-1], columns[0], columns[-1]) if inside else (0, brain.shape[0] - 1, 0, brain.shape[1] - 1)
        )
    side = max(int(max(bottom - top, right - left)) + 1 for top, bottom, left, right in spans)
    side += 2 * max(1, side // 24)
    return [(int(a + b + 1 - side) // 2, int(c + d + 1 - side) // 2, side) for a, b, c, d in spans]


def white_level(x: NDArray[np.floating], brain: NDArray[np.bool_]) -> float:
    """Intensity shown as white: the brain's 99.8th percentile."""
    return max(float(np.percentile(x[brain], 99.8)), 1e-3) if brain.any() else 1.0


def _make_scale(panel: Panel, names: Sequence[str], preset: str) -> Normalize:
    runs = [panel.runs[name] for name in names if name in panel.runs and preset in panel.runs[name].scores]
    residual = [run for run in runs if run.reconstruction is not None and run.reconstruction.any()]
    inside = panel.brain if panel.brain.any() else np.ones_like(panel.brain)
    tops = [float(np.percentile(run.scores[preset][inside], 99.5)) for run in residual or runs]
    return Normalize(0, max([*tops, 1e-3]))


def draw_grey(axes: Axes, picture: NDArray[np.floating], box: tuple[int, int, int], white: float) -> None:
    """Draw a ``(H, W)`` slice in grey from 0 to ``white``, cropped to ``box``."""
    axes.imshow(to_display(crop(picture, box)), cmap="gray", vmin=0, vmax=white, interpolation="bilinear")


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
    elif part == "reconstruction" and run.reconstruction is not None:
        draw_grey(axes, run.reconstruction, box, white)
    elif part == "anomaly" and preset in run.scores:
        shown = np.where(panel.brain, run.scores[preset], 0)
        axes.imshow(to_display(crop(shown, box)), cmap=ANOMALY_MAP, norm=scale, interpolation="bilinear")


def _write_groups(figure: Figure, cells: Sequence[Axes], names: Sequence[str]) -> None:
    """Write each run's name over its columns, with a line that spans them."""
    height = float(figure.get_figheight())
    for name in dict.fromkeys(names):
        mine = [cells[1 + position].get_position() for position, other in enumerate(names) if other == name]
        left, right = mine[0].x0, mine[-1].x1
        line = 1 - 0.33 / height
        figure.text((left + right) / 2, 1 - 0.28 / height, name, color=_BRIGHT, ha="center", va="bottom",
                    fontsize=10, fontweight="bold", parse_math=False)  # fmt: skip
        figure.add_artist(mpl.lines.Line2D([left, right], [line, line], color=_SOFT, linewidth=0.8))


def write_legend(figure: Figure) -> None:
    """Write the tissue colours under the pictures."""
    handles = [Patch(facecolor=colour, label=name) for name, colour in TISSUE_COLOURS.items()]
    legend = figure.legend(handles=handles, loc="lower left", ncols=3, frameon=False, fontsize=8.5, title=None)
    legend.set_bbox_to_anchor((0.0, -0.01), transform=figure.transFigure)
    for text in legend.get_texts():
        text.set_color(_BRIGHT)


def _dress_axes(axes: Axes, ink: Mapping[str, str]) -> None:
    axes.set_facecolor(ink["paper"])
    axes.grid(color=ink["grid"], linewidth=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(colors=ink["faint"], length=0)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(ink["faint"])


def _threshold_limit(curves: Sequence[Curve]) -> float:
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
